"""The wheel has all it needs: unit tests pass on it where there is no source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("moonlight_core", "moonlight_http", "sbatch_templates", "definitions")
# Not these: they look at the source tree itself, or at what is never installed.
ABOUT_THE_TREE = (
    *("test_package.py", "test_definitions.py", "test_devcluster_*", "test_docs.py"),
    *("test_standin_*", "test_ci*", "test_bench*", "test_lock.py"),
)
TEST_PACKAGES = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "pyyaml")
CODE = (
    "import moonlight_core, moonlight_core.shipped as shipped\n"
    "print(moonlight_core.__file__); assert shipped.batch_script()"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds it, from a copy: the tree may be read-only."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "src" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "src")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", folder, folder / "src"],
        check=True, timeout=120,
    )  # fmt: skip
    shutil.rmtree(folder / "src")
    (built,) = folder.glob("*.whl")
    return built


def test_what_it_holds(wheel: Path) -> None:
    """Everything of the packages, and what is no Python beside it; nothing else."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("moonlight_core", "moonlight_http"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in names
    assert "moonlight_core/sbatch_templates/sunshine_session.sbatch" in names
    assert "moonlight_core/definitions/sunshine_xfce4.def" in names
    assert not [name for name in names if name.startswith(("tests", "devcluster", "deploy"))]


def run_unit_tests(python: str | Path, folder: Path, environment: dict[str, str]) -> Path:
    """Run them with a Python, in a folder with the tests and without the source tree.

    Returns the place from where it takes ``moonlight_core``.
    """
    shutil.copytree(ROOT / "tests/unit", folder / "tests/unit")
    shutil.copytree(ROOT / "tests/sunshine_standin", folder / "tests/sunshine_standin")
    for path in (ROOT / "tests").glob("*.py"):
        shutil.copy(path, folder / "tests")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    (folder / "pytest.ini").write_text(
        "[pytest]\npythonpath = tests\nmarkers = slow\nfilterwarnings = error\n"
    )
    ignored = [f"--ignore-glob=*/{name}" for name in ABOUT_THE_TREE]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, "tests/unit"],
        check=False, capture_output=True, text=True, timeout=250, cwd=folder,
        env=clean | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    told = subprocess.run(
        [python, "-c", CODE],
        check=True, capture_output=True, text=True, cwd=folder, timeout=30,
        env=clean | environment,
    ).stdout  # fmt: skip
    return Path(told.strip())


def test_unit_tests_pass_on_it(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere, with the tests and without the source tree."""
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target",
         site, wheel],
        check=True, timeout=120,
    )  # fmt: skip
    assert run_unit_tests(sys.executable, tmp_path, {"PYTHONPATH": str(site)}).is_relative_to(site)


@pytest.mark.slow  # downloads, about a minute each
@pytest.mark.parametrize("name", [f"python3.{minor}" for minor in range(11, 16)])
def test_unit_tests_pass_on_every_python_at_hand(name: str, wheel: Path, tmp_path: Path) -> None:
    """In a virtual environment with the newest versions of what it depends on."""
    venv = tmp_path / "venv"
    if (
        shutil.which(name) is None
        or subprocess.run([name, "-m", "venv", venv], check=False).returncode
    ):
        pytest.skip(f"{name} is not at hand, or has no venv")
    subprocess.run(
        [venv / "bin/python", "-m", "pip", "install", "--quiet", f"{wheel}[jwt]", *TEST_PACKAGES],
        check=True, timeout=200,
    )  # fmt: skip
    assert run_unit_tests(venv / "bin/python", tmp_path, {}).is_relative_to(venv)

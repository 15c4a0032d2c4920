"""The package as others see it: its public names, its parts, and what a wheel of it holds."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import moonlight_core
from moonlight_core.shipped import batch_script

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "moonlight_core").glob("*.py"))
EVERY_MODULE = sorted(
    path for name in ("moonlight_core", "moonlight_http") for path in (ROOT / name).rglob("*.py")
)


def test_public_names_are_sorted_and_there() -> None:
    """``__all__`` is what is promised; a change of it is a change of the interface."""
    assert list(moonlight_core.__all__) == sorted(moonlight_core.__all__)
    for name in moonlight_core.__all__:
        assert getattr(moonlight_core, name)
    assert {"SessionManager", "Session", "Settings", "MoonlightError"} <= set(
        moonlight_core.__all__
    )


def imports(name: str) -> list[str]:
    """The modules whose text imports ``name``."""
    wanted = re.compile(rf"^\s*(?:import|from) {name}\b", re.MULTILINE)
    folders = (ROOT / "moonlight_core", ROOT / "moonlight_http")
    files = [path for folder in folders for path in folder.glob("*.py")]
    return sorted(str(p.relative_to(ROOT)) for p in files if wanted.search(p.read_text("utf-8")))


def test_outside_systems_have_one_door_each() -> None:
    """One imports pyslurm, eleven know redis-py, one calls Sunshine and one the service.

    moonlight_http alone serves.
    """
    assert imports("pyslurm") == ["moonlight_core/slurm.py"]
    stores = [
        "events",
        "lease_store",
        "nudges",
        "pairing_store",
        "records",
        "redis_client",
        "redis_rights",
        "scan_store",
    ]
    stores += ["slot_store", "store", "tracking"]
    assert imports("redis") == [f"moonlight_core/{name}.py" for name in stores]
    assert imports("(http|ssl)") == ["moonlight_core/sunshine.py", "moonlight_http/client.py"]
    assert all(path.startswith("moonlight_http/") for path in imports("(falcon|waitress)"))


def test_keys_are_spelled_in_one_place() -> None:
    """No other module, and no script, writes a key's name."""
    for path in [*MODULES, *(ROOT / "moonlight_core" / "lua").glob("*.lua")]:
        if path.name != "keys.py":
            assert not re.search(
                r"['\"]moonlight:(session|node|user|event)", path.read_text("utf-8")
            )


def test_modules_are_small() -> None:
    """One purpose a module, in under about 350 lines."""
    assert len(EVERY_MODULE) > len(MODULES)
    for path in EVERY_MODULE:
        assert len(path.read_text("utf-8").splitlines()) <= 350, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_import_alone(path: Path) -> None:
    """No hidden order of imports."""
    if path.stem != "__main__":
        importlib.import_module(f"moonlight_core.{path.stem}".removesuffix(".__init__"))


def test_the_batch_script_is_valid_bash() -> None:
    """``bash -n`` reads it without a complaint."""
    script = batch_script()
    assert script.startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_wheel_holds_what_is_needed_at_run_time(tmp_path: Path) -> None:
    """Lua, templates and definitions inside; found again by a Python that sees the wheel alone."""
    pytest.importorskip("hatchling")
    source = tmp_path / "source"
    for name in ("moonlight_core", "moonlight_http", "sbatch_templates", "definitions"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    assert {
        "moonlight_core/py.typed",
        "moonlight_core/lua/lease.lua",
        "moonlight_core/sbatch_templates/sunshine_session.sbatch",
        "moonlight_core/sbatch_templates/sunshine.bash",
        "moonlight_core/definitions/sunshine_xfce4.def",
        "moonlight_http/server.py",
    } <= names
    program = "from moonlight_core.shipped import batch_script; print(batch_script()[:11])"
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == "#!/bin/bash"

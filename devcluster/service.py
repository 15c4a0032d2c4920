"""pyslurm's wheel and the virtual environments: the service's and that of the tests."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from devcluster import layout, store
from devcluster.keys import key_of

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.head import Inside
    from devcluster.progress import Progress

_CACHE_INSIDE = "/var/cache/moonlight-dev/wheels"
_MAKE_VENV = "/usr/local/lib/moonlight-dev/make-venv"
_HINT = "The end of the log says why; without a way to a Python package index there is none."
_BACKEND = "/opt/moonlight/backend_moonlight_8004"
#: What the installed package is made of.
_SOURCES = ("pyproject.toml", "moonlight_core", "moonlight_http", "sbatch_templates", "definitions")


def provide(paths: layout.Paths, root: Path, inside: Inside, progress: Progress) -> None:
    """Have this checkout's service installed; a running one of other sources is stopped."""
    wheel = provide_wheel(paths, root, inside, progress)
    key = key_of(wheel, *(layout.CHECKOUT / name for name in _SOURCES))
    installed = paths.state / "moonlight/backend_moonlight_8004/installed"
    if installed.is_file() and installed.read_text() == key:
        return
    with progress.step("install the service") as step:
        project = _pyproject()
        # The build system is installed too: the package is then built without fetching it anew each
        # time.
        needs = [wheel, *project["project"]["dependencies"], *project["build-system"]["requires"]]
        inside.service("stop", "moonlight", log=step.log)
        installed.unlink(missing_ok=True)
        _make_venv(inside, step.log, f"{_BACKEND}/venv", needs)
        inside.work(
            ["/usr/local/lib/moonlight-dev/install-package", f"{_BACKEND}/venv"],
            step.log,
            what="Installing the service",
            hint=_HINT,
        )
        store.write(installed, key)


def reconcile(inside: Inside, log: Path) -> None:
    """Bring the records up to date with Slurm, once."""
    inside.work(
        [f"{_BACKEND}/venv/bin/python", "-m", "moonlight_core", "reconcile"],
        log,
        what="Comparing the sessions' records with Slurm",
        hint="./dev logs slurmctld and ./dev logs redis may say more.",
        MOONLIGHT_CONFIG="/etc/moonlight/moonlight.toml",
    )


def provide_test_tools(paths: layout.Paths, root: Path, inside: Inside, progress: Progress) -> None:
    """Have the virtual environment of the tests, with everything but this checkout's own code."""
    wheel = provide_wheel(paths, root, inside, progress)
    project = _pyproject()["project"]
    needs = [wheel, *project["dependencies"], *project["optional-dependencies"]["test"]]
    link = paths.state / "moonlight/testvenv"
    if link.is_symlink() and link.readlink().name == key_of(*needs):
        return
    with progress.step("test tools") as step:
        _make_venv(inside, step.log, "/opt/moonlight/testvenv", needs)


def provide_wheel(paths: layout.Paths, root: Path, inside: Inside, progress: Progress) -> str:
    """Have pyslurm's wheel for this root's Slurm and Python; returns its path inside."""
    script = layout.CHECKOUT / "devcluster/build-pyslurm"
    slurm = root / "usr/include/slurm/slurm_version.h"
    python = (root / "usr/bin/python3").readlink()
    key = key_of(layout.PYSLURM_VERSION, script, slurm, str(python))
    folder = paths.cache / "wheels"
    if store.kept(folder, key) is None:
        with progress.step("pyslurm") as step:

            def build(part: Path) -> None:
                inside.work(
                    [
                        "/src/devcluster/build-pyslurm",
                        *("--version", layout.PYSLURM_VERSION, f"{_CACHE_INSIDE}/{part.name}"),
                    ],
                    step.log,
                    what="Building pyslurm",
                    hint=_HINT,
                )

            store.make(folder, key, build)
    store.prune(folder, key)
    (wheel,) = (folder / key).glob("*.whl")
    return f"{_CACHE_INSIDE}/{key}/{wheel.name}"


def _make_venv(inside: Inside, log: Path, link: str, needs: list[str]) -> None:
    inside.work(
        [_MAKE_VENV, link, key_of(*needs), *needs],
        log,
        what="Making a virtual environment",
        hint=_HINT,
    )


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((layout.CHECKOUT / "pyproject.toml").read_text())

"""What is said when pyslurm and the Slurm at hand do not fit each other."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import moonlight_core
from moonlight_core.doctor import Finding, Grade, Site
from moonlight_core.doctor.controller import reports
from moonlight_core.errors import SlurmNotUsable
from moonlight_core.slurm import PyslurmGateway
from moonlight_core.slurm_values import text

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core import Settings

PROGRAM = """
import sys
from pathlib import Path
from moonlight_core.errors import SlurmNotUsable
from moonlight_core.slurm import PyslurmGateway
try:
    PyslurmGateway(Path(sys.argv[1])).load()
except SlurmNotUsable as error:
    print(error)
"""


def load(tmp_path: Path, module: str | None) -> str:
    """What the gateway says when ``import pyslurm`` does this; None: it is not there."""
    site = tmp_path / "site"
    (site / "pyslurm-24.11.0.dist-info").mkdir(parents=True)
    if module is None:
        (site / "pyslurm-24.11.0.dist-info").rmdir()
        module_file = "import sys; sys.modules['pyslurm'] = None"
        (site / "sitecustomize.py").write_text(module_file)
    else:
        metadata = "Metadata-Version: 2.1\nName: pyslurm\nVersion: 24.11.0\n"
        (site / "pyslurm-24.11.0.dist-info/METADATA").write_text(metadata)
        (site / "pyslurm.py").write_text(module)
    (tmp_path / "slurm.conf").touch()
    ours = Path(moonlight_core.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "slurm.conf"],
        check=True, capture_output=True, text=True, timeout=30,
        env={"PYTHONPATH": f"{site}:{ours}"},
    ).stdout  # fmt: skip


def test_one_that_was_built_for_another_slurm(tmp_path: Path) -> None:
    """Its version, the linker's words, and the way out."""
    words = "/x/core.so: undefined symbol: slurm_free_ctl_conf"
    told = load(tmp_path, f"raise ImportError({words!r})")
    assert told.startswith(f"pyslurm 24.11.0 cannot be imported ({words}): most often it was built")
    assert "pyslurm X.Y is for Slurm X.Y" in told
    assert "docs/install.md" in told


def test_none_at_all(tmp_path: Path) -> None:
    """No word of versions."""
    told = load(tmp_path, None)
    assert told.startswith("pyslurm is not installed beside this program. pyslurm X.Y is for")


@pytest.mark.parametrize(("version", "grade"), [("24.11.0", Grade.RED), ("25.11.2", Grade.GREEN)])
def test_one_that_does_not_know_extra(
    version: str,
    grade: Grade,
    monkeypatch: pytest.MonkeyPatch,
    make_settings: Callable[..., Settings],
) -> None:
    """Its jobs have none, and the doctor says what to set."""
    assert text(SimpleNamespace(comment="x"), "extra") == ""
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    monkeypatch.setattr(Site, "option", lambda _site, _name: "")

    def look(field: str) -> Finding:
        (found,) = reports(Site(settings=make_settings(slurm={"report_field": field}), environ={}))
        return found

    assert look("comment").grade is Grade.GREEN
    assert look("extra").grade is grade
    assert grade is Grade.GREEN or look("extra").mend == 'Set [slurm] report_field = "comment".'


def test_one_that_slurmctld_does_not_understand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's own word for it is not taken for an outage; no other slurmctld can be had here."""

    class RPCError(Exception):
        errno = 1005

    def refuse(*_: Any) -> NoReturn:
        raise RPCError("Incompatible versions of client and server code")

    gateway = PyslurmGateway(tmp_path / "slurm.conf")
    fake = SimpleNamespace(
        PyslurmError=RPCError, RPCError=RPCError, Jobs=SimpleNamespace(load=refuse)
    )
    monkeypatch.setattr(gateway, "_module", fake)
    with pytest.raises(SlurmNotUsable, match=r"protocol of pyslurm.*\(Incompatible versions"):
        gateway.our_jobs()

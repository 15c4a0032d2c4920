"""The Epilog on the nodes: what a killed session leaves goes, and nothing else."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cluster_view import SESSION_DIRS
from desks import desk, together
from faults import note
from invariants import whole_within
from on_cluster import run
from streaming import of_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from on_cluster import Node

EPILOG = "/usr/local/libexec/moonlight-epilog"
JOB = 4000000
UID = 2001
ALICE = {"SLURM_JOB_ID": str(JOB), "SLURM_JOB_UID": str(UID), "SLURM_JOB_USER": "alice"}


def call(**environ: str) -> float:
    """Run it as slurmd does; how long it takes, in seconds. It must end well."""
    values = {**ALICE, "SLURM_JOB_COMMENT": "moonlight:x"} | environ
    begin = time.monotonic()
    run("env", "-i", *(f"{name}={value}" for name, value in values.items() if value), EPILOG)
    return time.monotonic() - begin


@pytest.fixture
def left() -> Iterator[Callable[..., Path]]:
    """Makes directories as killed sessions leave them."""
    made = []

    def leave(name: str, *, owner: str = "alice", job: int = JOB) -> Path:
        """One of a job."""
        path = SESSION_DIRS / f"ml-{name}-01m82nxb2685n714a{len(made)}"
        made.append(path)
        (path / "work/deep").mkdir(parents=True)
        (path / "job").write_text(f"{job}\n")
        run("chown", "-Rh", f"{owner}:{owner}", str(path))
        return path

    yield leave
    for path in made:
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)


@pytest.mark.usefixtures("mended")
def test_a_session_whose_script_is_killed_leaves_nothing(nodes: Mapping[str, Node]) -> None:
    """Not even until its user's next session."""
    (killed,) = together([partial(desk, "bob")])
    now = killed.now
    node = nodes[now["slurm_node"]]
    assert (SESSION_DIRS / killed.session_id / "job").read_text() == f"{now['job_id']}\n"
    node.run("kill", "-KILL", str(of_session(node, now, "/bin/bash .*slurm_script")))
    assert killed.ended()["status"] == "failed"
    note("batch script killed, Epilog", whole_s=whole_within(30))


def test_it_removes_the_directory_of_that_job_alone(left: Callable[..., Path]) -> None:
    """Of that user, as she wrote it; for jobs of ours; whatever lies in it."""
    mine, outside = left("alice"), left("alice", job=JOB + 1)
    others = [left("bob", owner="bob"), left("alice", owner="bob"), left("bob"), outside]
    (mine / "out").symlink_to(outside)
    call(SLURM_JOB_COMMENT="somebody's own job")
    call(SLURM_JOB_UID="0")
    call(SLURM_JOB_USER="")
    call(SLURM_JOB_UID="2001; id")
    assert mine.exists()
    note("Epilog", took_s=call())
    assert not mine.exists()
    assert all((other / "work/deep").is_dir() for other in others)
    # What Slurm does not tell is looked for.
    assert call(SLURM_JOB_COMMENT="", SLURM_JOB_ID=str(JOB + 1)) < 20
    assert not outside.exists()


def test_a_hostile_owner_gains_nothing(left: Callable[..., Path], tmp_path: Path) -> None:
    """Neither by links, nor by what never ends: it has no more rights than she, and little time."""
    kept = tmp_path / "root's"
    kept.mkdir()
    (kept / "job").write_text(f"{JOB}\n")
    link, job_link, pipe, closed = (left("alice") for _ in range(4))
    shutil.rmtree(link)
    link.symlink_to(kept)
    (job_link / "job").unlink()
    (job_link / "job").symlink_to(kept / "job")
    (pipe / "job").unlink()
    os.mkfifo(pipe / "job")
    os.lchown(link, UID, UID)
    os.chown(pipe / "job", UID, UID)
    # What she could not remove herself stays.
    of_root = closed / "work/deep/of-root"
    of_root.write_text("x")
    os.chown(of_root.parent, 0, 0)
    assert call() < 20
    assert of_root.exists()
    assert (kept / "job").exists()
    assert link.is_symlink()
    assert (pipe / "job").exists()

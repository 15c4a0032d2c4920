"""Fixtures on the development cluster, for tests that run on its head.

``./dev test`` runs these; anywhere else they are skipped.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults import figures_since, mend_everything, remove_leftovers
from invariants import whole_within
from on_cluster import LIVE, RUN, Api, Node, everything, run, wait_for

from moonlight_core import SessionManager, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

USERS = ("alice", "bob", "carol")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the cluster, and skip it elsewhere."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not (RUN / "nodes").is_dir():
            item.add_marker(pytest.mark.skip(reason="needs the development cluster: ./dev test"))


@pytest.fixture(scope="session")
def nodes() -> dict[str, Node]:
    """The viz nodes by name."""
    return {name: Node(name) for name in ("viz1", "viz2")}


@pytest.fixture
def api() -> Iterator[Callable[[str], Api]]:
    """The service as any user; sessions that a test made are ended and gone afterwards."""
    before = {session["session_id"] for session in everything()}
    yield Api
    mine = [session for session in everything() if session["session_id"] not in before]
    for session in mine:
        if session["status"] in LIVE:
            Api("carol").delete(session["session_id"])
    ids = {session["session_id"] for session in mine}
    wait_for(
        lambda: [s for s in everything() if s["session_id"] in ids and s["status"] in LIVE],
        lambda living: not living,
    )


@pytest.fixture
def manager() -> SessionManager:
    """The library on the cluster's configuration."""
    return SessionManager.from_config()


@pytest.fixture(scope="session")
def redis_cli() -> Callable[..., str]:
    """redis-cli on the cluster's Redis."""

    def call(*arguments: str) -> str:
        return run("redis-cli", "-h", "10.213.0.1", "--no-auth-warning", *arguments)

    return call


@pytest.fixture
def unlimited(redis_cli: Callable[..., str]) -> Iterator[None]:
    """No slot is left out on a node and nobody asked too often, neither before nor afterwards."""
    limits = [keys.blocked(name) for name in ("viz1", "viz2")]
    limits += [keys.user_creates(name) for name in USERS]
    redis_cli("del", *limits)
    yield
    redis_cli("del", *limits)


@pytest.fixture
def whole(unlimited: None) -> Iterator[None]:
    """All five rules hold before a test, and again when its sessions are gone."""
    remove_leftovers()
    whole_within(60)
    yield
    whole_within(90)


@pytest.fixture
def mended(whole: None, api: Callable[[str], Api]) -> Iterator[None]:
    """A test may break any part of the cluster; all of it is there again afterwards."""
    yield
    mend_everything()


_BEGIN = time.time()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what the tests of faults have measured."""
    if lines := figures_since(_BEGIN):
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """On a failure, show what Slurm knew."""
    report = yield
    if report.when == "call" and report.failed and (RUN / "nodes").is_dir():
        for title, command in SLURM_STATE.items():
            shown = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
            report.sections.append((title, shown.stdout + shown.stderr))
    return report


SLURM_STATE: dict[str, Sequence[str]] = {
    "squeue": ("squeue", "--all", "--format=%i %j %u %T %r %N"),
    "sacct": (
        "sacct",
        "--allusers",
        "-X",
        "--starttime=now-5minutes",
        "--format=jobid%6,jobname%32,user,state,exitcode,start,end",
    ),
    "service": ("sh", "-c", "tail -n 40 /opt/moonlight/backend_moonlight_8004/logs/*"),
}

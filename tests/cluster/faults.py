"""Breaking parts of the cluster, mending them, and noting how long things took."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
from cluster_view import SESSION_DIRS, jobs_in_slurm
from on_cluster import RUN, SESSIONS, Api, run

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIGURES = Path("/var/cache/moonlight-test/reliability.jsonl")
DAEMONS = (
    "munge", "mariadb", "redis", "slurmdbd", "slurmctld", "node@viz1", "node@viz2", "slurmd@viz1",
    "slurmd@viz2", "moonlight",
)  # fmt: skip


def pid_of(daemon: str) -> int:
    """The process id of a daemon of the head (not of a node's)."""
    return int((RUN / f"{daemon}.pid").read_text())


@contextlib.contextmanager
def stopped(daemon: str) -> Iterator[None]:
    """A daemon is not there for a while, after a clean end."""
    run("cluster-service", "stop", daemon)
    try:
        yield
    finally:
        run("cluster-service", "start", daemon)


@contextlib.contextmanager
def killed(daemon: str) -> Iterator[None]:
    """A daemon is not there for a while, after SIGKILL."""
    run("cluster-service", "kill", daemon)
    try:
        yield
    finally:
        run("cluster-service", "start", daemon)


@contextlib.contextmanager
def hung(daemon: str) -> Iterator[None]:
    """A daemon of the head accepts connections and answers nothing for a while."""
    pid = pid_of(daemon)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def drained(node: str) -> Iterator[None]:
    """A node takes no new jobs for a while."""
    run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    try:
        yield
    finally:
        run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)


class Answers:
    """How fast and with what the service answers, asked by two callers all the time.

    ``times`` are (path, HTTP status, seconds).
    """

    def __init__(self) -> None:
        self.times: list[tuple[str, int, float]] = []
        self._over = threading.Event()
        self._callers = [
            threading.Thread(target=self._ask, args=(path,)) for path in (SESSIONS, "/health")
        ]

    def __enter__(self) -> Self:
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join()

    def _ask(self, path: str) -> None:
        api = Api("alice")
        while not self._over.wait(0.03):
            begin = time.monotonic()
            try:
                status, _ = api("GET", path)
            except OSError:
                status = 0
            self.times.append((path, status, time.monotonic() - begin))

    def statuses(self, path: str) -> set[int]:
        """All HTTP statuses that were answered there; 0 for no answer."""
        return {status for asked, status, _ in self.times if asked == path}

    @property
    def p99_s(self) -> float:
        """The time within which 99 of 100 answers came."""
        return sorted(seconds for _, _, seconds in self.times)[int(len(self.times) * 0.99)]

    @property
    def worst_s(self) -> float:
        """The longest time."""
        return max(seconds for _, _, seconds in self.times)


def timed_request(api: Api, method: str, path: str, body: Any = None) -> tuple[float, Any]:
    """One request: seconds, and an answer with ``status``, ``headers`` and ``json``."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    headers = {"X-Remote-User": api.user, "Content-Type": "application/json"}
    begin = time.monotonic()
    connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
    response = connection.getresponse()
    text = response.read()
    seconds = time.monotonic() - begin
    connection.close()
    return seconds, Answer(response.status, dict(response.headers), json.loads(text))


@attrs.frozen
class Answer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    json: Any


def mend_everything() -> None:
    """Bring back whatever a test that failed may have left broken."""
    for daemon in ("slurmctld", "slurmdbd", "redis", "moonlight", "mariadb", "munge"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(pid_of(daemon), signal.SIGCONT)
    run("cluster-service", "start", *DAEMONS)
    for node in ("viz1", "viz2"):
        if any(word in run("sinfo", "-hn", node, "-o", "%T") for word in ("dr", "down", "fail")):
            run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
    run("scontrol", "update", "PartitionName=viz", "State=UP", check=False)
    # What a script left that was killed with its node or for its memory.
    living = run("squeue", "--noheader", "--all", "--format=%j").split()
    for directory in Path("/scratch/sunshine_sessions").iterdir():
        if directory.name not in living:
            shutil.rmtree(directory, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove the directories of sessions whose scripts were killed in an earlier test."""
    living = {job.session_id for job in jobs_in_slurm().values() if not job.ended}
    for directory in SESSION_DIRS.iterdir():
        if directory.name not in living:
            shutil.rmtree(directory, ignore_errors=True)


def note(fault: str, **figures: Any) -> None:
    """Keep what was measured, for docs/reliability.md; shown at the end of the run as well.

    Args:
        fault: the row of the fault table.
        figures: what was measured, with units in the names: ``whole_s=2.1``.
    """
    line = {"fault": fault, "at": time.strftime("%FT%TZ", time.gmtime())}
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    with _FIGURES.open("a") as file:
        file.write(json.dumps(line | rounded) + "\n")


def figures_since(begin: float) -> list[str]:
    """What was noted since a moment (Unix seconds), a line each."""
    after = time.strftime("%FT%TZ", time.gmtime(begin))
    lines = []
    with contextlib.suppress(FileNotFoundError):
        for text in _FIGURES.read_text().splitlines():
            figure = json.loads(text)
            if figure.pop("at") >= after:
                values = ", ".join(f"{k} {v}" for k, v in figure.items() if k != "fault")
                lines.append(f"{figure['fault']}: {values}")
    return lines

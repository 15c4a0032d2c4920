"""The Slurm gateway in processes of its own, with a deadline for each answer.

pyslurm holds the GIL while it waits for slurmctld, up to 20 seconds, and libslurm can end the
process it is in. Here both happen to a worker: a call that is not answered in time ends the worker
and raises; the next call starts another one.

``python -m moonlight_core.slurm_worker <file descriptor> <slurm.conf>`` is a worker.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moonlight_core.errors import (
    SlurmError,
    SlurmNotUsable,
    SlurmUnavailable,
    SubmitOutcomeUnknown,
)
from moonlight_core.slurm import PyslurmGateway

if TYPE_CHECKING:
    from collections.abc import Collection

    from moonlight_core.gateway import JobSpec, SlurmJob, SlurmNode

_WORKERS = 2
# How long after an unanswered call further ones are refused at once, in seconds: while slurmctld
# hangs, one caller a while finds out, and the others do not wait for it.
_PAUSE_S = 2.0
# Starting Python and pyslurm is not slurmctld's slowness, in seconds.
_START_S = 10.0


class WorkerGateway:
    """A ``SlurmGateway`` whose calls always come back within ``deadline_s`` seconds.

    Safe to be shared by threads. ``close`` ends its workers.
    """

    def __init__(self, conf: Path, *, deadline_s: float) -> None:
        self._conf = conf
        self._deadline_s = deadline_s
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(_WORKERS):
            self._idle.put(None)
        self._away_until = 0.0
        self._closed = threading.Event()

    def submit(self, spec: JobSpec) -> int:
        """See ``SlurmGateway.submit``."""
        answer: int = self._call("submit", spec, unanswered=SubmitOutcomeUnknown)
        return answer

    def jobs(self, job_ids: Collection[int]) -> dict[int, SlurmJob]:
        """See ``SlurmGateway.jobs``."""
        answer: dict[int, SlurmJob] = self._call("jobs", set(job_ids))
        return answer

    def our_jobs(self) -> list[SlurmJob]:
        """See ``SlurmGateway.our_jobs``."""
        answer: list[SlurmJob] = self._call("our_jobs")
        return answer

    def set_admin_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_admin_comment``."""
        self._call("set_admin_comment", job_id, text)

    def wake(self, job_id: int) -> None:
        """See ``SlurmGateway.wake``."""
        self._call("wake", job_id)

    def cancel(self, job_id: int) -> None:
        """See ``SlurmGateway.cancel``."""
        self._call("cancel", job_id)

    def ended_job(self, job_id: int) -> SlurmJob | None:
        """See ``SlurmGateway.ended_job``."""
        answer: SlurmJob | None = self._call("ended_job", job_id)
        return answer

    def nodes(self, partition: str) -> list[SlurmNode]:
        """See ``SlurmGateway.nodes``."""
        answer: list[SlurmNode] = self._call("nodes", partition)
        return answer

    def close(self) -> None:
        """End the workers; calls that come after it are refused."""
        self._closed.set()
        for _ in range(_WORKERS):
            with contextlib.suppress(queue.Empty):
                worker = self._idle.get(timeout=self._deadline_s)
                if worker:
                    worker.end()

    def _call(
        self, method: str, *args: Any, unanswered: type[SlurmError] = SlurmUnavailable
    ) -> Any:
        if self._closed.is_set():
            raise SlurmUnavailable("The service is stopping; ask again when it is back.")
        if time.monotonic() < self._away_until:
            raise SlurmUnavailable(
                "slurmctld did not answer a moment ago. Running desktops go on; try again in a "
                "while."
            )
        try:
            worker = self._idle.get(timeout=self._deadline_s)
        except queue.Empty:
            raise SlurmUnavailable(
                "Too many requests wait for slurmctld; try again in a moment."
            ) from None
        try:
            if worker is None or not worker.alive:
                worker = _Worker(self._conf)
            answer = worker.call(method, args, self._deadline_s)
        except (EOFError, OSError, TimeoutError) as exc:
            late = isinstance(exc, TimeoutError)
            if worker is not None:
                worker.end()
                worker = None
            if late:
                self._away_until = time.monotonic() + _PAUSE_S
            raise unanswered(
                f"slurmctld did not answer within {self._deadline_s:g} s."
                if late
                else "Slurm's library ended while it was asked; it is started again."
            ) from exc
        finally:
            self._idle.put(worker)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class _Worker:
    """One worker process and the connection to it."""

    def __init__(self, conf: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", __name__, str(theirs.fileno()), str(conf)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # A terminal's Ctrl-C is for the service, which then ends its workers itself.
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        try:
            ready = self._answer(_START_S)
        except (EOFError, OSError, TimeoutError):
            self.end()
            raise SlurmNotUsable(
                "Slurm's library did not start. If slurm.conf is right, its own message is in the "
                "service's log just above."
            ) from None
        if isinstance(ready, BaseException):
            self.end()
            raise ready

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def call(self, method: str, args: tuple[Any, ...], deadline_s: float) -> Any:
        self._connection.send((method, args))
        return self._answer(deadline_s)

    def _answer(self, deadline_s: float) -> Any:
        if not self._connection.poll(deadline_s):
            raise TimeoutError
        return self._connection.recv()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()


def main(argv: list[str]) -> int:
    """Answer calls until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(argv[1]))
    gateway = PyslurmGateway(Path(argv[2]))
    try:
        gateway.load()
        connection.send(None)
    except SlurmError as exc:
        connection.send(exc)
        return os.EX_CONFIG
    while True:
        try:
            method, args = connection.recv()
        except (EOFError, OSError):
            return os.EX_OK
        try:
            answer: object = getattr(gateway, method)(*args)
        except SlurmError as exc:
            answer = exc
        connection.send(answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""The Slurm gateway in processes of its own, with a deadline for each answer.

pyslurm holds the GIL while it waits for slurmctld, up to 20 seconds, and libslurm can end the
process it is in. Here both happen to a worker: a call that is not answered in time ends the worker
and raises, and another worker takes its place.

Once a call was not answered, what would change something is refused at once until a question has
been answered again. Reconcile asks one every second or so, so nobody else waits for a slurmctld
that is away.

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
# While slurmctld is away a question is tried this often, in seconds …
_ASK_EVERY_S = 1.0
# … and a change only when nobody has asked for this long.
_CHANGE_AFTER_S = 10.0
# How long a caller waits for a worker: longer, and both hang, in seconds.
_WAIT_S = 2.0
# Starting Python and pyslurm is not slurmctld's slowness, in seconds.
_START_S = 20.0
_QUESTIONS = frozenset({"jobs", "our_jobs", "ended_job", "nodes"})


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
        self._slurmctld = _Peer("slurmctld")
        self._slurmdbd = _Peer("slurmdbd")
        self._closed = threading.Event()

    def start(self) -> None:
        """Start the workers now, so that the first callers need not wait for it."""
        idle = [self._idle.get() for _ in range(_WORKERS)]
        for worker in idle:
            self._idle.put(worker or _Worker(self._conf))

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

    def set_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_comment``."""
        self._call("set_comment", job_id, text)

    def wake(self, job_id: int) -> None:
        """See ``SlurmGateway.wake``."""
        self._call("wake", job_id)

    def cancel(self, job_id: int, *, insist: bool = False) -> None:
        """See ``SlurmGateway.cancel``."""
        self._call("cancel", job_id, insist=insist)

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
        self,
        method: str,
        *args: Any,
        unanswered: type[SlurmError] = SlurmUnavailable,
        **options: Any,
    ) -> Any:
        if self._closed.is_set():
            raise SlurmUnavailable("The service is stopping; ask again when it is back.")
        peer = self._slurmdbd if method == "ended_job" else self._slurmctld
        peer.check(question=method in _QUESTIONS)
        try:
            worker = self._idle.get(timeout=min(_WAIT_S, self._deadline_s))
        except queue.Empty:
            raise SlurmUnavailable(
                "Too many requests wait for Slurm; try again in a moment."
            ) from None
        try:
            # Whoever had the worker before may have learned it.
            peer.check(question=method in _QUESTIONS)
            if worker is None or not worker.alive:
                worker = _Worker(self._conf)
                self._start_another()
            worker.wait_until_ready()
            answer = worker.call((method, args, options), time.monotonic() + self._deadline_s)
        except (SlurmNotUsable, TimeoutError, EOFError, OSError) as exc:
            if worker is not None:
                worker.end()
            # After a silence one is made ready for the question that tells when it is over.
            worker = _Worker(self._conf) if isinstance(exc, TimeoutError) else None
            if isinstance(exc, SlurmNotUsable):
                raise
            if isinstance(exc, TimeoutError):
                peer.silent()
                why = f"{peer.name} did not answer within {self._deadline_s:g} s."
            else:
                why = "Slurm's library ended while it was asked; it is started again."
            raise unanswered(why) from exc
        finally:
            self._idle.put(worker)
        peer.heard(answer)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _start_another(self) -> None:
        """Begin to start the next worker, so that whoever needs it need not wait for that."""
        with contextlib.suppress(queue.Empty):
            self._idle.put(self._idle.get_nowait() or _Worker(self._conf))


class _Peer:
    """Whom the workers ask: slurmctld or slurmdbd, and whether it answered last.

    Threads may meet here; the worst that comes of it is a question too many.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._silent = False
        self._tried = 0.0

    def check(self, *, question: bool) -> None:
        """Refuse a call while the peer is silent, unless it is time to try again."""
        pause = _ASK_EVERY_S if question else _CHANGE_AFTER_S
        if self._silent and time.monotonic() - self._tried < pause:
            raise SlurmUnavailable(
                f"{self.name} did not answer a moment ago. Running desktops go on; try again in a "
                "while."
            )

    def silent(self) -> None:
        self._silent, self._tried = True, time.monotonic()

    def heard(self, answer: object) -> None:
        """Note what a worker said for it, which may be that it cannot be reached."""
        if isinstance(answer, (SlurmUnavailable, SubmitOutcomeUnknown)):
            self.silent()
        else:
            self._silent = False


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
        self._ready = False
        self._started = time.monotonic()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None or not self._ready

    def wait_until_ready(self) -> None:
        """Wait for a new worker's first word.

        Raises:
            SlurmNotUsable: it does not come, or is that Slurm cannot be used.
        """
        if self._ready:
            return
        try:
            word = self._answer(self._started + _START_S)
        except (EOFError, OSError):
            word = SlurmNotUsable(
                "Slurm's library did not start. If slurm.conf is right, its own message is in the "
                "service's log just above."
            )
        if isinstance(word, BaseException):
            raise word
        self._ready = True

    def call(self, what: tuple[str, tuple[Any, ...], dict[str, Any]], deadline: float) -> Any:
        """Ask, and return the answer or the error that it is.

        Raises:
            TimeoutError: no answer came by ``deadline``.
            EOFError, OSError: the worker ended.
        """
        self._connection.send(what)
        return self._answer(deadline)

    def _answer(self, deadline: float) -> Any:
        if not self._connection.poll(max(0.0, deadline - time.monotonic())):
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
            method, args, options = connection.recv()
        except (EOFError, OSError):
            return os.EX_OK
        try:
            answer: object = getattr(gateway, method)(*args, **options)
        except SlurmError as exc:
            answer = exc
        connection.send(answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv))

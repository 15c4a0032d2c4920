"""The Slurm gateway in processes of its own, with a deadline for each answer.

pyslurm holds the GIL while it waits for slurmctld, up to 20 seconds, and libslurm can end the
process it is in. Here both happen to a worker: a call that is not answered in time raises, and
another worker takes its place.

``moonlight_core.silence`` tells what happens after such a call.

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
from moonlight_core.silence import Peer
from moonlight_core.slurm import PyslurmGateway

if TYPE_CHECKING:
    from collections.abc import Collection

    from moonlight_core.gateway import JobSpec, SlurmJob, SlurmNode

_WORKERS = 2
# How long a caller waits for a worker: longer, and both hang, in seconds.
_WAIT_S = 2.0
# Starting Python and pyslurm is not slurmctld's slowness, in seconds.
_START_S = 20.0
_QUESTIONS = frozenset({"jobs", "our_jobs", "ended_job", "nodes"})
_Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class WorkerGateway:
    """A ``SlurmGateway`` whose calls always come back within ``deadline_s`` seconds.

    Safe to be shared by threads. ``close`` ends its workers.
    """

    def __init__(self, conf: Path, *, deadline_s: float) -> None:
        self._conf = conf
        self._deadline_s = deadline_s
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(_WORKERS):
            self._idle.put(None)
        self._slurmctld = Peer("slurmctld")
        self._slurmdbd = Peer("slurmdbd")
        self._closed = threading.Event()

    def start(self, *, wait_s: float = 0) -> None:
        """Start the workers now, so that the first callers need not wait for it.

        Args:
            wait_s: return when they are ready, or could not be started, after so many seconds at
                most. That needs no slurmctld, only Slurm's library and slurm.conf.
        """
        until = time.monotonic() + wait_s
        workers = [self._idle.get() or Worker(self._conf) for _ in range(_WORKERS)]
        try:
            for worker in workers:
                worker.wait_for_a_word(until)
        finally:
            for worker in workers:
                self._idle.put(worker)

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
        for peer in (self._slurmctld, self._slurmdbd):
            peer.close()

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
        question = method in _QUESTIONS
        self._take_back(peer.check(question=question))
        try:
            worker = self._idle.get(timeout=min(_WAIT_S, self._deadline_s))
        except queue.Empty:
            raise SlurmUnavailable(
                "Too many requests wait for Slurm; try again in a moment."
            ) from None
        try:
            # Whoever had the worker before may have learned it.
            self._take_back(peer.check(question=question))
            if worker is None or not worker.alive:
                worker = Worker(self._conf)
                self._start_another()
            worker.wait_until_ready()
            answer = worker.call((method, args, options), time.monotonic() + self._deadline_s)
        except (SlurmNotUsable, TimeoutError, EOFError, OSError) as exc:
            silent = isinstance(exc, TimeoutError)
            if silent:
                peer.silent()
            if worker is not None and not (silent and question and peer.is_left_to(worker)):
                worker.end()
            # The question that tells when the silence is over need not wait for another one.
            worker = Worker(self._conf) if silent and not question else None
            if isinstance(exc, SlurmNotUsable):
                raise
            if silent:
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

    def _take_back(self, worker: Worker | None) -> None:
        """Let a worker that waited for an answer, and got it, take a place that is empty."""
        if worker is None:
            return
        try:
            place = self._idle.get_nowait()
        except queue.Empty:
            worker.end()
            return
        if place is not None:
            worker.end()
        self._idle.put(place or worker)

    def _start_another(self) -> None:
        """Begin to start the next worker, so that whoever needs it need not wait for that."""
        with contextlib.suppress(queue.Empty):
            self._idle.put(self._idle.get_nowait() or Worker(self._conf))


class Worker:
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
        self._asked: _Call | None = None

    @property
    def alive(self) -> bool:
        """Whether it can be asked, or has yet to say why it cannot."""
        return self._process.poll() is None or not self._ready

    @property
    def was_asked(self) -> bool:
        """Whether it was ready to be asked something, and was."""
        return self._asked is not None

    def wait_for_a_word(self, until: float) -> None:
        """Wait until a new worker is ready or has ended; its word is left for the first caller."""
        self._connection.poll(max(0.0, until - time.monotonic()))

    def wait_until_ready(self) -> None:
        """Wait for a new worker's first word.

        Raises:
            SlurmNotUsable: it does not come, or is that Slurm cannot be used.
        """
        if self._ready:
            return
        try:
            word = self.answer_by(self._started + _START_S)
        except (EOFError, OSError):
            word = SlurmNotUsable(
                "Slurm's library did not start. If slurm.conf is right, its own message is in the "
                "service's log just above."
            )
        if isinstance(word, BaseException):
            raise word
        self._ready = True

    def call(self, what: _Call, deadline: float) -> Any:
        """Ask, and return the answer or the error that it is.

        Raises:
            TimeoutError: no answer came by ``deadline``.
            EOFError, OSError: the worker ended.
        """
        self._asked = what
        self._connection.send(what)
        return self.answer_by(deadline)

    def ask_again(self) -> None:
        """Ask what was asked last, once more, for its answer to be looked for later."""
        self._connection.send(self._asked)

    def answer_by(self, deadline: float) -> Any:
        """What it says by then.

        Raises:
            TimeoutError: nothing.
            EOFError, OSError: the worker ended.
        """
        if not self._connection.poll(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        return self._connection.recv()

    def end(self) -> None:
        """Kill it."""
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
        try:
            connection.send(answer)
        except OSError:
            # Whoever asked has gone meanwhile.
            return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv))

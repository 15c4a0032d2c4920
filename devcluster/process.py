"""Runs programs so that an interruption leaves none of them behind.

Three layers: every program leads a session of its own and is killed as a group when the command is
cancelled; the kernel kills it when this process dies in any other way (SIGKILL too); and work that
starts programs of its own runs in a process namespace, whose end is the end of all in it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from devcluster.errors import CancelledError, StepError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: The kernel kills the program when the thread that started it ends.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
#: A process namespace of its own: when its first process dies, so do all others in it.
ISOLATED = (*("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),)
_POLL_S = 0.05


class Runner:
    """Starts programs and knows which ones run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether everything is to end."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Kill what runs, and let nothing more start."""
        self._cancelled.set()
        with self._lock:
            for process in self._running:
                kill_group(process.pid)

    def reset(self) -> None:
        """Allow programs again: tidying up after a cancel needs some."""
        self._cancelled.clear()

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        log: Path,
        *,
        what: str,
        hint: str = "",
        env: Mapping[str, str] | None = None,
        protect: bool = False,
    ) -> None:
        """Run ``command``, its output appended to ``log``.

        Args:
            command: Program and arguments.
            log: Grows by what the program prints.
            what: For the error: "<what> failed".
            hint: For the error: what to do.
            env: The whole environment; None for this process's own.
            protect: Never kill it (dpkg would be left half configured); a cancel takes effect when
                it has ended.

        Raises:
            StepError: It ended with another code than 0.
            CancelledError: The command was interrupted.
        """
        if self.cancelled:
            raise CancelledError
        with log.open("ab") as output:
            output.write(f"$ {' '.join(os.fspath(word) for word in command)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                [*(() if protect else DIE_WITH_PARENT), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        if not protect:
            with self._lock:
                self._running.add(process)
            if self.cancelled:
                kill_group(process.pid)
        try:
            # Polling, because a blocking wait in the main thread would be deaf to Ctrl-C of other
            # threads.
            while process.poll() is None:
                time.sleep(_POLL_S)
        finally:
            if not protect:
                if process.poll() is None:
                    kill_group(process.pid)
                    process.wait()
                with self._lock:
                    self._running.discard(process)
            elif process.poll() is None:
                process.wait()
        if self.cancelled:
            raise CancelledError
        if process.returncode:
            raise StepError(f"{what} failed (exit code {process.returncode}).", hint, log)


def kill_group(pid: int) -> None:
    """SIGKILL to a program and all of its group; already gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def output_of(command: Sequence[str | os.PathLike[str]], *, timeout_s: float = 20) -> str:
    """What a short program prints; empty when it fails, is missing or takes too long."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def succeeds(command: Sequence[str | os.PathLike[str]], *, timeout_s: float = 20) -> bool:
    """Whether a short program ends with code 0."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0

"""When slurmctld or slurmdbd does not answer: who asks on, and who is refused.

Once a call was not answered, all others are refused at once until the peer has answered again, so
that nobody waits for one that is away. The worker whose question was not answered goes on waiting
for the answer, and asks again when Slurm's library has given it up: what it hears tells that the
silence is over. A new process for each try would take processor time from those who read meanwhile.

A worker that was to change something is no such listener: it is ended, for what it was to do must
not be done later, when its caller has been told that it was not.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from moonlight_core.errors import SlurmUnavailable, SubmitOutcomeUnknown

if TYPE_CHECKING:
    from moonlight_core.slurm_worker import Worker

# While nobody listens a question is tried this often, in seconds …
_ASK_EVERY_S = 1.0
# … and a change only when nobody has asked for this long.
_CHANGE_AFTER_S = 10.0
# Slurm's library gives a question up after 10 to 20 s; whoever takes longer is stuck, in seconds.
_PATIENCE_S = 25.0


class Peer:
    """Whom the workers ask: slurmctld or slurmdbd, and whether it answered last."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._silent = False
        self._tried = 0.0
        # The worker that waits for it, and since when.
        self._listener: Worker | None = None
        self._since = 0.0
        self._lock = threading.Lock()

    def check(self, *, question: bool) -> Worker | None:
        """Refuse a call while the peer is silent, unless it is time to try again.

        Returns:
            a worker that waited for the peer and is free now, for others to use.
        """
        with self._lock:
            free = self._listen() if self._listener else None
            pause = _ASK_EVERY_S if question else _CHANGE_AFTER_S
            waits = self._listener is not None or time.monotonic() - self._tried < pause
            if self._silent and waits:
                raise SlurmUnavailable(
                    f"{self.name} did not answer a moment ago. Running desktops go on; try again "
                    "in a while."
                )
            return free

    def is_left_to(self, worker: Worker) -> bool:
        """Let a worker whose question was not answered wait on, unless another one does."""
        with self._lock:
            if self._listener is not None or not worker.was_asked:
                return False
            self._listener, self._since = worker, time.monotonic()
            return True

    def _listen(self) -> Worker | None:
        """Whether the one that waits has heard something; returns it when the silence is over."""
        worker = self._listener
        assert worker is not None  # noqa: S101 - for the type checker
        try:
            self.heard(worker.answer_by(0))
            if not self._silent:
                self._listener = None
                return worker
            worker.ask_again()
            self._since = time.monotonic()
        except TimeoutError:
            if time.monotonic() - self._since > _PATIENCE_S:
                self._drop()
        except (EOFError, OSError):
            self._drop()
        return None

    def _drop(self) -> None:
        if self._listener is not None:
            self._listener.end()
            self._listener = None

    def silent(self) -> None:
        """Note that it did not answer."""
        self._silent, self._tried = True, time.monotonic()

    def heard(self, answer: object) -> None:
        """Note what a worker said for it, which may be that it cannot be reached."""
        if isinstance(answer, (SlurmUnavailable, SubmitOutcomeUnknown)):
            self.silent()
        else:
            self._silent = False

    def close(self) -> None:
        """Let nobody listen any more."""
        with self._lock:
            self._drop()

"""Pairing, with the order of steps and the oddities of Sunshine, but a proof of our own.

Real GameStream pairing exchanges AES and RSA blocks. Here both sides show that they know the PIN by
an HMAC; a real Moonlight client cannot pair with the stand-in. What an operator sees is the same: a
wrong PIN is accepted by the web interface and found out only between client and host.
"""

import hashlib
import hmac
import threading
from dataclasses import dataclass, field

from .state import State


def proof(pin: str, salt: str, role: str) -> str:
    """Return what `role` ("host" or "client") shows to prove that it knows the PIN."""
    return hmac.new((salt + pin).encode(), role.encode(), hashlib.sha256).hexdigest()


@dataclass
class Attempt:
    """One client's pairing, from its first request to its last."""

    uniqueid: str
    salt: str
    cert: str
    pin: str | None = None
    name: str = ""
    failure: str = ""
    waiting: bool = True
    answered: threading.Event = field(default_factory=threading.Event)


class Pairing:
    """The pairings under way, by the client's `uniqueid`.

    An attempt that its client gives up stays here until somebody trips over it: the next PIN is
    spent on it, or the next attempt under the same uniqueid fails once. Sunshine behaves so.
    """

    def __init__(self, state: State, stopping: threading.Event) -> None:
        self._state = state
        self._stopping = stopping
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}

    def begin(self, uniqueid: str, salt: str, cert: str) -> Attempt:
        """Register an attempt, or come back to the one already known under this uniqueid."""
        with self._lock:
            attempt = self._attempts.setdefault(uniqueid, Attempt(uniqueid, salt, cert))
            attempt.salt = salt
            attempt.waiting = True
            attempt.answered.clear()
            return attempt

    def wait(self, attempt: Attempt) -> bool:
        """Wait until somebody has entered a PIN; false when the program is stopping."""
        while not attempt.answered.wait(0.1):
            if self._stopping.is_set():
                return False
        return True

    def enter_pin(self, pin: str, name: str) -> bool:
        """Give a PIN to the oldest attempt; true when one was waiting, whether or not it is right.

        What is no four digits is refused like a PIN for which nobody waits.
        """
        with self._lock:
            if not self._attempts or len(pin) != 4 or not pin.isdigit():
                return False
            attempt = next(iter(self._attempts.values()))
            if attempt.pin is not None:
                attempt.failure = "Out of order call to getservercert"
                del self._attempts[attempt.uniqueid]
            attempt.pin, attempt.name = pin, name
            was_waiting, attempt.waiting = attempt.waiting, False
            attempt.answered.set()
            return was_waiting

    def fail(self, uniqueid: str) -> str:
        """Forget an attempt for a step out of order; return what is said to it.

        That step is always out of order here: our own proof goes without it.
        """
        with self._lock:
            attempt = self._attempts.pop(uniqueid, None)
            if attempt is None:
                return "Invalid uniqueid"
            attempt.failure = "Out of order call to serverchallengeresp"
            attempt.answered.set()
            return attempt.failure

    def finish(self, uniqueid: str, shown: str) -> bool:
        """Check the client's proof; when it fits, remember the client.

        Raises:
            LookupError: when nothing is under way with this uniqueid.
        """
        with self._lock:
            attempt = self._attempts.pop(uniqueid, None)
        if attempt is None or attempt.pin is None:
            raise LookupError("Invalid uniqueid")
        if not hmac.compare_digest(shown, proof(attempt.pin, attempt.salt, "client")):
            return False
        self._state.add(attempt.name, attempt.cert)
        return True

"""Work on desktops that must not take the service with it: in the background, and in bounds."""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

import falcon

from moonlight_core.errors import MoonlightError
from moonlight_http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moonlight_core import PairingAttempt

_log = logging.getLogger(__name__)
_MOST = 32


_BUSY = "Too many requests to desktops are under way; try again."


def _busy(message: str = _BUSY) -> Refusal:
    return Refusal(falcon.HTTP_503, "busy", message)


class Pairings:
    """Carries out pairings that go on after their request has been answered.

    Attributes:
        stop: ends all of them.
    """

    def __init__(self, stop: threading.Event, *, most: int = _MOST) -> None:
        self.stop = stop
        self._places = threading.BoundedSemaphore(most)
        self._threads: set[threading.Thread] = set()

    def start(self, begin: Callable[[], PairingAttempt]) -> PairingAttempt:
        """Begin a pairing here, so that a refusal is heard, and carry it out in a thread.

        Raises:
            Refusal: 503 when too many are under way.
            MoonlightError: what ``begin`` raises.
        """
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            attempt = begin()
            # A daemon: a Sunshine that does not answer must not hold up the end of the service.
            thread = threading.Thread(target=self._run, args=(attempt,), daemon=True)
            self._threads.add(thread)
            thread.start()
        except BaseException:
            self._places.release()
            raise
        return attempt

    def join(self, timeout_s: float) -> None:
        """Wait until all have ended, at most so many seconds; set ``stop`` before."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, attempt: PairingAttempt) -> None:
        try:
            attempt.run(self.stop)
        except MoonlightError as exc:
            _log.info("session %s: not paired: %s", attempt.session_id, exc)
        except Exception:  # noqa: BLE001 - nobody else would hear of a bug in a thread
            _log.exception("session %s: pairing failed", attempt.session_id)
        finally:
            self._threads.discard(threading.current_thread())
            self._places.release()


class Gate:
    """Lets so many requests in at a time, and so many of each user."""

    def __init__(self, *, most: int, most_each: int, refusal: str = _BUSY) -> None:
        self._refusal = refusal
        self._most = most
        self._most_each = most_each
        self._inside: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def enter(self, name: str) -> Iterator[None]:
        """Be inside as a user.

        Raises:
            Refusal: 503 when there is no room.
        """
        with self._lock:
            if self._inside.total() >= self._most or self._inside[name] >= self._most_each:
                raise _busy(self._refusal)
            self._inside[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside[name] -= 1
                self._inside += collections.Counter()  # forgets who is not inside

"""Requests that wait for a session: so many at a time, on threads that nobody else needs.

``moonlight_http.serving`` gives waitress a thread for each of them beside those that all other
requests share, so that waiting takes nothing from those who do not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_http.identity import scope
from moonlight_http.pairings import Gate

if TYPE_CHECKING:
    import threading

    import falcon

    from moonlight_core import Session, SessionManager

HAS_LEFT = "moonlight.has_left"
"""In a request's environment: a function that tells whether its client has gone."""
DEFAULT_WAIT_S = 30
LONGEST_WAIT_S = 60


class Waiters:
    """Carries out the waiting."""

    def __init__(self, manager: SessionManager, *, most: int, stop: threading.Event) -> None:
        self._manager = manager
        self._stop = stop
        self._gate = Gate(
            most=most,
            most_each=max(1, most // 4),
            refusal="Too many requests wait for sessions already; ask without wait, or again.",
        )

    def wait(self, req: falcon.Request, session_id: str, awaited: str, timeout_s: float) -> Session:
        """The session when it has got there, the time is over, or nobody listens any more.

        Raises:
            Refusal: 503 when too many wait already.
            MoonlightError: what ``SessionManager.wait_until`` raises.
        """
        has_left = req.env.get(HAS_LEFT, lambda: False)
        with self._gate.enter(req.context.caller.name):
            return self._manager.wait_until(
                session_id,
                awaited,
                timeout_s=timeout_s,
                user=scope(req),
                given_up=lambda: self._stop.is_set() or has_left(),
            )

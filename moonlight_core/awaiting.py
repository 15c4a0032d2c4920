"""Waiting for a session's status, look by look: what is told, and how it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from moonlight_core.errors import SessionEnded, WaitTimeout
from moonlight_core.models import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.models import Session


class Awaiting:
    """A status that is waited for, from now on for so many seconds.

    Attributes:
        status: the status.
    """

    def __init__(
        self, status: str, timeout_s: float, progress: Callable[[Session], None] | None
    ) -> None:
        self.status = Status(status)
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._progress = progress
        self._told: object = None

    @property
    def left_s(self) -> float:
        """Seconds until the time is over; not below 0."""
        return max(0.0, self._deadline - time.monotonic())

    def reached(self, session: Session) -> bool:
        """Whether a session is there, as it is now; its progress is told when it has changed.

        Raises:
            SessionEnded: it ended first.
            WaitTimeout: the time was over first; the session goes on.
        """
        seen = (session.phase, session.reason)
        if self._progress and self._told != seen:
            self._progress(session)
            self._told = seen
        if session.status is self.status:
            return True
        name = session.session_id
        if session.status.ended:
            why = session.error or session.reason or session.status
            raise SessionEnded(f"The session {name} ended ({session.status}): {why}")
        if not self.left_s:
            raise WaitTimeout(
                f"The session {name} is {session.status} ({session.phase}) after "
                f"{self._timeout_s:g} s. {session.reason or ''}".strip()
            )
        return False

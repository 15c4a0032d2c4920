"""``SessionViews``: what a caller can see of a session, and wait for, without changing it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from moonlight_core.access import SunshineAccess
from moonlight_core.errors import InvalidRequest
from moonlight_core.models import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.models import Session

# A change is heard at once; this is for one that went unheard, and for callers who have left.
_LOOK_EVERY_S = 1.0
_AWAITED = ("running", "ended")


def _goes_on() -> bool:
    return False


class SessionViews(SunshineAccess):
    """Looking at sessions, and waiting for them.

    Every method raises ``SessionNotFound`` for a session that is not there, or not ``user``'s, and
    ``StoreUnavailable`` when Redis is away. With ``user`` None the session may be anybody's.
    """

    def wait_until(
        self,
        session_id: str,
        awaited: str,
        *,
        timeout_s: float,
        user: str | None = None,
        given_up: Callable[[], bool] = _goes_on,
    ) -> Session:
        """The session as it is when it is running or has ended, or when the time is over.

        Unlike ``SessionManager.wait`` it leaves reconcile to the service and raises nothing when
        the time is over or the session ends instead of running: the session tells.

        Args:
            session_id: its id.
            awaited: ``running`` (answered as well when it ends, for then it never will be) or
                ``ended``.
            timeout_s: seconds to wait at most.
            user: only if it is this user's session.
            given_up: asked about once a second; True ends the wait.

        Raises:
            InvalidRequest: ``awaited`` is neither.
        """
        if awaited not in _AWAITED:
            raise InvalidRequest(
                "wait", f"wait is {awaited!r}: it is one of {', '.join(_AWAITED)}."
            )
        deadline = time.monotonic() + timeout_s
        session = self._get(session_id, user)
        if _reached(session, awaited) or timeout_s <= 0:
            return self._shown(session)
        with self._store.feed.watch(session_id) as changed:
            while not given_up():
                session = self._get(session_id, user)
                left = deadline - time.monotonic()
                if _reached(session, awaited) or left <= 0:
                    break
                changed.wait(min(left, _LOOK_EVERY_S))
                changed.clear()
        return self._shown(session)


def _reached(session: Session, awaited: str) -> bool:
    # One that is stopping will not run any more.
    on_its_way = session.status in (Status.PENDING, Status.STARTING)
    return session.status.ended or (awaited == "running" and not on_its_way)

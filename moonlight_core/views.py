"""``SessionViews``: what a caller can see of a session, and wait for, without changing it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from moonlight_core.access import SunshineAccess
from moonlight_core.errors import InvalidRequest, LogNotFound, ScreenshotsOff
from moonlight_core.models import Status
from moonlight_core.pictures import Pictures
from moonlight_core.session_log import MOST_LINES, SessionLog, read_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.gateway import SlurmGateway
    from moonlight_core.models import Session
    from moonlight_core.pictures import Picture
    from moonlight_core.secret import Secret, ServiceSecrets
    from moonlight_core.settings import Settings
    from moonlight_core.store import SessionStore
    from moonlight_core.users import User

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

    def __init__(
        self,
        settings: Settings,
        store: SessionStore,
        gateway: SlurmGateway,
        service_secret: Secret | ServiceSecrets,
        *,
        resolve_user: Callable[..., User],
    ) -> None:
        super().__init__(settings, store, service_secret)
        self._gateway = gateway
        self._resolve_user = resolve_user
        self._pictures = Pictures(settings, store, gateway)

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
            return self._told(session)
        with self._store.feed.watch(session_id) as changed:
            while not given_up():
                session = self._get(session_id, user)
                left = deadline - time.monotonic()
                if _reached(session, awaited) or left <= 0:
                    break
                changed.wait(min(left, _LOOK_EVERY_S))
                changed.clear()
        return self._told(session)

    def log(self, session_id: str, *, tail: int = 200, user: str | None = None) -> SessionLog:
        """The last lines of a session's log; none before its job has started.

        Args:
            session_id: its id.
            tail: how many lines, 1 to 2000.
            user: only if it is this user's session.

        Raises:
            InvalidRequest: ``tail`` is out of bounds.
            LogNotFound: it is not there, though the job has started.
            FileUnreadable: the service may not read it.
        """
        if not 1 <= tail <= MOST_LINES:
            raise InvalidRequest("tail", f"tail is {tail}: it may be 1 to {MOST_LINES}.")
        session = self._get(session_id, user)
        paths = self.settings.paths
        log = read_log(paths, session_id, self._owner(session), tail)
        if log is not None:
            return log
        path = str(paths.logs / f"{session_id}.log")
        if session.status in (Status.PENDING, Status.STARTING):
            return SessionLog(lines=(), complete=True, size_bytes=0, path=path)
        raise LogNotFound(
            f"The log of the session {session_id} is not there: its job never started, it was "
            f"removed, or {paths.logs} is not the same directory on the nodes and here."
        )

    def screenshot(self, session_id: str, *, user: str | None = None) -> Picture:
        """A picture of a session's desktop, a few seconds old at most.

        Args:
            session_id: its id.
            user: only if it is this user's session.

        Raises:
            ScreenshotsOff: the site has switched this off.
            SessionNotRunning: there is no desktop yet, or any more.
            ScreenshotUnavailable: its script cannot make one.
            ScreenshotFailed: it made none, or nothing that could be shown.
            TooManyScreenshots: another one was wanted a moment ago.
            FileUnreadable: the service may not read it.
            SlurmUnavailable: slurmctld is away.
        """
        if not self.settings.service.screenshots:
            raise ScreenshotsOff("This site makes no pictures of desktops ([service] screenshots).")
        session, _lease = self._running(session_id, user)
        return self._pictures.take(session, self._owner(session))

    def _told(self, session: Session) -> Session:
        """A session as callers see it."""
        return self._shown(session)

    def _owner(self, session: Session) -> User:
        return self._resolve_user(session.username, first_uid=self.settings.sessions.first_uid)


def _reached(session: Session, awaited: str) -> bool:
    # One that is stopping will not run any more.
    on_its_way = session.status in (Status.PENDING, Status.STARTING)
    return session.status.ended or (awaited == "running" and not on_its_way)

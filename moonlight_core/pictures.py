"""Pictures of desktops, made by their own jobs on request.

The service asks over slurmctld (``moonlight_core.bus``) and fetches the file that the job puts into
its session's directory, as the user and no other: nobody but her processes touches her X server.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from typing import TYPE_CHECKING

import attrs

from moonlight_core import bus, png
from moonlight_core.errors import (
    ScreenshotFailed,
    ScreenshotUnavailable,
    StoreError,
    TooManyScreenshots,
)
from moonlight_core.user_files import read_end

if TYPE_CHECKING:
    from moonlight_core.gateway import SlurmGateway
    from moonlight_core.models import Session
    from moonlight_core.settings import Settings
    from moonlight_core.store import SessionStore
    from moonlight_core.users import User

_PATIENCE_S = 8.0
_LOOK_EVERY_S = 0.05
_MOST_BYTES = 16 << 20
_MOST_KEPT_BYTES = 64 << 20
_LONGEST_REASON = 200
_TRIES = 20


@attrs.frozen(kw_only=True)
class Picture:
    """A picture of a desktop.

    Attributes:
        data: a PNG, from the user's own machine: its frame has been checked, its content not.
        width: pixels.
        height: pixels.
        taken_at: when.
    """

    data: bytes
    width: int
    height: int
    taken_at: dt.datetime


class Pictures:
    """Has pictures made, one a session at a time, and keeps each for a moment."""

    def __init__(self, settings: Settings, store: SessionStore, gateway: SlurmGateway) -> None:
        self._sessions = settings.paths.sessions
        self._every_s = settings.service.screenshot_every_s
        self._store = store
        self._gateway = gateway
        self._kept: dict[str, tuple[float, Picture]] = {}
        self._making: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def take(self, session: Session, owner: User) -> Picture:
        """A picture of a running session's desktop, at most ``screenshot_every_s`` seconds old.

        Args:
            session: the session; it runs.
            owner: its user.

        Raises:
            ScreenshotUnavailable: its script cannot make one.
            ScreenshotFailed: it made none, or nothing that could be shown.
            TooManyScreenshots: another one was wanted a moment ago.
            FileUnreadable: the service cannot read it.
            SlurmUnavailable: slurmctld is away.
        """
        with self._lock:
            making = self._making.setdefault(session.session_id, threading.Lock())
        # Whoever asks while one is made gets that one.
        if not making.acquire(timeout=_PATIENCE_S + 1):
            raise TooManyScreenshots(session.session_id, self._every_s)
        try:
            kept = self._recent(session.session_id)
            if kept is not None:
                return kept
            left = self._store.claim_picture(session.session_id, self._every_s)
            if left:
                raise TooManyScreenshots(session.session_id, left)
            picture = self._make(session, owner)
            self._keep(session.session_id, picture)
            return picture
        finally:
            making.release()

    def _recent(self, session_id: str) -> Picture | None:
        with self._lock:
            made_at, picture = self._kept.get(session_id, (0.0, None))
        return picture if time.monotonic() - made_at < self._every_s else None

    def _keep(self, session_id: str, picture: Picture) -> None:
        now = time.monotonic()
        with self._lock:
            self._kept[session_id] = (now, picture)
            old = sorted(self._kept, key=lambda each: self._kept[each][0])
            total = sum(len(kept.data) for _, kept in self._kept.values())
            for each in old[:-1]:
                made_at, kept = self._kept[each]
                if total > _MOST_KEPT_BYTES or now - made_at > self._every_s:
                    total -= len(kept.data)
                    del self._kept[each]
            for each in [each for each, lock in self._making.items() if not lock.locked()]:
                del self._making[each]

    def _make(self, session: Session, owner: User) -> Picture:
        number = self._wish(session)
        folder = (session.session_id, "pictures")
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            piece = read_end(owner, self._sessions, *folder, f"{number}.png", most=_MOST_BYTES)
            if piece is not None:
                if piece.size > len(piece.data):
                    raise ScreenshotFailed(
                        f"The picture of the desktop has {piece.size} bytes; at most {_MOST_BYTES} "
                        "are fetched."
                    )
                return _checked(piece.data)
            failed = read_end(owner, self._sessions, *folder, f"{number}.failed", most=4096)
            if failed is not None:
                words = " ".join(failed.data.decode("utf-8", "replace").split())
                shown = "".join(c if c.isprintable() else "?" for c in words[:_LONGEST_REASON])
                raise ScreenshotFailed(f"The desktop gave no picture: {shown}")
            time.sleep(_LOOK_EVERY_S)
        raise ScreenshotFailed(
            f"The desktop made no picture within {_PATIENCE_S:g} s. Its node may be overloaded, or "
            f"{self._sessions} is not the same directory there and here."
        )

    def _wish(self, session: Session) -> int:
        """Ask the job for a picture; its number."""
        job_id = session.job_id or 0
        job = self._gateway.jobs([job_id]).get(job_id)
        report = bus.Report.of_job(job) if job else None
        if job is None or report is None or not report.hears:
            raise ScreenshotUnavailable(
                f"The session {session.session_id} cannot make a picture: it was started by an "
                "earlier version, or is ending. A new session can."
            )
        for _ in range(_TRIES):
            now = self._store.get(session.session_id)
            if now is None:
                break
            if self._store.update(now, shots=now.shots + 1):
                wished = attrs.evolve(now, shots=now.shots + 1, restart_count=job.restart_count)
                self._gateway.set_admin_comment(job_id, bus.Mark.of_session(wished).text())
                self._gateway.wake(job_id)
                return wished.shots
        raise StoreError(f"The record of {session.session_id} does not settle; try again.")


def _checked(data: bytes) -> Picture:
    try:
        width, height = png.size_of(data)
    except ValueError as exc:
        raise ScreenshotFailed(
            f"The desktop's picture is no PNG that could be shown: {exc}."
        ) from exc
    return Picture(data=data, width=width, height=height, taken_at=dt.datetime.now(dt.UTC))

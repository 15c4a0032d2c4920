"""When a desktop that nobody is connected to gives its GPU back.

Decided in each round from what is known of a session; nothing is kept between rounds but in its
record. The service never cancels such a session: it asks the session's own script to end it, which
looks once more whether somebody is connected, on the node and at that moment. What is not known
counts as somebody.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.models import Status

if TYPE_CHECKING:
    from moonlight_core.models import Session
    from moonlight_core.settings import SessionSettings

_log = logging.getLogger(__name__)

IDLE = "idle"
AGE = "age"
# A script that does not do what it was asked is asked again.
_ASK_AGAIN = dt.timedelta(minutes=1)
_NOTHING: dict[str, Any] = {
    "idle_ends_at": None,
    "warned_at": None,
    "end_wanted": None,
    "asked_at": None,
}


def changes(
    session: Session, limits: SessionSettings, now: dt.datetime, *, hears: bool
) -> dict[str, Any]:
    """What to change in the record of a session: when it ends, whether it is warned, or asked to.

    Args:
        session: the session, with who is connected as it was told last.
        limits: the site's.
        now: the time.
        hears: whether its script can be asked.
    """
    end, why = planned(session, limits)
    if end is None or not hears:
        return _NOTHING
    warning = _warning(session, limits)
    # One who was there for a moment has moved the end: the warning comes again.
    warned_at = session.warned_at if now >= end - warning else None
    if warned_at is None and now >= end - warning:
        # Nobody may have looked for a while: the warning comes before the end all the same.
        warned_at = now
    if warned_at is not None:
        end = max(end, warned_at + warning)
    wanted = why if now >= end else None
    asked_at = session.asked_at if wanted else None
    if wanted and (asked_at is None or now - asked_at >= _ASK_AGAIN):
        _log.info("session %s is asked to end: %s", session.session_id, wanted)
        asked_at = now
    return {
        "idle_ends_at": end,
        "warned_at": warned_at,
        "end_wanted": wanted,
        "asked_at": asked_at,
    }


@attrs.frozen(kw_only=True)
class Idleness:
    """A running session as ``reap`` sees it.

    Attributes:
        session_id: its id.
        username: whose it is.
        slurm_node: where it runs.
        clients_connected: Moonlight clients that stream; None if that is not known.
        idle_since: since when nobody is connected; None if somebody is or may be.
        ends_at: when it will end unless somebody connects; None if it will not for that.
        verdict: what is done about it, in a sentence.
    """

    session_id: str
    username: str
    slurm_node: str | None
    clients_connected: int | None
    idle_since: dt.datetime | None
    ends_at: dt.datetime | None
    verdict: str

    @classmethod
    def of(cls, session: Session, limits: SessionSettings, now: dt.datetime) -> Idleness:
        """How idle a running session is."""
        end, why = planned(session, limits)
        end = session.idle_ends_at or end
        return cls(
            session_id=session.session_id,
            username=session.username,
            slurm_node=session.slurm_node,
            clients_connected=session.clients_connected,
            idle_since=idle_since(session),
            ends_at=end,
            verdict=_verdict(session, end, why, now),
        )


def _verdict(session: Session, end: dt.datetime | None, why: str, now: dt.datetime) -> str:
    if session.clients_connected is None:
        return "It is not known who is connected: left alone."
    if session.clients_connected:
        return "Somebody is connected."
    if end is None:
        return "It may stay as long as its job may run."
    if session.end_wanted is not None:
        return "Its script is asked to end it, and looks whether somebody is connected."
    minutes = max(0, round((end - now).total_seconds() / 60))
    left = f"in {minutes} min" if now < end else "now"
    limit = (
        "the site's limit of age" if why == AGE else f"{session.idle_minutes} min without anybody"
    )
    warned = ", and says so" if session.warned_at is not None else ""
    return f"It ends {left} by {limit}{warned}."


def planned(session: Session, limits: SessionSettings) -> tuple[dt.datetime | None, str]:
    """When a session is to end if nobody connects, and why; None while it is not to."""
    since = idle_since(session)
    if since is None:
        return None, ""
    ends = []
    if session.idle_minutes:
        ends.append((since + dt.timedelta(minutes=session.idle_minutes), IDLE))
    if limits.max_age_hours and session.started_at is not None:
        age = session.started_at + dt.timedelta(hours=limits.max_age_hours)
        # Whoever has just lost the connection comes back within the time of the warning.
        ends.append((max(age, since + _warning(session, limits)), AGE))
    return min(ends) if ends else (None, "")


def idle_since(session: Session) -> dt.datetime | None:
    """Since when nobody is connected to a session that runs; None if somebody is or may be."""
    if session.status is not Status.RUNNING or session.clients_connected != 0:
        return None
    if session.ready_at is None:
        return None
    return max(session.ready_at, session.last_connected_at or session.ready_at)


def _warning(session: Session, limits: SessionSettings) -> dt.timedelta:
    minutes = limits.idle_warning_minutes
    return dt.timedelta(minutes=min(minutes, session.idle_minutes or minutes))

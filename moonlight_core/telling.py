"""What a running desktop tells of itself, as its record says it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from moonlight_core import explain
from moonlight_core.models import Status
from moonlight_core.sunshine_conf import input_of

if TYPE_CHECKING:
    from moonlight_core.bus import Report
    from moonlight_core.gateway import SlurmJob
    from moonlight_core.models import Session

# A node's clock may be this far ahead of ours; what is further is no time of a client.
_CLOCKS_APART_S = 60.0


def running(
    session: Session, job: SlurmJob, report: Report | None, now: dt.datetime
) -> dict[str, Any] | None:
    """What a record should say of a session whose desktop is there; None if it is not.

    Args:
        session: the session as its record says.
        job: its job, which runs.
        report: what its script reported last.
        now: the time.
    """
    if report is None or session.lease is None:
        return None
    if report.phase == "restarting_sunshine" and session.status is Status.RUNNING:
        # The desktop goes on; who connects just now has to try again.
        values: dict[str, Any] = {"phase": report.phase, "reason": report.reason}
    elif report.phase == "ready":
        values = {
            "status": Status.RUNNING,
            "phase": "preempting" if job.preempted_at else "ready",
            "reason": explain.preempting(job) or report.reason,
            "ready_at": session.ready_at or now,
            "cert_sha256": report.cert_sha256,
        }
    else:
        return None
    return values | _told(session, report, now)


def _told(session: Session, report: Report, now: dt.datetime) -> dict[str, Any]:
    """What else was reported. Its owner can write that field: a time to come is left out."""
    version = report.sunshine_version or session.sunshine_version
    values: dict[str, Any] = {
        "sunshine_version": version,
        "clients_connected": report.clients if report.clients is not None else 0,
        "stream_state": report.stream or "free",
        "sunshine_restarts": report.restarts,
    }
    if report.uinput is not None:
        values["input"] = input_of(version, uinput=report.uinput)
    if report.seen is not None:
        seen = dt.datetime.fromtimestamp(report.seen, dt.UTC)
        if (seen - now).total_seconds() < _CLOCKS_APART_S:
            values["last_connected_at"] = seen
    return values

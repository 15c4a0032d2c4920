"""A session whose job should have ended by now: insisted on, and told about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moonlight_core.states import Stage

if TYPE_CHECKING:
    import datetime as dt

    from moonlight_core.gateway import SlurmJob
    from moonlight_core.models import Session

# The phase of a session whose job is to be cancelled, until Slurm confirms.
CANCELLING = "cancelling"
# After this time a job that lives in spite of its cancellation is killed hard …
_INSIST_S = 20.0
# … and after this time, longer than KillWait and UnkillableStepTimeout of Slurm, people are told,
# and a job whose script said that it ends, and did not, is cancelled.
_LATE_S = 60.0


def insists(session: Session, now: dt.datetime) -> bool:
    """Whether a job that was cancelled, or said that it ends, should long have begun to end."""
    patience_s = _INSIST_S if session.phase == CANCELLING else _LATE_S
    return _ending_for_s(session, now) > patience_s


def late(session: Session, job: SlurmJob, stage: Stage, now: dt.datetime) -> dict[str, Any]:
    """What a record should say of a session whose job should have ended by now, if that is so."""
    if session.ending_at is None:
        return {"ending_at": now}
    since, taken = f"{session.ending_at:%H:%M:%S} UTC", ""
    if job.node is not None:
        taken = f" Its display and ports on {job.node} stay taken until Slurm says that it is gone."
    if stage is not Stage.ENDING and insists(session, now):
        return {
            "reason": f"Ending since {since}, and the job is still {job.state}: Slurm was told "
            f"again, and to kill it.{taken}"
        }
    if stage is Stage.ENDING and _ending_for_s(session, now) > _LATE_S:
        return {
            "reason": f"Slurm is ending the job since {since}: the node {job.node} does not "
            f"answer, or a process there cannot be killed.{taken} The administrators can see more "
            f"by `scontrol show node {job.node}`."
        }
    return {}


def _ending_for_s(session: Session, now: dt.datetime) -> float:
    return (now - session.ending_at).total_seconds() if session.ending_at else 0.0

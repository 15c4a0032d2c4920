"""What pyslurm's objects say, as our own values; it needs no pyslurm itself."""

from __future__ import annotations

import datetime as dt
from typing import Any

from moonlight_core.gateway import SlurmJob, SlurmNode


def node_of(node: Any) -> SlurmNode:
    """A ``pyslurm.Node``."""
    gres: dict[str, int] = {}
    for name, count in node.configured_gres.items():
        # With a type it is "gpu:a40".
        kind = name.partition(":")[0]
        gres[kind] = gres.get(kind, 0) + count
    return SlurmNode(name=node.name, state=node.state, reason=text(node, "reason"), gres=gres)


def job_of(job: Any) -> SlurmJob:
    """A ``pyslurm.Job``, as slurmctld knows it."""
    running = job.state != "PENDING"
    return SlurmJob(
        job_id=job.id,
        name=text(job, "name"),
        user_id=job.user_id if job.user_id is not None else -1,
        state=job.state,
        state_reason=text(job, "state_reason"),
        node=(job.batch_host or job.allocated_nodes or None) if running else None,
        comment=text(job, "comment"),
        admin_comment=text(job, "admin_comment"),
        extra=text(job, "extra"),
        restart_count=job.requeue_count or 0,
        submitted_at=_time(job.submit_time),
        # While a job is pending this is when Slurm expects to start it.
        started_at=_time(job.start_time) if running else None,
        expected_start_at=None if running else _time(job.start_time),
        ended_at=_time(job.end_time),
        # Slurm moves it: for a new limit, after a suspension, for the grace time of a preemption.
        expires_at=(
            _time(job.end_time)
            if running and job.state != "SUSPENDED" and isinstance(job.time_limit, int)
            else None
        ),
        preempted_at=_time(job.preempt_time),
        exit_code=job.exit_code,
        exit_signal=job.exit_code_signal,
    )


def ended_job_of(job: Any) -> SlurmJob:
    """A ``pyslurm.db.Job``, as slurmdbd remembers it."""
    return SlurmJob(
        job_id=job.id,
        name=text(job, "name"),
        user_id=job.user_id if job.user_id is not None else -1,
        # sacct's "CANCELLED by 1000" is CANCELLED to us.
        state=str(job.state).split(" ", 1)[0],
        node=job.nodelist or None,
        comment=text(job, "comment"),
        admin_comment=text(job, "admin_comment"),
        extra=text(job, "extra"),
        submitted_at=_time(job.submit_time),
        started_at=_time(job.start_time),
        ended_at=_time(job.end_time),
        exit_code=job.exit_code,
        exit_signal=job.exit_code_signal,
    )


def _time(seconds: int | None) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None


def text(job: Any, name: str) -> str:
    """A text of a job, by its name; empty where there is none that can be read."""
    try:
        # pyslurm before 25.11 does not know a job's Extra.
        return getattr(job, name, None) or ""
    except UnicodeDecodeError:
        # A job's owner may write any bytes; what is no UTF-8 is nothing that we wrote.
        return ""

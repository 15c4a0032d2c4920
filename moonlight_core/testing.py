"""A Slurm without a Slurm, for unit tests of this project and of tools built on it.

It passes the same contract tests as the real gateway, so it does not invent what slurmctld would
not say. A test moves its jobs along by hand with ``start``, ``report`` and ``end``.
"""

from __future__ import annotations

import collections
import datetime as dt
import threading
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.errors import NotPermitted, SlurmRefused, SlurmUnavailable, SubmitRejected
from moonlight_core.gateway import COMMENT_PREFIX, SlurmJob, SlurmNode

if TYPE_CHECKING:
    from collections.abc import Collection

    from moonlight_core.gateway import JobSpec

_ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")


class MemoryGateway:
    """A ``SlurmGateway`` that keeps its jobs in memory.

    Attributes:
        away: while True every call raises ``SlurmUnavailable``, as with a stopped slurmctld.
        specs: what was submitted, by job id.
        accounting: what slurmdbd remembers, by job id.
        viz_nodes: the nodes of every partition, by name.
        woken: how often ``wake`` was called, by job id.
        undying: jobs that a cancel does not end.
        insisted: how often ``cancel`` was told to insist, by job id.
    """

    def __init__(
        self, *, partitions: Collection[str] = ("viz",), qos: Collection[str] = ("moonlight",)
    ) -> None:
        self.away = False
        self.specs: dict[int, JobSpec] = {}
        self.accounting: dict[int, SlurmJob] = {}
        self.viz_nodes = {
            name: SlurmNode(name=name, state="IDLE", gres={"gpu": 2, "moonlight": 6})
            for name in ("viz1", "viz2")
        }
        self.woken: collections.Counter[int] = collections.Counter()
        self.undying: set[int] = set()
        self.insisted: collections.Counter[int] = collections.Counter()
        self._partitions = partitions
        self._qos = qos
        self._jobs: dict[int, SlurmJob] = {}
        self._lock = threading.Lock()

    def submit(self, spec: JobSpec) -> int:
        """See ``SlurmGateway.submit``."""
        self._check_reachable()
        if spec.partition not in self._partitions:
            raise SubmitRejected(
                "Slurm refused to submit the job: Invalid partition name specified."
            )
        if spec.qos not in self._qos:
            raise NotPermitted("Slurm refused to submit the job: Invalid qos specification.")
        with self._lock:
            job_id = len(self._jobs) + 1
            self.specs[job_id] = spec
            self._jobs[job_id] = SlurmJob(
                job_id=job_id,
                name=spec.name,
                user_id=spec.user_id,
                state="PENDING",
                state_reason="None",
                comment=spec.comment,
                admin_comment=spec.admin_comment,
                submitted_at=_now(),
            )
        return job_id

    def jobs(self, job_ids: Collection[int]) -> dict[int, SlurmJob]:
        """See ``SlurmGateway.jobs``."""
        self._check_reachable()
        with self._lock:
            return {job_id: self._jobs[job_id] for job_id in job_ids if job_id in self._jobs}

    def our_jobs(self) -> list[SlurmJob]:
        """See ``SlurmGateway.our_jobs``."""
        self._check_reachable()
        with self._lock:
            return [
                job
                for job in self._jobs.values()
                if job.comment.startswith(COMMENT_PREFIX)
                or job.admin_comment.startswith(COMMENT_PREFIX)
            ]

    def set_admin_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_admin_comment``."""
        self._check_reachable()
        if job_id not in self._jobs:
            raise SlurmRefused(
                f"Slurm refused to write the AdminComment of job {job_id}: Invalid job id."
            )
        self.change(job_id, admin_comment=text)

    def set_comment(self, job_id: int, text: str) -> None:
        """See ``SlurmGateway.set_comment``."""
        self._check_reachable()
        if job_id not in self._jobs:
            raise SlurmRefused(
                f"Slurm refused to write the Comment of job {job_id}: Invalid job id."
            )
        self.change(job_id, comment=text)

    def wake(self, job_id: int) -> None:
        """See ``SlurmGateway.wake``; ``woken`` counts."""
        self._check_reachable()
        self.woken[job_id] += 1

    def cancel(self, job_id: int, *, insist: bool = False) -> None:
        """See ``SlurmGateway.cancel``."""
        self._check_reachable()
        self.insisted[job_id] += insist
        job = self._jobs.get(job_id)
        if job is not None and job.state not in _ENDED and job_id not in self.undying:
            self.end(job_id, "CANCELLED")

    def ended_job(self, job_id: int) -> SlurmJob | None:
        """See ``SlurmGateway.ended_job``."""
        self._check_reachable()
        return self.accounting.get(job_id)

    def nodes(self, partition: str) -> list[SlurmNode]:
        """See ``SlurmGateway.nodes``."""
        self._check_reachable()
        if partition not in self._partitions:
            raise SlurmRefused(
                f"Slurm refused to list the nodes of partition {partition}: it doesn't exist."
            )
        return list(self.viz_nodes.values())

    def start(self, job_id: int, node: str) -> None:
        """Let a job begin on a node."""
        now = _now()
        hours = self.specs[job_id].time_limit_min / 60
        self.change(
            job_id,
            state="RUNNING",
            node=node,
            started_at=now,
            expires_at=now + dt.timedelta(hours=hours),
        )

    def report(self, job_id: int, extra: str) -> None:
        """Let a job's script write its Extra."""
        self.change(job_id, extra=extra)

    def end(self, job_id: int, state: str, *, exit_code: int = 0) -> None:
        """Let a job end."""
        self.change(job_id, state=state, ended_at=_now(), exit_code=exit_code)
        self.accounting[job_id] = self._jobs[job_id]

    def forget(self, job_id: int) -> None:
        """Let slurmctld forget a job, as it does after MinJobAge."""
        with self._lock:
            del self._jobs[job_id]

    def change(self, job_id: int, **changes: Any) -> None:
        """Change anything of a job."""
        with self._lock:
            self._jobs[job_id] = attrs.evolve(self._jobs[job_id], **changes)

    def _check_reachable(self) -> None:
        if self.away:
            raise SlurmUnavailable("slurmctld cannot be reached (this is a test).")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)

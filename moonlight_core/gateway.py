"""What the project asks of Slurm, in its own words: a protocol and the values that it carries.

``moonlight_core.slurm`` is the real gateway, ``moonlight_core.slurm_worker`` the same in a process
of its own, ``moonlight_core.testing`` one without a Slurm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping

FEW_JOBS = 16
"""Up to so many jobs are asked for one by one; for more, all jobs of the cluster are."""
COMMENT_PREFIX = "moonlight:"
"""How Comment and AdminComment of our jobs begin; the session id follows."""

_USABLE = frozenset({"IDLE", "MIXED", "ALLOCATED", "COMPLETING"})
_UNUSABLE = frozenset({"DRAIN", "DRAINING", "DRAINED", "FAIL", "NOT_RESPONDING", "MAINTENANCE"})


@attrs.frozen(kw_only=True)
class JobSpec:
    """A batch job to submit.

    Attributes:
        name: job name, unique: a submit of unknown outcome is looked up by it.
        comment: the job's Comment.
        admin_comment: the job's AdminComment; left out where we may not set it.
        script: text of the batch script.
        environment: the complete environment of the script.
        user_id: uid the job runs as.
        group_id: primary gid the job runs as.
        working_directory: on the node.
        output: file for the script's standard output and error.
        partition: Slurm partition.
        qos: Slurm QoS.
        account: Slurm account; empty for the user's default one.
        cpus: CPUs.
        memory_mb: memory in MiB.
        gres: GRES by name, for each node.
        time_limit_min: time limit in minutes.
        warn_s: seconds before the time limit at which the script gets SIGUSR1; 0 for never.
        node: the node it must run on; empty for Slurm's choice.
    """

    name: str
    comment: str
    admin_comment: str = ""
    script: str
    environment: Mapping[str, str]
    user_id: int
    group_id: int
    working_directory: str
    output: str
    partition: str
    qos: str
    account: str
    cpus: int
    memory_mb: int
    gres: Mapping[str, int]
    time_limit_min: int
    warn_s: int = 300
    node: str = ""


@attrs.frozen(kw_only=True)
class SlurmJob:
    """A job as slurmctld or slurmdbd knows it.

    ``state`` is Slurm's own word (see ``moonlight_core.states``); ``comment`` and ``extra`` are the
    owner's to write, ``admin_comment`` only root's and SlurmUser's. ``expires_at`` is when Slurm
    will end it, ``preempted_at`` when Slurm decided to end it for another job, after a grace time,
    ``expected_start_at`` the scheduler's estimate for a pending one, where it has made one.
    """

    job_id: int
    name: str
    user_id: int
    state: str
    state_reason: str = ""
    node: str | None = None
    comment: str = ""
    admin_comment: str = ""
    extra: str = ""
    restart_count: int = 0
    submitted_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    expected_start_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    preempted_at: dt.datetime | None = None
    exit_code: int | None = None
    exit_signal: int | None = None


@attrs.frozen(kw_only=True)
class SlurmNode:
    """A node as slurmctld knows it.

    Attributes:
        name: Slurm's name of it.
        state: Slurm's own words, as ``IDLE`` or ``MIXED+DRAIN``.
        reason: why an administrator or Slurm took it out of use; empty for no reason.
        gres: how many of each GRES it has, by name without type.
    """

    name: str
    state: str
    reason: str = ""
    gres: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def usable(self) -> bool:
        """Whether Slurm would start a job there, now or when a running one has ended."""
        words = {word.strip("*~#!%$@^-") for word in self.state.split("+")}
        return bool(words & _USABLE) and not words & _UNUSABLE


class SlurmGateway(Protocol):
    """What the rest of the project asks of Slurm.

    Every method raises ``SlurmUnavailable`` when slurmctld cannot be reached and ``SlurmNotUsable``
    when pyslurm or slurm.conf is missing.
    """

    def submit(self, spec: JobSpec) -> int:
        """Submit a job and return its id.

        Raises:
            SubmitRejected: slurmctld refused it.
            SubmitOutcomeUnknown: it was sent and no answer came.
        """

    def jobs(self, job_ids: Collection[int]) -> dict[int, SlurmJob]:
        """The jobs of these ids that slurmctld still knows."""

    def our_jobs(self) -> list[SlurmJob]:
        """All jobs whose Comment or AdminComment says that they are sessions.

        Anybody may write such a Comment; an AdminComment only root and SlurmUser.
        """

    def set_admin_comment(self, job_id: int, text: str) -> None:
        """Write a job's AdminComment.

        Raises:
            SlurmRefused: slurmctld does not let us, or the job has ended.
        """

    def set_comment(self, job_id: int, text: str) -> None:
        """Write a job's Comment, as its owner may too.

        Raises:
            SlurmRefused: slurmctld does not let us, or the job has ended.
        """

    def wake(self, job_id: int) -> None:
        """Send SIGUSR2 to a job's batch script, so that it reads its AdminComment.

        No error if the job has ended or is forgotten. A script without a trap for it is ended.

        Raises:
            SlurmRefused: slurmctld does not let us.
        """

    def cancel(self, job_id: int, *, insist: bool = False) -> None:
        """Ask slurmctld to end a job; no error if it has ended or is forgotten.

        Args:
            job_id: the job.
            insist: it was asked before and lives: SIGKILL for all its processes as well.

        Raises:
            SlurmRefused: slurmctld does not let us.
        """

    def ended_job(self, job_id: int) -> SlurmJob | None:
        """What slurmdbd remembers of a job that slurmctld has forgotten; None if nothing."""

    def nodes(self, partition: str) -> list[SlurmNode]:
        """The nodes of a partition, by name.

        Raises:
            SlurmRefused: there is no such partition.
        """

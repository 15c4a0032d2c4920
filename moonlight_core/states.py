"""From Slurm's job states to what they mean for a session, for every state there is.

The names are those of ``slurm_job_state_string()`` (Slurm's src/common/slurm_protocol_defs.c): a
flag such as COMPLETING hides the base state under it. A name that is not in the table is
``Stage.UNKNOWN``, which frees nothing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(enum.Enum):
    """What a Slurm job's state means for the session in it."""

    QUEUED = "waits in the queue and holds no node"
    ALLOCATED = "holds a node, its script has not begun"
    RUNNING = "its script runs"
    SUSPENDED = "its processes are stopped, on a node it still holds"
    ENDING = "its processes are being ended, on a node it still holds"
    STOPPED = "ended as somebody meant it to"
    FAILED = "ended as nobody meant it to"
    UNKNOWN = "a state this table does not know; nothing may be concluded"

    @property
    def holds_node(self) -> bool:
        """Whether processes of the job may be alive on a node, so that its slot is taken."""
        return self not in (Stage.QUEUED, Stage.STOPPED, Stage.FAILED)

    @property
    def ended(self) -> bool:
        """Whether the job will never run again."""
        return self in (Stage.STOPPED, Stage.FAILED)


STAGES: Mapping[str, Stage] = {
    # Base states.
    "PENDING": Stage.QUEUED,
    "RUNNING": Stage.RUNNING,
    "SUSPENDED": Stage.SUSPENDED,
    "COMPLETED": Stage.STOPPED,
    "CANCELLED": Stage.STOPPED,
    "FAILED": Stage.FAILED,
    "TIMEOUT": Stage.STOPPED,
    "NODE_FAIL": Stage.FAILED,
    "PREEMPTED": Stage.STOPPED,
    "BOOT_FAIL": Stage.FAILED,
    "DEADLINE": Stage.FAILED,
    "OUT_OF_MEMORY": Stage.FAILED,
    # Flags that hide a base state.
    "COMPLETING": Stage.ENDING,
    "CONFIGURING": Stage.ALLOCATED,
    "POWER_UP_NODE": Stage.ALLOCATED,
    "EXPEDITING": Stage.QUEUED,
    "LAUNCH_FAILED": Stage.FAILED,
    "RECONFIG_FAIL": Stage.FAILED,
    "REQUEUED": Stage.QUEUED,
    "REQUEUE_FED": Stage.QUEUED,
    "REQUEUE_HOLD": Stage.QUEUED,
    "SPECIAL_EXIT": Stage.QUEUED,
    "RESV_DEL_HOLD": Stage.QUEUED,
    "RESIZING": Stage.RUNNING,
    "REVOKED": Stage.FAILED,
    "SIGNALING": Stage.RUNNING,
    "STAGE_OUT": Stage.ENDING,
    "STOPPED": Stage.SUSPENDED,
    "UPDATE_DB": Stage.UNKNOWN,
}

REASONS: Mapping[str, str] = {
    "COMPLETED": "The desktop was closed.",
    "CANCELLED": "The job was cancelled in Slurm (scancel), not through this service.",
    "TIMEOUT": "The session reached its time limit.",
    "NODE_FAIL": "The node failed.",
    "PREEMPTED": "Slurm ended the session for a job of higher priority (preemption).",
    "BOOT_FAIL": "The node did not boot.",
    "DEADLINE": "The job reached its deadline before it could run.",
    "OUT_OF_MEMORY": "The session used more memory than it asked for.",
    "FAILED": "The session's job failed.",
    "LAUNCH_FAILED": "Slurm could not launch the job on the node.",
    "RECONFIG_FAIL": "Slurm could not configure the node for the job.",
    "REVOKED": "Slurm revoked the job.",
}
"""What is told about an ended job that said nothing itself."""


def stage_of(state: str) -> Stage:
    """The meaning of a job state as Slurm prints it."""
    return STAGES.get(state, Stage.UNKNOWN)

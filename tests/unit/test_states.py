"""The table of job states is total, and what is unknown frees nothing."""

from __future__ import annotations

import pytest

from moonlight_core.states import REASONS, STAGES, Stage, stage_of

# slurm_job_state_string() of Slurm 26.05, every name it can return.
NAMES = [
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
    "EXPEDITING",
    "COMPLETING",
    "CONFIGURING",
    "LAUNCH_FAILED",
    "POWER_UP_NODE",
    "REQUEUE_FED",
    "REQUEUED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RECONFIG_FAIL",
    "RESIZING",
    "RESV_DEL_HOLD",
    "REVOKED",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "UPDATE_DB",
]


def test_every_state_has_an_answer() -> None:
    """No more and no fewer names than Slurm has."""
    assert set(STAGES) == set(NAMES)


@pytest.mark.parametrize("state", ["", "?", "NEW_IN_27_11", "running"])
def test_an_unknown_state_frees_nothing(state: str) -> None:
    """A lease stays while nobody knows."""
    assert stage_of(state) is Stage.UNKNOWN
    assert stage_of(state).holds_node
    assert not stage_of(state).ended


@pytest.mark.parametrize(
    "state", ["RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "CONFIGURING"]
)
def test_states_that_hold_a_node_keep_the_lease(state: str) -> None:
    """Processes may live."""
    assert stage_of(state).holds_node


def test_every_end_has_a_reason() -> None:
    """A person is told why a session ended, whatever the state."""
    assert {state for state, stage in STAGES.items() if stage.ended} == set(REASONS)

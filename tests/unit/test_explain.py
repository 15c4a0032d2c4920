"""What a person is told about a job is a sentence, and true."""

from __future__ import annotations

import pytest
from session_factory import session

from moonlight_core.bus import Report
from moonlight_core.explain import how_it_ended, why_it_waits
from moonlight_core.gateway import SlurmJob, SlurmNode
from moonlight_core.models import Status


def job(state: str = "PENDING", **fields: object) -> SlurmJob:
    """A job of alice."""
    known: dict[str, object] = {"node": "viz1", "state": state, "job_id": 1, "name": "x"}
    return SlurmJob(**(known | {"user_id": 2001} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "phase", "part"),
    [
        ("None", "queued", "Waiting in the queue: Slurm has not looked at it yet."),
        ("", "queued", "not looked at it yet"),
        ("Resources", "queued", "(Resources): every node that fits is taken"),
        ("JobHeldUser", "held", "scontrol release"),
        ("JobHeldAdmin", "held", "ask them to release"),
        ("job requeued in held state", "held", "ask the administrators"),
        ("launch failed requeued held", "held", "ask the administrators"),
        ("PartitionDown", "queued", "the partition is closed"),
        ("ReqNodeNotAvail, UnavailableNodes:viz[1-2]", "queued", "down, drained or reserved"),
        ("Nodes required for job are DOWN, DRAINED or …", "queued", "down, drained or reserved"),
        ("QOSMaxGRESPerUser", "queued", "as much as you may"),
        ("QOSMaxJobsPerUserLimit", "queued", "as much as you may"),
        ("AssocGrpCpuLimit", "queued", "limit of the account or QoS"),
        ("InvalidQOS", "queued", "no longer use the QoS"),
        ("InvalidAccount", "queued", "no longer use the QoS or account"),
        ("SomethingOfTomorrow", "queued", "Waiting in the queue (SomethingOfTomorrow)."),
    ],
)
def test_every_wait_is_a_sentence(word: str, phase: str, part: str) -> None:
    """With Slurm's own word in it; an unknown word is passed on."""
    told = why_it_waits(job(state_reason=word))
    assert told[0] == phase
    assert part in told[1]
    assert told[1].endswith(".")


def test_who_was_put_back_is_told_so() -> None:
    """A desktop that was there has gone."""
    assert why_it_waits(job(state_reason="BeginTime", restart_count=1))[1].startswith("Put back")


def nobody(_name: str) -> SlurmNode | None:
    """A slurmctld that does not tell."""
    return None


def drained(name: str) -> SlurmNode:
    """A node that a prolog took out of use."""
    return SlurmNode(name=name, state="IDLE+DRAIN", reason="Prolog error")


def down(name: str) -> SlurmNode:
    """A node whose slurmd is silent."""
    return SlurmNode(name=name, state="DOWN+NOT_RESPONDING", reason="Not responding")


@pytest.mark.parametrize(
    ("ended", "report", "node_of", "status", "part"),
    [
        (job("CANCELLED"), None, nobody, Status.STOPPED, "(scancel), not through this service"),
        (job("CANCELLED"), None, drained, Status.FAILED, "launch the session on the node viz1"),
        (
            job("CANCELLED"),
            Report(phase="ready", reason="Ready."),
            drained,
            Status.STOPPED,
            "(scancel)",
        ),
        (job("CANCELLED", node=None), None, drained, Status.STOPPED, "(scancel)"),
        (job("NODE_FAIL"), None, down, Status.FAILED, "viz1 went down while the session ran (Not"),
        (job("NODE_FAIL"), None, nobody, Status.FAILED, "viz1 failed while the session ran"),
        # What the owner wrote does not explain what Slurm did.
        (
            job("NODE_FAIL"),
            Report(phase="failed", reason="A lie."),
            nobody,
            Status.FAILED,
            "viz1 failed",
        ),
        (job("FAILED", exit_signal=53), None, nobody, Status.FAILED, "write the session's log"),
        (job("FAILED", exit_signal=9), None, nobody, Status.FAILED, "4 GiB of memory"),
        (
            job("FAILED", state_reason="RaisedSignal:11(Segmentation fault)", exit_signal=11),
            None,
            nobody,
            Status.FAILED,
            "RaisedSignal:11",
        ),
        (
            job("OUT_OF_MEMORY"),
            Report(phase="failed", reason="The X server was ended by signal 9 (KILL)."),
            nobody,
            Status.FAILED,
            "(KILL). The session used more than the 4 GiB of memory",
        ),
        (
            job("FAILED"),
            Report(phase="failed", reason="Sunshine died."),
            nobody,
            Status.FAILED,
            "Sunshine died.",
        ),
    ],
)
def test_every_end_is_explained_by_what_is_known(
    ended: SlurmJob, report: Report | None, node_of: object, status: Status, part: str
) -> None:
    """Slurm's word first, then the node's, then the script's."""
    told = how_it_ended(session(memory_gb=4), ended, report, node_of, asked_to=False)  # type: ignore[arg-type]
    assert told.status is status
    assert part in told.reason


def test_an_end_on_request_is_one() -> None:
    """Even where the node has failed its prolog."""
    told = how_it_ended(session(), job("CANCELLED"), None, drained, asked_to=True)
    assert (told.status, told.reason) == (Status.STOPPED, "Ended on request.")


def test_the_code_of_a_failed_node_is_not_known() -> None:
    """Slurm makes one up."""
    told = how_it_ended(session(), job("NODE_FAIL", exit_signal=1), None, nobody, asked_to=False)
    assert told.exit_code is None

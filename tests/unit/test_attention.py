"""What a round asks about: enough to miss nothing, and no more than slurmctld should bear."""

from __future__ import annotations

import datetime as dt

import attrs
import pytest
from session_factory import session

from moonlight_core.attention import Attention
from moonlight_core.gateway import FEW_JOBS, SlurmJob
from moonlight_core.models import Session, Status

NOW = dt.datetime(2026, 5, 1, 12, 30, tzinfo=dt.UTC)
MANY = 10 * FEW_JOBS


class Times:
    """The two clocks, moved by hand."""

    def __init__(self) -> None:
        self.gone_s = 0.0

    def utc(self) -> dt.datetime:
        """The time."""
        return NOW + dt.timedelta(seconds=self.gone_s)

    def monotonic(self) -> float:
        """Seconds."""
        return self.gone_s


@pytest.fixture
def times() -> Times:
    """Clocks that stand still."""
    return Times()


@pytest.fixture
def attention(times: Times) -> Attention:
    """Nothing was asked yet."""
    return Attention(times.utc, monotonic=times.monotonic)


def running(number: int) -> list[Session]:
    """Sessions that have been running for half an hour."""
    return [
        session(job_id=n, status=Status.RUNNING, slurm_node="viz1", display_num=10,
                sunshine_port=47989)
        for n in range(number)
    ]  # fmt: skip


def job_of(one: Session, **changes: object) -> SlurmJob:
    """Its job."""
    return attrs.evolve(
        SlurmJob(job_id=one.job_id or 0, name=one.session_id, user_id=2001, state="RUNNING",
                 node=one.slurm_node),
        **changes,
    )  # fmt: skip


def test_few_are_asked_for_each_time(attention: Attention) -> None:
    """One by one they cost what they are."""
    sessions = running(FEW_JOBS)
    for _ in range(3):
        assert attention.to_ask(sessions) == sessions
        attention.asked(len(sessions), 10.0)


def test_all_jobs_are_asked_for_a_fifth_of_the_time_at_most(
    attention: Attention, times: Times
) -> None:
    """A cluster with many jobs answers slowly, and is asked less often."""
    sessions = running(MANY)
    assert attention.to_ask(sessions) == sessions
    attention.asked(MANY, 0.5)
    times.gone_s = 1.9
    assert attention.to_ask(sessions) == []
    times.gone_s = 2.0
    assert attention.to_ask(sessions) == sessions


def test_what_is_about_to_change_is_asked_for_meanwhile(attention: Attention) -> None:
    """Sessions that start, end or are new, and those whose job is not known; never too many."""
    lost = session()
    starting = session(job_id=1001, status=Status.STARTING)
    ending = session(job_id=1002, status=Status.STOPPING)
    new = session(job_id=1003, submitted_at=NOW - dt.timedelta(seconds=5))
    waiting = session(job_id=1004, submitted_at=NOW - dt.timedelta(minutes=5))
    sessions = [*running(MANY), lost, starting, ending, new, waiting]
    attention.asked(MANY, 10.0)
    asked = {one.session_id for one in attention.to_ask(sessions)}
    assert asked == {one.session_id for one in (lost, starting, ending, new)}
    crowd = [attrs.evolve(one, status=Status.STARTING) for one in sessions if one.job_id]
    assert len(attention.to_ask(crowd)) == FEW_JOBS


def test_the_same_again_is_not_decided_again(attention: Attention, times: Times) -> None:
    """Until the record or the job changes, or some seconds have gone."""
    (one,) = running(1)
    assert not attention.is_settled(one, job_of(one))
    attention.settle(one, job_of(one))
    assert attention.is_settled(one, job_of(one))
    assert not attention.is_settled(attrs.evolve(one), job_of(one))
    assert not attention.is_settled(one, job_of(one, extra="{}"))
    times.gone_s = 6
    assert not attention.is_settled(one, job_of(one))


def test_who_ends_or_waits_for_a_slot_is_decided_on_each_time(attention: Attention) -> None:
    """A cancel is repeated, and a slot may have become free."""
    (one,) = running(1)
    ending = attrs.evolve(one, status=Status.STOPPING)
    homeless = attrs.evolve(one, display_num=None, sunshine_port=None)
    for undecided in (ending, homeless):
        attention.settle(undecided, job_of(undecided))
        assert not attention.is_settled(undecided, job_of(undecided))


def test_what_lives_no_more_is_forgotten(attention: Attention) -> None:
    """What is remembered does not grow with time."""
    sessions = running(9)
    for one in sessions:
        attention.settle(one, job_of(one))
    attention.forget_others(sessions[:2])
    assert [attention.is_settled(one, job_of(one)) for one in sessions] == [True] * 2 + [False] * 7

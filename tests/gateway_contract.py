"""What every Slurm gateway does, the real one and the one in memory: the same tests for both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import pytest

from moonlight_core.errors import NotPermitted, SlurmRefused, SubmitRejected
from moonlight_core.gateway import JobSpec, SlurmGateway, SlurmJob
from moonlight_core.session_id import new_session_id

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN_JOB = 99_999_999


def spec() -> JobSpec:
    """A small job of alice's that would run for a minute."""
    name = new_session_id("alice")
    return JobSpec(
        name=name,
        comment=f"moonlight:{name}",
        script="#!/bin/bash\nexec sleep 60\n",
        environment={"PATH": "/usr/bin:/bin"},
        user_id=2001,
        group_id=2001,
        working_directory="/",
        output="/dev/null",
        partition="viz",
        qos="moonlight",
        account="",
        cpus=1,
        memory_mb=100,
        gres={"moonlight": 1, "gpu": 0},
        time_limit_min=5,
    )


def eventually(look: Callable[[], bool]) -> bool:
    """Whether it becomes true within some seconds."""
    deadline = time.monotonic() + 20
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class GatewayContract:
    """Inherited by a test class with a fixture ``gateway``."""

    def job(self, gateway: SlurmGateway, job_id: int) -> SlurmJob:
        """A job that must be there."""
        return gateway.jobs([job_id])[job_id]

    def test_a_job_is_what_was_submitted(self, gateway: SlurmGateway) -> None:
        """Name, owner, comments and time come back; nothing has ended."""
        wanted = attrs.evolve(spec(), admin_comment="moonlight:mark")
        job_id = gateway.submit(wanted)
        job = self.job(gateway, job_id)
        assert (job.job_id, job.name, job.user_id) == (job_id, wanted.name, 2001)
        assert (job.comment, job.admin_comment, job.extra) == (wanted.comment, "moonlight:mark", "")
        assert job.state in ("PENDING", "CONFIGURING", "RUNNING")
        assert job.submitted_at is not None
        assert job.restart_count == 0
        gateway.cancel(job_id)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"qos": "nope"}, NotPermitted),
            ({"partition": "nope"}, SubmitRejected),
        ],
    )
    def test_a_wrong_job_is_rejected_with_slurms_words(
        self, gateway: SlurmGateway, change: dict[str, str], error: type[Exception]
    ) -> None:
        """And no job of that name exists."""
        wanted = attrs.evolve(spec(), **change)
        with pytest.raises(error, match=r"Invalid (qos|partition)"):
            gateway.submit(wanted)
        assert wanted.name not in [job.name for job in gateway.our_jobs()]

    def test_the_admin_comment_is_kept(self, gateway: SlurmGateway) -> None:
        """Written again it is replaced."""
        job_id = gateway.submit(spec())
        for text in ("moonlight:one", "moonlight:two a=1 b=2"):
            gateway.set_admin_comment(job_id, text)
            assert self.job(gateway, job_id).admin_comment == text
        gateway.cancel(job_id)

    def test_an_admin_comment_for_no_job_is_refused(self, gateway: SlurmGateway) -> None:
        """With Slurm's words."""
        with pytest.raises(SlurmRefused, match="Invalid job id"):
            gateway.set_admin_comment(UNKNOWN_JOB, "x")

    def test_waking_nobody_is_no_error(self, gateway: SlurmGateway) -> None:
        """The job may have ended a moment ago."""
        gateway.wake(UNKNOWN_JOB)

    def test_cancel_ends_a_job_and_may_be_repeated(self, gateway: SlurmGateway) -> None:
        """Also for a job nobody knows."""
        job_id = gateway.submit(spec())
        gateway.cancel(job_id)
        assert eventually(lambda: self.job(gateway, job_id).state == "CANCELLED")
        gateway.cancel(job_id)
        gateway.cancel(UNKNOWN_JOB)
        assert eventually(lambda: gateway.ended_job(job_id) is not None)
        ended = gateway.ended_job(job_id)
        assert ended is not None
        assert ended.state == "CANCELLED"
        assert ended.ended_at is not None

    def test_jobs_nobody_knows_are_missing(self, gateway: SlurmGateway) -> None:
        """Not an error, whether a few or many are asked for."""
        assert gateway.jobs([]) == {}
        assert gateway.jobs([UNKNOWN_JOB]) == {}
        assert gateway.jobs(range(UNKNOWN_JOB, UNKNOWN_JOB + 100)) == {}
        assert gateway.ended_job(UNKNOWN_JOB) is None

    def test_our_jobs_are_those_that_say_so(self, gateway: SlurmGateway) -> None:
        """By Comment or AdminComment; others are left out, and asking for many finds one."""
        ours = gateway.submit(spec())
        marked = gateway.submit(attrs.evolve(spec(), comment="changed by its owner"))
        gateway.set_admin_comment(marked, "moonlight:x")
        foreign = gateway.submit(attrs.evolve(spec(), comment="something else"))
        found = {job.job_id for job in gateway.our_jobs()}
        assert {ours, marked} <= found
        assert foreign not in found
        many = gateway.jobs([ours, foreign, *range(UNKNOWN_JOB, UNKNOWN_JOB + 100)])
        assert set(many) == {ours, foreign}
        for job_id in (ours, marked, foreign):
            gateway.cancel(job_id)

    def test_the_nodes_of_a_partition(self, gateway: SlurmGateway) -> None:
        """With their slots and whether a session could start there; no other partition's."""
        nodes = gateway.nodes("viz")
        assert [(node.name, node.gres["moonlight"]) for node in nodes] == [("viz1", 6), ("viz2", 6)]
        assert all(node.usable for node in nodes)
        with pytest.raises(SlurmRefused, match="partition nope"):
            gateway.nodes("nope")

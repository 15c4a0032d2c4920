"""The real gateways keep the contract; the worker keeps its deadlines besides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gateway_contract import GatewayContract, spec
from on_cluster import RUN, run, wait_for

from moonlight_core.errors import SlurmNotUsable, SlurmUnavailable, SubmitOutcomeUnknown
from moonlight_core.slurm import PyslurmGateway
from moonlight_core.slurm_worker import WorkerGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

CONF = Path("/etc/slurm/slurm.conf")


class TestPyslurmGateway(GatewayContract):
    """In this process."""

    @pytest.fixture
    def gateway(self) -> PyslurmGateway:
        """The real one."""
        return PyslurmGateway(CONF)


def test_pyslurm_is_as_it_was_after_a_list_of_all_jobs() -> None:
    """What it leaves out for us it does again for others."""
    import pyslurm  # noqa: PLC0415 - there is one only where this runs

    usual = pyslurm.db.JobStatistics().to_dict()
    assert "total_cpu_time" in usual
    assert set(usual.values()) == {0}
    gateway = PyslurmGateway(CONF)
    job_id = gateway.submit(spec())
    assert job_id in gateway.jobs(range(job_id, job_id + 20))
    gateway.cancel(job_id)
    assert pyslurm.db.JobStatistics().to_dict() == usual
    assert all(job.stats.to_dict() == usual for job in pyslurm.Jobs.load().values())


@pytest.fixture
def worker() -> Iterator[WorkerGateway]:
    """The real one in its own process, impatient."""
    gateway = WorkerGateway(CONF, deadline_s=2.0)
    yield gateway
    gateway.close()


class TestWorkerGateway(GatewayContract):
    """In a process of its own."""

    @pytest.fixture
    def gateway(self, worker: WorkerGateway) -> WorkerGateway:
        """The same contract."""
        return worker


def test_a_hung_slurmctld_costs_the_deadline_and_no_more(worker: WorkerGateway) -> None:
    """The next callers are told at once; afterwards all is well, and the job is found by name."""
    assert worker.jobs([1]) is not None
    slurmctld = int((RUN / "slurmctld.pid").read_text())
    os.kill(slurmctld, signal.SIGSTOP)
    wanted = spec()
    try:
        begin = time.monotonic()
        with pytest.raises(SubmitOutcomeUnknown):
            worker.submit(wanted)
        first = time.monotonic() - begin
        with pytest.raises(SlurmUnavailable):
            worker.jobs([1])
        assert time.monotonic() - begin - first < 1.9
        assert 1.9 < first < 10
    finally:
        os.kill(slurmctld, signal.SIGCONT)

    def found() -> list[int]:
        try:
            return [job.job_id for job in worker.our_jobs() if job.name == wanted.name]
        except SlurmUnavailable:
            return []

    (job_id,) = wait_for(found, bool)
    worker.cancel(job_id)


def test_a_silence_costs_no_processes(worker: WorkerGateway) -> None:
    """The one that was not answered asks on; afterwards all is well, with the same processes."""
    worker.start(wait_s=20)
    before = workers()
    slurmctld = int((RUN / "slurmctld.pid").read_text())
    os.kill(slurmctld, signal.SIGSTOP)
    try:
        for _ in range(8):
            assert not answers(worker)
            assert workers() == before
            time.sleep(0.5)
    finally:
        os.kill(slurmctld, signal.SIGCONT)
    wait_for(lambda: answers(worker), bool)
    for _ in range(3):
        assert answers(worker)
    assert workers() == before


def test_a_worker_that_dies_is_replaced(worker: WorkerGateway) -> None:
    """Its library may end the process; the caller sees a sentence, the next one an answer."""
    worker.jobs([1])
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: answers(worker), bool)


def workers() -> set[int]:
    """The worker processes of this one."""
    asked = ("pgrep", "-P", str(os.getpid()), "-f", f"moonlight_core.slurm_worker .* {CONF}")
    return {int(pid) for pid in run(*asked, check=False).split()}


def answers(worker: WorkerGateway) -> bool:
    """Whether a call is answered."""
    try:
        worker.jobs([1])
    except SlurmUnavailable:
        return False
    return True


def test_a_closed_gateway_leaves_no_process() -> None:
    """And says so to late callers."""
    gateway = WorkerGateway(CONF, deadline_s=2.0)
    gateway.jobs([1])
    gateway.close()
    with pytest.raises(SlurmUnavailable, match="stopping"):
        gateway.jobs([1])
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "slurm_worker" not in children.stdout


def test_without_slurm_conf_nothing_dies(tmp_path: Path) -> None:
    """Its library would end the process: checked first, and told what to do."""
    gateway = WorkerGateway(tmp_path / "none.conf", deadline_s=2.0)
    before = os.environ.pop("SLURM_CONF", None)
    try:
        with pytest.raises(SlurmNotUsable, match=r"none\.conf is missing"):
            gateway.jobs([1])
    finally:
        gateway.close()
        if before is not None:
            os.environ["SLURM_CONF"] = before


def test_a_broken_slurm_conf_does_not_end_the_service(tmp_path: Path) -> None:
    """Its library ends the worker; the caller gets a sentence."""
    conf = tmp_path / "slurm.conf"
    conf.write_text("ThisIsNo = slurm.conf\n")
    program = (
        "import sys; from pathlib import Path\n"
        "from moonlight_core.errors import SlurmNotUsable\n"
        "from moonlight_core.slurm_worker import WorkerGateway\n"
        "gateway = WorkerGateway(Path(sys.argv[1]), deadline_s=2.0)\n"
        "try:\n    gateway.jobs([1])\n"
        "except SlurmNotUsable as error:\n    print(error)\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
    told = subprocess.run(
        [sys.executable, "-c", program, str(conf)],
        check=True,
        capture_output=True,
        text=True,
        env=environ,
        timeout=30,
    )
    assert "did not start" in told.stdout

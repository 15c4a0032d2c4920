"""PrologSlurmctld and EpilogSlurmctld: harmless whatever happens, and what they are good for."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from cluster_view import jobs_in_slurm, raw_redis
from faults import hung, note
from on_cluster import run, wait_for

from moonlight_core import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from on_cluster import Api

SOURCE = Path("/src/deploy/slurm/moonlight-nudge")
ACL = Path("/src/deploy/redis/moonlight-nudge.acl")
SCRIPT = Path("/usr/local/libexec/moonlight-nudge")
CONF = Path("/etc/moonlight/nudge.conf")
PASSWORD = Path("/etc/moonlight/nudge.password")
SLURM_CONF = Path("/etc/slurm/slurm.conf")
COMMENT = "moonlight:ml-alice-01m82nxb2685n714a1"
STARTS = pytest.mark.parametrize("starts", [1, pytest.param(6, marks=pytest.mark.slow)])


@pytest.fixture
def installed() -> Iterator[redis.Redis]:
    """The script as docs/install.md puts it, with its Redis user; yields that user's connection."""
    store = raw_redis()
    rule = next(line for line in ACL.read_text().splitlines() if line.startswith("user "))
    store.execute_command("ACL", "SETUSER", *rule.replace(">PASSWORD", ">hint-hint").split()[1:])
    SCRIPT.parent.mkdir(parents=True, exist_ok=True)
    SCRIPT.write_bytes(SOURCE.read_bytes())
    SCRIPT.chmod(0o755)
    CONF.write_text(f"host=10.213.0.1\nport=6379\nuser=moonlight-nudge\npassword_file={PASSWORD}\n")
    PASSWORD.write_text("hint-hint\n")
    PASSWORD.chmod(0o400)
    run("chown", "slurm", str(PASSWORD))
    yield redis.Redis(
        host="10.213.0.1", username="moonlight-nudge", password="hint-hint", decode_responses=True
    )
    for file in (SCRIPT, CONF, PASSWORD):
        file.unlink(missing_ok=True)
    store.execute_command("ACL", "DELUSER", "moonlight-nudge")


@pytest.fixture
def in_slurm(installed: redis.Redis) -> Iterator[None]:
    """Slurmctld runs it for every job."""
    before = SLURM_CONF.read_text()
    SLURM_CONF.write_text(f"{before}\nPrologSlurmctld={SCRIPT}\nEpilogSlurmctld={SCRIPT}\n")
    try:
        run("cluster-service", "restart", "slurmctld")
        yield
    finally:
        SLURM_CONF.write_text(before)
        run("cluster-service", "restart", "slurmctld")


def call(comment: str | None = COMMENT) -> float:
    """Run the script as slurmctld does; how long it takes, in seconds. It must end well."""
    environ = {} if comment is None else {"SLURM_JOB_COMMENT": comment}
    begin = time.monotonic()
    run(
        *("setpriv", "--reuid=slurm", "--regid=slurm", "--init-groups", "env", "-i"),
        *(f"{name}={value}" for name, value in environ.items()),
        str(SCRIPT),
    )
    return time.monotonic() - begin


def test_it_says_one_word_and_can_do_nothing_else(installed: redis.Redis) -> None:
    """For jobs of ours alone; its user reads and writes nothing."""
    with raw_redis().pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(keys.EVENTS)
        channel.get_message(timeout=1)
        call("somebody's own job")
        assert channel.get_message(timeout=1) is None
        for comment in (COMMENT, None):
            call(comment)
            message = wait_for(lambda: channel.get_message(timeout=0.1), bool, timeout_s=10)
            assert message["data"] == keys.NUDGE
    for command in ("GET moonlight:nodes", "SET moonlight:x 1", "KEYS *", "PUBLISH vnc:events x"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            installed.execute_command(*command.split())


def test_it_never_fails_and_is_never_slow(installed: redis.Redis) -> None:
    """Redis hangs, is not there, or is nowhere; conf and password are missing or nonsense."""
    normal = [call() for _ in range(10)]
    with hung("redis"):
        took = [call()]
    for text in ("host=10.213.0.1\nport=1\n", "host=10.213.0.77\n", "host=no.such.host\n", "x", ""):
        CONF.write_text(text)
        took.append(call())
    CONF.write_text(f"host=10.213.0.1\npassword_file={PASSWORD}\n")
    PASSWORD.write_text("wrong\n")
    took.append(call())
    PASSWORD.unlink()
    took.append(call())
    CONF.unlink()
    took.append(call())
    assert max(took) < 2
    note("nudge", usual_s=statistics.median(normal), worst_s=max(took))
    # What it left to time out is gone.
    wait_for(lambda: run("pgrep", "-f", f"^/bin/bash {SCRIPT}", check=False), lambda text: not text)


@STARTS
def test_how_soon_a_session_starts_and_ends_without(api: Callable[[str], Api], starts: int) -> None:
    """By looking alone."""
    start_s, end_s = latencies(api, starts)
    note("start and end without nudges", sessions=starts, start_s=start_s, end_s=end_s)


@STARTS
def test_how_soon_a_session_starts_and_ends_with(
    in_slurm: None, api: Callable[[str], Api], starts: int
) -> None:
    """Slurm runs every job's prolog and epilog, and no job suffers from it."""
    start_s, end_s = latencies(api, starts)
    note("start and end with nudges", sessions=starts, start_s=start_s, end_s=end_s)
    job = run(
        *("sbatch", "--parsable", "--wait", "--uid=dave", "--gid=dave", "--chdir=/", "--mem=100"),
        *("--output=/dev/null", "--export=NONE", "--wrap=true"),
    )
    assert jobs_in_slurm()[int(job)].states == {"COMPLETED"}


def latencies(api: Callable[[str], Api], count: int) -> tuple[float, float]:
    """Seconds from Slurm's start of a job to its slot, and from its end to the told end; medians.

    The sessions wait first, so that nobody is looking out for them, and are ended by their user.
    """
    bob = api("bob")
    starts, ends = [], []
    for _ in range(count):
        run("scontrol", "update", "PartitionName=viz", "State=DOWN")
        try:
            session_id = bob.create()["session_id"]
            job_id = str(bob.get(session_id)["job_id"])
            time.sleep(2.5)
        finally:
            run("scontrol", "update", "PartitionName=viz", "State=UP")
        wait_for(lambda job_id=job_id: job_id in alive("CONFIGURING", "RUNNING"), bool)
        begin = time.monotonic()
        wait_for(lambda s=session_id: bob.get(s)["display_num"], bool, every_s=0.01)
        starts.append(time.monotonic() - begin)
        bob.wait(session_id, "running")
        time.sleep(2)
        run("scancel", job_id)
        wait_for(lambda job_id=job_id: job_id in alive("RUNNING", "COMPLETING"), lambda on: not on)
        begin = time.monotonic()
        wait_for(lambda s=session_id: bob.get(s)["status"], lambda s: s == "stopped", every_s=0.01)
        ends.append(time.monotonic() - begin)
    return statistics.median(starts), statistics.median(ends)


def alive(*states: str) -> set[str]:
    """The jobs in these states."""
    return set(run("squeue", "-ho", "%A", "-t", ",".join(states)).split())

"""Faults of jobs: what Slurm, administrators and the owner herself do to them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from desks import Desk, desk, slurm_conf, together
from faults import note
from invariants import clashes, desktops, violations, whole_within
from on_cluster import SESSIONS, Api, Node, run, wait_for

from moonlight_core import NotPermitted, UserNotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.usefixtures("mended")

EAT = "until [ -e /session/eat ]; do sleep 0.2; done; head -c 1400M /dev/zero | tail"


def update_job(desk: Desk, *changes: str) -> None:
    """As an administrator."""
    run("scontrol", "update", f"JobId={desk.job_id}", *changes)


def job_states(desk: Desk) -> set[str]:
    """Slurm's own words for the state of its job."""
    (job,) = json.loads(run("scontrol", "show", "job", str(desk.job_id), "--json"))["jobs"]
    return set(job["job_state"])


@contextlib.contextmanager
def partition_down() -> Iterator[None]:
    """Jobs may be submitted and do not start."""
    run("scontrol", "update", "PartitionName=viz", "State=DOWN")
    try:
        yield
    finally:
        run("scontrol", "update", "PartitionName=viz", "State=UP")


def test_what_is_done_to_running_jobs(  # noqa: PLR0915 - five desktops are started once for all
    nodes: Mapping[str, Node],
) -> None:
    """Cancelled, out of time, suspended, requeued: five desktops, each its own way."""
    users = ("alice", "alice", "bob", "bob", "carol")
    cancelled, limited, suspended, requeued, bystander = together([partial(desk, u) for u in users])
    bystanders = {name: seen for name, seen in desktops().items() if name == bystander.session_id}
    assert bystanders
    begin = time.monotonic()

    # A time limit is in minutes; the session has run for some seconds of its one minute.
    update_job(limited, "TimeLimit=1")
    told = limited.until(lambda s: s["expires_at"] < minutes_after(s["started_at"], 2))
    assert told["expires_at"] == minutes_after(told["started_at"], 1)

    node = nodes[cancelled.now["slurm_node"]]
    node.run("scancel", str(cancelled.job_id), user="alice")
    ended = cancelled.ended()
    assert (ended["status"], ended["slurm_state"]) == ("stopped", "CANCELLED")
    assert ended["reason"] == (
        "The job was cancelled in Slurm (scancel), not through this service."
    )
    assert (ended["error"], ended["exit_code"]) == (None, 143)
    note("job cancelled by its user", told_s=time.monotonic() - begin)

    begin = time.monotonic()
    slot = {name: suspended.now[name] for name in ("slurm_node", "display_num", "sunshine_port")}
    run("scontrol", "suspend", str(suspended.job_id))
    told = suspended.until(lambda session: session["phase"] == "suspended")
    assert told["status"] == "running"
    assert "stands still" in told["reason"]
    assert told["expires_at"] is None
    note("job suspended", told_s=time.monotonic() - begin)
    begin = time.monotonic()
    run("scontrol", "resume", str(suspended.job_id))
    told = suspended.until(lambda session: session["phase"] == "ready")
    assert {name: told[name] for name in slot} == slot
    assert told["expires_at"]
    note("job resumed", told_s=time.monotonic() - begin)

    begin = time.monotonic()
    update_job(requeued, "Requeue=1")
    run("scontrol", "requeue", str(requeued.job_id))
    told = requeued.until(lambda session: session["status"] == "pending")
    assert told["reason"].startswith("Put back into the queue by Slurm")
    assert [told[name] for name in ("slurm_node", "display_num", "ready_at", "connect")] == [
        None
    ] * 4
    note("job requeued by an administrator", told_s=time.monotonic() - begin)
    assert clashes() == []
    begin = time.monotonic()
    # Slurm lets it wait for two minutes.
    update_job(requeued, "StartTime=now")
    assert requeued.ready()["ready_at"]
    note("job requeued, and started again", ready_s=time.monotonic() - begin)

    begin = time.monotonic()
    run("scontrol", "requeuehold", str(requeued.job_id))
    told = requeued.until(lambda session: session["phase"] == "held")
    assert "ask the administrators to release it" in told["reason"]
    requeued.end()
    assert requeued.now["reason"] == "Ended on request."
    note("job requeued and held", ended_s=time.monotonic() - begin)

    ended = limited.ended(timeout_s=120)
    assert (ended["status"], ended["slurm_state"]) == ("stopped", "TIMEOUT")
    assert ended["reason"] == "The session reached its time limit."
    note("what is done to running jobs", whole_s=whole_within(20, survivors=bystanders))


def minutes_after(moment: str, minutes: int) -> str:
    """A moment in the API's form, some minutes later."""
    later = dt.datetime.fromisoformat(moment) + dt.timedelta(minutes=minutes)
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def fleeting() -> Iterator[str]:
    """A QoS that bob may use."""
    run("sacctmgr", "--immediate", "add", "qos", "fleeting", check=False)
    run("sacctmgr", "-i", "modify", "user", "bob", "set", "qos+=fleeting", check=False)
    yield "fleeting"
    run("sacctmgr", "-i", "modify", "user", "bob", "set", "qos-=fleeting", check=False)
    run("sacctmgr", "--immediate", "delete", "qos", "fleeting", check=False)


def test_jobs_that_may_not_start(fleeting: str) -> None:
    """Held, or with a QoS that was taken away: said while they wait; they can be ended."""
    with partition_down():
        without = desk("bob", slurm={"qos": fleeting})
        run("sacctmgr", "-i", "modify", "user", "bob", "set", f"qos-={fleeting}")
        held_by_user, held_by_admin = desk("alice"), desk("alice")
        told = held_by_user.until(lambda session: "PartitionDown" in session["reason"])
        assert (told["status"], told["phase"]) == ("pending", "queued")
        assert "the partition is closed" in told["reason"]
        as_user("alice", b"scontrol", b"hold", b"%d" % held_by_user.job_id)
        run("scontrol", "hold", str(held_by_admin.job_id))
    for session, part in (
        (held_by_user, "you or somebody for you held it"),
        (held_by_admin, "an administrator holds it"),
    ):
        told = session.until(lambda session: session["phase"] == "held")
        assert told["status"] == "pending"
        assert part in told["reason"]
    begin = time.monotonic()
    run("scontrol", "release", str(held_by_admin.job_id))
    held_by_admin.ready()
    note("job held, then released", ready_s=time.monotonic() - begin)
    told = without.until(lambda session: "InvalidQOS" in session["reason"], timeout_s=60)
    assert "you may no longer use the QoS" in told["reason"]
    for session in (held_by_user, held_by_admin, without):
        session.end()
    note("held, or without its QoS", whole_s=whole_within(20))


def test_an_account_that_is_removed_while_its_job_waits() -> None:
    """Slurm cannot launch the job and holds it: no slot is taken, and administrators can end it."""

    def may_ask() -> Desk | None:
        """Her session, once slurmctld has heard of her from slurmdbd."""
        with contextlib.suppress(NotPermitted):
            return desk("eve")
        return None

    run("useradd", "--uid=2077", "--no-create-home", "eve")
    try:
        run("sacctmgr", "-i", "add", "user", "eve", "account=research")
        run("sacctmgr", "-i", "modify", "user", "eve", "set", "qos+=moonlight")
        with partition_down():
            session_id = wait_for(may_ask, bool).session_id
            run("userdel", "eve")
        lost = Desk(Api("carol"), session_id)
        assert Api("eve")("GET", SESSIONS)[1]["code"] == "user_not_allowed"
        begin = time.monotonic()
        told = lost.until(lambda session: session["phase"] == "held")
        assert (told["status"], told["sunshine_port"]) == ("pending", None)
        note("account removed", told_s=time.monotonic() - begin)
        lost.end()
        note("account removed", whole_s=whole_within(20))
    finally:
        run("userdel", "eve", check=False)
        run("sacctmgr", "-i", "delete", "user", "eve", check=False)


@pytest.mark.slow  # waits for GraceTime and the scheduler
def test_preempted_and_out_of_memory(nodes: Mapping[str, Node]) -> None:
    """By a QoS that preempts ours, with a warning; and by Slurm's own limit on memory.

    There are no cgroups in this cluster: here Slurm adds up what its processes use and kills the
    job. With cgroups the job ends as OUT_OF_MEMORY (tests/unit/test_explain.py).
    """
    with urgent_qos(), slurm_conf(
        "PreemptType=preempt/qos", "PreemptMode=CANCEL", "PreemptParameters=reclaim_interval=1",
        "JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherParams=OverMemoryKill",
        "JobAcctGatherFrequency=task=1", without="JobAcctGather",
    ):  # fmt: skip
        hungry, victim = together(
            [partial(desk, "bob", image={"desktop": f"bash -c '{EAT}'"}), partial(desk, "carol")]
        )
        begin = time.monotonic()
        own = f"/scratch/sunshine_sessions/{hungry.session_id}"
        nodes[hungry.now["slurm_node"]].run("touch", f"{own}/eat", user="bob")
        ended = hungry.ended()
        assert ended["status"] == "failed"
        assert "1 GiB of memory" in ended["error"]
        note("job over its memory", told_s=time.monotonic() - begin)

        begin = time.monotonic()
        node = victim.now["slurm_node"]
        job_id = run(
            *("sbatch", "--parsable", "--uid=alice", "--gid=alice", "--qos=urgent"),
            *(f"--nodelist={node}", "--exclusive", "--job-name=urgent", "--chdir=/"),
            *("--output=/dev/null", "--export=NONE"),
            input="#!/bin/sh\nsleep 60\n",
        ).strip()
        try:
            told = victim.until(lambda session: session["phase"] == "preempting")
            assert told["status"] == "running"
            assert "save your work" in told["reason"]
            note("preemption announced", told_s=time.monotonic() - begin)
            ended = victim.ended()
            assert (ended["status"], ended["slurm_state"]) == ("stopped", "PREEMPTED")
            assert "for a job of higher priority" in ended["reason"]
            note("preempted", ended_s=time.monotonic() - begin)
        finally:
            run("scancel", job_id)
    # What a script that was killed could not remove, the Epilog removes.
    note("preempted and out of memory", whole_s=whole_within(30))


@contextlib.contextmanager
def urgent_qos() -> Iterator[None]:
    """A QoS that preempts ours, which gets a short time of grace."""
    run("sacctmgr", "--immediate", "add", "qos", "urgent", "Priority=1000", "Preempt=moonlight")
    try:
        run("sacctmgr", "-i", "modify", "user", "alice", "set", "qos+=urgent")
        run("sacctmgr", "-i", "modify", "qos", "moonlight", "set", "GraceTime=8")
        yield
    finally:
        run("sacctmgr", "-i", "modify", "qos", "moonlight", "set", "GraceTime=60")
        run("sacctmgr", "--immediate", "delete", "qos", "urgent")


def test_what_slurm_and_the_system_do_not_let_a_user_do(api: Callable[[str], Api]) -> None:
    """Refused at once in a sentence; no record, no job."""
    jobs = run("squeue", "--noheader", "--all", "--format=%A")
    before = [session["session_id"] for session in Api("carol")("GET", SESSIONS)[1]["sessions"]]
    status, answer = api("dave")("POST", SESSIONS, {"image_id": "bare"})
    assert (status, answer["code"]) == (403, "not_permitted")
    for wrong in ({"qos": "nosuch"}, {"account": "nosuch"}, {"partition": "batch", "qos": "x"}):
        with pytest.raises(NotPermitted, match="Ask the administrators"):
            desk("carol", slurm=wrong)
    with pytest.raises(UserNotAllowed):
        desk("nobody_of_that_name")
    status, answer = api("nobody_of_that_name")("POST", SESSIONS, {"image_id": "bare"})
    assert (status, answer["code"]) == (403, "user_not_allowed")
    assert run("squeue", "--noheader", "--all", "--format=%A") == jobs
    after = [session["session_id"] for session in Api("carol")("GET", SESSIONS)[1]["sessions"]]
    assert after == before
    note("QoS, account, user missing", whole_s=whole_within(10))


JUNK = (
    b'{"phase":"ready","reason":"\x1b[2J\\u0000"}',
    b"\xff\xfe\x00binary\x80",
    b'{"phase":' + b"[" * 500,
    b'{"phase":{"a":1},"restart":1e999,"port":-1,"display":99999999999999999999}',
    b'{"phase":"slot_busy","busy":"port","display":DISPLAY,"port":PORT,"restart":0}',
    b"moonlight:ml-alice-000000000000000000 image=x node=viz1 display=10 port=47989 restart=0",
    b'{"phase":"failed","reason":"<script>alert(1)</script>"}',
    b'"' * 1000,
    b"",
)


def test_what_the_owner_writes_is_shown_and_never_trusted(
    api: Callable[[str], Api], nodes: Mapping[str, Node]
) -> None:
    """Comment and Extra full of junk and lies: her session goes on, nobody else's changes."""
    mine, other = together([partial(desk, "alice"), partial(desk, "bob")])
    before = desktops()
    now = mine.now
    begin = time.monotonic()
    for junk in JUNK:
        text = junk.replace(b"DISPLAY", b"%d" % now["display_num"])
        text = text.replace(b"PORT", b"%d" % now["sunshine_port"])
        for field in (b"Extra=", b"Comment="):
            as_user("alice", b"scontrol", b"update", b"JobId=%d" % now["job_id"], field + text)
        time.sleep(1.2)  # a round of reconcile
        answer = mine.now
        assert answer["session_id"] == mine.session_id
        assert "\x1b" not in json.dumps(answer)
        assert api("alice")("GET", SESSIONS)[0] == 200
        assert clashes() == []
    assert "permission denied" in run(
        *("sh", "-c"),
        f"setpriv --reuid=alice --regid=alice --init-groups scontrol update JobId={now['job_id']}"
        " AdminComment=moonlight:mine 2>&1; true",
    )
    ready = b'{"phase":"ready","restart":0,"reason":"The desktop is ready."}'
    as_user("alice", b"scontrol", b"update", b"JobId=%d" % now["job_id"], b"Extra=" + ready)
    mine.until(lambda session: session["status"] == "running")
    note("junk in Comment and Extra", checked_s=time.monotonic() - begin)
    assert violations(survivors=before) == []
    for session in (mine, other):
        session.end()
    note("junk in Comment and Extra: afterwards", whole_s=whole_within(20))


def as_user(user: str, *command: bytes) -> None:
    """Run something as a user, whether it works or not; arguments may be any bytes but 0."""
    words = [b"setpriv", b"--reuid=" + user.encode(), b"--regid=" + user.encode()]
    whole = [*words, b"--init-groups", *(word.replace(b"\0", b"\1") for word in command)]
    subprocess.run(whole, check=False, capture_output=True, timeout=30)


FORGED_MARK = (
    "moonlight:ml-bob-01m00000000000000b image=bare identity=1 cpus=1 memory_gb=1 gpus=0 hours=1 "
    "width=640 height=480 fps=60 node=viz1 display=10 port=47989 restart=0"
)


def test_jobs_that_claim_to_be_sessions(redis_cli: Callable[..., str]) -> None:
    """Of herself, of somebody else, of a session that runs: none gets a record or a lease."""
    (real,) = together([partial(desk, "alice")])
    before = desktops()
    records = listed()
    gone = "ml-alice-01m00000000000000a"
    claims = (
        ("alice", real.session_id, f"moonlight:{real.session_id}"),
        ("bob", real.session_id, f"moonlight:{real.session_id}"),
        ("bob", gone, f"moonlight:{gone}"),
        ("alice", gone, f"moonlight:{gone}"),
        ("bob", "ml-bob-01m00000000000000b", FORGED_MARK),
        ("bob", "x", "moonlight:" + "9" * 900),
    )  # fmt: skip
    forged = [
        int(
            run(
                *("sbatch", "--parsable", f"--uid={user}", f"--gid={user}", "--partition=viz"),
                *(f"--job-name={name}", f"--comment={comment}", "--mem=100", "--chdir=/"),
                *("--extra", '{"phase":"ready"}', "--output=/dev/null", "--export=NONE"),
                input="#!/bin/sh\nsleep 600\n",
            )
        )
        for user, name, comment in claims
    ]
    try:
        # All jobs are looked through at once, and again in the next rounds.
        for _ in range(3):
            redis_cli("del", "moonlight:scan")
            time.sleep(1.5)
        assert listed() == records
        assert real.now["status"] == "running"
        assert violations(foreign_jobs=forged, survivors=before) == []
        # Redis is lost as well: only what the service has vouched for comes back.
        redis_cli("flushall")
        wait_for(lambda: [s for s in listed().values() if s == "running"], bool)
        assert set(listed()) == {name for name in records if name in before}
        assert violations(foreign_jobs=forged, survivors=before) == []
        states = run("squeue", "-h", "-j", ",".join(map(str, forged)), "-o", "%T").split()
        assert states == ["RUNNING"] * len(forged), "jobs that are none of ours were cancelled"
        real.end()
        states = run("squeue", "-h", "-j", ",".join(map(str, forged)), "-o", "%T").split()
        assert states == ["RUNNING"] * len(forged)
    finally:
        run("scancel", *map(str, forged))
    note("jobs that claim to be sessions", whole_s=whole_within(20))


def listed() -> dict[str, Any]:
    """Status by session id of everything that is listed."""
    status, answer = Api("carol")("GET", f"{SESSIONS}?all=true")
    assert status == 200
    return {session["session_id"]: session["status"] for session in answer["sessions"]}

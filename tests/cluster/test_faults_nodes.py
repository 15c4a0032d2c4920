"""Faults of nodes: slurmd dies, the node goes down, is drained, switched off, fails its prolog."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from cluster_view import raw_redis
from desks import constant, desk, slurm_conf, together, until_gone
from faults import drained, note
from invariants import clashes, desktops, whole_within
from on_cluster import RUN, run, wait_for

from moonlight_core import Settings, keys
from moonlight_core.reconcile import Reconciler
from moonlight_core.redis_client import connect
from moonlight_core.slurm import PyslurmGateway
from moonlight_core.store import SessionStore

pytestmark = pytest.mark.usefixtures("mended")

PROLOG = Path("/etc/slurm/prolog-of-tests")


def states(node: str) -> str:
    """Slurm's words for a node's state."""
    return run("sinfo", "--noheader", "--nodes", node, "--format=%T")


def test_a_slurmd_that_comes_back_in_time_is_not_noticed() -> None:
    """The desktops belong to slurmstepd: they go on, and are the same afterwards."""
    made = together([partial(desk, user) for user in ("alice", "bob")])
    before = desktops()
    name = made[0].now["slurm_node"]
    run("cluster-service", "kill", f"slurmd@{name}")
    begin = time.monotonic()
    time.sleep(3)
    assert made[0].now["status"] == "running"
    made[1].api.delete(made[1].session_id)
    run("cluster-service", "start", f"slurmd@{name}")
    # Its end was wished for while nobody on the node could hear it.
    assert made[1].ended()["reason"] == "Ended on request."
    note("slurmd killed and started", ended_s=time.monotonic() - begin)
    survivors = {made[0].session_id: before[made[0].session_id]}
    note("slurmd killed and started", whole_s=whole_within(30, survivors=survivors))


@pytest.mark.parametrize("daemon", ["slurmd", "slurmstepd"])
def test_a_job_that_does_not_die(daemon: str) -> None:
    """Who should end it hangs: told so, with its slot its own, until that one goes on."""
    (undying,) = together([partial(desk, "alice")])
    now = undying.now
    name, job_id = now["slurm_node"], now["job_id"]
    pids = hangs(daemon, name, job_id)
    try:
        begin = time.monotonic()
        undying.api.delete(undying.session_id)
        undying.until(lambda session: session["slurm_state"] == "COMPLETING")
        time.sleep(2)
        assert undying.now["status"] == "stopping"
        # A minute later, by the clock of one more that looks after it.
        look_in_a_minute()
        told = undying.now
        assert told["status"] == "stopping"
        assert f"the node {name} does not answer, or a process there can" in told["reason"]
        assert f"Its display and ports on {name} stay taken" in told["reason"]
        leases = raw_redis().hgetall(keys.leases(name))
        assert leases[undying.session_id] == f"{now['display_num']} {now['sunshine_port']}"
        assert clashes() == []
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    resumed = time.monotonic()
    assert undying.ended()["reason"] == "Ended on request."
    note(f"{daemon} hangs at the end", hung_s=resumed - begin, ended_s=time.monotonic() - resumed)
    note(f"{daemon} hangs at the end", whole_s=whole_within(30))


def look_in_a_minute() -> None:
    """A round of reconcile, by a clock that is a minute ahead."""
    settings = Settings.load()
    store, gateway = SessionStore(connect(settings.redis)), PyslurmGateway(settings.slurm.conf)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=61)
    Reconciler(settings, store, gateway, clock=lambda: later).run()


def hangs(daemon: str, node: str, job_id: int) -> list[int]:
    """Stop a node's slurmd, or the slurmstepd processes of a job; their process ids on the head."""
    if daemon == "slurmd":
        pids = run("cluster-service", "status", f"slurmd@{node}").split()[-1:]
    else:
        pids = run("pgrep", "-f", f"^slurmstepd: .{job_id}\\.").split()
    assert pids
    for pid in pids:
        os.kill(int(pid), signal.SIGSTOP)
    return [int(pid) for pid in pids]


@pytest.mark.slow  # waits for Slurm's SlurmdTimeout
def test_nodes_that_go_down_and_come_back() -> None:
    """One without its slurmd, one by an administrator: sessions fail, by the node's name.

    Slurm gives the jobs up, and on the node without slurmd nobody ends their processes: the script
    finds out by itself.
    """
    with slurm_conf("SlurmdTimeout=10", without="SlurmdTimeout"):
        with drained("viz2"):
            alone = desk("alice", script=constant("LOOK_S", 5))
            alone.ready()
        with drained("viz1"):
            downed = desk("bob")
            downed.ready()
        begin = time.monotonic()
        run("cluster-service", "kill", "slurmd@viz1")
        run("scontrol", "update", "NodeName=viz2", "State=DOWN", "Reason=broken fan")
        ended = downed.ended()
        assert (ended["status"], ended["slurm_state"]) == ("failed", "NODE_FAIL")
        # Its slurmd reports at once, and with ReturnToService=2 it is back before one can look.
        assert re.match("The node viz2 (failed|went down) while the session ran", ended["error"])
        assert ended["exit_code"] is None
        note("node set DOWN", told_s=time.monotonic() - begin)
        until_gone("viz2", downed.job_id)
        note("node set DOWN", gone_s=time.monotonic() - begin)

        ended = alone.ended(timeout_s=120)
        assert (ended["status"], ended["slurm_state"]) == ("failed", "NODE_FAIL")
        assert ended["error"].startswith("The node viz1 went down while the session ran (Not resp")
        note("slurmd killed", told_s=time.monotonic() - begin)
        # Without a slurmd nobody else would tell the container.
        note("job of a dead slurmd", gone_s=until_gone("viz1", alone.job_id, timeout_s=60))
        # With neither node the next one waits, and says so.
        run("scontrol", "update", "NodeName=viz2", "State=DRAIN", "Reason=broken fan")
        waiting = desk("carol")
        told = waiting.until(lambda session: "down, drained or reserved" in session["reason"])
        assert told["status"] == "pending"
        begin = time.monotonic()
        run("cluster-service", "start", "slurmd@viz1")
        run("scontrol", "update", "NodeName=viz2", "State=RESUME", check=False)
        assert waiting.ready()
        note("nodes are back", ready_s=time.monotonic() - begin)
        waiting.end()
    note("node set DOWN, slurmd killed", whole_s=whole_within(30))


def test_a_node_that_is_switched_off() -> None:
    """Nothing can clean up; the session fails, and her next one removes what is left."""
    with drained("viz1"):
        (lost,) = together([partial(desk, "bob")])
    begin = time.monotonic()
    run("cluster-service", "kill", "node@viz2")
    Path(RUN / "nodes" / "viz2.pid").unlink()
    assert lost.now["status"] == "running"
    run("scontrol", "update", "NodeName=viz2", "State=DOWN", "Reason=power")
    ended = lost.ended()
    assert "viz2 went down while the session ran (power)" in ended["error"]
    note("node switched off", told_s=time.monotonic() - begin)
    run("cluster-service", "start", "node@viz2", "slurmd@viz2")
    with drained("viz1"):
        (again,) = together([partial(desk, "bob")])
    assert clashes() == []
    again.end()
    note("node switched off", whole_s=whole_within(30))


def test_a_drained_node_keeps_its_sessions_and_gets_no_new_ones() -> None:
    """What runs there goes on; the next session goes elsewhere, or waits and says why."""
    (stays,) = together([partial(desk, "alice")])
    before = {stays.session_id: desktops()[stays.session_id]}
    name = stays.now["slurm_node"]
    other = {"viz1": "viz2", "viz2": "viz1"}[name]
    with drained(name):
        (elsewhere,) = together([partial(desk, "alice")])
        assert elsewhere.now["slurm_node"] == other
        with drained(other):
            waits = desk("bob")
            told = waits.until(lambda session: "down, drained or reserved" in session["reason"])
            assert told["status"] == "pending"
            assert stays.now["status"] == elsewhere.now["status"] == "running"
        waits.ready()
    for session in (elsewhere, waits):
        session.end()
    note("node drained", whole_s=whole_within(20, survivors=before))


def test_a_prolog_that_fails_on_one_node() -> None:
    """Slurm calls it cancelled and drains the node; the user is told it was not she."""
    PROLOG.write_text("#!/bin/sh\ntest ! -e /run/moonlight-dev/no-prolog-on.$SLURMD_NODENAME\n")
    PROLOG.chmod(0o755)
    marker = RUN / "no-prolog-on.viz1"
    marker.touch()
    try:
        with slurm_conf(f"Prolog={PROLOG}"):
            begin = time.monotonic()
            with drained("viz2"):
                unlucky = desk("alice")
                ended = unlucky.ended()
            note("prolog fails", told_s=time.monotonic() - begin)
            assert ended["status"] == "failed"
            assert "Slurm could not launch the session on the node viz1 (Prolog" in ended["error"]
            (next_one,) = together([partial(desk, "alice")])
            assert next_one.now["slurm_node"] == "viz2"
            next_one.end()
            marker.unlink()
            run("scontrol", "update", "NodeName=viz1", "State=RESUME")
            wait_for(lambda: states("viz1"), lambda said: "idle" in said or "mix" in said)
            whole_s = whole_within(20)
    finally:
        marker.unlink(missing_ok=True)
        PROLOG.unlink()
    note("prolog fails", whole_s=whole_s)

"""Whole sessions on the cluster: each with a display, ports, a Sunshine and a record of its own."""

from __future__ import annotations

import base64
import os
import re
import ssl
import stat
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from on_cluster import SESSIONS, Api, Node, everything, run, wait_for
from streaming import below_script, of_session

from moonlight_core import SessionEnded, keys, ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core import SessionManager

SESSION_DIRS = Path("/scratch/sunshine_sessions")


def test_a_desktop_over_http(
    api: Callable[[str], Api], nodes: dict[str, Node], redis_cli: Callable[..., str]
) -> None:
    """Asked for, started, drawn, ended; nothing is left."""
    alice = api("alice")
    created = alice.create("xfce4", width=1280, height=720)
    session_id = created["session_id"]
    assert created["status"] == "pending"
    assert created["job_id"]
    session = alice.wait(session_id, "running")
    node = nodes[session["slurm_node"]]
    base_port, display = session["sunshine_port"], session["display_num"]
    assert display >= 10
    assert session["connect"]["port"] == base_port
    assert session["connect"]["host"].startswith("10.213.0.")
    assert session["expires_at"] > session["started_at"] >= session["created_at"][:19]

    listeners = node.listeners()
    for port in ports.tcp_ports(base_port):
        assert port in listeners
    assert display in node.displays()
    mine = below_script(node, session)
    processes = [args for pid, args in node.processes("alice").items() if pid in mine]
    for program in ("Xvfb", "sunshine", "xfce4-session", "pulseaudio"):
        assert any(program in arguments for arguments in processes), program
    record = redis_cli("hgetall", keys.session(session_id)).split("\n")
    assert "running" in record
    assert redis_cli("hget", keys.leases(node.name), session_id).strip() == f"{display} {base_port}"

    # An empty screen is a PNG of 3 KB; wallpaper, panel and icons make it many times that.
    picture = wait_for(
        lambda: screenshot(node, session_id, display), lambda png: len(png) > 30_000, timeout_s=30
    )
    assert picture.startswith(b"\x89PNG")

    ended = alice.delete(session_id)
    assert ended["status"] == "stopping"
    session = alice.wait(session_id, "stopped", timeout_s=20)
    assert session["reason"] == "Ended on request."
    assert session["stopped_at"]
    assert alice.delete(session_id) == session
    wait_for(lambda: not_of_sessions(node, alice), lambda left: not left)
    assert not set(ports.tcp_ports(base_port)) & set(node.listeners())
    assert display not in node.displays()
    assert not (SESSION_DIRS / session_id).exists()
    assert redis_cli("hexists", keys.leases(node.name), session_id).strip() == "0"
    assert 0 < int(redis_cli("ttl", keys.session(session_id))) <= 86400


def not_of_sessions(node: Node, user: Api) -> dict[int, str]:
    """What a user runs on a node beside her sessions there, which others may have started."""
    theirs: set[int] = set()
    for session in user("GET", SESSIONS)[1]["sessions"]:
        if session["status"] == "running" and session["slurm_node"] == node.name:
            theirs |= below_script(node, session)
    return {pid: args for pid, args in node.processes(user.user).items() if pid not in theirs}


def screenshot(node: Node, session_id: str, display: int) -> bytes:
    """A PNG of a session's display, taken by its user with the session's cookie."""
    shot = node.run(
        *("sh", "-c"),
        f"cd / && apptainer --quiet exec --bind {SESSION_DIRS}/{session_id}:/session"
        f" /opt/apptainers/sunshine_xfce4.sif env DISPLAY=:{display} XAUTHORITY=/session/xauthority"
        " maim --hidecursor --format=png | base64",
        user="alice",
    )
    return base64.b64decode(shot)


def test_a_session_from_python(api: Callable[[str], Api], manager: SessionManager) -> None:
    """The five lines of the README, without HTTP."""
    session = manager.create(user="bob", image_id="bare")
    session = manager.wait(session.session_id, status="running", timeout_s=60)
    assert session.connect is not None
    assert session.connect.address == f"{session.connect.host}:{session.sunshine_port}"
    assert session in manager.list(user="bob")
    manager.delete(session.session_id)
    with pytest.raises(SessionEnded, match="Ended on request"):
        manager.wait(session.session_id, status="running", timeout_s=30)


def test_two_users_on_one_node_and_the_same_slot_on_two_nodes(
    api: Callable[[str], Api], nodes: dict[str, Node], unlimited: None
) -> None:
    """Apart where they share a node, alike where they do not; each as its own user."""
    # Two GPUs a node: the first two sessions fill one, the third gets the other.
    sessions = [api(user).create("bare", gpus=1) for user in ("alice", "bob", "carol")]
    ready = [
        api(session["username"]).wait(session["session_id"], "running") for session in sessions
    ]
    by_node: dict[str, list[dict[str, object]]] = {}
    for session in ready:
        by_node.setdefault(session["slurm_node"], []).append(session)
        owner = nodes[session["slurm_node"]].run(
            "sh", "-c", f"stat -c %U {SESSION_DIRS}/{session['session_id']}"
        )
        assert owner.strip() == session["username"]
    assert sorted(map(len, by_node.values())) == [1, 2]
    pair = next(pair for pair in by_node.values() if len(pair) == 2)
    assert pair[0]["display_num"] != pair[1]["display_num"]
    assert not ports.clash(pair[0]["sunshine_port"], pair[1]["sunshine_port"])
    # The first slots of a node may be taken by who was there before.
    slots = [
        {
            (session["display_num"], session["sunshine_port"])
            for session in everything()
            if session["status"] == "running" and session["slurm_node"] == node
        }
        for node in by_node
    ]
    assert slots[0] & slots[1]


def test_six_fill_a_node_and_the_seventh_waits_in_the_queue(
    api: Callable[[str], Api], manager: SessionManager, unlimited: None
) -> None:
    """Slurm itself counts slots, and the caller is told why it waits."""
    run("scontrol", "update", "NodeName=viz2", "State=DRAIN", "Reason=test")
    try:
        users = ("alice", "alice", "alice", "bob", "bob", "bob", "carol")
        taken = [session for session in manager.list() if session.slurm_node == "viz1"
                 and not session.status.ended]  # fmt: skip
        sessions = [api(user).create("bare") for user in users[len(taken) :]]
        for session in sessions[:-1]:
            api(session["username"]).wait(session["session_id"], "running")
        last = sessions[-1]
        waiting = wait_for(
            lambda: api(last["username"]).get(last["session_id"]),
            lambda session: "Resources" in (session["reason"] or ""),
        )
        assert (waiting["status"], waiting["slurm_node"]) == ("pending", None)
        first = sessions[0]
        api(first["username"]).delete(first["session_id"])
        api(last["username"]).wait(last["session_id"], "running")
    finally:
        run("scontrol", "update", "NodeName=viz2", "State=RESUME")


@pytest.mark.parametrize("image_id", ["bare", "layered", "xfce4"])
def test_every_way_of_using_an_image(api: Callable[[str], Api], image_id: str) -> None:
    """Read-only, with a layer, unpacked; twice, so that the second finds what the first left."""
    carol = api("carol")
    for _ in range(2):
        session_id = carol.create(image_id, gpus=0)["session_id"]
        carol.wait(session_id, "running")
        carol.delete(session_id)
        carol.wait(session_id, "stopped")
    own = Path(f"/scratch/sunshine_sandboxes/carol_{image_id}")
    assert own.exists() == (image_id != "bare")
    if own.exists():
        assert own.owner() == "carol"
        assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_a_second_account_reads_nothing(api: Callable[[str], Api], nodes: dict[str, Node]) -> None:
    """Directory, log, display and process environment are the user's alone."""
    session_id = api("alice").create("bare")["session_id"]
    session = api("alice").wait(session_id, "running")
    node = nodes[session["slurm_node"]]
    log = f"/scratch/sunshine_logs/{session_id}.log"
    assert "sunshine" not in node.run("ls", f"{SESSION_DIRS}/{session_id}", user="bob", check=False)
    assert node.run("cat", log, user="bob", check=False) == ""
    assert session_id in node.run("cat", log, user="alice")
    sunshine = of_session(node, session, r".*sunshine.* /session/config")
    assert node.run("cat", f"/proc/{sunshine}/environ", user="bob", check=False) == ""
    command_lines = node.run("ps", "-eo", "args", user="bob")
    credentials = (SESSION_DIRS / session_id / "config" / "credentials.json").read_text()
    assert credentials.split('"')[-2] not in command_lines
    looked = node.run(
        "sh", "-c",
        "cd / && apptainer --quiet exec /opt/apptainers/sunshine_xfce4.sif"
        f" env DISPLAY=:{session['display_num']} xdpyinfo 2>&1",
        user="bob", check=False,
    )  # fmt: skip
    assert "unable to open display" in looked


def test_no_secret_lies_about(api: Callable[[str], Api], redis_cli: Callable[..., str]) -> None:
    """Neither in Redis, nor in Slurm, nor in the log; the file on disk is private."""
    session_id = api("alice").create("bare")["session_id"]
    session = api("alice").wait(session_id, "running")
    file = SESSION_DIRS / session_id / "config" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    stored = file.read_text().split('"')[-2]
    shown = redis_cli("hgetall", keys.session(session_id))
    shown += run("scontrol", "show", "job", str(session["job_id"]))
    shown += Path(f"/scratch/sunshine_logs/{session_id}.log").read_text()
    assert stored not in shown
    assert os.environ.get("REDISCLI_AUTH", "no password is set") not in shown


def test_the_jobs_of_slurm_are_as_promised(api: Callable[[str], Api]) -> None:
    """QoS, partition, account, no requeue, comment, log."""
    session_id = api("alice").create("bare", cpus=2, memory_gb=2, hours=1)["session_id"]
    session = api("alice").wait(session_id, "running")
    job = run("scontrol", "show", "job", str(session["job_id"]))
    for part in (
        f"JobName={session_id}",
        "UserId=alice(2001)",
        "Account=research",
        "QOS=moonlight",
        "Partition=viz",
        "Requeue=0",
        "TimeLimit=01:00:00",
        "CPUs/Task=2",
        "MinMemoryNode=2G",
        "gres/moonlight:1",
        f"Comment=moonlight:{session_id}",
        f"StdOut=/scratch/sunshine_logs/{session_id}.log",
        f"display={session['display_num']} port={session['sunshine_port']}",
    ):
        assert part in job, part


def test_who_may_not_use_the_qos_is_told(api: Callable[[str], Api]) -> None:
    """403 with Slurm's own words, and nothing is made."""
    status, answer = api("dave")("POST", SESSIONS, {"image_id": "bare"})
    assert (status, answer["code"]) == (403, "not_permitted")
    assert "Invalid qos" in answer["error"]
    assert api("dave")("GET", SESSIONS) == (200, {"sessions": []})


def test_what_slurm_cannot_do_is_told(api: Callable[[str], Api]) -> None:
    """422, and nothing is made."""
    status, answer = api("bob")("POST", SESSIONS, {"image_id": "bare", "gpus": 4})
    assert (status, answer["code"]) == (422, "submit_rejected")
    assert all(s["gpus"] != 4 for s in api("bob")("GET", SESSIONS)[1]["sessions"])


@pytest.mark.parametrize(
    ("program", "part"),
    [
        ("Xvfb", "The X server"),
        ("bash -c", "The desktop"),
    ],
)
def test_a_part_that_dies_ends_the_session_with_its_name(
    api: Callable[[str], Api], nodes: dict[str, Node], program: str, part: str
) -> None:
    """Failed, with the reason and the last lines, and nothing left on the node."""
    bob = api("bob")
    session_id = bob.create("bare")["session_id"]
    session = bob.wait(session_id, "running")
    node = nodes[session["slurm_node"]]
    node.run("kill", "-9", str(of_session(node, session, program)))
    session = wait_for(lambda: bob.get(session_id), lambda s: s["status"] == "failed")
    assert session["error"] == f"{part} was ended by signal 9 (KILL)."
    assert session["exit_code"] == 1
    assert not (SESSION_DIRS / session_id).exists()
    wait_for(lambda: node.processes("bob"), lambda processes: not processes)


def test_a_killed_batch_script_takes_its_container_along(
    api: Callable[[str], Api], nodes: dict[str, Node]
) -> None:
    """No process on a node after its job, even where nobody could clean up."""
    bob = api("bob")
    session_id = bob.create("bare")["session_id"]
    session = bob.wait(session_id, "running")
    node = nodes[session["slurm_node"]]
    node.run("kill", "-9", str(of_session(node, session, "/bin/bash .*slurm_script")))
    session = wait_for(lambda: bob.get(session_id), lambda s: s["status"] == "failed")
    assert session["exit_code"] == 128 + 9
    wait_for(lambda: node.processes("bob"), lambda processes: not processes)
    # What it could not remove, the user's next session removes.
    again = bob.create("bare")["session_id"]
    bob.wait(again, "running")
    assert not (SESSION_DIRS / session_id).exists()


def test_the_end_of_the_desktop_is_the_end_of_the_session(
    api: Callable[[str], Api], nodes: dict[str, Node]
) -> None:
    """Logging out is no failure."""
    bob = api("bob")
    session_id = bob.create("bare")["session_id"]
    session = bob.wait(session_id, "running")
    node = nodes[session["slurm_node"]]
    # The desktop of this image ends well on SIGUSR1.
    node.run("kill", "-USR1", str(of_session(node, session, "bash -c")))
    session = wait_for(lambda: bob.get(session_id), lambda s: s["status"] == "stopped")
    assert session["reason"] == "The desktop was closed."
    assert session["error"] is None


def test_two_desktops_share_a_node(api: Callable[[str], Api]) -> None:
    """Whole ones: what a desktop keeps in the node's abstract sockets must not meet."""
    run("scontrol", "update", "NodeName=viz2", "State=DRAIN", "Reason=test")
    try:
        made = [(api(user), api(user).create("xfce4", gpus=0)) for user in ("bob", "carol")]
        for user, session in made:
            user.wait(session["session_id"], "running", timeout_s=120)
        time.sleep(3)
        for user, session in made:
            assert user.get(session["session_id"])["status"] == "running"
    finally:
        run("scontrol", "update", "NodeName=viz2", "State=RESUME")


def test_scancel_by_the_user_ends_the_session(
    api: Callable[[str], Api], nodes: dict[str, Node]
) -> None:
    """Whoever ends the job, the record says so and the slot is free."""
    alice = api("alice")
    session_id = alice.create("bare")["session_id"]
    session = alice.wait(session_id, "running")
    node = nodes[session["slurm_node"]]
    node.run("scancel", str(session["job_id"]), user="alice")
    ended = wait_for(lambda: alice.get(session_id), lambda s: s["status"] == "stopped")
    assert ended["slurm_state"] == "CANCELLED"
    wait_for(node.displays, lambda displays: session["display_num"] not in displays)


def test_a_foreign_process_on_a_port_costs_one_slot(
    api: Callable[[str], Api],
    nodes: dict[str, Node],
    redis_cli: Callable[..., str],
    unlimited: None,
) -> None:
    """The slot is blocked on that node, the session runs on the next one."""
    alice = api("alice")
    run("scontrol", "update", "NodeName=viz2", "State=DRAIN", "Reason=test")
    node = nodes["viz1"]
    free = next(
        port
        for port in ports.pack(47989, 48010, 6)
        if not set(ports.tcp_ports(port)) & set(node.listeners())
    )
    listen = f"import socket,time; s=socket.create_server(('', {free + 1})); time.sleep(60)"
    foreign = subprocess.Popen(node.command("python3", "-c", listen, user="dave"))
    try:
        wait_for(node.listeners, lambda listeners: free + 1 in listeners)
        session_id = alice.create("bare")["session_id"]
        session = alice.wait(session_id, "running")
        assert session["sunshine_port"] != free
        assert redis_cli("zscore", keys.blocked("viz1"), f"port:{free}").strip()
    finally:
        # Ending nsenter would leave what it started in the node.
        node.run("pkill", "-KILL", "-f", "-u", "dave", "socket.create_server", check=False)
        foreign.wait()
        run("scontrol", "update", "NodeName=viz2", "State=RESUME")


def test_ending_a_session_that_waits(api: Callable[[str], Api]) -> None:
    """It never starts."""
    run("scontrol", "update", "PartitionName=viz", "State=DOWN")
    try:
        session_id = api("alice").create("bare")["session_id"]
        waiting = wait_for(
            lambda: api("alice").get(session_id), lambda s: "PartitionDown" in (s["reason"] or "")
        )
        assert waiting["status"] == "pending"
        api("alice").delete(session_id)
        session = api("alice").wait(session_id, "stopped")
        assert session["started_at"] is None
    finally:
        run("scontrol", "update", "PartitionName=viz", "State=UP")


def test_the_next_session_is_the_same_host_to_clients(
    api: Callable[[str], Api], nodes: dict[str, Node]
) -> None:
    """Certificate and unique id come back; a second session at the same time has its own."""
    bob = api("bob")
    seen = []
    for _ in range(2):
        sessions = [bob.create("bare")["session_id"] for _ in range(2)]
        ready = [bob.wait(session_id, "running") for session_id in sessions]
        seen.append([identity_of(nodes[s["slurm_node"]], s["sunshine_port"]) for s in ready])
        for session_id in sessions:
            bob.delete(session_id)
        for session_id in sessions:
            bob.wait(session_id, "stopped")
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][1]


def identity_of(node: Node, base_port: int) -> tuple[str, str]:
    """What Moonlight knows a host by: its unique id and its certificate."""
    address = run("getent", "hosts", node.name).split()[0]
    with urllib.request.urlopen(f"http://{address}:{base_port}/serverinfo", timeout=5) as answer:
        found = re.search(r"<uniqueid>(.*)</uniqueid>", answer.read().decode())
    assert found
    return found[1], ssl.get_server_certificate((address, base_port - 5), timeout=5)

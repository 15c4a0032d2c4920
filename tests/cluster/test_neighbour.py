"""A real VNC neighbour on the same node and Redis: whatever our sessions do, it does not notice."""

from __future__ import annotations

import hashlib
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from on_cluster import Api, Node, run, wait_for

from moonlight_core import SettingsError, keys
from moonlight_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SANDBOX = Path("/scratch/vnc_sandboxes/dave_desktop")
IMAGE = Path("/opt/apptainers/vnc_desktop.sif")
KEYS = {
    "vnc:session:20260501120000": ("display", "1", "port", "5901", "node", "viz1", "user", "dave"),
    "vnc:session:20260501120001": ("display", "2", "port", "5902", "node", "viz1", "user", "dave"),
}
SCRIPT = """#!/bin/bash
exec Xvnc :1 -rfbport 5901 -SecurityTypes None -geometry 640x480 -depth 24
"""


@pytest.fixture
def neighbour(nodes: dict[str, Node], redis_cli: Callable[..., str]) -> Iterator[str]:
    """Xvnc on :1 and 5901 of viz1 as a job without QoS, with its files and keys; yields the job."""
    if not shutil.which("Xvnc"):
        pytest.fail("tigervnc-standalone-server is missing in the cluster's root")
    SANDBOX.mkdir(parents=True)
    (SANDBOX / "made-by-vnc").write_text("theirs\n")
    IMAGE.write_bytes(b"their image\n" * 1000)
    for name, fields in KEYS.items():
        redis_cli("hset", name, *fields)
    job_id = run(
        *("sbatch", "--parsable", "--uid=dave", "--gid=dave", "--partition=viz"),
        *("--nodelist=viz1", "--job-name=vnc_desktop", "--mem=500", "--chdir=/"),
        *("--output=/dev/null", "--export=NONE"),
        input=SCRIPT,
    ).strip()
    try:
        # Its keyboard compiler ends soon after its start.
        wait_for(
            lambda: list(nodes["viz1"].processes("dave").values()),
            lambda programs: len(programs) == 1 and programs[0].startswith("Xvnc"),
        )
        wait_for(nodes["viz1"].listeners, lambda listeners: 5901 in listeners)
        yield job_id
    finally:
        run("scancel", job_id)
        redis_cli("del", *KEYS)
        shutil.rmtree(SANDBOX.parent)
        IMAGE.unlink()


def fingerprint(node: Node, redis_cli: Callable[..., str], job_id: str) -> dict[str, object]:
    """Everything of the neighbour that could be disturbed."""
    job = run("scontrol", "show", "job", job_id)
    sandbox = SANDBOX.stat()
    return {
        "processes": node.processes("dave"),
        "display": 1 in node.displays(),
        "sockets": sorted(
            line.split()[-1] for line in node.run("cat", "/proc/net/unix").splitlines()
            if line.endswith("/X1")
        ),
        "lock": node.run("sh", "-c", "cat /tmp/.X1-lock; ls -ln /tmp/.X11-unix/X1"),
        "rfb": 5901 in node.listeners(),
        "job": [line for line in job.splitlines() if "RunTime" not in line],
        "keys": {name: redis_cli("hgetall", name) for name in KEYS},
        "ttl": [redis_cli("ttl", name) for name in KEYS],
        "image": hashlib.sha256(IMAGE.read_bytes()).hexdigest(),
        "image_stat": (IMAGE.stat().st_mtime_ns, IMAGE.stat().st_mode),
        "sandbox": sorted(
            (path.name, path.read_text(), path.stat().st_mtime_ns) for path in SANDBOX.iterdir()
        ),
        "sandbox_stat": (sandbox.st_mtime_ns, sandbox.st_mode, sandbox.st_uid),
    }  # fmt: skip


def greeting(node: Node) -> bytes:
    """What the VNC server says first (RFB protocol, section 7.1.1)."""
    address = run("getent", "hosts", node.name).split()[0]
    with socket.create_connection((address, 5901), timeout=5) as connection:
        return connection.recv(12)


def test_the_neighbour_notices_nothing(
    neighbour: str,
    api: Callable[[str], Api],
    nodes: dict[str, Node],
    redis_cli: Callable[..., str],
) -> None:
    """Whole lives of several sessions on its node: created, run, failed, ended, deleted."""
    node = nodes["viz1"]
    before = fingerprint(node, redis_cli, neighbour)
    assert before["display"]
    assert greeting(node).startswith(b"RFB 003.")
    run("scontrol", "update", "NodeName=viz2", "State=DRAIN", "Reason=test")
    try:
        sessions = [
            api("alice").create("xfce4", gpus=0),
            api("alice").create("bare"),
            api("bob").create("bare"),
        ]
        running = [api(s["username"]).wait(s["session_id"], "running") for s in sessions]
        assert all(session["display_num"] >= 10 for session in running)
        assert fingerprint(node, redis_cli, neighbour) == before
        victim = next(pid for pid, args in node.processes("bob").items() if args.startswith("Xvfb"))
        node.run("kill", "-9", str(victim))
        wait_for(
            lambda: api("bob").get(running[2]["session_id"]), lambda s: s["status"] == "failed"
        )
        for session in running[:2]:
            api("alice").delete(session["session_id"])
            api("alice").wait(session["session_id"], "stopped")
    finally:
        run("scontrol", "update", "NodeName=viz2", "State=RESUME")
    assert fingerprint(node, redis_cli, neighbour) == before
    assert greeting(node).startswith(b"RFB 003.")
    assert all(key.startswith(("moonlight:", "vnc:session:"))
               for key in redis_cli("--scan").split())  # fmt: skip
    assert redis_cli("hlen", keys.leases("viz1")).strip().isdigit()


@pytest.mark.parametrize(
    "document",
    [
        {"slots": {"first_display": 1}},
        {"paths": {"sandboxes": str(SANDBOX.parent)}},
        {"images": {"xfce4": {"sif": str(IMAGE)}}},
    ],
)
def test_settings_that_would_reach_the_neighbour_are_refused(document: dict[str, object]) -> None:
    """Before anything is done."""
    with pytest.raises(SettingsError, match="VNC"):
        Settings.from_mapping(document, {})

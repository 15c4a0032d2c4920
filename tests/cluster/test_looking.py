"""Waiting for a session, its log and a picture of it, on the cluster."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from on_cluster import SESSIONS, Api, Node, run, wait_for

from moonlight_core.png import size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core import SessionManager

WAITING = 32
"""[service] waiting, as it is by default; a quarter of them for each user."""


def fetch(path: str, user: str = "alice") -> tuple[int, str, bytes]:
    """Status, media type and body of an answer that need not be JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", 8004, timeout=90)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"X-Remote-User": user})
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()


class Waiter(threading.Thread):
    """A request that waits."""

    def __init__(self, path: str, user: str = "alice") -> None:
        super().__init__(daemon=True)
        self._path, self._user = path, user
        self.status = 0
        self.answer: dict[str, Any] = {}
        self.start()

    def run(self) -> None:
        """Wait."""
        self.status, _, body = fetch(self._path, self._user)
        self.answer = json.loads(body)


@pytest.fixture
def desktop(api: Callable[[str], Api]) -> dict[str, Any]:
    """A session of alice's that runs; somebody has waited for it."""
    made = api("alice").create("bare")
    waiter = Waiter(f"{SESSIONS}/{made['session_id']}?wait=running&timeout=60")
    phases: list[int] = []

    def look() -> dict[str, Any]:
        seen = api("alice").get(made["session_id"])
        phases.append(-1 if seen["percent"] is None else seen["percent"])
        return seen

    running = wait_for(look, lambda seen: seen["status"] in ("running", "failed"), 90)
    assert running["status"] == "running", running
    waiter.join(3)
    assert (waiter.status, waiter.answer.get("status")) == (200, "running")
    assert phases == sorted(phases)
    assert phases[-1] == 100
    return running


def test_log_and_picture(desktop: dict[str, Any], api: Callable[[str], Api]) -> None:
    """The owner gets both; nothing of it stays behind, and it says no secret."""
    place = f"{SESSIONS}/{desktop['session_id']}"
    folder = Path("/scratch/sunshine_sessions") / desktop["session_id"] / "pictures"
    status, kind, data = fetch(f"{place}/screenshot")
    assert (status, kind) == (200, "image/png"), data[:300]
    assert size_of(data) == (640, 480)
    assert fetch(f"{place}/screenshot")[2] == data
    assert [path.name for path in folder.iterdir()] == ["1.png"]
    for user in ("bob", "carol"):
        for what in ("log", "screenshot"):
            assert api(user)("GET", f"{place}/{what}")[0] == 404
    status, log = api("alice")("GET", f"{place}/log?tail=500")
    assert status == 200
    text = "\n".join(log["lines"])
    assert "starting_sunshine" in text
    password = api("alice")("GET", f"{place}/credentials")[1]["password"]
    assert password not in text
    assert password not in data.decode("latin-1")
    # The picture of a moment ago is removed by the job itself.
    wait_for(lambda: list(folder.iterdir()), lambda left: not left, 40)
    api("alice").delete(desktop["session_id"])
    ended = api("alice")("GET", f"{place}?wait=ended&timeout=20")[1]
    assert ended["status"] == "stopped"
    assert api("alice")("GET", f"{place}/screenshot")[1]["code"] == "session_not_running"
    after = api("alice")("GET", f"{place}/log?tail=2000")[1]
    assert "===== sunshine.log" in after["lines"]
    assert password not in "\n".join(after["lines"])


def test_tricks_with_files(
    desktop: dict[str, Any], api: Callable[[str], Api], nodes: dict[str, Node]
) -> None:
    """A link or a pipe in the place of the log, and of the pictures, is not followed."""
    place = f"{SESSIONS}/{desktop['session_id']}"
    node = nodes[desktop["slurm_node"]]
    log = f"/scratch/sunshine_logs/{desktop['session_id']}.log"
    pictures = f"/scratch/sunshine_sessions/{desktop['session_id']}/pictures"
    node.run("mv", log, f"{log}.real", user="alice")
    for trick in (
        ("ln", "-s", "/etc/moonlight/secret", log),
        ("ln", "-s", "/etc/passwd", log),
        ("mkfifo", log),
    ):
        node.run(*trick, user="alice")
        status, answer = api("alice")("GET", f"{place}/log")
        assert (status, answer["code"]) == (502, "file_unreadable"), trick
        node.run("rm", log, user="alice")
    node.run("mv", f"{log}.real", log, user="alice")
    assert api("alice")("GET", f"{place}/log")[0] == 200
    secret = Path("/etc/moonlight/secret").read_text("utf-8").strip()
    node.run("ln", "-s", "/etc/moonlight", pictures, user="alice")
    status, answer = api("alice")("GET", f"{place}/screenshot")
    assert (status, answer["code"]) == (502, "screenshot_failed")
    assert secret not in json.dumps(answer)


def test_waiting_takes_nothing_from_others(api: Callable[[str], Api]) -> None:
    """As many as may wait do; reads are as fast as ever, one more is told, leavers make room."""
    session_id = api("alice").create("bare", cpus=1)["session_id"]
    mine = {"alice": session_id, "bob": api("bob").create("bare")["session_id"]}
    begun: list[socket.socket] = []
    for user in ("alice", "bob"):
        for _ in range(WAITING // 4):
            waiting = socket.create_connection(("127.0.0.1", 8004))
            waiting.sendall(
                f"GET {SESSIONS}/{mine[user]}?wait=ended&timeout=60 HTTP/1.1\r\nHost: x\r\n"
                f"X-Remote-User: {user}\r\n\r\n".encode()
            )
            begun.append(waiting)

    def one_more() -> tuple[int, Any]:
        return api("alice")("GET", f"{SESSIONS}/{session_id}?wait=ended&timeout=1")

    _, answer = wait_for(one_more, lambda seen: seen[0] == 503, 15)
    assert answer["code"] == "busy"
    slow = 0.0
    for _ in range(50):
        begin = time.monotonic()
        assert api("")("GET", "/health")[0] == 200
        assert api("alice")("GET", SESSIONS)[0] == 200
        slow = max(slow, time.monotonic() - begin)
    assert slow < 2
    begun.pop(0).close()
    wait_for(one_more, lambda seen: seen[0] == 200, 15)
    # A change is heard by all of them.
    api("alice").delete(session_id)
    for waiting in begun[: WAITING // 4 - 1]:
        waiting.settimeout(30)
        assert b'"status": "stopped"' in _all_of(waiting)
    for waiting in begun:
        waiting.close()


def _all_of(waiting: socket.socket) -> bytes:
    """A whole answer."""
    response = http.client.HTTPResponse(waiting)
    response.begin()
    return response.read()


def test_the_queue_tells_slurms_estimate(api: Callable[[str], Api]) -> None:
    """Two fill the nodes; when the third may begin, Slurm knows."""
    bob = api("bob")
    for _ in range(2):
        bob.create("bare", cpus=32, memory_gb=1)
    third = bob.create("bare", cpus=32, memory_gb=1)["session_id"]
    seen = wait_for(lambda: bob.get(third), lambda seen: seen["expected_start_at"], 60)
    assert (seen["status"], seen["percent"]) == ("pending", 5)
    assert " Expected at " in seen["reason"]


def test_the_library_as_another_account(manager: SessionManager, desktop: dict[str, Any]) -> None:
    """Whoever may read as the user gets both by the library as well."""
    assert os.geteuid() == 0
    assert manager.log(desktop["session_id"], tail=1).lines
    assert manager.screenshot(desktop["session_id"]).width == 640
    shown = run("/bin/sh", "-c", "grep -h '^Uid' /proc/self/status")
    assert shown.split()[1:] == ["0", "0", "0", "0"]

"""``moonlight`` as ordinary users run it on the head: their own sessions, and nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from on_cluster import SESSIONS, Api, run

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = "/opt/moonlight/backend_moonlight_8004/venv/bin/moonlight"
SOCKET = "/run/moonlight/users.sock"


def moonlight(user: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command, with nothing but the user's own rights and a plain environment."""
    return subprocess.run(
        ["runuser", "-u", user, "--", COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=150,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environ},
    )


def test_a_session_of_ones_own(api: Callable[[str], Api]) -> None:
    """Made, looked at and ended by alice; for bob there is none, and nothing of it to see."""
    assert api
    made = moonlight("alice", "create", "--image", "bare", "--wait")
    assert made.returncode == 0, made.stderr
    assert "running 100 %" in made.stderr
    session_id, _, rest = made.stderr.partition(" is job ")
    job = rest.split()[0]
    assert "address" in made.stdout
    assert "UserId=alice(2001)" in run("scontrol", "show", "job", job)
    (listed,) = [
        each
        for each in json.loads(moonlight("alice", "list", "--json").stdout)
        if each["session_id"] == session_id
    ]
    assert (listed["username"], listed["status"]) == ("alice", "running")
    log = moonlight("alice", "log", session_id)
    assert (log.returncode, bool(log.stdout)) == (0, True), log.stderr
    # A client that she has paired with an earlier session is still hers.
    clients = moonlight("alice", "clients", session_id)
    assert (clients.returncode, bool(clients.stdout)) == (0, True), clients.stderr
    assert moonlight("alice", "pair", session_id, "--pin", "12").returncode == 2
    assert session_id not in moonlight("bob", "list").stdout
    missing = f"ml-alice-{'0' * 18}"
    for command in (["show"], ["delete"], ["log"], ["pair", "--pin", "0214"]):
        theirs = moonlight("bob", *command, session_id)
        nobodys = moonlight("bob", *command, missing)
        assert theirs.returncode == nobodys.returncode == 1
        assert theirs.stderr.replace(session_id, missing) == nobodys.stderr
    everybodys = moonlight("carol", "list", "--all", "--json")
    assert session_id in {each["session_id"] for each in json.loads(everybodys.stdout)}
    ended = moonlight("alice", "delete", session_id)
    assert (ended.returncode, "stop" in ended.stdout) == (0, True), ended.stderr


def test_nobody_else_on_the_socket() -> None:
    """The kernel's word alone counts: no header, no root; what operators do is not for users."""
    for user, header in (("alice", "X-Remote-User: bob"), ("root", "X-Remote-User: bob")):
        answer = run(
            *("runuser", "-u", user, "--", "curl", "--silent", "--unix-socket", SOCKET),
            *("--header", header, f"http://localhost{SESSIONS}"),
        )
        assert json.loads(answer)["code"] == "untrusted_proxy"
    for user, code in (("root", "user_not_allowed"), ("nobody", "user_not_allowed")):
        answer = run(
            *("setpriv", f"--reuid={user}", "--clear-groups", "curl", "--silent"),
            *("--unix-socket", SOCKET, f"http://localhost{SESSIONS}"),
        )
        assert json.loads(answer)["code"] == code, user
    refused = moonlight("alice", "reconcile")
    assert refused.returncode == 1
    assert "You are alice, and this is a command for operators" in refused.stderr
    away = moonlight("alice", "list", MOONLIGHT_SERVICE_USERS_SOCKET="/run/moonlight/none.sock")
    assert away.returncode == os.EX_UNAVAILABLE
    assert "/run/moonlight/none.sock does not answer" in away.stderr


def test_the_doctor_looks_at_the_socket() -> None:
    """It answers, and is open to users."""
    told = run(COMMAND, "doctor", "--only", "users")
    assert f"users' socket {SOCKET}: It answers, and is well." in told

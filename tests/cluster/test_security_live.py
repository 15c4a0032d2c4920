"""Limits and secrets on real Slurm: exactly so many jobs, and sessions that outlive a secret."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from on_cluster import LIVE, SESSIONS, Api, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT = 8206
SECOND = {"MOONLIGHT_SERVICE_PORT": str(PORT), "MOONLIGHT_SERVICE_USERS_SOCKET": ""}


@pytest.fixture
def second() -> Iterator[Callable[..., None]]:
    """Starts a second service with other settings; ended afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(**environ: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "moonlight_http"],
            env=os.environ | SECOND | environ,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)

        def answers() -> bool:
            assert process.poll() is None
            try:
                return bool(Api("", PORT)("GET", "/health")[1]["status"] == "ok")
            except OSError:
                return False

        wait_for(answers, bool, timeout_s=60)

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=30)


def ask(user: Api) -> tuple[int, dict[str, Any]]:
    """Ask for a session; while Slurm's library is being started, again."""
    for _ in range(60):
        status, answer = user("POST", SESSIONS, {"image_id": "bare"})
        if status != 503:
            break
        time.sleep(0.5)
    return status, answer


def test_fifty_at_once_make_three_jobs(
    second: Callable[..., None], api: Callable[[str], Api]
) -> None:
    """Through two services at once, on one Redis and one Slurm."""
    second(MOONLIGHT_SESSIONS_PER_USER="3")
    bob = Api("bob", PORT)
    assert not [s for s in bob("GET", SESSIONS)[1]["sessions"] if s["status"] in LIVE]
    run("scontrol", "update", "PartitionName=viz", "State=DOWN")
    try:
        with ThreadPoolExecutor(50) as pool:
            asked = list(pool.map(lambda _: ask(bob), range(50)))
        counted = collections.Counter(status for status, _ in asked)
        assert counted == {201: 3, 429: 47}, counted
        assert {(a["limit"], a["current"]) for status, a in asked if status == 429} == {(3, 3)}
        made = {answer["session_id"] for status, answer in asked if status == 201}
        queued = run("squeue", "--noheader", "--user=bob", "--format=%j").split()
        assert set(queued) == made
        assert len(queued) == 3
    finally:
        for session in api("bob")("GET", SESSIONS)[1]["sessions"]:
            if session["status"] in LIVE:
                api("bob").delete(session["session_id"])
        run("scontrol", "update", "PartitionName=viz", "State=UP")


def test_a_running_session_outlives_its_secret(
    second: Callable[..., None], api: Callable[[str], Api], tmp_path: Path
) -> None:
    """After a rotation the same Sunshine is spoken to, and new sessions have new passwords."""
    alice = api("alice")
    session_id = alice.create("bare")["session_id"]
    alice.wait(session_id, "running")
    place = f"{SESSIONS}/{session_id}"
    _, before = alice("GET", f"{place}/credentials")
    old = Path("/etc/moonlight/secret").read_text().strip()
    path = tmp_path / "secret"
    path.write_text(f"{'0f' * 32}\n{old}\n")
    path.chmod(0o600)
    second(MOONLIGHT_SERVICE_SECRET_FILE=str(path))
    after = Api("alice", PORT)
    status, clients = after("GET", f"{place}/clients")
    assert (status, "clients" in clients) == (200, True)
    assert after("GET", f"{place}/credentials") == (200, before)
    new = ask(after)[1]["session_id"]
    after.wait(new, "running")
    assert after("GET", f"{SESSIONS}/{new}/clients")[0] == 200
    # The service with the old secret alone cannot, says why, and tries no password.
    status, answer = alice("GET", f"{SESSIONS}/{new}/clients")
    assert (status, answer["code"]) == (502, "sunshine_unusable")
    assert "secret" in answer["error"]

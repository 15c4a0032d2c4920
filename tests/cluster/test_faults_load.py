"""Many at once: more sessions are asked for than there are slots."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from cluster_view import jobs_in_slurm
from faults import note
from invariants import clashes, whole_within
from on_cluster import LIVE, SESSIONS, Api, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("mended")

PORT = 8105
USERS = ("alice", "bob", "carol")


@pytest.fixture
def generous() -> Iterator[int]:
    """A second service, which lets users have any number of sessions; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moonlight_http"],
        env=os.environ
        | {
            "MOONLIGHT_SERVICE_PORT": str(PORT),
            "MOONLIGHT_SERVICE_USERS_SOCKET": "",
            "MOONLIGHT_SESSIONS_PER_USER": "300",
            "MOONLIGHT_SESSIONS_CREATES_PER_MINUTE": "0",
        },
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            return Api("", PORT)("GET", "/health")[0] == 200
        except OSError:
            return False

    try:
        wait_for(answers, bool)
        yield PORT
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(
    ("creates", "clients"), [(36, 12), pytest.param(200, 32, marks=pytest.mark.slow)]
)
def test_more_creates_than_slots_from_many_clients(
    generous: int, creates: int, clients: int
) -> None:
    """None is lost and none made twice; twelve run at a time, and all can be ended."""

    def create(number: int) -> tuple[int, Any, float, int]:
        """Ask, and again while there are too many at once, as Retry-After says."""
        api = Api(USERS[number % 3], generous)
        again = 0
        while again < 20:
            begin = time.monotonic()
            status, answer = api("POST", SESSIONS, {"image_id": "bare"})
            if status != 503:
                break
            assert "Too many requests" in answer["error"]
            time.sleep(1)
            again += 1
        return status, answer, time.monotonic() - begin, again

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(create, range(creates)))
    asked_s = time.monotonic() - begin
    assert Counter(status for status, *_ in answers) == {201: creates}
    sessions = {answer["session_id"]: answer for _, answer, *_ in answers}
    assert len(sessions) == creates
    named = Counter(job.name for job in jobs_in_slurm().values() if job.name in sessions)
    assert named == dict.fromkeys(sessions, 1)
    assert clashes() == []

    def mine() -> Counter[str]:
        listed = Api("carol")("GET", f"{SESSIONS}?all=true")[1]["sessions"]
        return Counter(s["status"] for s in listed if s["session_id"] in sessions)

    # As many as there are slots; a desktop that somebody has running takes one.
    running = wait_for(mine, lambda seen: seen["running"] >= 10, timeout_s=150)
    assert running["pending"] > 0
    note(f"{creates} creates", ready_s=time.monotonic() - begin)
    whole_within(30)

    def delete(session_id: str) -> int:
        status, _ = Api("carol")("DELETE", f"{SESSIONS}/{session_id}")
        return status

    ending = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        assert set(pool.map(delete, sessions)) == {200}
    wait_for(mine, lambda seen: not any(seen[status] for status in LIVE), timeout_s=150)
    assert mine() == {"stopped": creates}
    note(
        f"{creates} creates from {clients} clients",
        asked_s=asked_s,
        worst_s=max(seconds for _, _, seconds, _ in answers),
        told_to_come_again=sum(again for *_, again in answers),
        ended_s=time.monotonic() - ending,
        whole_s=whole_within(60),
    )

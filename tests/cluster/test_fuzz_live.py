"""The live service, on real Slurm and Redis, against a hundred thousand hostile requests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from fuzzer import Fuzzer, schemathesis
from on_cluster import LIVE, SESSIONS, Api, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINE = ("alice", "dave")
# Fewer for a first look: MOONLIGHT_FUZZ_REQUESTS=5000.
REQUESTS = int(os.environ.get("MOONLIGHT_FUZZ_REQUESTS", "120000"))


def left_over(redis_cli: Callable[..., str]) -> dict[str, Any]:
    """What is there of anybody, in Redis and in Slurm."""
    names = redis_cli("--scan").split()
    return {
        "foreign keys": [name for name in names if not name.startswith(("moonlight:", "vnc:"))],
        "leases": [n for n in names if n.endswith(":leases") and redis_cli("hlen", n) != "0\n"],
        "live": redis_cli("zrange", "moonlight:sessions:live", "0", "-1").split(),
        "jobs": run("squeue", "--noheader", "--format=%j").split(),
    }


def end_all() -> None:
    """End what the fuzzers have made."""
    for user in MINE:
        api = Api(user)
        for session in api("GET", SESSIONS)[1]["sessions"]:
            if session["status"] in LIVE:
                api.delete(session["session_id"])
        wait_for(
            lambda api=api: [s for s in api("GET", SESSIONS)[1]["sessions"] if s["status"] in LIVE],
            lambda living: not living,
            timeout_s=120,
        )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_requests(redis_cli: Callable[..., str], tmp_path: Path) -> None:
    """No 5xx but the declared 503, every answer in our shape, and nothing left afterwards."""
    end_all()
    before = wait_for(
        lambda: left_over(redis_cli),
        lambda now: not any(map(str(now["jobs"]).count, MINE)),
        timeout_s=60,
    )
    status, description = Api("")("GET", "/api/moonlight/openapi.json")
    assert status == 200
    total = 0
    try:
        for number, user in enumerate(MINE):
            made = schemathesis(8004, user, tmp_path, examples=40, phases="coverage,fuzzing")
            assert made.returncode == 0, made.stdout[-6000:]
            fuzzer = Fuzzer(description, 8004, user)
            fuzzer.known_ids = [s["session_id"] for s in Api(user)("GET", SESSIONS)[1]["sessions"]]
            outcome = fuzzer.run(REQUESTS // len(MINE), seed=number, threads=6)
            assert outcome.faults == [], outcome.faults[:5]
            total += outcome.requests
            print(user, dict(outcome.statuses))  # noqa: T201 - shown by pytest -rP
        assert total >= 0.8 * REQUESTS
    finally:
        end_all()
    wait_for(lambda: left_over(redis_cli), lambda after: after == before, timeout_s=120)
    assert Api("")("GET", "/health")[1]["status"] == "ok"

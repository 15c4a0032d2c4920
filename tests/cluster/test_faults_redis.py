"""Faults of Redis: away, hung, slow, full, emptied, restarted; desktops do not notice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cluster_view import jobs_in_slurm, raw_redis
from faults import Answers, hung, killed, note, stopped, timed_request
from invariants import clashes, desktops, whole_within
from on_cluster import SESSIONS, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from on_cluster import Api

pytestmark = pytest.mark.usefixtures("mended")

P99_S = 0.25
WAYS: dict[str, Callable[[str], AbstractContextManager[None]]] = {"stopped": stopped, "hung": hung}


@pytest.fixture
def six(api: Callable[[str], Api]) -> list[tuple[Api, str]]:
    """Six running desktops of three users on two nodes."""
    made = [(user, user.create()["session_id"]) for name in USERS for user in [api(name)] * 2]
    for user, session_id in made:
        user.wait(session_id, "running")
    return made


USERS = ("alice", "bob", "carol")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_redis_is_away(api: Callable[[str], Api], way: str, seconds: int) -> None:
    """Everything says so at once, with 503; afterwards all is as it was."""
    alice = api("alice")
    session_id = alice.create()["session_id"]
    alice.wait(session_id, "running")
    before = desktops()
    with WAYS[way]("redis"):
        # Who asks in the moment in which it falls silent waits for the answer that does not come.
        first_s, first = timed_request(alice, "GET", SESSIONS)
        assert first.status == 503
        until = time.monotonic() + seconds
        with Answers() as answers:
            while time.monotonic() < until:
                for method, path, body in (
                    ("POST", SESSIONS, {"image_id": "bare"}),
                    ("DELETE", f"{SESSIONS}/{session_id}", None),
                    ("GET", f"{SESSIONS}/{session_id}", None),
                ):
                    _, answer = timed_request(alice, method, path, body)
                    assert (answer.status, answer.json["code"]) == (503, "store_unavailable")
                    assert int(answer.headers["Retry-After"]) > 0
                time.sleep(0.3)
            assert alice("GET", "/health")[1]["checks"]["redis"] != "ok"
    assert answers.statuses(SESSIONS) == {503}
    assert answers.statuses("/health") == {200}
    assert first_s < 3
    assert answers.p99_s < P99_S
    note(
        f"Redis {way} {seconds} s",
        whole_s=whole_within(30, survivors=before),
        p99_s=answers.p99_s,
        worst_s=answers.worst_s,
        first_s=first_s,
    )


@pytest.mark.parametrize("way", ["flushed", "restarted empty"])
def test_redis_loses_everything(
    api: Callable[[str], Api], six: list[tuple[Api, str]], way: str
) -> None:
    """All six are back with their slots, and a new one beside them meets none of them."""
    before = desktops()
    shown = [user.get(session_id)["applications"] for user, session_id in six]
    assert all(shown)
    # The neighbour's keys are in the same Redis; only ours are lost here.
    store = raw_redis()
    if way == "flushed":
        store.flushall()
    else:
        run("cluster-service", "kill", "redis")
        run("sh", "-c", "rm -rf /var/lib/redis/*")
        run("cluster-service", "start", "redis")
    # Who was told a moment ago that Redis is away may be told so once more.
    _, made = wait_for(
        lambda: api("alice")("POST", SESSIONS, {"image_id": "bare"}),
        lambda answer: answer[0] == 201,
        stop=lambda answer: answer[0] != 503,
    )
    new = made["session_id"]
    for _ in range(20):
        assert clashes() == []
        time.sleep(0.1)
    note(f"Redis {way}, six desktops", whole_s=whole_within(30, survivors=before))
    api("alice").wait(new, "running")
    assert len(before) >= len(six)
    whole_within(10, survivors=before)
    assert [user.get(session_id)["applications"] for user, session_id in six] == shown


@pytest.mark.slow  # waits for the next scan of all jobs
def test_redis_comes_back_as_it_was_some_time_ago(api: Callable[[str], Api]) -> None:
    """An old copy knows neither who came nor who left since; no slot is given twice for it."""
    alice, bob = api("alice"), api("bob")
    left = alice.create()["session_id"]
    alice.wait(left, "running")
    store = raw_redis(decode_responses=False)
    old = {key: (store.dump(key), store.pttl(key)) for key in store.scan_iter("moonlight:*")}
    alice.delete(left)
    alice.wait(left, "stopped")
    came = bob.create()["session_id"]
    bob.wait(came, "running")
    before = desktops()
    assert left not in before
    with hung("moonlight"):
        for key in store.scan_iter("moonlight:*"):
            store.delete(key)
        for key, (value, lifetime_ms) in old.items():
            store.restore(key, max(0, lifetime_ms), value)
    third = alice.create()["session_id"]
    note("Redis set back", whole_s=whole_within(90, survivors=before))
    alice.wait(third, "running")
    assert alice.get(left)["status"] == "stopped"


def test_redis_is_full(api: Callable[[str], Api]) -> None:
    """New sessions are refused; those that there are go on, are followed and can be ended."""
    alice, bob = api("alice"), api("bob")
    kept, ended = alice.create()["session_id"], bob.create()["session_id"]
    alice.wait(kept, "running")
    bob.wait(ended, "running")
    before = desktops()
    before.pop(ended)
    store = raw_redis()
    jobs = set(jobs_in_slurm())
    try:
        store.config_set("maxmemory-policy", "noeviction")
        store.config_set("maxmemory", "1")
        took, answer = timed_request(alice, "POST", SESSIONS, {"image_id": "bare"})
        assert (answer.status, answer.json["code"]) == (503, "store_unavailable")
        bob.delete(ended)
        bob.wait(ended, "stopped")
        assert alice.get(kept)["status"] == "running"
        whole_within(20, survivors=before)
    finally:
        store.config_set("maxmemory", "0")
    assert not set(jobs_in_slurm()) - jobs  # slurmctld forgets old ones meanwhile
    note("Redis full", whole_s=whole_within(20, survivors=before), refused_s=took)


def test_redis_is_slow(api: Callable[[str], Api]) -> None:
    """Pauses shorter than the deadline are waited for, longer ones are told."""
    alice = api("alice")
    session_id = alice.create()["session_id"]
    alice.wait(session_id, "running")
    before = desktops()
    store = raw_redis()
    with Answers() as answers:
        for _ in range(5):
            store.execute_command("CLIENT", "PAUSE", "300", "ALL")
            time.sleep(0.6)
    assert answers.statuses(SESSIONS) == {200}
    with Answers() as long:
        store.execute_command("CLIENT", "PAUSE", "4000", "ALL")
        time.sleep(5)
    assert long.statuses(SESSIONS) <= {200, 503}
    assert 503 in long.statuses(SESSIONS)
    assert long.statuses("/health") == {200}
    wait_for(lambda: alice("GET", SESSIONS)[0], lambda status: status == 200)
    note("Redis slow", whole_s=whole_within(20, survivors=before), worst_s=long.worst_s)


def test_redis_crashes_while_sessions_are_made(api: Callable[[str], Api]) -> None:
    """Whatever was told of each: afterwards there are no halves."""
    users = [api(name) for name in USERS]
    made = []
    for attempt in range(3):
        for user in users:
            status, answer = user("POST", SESSIONS, {"image_id": "bare"})
            made += [answer["session_id"]] if status == 201 else []
        if attempt == 1:
            with killed("redis"):
                for user in users:
                    assert user("POST", SESSIONS, {"image_id": "bare"})[0] == 503
    note("Redis killed while sessions are made", whole_s=whole_within(90))
    assert made

"""Redis lets us at our own keys alone, and the service says so when it would let us at more."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from session_factory import at_most, session

from moonlight_core.models import Status
from moonlight_core.redis_rights import excess
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Iterator

ACL = Path(__file__).parents[2] / "deploy/redis/moonlight.acl"


@pytest.fixture
def ours(redis_client: redis.Redis, redis_url: str) -> Iterator[redis.Redis]:
    """A client with the account of deploy/redis/moonlight.acl."""
    text = ACL.read_text("utf-8").replace(">PASSWORD", ">hunter2")
    words = next(line for line in text.splitlines() if line.startswith("user ")).split()
    redis_client.execute_command("ACL", "SETUSER", *words[1:])
    with redis.Redis.from_url(
        redis_url, username="moonlight", password="hunter2", decode_responses=True
    ) as client:
        yield client
    redis_client.execute_command("ACL", "DELUSER", "moonlight")


def test_the_account_has_no_more_than_it_needs(
    ours: redis.Redis, redis_client: redis.Redis
) -> None:
    """Every probe of the default account finds something, of ours nothing."""
    assert excess(ours) == []
    assert len(excess(redis_client)) == 4


@pytest.mark.parametrize(
    "command",
    [
        "GET vnc:session:1", "HGETALL vnc:session:1", "DEL vnc:session:1", "SET other x",
        "EXPIRE vnc:session:1 1", "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "FLUSHALL", "FLUSHDB",
        "CONFIG GET *", "CONFIG SET dir /tmp", "SHUTDOWN", "DEBUG SLEEP 1", "MONITOR", "ACL LIST",
        "CLIENT LIST", "CLIENT KILL TYPE normal", "REPLICAOF 127.0.0.1 1", "MODULE LIST", "SAVE",
        "SLOWLOG GET", "PUBLISH vnc:events x", "SUBSCRIBE vnc:events", "PSUBSCRIBE *",
        "RENAME moonlight:scan vnc:session:1", "COPY vnc:session:1 moonlight:x",
        "SORT moonlight:x GET vnc:*", "SWAPDB 0 1", "MOVE moonlight:x 1", "SCRIPT FLUSH",
        "MIGRATE 127.0.0.1 1 moonlight:x 0 1", "FUNCTION LIST", "OBJECT ENCODING vnc:session:1",
    ],
)  # fmt: skip
def test_the_neighbours_keys_are_out_of_reach(
    ours: redis.Redis, redis_client: redis.Redis, command: str
) -> None:
    """Whatever a mistake in our code or a burglar in our process would send."""
    redis_client.hset("vnc:session:1", "display", "1")
    with pytest.raises(redis.exceptions.ResponseError, match=r"perm|allowed"):
        ours.execute_command(*command.split())
    script = "return redis.call(unpack(ARGV))"
    with pytest.raises(redis.exceptions.ResponseError):
        ours.eval(script, 0, *command.split())
    assert redis_client.hgetall("vnc:session:1") == {"display": "1"}


def test_the_service_works_with_it(ours: redis.Redis) -> None:
    """A store of that account does all that a store does; the cluster runs on it as well."""
    store = SessionStore(ours)
    store.ping()
    assert store.all() == []
    assert store.excess_rights() == []
    one = store.create(session(), at_most(2))
    assert one is not None
    assert store.lease(one, "viz1", range(10, 12), [47989])
    assert store.scans.claim(10)
    store.nudge()
    with store.nudges() as nudges:
        assert nudges.wait(0.05, threading.Event())
    assert store.scans.release_orphans(set()) == 0
    (one,) = store.live()
    assert store.finish(one, keep_s=60, status=Status.STOPPED)
    store.pairings.begin(one.session_id, "token", longest_s=5)
    assert store.pairings.get(one.session_id).status == "waiting"

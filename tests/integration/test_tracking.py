"""Redis is asked for a record only when one may have changed; an old one is never shown."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from session_factory import at_most, session

from moonlight_core import keys, tracking
from moonlight_core.redis_client import connect
from moonlight_core.settings import RedisSettings
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from moonlight_core.models import Session


@pytest.fixture
def listening(redis_client: redis.Redis, redis_url: str) -> Iterator[SessionStore]:
    """A store that Redis tells of changes."""
    store = SessionStore(connect(RedisSettings(url=redis_url)))
    store.tracking.listen()
    yield store
    store.tracking.close()


@pytest.fixture
def other(redis_url: str) -> SessionStore:
    """The store of another service."""
    return SessionStore(connect(RedisSettings(url=redis_url)))


@pytest.fixture
def one(other: SessionStore) -> Session:
    """A session that the other service has made."""
    made = other.create(session(), at_most(-1))
    assert made is not None
    return made


@pytest.fixture
def asked(redis_client: redis.Redis) -> Callable[[], int]:
    """How many scripts Redis has carried out."""

    def count() -> int:
        return int(redis_client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))

    return count


def test_what_has_not_changed_is_not_asked_for(
    listening: SessionStore, one: Session, asked: Callable[[], int]
) -> None:
    """The first read asks; further ones get the same object for nothing, in lists as well."""
    first = listening.get(one.session_id)
    before = asked()
    assert all(listening.get(one.session_id) is first for _ in range(20))
    assert listening.of_user("alice") == [first]
    assert listening.get_many([]) == []
    assert asked() == before


def test_who_does_not_listen_asks_each_time(
    other: SessionStore, one: Session, asked: Callable[[], int]
) -> None:
    """A cron job or a library user, who may be idle for hours."""
    before = asked()
    for _ in range(5):
        other.get(one.session_id)
    assert asked() == before + 5


def test_whatever_changes_a_record_is_seen_by_the_next_read(
    listening: SessionStore, other: SessionStore, one: Session, redis_client: redis.Redis
) -> None:
    """A script of another service, a hand, a lost Redis."""
    session_id, key = one.session_id, keys.session(one.session_id)
    assert listening.get(session_id) == one
    for number in range(200):
        one = other.updated(one, reason=f"change {number}") or pytest.fail("not changed")
        assert listening.get(session_id) == one
    redis_client.hset(key, "reason", "by hand")
    redis_client.hset(key, "revision", one.revision + 1)
    seen = listening.get(session_id)
    assert seen is not None
    assert seen.reason == "by hand"
    redis_client.delete(key)
    assert listening.get(session_id) is None
    assert other.restore(one)
    assert listening.get(session_id) is not None
    redis_client.flushdb()
    assert listening.get(session_id) is None


def test_a_record_that_expires_is_gone(
    listening: SessionStore, one: Session, redis_client: redis.Redis
) -> None:
    """Redis tells of that too, when it removes it."""
    assert listening.get(one.session_id) is not None
    redis_client.pexpire(keys.session(one.session_id), 1)
    deadline = time.monotonic() + 5
    while listening.get(one.session_id) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ones_own_change_is_seen_before_redis_tells_of_it(
    listening: SessionStore, one: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can a decision that came too late be made again on what it was made on."""
    assert listening.get(one.session_id) == one
    connection = listening.tracking._connection
    assert connection is not None
    monkeypatch.setattr(connection, "can_read", lambda _timeout=0: False)
    assert listening.update(one, reason="ours")
    seen = listening.get(one.session_id)
    assert seen is not None
    assert seen.reason == "ours"
    assert not listening.update(one, reason="too late")
    assert listening.get(one.session_id) == seen


def test_a_connection_that_ends_is_made_again(
    listening: SessionStore, other: SessionStore, one: Session, redis_client: redis.Redis,
    asked: Callable[[], int],
) -> None:  # fmt: skip
    """What changes meanwhile is seen, since every read asks."""
    assert listening.get(one.session_id) == one
    redis_client.client_kill_filter(_type="pubsub")
    one = other.updated(one, reason="unheard") or pytest.fail("not changed")
    assert listening.get(one.session_id) == one
    before = asked()
    listening.get(one.session_id)
    assert asked() == before + 1
    listening.tracking.listen()
    one = other.updated(one, reason="unheard again") or pytest.fail("not changed")
    listening.tracking.listen()
    for _ in range(3):
        assert listening.get(one.session_id) == one
    # Two scripts: the change, and the first of these reads.
    assert asked() == before + 3


def test_silence_is_trusted_for_a_moment_only(
    listening: SessionStore, one: Session, asked: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A connection may be broken without anybody knowing: it is asked whether it is whole."""
    monkeypatch.setattr(tracking, "_TRUST_S", 0.2)
    listening.get(one.session_id)
    time.sleep(0.25)
    before = asked()
    # Too long ago; this one asks Redis for the record, and the connection for a word.
    listening.get(one.session_id)
    assert asked() == before + 1
    time.sleep(0.05)
    listening.get(one.session_id)
    assert asked() == before + 1
    # Nothing is ever heard any more.
    connection = listening.tracking._connection
    assert connection is not None
    monkeypatch.setattr(connection, "can_read", lambda _timeout=0: False)
    time.sleep(0.25)
    for number in (2, 3, 4):
        listening.get(one.session_id)
        assert asked() == before + number


def test_where_redis_does_not_let_us_every_read_asks(
    redis_client: redis.Redis, redis_url: str, one: Session, asked: Callable[[], int]
) -> None:
    """An account that was made before there was this right."""
    rights = "on nopass ~moonlight:* &moonlight:* +@all -client|tracking"
    redis_client.execute_command("ACL", "SETUSER", "earlier", *rights.split())
    try:
        store = SessionStore(connect(RedisSettings(url=redis_url, username="earlier")))
        for _ in range(2):
            store.tracking.listen()
            before = asked()
            assert store.get(one.session_id) == one
            assert asked() == before + 1
    finally:
        redis_client.execute_command("ACL", "DELUSER", "earlier")


def test_one_that_listens_no_more_is_dropped_by_redis(
    listening: SessionStore, redis_client: redis.Redis
) -> None:
    """As a subscriber it has a bound (client-output-buffer-limit); another client has none."""
    names = [each["cmd"] for each in redis_client.client_list(_type="pubsub")]
    assert names == ["subscribe"]


def test_never_older_than_a_change_that_was_answered(
    listening: SessionStore, other: SessionStore
) -> None:
    """Changes by another service and by ours, and reads, all at once."""
    made = [other.create(session(), at_most(-1)) for _ in range(4)]
    answered = {one.session_id: one.revision for one in made if one}
    end = time.monotonic() + 3
    wrong: list[str] = []
    reads = itertools.count()

    def change(store: SessionStore, session_id: str) -> None:
        for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
            now = store.get(session_id)
            after = store.updated(now, reason=str(number)) if now else None
            if after is None:
                wrong.append("a change of one's own was not seen")
                return
            answered[session_id] = after.revision
            time.sleep(0.001 * (number % 5))

    def read() -> None:
        for session_id in itertools.cycle(answered):
            if time.monotonic() > end:
                return
            least = answered[session_id]
            seen = listening.get(session_id)
            next(reads)
            if seen is None or seen.revision < least:
                wrong.append(f"{seen and seen.revision} is older than {least}")

    ids = list(answered)
    with ThreadPoolExecutor() as pool:
        for store, session_id in zip((other, other, listening, listening), ids, strict=True):
            pool.submit(change, store, session_id)
        for _ in range(3):
            pool.submit(read)
    assert not wrong, wrong[:5]
    assert next(reads) > 300

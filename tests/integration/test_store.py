"""The records and leases on a real Redis: whole changes, no double lease, nobody else's keys."""

from __future__ import annotations

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
import pytest
import redis
from session_factory import at_most, session

from moonlight_core import keys, ports
from moonlight_core.errors import QuotaExceeded, StoreRefused, StoreUnavailable
from moonlight_core.models import Lease, Session, Status
from moonlight_core.redis_client import connect
from moonlight_core.settings import RedisSettings
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable

DISPLAYS = range(10, 100)
PORTS = ports.pack(47989, 48010, 90)


def created(store: SessionStore, **changes: object) -> Session:
    """A session that is recorded."""
    made = store.create(session(**changes), at_most(-1))
    assert made is not None
    return made


def test_a_created_session_is_found_everywhere(store: SessionStore) -> None:
    """By id, by user, among all and among the live."""
    one = created(store)
    assert store.get(one.session_id) == one
    assert store.of_user("alice") == [one]
    assert store.all() == [one]
    assert store.live() == [one]
    assert store.of_user("bob") == []


def test_the_limit_counts_live_sessions_only(store: SessionStore) -> None:
    """An ended session gives its place back."""
    first = store.create(session(), at_most(2))
    assert first is not None
    store.create(session(), at_most(2))
    with pytest.raises(QuotaExceeded) as caught:
        store.create(session(), at_most(2))
    assert (caught.value.limit, caught.value.current) == (2, 2)
    assert store.finish(first, keep_s=60, status=Status.STOPPED)
    store.create(session(), at_most(2))


def test_each_live_session_of_a_user_has_an_identity_of_its_own(store: SessionStore) -> None:
    """The lowest free number: who has one session at a time is always the same host to clients."""
    sessions = [created(store) for _ in range(3)]
    assert [one.identity for one in sessions] == [1, 2, 3]
    assert store.finish(sessions[1], keep_s=60, status=Status.STOPPED)
    assert [created(store).identity for _ in range(2)] == [2, 4]
    assert created(store, username="bob").identity == 1
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: created(store, username="carol").identity, range(40)))
    assert sorted(made) == list(range(1, 41))


def test_a_gap_among_many_identities_is_found(store: SessionStore) -> None:
    """Whichever sessions have ended: the lowest number is given that is free."""
    choose = random.Random(7)  # noqa: S311 - the same in each run
    living: list[Session] = []
    for _ in range(300):
        if living and choose.random() < 0.45:
            store.finish(living.pop(choose.randrange(len(living))), keep_s=0)
            continue
        taken = {one.identity for one in living}
        living.append(created(store))
        assert living[-1].identity == next(n for n in itertools.count(1) if n not in taken)


def test_a_restored_session_keeps_its_identity(store: SessionStore) -> None:
    """And nobody else is given it."""
    store.restore(session(identity=2))
    assert [created(store).identity for _ in range(2)] == [1, 3]


def test_fifty_creates_at_once_at_a_limit_of_three(store: SessionStore) -> None:
    """Exactly three win."""

    def create(_: int) -> bool:
        try:
            store.create(session(), at_most(3))
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(50))) == 3
    assert len(store.live()) == 3


def test_a_change_on_an_old_revision_is_not_made(store: SessionStore) -> None:
    """Who decided on what is no longer true looks again."""
    one = created(store)
    assert store.update(one, job_id=7, reason=None)
    assert not store.update(one, job_id=8)
    now = store.get(one.session_id)
    assert now is not None
    assert (now.job_id, now.reason) == (7, None)
    assert now.revision > one.revision


def test_of_a_hundred_changes_on_one_revision_one_is_made(store: SessionStore) -> None:
    """The comparison is inside Redis."""
    one = created(store)
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: store.update(one, job_id=n), range(100)))
    assert sum(made) == 1


def test_an_unchanged_record_is_not_read_again(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    """Redis sends what has changed; the rest is the object that was read before."""
    changing, still = created(store), created(store)
    before = store.of_user("alice")
    assert store.update(changing, job_id=7)
    after = {one.session_id: one for one in store.of_user("alice")}
    assert after[changing.session_id].job_id == 7
    assert any(one is after[still.session_id] for one in before)
    redis_client.delete(keys.session(still.session_id))
    assert store.get(still.session_id) is None


def test_a_later_life_of_a_record_is_never_taken_for_an_earlier_one(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    """Redis was lost or set back: what is remembered, or was decided, has no revision in common."""
    one = created(store)
    earlier = store.updated(one, job_id=7)
    assert earlier is not None
    copy = redis_client.dump(keys.session(one.session_id))
    later = store.updated(earlier, job_id=8)
    assert store.get(one.session_id) == later
    assert isinstance(copy, bytes)
    redis_client.restore(keys.session(one.session_id), 0, copy, replace=True)
    assert store.updated(earlier, job_id=9)
    again = store.get(one.session_id)
    assert again is not None
    assert again.job_id == 9
    assert not store.update(later or one, job_id=10)
    redis_client.flushall()
    assert store.restore(attrs.evolve(one, reason="Found again."))
    found = store.get(one.session_id)
    assert found is not None
    assert (found.reason, found.job_id) == ("Found again.", None)
    assert not store.update(again, job_id=11)


def test_an_end_releases_all_and_expires(store: SessionStore, redis_client: redis.Redis) -> None:
    """The lease goes back, the live sets forget it, the record gets a time to live."""
    one = created(store)
    assert store.lease(one, "viz1", DISPLAYS, PORTS)
    one = store.get(one.session_id) or one
    assert store.finish(one, keep_s=100, status=Status.FAILED, reason="x")
    assert store.live() == []
    assert redis_client.hlen(keys.leases("viz1")) == 0
    assert 0 < redis_client.ttl(keys.session(one.session_id)) <= 100
    assert [ended.status for ended in store.of_user("alice")] == [Status.FAILED]


def test_an_expired_record_leaves_the_indexes(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    """A listing sweeps what Redis has forgotten."""
    one = created(store)
    redis_client.delete(keys.session(one.session_id))
    assert store.of_user("alice") == []
    assert redis_client.zcard(keys.user_sessions("alice")) == 0


def test_six_sessions_fit_a_node_and_the_seventh_waits(store: SessionStore) -> None:
    """Displays from :10, ports that never clash; another node begins anew."""
    leases = [store.lease(created(store), "viz1", DISPLAYS, PORTS) for _ in range(7)]
    assert leases[6] is None
    taken = [lease for lease in leases if lease]
    assert [lease.display_num for lease in taken] == [10, 11, 12, 13, 14, 15]
    assert [lease.sunshine_port for lease in taken] == list(PORTS)
    assert store.lease(created(store), "viz2", DISPLAYS, PORTS) == Lease(
        node="viz2", display_num=10, sunshine_port=47989
    )


def test_a_lease_asked_for_again_is_the_same(store: SessionStore) -> None:
    """A crash after the lease loses nothing."""
    one = created(store)
    first = store.lease(one, "viz1", DISPLAYS, PORTS)
    leased = store.get(one.session_id)
    assert leased is not None
    assert store.lease(leased, "viz1", DISPLAYS, PORTS) == first


def test_a_lease_for_an_old_revision_is_not_given(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    """A session that somebody ended meanwhile leaks no slot."""
    one = created(store)
    assert store.update(one, status=Status.STOPPING)
    assert store.lease(one, "viz1", DISPLAYS, PORTS) is None
    assert redis_client.hlen(keys.leases("viz1")) == 0


def test_a_port_of_another_configuration_still_counts(store: SessionStore) -> None:
    """Leases taken under an earlier port range keep their sockets."""
    store.lease(created(store), "viz1", DISPLAYS, [47990])
    second = store.lease(created(store), "viz1", DISPLAYS, PORTS)
    assert second is not None
    assert not ports.clash(second.sunshine_port, 47990)


def test_a_blocked_part_of_a_slot_is_passed_over(store: SessionStore) -> None:
    """Display and port are blocked apart, on one node, for a time."""
    one = created(store)
    store.lease(one, "viz1", DISPLAYS, PORTS)
    one = store.get(one.session_id) or one
    assert store.unlease(one, block=["port:47989"], block_s=60)
    one = store.get(one.session_id) or one
    assert one.lease is None
    assert store.lease(one, "viz1", DISPLAYS, PORTS) == Lease(
        node="viz1", display_num=10, sunshine_port=47992
    )
    other = store.lease(created(store), "viz2", DISPLAYS, PORTS)
    assert other is not None
    assert other.sunshine_port == 47989


def test_leases_taken_by_many_at_once_never_clash(store: SessionStore, redis_url: str) -> None:
    """64 sessions, four nodes, sixteen connections: exactly 24 leases, none of them twice."""
    sessions = [created(store) for _ in range(64)]
    local = threading.local()

    def lease(number: int) -> Lease | None:
        if not hasattr(local, "store"):
            local.store = SessionStore(redis.Redis.from_url(redis_url, decode_responses=True))
        found: Lease | None = local.store.lease(
            sessions[number], f"viz{number % 4}", DISPLAYS, PORTS
        )
        return found

    with ThreadPoolExecutor(16) as pool:
        leases = [lease for lease in pool.map(lease, range(64)) if lease]
    assert len(leases) == 24
    for one, other in itertools.combinations(leases, 2):
        if one.node == other.node:
            assert one.display_num != other.display_num
            assert not ports.clash(one.sunshine_port, other.sunshine_port)


def test_orphaned_leases_are_released_and_living_ones_kept(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    """Without a record, with an ended one, or elsewhere: released. Alive in Slurm: kept."""
    living, ended = created(store), created(store)
    store.lease(living, "viz1", DISPLAYS, PORTS)
    redis_client.hset(keys.leases("viz1"), ended.session_id, "11 47992")
    redis_client.hset(keys.leases("viz1"), "ml-gone-0", "12 47996")
    redis_client.hset(keys.leases("viz1"), "ml-slurm-knows-it", "13 47999")
    store.finish(ended, keep_s=60, status=Status.STOPPED)
    assert store.scans.release_orphans({"ml-slurm-knows-it"}) == 2
    assert set(redis_client.hkeys(keys.leases("viz1"))) == {
        living.session_id,
        "ml-slurm-knows-it",
    }


def test_a_restored_session_has_its_lease(store: SessionStore, redis_client: redis.Redis) -> None:
    """And nothing is restored over a record that is there."""
    one = session(slurm_node="viz1", display_num=10, sunshine_port=47989)
    assert store.restore(one)
    assert not store.restore(one)
    assert [attrs.evolve(found, revision=0) for found in store.live()] == [one]
    assert redis_client.hgetall(keys.leases("viz1")) == {one.session_id: "10 47989"}


def test_every_key_is_ours(store: SessionStore, redis_client: redis.Redis) -> None:
    """Whatever is done, nothing outside moonlight: is touched."""
    redis_client.hset("vnc:session:1", "display", "1")
    one = created(store)
    store.lease(one, "viz1", DISPLAYS, PORTS)
    store.scans.claim(10)
    one = store.get(one.session_id) or one
    store.unlease(one, block=["display:10"], block_s=9)
    one = store.get(one.session_id) or one
    store.finish(one, keep_s=60, status=Status.STOPPED)
    foreign = [key for key in redis_client.scan_iter() if not key.startswith("moonlight:")]
    assert foreign == ["vnc:session:1"]
    assert redis_client.hgetall("vnc:session:1") == {"display": "1"}


def test_a_damaged_record_is_passed_over(store: SessionStore, redis_client: redis.Redis) -> None:
    """One bad record does not hide the others."""
    one, bad = created(store), created(store)
    redis_client.hset(keys.session(bad.session_id), "created_at", "yesterday")
    assert store.of_user("alice") == [one]
    assert redis_client.zcard(keys.user_sessions("alice")) == 2


def test_the_scan_is_one_callers_turn(store: SessionStore) -> None:
    """At most one scan in a period, whoever asks."""
    assert [store.scans.claim(60) for _ in range(3)] == [True, False, False]


def test_a_redis_that_is_away_is_said_to_be(tmp_path: object) -> None:
    """By every call."""
    away = SessionStore(connect(RedisSettings(url=f"unix://{tmp_path}/none")))
    calls: list[Callable[[], object]] = [
        away.ping,
        away.all,
        lambda: away.get("x"),
        lambda: created(away),
        lambda: away.update(session(), job_id=1),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="Redis does not answer"):
            call()


def test_a_full_redis_is_said_to_be(store: SessionStore, redis_client: redis.Redis) -> None:
    """An error answer is not an absence, and nothing is half written."""
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreRefused, match="memory"):
            created(store)
    finally:
        redis_client.config_set("maxmemory", "0")
    assert redis_client.keys("moonlight:*") == []

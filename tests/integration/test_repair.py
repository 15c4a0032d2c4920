"""What reconcile does where somebody lies, forgets, or does not die."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import attrs
import pytest

from moonlight_core import (
    SessionManager,
    SlurmUnavailable,
    Status,
    StoreUnavailable,
    keys,
    reconcile,
)
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from moonlight_core import Session, Settings
    from moonlight_core.secret import Secret
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC)

    def __call__(self) -> dt.datetime:
        """The time now."""
        return self.now

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """The time of all services."""
    return Clock()


@pytest.fixture
def make_manager(
    make_settings: Callable[..., Settings],
    redis_client: redis.Redis,
    gateway: MemoryGateway,
    secret: Secret,
    clock: Clock,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], SessionManager]:
    """Makes services over one Redis and one Slurm."""
    names = {2001: "alice", 2002: "bob"}
    monkeypatch.setattr(reconcile, "name_of", names.get)

    def make() -> SessionManager:
        return SessionManager(
            make_settings(),
            SessionStore(redis_client),
            gateway,
            service_secret=secret,
            clock=clock,
            resolve_user=resolve_user,
        )

    return make


@pytest.fixture
def manager(make_manager: Callable[[], SessionManager]) -> SessionManager:
    """One of them."""
    return make_manager()


def running(manager: SessionManager, gateway: MemoryGateway, user: str = "alice") -> Session:
    """A running desktop on viz1."""
    session = manager.create(user)
    gateway.start(session.job_id or 0, "viz1")
    manager.reconcile()
    gateway.report(session.job_id or 0, json.dumps({"phase": "ready"}))
    manager.reconcile()
    return manager.get(session.session_id)


def test_a_job_that_does_not_die_is_insisted_on_and_told(
    manager: SessionManager, gateway: MemoryGateway, clock: Clock
) -> None:
    """Cancelled, cancelled again, killed; its slot is free when Slurm says that it is gone."""
    session = running(manager, gateway)
    job_id = session.job_id or 0
    gateway.undying.add(job_id)
    manager.delete(session.session_id)
    manager.reconcile()
    assert gateway.insisted[job_id] == 0
    clock.tick(21)
    manager.reconcile()
    manager.reconcile()
    told = manager.get(session.session_id)
    assert gateway.insisted[job_id] >= 1
    assert (told.status, told.phase) == (Status.STOPPING, "cancelling")
    assert "still RUNNING" in (told.reason or "")
    assert told.lease == session.lease
    other = running(manager, gateway, "bob")
    assert other.display_num != session.display_num
    gateway.change(job_id, state="COMPLETING")
    clock.tick(61)
    manager.reconcile()
    told = manager.get(session.session_id)
    assert "viz1 does not answer, or a process there cannot be killed" in (told.reason or "")
    assert manager.delete(session.session_id).reason == told.reason
    gateway.end(job_id, "CANCELLED")
    manager.reconcile()
    assert manager.get(session.session_id).reason == "Ended on request."


def test_a_slot_that_a_job_was_told_is_not_given_away(
    manager: SessionManager,
    gateway: MemoryGateway,
    redis_client: redis.Redis,
) -> None:
    """Also where Redis has lost the lease, and believes that nothing is lost."""
    first = running(manager, gateway)
    for key in redis_client.scan_iter("moonlight:*"):
        if key != keys.SCAN:
            redis_client.delete(key)
    # Its record comes back with the next scan; a job that starts before it gets another slot.
    second = manager.create("bob")
    gateway.start(second.job_id or 0, "viz1")
    manager._reconciler.advance(manager.get(second.session_id))
    second = manager.get(second.session_id)
    assert second.display_num not in (None, first.display_num)
    redis_client.delete(keys.SCAN)
    manager.reconcile()
    again = manager.get(first.session_id)
    assert (again.lease, again.status) == (first.lease, Status.RUNNING)


def test_a_record_set_back_takes_the_slot_its_job_has(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """The job's script has its display already; the record follows it."""
    first = running(manager, gateway)
    second = running(manager, gateway, "bob")
    redis_client.delete(keys.leases("viz1"))
    for session in (second, first):
        redis_client.hdel(keys.session(session.session_id), "display_num", "sunshine_port")
    for session in (second, first):
        redis_client.hset(keys.session(session.session_id), "revision", "1")
    manager.reconcile()
    manager.reconcile()
    assert manager.get(second.session_id).lease == second.lease
    assert manager.get(first.session_id).lease == first.lease


def test_a_job_of_the_same_name_hides_nobodys_session(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """Job names are everybody's to choose; bob's claim on alice's session is not looked at."""
    session = running(manager, gateway)
    spec = gateway.specs[session.job_id or 0]
    gateway.submit(attrs.evolve(spec, user_id=2002, admin_comment=""))
    hers = gateway.submit(attrs.evolve(spec, admin_comment=""))
    redis_client.flushall()
    manager.reconcile()
    manager.reconcile()
    found = manager.get(session.session_id)
    assert (found.job_id, found.lease) == (session.job_id, session.lease)
    assert gateway.jobs([hers])[hers].state == "PENDING"
    assert len(manager.list()) == 1


def test_the_same_key_finds_its_job_although_redis_lost_the_record(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """Before any round had a chance to find it."""
    first = manager.create("alice", idempotency_key="wish")
    redis_client.flushall()
    again = manager.create("alice", idempotency_key="wish")
    assert (again.session_id, again.job_id) == (first.session_id, first.job_id)
    assert len(gateway.specs) == 1


def test_a_job_that_cannot_be_written_down_is_cancelled(
    manager: SessionManager, gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told that there is none, so there must be none; with a key it is kept."""

    def away(*_args: object, **_options: object) -> None:
        raise StoreUnavailable("Redis does not answer.")

    monkeypatch.setattr(manager._store, "updated", away)
    with pytest.raises(StoreUnavailable, match="its job 1 is cancelled"):
        manager.create("alice")
    with pytest.raises(StoreUnavailable, match="same idempotency key"):
        manager.create("alice", idempotency_key="wish")
    assert [job.state for job in gateway.our_jobs()] == ["CANCELLED", "PENDING"]


def test_a_record_that_vanishes_while_it_is_submitted_is_written_again(
    manager: SessionManager,
    gateway: MemoryGateway,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flush between record and job loses nothing."""
    submit = gateway.submit

    def submit_and_flush(spec: object) -> int:
        redis_client.flushall()
        return submit(spec)

    monkeypatch.setattr(gateway, "submit", submit_and_flush)
    session = manager.create("alice")
    assert manager.get(session.session_id).job_id == session.job_id
    assert [s.session_id for s in manager.list(user="alice")] == [session.session_id]


def test_a_scan_that_was_interrupted_is_somebody_elses_turn(
    make_manager: Callable[[], SessionManager],
    gateway: MemoryGateway,
    redis_client: redis.Redis,
) -> None:
    """At once where slurmctld was away, after some seconds where the service died."""
    manager = make_manager()
    session = running(manager, gateway)
    redis_client.flushall()
    gateway.away = True
    with pytest.raises(SlurmUnavailable):
        manager.reconcile()
    assert redis_client.ttl(keys.SCAN) == -2
    gateway.away = False
    manager.reconcile()
    assert manager.get(session.session_id).job_id == session.job_id
    redis_client.delete(keys.SCAN)
    assert manager._store.scans.claim(10)
    assert 0 < redis_client.ttl(keys.SCAN) <= 10


def test_ids_of_forgotten_records_are_swept_up(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """From every index, though nobody lists them."""
    session = manager.create("alice")
    gateway.end(session.job_id or 0, "COMPLETED")
    manager.reconcile()
    assert 0 < redis_client.ttl(keys.session(session.session_id)) <= 86400
    redis_client.delete(keys.session(session.session_id), keys.SCAN)
    manager.reconcile()
    assert redis_client.zcard(keys.SESSIONS) == redis_client.zcard(keys.user_sessions("alice")) == 0


def test_a_full_redis_still_takes_what_happens_to_sessions(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """Status, wish to end, end and slot; only new sessions need room."""
    session, other = running(manager, gateway), running(manager, gateway, "bob")
    redis_client.config_set("maxmemory", "1")
    try:
        gateway.change(other.job_id or 0, state="COMPLETING")
        manager.delete(session.session_id)
        manager.reconcile()
        assert manager.get(session.session_id).status is Status.STOPPED
        assert manager.get(other.session_id).status is Status.STOPPING
        assert redis_client.hkeys(keys.leases("viz1")) == [other.session_id]
    finally:
        redis_client.config_set("maxmemory", "0")


def test_how_a_job_ended_that_nobody_can_tell_now(
    manager: SessionManager,
    gateway: MemoryGateway,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slurmdbd that is away is waited for, and that is said; not for ever."""

    def away(_job_id: int) -> None:
        raise SlurmUnavailable("slurmdbd cannot be reached.")

    session = running(manager, gateway)
    gateway.forget(session.job_id or 0)
    monkeypatch.setattr(gateway, "ended_job", away)
    manager.reconcile()
    clock.tick(30)
    manager.reconcile()
    assert "asking its database" in (manager.get(session.session_id).reason or "")
    clock.tick(31)
    manager.reconcile()
    ended = manager.get(session.session_id)
    assert ended.status is Status.FAILED
    assert "its database cannot be asked" in (ended.error or "")

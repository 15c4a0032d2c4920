"""A crash between any two calls to Redis or Slurm, at every step of a life, is repaired.

The service is cut off before its n-th call to the outside, for every n there is; then another one,
which knows nothing, does its rounds. Redis is real, Slurm is the one that tests move along by hand;
tests/cluster/test_faults_service.py does the same with processes and the real Slurm.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
import redis.connection

from moonlight_core import SessionManager, Status, keys, ports, reconcile
from moonlight_core.bus import Mark
from moonlight_core.states import stage_of
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moonlight_core import Session, Settings
    from moonlight_core.secret import Secret
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User


class Crash(BaseException):
    """The process is no more; nothing in it may catch this."""


class Doors:
    """Counts what goes out and lets nothing out any more from the n-th call on."""

    def __init__(self) -> None:
        self.calls = 0
        self.last: int | None = None

    def passed(self) -> None:
        """Somebody is about to go out."""
        self.calls += 1
        if self.last is not None and self.calls >= self.last:
            raise Crash


class WatchedGateway:
    """The memory gateway behind the doors."""

    def __init__(self, gateway: MemoryGateway, doors: Doors) -> None:
        self._gateway = gateway
        self._doors = doors

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._gateway, name)

        def call(*args: Any, **options: Any) -> Any:
            self._doors.passed()
            return method(*args, **options)

        return call


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    """Nothing goes to Redis or Slurm but through here."""
    watched = Doors()
    send = redis.connection.AbstractConnection.send_packed_command

    def watched_send(self: Any, *args: Any, **options: Any) -> None:
        watched.passed()
        send(self, *args, **options)

    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", watched_send)
    names = {2001: "alice", 2002: "bob"}
    monkeypatch.setattr(reconcile, "name_of", names.get)
    yield watched
    watched.last = None


class World:
    """A Slurm, a Redis, a clock, and services that come and go."""

    def __init__(
        self,
        redis_client: redis.Redis,
        gateway: MemoryGateway,
        doors: Doors,
        settings: Settings,
        secret: Secret,
        resolve_user: Callable[..., User],
    ) -> None:
        self.redis = redis_client
        self.gateway = gateway
        self.doors = doors
        self.now = dt.datetime.now(dt.UTC)
        self._make = lambda: SessionManager(
            settings,
            SessionStore(redis_client),
            WatchedGateway(gateway, doors),
            service_secret=secret,
            clock=lambda: self.now,
            resolve_user=resolve_user,
        )
        self.manager = self._make()

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self.doors.last = None
        self.manager = self._make()

    def settle(self) -> None:
        """Rounds while time passes, until nothing more can come of it."""
        for seconds in (0, 1, 6, 1, 11, 31, 1, 61, 1):
            self.now += dt.timedelta(seconds=seconds)
            self.redis.delete(keys.SCAN)
            self.manager.reconcile()

    def wrong(self) -> list[str]:
        """What breaks a rule."""
        jobs = {job.name: job for job in self.gateway.our_jobs() if not stage_of(job.state).ended}
        live = {s.session_id: s for s in self.manager.list() if not s.status.ended}
        wrong = [f"job without record: {name}" for name in jobs.keys() - live.keys()]
        wrong += [f"record without job: {name}" for name in live.keys() - jobs.keys()]
        slots: list[tuple[str, int, int]] = []
        for name, session in live.items():
            job = jobs.get(name)
            lease = self.redis.hget(keys.leases("viz1"), name)
            told = job and (mark := Mark.of_job(job)) and mark.lease
            if job and stage_of(job.state).holds_node and session.status is not Status.STOPPING:
                if lease != f"{session.display_num} {session.sunshine_port}":
                    wrong.append(f"{name} has not the slot that it says: {lease}")
                if told != session.lease:
                    wrong.append(f"{name} was told {told}, the record says {session.lease}")
                slots.append((name, session.display_num or 0, session.sunshine_port or 0))
        wrong += [
            f"{one} and {other} clash"
            for one, display, port in slots
            for other, other_display, other_port in slots
            if one < other and (display == other_display or ports.clash(port, other_port))
        ]
        held = set(self.redis.hkeys(keys.leases("viz1")))
        wrong += [f"lease without session: {name}" for name in held - live.keys()]
        ids = set(self.redis.zrange(keys.LIVE, 0, -1))
        wrong += [f"wrong in the index of the living: {name}" for name in ids ^ live.keys()]
        return wrong


@pytest.fixture
def world(
    redis_client: redis.Redis,
    gateway: MemoryGateway,
    doors: Doors,
    make_settings: Callable[..., Settings],
    secret: Secret,
    resolve_user: Callable[..., User],
) -> World:
    """A new one."""
    return World(redis_client, gateway, doors, make_settings(), secret, resolve_user)


def begin(world: World) -> Session:
    """A session whose job waits in the queue."""
    return world.manager.create("alice")


def on_a_node(world: World) -> Session:
    """A session whose job has just got its node."""
    session = begin(world)
    world.gateway.start(session.job_id or 0, "viz1")
    return session


def running(world: World) -> Session:
    """A running desktop."""
    session = on_a_node(world)
    world.manager.reconcile()
    world.gateway.report(session.job_id or 0, json.dumps({"phase": "ready", "restart": 0}))
    world.manager.reconcile()
    return world.manager.get(session.session_id)


def two_running(world: World) -> Session:
    """Two running desktops, of which Redis has lost everything."""
    session = running(world)
    other = world.manager.create("bob")
    world.gateway.start(other.job_id or 0, "viz1")
    world.manager.reconcile()
    world.redis.flushall()
    return session


def on_a_busy_slot(world: World) -> Session:
    """A session whose script found somebody else's process on its port."""
    session = on_a_node(world)
    world.manager.reconcile()
    leased = world.manager.get(session.session_id)
    say = {"phase": "slot_busy", "busy": "port", "display": leased.display_num,
           "port": leased.sunshine_port}  # fmt: skip
    world.gateway.report(session.job_id or 0, json.dumps(say))
    return session


def ended(world: World) -> Session:
    """A desktop whose job has ended by itself."""
    session = running(world)
    world.gateway.end(session.job_id or 0, "COMPLETED")
    return session


def rounds(world: World, _session: Session) -> None:
    """What the service does all the time."""
    for _ in range(3):
        world.manager.reconcile()


STEPS: dict[str, tuple[Callable[[World], Any], Callable[[World, Any], Any]]] = {
    "create": (lambda _world: None, lambda world, _: world.manager.create("alice")),
    "create with a key": (
        lambda _world: None,
        lambda world, _: world.manager.create("alice", idempotency_key="wish"),
    ),
    "start": (on_a_node, rounds),
    "become ready": (running, rounds),
    "another slot": (on_a_busy_slot, rounds),
    "delete in the queue": (begin, lambda world, s: world.manager.delete(s.session_id)),
    "delete": (running, lambda world, s: world.manager.delete(s.session_id)),
    "end": (ended, rounds),
    "rebuild": (two_running, rounds),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_point(world: World, step: str, gateway: MemoryGateway) -> None:
    """For every n: cut off before the n-th call, repaired by another service, and life goes on."""
    prepare, act = STEPS[step]
    for last in range(1, 200):
        world.redis.flushall()
        for job in gateway.our_jobs():
            if not stage_of(job.state).ended:
                gateway.end(job.job_id, "CANCELLED")
        world.restart()
        before = {job.job_id for job in gateway.our_jobs()}
        session = prepare(world)
        world.doors.calls, world.doors.last = 0, last
        try:
            act(world, session)
        except Crash:
            finished = False
        else:
            finished = True
        world.restart()
        world.settle()
        assert world.wrong() == [], f"{step}: crashed before call {last}"
        made = [job for job in gateway.our_jobs() if job.job_id not in before]
        assert len(made) <= (2 if step == "rebuild" else 1), f"{step}: call {last} made two jobs"
        if step.startswith("delete") and world.manager.get(session.session_id).status.ended:
            assert not any(stage_of(job.state).holds_node for job in made)
        for left in world.manager.list():
            world.manager.delete(left.session_id)
        world.settle()
        assert [s for s in world.manager.list() if not s.status.ended] == []
        assert world.wrong() == []
        if finished:
            assert last > 2
            return
    pytest.fail(f"{step} never ends")

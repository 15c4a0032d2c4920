"""Nudges: one that comes at any time makes the next round come at once."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import redis

from moonlight_core import keys
from moonlight_core.nudges import Nudges
from moonlight_http import server

if TYPE_CHECKING:
    from pathlib import Path

    from moonlight_core.store import SessionStore

NEVER = threading.Event()


def test_the_first_wait_is_over_at_once(store: SessionStore) -> None:
    """What was said before the subscription is unknown, so a round finds out."""
    with store.nudges() as nudges:
        assert nudges.wait(30, NEVER)


def test_a_nudge_during_a_round_is_not_lost(store: SessionStore) -> None:
    """It was said while nobody waited; many are one."""
    with store.nudges() as nudges:
        nudges.wait(30, NEVER)
        for _ in range(20):
            store.nudge()
        begin = time.monotonic()
        assert nudges.wait(30, NEVER)
        assert time.monotonic() - begin < 15
        assert not nudges.wait(0.2, NEVER)


def test_a_nudge_wakes_the_waiting(store: SessionStore) -> None:
    """Long before its time."""
    with store.nudges() as nudges:
        nudges.wait(30, NEVER)
        threading.Timer(0.3, store.nudge).start()
        begin = time.monotonic()
        assert nudges.wait(30, NEVER)
        assert time.monotonic() - begin < 5


def test_after_a_nudge_one_looks_again_soon(store: SessionStore) -> None:
    """Slurmctld nudges a little before the state of the job says why."""
    with store.nudges() as nudges:
        nudges.wait(30, NEVER)
        store.nudge()
        nudges.wait(30, NEVER)
        begin = time.monotonic()
        assert not nudges.wait(30, NEVER)
        assert time.monotonic() - begin < 2


def test_a_session_that_was_asked_for_is_looked_at_soon(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    """Other news make nobody hurry."""
    with store.nudges() as nudges:
        nudges.wait(30, NEVER)
        redis_client.publish(keys.EVENTS, "ml-alice-0 running ready")
        begin = time.monotonic()
        nudges.wait(0.6, NEVER)
        assert time.monotonic() - begin > 0.5
        redis_client.publish(keys.EVENTS, "ml-alice-0 pending queued")
        begin = time.monotonic()
        nudges.wait(30, NEVER)
        assert time.monotonic() - begin < 2


def test_stop_ends_the_wait(store: SessionStore) -> None:
    """So that the service ends soon."""
    stop = threading.Event()
    with store.nudges() as nudges:
        nudges.wait(30, stop)
        threading.Timer(0.1, stop.set).start()
        begin = time.monotonic()
        nudges.wait(30, stop)
        assert time.monotonic() - begin < 2


def test_a_lost_connection_is_made_again(store: SessionStore, redis_client: redis.Redis) -> None:
    """With a round, because nobody knows what was said meanwhile."""
    with store.nudges() as nudges:
        nudges.wait(30, NEVER)
        redis_client.client_kill_filter(_type="pubsub")
        assert not nudges.wait(0.2, NEVER)
        assert nudges.wait(30, NEVER)


def test_without_redis_the_time_is_waited_for(tmp_path: Path) -> None:
    """The rounds go on as if there were no nudges."""
    client = redis.Redis(unix_socket_path=f"{tmp_path}/none", decode_responses=True)
    with Nudges(client) as nudges:
        begin = time.monotonic()
        assert not nudges.wait(0.3, NEVER)
        assert time.monotonic() - begin > 0.25


class Stubborn:
    """A manager all of whose parts fail in ways that nobody has thought of."""

    def __init__(self, stop: threading.Event) -> None:
        self.rounds = 0
        self._stop = stop

    def reconcile(self) -> None:
        """The third one is the last."""
        self.rounds += 1
        if self.rounds == 3:
            self._stop.set()
        raise ZeroDivisionError

    def round_done(self, *_told: object) -> None:
        """Never told."""

    def nudges(self) -> contextlib.nullcontext[Stubborn]:
        """This one listens as well."""
        return contextlib.nullcontext(self)

    def listen_for_changes(self) -> None:
        """Every other time, so that nudges are waited for in between."""
        if self.rounds % 2:
            raise ZeroDivisionError

    def wait(self, _timeout_s: float, _stop: threading.Event) -> bool:
        """Never comes to anything."""
        raise ZeroDivisionError


def test_no_bug_ends_the_loop() -> None:
    """A service that answers and looks after nobody would be the worst of all."""
    stop = threading.Event()
    manager = Stubborn(stop)
    server._reconcile_loop(manager, stop, 0.01, manager)
    assert manager.rounds == 3

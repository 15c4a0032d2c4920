"""A Redis that is away or slow: one caller finds out, the others are told at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from moonlight_core import StoreRefused, StoreUnavailable
from moonlight_core.redis_client import connect
from moonlight_core.settings import RedisSettings
from moonlight_core.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis

TIMEOUT_S = 0.5


@pytest.fixture
def store(redis_url: str, redis_client: redis.Redis) -> SessionStore:
    """As the service has it, impatient."""
    return SessionStore(connect(RedisSettings(url=redis_url, timeout_s=TIMEOUT_S)))


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes that finds Redis away."""
    begin = time.monotonic()
    with pytest.raises(StoreUnavailable, match="Redis does not answer"):
        call()
    return time.monotonic() - begin


def test_only_the_first_call_waits_for_a_slow_redis(
    store: SessionStore, redis_client: redis.Redis
) -> None:
    """And whoever insists; its answer lets all others in again."""
    store.ping()
    redis_client.execute_command("CLIENT", "PAUSE", "1500")
    assert TIMEOUT_S * 0.9 < seconds(store.ping) < TIMEOUT_S * 3
    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(lambda _: seconds(store.all), range(40))) < TIMEOUT_S / 2
    with store.insist():
        assert seconds(store.ping) > TIMEOUT_S * 0.9
        deadline = time.monotonic() + 10
        while True:
            try:
                store.ping()
            except StoreUnavailable:
                assert time.monotonic() < deadline
            else:
                break
    assert store.all() == []


def test_a_call_is_never_made_twice(tmp_path: Path) -> None:
    """By itself redis-py would try for many seconds."""
    away = SessionStore(connect(RedisSettings(url=f"unix://{tmp_path}/none")))
    assert seconds(away.ping) < 3


def test_without_a_loop_somebody_tries_again(tmp_path: Path, redis_url: str) -> None:
    """A library user's call is let through after a while."""
    path = tmp_path / "redis.sock"
    client = connect(RedisSettings(url=f"unix://{path}"))
    store = SessionStore(client)
    seconds(store.ping)
    path.symlink_to(redis_url.removeprefix("unix://"))
    seconds(store.ping)
    client.get_retry()._tried -= 10
    assert store.all() == []


def test_a_wrong_password_stays_a_wrong_password(tmp_path: Path, redis_url: str) -> None:
    """Being refused is not being away, the second time either."""
    file = tmp_path / "password"
    file.write_text("wrong")
    file.chmod(0o600)
    settings = RedisSettings(url=redis_url, username="nobody", password_file=file)
    store = SessionStore(connect(settings))
    for _ in range(2):
        with pytest.raises(StoreRefused, match="Redis refused us"):
            store.ping()

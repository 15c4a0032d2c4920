"""The connection to Redis, and what its failures are called."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import redis
import redis.exceptions

from moonlight_core.errors import StoreRefused, StoreUnavailable
from moonlight_core.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.settings import RedisSettings


@contextlib.contextmanager
def redis_errors() -> Iterator[None]:
    """Turn what redis-py raises into our own errors, all of it."""
    try:
        yield
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError) as exc:
        raise StoreRefused(
            f"Redis refused us: {exc}. Check [redis] username and password_file, and the ACL."
        ) from exc
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as exc:
        raise StoreUnavailable(
            f"Redis does not answer ({exc}). Running desktops are not touched; try again."
        ) from exc
    except redis.exceptions.RedisError as exc:
        raise StoreRefused(f"Redis answered with an error: {exc}") from exc


def connect(settings: RedisSettings) -> redis.Redis:
    """A client for the configured Redis; nothing is sent before its first use.

    Raises:
        SettingsError: when the password file cannot be used.
        StoreRefused: when the address cannot be understood.
    """
    password = read_secret(settings.password_file) if settings.password_file else None
    try:
        return redis.Redis.from_url(
            settings.url,
            username=settings.username or None,
            password=password.reveal() if password else None,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            decode_responses=True,
            health_check_interval=30,
        )
    except ValueError as exc:
        raise StoreRefused(f"[redis] url cannot be understood: {exc}") from exc

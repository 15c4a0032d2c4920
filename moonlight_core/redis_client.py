"""The connection to Redis, and what its failures are called."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from moonlight_core.errors import StoreRefused, StoreUnavailable
from moonlight_core.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.settings import RedisSettings


SENTINEL_SCHEME = "redis+sentinel://"
_SENTINEL_PORT = 26379
# While Redis is away, one caller in so many seconds finds out whether it still is.
_TRY_EVERY_S = 5.0
_TIMEOUT = redis.exceptions.TimeoutError
_AWAY = (redis.exceptions.ConnectionError, _TIMEOUT, TimeoutError)


class OnceAndTogether(Retry):
    """Each call is tried once, and while Redis is away not by everybody.

    redis-py would try again by itself, for many seconds, and a script whose answer was lost would
    run twice. Here a call that finds Redis away makes further ones fail at once, until one is
    answered again; who may try meanwhile is whoever ``insists`` (the service's loop of rounds), or
    one caller every few seconds.
    """

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)
        self._away: redis.exceptions.RedisError | None = None
        self._tried = 0.0
        self._trier: int | None = None
        self._insists = threading.local()

    def __deepcopy__(self, _memo: object) -> Self:
        # redis-py gives each connection a copy; what is known here is about the server.
        return self

    @contextlib.contextmanager
    def insist(self) -> Iterator[None]:
        """Within this, calls of this thread are tried in any case."""
        self._insists.now = True
        try:
            yield
        finally:
            self._insists.now = False

    def call_with_retry(self, do: Any, fail: Any, *args: Any, **options: Any) -> Any:
        """See redis-py; ``do`` is one exchange with the server, connecting included."""
        self._check()
        try:
            answer = super().call_with_retry(do, fail, *args, **options)
        except redis.exceptions.ResponseError:
            self._away = None
            raise
        except _AWAY as exc:
            kind = type(exc) if isinstance(exc, redis.exceptions.RedisError) else _TIMEOUT
            self._away, self._tried, self._trier = kind(str(exc)), _now(), None
            raise
        self._away = None
        return answer

    def _check(self) -> None:
        me = threading.get_ident()
        away = self._away
        if away is None or self._trier == me or getattr(self._insists, "now", False):
            return
        if _now() - self._tried < _TRY_EVERY_S:
            # A new one: an exception collects the traces of all threads that raise it.
            raise type(away)(str(away))
        self._tried, self._trier = _now(), me


def insist(client: redis.Redis) -> contextlib.AbstractContextManager[None]:
    """Within this, calls of this thread to a client of ``connect`` are tried in any case."""
    retry = client.get_retry()
    return retry.insist() if isinstance(retry, OnceAndTogether) else contextlib.nullcontext()


def _now() -> float:
    return time.monotonic()


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
    options: dict[str, Any] = {
        "username": settings.username or None,
        "password": password.reveal() if password else None,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": OnceAndTogether(),
        "decode_responses": True,
        "health_check_interval": 30,
    }
    try:
        if settings.url.startswith(SENTINEL_SCHEME):
            return _by_sentinel(settings, options)
        return redis.Redis.from_url(settings.url, **options)
    except ValueError as exc:
        raise StoreRefused(f"[redis] url cannot be understood: {exc}") from exc


def _by_sentinel(settings: RedisSettings, options: dict[str, Any]) -> redis.Redis:
    """A client for whichever Redis the sentinels say is the master now."""
    match = re.fullmatch(
        r"(?P<hosts>[^/@]+)/(?P<name>[\w.-]+)(/(?P<db>\d+))?",
        settings.url.removeprefix(SENTINEL_SCHEME),
    )
    if match is None:
        raise ValueError(
            f"a Sentinel's is {SENTINEL_SCHEME}HOST:PORT,HOST:PORT/NAME/DATABASE, and holds no "
            "password"
        )
    hosts = []
    for place in match["hosts"].split(","):
        host, _, port = place.rpartition(":")
        hosts.append((host.strip("[]") or place, int(port) if host else _SENTINEL_PORT))
    words = settings.sentinel_password_file
    # redis-py has types for everything but this.
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        hosts,
        sentinel_kwargs={
            "socket_timeout": settings.timeout_s,
            "socket_connect_timeout": settings.timeout_s,
            "password": read_secret(words).reveal() if words else None,
            "retry": Retry(NoBackoff(), 0),
        },
    )
    options["db"] = int(match["db"] or 0)
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        match["name"], **options
    )
    return client


def listening_pool(client: redis.Redis) -> redis.ConnectionPool:
    """Connections of their own for a subscription.

    That one waits there in vain tells nothing about the server.
    """
    pool = client.connection_pool
    options: dict[str, Any] = pool.connection_kwargs | {"retry": Retry(NoBackoff(), 0)}
    if isinstance(pool, SentinelConnectionPool):
        # Each connection refers to its pool, which makes that reference itself.
        del options["connection_pool"]
        return SentinelConnectionPool(  # type: ignore[no-untyped-call]
            pool.service_name, pool.sentinel_manager, **options
        )
    return redis.ConnectionPool(connection_class=pool.connection_class, **options)

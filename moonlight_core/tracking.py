"""Whether any record may have changed since it was read: Redis tells by itself (CLIENT TRACKING).

Asking Redis for a record that has not changed is most of what showing a session costs. A service
that keeps one connection on which Redis speaks up at each change need not ask while it is silent
(https://redis.io/docs/latest/develop/reference/client-side-caching/, the broadcasting mode).

Redis says so while it answers whoever made the change, and it is looked for at each read. A
connection can break without a word; so its silence is trusted for a second at a time.
"""

from __future__ import annotations

import logging
import threading
import time

import redis
import redis.exceptions
from redis.sentinel import SentinelConnectionPool

from moonlight_core import keys
from moonlight_core.redis_client import listening_pool

_log = logging.getLogger(__name__)
# How long the connection is taken to be whole after it was seen to be, in seconds.
_TRUST_S = 1.0
_GONE = (redis.exceptions.RedisError, OSError)


class Tracking:
    """Counts changes of records, as Redis tells of them. Safe to be shared by threads.

    Nobody listens before ``listen``: what Redis says must also be heard, or it piles up there.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._connection: redis.Connection | None = None
        self._refused = False
        self._changes = 0
        self._whole_at = 0.0
        # When the answer that is being waited for was asked for.
        self._asked_at: float | None = None
        self._lock = threading.Lock()

    def listen(self) -> None:
        """Begin to listen, if nobody does; to be called again and again, from one thread.

        Where Redis does not let us, or it is away, there is no error: every read asks then.
        """
        # Behind Sentinel reads may go to a new master while the old one still speaks to us.
        by_sentinel = isinstance(self._client.connection_pool, SentinelConnectionPool)
        if self._connection is not None or self._refused or by_sentinel:
            return
        pool = listening_pool(self._client)
        connection = pool.connection_class(**pool.connection_kwargs | {"protocol": 3})
        try:
            connection.connect()
            _ask(connection, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", keys.session(""))
            # Redis ends a subscriber that does not listen any more, and no other client.
            _ask(connection, "SUBSCRIBE", keys.NOBODY)
        except _GONE as exc:
            _end(connection)
            self._refused = isinstance(exc, redis.exceptions.ResponseError)
            if self._refused:
                _log.info("Redis does not tell of changes, so every read asks it: %s", exc)
            return
        with self._lock:
            self._connection, self._changes = connection, self._changes + 1
            self._whole_at, self._asked_at = time.monotonic(), None

    def changes(self) -> tuple[int | None, bool]:
        """How many changes there have been, and whether there was surely no other one by now.

        What was read from Redis after one call is as it was if a later call is sure of the same
        number. Without a connection the number is None.
        """
        with self._lock:
            connection = self._connection
            if connection is None:
                return None, False
            try:
                while connection.can_read(0):
                    self._hear(connection.read_response(push_request=True))
                now = time.monotonic()
                sure = now - self._whole_at <= _TRUST_S
                if not sure and self._asked_at is None:
                    self._asked_at = now
                    _send(connection, "PING")
            except _GONE as exc:
                _log.info("Redis no longer tells of changes: %s", exc)
                self._end()
                return None, False
            return self._changes, sure

    def changed(self) -> None:
        """Note a change of our own, of which Redis is about to tell."""
        with self._lock:
            self._changes += 1

    def close(self) -> None:
        """Stop listening."""
        with self._lock:
            self._end()

    def _hear(self, word: object) -> None:
        if word in ("PONG", b"PONG") and self._asked_at is not None:
            # It was whole when it took the question, whenever the answer is looked at.
            self._whole_at, self._asked_at = self._asked_at, None
        else:
            self._changes += 1

    def _end(self) -> None:
        if self._connection is not None:
            _end(self._connection)
        self._connection = None
        self._changes += 1


def _ask(connection: redis.Connection, *command: str) -> None:
    _send(connection, *command)
    connection.read_response(push_request=True)


def _send(connection: redis.Connection, *command: str) -> None:
    connection.send_command(*command, check_health=False)  # type: ignore[no-untyped-call] # redis-py's


def _end(connection: redis.Connection) -> None:
    connection.disconnect()  # type: ignore[no-untyped-call] # as above

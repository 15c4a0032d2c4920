"""What Redis lets us do beyond what we need: told, so that the neighbour is safe by construction.

deploy/redis/moonlight.acl is all that is needed. The probes change nothing: they read a key that
nobody has, and ask for settings of the server.
"""

from __future__ import annotations

import redis
import redis.exceptions

from moonlight_core.redis_client import redis_errors

_FOREIGN_KEY = "not-moonlight:probe"
_PROBES = (
    (("EXISTS", _FOREIGN_KEY), "read and change other services' keys (~moonlight:* is enough)"),
    (("PUBLISH", _FOREIGN_KEY, ""), "speak on other services' channels (&moonlight:* is enough)"),
    (("DBSIZE",), "look at the whole database (keys, flushdb and their like are not needed)"),
    (("CONFIG", "GET", "maxmemory"), "administrate the server (-@admin)"),
)


def excess(client: redis.Redis) -> list[str]:
    """What the account may do and need not, a phrase each; empty when all is well.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    found = []
    for command, phrase in _PROBES:
        try:
            with redis_errors():
                _ask(client, *command)
        except _Refused:
            continue
        found.append(phrase)
    return found


class _Refused(Exception):
    """The server said that we may not."""


def _ask(client: redis.Redis, *command: str) -> None:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py leaves it open
    except redis.exceptions.NoPermissionError as exc:
        raise _Refused from exc

"""What Redis knows of the slots of nodes, for looking at; leasing is ``moonlight_core.store``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from moonlight_core import keys
from moonlight_core.models import Lease
from moonlight_core.redis_client import redis_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis


@attrs.frozen(kw_only=True)
class Taken:
    """What is not free on a node.

    Attributes:
        leases: by session id.
        blocked: ``display:<n>`` and ``port:<base port>`` on which somebody else was seen, by when
            they are tried again, Unix seconds.
    """

    leases: dict[str, Lease]
    blocked: dict[str, float]


class SlotStore:
    """Reads leases and blocked slots."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def nodes(self) -> set[str]:
        """The nodes that have, or had, leases."""
        with redis_errors():
            return cast("set[str]", self._redis.smembers(keys.NODES))

    def taken(self, nodes: Iterable[str]) -> dict[str, Taken]:
        """What is not free on these nodes, in one round trip."""
        names = list(nodes)
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.time()
            for node in names:
                pipeline.hgetall(keys.leases(node))
                pipeline.zrange(keys.blocked(node), 0, -1, withscores=True)
            (now, _), *answers = pipeline.execute()
        return {
            node: Taken(
                leases={
                    session_id: _lease(node, text) for session_id, text in answers[2 * i].items()
                },
                blocked={word: until for word, until in answers[2 * i + 1] if until > now},
            )
            for i, node in enumerate(names)
        }


def _lease(node: str, text: str) -> Lease:
    display, port = text.split()
    return Lease(node=node, display_num=int(display), sunshine_port=int(port))

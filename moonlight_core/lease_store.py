"""Leases in Redis: a slot is taken, and given back, by one script each."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import keys, ports
from moonlight_core.redis_client import redis_errors
from moonlight_core.shipped import lua_script
from moonlight_core.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import redis
    from redis.commands.core import Script

    from moonlight_core.models import Lease, Session

NO_NODE = "-"
"""In the place of a node where there is none."""
CLASHES = " ".join(str(difference) for difference in sorted(ports.CLASHES))
"""Differences of base ports that clash, as scripts take them."""


class LeaseStore:
    """The half of ``SessionStore`` that gives out slots.

    Attributes:
        tracking: whether any record may have changed.
    """

    def __init__(self, client: redis.Redis, scripts: Iterable[str]) -> None:
        self._redis = client
        self.tracking = Tracking(client)
        self._scripts: Mapping[str, Script] = {
            name: client.register_script(lua_script("revision") + lua_script(name))
            for name in ("lease", "unlease", *scripts)
        }

    def lease(
        self, session: Session, node: str, displays: Sequence[int], base_ports: Sequence[int]
    ) -> Lease | None:
        """As ``leased``, but returns the lease alone."""
        leased = self.leased(session, node, displays, base_ports)
        return leased.lease if leased else None

    def leased(
        self, session: Session, node: str, displays: Sequence[int], base_ports: Sequence[int]
    ) -> Session | None:
        """Take a slot on a node for a session, in one step that cannot be taken twice.

        Args:
            session: the session as it was read.
            node: Slurm's name of the node.
            displays: X displays that may be given, the preferred ones first.
            base_ports: base ports that may be given, the preferred ones first.

        Returns:
            the session with its lease (the same again if it has one there); None when no slot is
            free, or when somebody else changed the record meanwhile.
        """
        answer = self._run(
            "lease",
            [
                keys.session(session.session_id),
                keys.leases(node),
                keys.blocked(node),
                keys.NODES,
            ],
            [
                session.session_id,
                session.revision,
                node,
                CLASHES,
                _words(tuple(displays)),
                _words(tuple(base_ports)),
            ],
        )
        if answer[0] != 1:
            return None
        _, display, port, revision = answer
        return attrs.evolve(
            session, slurm_node=node, display_num=display, sunshine_port=port, revision=revision
        )

    def unlease(self, session: Session, *, block: Sequence[str] = (), block_s: int = 0) -> bool:
        """As ``unleased``, but returns whether it was done."""
        return self.unleased(session, block=block, block_s=block_s) is not None

    def unleased(
        self, session: Session, *, block: Sequence[str] = (), block_s: int = 0
    ) -> Session | None:
        """Take a session's slot back and keep what is in ``block`` out of use for ``block_s``.

        Args:
            session: the session as it was read, with its lease.
            block: ``display:<n>`` and ``port:<base port>`` words.
            block_s: seconds.

        Returns:
            the session without its slot; None when somebody else changed the record meanwhile.
        """
        node = session.slurm_node or NO_NODE
        revision = self._run(
            "unlease",
            [keys.session(session.session_id), keys.leases(node), keys.blocked(node)],
            [session.session_id, session.revision, block_s, *block],
        )
        if not revision:
            return None
        return attrs.evolve(session, display_num=None, sunshine_port=None, revision=revision)

    def _run(self, name: str, names: list[str], args: Sequence[Any]) -> Any:
        try:
            with redis_errors():
                return self._scripts[name](keys=names, args=list(args))
        finally:
            self.tracking.changed()


@functools.lru_cache(maxsize=16)
def _words(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))

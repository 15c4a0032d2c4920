"""What a scan of all jobs needs of Redis: whose turn it is, and what can be thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moonlight_core import keys
from moonlight_core.redis_client import redis_errors
from moonlight_core.session_id import owner_of
from moonlight_core.shipped import lua_script

if TYPE_CHECKING:
    from collections.abc import Collection

    import redis


class ScanStore:
    """Turns, leases without a session, ids without a record.

    Every method raises ``StoreUnavailable`` when Redis cannot be reached and ``StoreRefused`` when
    it answers with an error.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._release_orphan = client.register_script(lua_script("release_orphan"))

    def claim(self, hold_s: int) -> bool:
        """Whether it is the caller's turn to scan; for ``hold_s`` it is nobody else's."""
        with redis_errors():
            return bool(self._redis.set(keys.SCAN, "1", nx=True, ex=hold_s))

    def done(self, again_in_s: int) -> None:
        """The scan is over; the next turn is in ``again_in_s`` seconds, 0 for now."""
        with redis_errors():
            self._redis.expire(keys.SCAN, again_in_s)

    def sweep(self) -> int:
        """Remove the ids of expired records from the indexes; returns how many there were."""
        with redis_errors():
            session_ids = cast("list[str]", self._redis.zrange(keys.SESSIONS, 0, -1))
            pipeline = self._redis.pipeline(transaction=False)
            for session_id in session_ids:
                pipeline.exists(keys.session(session_id))
            there = pipeline.execute()
            gone = [name for name, exists in zip(session_ids, there, strict=True) if not exists]
            for session_id in gone:
                pipeline.zrem(keys.user_sessions(owner_of(session_id)), session_id)
                pipeline.zrem(keys.SESSIONS, session_id)
            pipeline.execute()
        return len(gone)

    def release_orphans(self, living: Collection[str]) -> int:
        """Remove leases whose sessions are neither recorded as living nor in ``living``.

        Args:
            living: ids of the sessions whose jobs Slurm knows to hold a node.

        Returns:
            how many were removed.
        """
        removed = 0
        with redis_errors():
            nodes = cast("set[str]", self._redis.smembers(keys.NODES))
            for node in nodes:
                for session_id in cast("list[str]", self._redis.hkeys(keys.leases(node))):
                    if session_id not in living:
                        removed += self._release_orphan(
                            keys=[keys.session(session_id), keys.leases(node)],
                            args=[session_id, node],
                        )
        return removed

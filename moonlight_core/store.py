"""The records and leases in Redis: the only module that speaks to it.

Every change is one Lua script, so it happens whole or not at all, and carries the revision that was
read, so that of several services that decide at the same time one wins and the others look again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from moonlight_core import keys, redis_rights
from moonlight_core.errors import QuotaExceeded
from moonlight_core.events import EventFeed
from moonlight_core.lease_store import CLASHES, NO_NODE, LeaseStore
from moonlight_core.nudges import Nudges
from moonlight_core.pairing_store import PairingStore
from moonlight_core.record_values import spelled
from moonlight_core.records import RecordReader
from moonlight_core.redis_client import insist, redis_errors
from moonlight_core.scan_store import ScanStore
from moonlight_core.slot_store import SlotStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    import redis

    from moonlight_core.limits import Limits
    from moonlight_core.models import Session

_SCRIPTS = ("create", "update", "finish", "restore")


class SessionStore(LeaseStore):
    """The records of sessions and the leases on nodes.

    Every method raises ``StoreUnavailable`` when Redis cannot be reached and ``StoreRefused`` when
    it answers with an error; then nothing was changed, or the change is whole.

    Attributes:
        pairings: how pairings of sessions go.
        feed: hears of changes.
        slots: what is taken on the nodes.
        scans: what a scan of all jobs needs.
    """

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client, _SCRIPTS)
        self._records = RecordReader(client, self.tracking)
        self.pairings = PairingStore(client)
        self.feed = EventFeed(client, self.tracking.changed)
        self.slots = SlotStore(client)
        self.scans = ScanStore(client)

    def ping(self) -> None:
        """Do nothing but find out whether Redis answers."""
        with redis_errors():
            self._redis.ping()

    def excess_rights(self) -> list[str]:
        """What our account in Redis may do and need not, a phrase each."""
        return redis_rights.excess(self._redis)

    def create(self, session: Session, limits: Limits) -> Session | None:
        """Write the record of a new session.

        Args:
            session: its first state.
            limits: most live sessions of its user and of all, this one included, and asked for.

        Returns:
            the session as it was written: with its identity, the lowest number that no other live
            session of its user has; None when there is a record of that id.

        Raises:
            QuotaExceeded: when a limit is reached.
        """
        created = session.created_at.timestamp()
        outcome, number, revision = self._run(
            "create",
            [
                keys.session(session.session_id),
                keys.SESSIONS,
                keys.LIVE,
                keys.user_sessions(session.username),
                keys.user_live(session.username),
                keys.user_creates(session.username),
            ],
            [
                session.session_id,
                created,
                limits.per_user,
                limits.total,
                limits.creates_per_minute,
                *_pairs(session.to_record()),
            ],
        )
        match outcome:
            case 0:
                raise QuotaExceeded(session.username, limits.per_user, number)
            case 3:
                raise QuotaExceeded(session.username, limits.total, number, quota="total")
            case 4:
                most = limits.creates_per_minute
                raise QuotaExceeded(
                    session.username, most, most, quota="per_minute", retry_after_s=number
                )
        return attrs.evolve(session, identity=number, revision=revision) if outcome == 1 else None

    def get(self, session_id: str) -> Session | None:
        """The session of that id, or None."""
        return next(iter(self.get_many([session_id])), None)

    def get_many(self, session_ids: Iterable[str]) -> list[Session]:
        """The sessions of these ids that there are.

        A record that has not changed since this store read it last is neither sent nor parsed
        again: that is why a session can be the very object that an earlier call returned.
        """
        return self._records.read(session_ids)

    def of_user(self, username: str) -> list[Session]:
        """A user's sessions, the newest first, ended ones included until they are forgotten."""
        return self._indexed(keys.user_sessions(username))

    def all(self) -> list[Session]:
        """Everybody's sessions, the newest first."""
        return self._indexed(keys.SESSIONS)

    def live(self) -> list[Session]:
        """All sessions that have not ended, the oldest first."""
        return list(reversed(self._indexed(keys.LIVE)))

    def update(self, session: Session, *, announce: bool = False, **changes: Any) -> bool:
        """Change fields of the record if it is still as ``session`` says.

        Args:
            session: the session as it was read.
            announce: tell listeners of the events channel.
            changes: new values by name; None removes one.

        Returns:
            whether the change was made; False means that somebody else changed or removed the
            record meanwhile: read it again.
        """
        return self.updated(session, announce=announce, **changes) is not None

    def updated(
        self, session: Session, *, announce: bool = False, **changes: Any
    ) -> Session | None:
        """As ``update``, but returns the session as it is now, or None."""
        message = _message(session, changes) if announce else ""
        revision = self._run(
            "update",
            [keys.session(session.session_id)],
            [session.revision, keys.EVENTS, message, *_changes(changes)],
        )
        return attrs.evolve(session, **changes, revision=revision) if revision else None

    def finish(self, session: Session, *, keep_s: int, **changes: Any) -> bool:
        """End a session: last changes, its lease back, the record kept for ``keep_s`` seconds.

        Args:
            session: the session as it was read.
            keep_s: seconds to keep the record; 0 removes it.
            changes: new values by name, ``status`` among them; None removes one.

        Returns:
            whether it was done; False as for ``update``.
        """
        return bool(
            self._run(
                "finish",
                [
                    keys.session(session.session_id),
                    keys.LIVE,
                    keys.user_live(session.username),
                    keys.leases(session.slurm_node or NO_NODE),
                ],
                [
                    session.session_id,
                    session.revision,
                    keep_s,
                    keys.EVENTS,
                    _message(session, changes),
                    *_changes(changes),
                ],
            )
        )

    def restore(self, session: Session) -> bool:
        """Write the record and the lease of a session Redis has lost.

        Returns:
            False if it has not lost it, or if the lease meets somebody else's on the node: then
            nothing is written.
        """
        lease = session.lease
        node = lease.node if lease else ""
        outcome = self._run(
            "restore",
            [
                keys.session(session.session_id),
                keys.SESSIONS,
                keys.LIVE,
                keys.user_sessions(session.username),
                keys.user_live(session.username),
                keys.leases(node or NO_NODE),
                keys.NODES,
            ],
            [
                session.session_id,
                session.created_at.timestamp(),
                node,
                f"{lease.display_num} {lease.sunshine_port}" if lease else "",
                session.identity,
                CLASHES,
                *_pairs(session.to_record()),
            ],
        )
        return bool(outcome == 1)

    def nudges(self) -> Nudges:
        """A subscription to what makes a round come at once."""
        return Nudges(self._redis)

    def insist(self) -> AbstractContextManager[None]:
        """Within this, a Redis that was away a moment ago is asked all the same."""
        return insist(self._redis)

    def claim_picture(self, session_id: str, every_s: int) -> int:
        """Seconds to wait until a picture of a session may be made; 0: now, and it is claimed."""
        with redis_errors():
            key = keys.picture(session_id)
            if self._redis.set(key, "1", nx=True, ex=every_s):
                return 0
            return max(1, self._redis.ttl(key))

    def nudge(self) -> None:
        """Ask every service for a round of reconcile at once."""
        with redis_errors():
            self._redis.publish(keys.EVENTS, keys.NUDGE)

    def _indexed(self, index: str) -> list[Session]:
        with redis_errors():
            session_ids = cast("list[str]", self._redis.zrevrange(index, 0, -1))
            sessions = self.get_many(session_ids)
            if len(sessions) < len(session_ids):
                # The records of ended sessions expire by themselves; their ids are swept up here.
                gone = set(session_ids) - {session.session_id for session in sessions}
                expired = [
                    session_id
                    for session_id in gone
                    if not self._redis.exists(keys.session(session_id))
                ]
                if expired:
                    self._redis.zrem(index, *expired)
        return sessions


def _pairs(record: Mapping[str, str]) -> list[str]:
    return [part for pair in record.items() for part in pair]


def _changes(changes: Mapping[str, Any]) -> list[str]:
    """What ``update`` and ``finish`` write: '' removes a field."""
    return _pairs(
        {name: "" if value is None else spelled(value) for name, value in changes.items()}
    )


def _message(session: Session, changes: Mapping[str, Any]) -> str:
    after = attrs.evolve(session, **changes)
    return f"{after.session_id} {after.status} {after.phase}"

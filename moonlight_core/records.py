"""Reading records from Redis, each only when it has changed, and none while nothing has."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from moonlight_core import keys
from moonlight_core.models import Session
from moonlight_core.redis_client import redis_errors
from moonlight_core.shipped import lua_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import redis

    from moonlight_core.tracking import Tracking

_log = logging.getLogger(__name__)
# Redis does nothing else while it carries out a script: so many records are read by one.
_MOST_AT_ONCE = 500
# Of so many sessions is remembered how they were read last; each takes about 2 kB.
_MOST_REMEMBERED = 20_000
_NOTHING: tuple[Session | None, int | None] = None, None


class RecordReader:
    """Remembers the sessions it has read; an unchanged record is not sent again.

    Where Redis tells of changes, it is not even asked until it has. Safe to be shared by threads.
    """

    def __init__(self, client: redis.Redis, tracking: Tracking) -> None:
        self._script = client.register_script(lua_script("read"))
        self._tracking = tracking
        # With how many changes there had been when it was asked for, if Redis told of them.
        self._read: dict[str, tuple[Session, int | None]] = {}

    def read(self, session_ids: Iterable[str]) -> list[Session]:
        """The sessions of these ids that there are, an unchanged one as the same object as before.

        Raises:
            StoreUnavailable: when Redis cannot be reached.
            StoreRefused: when it answers with an error.
        """
        wanted = list(session_ids)
        changes, sure = self._tracking.changes()
        remembered = [self._read.get(session_id, _NOTHING) for session_id in wanted]
        if sure and all(known == changes for _, known in remembered):
            return [session for session, _ in remembered if session is not None]
        return [
            session
            for first in range(0, len(wanted), _MOST_AT_ONCE)
            for session in self._some(wanted[first : first + _MOST_AT_ONCE], changes)
        ]

    def _some(self, session_ids: Sequence[str], changes: int | None) -> Iterator[Session]:
        remembered = [self._read.get(session_id, _NOTHING)[0] for session_id in session_ids]
        with redis_errors():
            answers = self._script(
                keys=[keys.session(session_id) for session_id in session_ids],
                args=[session.revision if session else "" for session in remembered],
            )
        for session_id, session, answer in zip(session_ids, remembered, answers, strict=True):
            read = session if answer == 1 else _parse(answer)
            if read is None:
                self._read.pop(session_id, None)
                continue
            if len(self._read) >= _MOST_REMEMBERED and session_id not in self._read:
                self._read.clear()
            self._read[session_id] = read, changes
            yield read


def _parse(answer: list[str] | None) -> Session | None:
    if not answer:
        return None
    try:
        return Session.from_record(dict(zip(answer[::2], answer[1::2], strict=True)))
    except (ValueError, KeyError) as exc:
        _log.error("A record in Redis cannot be read and is passed over: %s", exc)
        return None

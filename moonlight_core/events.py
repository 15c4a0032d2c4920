"""Hearing at once that a session has changed, for any number of threads over one connection."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from redis.client import PubSub

from moonlight_core import keys
from moonlight_core.errors import StoreError
from moonlight_core.redis_client import listening_pool, redis_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

_TICK_S = 0.5
_PAUSE_S = 1.0


class EventFeed:
    """Listens to the events channel while somebody watches a session.

    Messages are lost while Redis is away: a watcher looks at the record from time to time as well.
    """

    def __init__(self, client: redis.Redis, heard: Callable[[], object]) -> None:
        """``heard`` is called with each word, before those who watch look at the record."""
        self._redis = client
        self._heard = heard
        self._lock = threading.Lock()
        self._watchers: dict[str, set[threading.Event]] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, session_id: str) -> Iterator[threading.Event]:
        """An event that is set whenever the session has changed, or may have unheard."""
        changed = threading.Event()
        with self._lock:
            self._watchers.setdefault(session_id, set()).add(changed)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="events", daemon=True)
                self._thread.start()
        try:
            yield changed
        finally:
            with self._lock:
                self._watchers[session_id].discard(changed)
                if not self._watchers[session_id]:
                    del self._watchers[session_id]

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except StoreError:
                time.sleep(_PAUSE_S)
                if not self._wanted():
                    return
            else:
                return

    def _listen(self) -> None:
        pool = listening_pool(self._redis)
        with redis_errors(), contextlib.closing(pool), PubSub(pool) as channel:
            channel.subscribe(keys.EVENTS)
            while self._wanted():
                message = channel.get_message(timeout=_TICK_S)
                if message is None:
                    continue
                if message["type"] == "message":
                    self._tell(str(message["data"]).partition(" ")[0])
                else:
                    # The subscription holds from here on; what came before went unheard.
                    self._tell(None)

    def _wanted(self) -> bool:
        """Whether anybody watches; the thread that hears no ends, and the next one is another."""
        with self._lock:
            if not self._watchers:
                self._thread = None
            return bool(self._watchers)

    def _tell(self, session_id: str | None) -> None:
        self._heard()
        with self._lock:
            chosen = self._watchers if session_id is None else {session_id}
            for name in chosen:
                for changed in self._watchers.get(name, ()):
                    changed.set()

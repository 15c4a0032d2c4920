"""Nudges: words on the events channel that make a round of reconcile come at once.

Slurm's PrologSlurmctld and EpilogSlurmctld publish ``keys.NUDGE`` when a job starts or ends
(deploy/slurm); whoever changes a session publishes what it is now. Rounds come without them as
well, only later: a nudge may be lost, and nothing is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from redis.client import PubSub

from moonlight_core import keys
from moonlight_core.errors import StoreError
from moonlight_core.redis_client import listening_pool, redis_errors

if TYPE_CHECKING:
    import threading

    import redis

# How often ``stop`` is looked at, in seconds.
_LOOK_S = 0.2
# slurmctld sends its nudge a little before the job's state says so, in seconds.
_EAGER_S = 1.5
# What a session is when slurmctld will soon have more to tell: where a node is free, a job starts
# some seconds after its submit at most.
_SOON_MORE = ("pending", "stopping")
_SOON_S = 5.0
_EAGER_EVERY_S = 0.25
# Whoever nudges without end gets this many seconds between two rounds.
_LEAST_S = 0.05


class Nudges:
    """One subscription to the events channel for as long as somebody waits.

    What is published between two waits is kept by the connection, so that no nudge is lost while a
    round is under way. Not to be shared by threads.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = listening_pool(client)
        self._channel: PubSub | None = None
        self._eager_until = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def wait(self, timeout_s: float, stop: threading.Event) -> bool:
        """Sleep until the next round is due.

        That is when somebody has nudged since the last wait, when ``stop`` is set, or after
        ``timeout_s`` seconds; sooner for a moment after a nudge, since slurmctld nudges a little
        before it is ready to tell, and after a session was asked for or ended.

        Returns:
            whether it was a nudge.
        """
        begin = time.monotonic()
        end = begin + (min(timeout_s, _EAGER_EVERY_S) if begin < self._eager_until else timeout_s)
        try:
            if self._channel is None:
                self._subscribe()
                # What was said before is unknown: one round finds out.
                return True
            nudged = self._listen(end, stop)
        except StoreError:
            self.close()
            stop.wait(max(0.0, end - time.monotonic()))
            return False
        if nudged:
            self._eager_until = max(self._eager_until, time.monotonic() + _EAGER_S)
            stop.wait(max(0.0, begin + _LEAST_S - time.monotonic()))
        return nudged

    def _subscribe(self) -> None:
        with redis_errors():
            self._channel = PubSub(self._pool, ignore_subscribe_messages=True)
            self._channel.subscribe(keys.EVENTS)

    def _listen(self, end: float, stop: threading.Event) -> bool:
        assert self._channel is not None  # noqa: S101 - for the type checker
        nudged = False
        with redis_errors():
            while not stop.is_set():
                left = 0.0 if nudged else min(_LOOK_S, end - time.monotonic())
                message = self._channel.get_message(timeout=max(0.0, left))
                said = str((message or {}).get("data"))
                if said == keys.NUDGE:
                    nudged = True
                elif said.partition(" ")[2].startswith(_SOON_MORE):
                    self._eager_until = time.monotonic() + _SOON_S
                    end = min(end, time.monotonic() + _EAGER_EVERY_S)
                # All that has arrived by now is one nudge.
                if (nudged and message is None) or time.monotonic() >= end:
                    break
        return nudged

    def close(self) -> None:
        """End the subscription; the next wait begins another one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._pool.disconnect()

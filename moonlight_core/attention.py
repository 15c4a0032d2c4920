"""Which sessions a round of reconcile asks slurmctld about, and which need no decision.

A few jobs are asked for one by one, many by one request that answers with all jobs of the cluster,
whoever's they are: it costs by their number, here and in slurmctld, and is spaced accordingly. In
between those few are asked for that are about to change.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from moonlight_core.gateway import FEW_JOBS
from moonlight_core.models import Status

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    from moonlight_core.gateway import SlurmJob
    from moonlight_core.models import Session

# Asking for all jobs takes one part in so many of the time at most.
_SHARE = 5
# A session that was asked for so lately may start at any moment, in seconds.
_YOUNG_S = 30.0
# What depends on the time alone (an expected start, say) is looked at this often, in seconds.
_LOOK_AGAIN_S = 5.0
_CHANGING = (Status.STARTING, Status.STOPPING)


class Attention:
    """Remembers what was asked and decided; losing it costs one longer round. For one thread."""

    def __init__(
        self,
        clock: Callable[[], dt.datetime],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._all_again_at = -math.inf
        self._settled: dict[str, tuple[Session, SlurmJob, dt.datetime]] = {}

    def to_ask(self, sessions: Sequence[Session]) -> list[Session]:
        """The sessions of this round: all, or, too soon after many, those about to change.

        Those without a job are always among them: they are not asked for.
        """
        with_job = [session for session in sessions if session.job_id is not None]
        if len(with_job) <= FEW_JOBS or self._monotonic() >= self._all_again_at:
            return list(sessions)
        now = self._clock()
        changing = [
            session
            for session in with_job
            if session.status in _CHANGING
            or (now - (session.submitted_at or session.created_at)).total_seconds() < _YOUNG_S
        ]
        changing.sort(key=lambda session: session.created_at, reverse=True)
        without = [session for session in sessions if session.job_id is None]
        return without + changing[:FEW_JOBS]

    def asked(self, number: int, took_s: float) -> None:
        """So many jobs were asked for, and the answer took so long."""
        if number > FEW_JOBS:
            self._all_again_at = self._monotonic() + (_SHARE - 1) * took_s

    def is_settled(self, session: Session, job: SlurmJob) -> bool:
        """Whether record and job are what they were when there was nothing to decide."""
        settled = self._settled.get(session.session_id)
        return (
            settled is not None
            and settled[0] is session
            and settled[1] == job
            and abs((self._clock() - settled[2]).total_seconds()) < _LOOK_AGAIN_S
        )

    def settle(self, session: Session, job: SlurmJob) -> None:
        """Nothing was to be decided; what ends, or waits for a slot, is decided on each time."""
        if session.status is Status.STOPPING or (job.node is not None and session.lease is None):
            return
        self._settled[session.session_id] = session, job, self._clock()

    def forget_others(self, sessions: Sequence[Session]) -> None:
        """Forget sessions that live no more."""
        if len(self._settled) > 2 * len(sessions):
            living = {session.session_id for session in sessions}
            self._settled = {
                session_id: settled
                for session_id, settled in self._settled.items()
                if session_id in living
            }

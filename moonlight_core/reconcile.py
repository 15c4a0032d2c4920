"""The one place of repair: brings records, leases and Slurm jobs together.

A round asks slurmctld about the jobs of all live sessions and changes each record by what it hears.
Every change carries the revision it was decided on, so rounds of several services, cron jobs and
library users at once are safe: one wins, the others look again in their next round.

Nothing is concluded from silence: while slurmctld is away nothing is released, ended or failed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import bus
from moonlight_core.errors import MoonlightError, SlurmError, SlurmUnavailable
from moonlight_core.follow import Follower
from moonlight_core.models import Session
from moonlight_core.session_id import created_at
from moonlight_core.states import stage_of
from moonlight_core.users import name_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from moonlight_core.gateway import SlurmGateway, SlurmJob
    from moonlight_core.settings import Settings
    from moonlight_core.store import SessionStore

_log = logging.getLogger(__name__)

# Scanning all jobs costs by their number; it finds what only a crash or a lost Redis leaves.
_SCAN_EVERY_S = 60


@attrs.frozen(kw_only=True)
class Round:
    """What one round did.

    Attributes:
        sessions: live sessions looked at.
        changed: records changed.
        ended: sessions that came to their end.
        restored: records rebuilt from Slurm.
        leases_released: leases without a living session that were removed.
        failed: sessions that could not be looked after in this round.
    """

    sessions: int = 0
    changed: int = 0
    ended: int = 0
    restored: int = 0
    leases_released: int = 0
    failed: int = 0


class Reconciler:
    """Runs rounds; keeps nothing between them but how Slurm was."""

    def __init__(
        self,
        settings: Settings,
        store: SessionStore,
        gateway: SlurmGateway,
        *,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._settings = settings
        self._store = store
        self._gateway = gateway
        self._clock = clock
        self._follower = Follower(settings, store, gateway, clock=clock)
        self.slurm_health = "not asked yet"

    def run(self) -> Round:
        """One round over all live sessions.

        Raises:
            SlurmUnavailable: slurmctld is away; nothing was changed.
            StoreUnavailable: Redis is away; nothing was changed.
        """
        try:
            result = self._run()
        except SlurmError as exc:
            self.slurm_health = str(exc)
            raise
        self.slurm_health = "ok"
        return result

    def advance(self, session: Session) -> bool:
        """One session's part of a round; whether its record was changed."""
        jobs = self._gateway.jobs([session.job_id]) if session.job_id is not None else {}
        named = self._named() if self._follower.overdue(session) else {}
        return self._follower.advance(session, jobs, named)

    def _run(self) -> Round:
        sessions = self._store.live()
        scan = self._store.claim_scan(_SCAN_EVERY_S)
        named: dict[str, SlurmJob] = {}
        if scan or any(self._follower.overdue(session) for session in sessions):
            named = self._named()
        jobs = {}
        if any(session.job_id is not None for session in sessions):
            jobs = self._gateway.jobs({s.job_id for s in sessions if s.job_id is not None})
        changed = failed = 0
        for session in sessions:
            try:
                changed += self._follower.advance(session, jobs, named)
            except SlurmUnavailable:
                raise
            except MoonlightError as exc:
                failed += 1
                _log.warning("session %s: left for the next round: %s", session.session_id, exc)
        restored = released = 0
        if scan:
            restored = self._adopt(named)
            living = {
                mark.session_id
                for job in named.values()
                if stage_of(job.state).holds_node and (mark := bus.Mark.of_job(job))
            }
            released = self._store.release_orphans(living)
        after = self._store.get_many([s.session_id for s in sessions]) if changed else []
        return Round(
            sessions=len(sessions),
            changed=changed,
            ended=sum(session.status.ended for session in after),
            restored=restored,
            leases_released=released,
            failed=failed,
        )

    def _named(self) -> dict[str, SlurmJob]:
        """The jobs that say they are sessions, by job name, which is the session id."""
        return {job.name: job for job in self._gateway.our_jobs()}

    def _adopt(self, named: dict[str, SlurmJob]) -> int:
        """Rebuild the records of marked jobs that have none; cancel jobs whose session has ended.

        A job without our mark could be anybody's claim: it gets nothing, and ends by itself when
        nobody gives it a slot.
        """
        marked = {
            mark.session_id: (job, mark)
            for job in named.values()
            if (mark := bus.Mark.of_job(job)) and not stage_of(job.state).ended
        }
        known = {session.session_id: session for session in self._store.get_many(marked)}
        restored = 0
        for session_id, (job, mark) in marked.items():
            session = known.get(session_id)
            if session is None:
                restored += self._restore(job, mark)
            elif session.status.ended and session.job_id in (None, job.job_id):
                _log.warning("session %s has ended: cancelling job %d", session_id, job.job_id)
                self._gateway.cancel(job.job_id)
        return restored

    def _restore(self, job: SlurmJob, mark: bus.Mark) -> bool:
        username = name_of(job.user_id)
        if username is None or not mark.session_id.startswith(f"ml-{username}-"):
            _log.warning(
                "job %d is marked as %s but is not its user's", job.job_id, mark.session_id
            )
            return False
        image = self._settings.images.get(mark.image_id)
        lease = mark.lease if mark.restart_count == job.restart_count else None
        if not stage_of(job.state).holds_node:
            lease = None
        numbers: dict[str, Any] = dict(mark.numbers)
        session = Session(
            session_id=mark.session_id,
            username=username,
            image_id=mark.image_id,
            image_name=image.name if image else mark.image_id,
            **numbers,
            job_id=job.job_id,
            created_at=created_at(mark.session_id) or job.submitted_at or self._clock(),
            submitted_at=job.submitted_at,
            slurm_node=lease.node if lease else None,
            display_num=lease.display_num if lease else None,
            sunshine_port=lease.sunshine_port if lease else None,
            restart_count=job.restart_count,
            reason="Found again in Slurm.",
        )
        restored = self._store.restore(session)
        if restored:
            _log.warning("session %s: record rebuilt from job %d", session.session_id, job.job_id)
        return restored

"""The one place of repair: brings records, leases and Slurm jobs together.

A round asks slurmctld about the jobs of all live sessions and changes each record by what it hears.
Every change carries the revision it was decided on, so rounds of several services, cron jobs and
library users at once are safe: one wins, the others look again in their next round.

Nothing is concluded from silence: while slurmctld is away nothing is released, ended or failed.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import bus
from moonlight_core.attention import Attention
from moonlight_core.errors import (
    MoonlightError,
    SlurmError,
    SlurmRefused,
    SlurmUnavailable,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from moonlight_core.follow import Follower
from moonlight_core.models import Session
from moonlight_core.session_id import created_at, owner_of
from moonlight_core.states import stage_of
from moonlight_core.users import name_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from moonlight_core.gateway import SlurmGateway, SlurmJob
    from moonlight_core.settings import Settings
    from moonlight_core.store import SessionStore

_log = logging.getLogger(__name__)

# Scanning all jobs costs by their number; it finds what only a crash or a lost Redis leaves.
_SCAN_EVERY_S = 60
# Whatever others do: what is in Redis may be wrong.
_SCAN_OWN_S = 180
# Whose scan is not finished after this time has crashed in it.
_SCAN_TAKES_S = 10


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
    """Runs rounds; keeps nothing between them but how Slurm and Redis were.

    Attributes:
        slurm_health: ``ok``, or what Slurm's absence was called in the last round.
        silent_since: when slurmctld was first found away, None while it answers.
    """

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
        self._attention = Attention(clock)
        self._scan_next = False
        self._scanned_at = -math.inf
        self._told: set[tuple[str, str]] = set()
        self.slurm_health = "not asked yet"
        self.silent_since: dt.datetime | None = None

    def run(self) -> Round:
        """One round over all live sessions.

        Raises:
            SlurmUnavailable: slurmctld is away; nothing was changed.
            StoreUnavailable: Redis is away; nothing was changed.
        """
        try:
            with self._store.insist():
                result = self._run()
        except SlurmError as exc:
            self.slurm_health = str(exc)
            self.silent_since = self.silent_since or self._clock()
            raise
        except StoreError:
            # It may come back empty, or as it was some time ago.
            self._scan_next = True
            raise
        self.slurm_health, self.silent_since = "ok", None
        return result

    def advance(self, session: Session) -> bool:
        """One session's part of a round; whether its record was changed."""
        jobs = self._gateway.jobs([session.job_id]) if session.job_id is not None else {}
        return self._follower.advance(session, jobs, self._view())

    def find_job(self, session: Session) -> SlurmJob | None:
        """The job of a session that has no record of it, looked for among all jobs."""
        job = self._view()().get(session.session_id)
        return None if job is None or stage_of(job.state).ended else job

    def _run(self) -> Round:
        named = self._view()
        restored = released = 0
        scan = self._claim_scan()
        if scan:
            # Before anything is leased: a slot that a lost record holds must not be given away.
            try:
                restored = self._adopt(named())
            except BaseException:
                self._store.scans.done(again_in_s=0)
                raise
        sessions = self._store.live()
        asked = self._attention.to_ask(sessions)
        jobs = self._jobs(asked)
        changed = failed = 0
        for session in asked:
            job = jobs.get(session.job_id) if session.job_id is not None else None
            if job is not None and self._attention.is_settled(session, job):
                continue
            try:
                advanced = self._follower.advance(session, jobs, named)
                changed += advanced
                if job is not None and not advanced:
                    self._attention.settle(session, job)
            except (SlurmUnavailable, StoreUnavailable):
                raise
            except MoonlightError as exc:
                failed += 1
                self._tell(session, exc)
        if scan:
            released = self._release(named())
            self._store.scans.sweep()
            self._store.scans.done(again_in_s=_SCAN_EVERY_S)
            self._scan_next, self._scanned_at = False, time.monotonic()
            self._told.clear()
        self._attention.forget_others(sessions)
        after = self._store.get_many([s.session_id for s in asked]) if changed else []
        return Round(
            sessions=len(sessions),
            changed=changed,
            ended=sum(session.status.ended for session in after),
            restored=restored,
            leases_released=released,
            failed=failed,
        )

    def _jobs(self, sessions: list[Session]) -> dict[int, SlurmJob]:
        """The jobs of these sessions, in one call."""
        ids = {session.job_id for session in sessions if session.job_id is not None}
        if not ids:
            return {}
        begun = time.monotonic()
        jobs = self._gateway.jobs(ids)
        self._attention.asked(len(ids), time.monotonic() - begun)
        return jobs

    def _claim_scan(self) -> bool:
        """Whether to scan all jobs now: somebody does in each period, and we now and then."""
        with contextlib.suppress(StoreRefused):  # a full Redis takes no claim
            if self._store.scans.claim(_SCAN_TAKES_S):
                return True
        return self._scan_next or time.monotonic() - self._scanned_at > _SCAN_OWN_S

    def _tell(self, session: Session, exc: MoonlightError) -> None:
        """Log a session's trouble, once between two scans and not in each round."""
        trouble = session.session_id, type(exc).__name__
        if trouble not in self._told:
            self._told.add(trouble)
            _log.warning("session %s: left for the next round: %s", session.session_id, exc)

    def _view(self) -> Callable[[], Mapping[str, SlurmJob]]:
        """The jobs that say they are sessions, by session id, asked for at most once."""
        return functools.cache(self._named)

    def _named(self) -> Mapping[str, SlurmJob]:
        """The jobs that say they are sessions and belong to the session's user.

        Anybody can name a job like somebody's session, and its user can do so twice: a marked job
        comes before others, then one that lives, then the latest.
        """
        user_of = functools.cache(name_of)
        found: dict[str, tuple[tuple[bool, bool, int], SlurmJob]] = {}
        for job in self._gateway.our_jobs():
            mark = bus.Mark.of_job(job)
            session_id = mark.session_id if mark else job.name
            if user_of(job.user_id) != owner_of(session_id):
                continue
            rank = (mark is not None, not stage_of(job.state).ended, job.job_id)
            if session_id not in found or found[session_id][0] < rank:
                found[session_id] = rank, job
        return {session_id: job for session_id, (_, job) in found.items()}

    def _adopt(self, named: Mapping[str, SlurmJob]) -> int:
        """Rebuild the records of marked jobs that have none; cancel jobs whose session has ended.

        A job without our mark and without a record could be anybody's claim: it gets nothing, and
        ends by itself when nobody gives it a slot.
        """
        living = {name: job for name, job in named.items() if not stage_of(job.state).ended}
        known = {session.session_id: session for session in self._store.get_many(living)}
        restored = 0
        for session_id, job in living.items():
            session, mark = known.get(session_id), bus.Mark.of_job(job)
            if session is None and mark is not None:
                restored += self._restore(job, mark)
            elif session and session.status.ended and session.job_id in (None, job.job_id):
                _log.warning("session %s has ended: cancelling job %d", session_id, job.job_id)
                with contextlib.suppress(SlurmRefused):
                    self._gateway.cancel(job.job_id)
        return restored

    def _release(self, named: Mapping[str, SlurmJob]) -> int:
        """Remove leases of sessions that neither Redis nor Slurm knows to live."""
        living = {
            session_id
            for session_id, job in named.items()
            if stage_of(job.state).holds_node and bus.Mark.of_job(job)
        }
        return self._store.scans.release_orphans(living)

    def _restore(self, job: SlurmJob, mark: bus.Mark) -> bool:
        image = self._settings.images.get(mark.image_id)
        lease = mark.lease if mark.restart_count == job.restart_count else None
        if not stage_of(job.state).holds_node:
            lease = None
        # The image may have changed since, and with it what may be chosen; this session was.
        numbers: dict[str, Any] = dict(mark.numbers) | Session.parsed(mark.options)
        session = Session(
            session_id=mark.session_id,
            username=owner_of(mark.session_id),
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

"""What becomes of one session by what Slurm says of its job.

The decisions of ``moonlight_core.reconcile``, one session at a time. Every change carries the
revision of the record it was decided on; where somebody else was faster, nothing is changed and the
next round looks again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import bus, ending, explain, idle, progress, telling
from moonlight_core.ending import CANCELLING
from moonlight_core.errors import SlurmError
from moonlight_core.leasing import SlotChoice
from moonlight_core.models import Session, Status
from moonlight_core.states import Stage, stage_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from moonlight_core.gateway import SlurmGateway, SlurmJob
    from moonlight_core.settings import Settings
    from moonlight_core.store import SessionStore

_log = logging.getLogger(__name__)

# A record without a job is looked for by name after this time; before, its submit is under way.
_SUBMITTING_S = 5.0
# slurmctld must have been answering for so long without knowing the job: a request that waited in a
# hung slurmctld is carried out when it goes on.
_MISSING_S = 10.0
# How long slurmdbd may take to learn of an ended job that slurmctld has forgotten, and how long it
# is waited for when it cannot be asked.
_LOST_GRACE_S = 20.0
_UNASKED_GRACE_S = 60.0


class Follower:
    """Brings single sessions in line with their jobs; keeps nothing in between."""

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
        self._slots = SlotChoice(settings, store)

    def overdue(self, session: Session) -> bool:
        """Whether a session's submit should long have given it a job."""
        return session.job_id is None and self._age_s(session.created_at) > _SUBMITTING_S

    def _age_s(self, since: dt.datetime) -> float:
        return (self._clock() - since).total_seconds()

    def advance(
        self,
        session: Session,
        jobs: Mapping[int, SlurmJob],
        named: Callable[[], Mapping[str, SlurmJob]],
    ) -> bool:
        """Change a session's record, lease and job by what Slurm says.

        Args:
            session: the session as it was read.
            jobs: jobs by id; a session whose job is not among them has been forgotten by slurmctld.
            named: tells all jobs that say they are sessions, by session; asked only by those that
                look for their job or for a slot.

        Returns:
            whether the record was changed.
        """
        if session.job_id is None:
            return self._find_job(session, named)
        job = jobs.get(session.job_id)
        if job is None:
            return self._forgotten(session)
        return self._follow(session, job, named)

    def _find_job(self, session: Session, named: Callable[[], Mapping[str, SlurmJob]]) -> bool:
        """Deal with a record whose submit has no known outcome."""
        if not self.overdue(session):
            return False
        job = named().get(session.session_id)
        if job is not None:
            _log.info("session %s: found its job %d", session.session_id, job.job_id)
            return self._change(
                session, job_id=job.job_id, submitted_at=job.submitted_at, lost_at=None
            )
        if session.lost_at is None:
            return self._change(session, lost_at=self._clock())
        grace_s = self._settings.sessions.submit_grace_s
        if session.status is Status.STOPPING:
            # Nobody is about to submit it any more.
            grace_s = 0
        if self._age_s(session.created_at) < grace_s or self._age_s(session.lost_at) < _MISSING_S:
            return False
        return self._end(
            session,
            Status.STOPPED if session.status is Status.STOPPING else Status.FAILED,
            "The session never became a Slurm job: the submit was not completed. Ask for it again.",
            "not_submitted",
        )

    def _forgotten(self, session: Session) -> bool:
        """Deal with a job that slurmctld no longer knows: slurmdbd has the last word."""
        assert session.job_id is not None  # noqa: S101 - for the type checker
        asked, grace_s = "its database does not tell how it ended", _LOST_GRACE_S
        try:
            job = self._gateway.ended_job(session.job_id)
        except SlurmError:
            job = None
            asked, grace_s = "its database cannot be asked how it ended", _UNASKED_GRACE_S
        if job is not None and stage_of(job.state).ended:
            return self._ended(session, job)
        if session.lost_at is None:
            return self._change(
                session,
                lost_at=self._clock(),
                reason="Slurm has forgotten the job; asking its database how it ended.",
            )
        if self._age_s(session.lost_at) < grace_s:
            return False
        return self._end(
            session,
            Status.STOPPED if session.status is Status.STOPPING else Status.FAILED,
            f"Slurm no longer knows the job, and {asked}.",
            "job_lost",
        )

    def _follow(
        self, session: Session, job: SlurmJob, named: Callable[[], Mapping[str, SlurmJob]]
    ) -> bool:
        """Change a record by what slurmctld says of its job."""
        stage = stage_of(job.state)
        if stage.ended:
            return self._ended(session, job)
        report = bus.Report.of_job(job)
        if report is not None and report.restart_count != job.restart_count:
            report = None
        insists = ending.insists(session, self._clock())
        if stage is not Stage.ENDING and (
            session.phase == CANCELLING or (insists and bus.says_it_ends(report))
        ):
            self._gateway.cancel(job.job_id, insist=insists)
        if stage is Stage.QUEUED and session.lease is not None:
            # Requeued: the slot was that of its earlier start, which is over.
            return self._store.unlease(session)
        lease = session.lease
        if lease is not None and job.node not in (None, lease.node):
            return self._store.unlease(session)
        if session.status is not Status.STOPPING and stage in (Stage.ALLOCATED, Stage.RUNNING):
            if (
                report is not None
                and report.phase == "slot_busy"
                and self._is_about(report, session)
                # A desktop that was ready has its slot: nobody gets it while that lives.
                and session.ready_at is None
            ):
                return self._refused(session, report)
            if lease is None and job.node is not None and not bus.says_it_ends(report):
                return self._lease(session, job, job.node, named)
        self._vouch(session, job)
        seen = self._seen(session, job, stage, report)
        wishes = idle.changes(
            attrs.evolve(session, **seen),
            self._settings.sessions,
            self._clock(),
            hears=report is not None and report.hears,
        )
        if session.end_wanted is not None and wishes["asked_at"] not in (None, session.asked_at):
            # It was asked before, and has neither ended nor said that somebody is there.
            self._gateway.wake(job.job_id)
        return self._change(session, **seen, **wishes)

    def _seen(
        self, session: Session, job: SlurmJob, stage: Stage, report: bus.Report | None
    ) -> dict[str, Any]:
        """What a record should say of a job that has not ended."""
        seen: dict[str, Any] = {
            "slurm_state": job.state,
            "restart_count": job.restart_count,
            "submitted_at": session.submitted_at or job.submitted_at,
            "started_at": job.started_at,
            "expires_at": job.expires_at,
            "slurm_node": job.node,
            "expected_start_at": None,
            "lost_at": None,
        }
        late = ending.late(session, job, stage, self._clock())
        if session.phase == CANCELLING:
            return seen | late
        if stage is Stage.QUEUED:
            expected = job.expected_start_at
            phase, reason = explain.why_it_waits(job)
            return seen | {
                "status": Status.PENDING,
                "phase": phase,
                "reason": reason + progress.expected(expected, self._clock()),
                "expected_start_at": expected,
                # Of an earlier start, if Slurm put the job back into the queue.
                "ready_at": None,
                "cert_sha256": None,
                "ending_at": None,
            }
        if stage is Stage.ENDING or bus.says_it_ends(report):
            return seen | {
                "status": Status.STOPPING,
                "phase": "ending",
                "reason": (report.reason if report else None) or "The job is ending.",
                **({"ending_at": self._clock()} if session.ending_at is None else late),
            }
        # Its script may have said that it ends, and have gone on: only Slurm's word is the last.
        seen["ending_at"] = None
        if stage is Stage.SUSPENDED:
            return seen | {"phase": "suspended", "reason": explain.SUSPENDED}
        if stage is Stage.UNKNOWN:
            return seen | {"reason": f"Slurm says {job.state}, which we do not know."}
        if (running := telling.running(session, job, report, self._clock())) is not None:
            return seen | running
        return seen | {
            "status": Status.STARTING,
            "phase": report.phase if report else "allocated",
            "reason": (report.reason if report else None) or "The job has a node.",
        }

    def _lease(
        self,
        session: Session,
        job: SlurmJob,
        node: str,
        named: Callable[[], Mapping[str, SlurmJob]],
    ) -> bool:
        """Give a session that holds a node its slot there."""
        lease = self._slots.take(session, job, node, named)
        if lease is None:
            waiting = {
                "phase": "waiting_for_slot",
                "reason": f"Waiting for a free display and port on {node}: all are taken. The "
                f"session gives up after {self._settings.slots.wait_s} s.",
            }
            seen = self._seen(session, job, stage_of(job.state), None) | waiting
            return self._change(session, **seen)
        leased = self._store.get(session.session_id)
        if leased is not None:
            self._vouch(leased, job)
            self._change(leased, **self._seen(leased, job, stage_of(job.state), None))
        return True

    def _vouch(self, session: Session, job: SlurmJob) -> None:
        """Let the job's AdminComment say what the record says: mark, lease and wishes."""
        mark = bus.Mark.of_session(attrs.evolve(session, restart_count=job.restart_count))
        if job.admin_comment == mark.text():
            return
        self._gateway.set_admin_comment(job.job_id, mark.text())
        before, report = bus.Mark.of_job(job), bus.Report.of_job(job)
        wishes = before.wishes if before else {}
        if report is not None and report.hears and mark.wishes != wishes:
            self._gateway.wake(job.job_id)

    def _is_about(self, report: bus.Report, session: Session) -> bool:
        return (
            session.lease is not None
            and report.display_num == session.display_num
            and report.sunshine_port == session.sunshine_port
        )

    def _refused(self, session: Session, report: bus.Report) -> bool:
        """Take back a slot that a foreign process holds, and keep it out of use for a while."""
        block = [
            f"display:{session.display_num}"
            if report.busy == "display"
            else f"port:{session.sunshine_port}"
        ]
        reason = report.reason or "Another process holds the display or a port."
        # A lie of the job's owner takes slots out of use for a while: no more than she could do by
        # binding their ports, on a node where she has a job.
        if not self._store.unlease(session, block=block, block_s=self._settings.slots.block_s):
            return False
        _log.warning("session %s: %s", session.session_id, reason)
        again = self._store.get(session.session_id)
        return again is not None and self._change(
            again, slots_refused=again.slots_refused + 1, reason=reason
        )

    def _ended(self, session: Session, job: SlurmJob) -> bool:
        """End a record as its job ended."""
        report = bus.Report.of_job(job)
        if report is not None and report.restart_count < job.restart_count:
            report = None
        how = explain.how_it_ended(
            session,
            job,
            report,
            explain.node_asker(self._gateway, self._settings.slurm.partition),
            asked_to=session.phase == CANCELLING,
        )
        return self._end(
            session,
            how.status,
            how.reason,
            report.code if report and report.code else job.state.lower(),
            slurm_state=job.state,
            slurm_node=session.slurm_node or job.node,
            # Of a job that was cancelled in the queue, Slurm says that it started when it ended.
            started_at=session.started_at or (job.started_at if job.node else None),
            stopped_at=job.ended_at or self._clock(),
            exit_code=how.exit_code,
            log_tail=report.log if report else None,
        )

    def _end(
        self, session: Session, status: Status, reason: str, code: str, **changes: Any
    ) -> bool:
        _log.info("session %s ended (%s): %s", session.session_id, status, reason)
        return self._store.finish(
            session,
            keep_s=self._settings.sessions.keep_ended_s,
            **{
                "status": status,
                "phase": "ended",
                "reason": reason,
                "error": reason if status is Status.FAILED else None,
                "error_code": code if status is Status.FAILED else None,
                "clients_connected": None,
                "stream_state": None,
                "stopped_at": self._clock(),
            }
            | changes,
        )

    def _change(self, session: Session, **wanted: Any) -> bool:
        changes = {name: value for name, value in wanted.items() if getattr(session, name) != value}
        if not changes:
            return False
        announce = not {"status", "phase"}.isdisjoint(changes)
        return self._store.update(session, announce=announce, **changes)

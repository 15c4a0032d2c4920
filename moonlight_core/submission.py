"""From a record to its job: submitted once, whatever fails in between."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.ending import CANCELLING
from moonlight_core.errors import SlurmError, StoreError, SubmitOutcomeUnknown
from moonlight_core.models import Status

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from moonlight_core.gateway import JobSpec, SlurmGateway
    from moonlight_core.models import Session
    from moonlight_core.reconcile import Reconciler
    from moonlight_core.store import SessionStore

_log = logging.getLogger(__name__)
# A record that others change while we look is read again; more often than this it never settles.
_TRIES = 20
_ASK_AGAIN = "Ask again with the same idempotency key to see what came of it."


class Submission:
    """Gives records their jobs. Whatever it leaves half made, reconcile finishes or undoes."""

    def __init__(
        self,
        store: SessionStore,
        gateway: SlurmGateway,
        reconciler: Reconciler,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._reconciler = reconciler
        self._now = now

    def carry_out(self, session: Session, spec: JobSpec, *, keyed: bool) -> Session:
        """Submit a session's job and write it down.

        Args:
            session: the session, whose record was just made.
            spec: its job.
            keyed: whether the caller can ask for the very same session again.

        Raises:
            SubmitRejected, SlurmUnavailable: there is no job and no record.
            SubmitOutcomeUnknown, StoreError: should there be a job, it is cancelled; with ``keyed``
                it is kept.
        """
        try:
            job_id = (self._made_before(session) if keyed else None) or self._gateway.submit(spec)
        except SubmitOutcomeUnknown as exc:
            if keyed:
                raise SubmitOutcomeUnknown(f"{exc} {_ASK_AGAIN}") from exc
            self._give_up(session)
            raise SubmitOutcomeUnknown(
                f"{exc} No session was made; should its job appear all the same, it is cancelled. "
                "Try again in a while."
            ) from exc
        except SlurmError:
            # finish with 0 seconds removes the record: nothing is half made.
            self._store.finish(session, keep_s=0, status=Status.FAILED)
            raise
        _log.info("session %s submitted as job %d", session.session_id, job_id)
        try:
            return self._written_down(session, job_id)
        except StoreError as exc:
            if keyed:
                raise type(exc)(f"{exc} {_ASK_AGAIN}") from exc
            with contextlib.suppress(SlurmError):
                self._gateway.cancel(job_id)
            raise type(exc)(f"{exc} No session was made: its job {job_id} is cancelled.") from exc

    def _made_before(self, session: Session) -> int | None:
        """The job that an earlier request with the same key made, should Redis have lost that."""
        job = self._reconciler.find_job(session)
        return job.job_id if job else None

    def _written_down(self, session: Session, job_id: int) -> Session:
        for _ in range(_TRIES):
            changes: dict[str, Any] = {"job_id": job_id, "submitted_at": self._now()}
            # Who was faster may have found the job, or may want the session ended: that stays.
            if session.status is Status.PENDING:
                changes |= {"phase": "queued", "reason": "Waiting in the queue."}
            if session.job_id is not None:
                return session
            if (updated := self._store.updated(session, announce=True, **changes)) is not None:
                return updated
            found = self._store.get(session.session_id)
            if found is None:
                # Redis has lost it in between; its job is known here.
                self._store.restore(attrs.evolve(session, **changes))
                found = self._store.get(session.session_id)
            session = found or session
        raise StoreError(f"The record of {session.session_id} does not settle; try again.")

    def _give_up(self, session: Session) -> None:
        """Leave a record that makes reconcile cancel the job, should it turn up."""
        self._store.update(
            session,
            status=Status.STOPPING,
            phase=CANCELLING,
            ending_at=self._now(),
            reason="slurmctld did not answer the submit; should the job appear, it is cancelled.",
        )

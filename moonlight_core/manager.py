"""``SessionManager``: what a caller can do with sessions, over HTTP or without."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from typing import TYPE_CHECKING, Any, Self

import attrs

from moonlight_core import sunshine
from moonlight_core.admission import check_idempotency_key, choose_image, new_session
from moonlight_core.awaiting import Awaiting
from moonlight_core.derived import Derived
from moonlight_core.ending import CANCELLING
from moonlight_core.errors import (
    InvalidRequest,
    SlurmError,
    SlurmRefused,
    SlurmUnavailable,
    StoreError,
)
from moonlight_core.idle import Idleness
from moonlight_core.job import job_spec
from moonlight_core.limits import limits_for
from moonlight_core.models import Session, SessionRequest, Status
from moonlight_core.reconcile import Reconciler
from moonlight_core.redis_client import connect
from moonlight_core.secret import read_service_secrets
from moonlight_core.session_id import new_session_id
from moonlight_core.settings import Settings
from moonlight_core.shipped import batch_script
from moonlight_core.single_user import OwnGateway, own_account
from moonlight_core.site_view import SiteView
from moonlight_core.slurm import PyslurmGateway
from moonlight_core.store import SessionStore
from moonlight_core.submission import Submission
from moonlight_core.users import find_user
from moonlight_core.views import SessionViews

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from moonlight_core.gateway import SlurmGateway
    from moonlight_core.nudges import Nudges
    from moonlight_core.reconcile import Round
    from moonlight_core.secret import Secret, ServiceSecrets
    from moonlight_core.users import User

_log = logging.getLogger(__name__)

# A record that others change while we look is read again; more often than this it never settles.
_TRIES = 20


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SessionManager(SessionViews, SiteView):
    """Creates, finds, ends and repairs sessions; pairs clients with them.

    Safe to be shared by threads. Every method may raise ``StoreUnavailable`` when Redis is away;
    those that need slurmctld say so.
    """

    def __init__(
        self,
        settings: Settings,
        store: SessionStore,
        gateway: SlurmGateway,
        *,
        service_secret: Secret | ServiceSecrets,
        clock: Callable[[], dt.datetime] = _utc_now,
        new_id: Callable[[str, str | None], str] = new_session_id,
        resolve_user: Callable[..., User] = find_user,
    ) -> None:
        super().__init__(settings, store, gateway, service_secret, resolve_user=resolve_user)
        self._clock = clock
        self._new_id = new_id
        self._reconciler = Reconciler(settings, store, gateway, clock=clock)
        self._submission = Submission(store, gateway, self._reconciler, self._now)
        self._script = batch_script()
        self._stale: tuple[dt.datetime, Derived[Session]] | None = None

    @classmethod
    def from_config(cls, path: Path | None = None, *, gateway: SlurmGateway | None = None) -> Self:
        """A manager of what the configuration file and the environment say.

        Args:
            path: the configuration file; by default as ``Settings.load`` finds it.
            gateway: the way to Slurm; by default pyslurm in this process.

        Raises:
            SettingsError: with every fault of the configuration.
        """
        return cls.from_settings(Settings.load(path), gateway=gateway)

    @classmethod
    def from_settings(cls, settings: Settings, *, gateway: SlurmGateway | None = None) -> Self:
        """A manager of settings that are read already; otherwise as ``from_config``."""
        gateway = gateway or PyslurmGateway(settings.slurm.conf)
        single = settings.service.single_user
        return cls(
            settings,
            SessionStore(connect(settings.redis)),
            OwnGateway(gateway) if single else gateway,
            service_secret=read_service_secrets(settings.service.secret_file),
            resolve_user=own_account if single else find_user,
        )

    def create(
        self,
        user: str,
        image_id: str | None = None,
        *,
        idempotency_key: str | None = None,
        **resources: Any,
    ) -> Session:
        """Ask for a session; it is submitted to Slurm and returned as ``pending``.

        Args:
            user: the account that the session is for and runs as.
            image_id: an image of the catalogue; None for the default one.
            idempotency_key: 1 to 255 printable ASCII characters. With the same key again the same
                user gets the session that the first request made, as it is now, for as long as
                there is a record of it; there is never a second one.
            resources: ``cpus``, ``memory_gb``, ``gpus``, ``hours``, ``width``, ``height``, ``fps``,
                and the options of ``moonlight_core.options``; what is missing or None is taken
                from the image.

        Raises:
            UserNotAllowed, ImageNotFound, ImageUnavailable, InvalidRequest, QuotaExceeded: it
                cannot be; nothing was done.
            SubmitRejected: slurmctld refused the job; nothing was done.
            SlurmUnavailable: slurmctld is away; nothing was done.
            SubmitOutcomeUnknown: slurmctld did not answer. Should the job exist, it is cancelled;
                with an idempotency key it is kept, and asking again with the key tells.
            StoreError: Redis is away or refuses; the same holds.
        """
        check_idempotency_key(idempotency_key)
        try:
            request = SessionRequest(username=user, image_id=image_id, **resources)
        except TypeError as exc:
            unknown = set(resources) - {field.name for field in attrs.fields(SessionRequest)}
            name = ", ".join(sorted(unknown))
            raise InvalidRequest(name, f"A session has no {name} to choose.") from exc
        account = self._resolve_user(user, first_uid=self.settings.sessions.first_uid)
        image = choose_image(self.settings.images, request.image_id, account)
        limits = limits_for(account, image, self.settings.sessions, self.settings.limits)
        wanted = new_session(
            request,
            image,
            limits,
            session_id=self._new_id(account.name, idempotency_key),
            created_at=self._now(),
        )
        session = self._store.create(
            attrs.evolve(wanted, secret_id=self._secrets.current_id), limits
        )
        if session is None:
            return self.get(wanted.session_id, user=account.name)
        spec = job_spec(
            session,
            image,
            account,
            self.settings,
            script=self._script,
            credentials=sunshine.credentials_file(self._secrets.current, session),
        )
        return self._shown(
            self._submission.carry_out(session, spec, keyed=idempotency_key is not None)
        )

    def get(self, session_id: str, *, user: str | None = None) -> Session:
        """A session.

        Args:
            session_id: its id.
            user: only if it is this user's; None for anybody's.

        Raises:
            SessionNotFound: there is none, or it is somebody else's.
        """
        return self._told(self._get(session_id, user))

    def list(self, *, user: str | None = None) -> list[Session]:
        """The sessions of a user, or of everybody, the newest first, recently ended ones too."""
        sessions = self._store.all() if user is None else self._store.of_user(user)
        return [self._told(session) for session in sessions]

    def delete(self, session_id: str, *, user: str | None = None) -> Session:
        """End a session; for one that has ended, or is ending, nothing more is done.

        While slurmctld is away the wish is recorded and carried out by reconcile.

        Args:
            session_id: its id.
            user: only if it is this user's; None for anybody's.

        Raises:
            SessionNotFound: there is none, or it is somebody else's.
        """
        for _ in range(_TRIES):
            session = self._get(session_id, user)
            if session.status.ended or session.phase == CANCELLING:
                break
            if self._store.update(
                session,
                announce=True,
                status=Status.STOPPING,
                phase=CANCELLING,
                reason="Ended on request; waiting for Slurm to confirm.",
                ending_at=session.ending_at or self._now(),
            ):
                session = self._get(session_id, user)
                break
        else:
            raise StoreError(f"The record of {session_id} does not settle; try again.")
        if session.status is Status.STOPPING and session.job_id is not None:
            try:
                self._gateway.cancel(session.job_id)
            except SlurmError as exc:
                _log.warning("session %s: cancelled later: %s", session_id, exc)
                why = f"To be ended on request, which is tried again: {exc}"
                if isinstance(exc, SlurmUnavailable):
                    why = "slurmctld cannot be reached now; the session ends as soon as it answers."
                return self._shown(attrs.evolve(session, reason=why))
        return self._shown(session)

    def wait(
        self,
        session_id: str,
        *,
        status: str = "running",
        timeout_s: float = 120.0,
        progress: Callable[[Session], None] | None = None,
    ) -> Session:
        """Wait until a session has a status, doing its part of reconcile meanwhile.

        Args:
            session_id: its id.
            status: the status to wait for.
            timeout_s: seconds to wait.
            progress: called with the session each time its phase or reason has changed.

        Raises:
            SessionNotFound: there is none.
            SessionEnded: it ended first.
            WaitTimeout: the time was over first; the session goes on.
        """
        awaiting = Awaiting(status, timeout_s, progress)
        while not awaiting.reached(self._shown(session := self._get(session_id, None))):
            # A service does this as well, where one runs; a library user may have none.
            with contextlib.suppress(SlurmUnavailable, SlurmRefused):
                self._reconciler.advance(session)
            time.sleep(0.25)
        return self._shown(session)

    def reconcile(self) -> Round:
        """Bring records, leases and jobs together once; see ``moonlight_core.reconcile``.

        Raises:
            SlurmUnavailable: slurmctld is away; nothing was changed.
        """
        return self._reconciler.run()

    def listen_for_changes(self) -> None:
        """Let Redis tell of changes, so that it need not be asked while it tells of none.

        For a process that goes on reading: what Redis says must be heard. To be called again and
        again, for a connection that was lost; ``stop_listening`` ends it.
        """
        self._store.tracking.listen()

    def stop_listening(self) -> None:
        """Ask Redis again at each read."""
        self._store.tracking.close()

    def nudges(self) -> Nudges:
        """What to wait for between two rounds; see ``moonlight_core.nudges``."""
        return self._store.nudges()

    def excess_rights(self) -> Sequence[str]:
        """What our account in Redis may do and need not, a phrase each."""
        return self._store.excess_rights()

    def reap(self, *, dry_run: bool = False) -> tuple[Idleness, ...]:
        """Warn and end desktops that nobody is connected to, as reconcile does all the time.

        Whoever is connected is not cut off: the session's own script ends it, and looks first.

        Args:
            dry_run: only tell.

        Returns:
            the running sessions, as they are then.

        Raises:
            SlurmUnavailable: slurmctld is away; nothing was done.
        """
        if not dry_run:
            # One round decides, and the next one tells the scripts.
            self.reconcile()
            self.reconcile()
        limits, now = self.settings.sessions, self._now()
        return tuple(
            Idleness.of(session, limits, now)
            for session in self._store.live()
            if session.status is Status.RUNNING
        )

    def check(self) -> dict[str, str]:
        """How Redis is and when reconcile last heard from slurmctld, without asking slurmctld."""
        try:
            self._store.ping()
            redis = "ok"
        except StoreError as exc:
            redis = str(exc)
        return {"redis": redis, "slurm": self._reconciler.slurm_health}

    def _now(self) -> dt.datetime:
        # Records keep milliseconds: a session that was just made is the same when it is read.
        now = self._clock()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _told(self, session: Session) -> Session:
        """A session as it is shown; while slurmctld is away, with what that means."""
        shown, since = self._shown(session), self._reconciler.silent_since
        if since is None or session.status.ended:
            return shown
        if self._stale is None or self._stale[0] != since:
            self._stale = since, Derived(lambda session: _known_at(session, since))
        return self._stale[1](shown)


def _known_at(session: Session, since: dt.datetime) -> Session:
    return attrs.evolve(
        session,
        reason=f"{session.reason or ''} Slurm has not answered since {since:%H:%M:%S} UTC; this is "
        "how it was then.".strip(),
    )

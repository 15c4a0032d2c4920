"""``SunshineAccess``: what a caller can do with the Sunshine of a session that runs.

It is the part of ``SessionManager`` that speaks to desktops; ``moonlight_core.views`` looks at
sessions, and the rest speaks to Slurm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core import sunshine
from moonlight_core.derived import Derived
from moonlight_core.errors import (
    ClientNotFound,
    CredentialsHidden,
    InvalidRequest,
    SessionNotFound,
    SessionNotRunning,
    SunshineAnswerUnusable,
)
from moonlight_core.models import SESSION_ID, Connect, Credentials, Pairing, PairingStatus, Status
from moonlight_core.pairing import (
    DEFAULT_NAME,
    PairingAttempt,
    checked_name,
    checked_pin,
    drawn_pin,
)
from moonlight_core.secret import Secret, ServiceSecrets

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from moonlight_core.models import Lease, PairedClient, Session
    from moonlight_core.pairing import PinOffer
    from moonlight_core.settings import Settings
    from moonlight_core.store import SessionStore

# A client that shows a PIN is waiting already; one that gets a PIN from us has yet to be started.
_PIN_GIVEN_S = 20.0
_PIN_DRAWN_S = 120.0


class SunshineAccess:
    """Pairing, clients and credentials of sessions.

    Every method raises ``SessionNotFound`` for a session that is not there, or not ``user``'s, and
    ``StoreUnavailable`` when Redis is away; those that speak to Sunshine raise
    ``SessionNotRunning`` before it is there or when it has gone, ``SunshineUnreachable`` and
    ``SunshineAnswerUnusable``. With ``user`` None the session may be anybody's.
    """

    def __init__(
        self, settings: Settings, store: SessionStore, service_secret: Secret | ServiceSecrets
    ) -> None:
        self.settings = settings
        self._store = store
        if isinstance(service_secret, Secret):
            service_secret = ServiceSecrets(service_secret)
        self._secrets = service_secret
        self._shown = Derived(self._with_connect)

    def pair(
        self,
        session_id: str,
        *,
        pin: str | None = None,
        name: str = DEFAULT_NAME,
        user: str | None = None,
        timeout_s: float | None = None,
        show_pin: Callable[[PinOffer], object] | None = None,
        stop: threading.Event | None = None,
    ) -> Pairing:
        """Pair a Moonlight client with a session, and wait until that is done.

        Args:
            session_id: the session.
            pin: the PIN that the client shows; None to draw one for the client.
            name: what the client shall be called.
            user: only if it is this user's session.
            timeout_s: seconds to wait for the client; by default 20, or 120 for a drawn PIN.
            show_pin: called with the drawn PIN and how to give it to the client.
            stop: ends the wait.

        Raises:
            InvalidRequest: PIN or name will not do, or nobody would see the PIN.
            PairingUnderWay: the session is being paired already.
            TooManyPins: too many PINs were tried lately.
            NoClientWaiting: no client came in time.
            WrongPin: the client has another PIN.
            PairingInterrupted: ``stop`` was set.
        """
        if pin is None and show_pin is None:
            raise InvalidRequest("pin", "A PIN is missing, or somebody to show a drawn one to.")
        attempt = self.begin_pairing(session_id, pin=pin, name=name, user=user, timeout_s=timeout_s)
        if pin is None and show_pin is not None:
            show_pin(attempt.offer)
        return Pairing(status=PairingStatus.PAIRED, client=attempt.run(stop))

    def begin_pairing(
        self,
        session_id: str,
        *,
        pin: str | None = None,
        name: str = DEFAULT_NAME,
        user: str | None = None,
        timeout_s: float | None = None,
    ) -> PairingAttempt:
        """As ``pair``, but only begun: the caller carries it out by ``run``, be it in a thread.

        Raises:
            InvalidRequest, PairingUnderWay, TooManyPins: as ``pair``.
        """
        checked = drawn_pin() if pin is None else checked_pin(pin)
        session, lease = self._running(session_id, user)
        return PairingAttempt(
            session_id,
            self._sunshine(session, lease),
            self._store.pairings,
            pin=checked,
            name=checked_name(name),
            address=self._connect(lease).address,
            timeout_s=timeout_s or (_PIN_DRAWN_S if pin is None else _PIN_GIVEN_S),
        )

    def pairing(self, session_id: str, *, user: str | None = None) -> Pairing:
        """How the session's last pairing goes or went."""
        self._get(session_id, user)
        return self._store.pairings.get(session_id)

    def clients(self, session_id: str, *, user: str | None = None) -> list[PairedClient]:
        """The clients that are paired with a session, the oldest first."""
        return self._sunshine(*self._running(session_id, user)).clients()

    def unpair(self, session_id: str, uuid: str, *, user: str | None = None) -> PairedClient:
        """Forget a paired client; it is returned as it was.

        Raises:
            ClientNotFound: no paired client has that id.
        """
        host = self._sunshine(*self._running(session_id, user))
        found = [client for client in host.clients() if client.uuid == uuid]
        if not found or not host.unpair(uuid):
            raise ClientNotFound(
                f"No client with the id {uuid[:40]!r} is paired with the session {session_id}."
            )
        return found[0]

    def credentials(self, session_id: str, *, user: str | None = None) -> Credentials:
        """How a session's owner enters the web interface of its Sunshine.

        Raises:
            CredentialsHidden: the site has switched this off.
        """
        if not self.settings.service.show_credentials:
            raise CredentialsHidden(
                "This site does not show the password of Sunshine's web interface "
                "([service] show_credentials). Clients can be paired without it."
            )
        session, lease = self._running(session_id, user)
        port = sunshine.api_port(lease.sunshine_port)
        return Credentials(
            url=f"https://{Connect.to(self._connect(lease).host, port).address}",
            username=session.username,
            password=self._password(session),
        )

    def _get(self, session_id: str, user: str | None) -> Session:
        # Only what is an id is looked up: anything else could name another key.
        session = self._store.get(session_id) if SESSION_ID.fullmatch(session_id) else None
        if session is None or (user is not None and session.username != user):
            raise SessionNotFound(session_id)
        return session

    def _with_connect(self, session: Session) -> Session:
        lease = session.lease
        if lease is None or session.status.ended:
            return session
        return attrs.evolve(session, connect=self._connect(lease))

    def _connect(self, lease: Lease) -> Connect:
        return Connect.to(self.settings.connect.host_of(lease.node), lease.sunshine_port)

    def _running(self, session_id: str, user: str | None) -> tuple[Session, Lease]:
        session = self._get(session_id, user)
        if session.status is not Status.RUNNING or session.lease is None:
            raise SessionNotRunning(session_id, session.status)
        return session, session.lease

    def _password(self, session: Session) -> Secret:
        secret = self._secrets.of(session.secret_id)
        if secret is None:
            raise SunshineAnswerUnusable(
                f"The secret that the session {session.session_id} was made with is no longer in "
                "the service's secret file, so its Sunshine cannot be spoken to. Administrators "
                "can put it back as a further line; the desktop itself goes on."
            )
        return sunshine.password(secret, session.session_id)

    def _sunshine(self, session: Session, lease: Lease) -> sunshine.Sunshine:
        if session.cert_sha256 is None:
            raise SunshineAnswerUnusable(
                f"The session {session.session_id} did not tell the certificate of its Sunshine, "
                "so nobody could be sure to speak to it. Does its image have openssl?"
            )
        return sunshine.Sunshine(
            host=self.settings.connect.own_host_of(lease.node),
            port=lease.sunshine_port,
            username=session.username,
            password=self._password(session),
            cert_sha256=session.cert_sha256,
        )

"""The service as programs of its host's ordinary users reach it: over the users' socket.

A user can neither read the service's secrets nor submit for others, so what her commands do the
service does for her; the kernel tells it who she is.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import png
from moonlight_core.awaiting import Awaiting
from moonlight_core.errors import (
    MoonlightError,
    NoClientWaiting,
    ServiceUnavailable,
    SessionNotFound,
    SunshineUnreachable,
    UserNotAllowed,
    WrongPin,
)
from moonlight_core.models import SESSION_ID, PairedClient, Pairing, PairingStatus, Status
from moonlight_core.pairing import DEFAULT_NAME, PinOffer
from moonlight_core.pictures import Picture
from moonlight_core.session_log import SessionLog
from moonlight_core.site_view import CatalogueEntry
from moonlight_http.answers import error_of, retold, session_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moonlight_core.models import Session

_PREFIX = "/api/moonlight"
# Longer than any request takes that does not fail: the longest waits 20 s for a client to pair.
_ANSWER_S = 90.0
# A change to running is heard at once, other progress after so many seconds.
_LOOK_EVERY_S = 1
_PAIRING_EVERY_S = 0.5
# What the last steps of a pairing may take once its time is over.
_PAIRED_LATER_S = 30.0
_FAILURES: dict[PairingStatus, type[MoonlightError]] = {
    PairingStatus.WRONG_PIN: WrongPin,
    PairingStatus.NO_CLIENT: NoClientWaiting,
}


@attrs.frozen(kw_only=True)
class _Answer:
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class ServiceClient:
    """What an ordinary user can do with sessions: the part of ``SessionManager`` that she has.

    Methods mean, return and raise what they do there; besides, each raises ``ServiceUnavailable``
    when the service does not answer.
    """

    def __init__(self, path: Path, user: str) -> None:
        """Nothing is connected before something is asked.

        Args:
            path: the users' socket.
            user: who this program runs as.
        """
        self._path = path
        self._user = user

    def create(self, user: str, image_id: str | None = None, **resources: Any) -> Session:
        """Ask for a session of one's own."""
        if user != self._user:
            raise UserNotAllowed(
                f"You are {self._user}: only root may ask for a session for {user}."
            )
        wanted = {"image_id": image_id} | resources
        body = {name: value for name, value in wanted.items() if value is not None}
        with self._understood():
            return session_of(self._ask("POST", "/sessions", body).json())

    def get(self, session_id: str) -> Session:
        """A session."""
        with self._understood():
            return session_of(self._of(session_id).json())

    def delete(self, session_id: str) -> Session:
        """End a session."""
        with self._understood():
            return session_of(self._of(session_id, method="DELETE").json())

    def wait(
        self,
        session_id: str,
        *,
        status: str = "running",
        timeout_s: float = 120.0,
        progress: Callable[[Session], None] | None = None,
    ) -> Session:
        """Wait until a session has a status; for a service that is restarted meanwhile, too."""
        awaiting = Awaiting(status, timeout_s, progress)
        awaited = "running" if awaiting.status is Status.RUNNING else "ended"
        session = self.get(session_id)
        while not awaiting.reached(session):
            try:
                with self._understood():
                    told = self._of(session_id, f"?wait={awaited}&timeout={_LOOK_EVERY_S}")
                    session = session_of(told.json())
            except ServiceUnavailable:
                if not awaiting.left_s:
                    raise
                time.sleep(_LOOK_EVERY_S)
        return session

    def log(self, session_id: str, *, tail: int = 200) -> SessionLog:
        """The last lines of a session's log."""
        with self._understood():
            told = self._of(session_id, f"/log?tail={tail}").json()
            return SessionLog(
                lines=tuple(told["lines"]),
                complete=told["complete"],
                size_bytes=told["size_bytes"],
                path=told["path"],
            )

    def screenshot(self, session_id: str) -> Picture:
        """A picture of a session's desktop."""
        with self._understood():
            answer = self._of(session_id, "/screenshot")
            width, height = png.size_of(answer.body)
            taken_at = email.utils.parsedate_to_datetime(answer.headers["Last-Modified"])
            return Picture(
                data=answer.body, width=width, height=height, taken_at=taken_at.astimezone(dt.UTC)
            )

    def pair(
        self,
        session_id: str,
        *,
        pin: str | None = None,
        name: str = DEFAULT_NAME,
        show_pin: Callable[[PinOffer], object] | None = None,
    ) -> Pairing:
        """Pair a Moonlight client with a session, and wait until that is done."""
        with self._understood():
            body = {"pin": pin, "name": name}
            told = self._of(session_id, "/pair", method="POST", body=body).json()
            if pin is None:
                offer = PinOffer(
                    **{field.name: told[field.name] for field in attrs.fields(PinOffer)}
                )
                if show_pin is not None:
                    show_pin(offer)
                told = self._paired(session_id, offer)
            return Pairing(status=PairingStatus.PAIRED, client=PairedClient(**told["client"]))

    def clients(self, session_id: str) -> tuple[PairedClient, ...]:
        """The clients that are paired with a session."""
        with self._understood():
            told = self._of(session_id, "/clients").json()
            return tuple(PairedClient(**client) for client in told["clients"])

    def catalogue(self, user: str | None = None) -> tuple[CatalogueEntry, ...]:
        """The images, and which of them oneself can have."""
        if user not in (None, self._user):
            raise UserNotAllowed(f"You are {self._user}: only root may ask this for {user}.")
        names = [field.name for field in attrs.fields(CatalogueEntry)]
        with self._understood():
            told = self._ask("GET", "/images").json()
            return tuple(
                CatalogueEntry(**{name: image[name] for name in names}) for image in told["images"]
            )

    def list(self, *, user: str | None = None) -> list[Session]:
        """One's own sessions; with another user those, with None everybody's, if one may."""
        own = user == self._user
        with self._understood():
            told = self._ask("GET", f"/sessions{'' if own else '?all=true'}").json()
            sessions = [session_of(document) for document in told["sessions"]]
        return [each for each in sessions if own or user in (None, each.username)]

    def _paired(self, session_id: str, offer: PinOffer) -> Any:
        """How a pairing that the service carries out has ended well."""
        deadline = time.monotonic() + offer.expires_in_s + _PAIRED_LATER_S
        while (told := self._of(session_id, "/pair").json())["status"] == PairingStatus.WAITING:
            if time.monotonic() > deadline:
                break
            time.sleep(_PAIRING_EVERY_S)
        if told["status"] != PairingStatus.PAIRED:
            kind = _FAILURES.get(told["status"], SunshineUnreachable)
            sentence = told["error"] or "The service no longer knows how the pairing ended."
            raise retold(kind, sentence, address=offer.address)
        return told

    def _of(
        self, session_id: str, what: str = "", *, method: str = "GET", body: Any = None
    ) -> _Answer:
        """One request about a session: what is no id is none, and never part of an address."""
        if not SESSION_ID.fullmatch(session_id):
            raise SessionNotFound(session_id)
        return self._ask(method, f"/sessions/{session_id}{what}", body, session_id=session_id)

    def _ask(self, method: str, place: str, body: Any = None, *, session_id: str = "") -> _Answer:
        """One request, on a connection of its own.

        Raises:
            ServiceUnavailable: no answer came.
            MoonlightError: what the service answered instead.
        """
        connection = _Connection(self._path)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except OSError as exc:
                raise ServiceUnavailable(
                    f"The service's socket {self._path} does not answer: {exc.strerror or exc}. "
                    "Does the service run, and on this machine? Sessions go on without it."
                ) from exc
            try:
                data = None if body is None else json.dumps(body).encode()
                headers = {} if body is None else {"Content-Type": "application/json"}
                connection.request(method, _PREFIX + place, data, headers)
                response = connection.getresponse()
                answer = _Answer(headers=response.headers, body=response.read())
            except (OSError, http.client.HTTPException) as exc:
                raise ServiceUnavailable(
                    f"The service gave no answer to this ({exc or type(exc).__name__}). What has "
                    "come of it `moonlight list` shows."
                ) from exc
        if response.status >= http.client.BAD_REQUEST:
            with self._understood():
                raise error_of(
                    response.status,
                    answer.json(),
                    session_id=session_id,
                    username=self._user,
                    retry_after_s=int(answer.headers.get("Retry-After") or 0) or None,
                )
        return answer

    @contextlib.contextmanager
    def _understood(self) -> Any:
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ServiceUnavailable(
                f"What answers on {self._path} is not the service, or one of another version."
            ) from exc


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_S)
        self.sock.connect(str(self._path))

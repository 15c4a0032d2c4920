"""Sunshine: its credentials, and a client of its API; the only module that speaks to it.

A session's Sunshine runs as its owner in the owner's container, so what it answers is not believed
and cannot hurt: it has a deadline and a largest size for a whole answer, redirects are not
followed, and every value is checked.

It makes its own certificate. The session's batch script tells us the fingerprint of it, and nothing
is sent to a server that shows another one. The fingerprint comes by way of slurmctld from the job
of the owner, a field that only the owner and administrators can write, so it is as good as the
owner's word about the owner's own host; what it keeps out is anybody else's process that sits on
the port, on the node or on the way, and waits for the password.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import io
import json
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, cast

import attrs

from moonlight_core.errors import SunshineAnswerUnusable, SunshineUnreachable
from moonlight_core.models import PairedClient
from moonlight_core.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.models import Session

UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

_SALT_LENGTH = 16
_API_OFFSET = 1
_LARGEST_ANSWER = 65536
_LONGEST_NAME = 64
# What every Moonlight client calls itself (moonlight-common-c and its users; seen).
_EVERY_CLIENT = "0123456789ABCDEF"
_CLOSE = {"Connection": "close"}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404


def password(service_secret: Secret, session_id: str) -> Secret:
    """The password of a session's Sunshine: derived, so that it need not be stored anywhere."""
    return Secret(
        base64.urlsafe_b64encode(_derive(service_secret, "password", session_id)).decode()
    )


def credentials_file(service_secret: Secret, session: Session) -> str:
    """The text of Sunshine's ``credentials_file`` for a session.

    It holds a salted hash; the password itself never leaves the service. Sunshine stores the
    SHA-256 of password and salt with its bytes in reverse order, in upper-case hexadecimal (seen).
    """
    salt = _derive(service_secret, "salt", session.session_id).hex()[:_SALT_LENGTH]
    secret = password(service_secret, session.session_id).reveal()
    digest = hashlib.sha256((secret + salt).encode()).digest()[::-1].hex().upper()
    return json.dumps({"username": session.username, "salt": salt, "password": digest})


def api_port(base_port: int) -> int:
    """The port of the API and the web interface."""
    return base_port + _API_OFFSET


@attrs.frozen(kw_only=True)
class Sunshine:
    """The Sunshine of one session; each method is one request over a connection of its own.

    Every method raises ``SunshineUnreachable`` when there is no whole answer in ``timeout_s``, and
    ``SunshineAnswerUnusable`` when it is not the session's Sunshine that answers, or when the
    answer is none that Sunshine gives. Ports, paths and answers are those of its documentation and
    source (docs/api.md, src/confighttp.cpp; 2025.924 and 2026.516, seen).

    Attributes:
        host: host name or address.
        port: its base port.
        username: user of its web interface.
        password: password of its web interface.
        cert_sha256: SHA-256 of its certificate, in lower-case hexadecimal.
        timeout_s: seconds for a request, from the first packet to the last.
    """

    host: str
    port: int
    username: str
    password: Secret
    cert_sha256: str
    timeout_s: float = 5.0

    def enter_pin(self, pin: Secret, name: str) -> bool:
        """Give Sunshine the PIN of a client that asks to be paired.

        Returns:
            whether a client was waiting. It is True with a wrong PIN as well (seen): only the list
            of clients tells whether the pairing came about.
        """
        return self._truth(self._post("/api/pin", {"pin": pin.reveal(), "name": name}))

    def clients(self) -> list[PairedClient]:
        """The paired clients, the oldest first."""
        entries = self._ask("GET", "/api/clients/list").get("named_certs")
        if not isinstance(entries, list):
            raise SunshineAnswerUnusable(
                f"Sunshine at {self._place} gave no list of clients; versions before 2025.122 "
                "have none."
            )
        return [self._client(entry) for entry in entries]

    def unpair(self, uuid: str) -> bool:
        """Forget a client; whether there was one of that id."""
        return self._truth(self._post("/api/clients/unpair", {"uuid": uuid}))

    def drop_pairing(self) -> None:
        """Let Sunshine forget a pairing that came to nothing.

        When a client goes away after its PIN was given, Sunshine keeps the half of a pairing, and
        the client's next attempt fails; 2026.516 dies of it by signal 11 (seen). A step out of
        order makes it forget (fail_pair in src/nvhttp.cpp). Clients take these steps on the base
        port without TLS and login; nothing secret is sent.
        """
        path = f"/pair?uniqueid={_EVERY_CLIENT}&serverchallengeresp=00"
        with self._errors(self.port):
            deadline = time.monotonic() + self.timeout_s
            with socket.create_connection((self.host, self.port), self.timeout_s) as connection:
                self._request(connection, deadline, "GET", path, headers=_CLOSE)

    @property
    def _place(self) -> str:
        return self._at(api_port(self.port))

    def _at(self, port: int) -> str:
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def _client(self, entry: object) -> PairedClient:
        name, uuid, enabled = None, None, True
        if isinstance(entry, dict):
            # Versions before 2026 do not tell whether a client is enabled (seen).
            name, uuid, enabled = (entry.get("name"), entry.get("uuid"), entry.get("enabled", True))
        if not isinstance(name, str) or not isinstance(uuid, str) or not UUID.fullmatch(uuid):
            raise SunshineAnswerUnusable(
                f"Sunshine at {self._place} lists something that is no client."
            )
        shown = "".join(c if c.isprintable() else "?" for c in name[:_LONGEST_NAME])
        return PairedClient(name=shown, uuid=uuid, enabled=enabled in (True, "true"))

    def _truth(self, answer: dict[str, Any]) -> bool:
        # Old versions wrote the words.
        match answer.get("status"):
            case True | "true":
                return True
            case False | "false":
                return False
        raise SunshineAnswerUnusable(f"Sunshine at {self._place} said neither yes nor no.")

    def _post(self, path: str, document: dict[str, str]) -> dict[str, Any]:
        return self._ask("POST", path, json.dumps(document))

    def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        with self._errors(api_port(self.port)):
            status, raw = self._exchange(method, path, body)
        self._check_status(status)
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise SunshineAnswerUnusable(f"Sunshine at {self._place} answered no JSON.") from exc
        if not isinstance(answer, dict):
            raise SunshineAnswerUnusable(f"Sunshine at {self._place} answered no JSON object.")
        return answer

    @contextlib.contextmanager
    def _errors(self, port: int) -> Iterator[None]:
        """Turn what the standard library raises into our own errors, all of it."""
        place = self._at(port)
        try:
            yield
        except (TimeoutError, ConnectionError, socket.gaierror) as exc:
            raise SunshineUnreachable(
                f"The session's Sunshine at {place} does not answer: {exc or type(exc).__name__}. "
                "It may be starting or ending; try again."
            ) from exc
        except ssl.SSLError as exc:
            raise SunshineAnswerUnusable(
                f"What answers at {place} does not speak TLS as Sunshine does "
                f"({exc.reason or 'no reason given'})."
            ) from exc
        except (http.client.HTTPException, ValueError) as exc:
            raise SunshineAnswerUnusable(
                f"What answers at {place} does not speak HTTP as Sunshine does "
                f"({type(exc).__name__})."
            ) from exc
        except OSError as exc:
            raise SunshineUnreachable(
                f"The session's Sunshine at {place} cannot be reached: {exc.strerror or exc}."
            ) from exc

    def _check_status(self, status: int) -> None:
        if status == http.client.OK:
            return
        why = {
            _UNAUTHORIZED: "It does not accept the session's password: it was changed in the web "
            "interface, where clients can be paired as well.",
            _FORBIDDEN: "It does not take requests from this host: its origin_web_ui_allowed says "
            "from where.",
            _NOT_FOUND: "This version does not have what was asked for.",
        }.get(status, "That is no answer that Sunshine gives to this request.")
        raise SunshineAnswerUnusable(f"Sunshine at {self._place} answered {status}. {why}")

    def _exchange(self, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        """One request and its answer, as status and body."""
        deadline = time.monotonic() + self.timeout_s
        address = (self.host, api_port(self.port))
        login = base64.b64encode(f"{self.username}:{self.password.reveal()}".encode()).decode()
        headers = {"Authorization": f"Basic {login}"} | _CLOSE
        if body is not None:
            headers["Content-Type"] = "application/json"
        with (
            socket.create_connection(address, self.timeout_s) as plain,
            self._secured(plain, deadline) as connection,
        ):
            return self._request(connection, deadline, method, path, headers=headers, body=body)

    def _secured(self, plain: socket.socket, deadline: float) -> ssl.SSLSocket:
        """TLS over a connection, with the session's Sunshine at the other end."""
        plain.settimeout(_left_s(deadline))
        connection = _tls().wrap_socket(plain)
        try:
            self._check_certificate(connection)
        except SunshineAnswerUnusable:
            connection.close()
            raise
        return connection

    def _request(
        self,
        connection: socket.socket,
        deadline: float,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        body: str | None = None,
    ) -> tuple[int, bytes]:
        """A request over a connection, and its answer as status and body."""
        client = http.client.HTTPConnection(*connection.getpeername()[:2])
        # It would connect by itself, without TLS and without a deadline.
        client.auto_open = 0
        client.sock = cast("socket.socket", _Wire(connection, deadline))
        client.request(method, path, body, headers)
        with client.getresponse() as response:
            raw = response.read(_LARGEST_ANSWER + 1)
            if len(raw) > _LARGEST_ANSWER:
                raise http.client.LineTooLong("answer")
            return response.status, raw

    def _check_certificate(self, connection: ssl.SSLSocket) -> None:
        shown = connection.getpeercert(binary_form=True) or b""
        if hashlib.sha256(shown).hexdigest() != self.cert_sha256:
            raise SunshineAnswerUnusable(
                f"What answers at {self._place} has another certificate than the session's "
                "Sunshine. Nothing was sent to it; tell the administrators."
            )


class _Wire:
    """What ``http.client`` takes for a socket, with a deadline and a largest size."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_left_s(self._deadline))
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._connection, self._deadline))

    def close(self) -> None:
        """Do nothing: ``http.client`` closes before the answer is read; we do it afterwards."""


class _Reader(io.RawIOBase):
    """Reads from a socket until the deadline, or until it is too much."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        # Status line and headers count as well.
        self._left = 2 * _LARGEST_ANSWER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left_s(self._deadline))
        count = self._connection.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise http.client.LineTooLong("answer")
        return count


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # No authority signs Sunshine's certificate and it names no host: we compare it ourselves.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _left_s(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no whole answer in time")
    return left


def _derive(service_secret: Secret, purpose: str, session_id: str) -> bytes:
    message = f"sunshine {purpose} {session_id}".encode()
    return hmac.digest(service_secret.reveal().encode(), message, "sha256")

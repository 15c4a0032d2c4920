"""The web interface on port P+1: basic authentication and JSON, with Sunshine's odd answers."""

import base64
import binascii
import ipaddress
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from . import VERSION
from .apps import Runner
from .config import Config
from .journal import Journal
from .pairing import Pairing
from .state import Credentials, State
from .streams import Streams
from .web import Request, Response, json_response

Endpoint = Callable[[Request], Response]

OFFSET = 1
TOKEN_VALID_S = 3600.0
PIN_RANGE = range(10000)


class BadRequest(Exception):
    """Raised when a body is not what the endpoint takes; answered with 400 and the reason."""


def _body(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(request.body)
    except ValueError as error:
        raise BadRequest(f"parse error: {error}") from error
    if not isinstance(content, dict):
        raise BadRequest("type must be object")
    return content


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise BadRequest(f"type must be string, but {key} is not")
    return value


class WebApi:
    """Answers the operator's requests."""

    def __init__(
        self,
        config: Config,
        credentials: Credentials,
        state: State,
        pairing: Pairing,
        runner: Runner,
        streams: Streams,
        journal: Journal,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._state = state
        self._pairing = pairing
        self._runner = runner
        self._streams = streams
        self._journal = journal
        self._tokens: dict[str, tuple[str, float]] = {}
        port = config.port + OFFSET
        own = [f"https://{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]")]
        self._origins = [*own, *config.csrf_allowed_origins]
        # What changes something is guarded against other sites, what takes a body wants JSON.
        self._get: dict[str, Endpoint] = {
            "/": self._page,
            "/pin": self._page,
            "/api/apps": self._apps,
            "/api/clients/list": self._clients,
            "/api/config": self._configuration,
            "/api/csrf-token": self._token,
            "/api/logs": self._logs,
        }
        self._post: dict[str, tuple[Endpoint, bool]] = {
            "/api/apps": (self._save_app, True),
            "/api/apps/close": (self._close_app, False),
            "/api/clients/unpair": (self._unpair, True),
            "/api/clients/unpair-all": (self._unpair_all, False),
            "/api/clients/update": (self._update_client, True),
            "/api/password": (self._password, True),
            "/api/pin": (self._pin, True),
        }

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.method == "GET":
            endpoint = self._get.get(request.path)
            if endpoint is None:
                return json_response({"status_code": 404, "error": "Not Found"}, 404)
            return self._refusal(request) or endpoint(request)
        entry = self._post.get(request.path) if request.method == "POST" else None
        if entry is None:
            return self._bad("Bad Request")
        endpoint, takes_json = entry
        if takes_json:
            wrong = _content_type_fault(request)
            if wrong:
                return self._bad(wrong)
        # Before credentials exist, anybody may set them.
        open_to_all = request.path == "/api/password" and not self._credentials.exist
        refusal = None if open_to_all else self._refusal(request)
        refusal = refusal or self._foreign_site(request)
        if refusal is not None:
            return refusal
        try:
            return endpoint(request)
        except BadRequest as error:
            self._journal.warning(f"{request.path}: {error}")
            return self._bad(str(error))

    @staticmethod
    def _bad(reason: str) -> Response:
        return json_response({"status_code": 400, "status": False, "error": reason}, 400)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to somebody who may not come in; None lets in."""
        if not self._address_allowed(request.remote):
            self._journal.info(f"Web UI: [{request.remote}] -- denied")
            return Response(status=403)
        if not self._credentials.exist:
            self._journal.info(f"Web UI: [{request.remote}] -- not authorized")
            return Response(status=307, headers={"Location": "/welcome"})
        username, password = _basic(request)
        if password and self._credentials.match(username, password):
            return None
        self._journal.info(f"Web UI: [{request.remote}] -- not authorized")
        challenge = 'Basic realm="Sunshine Gamestream Host", charset="UTF-8"'
        return json_response(
            {"status_code": 401, "status": False, "error": "Unauthorized"},
            401,
            {"WWW-Authenticate": challenge},
        )

    def _address_allowed(self, remote: str) -> bool:
        address = ipaddress.ip_address(remote)
        match self._config.origin_web_ui_allowed:
            case "pc":
                return address.is_loopback
            case "lan":
                return address.is_private or address.is_link_local
            case _:
                return True

    def _foreign_site(self, request: Request) -> Response | None:
        """Refuse what another site's page made a browser send, unless it holds a token of ours."""
        sources = [request.headers.get("Origin"), request.headers.get("Referer")]
        given = [source for source in sources if source is not None]
        for source in given:
            for origin in self._origins:
                rest = source.removeprefix(origin) if source.startswith(origin) else "."
                if not rest or rest[0] in ":/":
                    return None
        if not given:
            return None
        shown = request.headers.get("X-CSRF-Token") or request.query.get("csrf_token")
        if shown is None:
            self._journal.error(
                f"Web UI: [{request.remote}] -- CSRF protection blocked request "
                f"from origin: {given[0]}"
            )
            return self._bad("Missing CSRF token")
        token, until = self._tokens.get(_basic(request)[0] or request.remote, ("", 0.0))
        if not token or token != shown:
            return self._bad("Invalid CSRF token")
        return None if time.monotonic() < until else self._bad("CSRF token expired")

    def _page(self, _request: Request) -> Response:
        page = b"<!doctype html><title>Stand-in</title><p>This is a stand-in for Sunshine.</p>\n"
        return Response(page, content_type="text/html; charset=utf-8")

    def _apps(self, _request: Request) -> Response:
        try:
            content = json.loads(self._config.file_apps.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._journal.warning(f"GetApps: {error}")
            return self._bad(str(error))
        return json_response(content)

    def _save_app(self, request: Request) -> Response:
        entry = _body(request)
        index = entry.pop("index", -1)
        try:
            content = json.loads(self._config.file_apps.read_text(encoding="utf-8"))
            apps: list[Any] = content["apps"]
            if index == -1:
                apps.append(entry)
            else:
                apps[index] = entry
            text = json.dumps(content, indent=4, ensure_ascii=False)
            self._config.file_apps.write_text(text + "\n", encoding="utf-8")
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise BadRequest(str(error)) from error
        self._runner.reload()
        return json_response({"status": True})

    def _close_app(self, _request: Request) -> Response:
        self._runner.terminate()
        self._streams.end_if_app_gone()
        return json_response({"status": True})

    def _clients(self, _request: Request) -> Response:
        listed = [
            {"name": client.name, "uuid": client.uuid, "enabled": client.enabled}
            for client in self._state.clients()
        ]
        return json_response({"named_certs": listed, "status": True})

    def _unpair(self, request: Request) -> Response:
        removed = self._state.remove(_text(_body(request), "uuid"))
        if removed and not self._state.clients():
            self._runner.terminate()
            self._streams.end_if_app_gone()
        return json_response({"status": removed})

    def _unpair_all(self, _request: Request) -> Response:
        self._state.clear()
        self._runner.terminate()
        self._streams.end_if_app_gone()
        return json_response({"status": True})

    def _update_client(self, request: Request) -> Response:
        content = _body(request)
        enabled = content.get("enabled", True)
        if not isinstance(enabled, bool):
            raise BadRequest("type must be boolean, but enabled is not")
        known = self._state.enable(_text(content, "uuid"), enabled=enabled)
        if known and not enabled:
            self._streams.end_all()
            self._runner.terminate()
        return json_response({"status": known})

    def _configuration(self, _request: Request) -> Response:
        return json_response({"status": True, "platform": "linux", "version": VERSION})

    def _token(self, request: Request) -> Response:
        token = secrets.token_urlsafe(24)
        self._tokens[_basic(request)[0]] = (token, time.monotonic() + TOKEN_VALID_S)
        return json_response({"status": True, "csrf_token": token})

    def _logs(self, _request: Request) -> Response:
        try:
            content = self._config.log_path.read_bytes()
        except OSError:
            content = b""
        return Response(content)

    def _password(self, request: Request) -> Response:
        content = _body(request)
        current = _text(content, "currentUsername")
        username = _text(content, "newUsername") or current
        password = _text(content, "newPassword")
        if not username:
            raise BadRequest("Invalid Username")
        known = self._credentials.exist
        if known and not self._credentials.match(current, _text(content, "currentPassword")):
            raise BadRequest("Invalid Current Credentials")
        if not password or password != _text(content, "confirmNewPassword"):
            raise BadRequest("Password Mismatch")
        self._credentials.save(username, password)
        return json_response({"status": True})

    def _pin(self, request: Request) -> Response:
        content = _body(request)
        name, pin = _text(content, "name"), _text(content, "pin")
        try:
            number = int(pin)
        except ValueError as error:
            raise BadRequest("stoi") from error
        if number not in PIN_RANGE:
            raise BadRequest("PIN must be between 0000 and 9999")
        return json_response({"status": self._pairing.enter_pin(pin, name)})


def _content_type_fault(request: Request) -> str | None:
    given = request.headers.get("Content-Type")
    if given is None:
        return "Content type not provided"
    kind = given.split(";", 1)[0].strip().lower()
    return None if kind == "application/json" else "Content type mismatch"


def _basic(request: Request) -> tuple[str, str]:
    """Return user name and password of basic authentication, both empty when there is none."""
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if kind != "Basic":
        return "", ""
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    username, _, password = decoded.partition(":")
    return username, password

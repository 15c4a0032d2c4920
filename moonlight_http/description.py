"""The API's own description, by OpenAPI 3.1, served at ``/api/moonlight/openapi.json``.

Paths are written here by hand; what a session is made of is read off ``Session``, so that the two
cannot differ. tests/integration/test_openapi.py holds it against the routes and the answers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import falcon

from moonlight_core.models import INTERNAL_FIELDS, PairingStatus, Session, Status
from moonlight_core.options import OPTIONS, Option
from moonlight_core.session_log import MOST_LINES
from moonlight_http.openapi import Codes, Schema, many, operation, parameter, record, reference
from moonlight_http.views import DEFAULT_LINES
from moonlight_http.waiting import DEFAULT_WAIT_S, LONGEST_WAIT_S

if TYPE_CHECKING:
    from moonlight_core import Settings

_TYPES: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "tuple[str, ...]": {"type": "array", "items": {"type": "string"}},
    "Status": {"enum": [str(status) for status in Status]},
    "dt.datetime": {"type": "string", "format": "date-time"},
    "Connect": {"$ref": "#/components/schemas/Connect"},
}
_IDENTITY: Codes = {
    401: ("not_identified", "invalid_token"),
    403: ("untrusted_proxy", "user_not_allowed"),
}
_CHANGE: Codes = {403: ("cross_site",), 413: ("body_too_large",)}
_BODY: Codes = {
    400: ("malformed_json",),
    415: ("unsupported_media_type",),
    422: ("invalid_value", "unknown_field"),
}
_STORE: Codes = {503: ("store_unavailable", "identity_unavailable", "audit_unavailable")}
_SESSION: Codes = {404: ("session_not_found",)}
_PARAMETER: Codes = {400: ("malformed_parameter",)}
_DESKTOP: Codes = {
    409: ("session_not_running",),
    502: ("sunshine_unusable",),
    503: ("sunshine_unreachable", "busy"),
}


class Description:
    """``/api/moonlight/openapi.json``: what this is, for programs; for everybody."""

    public = True

    def __init__(self, settings: Settings, prefix: str) -> None:
        self._text = json.dumps(describe(settings, prefix), ensure_ascii=False).encode()

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """The description."""
        resp.data = self._text
        resp.content_type = falcon.MEDIA_JSON


def describe(settings: Settings, prefix: str) -> Schema:
    """The description.

    Args:
        settings: the settings in force: they say how callers are known.
        prefix: what all paths begin with.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Moonlight on Slurm",
            "version": "1",
            "description": "GPU desktops on an HPC cluster: Slurm jobs, streamed by Sunshine to "
            "any Moonlight client.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"caller": []}],
        "paths": {
            "/health": _health("getHealthAtTheRoot"),
            f"{prefix}/health": _health("getHealth"),
            "/metrics": _metrics(),
            f"{prefix}/openapi.json": {
                "get": operation("getDescription", "This description", {200: {"type": "object"}})
                | {"security": []}
            },
            f"{prefix}/images": _images(),
            f"{prefix}/sessions": _sessions(),
            f"{prefix}/sessions/{{session_id}}": _session(),
            f"{prefix}/sessions/{{session_id}}/pair": _pair(),
            f"{prefix}/sessions/{{session_id}}/clients": _clients(),
            f"{prefix}/sessions/{{session_id}}/clients/{{uuid}}": _client(),
            f"{prefix}/sessions/{{session_id}}/credentials": _credentials(),
            f"{prefix}/sessions/{{session_id}}/log": _log(),
            f"{prefix}/sessions/{{session_id}}/screenshot": _screenshot(),
        },
        "components": {
            "schemas": _schemas(),
            "parameters": {
                "session_id": parameter("session_id", "path", {"type": "string"}),
                "uuid": parameter("uuid", "path", {"type": "string"}),
            },
            "securitySchemes": {"caller": _security(settings)},
        },
    }


def _security(settings: Settings) -> Schema:
    if settings.service.identity == "jwt":
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {"type": "apiKey", "in": "header", "name": settings.service.user_header}


def _metrics() -> Schema:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "get": {
            "operationId": "getMetrics",
            "summary": "What the service counts, for Prometheus",
            "responses": {"200": {"description": "OK", "content": text}},
            "security": [],
        }
    }


def _health(name: str) -> Schema:
    health = record(
        status={"enum": ["ok", "degraded"]},
        service={"const": "moonlight_backend"},
        port={"type": "integer"},
        checks=record(redis={"type": "string"}, slurm={"type": "string"}),
    )
    return {"get": operation(name, "Whether the service works", {200: health}) | {"security": []}}


def _images() -> Schema:
    image = record(
        id={"type": "string"},
        name={"type": "string"},
        description={"type": "string"},
        icon={"type": "string"},
        default={"type": "boolean"},
        available={"type": "boolean"},
        options={
            "type": "object",
            "description": "What a request may choose, by name",
            "additionalProperties": {
                "type": "object",
                "required": ["default"],
                "properties": {
                    "default": {},
                    "values": many({"type": "string"}),
                    "least": {"type": "integer"},
                    "most": {"type": "integer"},
                },
            },
        },
    )
    return {
        "get": operation(
            "listImages", "What can be asked for", {200: record(images=many(image))}, _IDENTITY
        )
    }


def _option(option: Option) -> Schema:
    known: Schema = {"description": option.meaning}
    if option.words:
        return known | {"enum": [*option.words, None]}
    kinds: dict[type, Schema] = {
        int: {"type": ["integer", "null"], "minimum": 1},
        bool: {"type": ["boolean", "null"]},
        tuple: {"type": ["array", "null"], "items": {"type": "string"}},
    }
    return known | kinds.get(option.kind, {"type": ["string", "null"]})


def _sessions() -> Schema:
    sizes = ("cpus", "memory_gb", "gpus", "hours", "width", "height", "fps", "idle_minutes")
    wanted = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"image_id": {"type": ["string", "null"]}}
        | {
            name: {
                "type": ["integer", "null"],
                "minimum": 0 if name in ("gpus", "idle_minutes") else 1,
            }
            for name in sizes
        }
        | {name: _option(option) for name, option in OPTIONS.items()},
    }
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
    return {
        "get": operation(
            "listSessions",
            "The caller's sessions, the newest first; with all, for administrators, everybody's",
            {200: record(sessions=many(reference("Session")))},
            _IDENTITY | {403: (*_IDENTITY[403], "not_administrator")},
            _PARAMETER,
            _STORE,
        )
        | {"parameters": [parameter("all", "query", {"type": "boolean"})]},
        "post": operation(
            "createSession",
            "Ask for a session; what is not said is the image's default",
            {201: reference("Session")},
            _IDENTITY,
            _CHANGE,
            _BODY,
            _STORE,
            {
                403: ("not_permitted",),
                409: ("image_unavailable",),
                422: ("image_not_found", "submit_rejected"),
                429: ("quota_exceeded",),
                503: ("slurm_unavailable",),
            },
        )
        | {
            "parameters": [parameter("Idempotency-Key", "header", key)],
            "requestBody": {"content": {"application/json": {"schema": wanted}}},
        },
    }


def _session() -> Schema:
    timeout = {
        "type": "integer",
        "minimum": 0,
        "maximum": LONGEST_WAIT_S,
        "default": DEFAULT_WAIT_S,
    }
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": operation(
            "getSession",
            "The session; with wait when it has got there, or after timeout seconds",
            {200: reference("Session")},
            _IDENTITY,
            _PARAMETER,
            _SESSION,
            _STORE,
            {503: ("busy",)},
        )
        | {
            "parameters": [
                parameter("wait", "query", {"enum": ["running", "ended"]}),
                parameter("timeout", "query", timeout),
            ]
        },
        "delete": operation(
            "endSession",
            "End the session; again: the same answer",
            {200: reference("Session")},
            _IDENTITY,
            _CHANGE,
            _SESSION,
            _STORE,
        ),
    }


def _pair() -> Schema:
    wanted = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "pin": {"type": ["string", "null"], "pattern": "^[0-9]{4}$"},
            "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 64},
        },
    }
    waiting = record(
        status={"const": "waiting"},
        pin={"type": "string"},
        address={"type": "string"},
        command={"type": "string"},
        expires_in_s={"type": "number"},
    )
    client = {"anyOf": [reference("Client"), {"type": "null"}]}
    last = record(
        status={"enum": [str(status) for status in PairingStatus]},
        client=client,
        error={"type": ["string", "null"]},
    )
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": operation(
            "getPairing", "How the last pairing goes or went", {200: last}, _IDENTITY, _SESSION,
            _STORE,
        ),
        "post": operation(
            "pair",
            "Pair the client that shows this PIN; without one, draw a PIN for the client",
            {200: record(status={"const": "paired"}, client=client), 202: waiting},
            _IDENTITY,
            _CHANGE,
            _BODY,
            _SESSION,
            _DESKTOP,
            {
                409: (*_DESKTOP[409], "no_client_waiting", "pairing_under_way"),
                422: (*_BODY[422], "wrong_pin"),
                429: ("too_many_pins",),
                503: (*_DESKTOP[503], *_STORE[503], "service_stopping"),
            },
        )
        | {"requestBody": {"content": {"application/json": {"schema": wanted}}}},
    }  # fmt: skip


def _clients() -> Schema:
    client = record(name={"type": "string"}, uuid={"type": "string"}, enabled={"type": "boolean"})
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": operation(
            "listClients", "The paired clients", {200: record(clients=many(client))}, _IDENTITY,
            _SESSION, _DESKTOP, _STORE,
        ),
    }  # fmt: skip


def _client() -> Schema:
    return {
        "parameters": [
            {"$ref": "#/components/parameters/session_id"},
            {"$ref": "#/components/parameters/uuid"},
        ],
        "delete": operation(
            "removeClient", "Forget a paired client", {200: record(removed=reference("Client"))},
            _IDENTITY, _CHANGE, _DESKTOP, _STORE, {404: (*_SESSION[404], "client_not_found")},
        ),
    }  # fmt: skip


def _credentials() -> Schema:
    text = {"type": "string"}
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": operation(
            "getCredentials", "The way into Sunshine's web interface, for the owner",
            {200: record(url=text, username=text, password=text)},
            _IDENTITY | {403: (*_IDENTITY[403], "disabled")}, _SESSION,
            {409: ("session_not_running",)}, _STORE,
        ),
    }  # fmt: skip


def _log() -> Schema:
    log = record(
        session_id={"type": "string"},
        lines=many({"type": "string"}),
        complete={"type": "boolean"},
        size_bytes={"type": "integer"},
        path={"type": "string"},
    )
    tail = {"type": "integer", "minimum": 1, "maximum": MOST_LINES, "default": DEFAULT_LINES}
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": operation(
            "getLog", "The last lines of what the session's job printed", {200: log}, _IDENTITY,
            _PARAMETER, {404: (*_SESSION[404], "log_not_found")}, _STORE,
            {502: ("file_unreadable",), 503: ("busy",)},
        )
        | {"parameters": [parameter("tail", "query", tail)]},
    }  # fmt: skip


def _screenshot() -> Schema:
    described = operation(
        "getScreenshot", "A picture of the desktop, a few seconds old at most", {}, _IDENTITY,
        {
            403: ("disabled",),
            409: ("session_not_running", "screenshot_unavailable"),
            429: ("too_many_screenshots",),
            502: ("screenshot_failed", "file_unreadable"),
            503: ("busy", "slurm_unavailable"),
        }, _SESSION, _STORE,
    )  # fmt: skip
    described["responses"]["200"] = {"description": "OK", "content": {falcon.MEDIA_PNG: {}}}
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": described,
    }


def _schemas() -> dict[str, Schema]:
    session = {
        field.name: _schema_of(str(field.type))
        for field in attrs.fields(Session)
        if field.name not in INTERNAL_FIELDS
    }
    text, number = {"type": "string"}, {"type": "integer"}
    return {
        "Session": record(**session, percent={"type": ["integer", "null"]}),
        "Connect": record(host=text, port=number, address=text, command=text),
        "Client": record(name=text, uuid=text),
        "Error": {
            "type": "object",
            "required": ["error", "code"],
            "properties": {
                "error": {"type": "string", "description": "a sentence a person can act on"},
                "code": {"type": "string", "description": "a stable word"},
                "field": {"type": "string"},
                "limit": {"type": "integer"},
                "current": {"type": "integer"},
                "quota": {"enum": ["user", "total", "per_minute"]},
                "address": {"type": "string"},
                "request_id": {"type": "string"},
            },
        },
    }


def _schema_of(declared: str) -> Schema:
    """The schema of a field of a record, by its annotation."""
    name, _, optional = declared.partition(" | ")
    schema = _TYPES[name]
    return {"anyOf": [schema, {"type": "null"}]} if optional else schema

"""Asking for sessions, finding, awaiting and ending them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_core.options import OPTIONS, Option
from moonlight_http.description.codes import BODY, CHANGE, IDENTITY, PARAMETER, SESSION, STORE
from moonlight_http.description.pieces import many, operation, parameter, record, reference
from moonlight_http.waiting import DEFAULT_WAIT_S, LONGEST_WAIT_S

if TYPE_CHECKING:
    from moonlight_http.description.pieces import Schema


def sessions() -> Schema:
    """``/sessions``."""
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
            IDENTITY | {403: (*IDENTITY[403], "not_administrator")},
            PARAMETER,
            STORE,
        )
        | {"parameters": [parameter("all", "query", {"type": "boolean"})]},
        "post": operation(
            "createSession",
            "Ask for a session; what is not said is the image's default",
            {201: reference("Session")},
            IDENTITY,
            CHANGE,
            BODY,
            STORE,
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


def session() -> Schema:
    """``/sessions/{session_id}``."""
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
            IDENTITY,
            PARAMETER,
            SESSION,
            STORE,
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
            IDENTITY,
            CHANGE,
            SESSION,
            STORE,
        ),
    }

"""A session's log and the picture of its desktop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import falcon

from moonlight_core.session_log import MOST_LINES
from moonlight_http.description.codes import IDENTITY, PARAMETER, SESSION, STORE
from moonlight_http.description.pieces import many, operation, parameter, record
from moonlight_http.views import DEFAULT_LINES

if TYPE_CHECKING:
    from moonlight_http.description.pieces import Schema


def log() -> Schema:
    """``…/log``."""
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
            "getLog", "The last lines of what the session's job printed", {200: log}, IDENTITY,
            PARAMETER, {404: (*SESSION[404], "log_not_found")}, STORE,
            {502: ("file_unreadable",), 503: ("busy",)},
        )
        | {"parameters": [parameter("tail", "query", tail)]},
    }  # fmt: skip


def screenshot() -> Schema:
    """``…/screenshot``."""
    described = operation(
        "getScreenshot", "A picture of the desktop, a few seconds old at most", {}, IDENTITY,
        {
            403: ("disabled",),
            409: ("session_not_running", "screenshot_unavailable"),
            429: ("too_many_screenshots",),
            502: ("screenshot_failed", "file_unreadable"),
            503: ("busy", "slurm_unavailable"),
        }, SESSION, STORE,
    )  # fmt: skip
    described["responses"]["200"] = {"description": "OK", "content": {falcon.MEDIA_PNG: {}}}
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": described,
    }

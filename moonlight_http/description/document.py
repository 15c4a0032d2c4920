"""The whole description, and the resource that shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import falcon

from moonlight_http.description import desktops, schemas, service, sessions, views
from moonlight_http.description.pieces import operation, parameter

if TYPE_CHECKING:
    from moonlight_core import Settings
    from moonlight_http.description.pieces import Schema


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
            "/health": service.health("getHealthAtTheRoot"),
            f"{prefix}/health": service.health("getHealth"),
            "/metrics": service.metrics(),
            f"{prefix}/openapi.json": {
                "get": operation("getDescription", "This description", {200: {"type": "object"}})
                | {"security": []}
            },
            f"{prefix}/images": service.images(),
            f"{prefix}/sessions": sessions.sessions(),
            f"{prefix}/sessions/{{session_id}}": sessions.session(),
            f"{prefix}/sessions/{{session_id}}/pair": desktops.pair(),
            f"{prefix}/sessions/{{session_id}}/clients": desktops.clients(),
            f"{prefix}/sessions/{{session_id}}/clients/{{uuid}}": desktops.client(),
            f"{prefix}/sessions/{{session_id}}/credentials": desktops.credentials(),
            f"{prefix}/sessions/{{session_id}}/log": views.log(),
            f"{prefix}/sessions/{{session_id}}/screenshot": views.screenshot(),
        },
        "components": {
            "schemas": schemas.schemas(),
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

"""The resources that show a session to its owner: its log, and a picture of its desktop.

What is on a desktop is its owner's: administrators see it only where the site says so.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import falcon

from moonlight_core.session_log import MOST_LINES
from moonlight_http.identity import scope
from moonlight_http.requests import whole_number

if TYPE_CHECKING:
    from moonlight_core import SessionManager
    from moonlight_http.pairings import Gate

DEFAULT_LINES = 200


class Log:
    """``/api/moonlight/sessions/{id}/log``: what its job has printed."""

    def __init__(self, manager: SessionManager, gate: Gate) -> None:
        self._manager = manager
        self._gate = gate

    def on_get(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """The last ``tail`` lines."""
        tail = whole_number(req, "tail", least=1, most=MOST_LINES) or DEFAULT_LINES
        # A file server may hang.
        with self._gate.enter(req.context.caller.name):
            log = self._manager.log(session_id, tail=tail, user=_looker(req, self._manager))
        resp.cache_control = ["no-store"]
        resp.media = {
            "session_id": session_id,
            "lines": log.lines,
            "complete": log.complete,
            "size_bytes": log.size_bytes,
            "path": log.path,
        }


class Screenshot:
    """``/api/moonlight/sessions/{id}/screenshot``: a picture of its desktop."""

    def __init__(self, manager: SessionManager, gate: Gate) -> None:
        self._manager = manager
        self._gate = gate

    def on_get(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """A PNG, a few seconds old at most."""
        with self._gate.enter(req.context.caller.name):
            picture = self._manager.screenshot(session_id, user=_looker(req, self._manager))
        age_s = (dt.datetime.now(dt.UTC) - picture.taken_at).total_seconds()
        left_s = max(0, int(self._manager.settings.service.screenshot_every_s - age_s))
        resp.content_type = falcon.MEDIA_PNG
        resp.cache_control = ["private", f"max-age={left_s}"]
        resp.last_modified = picture.taken_at
        resp.data = picture.data


def _looker(req: falcon.Request, manager: SessionManager) -> str | None:
    """Whose desktops the caller may look at: None for everybody's."""
    if manager.settings.service.administrators_look:
        return scope(req)
    name: str = req.context.caller.name
    return name

"""The resources: each method reads a request, makes one core call and writes the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import falcon

from moonlight_core.models import REQUEST_FIELDS
from moonlight_core.options import offers
from moonlight_http.errors import Refusal
from moonlight_http.identity import scope
from moonlight_http.requests import choice, flag, json_object, whole_number
from moonlight_http.waiting import DEFAULT_WAIT_S, LONGEST_WAIT_S

if TYPE_CHECKING:
    from moonlight_core import SessionManager
    from moonlight_http.encoding import SessionTexts
    from moonlight_http.identity import Caller
    from moonlight_http.waiting import Waiters

_TOLD = ("ok", "not asked yet")


class Health:
    """``/health``: whether the service works; for everybody, and without asking slurmctld."""

    public = True

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200 always: a service that answers is up; ``status`` tells how well."""
        checks = self._manager.check()
        healthy = all(state == "ok" for state in checks.values())
        # Anybody may ask: the addresses and files that the sentences name are in the log.
        checks = {
            name: state if state in _TOLD else f"{name} does not work as it should"
            for name, state in checks.items()
        }
        resp.media = {
            "status": "ok" if healthy else "degraded",
            "service": "moonlight_backend",
            "port": self._manager.settings.service.port,
            "checks": checks,
        }


class Images:
    """``/api/moonlight/images``: what can be asked for."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The catalogue, with what is available to the caller."""
        available = self._manager.available_images(req.context.caller.name)
        resp.media = {
            "images": [
                {
                    "id": image.id,
                    "name": image.name,
                    "description": image.description,
                    "icon": image.icon,
                    "default": image.default,
                    "available": image.id in available,
                    "options": offers(image, self._manager.settings.sessions),
                }
                for image in self._manager.images()
            ]
        }


class Sessions:
    """``/api/moonlight/sessions``: the caller's sessions."""

    def __init__(self, manager: SessionManager, texts: SessionTexts) -> None:
        self._manager = manager
        self._texts = texts

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The caller's sessions, or with ``?all=true`` everybody's, for administrators."""
        caller: Caller = req.context.caller
        everybody = flag(req, "all")
        if everybody and not caller.administrator:
            raise Refusal(
                falcon.HTTP_403, "not_administrator", "Only administrators see all sessions."
            )
        sessions = self._manager.list(user=None if everybody else caller.name)
        resp.set_stream(*self._texts.many(sessions))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ask for a session; with an ``Idempotency-Key`` that was used before, for that one."""
        wanted: dict[str, Any] = json_object(req, REQUEST_FIELDS)
        session = self._manager.create(
            req.context.caller.name, idempotency_key=req.get_header("Idempotency-Key"), **wanted
        )
        resp.status = falcon.HTTP_201
        resp.location = f"{req.path}/{session.session_id}"
        resp.media = session.to_json()


class SessionById:
    """``/api/moonlight/sessions/{id}``: one session."""

    def __init__(self, manager: SessionManager, texts: SessionTexts, waiters: Waiters) -> None:
        self._manager = manager
        self._texts = texts
        self._waiters = waiters

    def on_get(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """The session; with ``wait`` when it has got there, or when ``timeout`` is over."""
        awaited = choice(req, "wait", ("running", "ended"))
        timeout_s = whole_number(req, "timeout", least=0, most=LONGEST_WAIT_S)
        if awaited is None:
            session = self._manager.get(session_id, user=scope(req))
        else:
            timeout_s = DEFAULT_WAIT_S if timeout_s is None else timeout_s
            session = self._waiters.wait(req, session_id, awaited, timeout_s)
        resp.data = self._texts.one(session)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """End the session; for one that ends or has ended the answer is the same."""
        resp.media = self._manager.delete(session_id, user=scope(req)).to_json()

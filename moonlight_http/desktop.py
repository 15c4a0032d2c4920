"""The resources of a desktop that runs: pairing, clients, credentials.

Whoever is paired sees the desktop, so pairing and credentials are for its owner alone, and not for
administrators; these see which clients there are, and can remove them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import falcon

from moonlight_core.pairing import DEFAULT_NAME
from moonlight_http.identity import scope
from moonlight_http.requests import json_object

if TYPE_CHECKING:
    from moonlight_core import PairedClient, SessionManager
    from moonlight_http.identity import Caller
    from moonlight_http.pairings import Gate, Pairings


class Pair:
    """``/api/moonlight/sessions/{id}/pair``: a Moonlight client and its PIN."""

    def __init__(self, manager: SessionManager, pairings: Pairings, gate: Gate) -> None:
        self._manager = manager
        self._pairings = pairings
        self._gate = gate

    def on_get(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """How the last pairing goes or went."""
        pairing = self._manager.pairing(session_id, user=scope(req))
        resp.media = {
            "status": pairing.status,
            "client": _shown(pairing.client) if pairing.client else None,
            "error": pairing.error,
        }

    def on_post(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """Pair the client that shows this PIN; without one, draw a PIN for the client."""
        caller: Caller = req.context.caller
        wanted = json_object(req, ("pin", "name"))
        name = DEFAULT_NAME if wanted.get("name") is None else wanted["name"]
        if wanted.get("pin") is None:
            self._offer(resp, session_id, name, caller)
            return
        with self._gate.enter(caller.name):
            pairing = self._manager.pair(
                session_id, pin=wanted["pin"], name=name, user=caller.name, stop=self._pairings.stop
            )
        resp.media = {
            "status": pairing.status,
            "client": _shown(pairing.client) if pairing.client else None,
        }

    def _offer(self, resp: falcon.Response, session_id: str, name: Any, caller: Caller) -> None:
        attempt = self._pairings.start(
            lambda: self._manager.begin_pairing(session_id, name=name, user=caller.name)
        )
        resp.status = falcon.HTTP_202
        resp.cache_control = ["no-store"]
        resp.media = {
            "status": "waiting",
            "pin": attempt.offer.pin,
            "address": attempt.offer.address,
            "command": attempt.offer.command,
            "expires_in_s": attempt.offer.expires_in_s,
        }


class Clients:
    """``/api/moonlight/sessions/{id}/clients``: the paired clients."""

    def __init__(self, manager: SessionManager, gate: Gate) -> None:
        self._manager = manager
        self._gate = gate

    def on_get(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """All of them."""
        with self._gate.enter(req.context.caller.name):
            clients = self._manager.clients(session_id, user=scope(req))
        resp.media = {
            "clients": [_shown(client) | {"enabled": client.enabled} for client in clients]
        }


class ClientById:
    """``/api/moonlight/sessions/{id}/clients/{uuid}``: one paired client."""

    def __init__(self, manager: SessionManager, gate: Gate) -> None:
        self._manager = manager
        self._gate = gate

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, session_id: str, uuid: str
    ) -> None:
        """Forget it: it has to be paired again."""
        with self._gate.enter(req.context.caller.name):
            client = self._manager.unpair(session_id, uuid, user=scope(req))
        resp.media = {"removed": _shown(client)}


class Credentials:
    """``/api/moonlight/sessions/{id}/credentials``: the way into Sunshine's web interface."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def on_get(self, req: falcon.Request, resp: falcon.Response, session_id: str) -> None:
        """Address, user and password, for the owner."""
        credentials = self._manager.credentials(session_id, user=req.context.caller.name)
        resp.cache_control = ["no-store"]
        resp.media = {
            "url": credentials.url,
            "username": credentials.username,
            "password": credentials.password.reveal(),
        }


def _shown(client: PairedClient) -> dict[str, Any]:
    return {"name": client.name, "uuid": client.uuid}

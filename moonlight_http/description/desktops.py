"""Pairing with a session's Sunshine, its clients, the way into its web interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_core.models import PairingStatus
from moonlight_http.description.codes import BODY, CHANGE, DESKTOP, IDENTITY, SESSION, STORE
from moonlight_http.description.pieces import many, operation, record, reference

if TYPE_CHECKING:
    from moonlight_http.description.pieces import Schema


def pair() -> Schema:
    """``…/pair``."""
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
            "getPairing", "How the last pairing goes or went", {200: last}, IDENTITY, SESSION,
            STORE,
        ),
        "post": operation(
            "pair",
            "Pair the client that shows this PIN; without one, draw a PIN for the client",
            {200: record(status={"const": "paired"}, client=client), 202: waiting},
            IDENTITY,
            CHANGE,
            BODY,
            SESSION,
            DESKTOP,
            {
                409: (*DESKTOP[409], "no_client_waiting", "pairing_under_way"),
                422: (*BODY[422], "wrong_pin"),
                429: ("too_many_pins",),
                503: (*DESKTOP[503], *STORE[503], "service_stopping"),
            },
        )
        | {"requestBody": {"content": {"application/json": {"schema": wanted}}}},
    }  # fmt: skip


def clients() -> Schema:
    """``…/clients``."""
    client = record(name={"type": "string"}, uuid={"type": "string"}, enabled={"type": "boolean"})
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": operation(
            "listClients", "The paired clients", {200: record(clients=many(client))}, IDENTITY,
            SESSION, DESKTOP, STORE,
        ),
    }  # fmt: skip


def client() -> Schema:
    """``…/clients/{uuid}``."""
    return {
        "parameters": [
            {"$ref": "#/components/parameters/session_id"},
            {"$ref": "#/components/parameters/uuid"},
        ],
        "delete": operation(
            "removeClient", "Forget a paired client", {200: record(removed=reference("Client"))},
            IDENTITY, CHANGE, DESKTOP, STORE, {404: (*SESSION[404], "client_not_found")},
        ),
    }  # fmt: skip


def credentials() -> Schema:
    """``…/credentials``."""
    text = {"type": "string"}
    return {
        "parameters": [{"$ref": "#/components/parameters/session_id"}],
        "get": operation(
            "getCredentials", "The way into Sunshine's web interface, for the owner",
            {200: record(url=text, username=text, password=text)},
            IDENTITY | {403: (*IDENTITY[403], "disabled")}, SESSION,
            {409: ("session_not_running",)}, STORE,
        ),
    }  # fmt: skip

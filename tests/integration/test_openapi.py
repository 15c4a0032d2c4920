"""The description agrees with the service: its routes, its methods, and every answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import falcon.inspect
import pytest
from jsonschema import Draft202012Validator
from live import SESSIONS, Live
from openapi_spec_validator import OpenAPIV31SpecValidator

from moonlight_http import create_app
from moonlight_http.app import PREFIX
from moonlight_http.description import describe
from moonlight_http.errors import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from desktop import Desktop

PLACE = f"{PREFIX}/openapi.json"


@pytest.fixture
def described(live: Live) -> dict[str, Any]:
    """The description as it is served, to anybody."""
    status, headers, document = live.ask("GET", PLACE)
    assert (status, headers["content-type"]) == (200, "application/json")
    return dict(document)


def check(document: dict[str, Any], method: str, path: str, status: int, answer: Any) -> None:
    """An answer must be one that the description has for this operation."""
    responses = document["paths"][path][method.lower()]["responses"]
    assert str(status) in responses, (method, path, status, answer)
    kind = "text/plain" if isinstance(answer, str) else "application/json"
    schema = responses[str(status)]["content"][kind]["schema"]
    Draft202012Validator(schema | {"components": document["components"]}).validate(answer)


def test_it_is_openapi(described: dict[str, Any]) -> None:
    """3.1, by the specification's own schema."""
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1")


def test_routes_and_methods_are_those_of_the_service(live: Live, described: dict[str, Any]) -> None:
    """All of them, and no other."""
    routes = {
        route.path: {method.method.lower() for method in route.methods if not method.internal}
        for route in falcon.inspect.inspect_routes(create_app(live.manager))
    }
    methods = {
        path: set(item) & {"get", "put", "post", "delete", "patch", "head", "options"}
        for path, item in described["paths"].items()
    }
    assert methods == routes
    names = [
        operation["operationId"]
        for item in described["paths"].values()
        for operation in item.values()
        if "operationId" in operation
    ]
    assert len(names) == len(set(names))


def test_every_code_of_an_error_is_described(described: dict[str, Any]) -> None:
    """A program that knows the description knows them all."""
    text = json.dumps(described)
    for _, code in TABLE.values():
        assert f'"{code}"' in text or code in ("internal_error", "bad_request"), code


def test_callers_are_known_as_the_settings_say(live: Live, described: dict[str, Any]) -> None:
    """The header, or a token."""
    scheme = described["components"]["securitySchemes"]["caller"]
    assert scheme == {"type": "apiKey", "in": "header", "name": "X-Remote-User"}
    for path, item in described["paths"].items():
        for method in set(item) & {"get", "post", "delete"}:
            address = path.replace("{session_id}", "x").replace("{uuid}", "x")
            status, _, answer = live.ask(method.upper(), address)
            public = item[method].get("security") == []
            assert (status == 401) != public, path
            check(described, method, path, status, answer)


def test_answers_about_sessions(live: Live, described: dict[str, Any]) -> None:
    """Good ones and bad ones."""
    one = f"{SESSIONS}/{{session_id}}"
    status, _, made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice")
    check(described, "post", SESSIONS, status, made)
    place = f"{SESSIONS}/{made['session_id']}"
    tried: list[tuple[str, str, str, Any, str, int]] = [
        ("GET", SESSIONS, SESSIONS, None, "alice", 200),
        ("GET", SESSIONS, f"{SESSIONS}?all=true", None, "alice", 403),
        ("GET", SESSIONS, f"{SESSIONS}?all=7", None, "carol", 400),
        ("GET", f"{PREFIX}/images", f"{PREFIX}/images", None, "alice", 200),
        ("GET", one, place, None, "alice", 200),
        ("GET", one, f"{place}?wait=x", None, "alice", 400),
        ("GET", one, place, None, "bob", 404),
        ("GET", one, place, None, "root", 403),
        ("GET", f"{one}/pair", f"{place}/pair", None, "alice", 200),
        ("POST", f"{one}/pair", f"{place}/pair", {"pin": "12"}, "alice", 422),
        ("POST", f"{one}/pair", f"{place}/pair", {"pin": "1234"}, "alice", 409),
        ("GET", f"{one}/clients", f"{place}/clients", None, "alice", 409),
        ("DELETE", f"{one}/clients/{{uuid}}", f"{place}/clients/x", None, "alice", 409),
        ("GET", f"{one}/log", f"{place}/log?tail=0", None, "alice", 400),
        ("GET", f"{one}/screenshot", f"{place}/screenshot", None, "alice", 409),
        ("GET", f"{one}/screenshot", f"{place}/screenshot", None, "carol", 404),
        ("GET", f"{one}/credentials", f"{place}/credentials", None, "alice", 409),
        ("POST", SESSIONS, SESSIONS, b"{", "alice", 400),
        ("POST", SESSIONS, SESSIONS, {"gpus": 99}, "alice", 422),
        ("POST", SESSIONS, SESSIONS, {"image_id": "x"}, "alice", 422),
        ("POST", SESSIONS, SESSIONS, {"x": 1}, "alice", 422),
        ("POST", SESSIONS, SESSIONS, {"image_id": "x" * 70000}, "alice", 413),
        ("DELETE", one, place, None, "carol", 200),
    ]  # fmt: skip
    for method, path, address, body, user, expected in tried:
        status, _, answer = live.ask(method, address, body, X_Remote_User=user)
        assert status == expected, (method, address, answer)
        check(described, method, path, status, answer)
    for _ in range(4):
        status, _, answer = live.ask("POST", SESSIONS, {}, X_Remote_User="bob")
    status, _, answer = live.ask("POST", SESSIONS, {}, X_Remote_User="bob")
    assert status == 429
    check(described, "post", SESSIONS, status, answer)


def test_answers_about_a_running_desktop(make_desktop: Callable[..., Desktop]) -> None:
    """A session with everything that a session can have."""
    desktop = make_desktop()
    document = describe(desktop.manager.settings, PREFIX)
    session = json.loads(json.dumps(desktop.manager.get(desktop.id).to_json()))
    assert session["connect"] is not None
    check(document, "get", f"{SESSIONS}/{{session_id}}", 200, session)
    assert set(session) == set(document["components"]["schemas"]["Session"]["properties"])

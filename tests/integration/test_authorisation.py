"""A foreign session is as a missing one; what administrators do is written down."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import falcon.inspect
from live import SESSIONS, Live

from moonlight_core import keys
from moonlight_core.session_id import new_session_id
from moonlight_http import create_app

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    import redis

    Serve = Callable[..., contextlib.AbstractContextManager[Live]]

BODIES: dict[str, Any] = {
    "POST": {},
    "PUT": {},
    "PATCH": {},
}


def addresses(live: Live) -> list[tuple[str, str]]:
    """Every method and address below a session, as the application has them."""
    found = []
    for route in falcon.inspect.inspect_routes(create_app(live.manager)):
        if "{session_id}" in route.path:
            found += [
                (method.method, route.path) for method in route.methods if not method.internal
            ]
    assert len(found) >= 7
    return found


def seen(live: Live, method: str, path: str, session_id: str, user: str) -> tuple[Any, ...]:
    """All that an answer tells, but for the id that was asked for and the request's own number."""
    address = path.replace("{session_id}", session_id).replace("{uuid}", "x")
    status, headers, answer = live.ask(method, address, BODIES.get(method), X_Remote_User=user)
    for name in ("date", "x-request-id"):
        headers.pop(name)
    text = json.dumps(answer).replace(session_id, "ID")
    return status, sorted(headers.items()), text


def test_a_foreign_session_is_as_a_missing_one(live: Live) -> None:
    """Status, headers and words, at every address there is below a session."""
    _, _, made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice")
    session_id = made["session_id"]
    missing = new_session_id("alice")
    for method, path in addresses(live):
        foreign = seen(live, method, path, session_id, "bob")
        assert foreign == seen(live, method, path, missing, "bob"), (method, path)
        assert foreign[0] in (404, 422), (method, path, foreign)
    assert live.ask("GET", f"{SESSIONS}/{session_id}", X_Remote_User="alice")[2]["status"] == (
        "pending"
    )


def test_the_odd_ways_to_name_a_session(live: Live, redis_client: redis.Redis) -> None:
    """No other key of Redis, no other path, no pattern can be reached by an id."""
    _, _, made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice")
    session_id = made["session_id"]
    redis_client.lpush(keys.pins(session_id), 1)
    redis_client.hset(keys.pairing(session_id), "status", "paired")
    before = sorted(redis_client.scan_iter())
    for odd in (
        f"{session_id}:pins", f"{session_id}:pairing", "*", "ml-*", "..", "../sessions", "%00",
        f"{session_id}%00", f"{session_id}%0a", f"{session_id}%20", session_id.upper(),
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "ml-alice-" + "9" * 9000,
        "%F0%9F%98%80", "%C3%28", "{session_id}", "%25s%25n",
    ):  # fmt: skip
        for method in ("GET", "DELETE"):
            status, _, answer = live.ask(method, f"{SESSIONS}/{odd}", X_Remote_User="alice")
            assert status in (400, 404, 405), (odd, status, answer)
            assert len(json.dumps(answer)) < 500
    assert sorted(redis_client.scan_iter()) == before


def test_acts_of_administrators_are_written_down(serve: Serve, tmp_path: Path) -> None:
    """Who, what, whose, when, from where; a line of JSON each; nothing of people's own acts."""
    path = tmp_path / "audit.jsonl"
    with serve(service={"audit_log": str(path)}) as live:
        _, _, made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice")
        place = f"{SESSIONS}/{made['session_id']}"
        live.ask("GET", place, X_Remote_User="alice")
        live.ask("POST", SESSIONS, {}, X_Remote_User="carol")
        live.ask("GET", SESSIONS, X_Remote_User="carol")
        assert path.read_text() == ""
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        told = {"X_Real_IP": "192.0.2.7", "X_Request_Id": "proxy-0042"}
        live.ask("GET", f"{SESSIONS}?all=true", X_Remote_User="carol")
        live.ask("GET", f"{place}/clients", X_Remote_User="carol", X_Real_IP="x" * 99)
        path.rename(tmp_path / "audit.jsonl.1")  # as logrotate does
        _, headers, _ = live.ask("DELETE", place, X_Remote_User="carol", **told)
        assert headers["x-request-id"] == "proxy-0042"
    first, second = map(json.loads, (tmp_path / "audit.jsonl.1").read_text().splitlines())
    assert (first["who"], first["whose"], first["session_id"]) == ("carol", "*", None)
    assert second["what"] == f"GET {place}/clients"
    assert (second["status"], second["address"]) == (409, "127.0.0.1")
    (third,) = map(json.loads, path.read_text().splitlines())
    assert third.pop("time").endswith("Z")
    assert third == {
        "who": "carol", "what": f"DELETE {place}", "whose": "alice", "status": 200,
        "session_id": made["session_id"], "address": "192.0.2.7", "request_id": "proxy-0042",
    }  # fmt: skip


def test_what_cannot_be_written_down_is_not_done(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For administrators; people's own sessions go on."""
    path = tmp_path / "audit.jsonl"
    with serve(service={"audit_log": str(path)}) as live:
        _, _, made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice")
        place = f"{SESSIONS}/{made['session_id']}"
        path.unlink()
        (tmp_path / "precious").write_text("")
        path.symlink_to(tmp_path / "precious")
        status, _, answer = live.ask("DELETE", place, X_Remote_User="carol")
        assert (status, answer["code"]) == (503, "audit_unavailable")
        assert (tmp_path / "precious").read_text() == ""
        assert live.ask("GET", place, X_Remote_User="alice")[2]["status"] == "pending"
        assert live.ask("DELETE", place, X_Remote_User="alice")[0] == 200
        assert "audit log" in caplog.text

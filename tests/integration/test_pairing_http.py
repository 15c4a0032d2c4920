"""Pairing, clients and credentials over HTTP, with the stand-in behind."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import falcon
import pytest
from desktop import ask
from test_http import SESSIONS, Client, as_user, check_error

from moonlight_core import keys
from moonlight_http import create_app, identity
from moonlight_http.errors import Refusal
from moonlight_http.pairings import Gate, Pairings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from desktop import Desktop
    from falcon import testing

    from moonlight_core.users import User


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """The end of the service."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def pairings(stop: threading.Event) -> Iterator[Pairings]:
    """Two pairings in the background at most."""
    made = Pairings(stop, most=2)
    yield made
    stop.set()
    made.join(5)


@pytest.fixture
def client(
    desktop: Desktop,
    pairings: Pairings,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> testing.TestClient:
    """The service, with carol as the administrator."""
    monkeypatch.setattr(identity, "find_user", resolve_user)
    return Client(create_app(desktop.manager, pairings=pairings))


def pair(
    client: testing.TestClient, desktop: Desktop, user: str = "alice", **body: Any
) -> testing.Result:
    """POST …/pair."""
    path = f"{SESSIONS}/{desktop.id}/pair"
    return client.simulate_post(path, headers=as_user(user), json=body)


def get(
    client: testing.TestClient, desktop: Desktop, what: str, user: str = "alice"
) -> testing.Result:
    """GET …/what."""
    return client.simulate_get(f"{SESSIONS}/{desktop.id}/{what}", headers=as_user(user))


def wait_for_end(client: testing.TestClient, desktop: Desktop) -> dict[str, Any]:
    """What GET …/pair says when it is no longer ``waiting``."""
    deadline = time.monotonic() + 10
    while (told := get(client, desktop, "pair").json)["status"] == "waiting":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(told)


def test_pair_list_and_remove(client: testing.TestClient, desktop: Desktop) -> None:
    """The whole of it, as a dashboard would."""
    none = {"status": "none", "client": None, "error": None}
    assert get(client, desktop, "pair").json == none
    attempt = ask(desktop.client(), "0000")
    result = pair(client, desktop, pin="0000", name="laptop")
    assert attempt.wait() is None
    assert result.status == falcon.HTTP_200
    paired = result.json["client"]
    assert result.json == {"status": "paired", "client": {"name": "laptop", "uuid": paired["uuid"]}}
    assert get(client, desktop, "pair").json == result.json | {"error": None}
    assert get(client, desktop, "clients").json == {"clients": [paired | {"enabled": True}]}
    place = f"{SESSIONS}/{desktop.id}/clients/{paired['uuid']}"
    removed = client.simulate_delete(place, headers=as_user("alice"))
    assert (removed.status, removed.json) == (falcon.HTTP_200, {"removed": paired})
    again = client.simulate_delete(place, headers=as_user("alice"))
    check_error(again, falcon.HTTP_404, "client_not_found")
    assert get(client, desktop, "clients").json == {"clients": []}


def test_a_drawn_pin(
    client: testing.TestClient, desktop: Desktop, caplog: pytest.LogCaptureFixture
) -> None:
    """Answered at once, completed when the client comes; the PIN is in this one answer only."""
    caplog.set_level("DEBUG")
    result = pair(client, desktop, name="couch")
    assert result.status == falcon.HTTP_202
    assert result.headers["Cache-Control"] == "no-store"
    pin, address = result.json["pin"], result.json["address"]
    assert result.json == {
        "status": "waiting",
        "pin": pin,
        "address": f"127.0.0.1:{desktop.standin.port}",
        "command": f"moonlight pair {address} --pin {pin}",
        "expires_in_s": 120.0,
    }
    waiting = {"status": "waiting", "client": None, "error": None}
    assert get(client, desktop, "pair").json == waiting
    check_error(pair(client, desktop), falcon.HTTP_409, "pairing_under_way")
    check_error(pair(client, desktop, pin="1234"), falcon.HTTP_409, "pairing_under_way")
    seen = desktop.redis.hgetall(keys.pairing(desktop.id))
    assert seen.keys() == {"status", "token"}
    assert ask(desktop.client(), pin).wait() is None
    told = wait_for_end(client, desktop)
    assert (told["status"], told["client"]["name"]) == ("paired", "couch")
    assert f"--pin {pin}" not in caplog.text


def test_a_drawn_pin_that_the_client_was_not_given(
    client: testing.TestClient, desktop: Desktop
) -> None:
    """Progress says what went wrong."""
    pin = pair(client, desktop).json["pin"]
    attempt = ask(desktop.client(), "0001" if pin != "0001" else "0002")
    assert attempt.wait() is not None
    told = wait_for_end(client, desktop)
    assert (told["status"], told["client"]) == ("wrong_pin", None)
    assert "another PIN" in told["error"]


def test_the_end_of_the_service_ends_what_goes_on(
    client: testing.TestClient, desktop: Desktop, pairings: Pairings, stop: threading.Event
) -> None:
    """At once, and nobody is left waiting for it."""
    pair(client, desktop)
    stop.set()
    pairings.join(2)
    told = get(client, desktop, "pair").json
    assert told["status"] == "failed"
    assert "Pair again" in told["error"]
    check_error(pair(client, desktop, pin="1234"), falcon.HTTP_503, "service_stopping")


def test_what_can_go_wrong(
    client: testing.TestClient, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its own status and code."""
    monkeypatch.setattr("moonlight_core.access._PIN_GIVEN_S", 0.05)
    refused = pair(client, desktop, pin="1234")
    check_error(refused, falcon.HTTP_409, "no_client_waiting")
    assert refused.json["address"] == f"127.0.0.1:{desktop.standin.port}"
    attempt = ask(desktop.client(), "1234")
    monkeypatch.setattr("moonlight_core.access._PIN_GIVEN_S", 5)
    check_error(pair(client, desktop, pin="4321"), falcon.HTTP_422, "wrong_pin")
    attempt.wait()
    for body in ({"pin": 1234}, {"pin": "12345"}, {"pin": "1234", "name": ""}):
        refused = pair(client, desktop, **body)
        check_error(refused, falcon.HTTP_422, "invalid_value")
        assert refused.json["field"] in ("pin", "name")
    check_error(pair(client, desktop, code="1234"), falcon.HTTP_422, "unknown_field")
    desktop.report(phase="ready", cert="0" * 64)
    check_error(get(client, desktop, "clients"), falcon.HTTP_502, "sunshine_unusable")
    desktop.report(phase="ready", cert=desktop.session.cert_sha256)
    desktop.standin.process.kill()
    desktop.standin.wait_exit()
    refused = get(client, desktop, "clients")
    check_error(refused, falcon.HTTP_503, "sunshine_unreachable")
    assert int(refused.headers["Retry-After"]) > 0
    desktop.manager.delete(desktop.id)
    for result in (pair(client, desktop, pin="1234"), get(client, desktop, "credentials")):
        check_error(result, falcon.HTTP_409, "session_not_running")


def test_too_many_pins(
    client: testing.TestClient, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429, with the time to wait."""
    monkeypatch.setattr("moonlight_core.access._PIN_GIVEN_S", 1e-6)
    for _ in range(10):
        check_error(pair(client, desktop, pin="1234"), falcon.HTTP_409, "no_client_waiting")
    refused = pair(client, desktop, pin="1234")
    check_error(refused, falcon.HTTP_429, "too_many_pins")
    assert 0 < int(refused.headers["Retry-After"]) <= 60


def test_the_desktop_is_its_owners(client: testing.TestClient, desktop: Desktop) -> None:
    """An administrator may look and remove, but not get in; for others there is nothing."""
    for user in ("bob", "carol"):
        check_error(pair(client, desktop, user, pin="1234"), falcon.HTTP_404, "session_not_found")
        check_error(pair(client, desktop, user), falcon.HTTP_404, "session_not_found")
        refused = get(client, desktop, "credentials", user)
        check_error(refused, falcon.HTTP_404, "session_not_found")
        assert desktop.password not in refused.text
    check_error(get(client, desktop, "clients", "bob"), falcon.HTTP_404, "session_not_found")
    check_error(get(client, desktop, "pair", "bob"), falcon.HTTP_404, "session_not_found")
    assert get(client, desktop, "clients", "carol").json == {"clients": []}
    assert get(client, desktop, "pair", "carol").json["status"] == "none"


def test_credentials(
    client: testing.TestClient, desktop: Desktop, caplog: pytest.LogCaptureFixture
) -> None:
    """They open the web interface, and are kept by no proxy and no log."""
    caplog.set_level("DEBUG")
    result = get(client, desktop, "credentials")
    assert result.json == {
        "url": f"https://127.0.0.1:{desktop.standin.port + 1}",
        "username": "alice",
        "password": desktop.password,
    }
    assert result.headers["Cache-Control"] == "no-store"
    assert desktop.password not in caplog.text
    session = client.simulate_get(f"{SESSIONS}/{desktop.id}", headers=as_user("alice"))
    assert desktop.password not in session.text


def test_credentials_switched_off(
    make_desktop: Callable[..., Desktop],
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """403, with a word of its own."""
    monkeypatch.setattr(identity, "find_user", resolve_user)
    desktop = make_desktop(show_credentials=False)
    result = get(Client(create_app(desktop.manager)), desktop, "credentials")
    check_error(result, falcon.HTTP_403, "disabled")


def test_the_background_has_room_for_so_many(desktop: Desktop, pairings: Pairings) -> None:
    """More are refused before they begin; a place is free again afterwards."""
    release = threading.Event()

    class Attempt:
        session_id = desktop.id

        def run(self, _stop: threading.Event) -> None:
            release.wait(5)
            raise ZeroDivisionError

    for _ in range(2):
        pairings.start(Attempt)
    with pytest.raises(Refusal):
        pairings.start(lambda: pytest.fail("begun"))
    release.set()
    pairings.join(5)
    pairings.start(Attempt)


def test_a_slow_sunshine_does_not_take_the_service_with_it() -> None:
    """So many requests of a user wait for one, and so many of all."""
    gate = Gate(most=3, most_each=2)
    with gate.enter("alice"), gate.enter("alice"):
        with pytest.raises(Refusal), gate.enter("alice"):
            pass
        with gate.enter("bob"), pytest.raises(Refusal), gate.enter("carol"):
            pass
    with gate.enter("alice"), gate.enter("alice"), gate.enter("carol"):
        pass

"""Pairing with the stand-in, which behaves towards us as Sunshine does."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from desktop import ask

from moonlight_core import (
    ClientNotFound,
    CredentialsHidden,
    InvalidRequest,
    NoClientWaiting,
    PairingInterrupted,
    PairingStatus,
    PairingUnderWay,
    SessionNotFound,
    SessionNotRunning,
    SunshineAnswerUnusable,
    SunshineUnreachable,
    TooManyPins,
    WrongPin,
    keys,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from desktop import Desktop

    from moonlight_core import PinOffer


def test_a_client_is_paired_by_its_pin(desktop: Desktop, caplog: pytest.LogCaptureFixture) -> None:
    """In one call; it can come in then, and neither PIN nor password is left anywhere."""
    caplog.set_level("DEBUG")
    attempt = ask(desktop.client(), "0214")
    pairing = desktop.manager.pair(desktop.id, pin="0214", name="laptop", user="alice")
    assert attempt.wait() is None
    assert pairing.status is PairingStatus.PAIRED
    assert pairing.client is not None
    assert pairing.client.name == "laptop"
    assert desktop.client().https("/serverinfo").values["PairStatus"] == "1"
    assert desktop.manager.clients(desktop.id) == [pairing.client]
    assert desktop.manager.pairing(desktop.id, user="alice") == pairing
    for text in (caplog.text, desktop.stored(), desktop.standin.output):
        assert "0214" not in text
        assert desktop.password not in text


def test_the_client_may_come_later(desktop: Desktop) -> None:
    """Whoever is quick with the PIN is waited for."""
    timer = threading.Timer(0.3, lambda: attempts.append(ask(desktop.client(), "4711")))
    attempts: list[Any] = []
    timer.start()
    assert desktop.manager.pair(desktop.id, pin="4711").client is not None
    assert attempts[0].wait() is None


@pytest.mark.parametrize("leave", [False, True])
def test_a_wrong_pin_is_told(desktop: Desktop, *, leave: bool) -> None:
    """Although Sunshine says true to it; the next attempt comes right, however the first ended."""
    attempt = ask(desktop.client(), "1234", leave=leave)
    with pytest.raises(WrongPin):
        desktop.manager.pair(desktop.id, pin="4321")
    assert "another PIN" in str(attempt.wait())
    told = desktop.manager.pairing(desktop.id)
    assert (told.status, told.client) == (PairingStatus.WRONG_PIN, None)
    assert desktop.manager.clients(desktop.id) == []
    attempt = ask(desktop.client(), "1234")
    assert desktop.manager.pair(desktop.id, pin="1234").client
    assert attempt.wait() is None


def test_nobody_waits(desktop: Desktop) -> None:
    """The sentence says what to do in the client, with the address for it."""
    with pytest.raises(NoClientWaiting, match=f"127.0.0.1:{desktop.standin.port}") as caught:
        desktop.manager.pair(desktop.id, pin="1234", timeout_s=0.1)
    assert caught.value.address == f"127.0.0.1:{desktop.standin.port}"
    assert desktop.manager.pairing(desktop.id).status is PairingStatus.NO_CLIENT


def test_a_drawn_pin(desktop: Desktop, caplog: pytest.LogCaptureFixture) -> None:
    """The caller is shown it, and what to do with it."""
    caplog.set_level("DEBUG")
    offers: list[PinOffer] = []
    attempts = []

    def show(offer: PinOffer) -> None:
        offers.append(offer)
        attempts.append(ask(desktop.client(), offer.pin))

    pairing = desktop.manager.pair(desktop.id, name="couch", show_pin=show)
    assert attempts[0].wait() is None
    assert pairing.client is not None
    assert pairing.client.name == "couch"
    (offer,) = offers
    assert len(offer.pin) == 4
    assert offer.pin.isdigit()
    assert offer.command == f"moonlight pair {offer.address} --pin {offer.pin}"
    assert offer.expires_in_s == 120
    assert repr(offer.pin) not in repr(offer)
    assert f"--pin {offer.pin}" not in repr(offer)
    assert offer.pin not in desktop.redis.hgetall(keys.pairing(desktop.id)).values()


def test_a_drawn_pin_wants_somebody_to_see_it(desktop: Desktop) -> None:
    """Otherwise nobody could pair."""
    with pytest.raises(InvalidRequest):
        desktop.manager.pair(desktop.id)


@pytest.mark.parametrize(
    "pin", [1234, "", "123", "12345", "12a4", "١٢٣٤", " 123", "-123", None, []]
)
def test_what_is_no_pin(desktop: Desktop, pin: Any) -> None:
    """Refused before Sunshine hears of it, and not repeated in the message."""
    with pytest.raises(InvalidRequest) as caught:
        desktop.manager.pair(desktop.id, pin=pin)
    assert caught.value.field == "pin"
    assert str(pin or "1234") not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\x1b[2J", 7, "\u202elaptop"])
def test_what_is_no_name(desktop: Desktop, name: Any) -> None:
    """No control character reaches Sunshine's list, and no novel."""
    with pytest.raises(InvalidRequest) as caught:
        desktop.manager.pair(desktop.id, pin="1234", name=name)
    assert caught.value.field == "name"


def test_one_pairing_at_a_time(desktop: Desktop) -> None:
    """Of any number at once one goes on, the others are told; afterwards the next may come."""
    outcomes: list[str] = []

    def pair() -> None:
        try:
            desktop.manager.pair(desktop.id, pin="1234", timeout_s=0.5)
        except (NoClientWaiting, PairingUnderWay) as exc:
            outcomes.append(type(exc).__name__)

    threads = [threading.Thread(target=pair) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["NoClientWaiting"] + 7 * ["PairingUnderWay"]
    attempt = ask(desktop.client(), "1234")
    desktop.manager.pair(desktop.id, pin="1234")
    assert attempt.wait() is None


def test_ten_pins_a_minute(desktop: Desktop) -> None:
    """The eleventh is refused with the time to wait, before Sunshine hears of it."""
    for number in range(10):
        with pytest.raises(NoClientWaiting):
            desktop.manager.pair(desktop.id, pin=f"{number:04d}", timeout_s=1e-6)
    with pytest.raises(TooManyPins) as caught:
        desktop.manager.pair(desktop.id, pin="0010")
    assert 50 <= caught.value.retry_after_s <= 60
    assert 0 < desktop.redis.ttl(keys.pins(desktop.id)) <= 60
    desktop.redis.delete(keys.pins(desktop.id))
    with pytest.raises(NoClientWaiting):
        desktop.manager.pair(desktop.id, pin="0011", timeout_s=1e-6)


def test_a_service_that_died_does_not_block_for_good(desktop: Desktop) -> None:
    """What nobody ended ends by itself."""
    desktop.manager.begin_pairing(desktop.id, pin="1234", timeout_s=3)
    with pytest.raises(PairingUnderWay):
        desktop.manager.begin_pairing(desktop.id, pin="1234")
    assert 0 < desktop.redis.ttl(keys.pairing(desktop.id)) < 60


def test_a_stop_ends_the_wait(desktop: Desktop) -> None:
    """And the record says so."""
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(PairingInterrupted):
        desktop.manager.pair(desktop.id, pin="1234", stop=stop)
    told = desktop.manager.pairing(desktop.id)
    assert told.status is PairingStatus.FAILED
    assert "stopped" in (told.error or "")


def test_two_clients_and_one_is_removed(desktop: Desktop) -> None:
    """The other stays; what is not there is told."""
    for name in ("client", "other"):
        attempt = ask(desktop.client(name), "1234")
        desktop.manager.pair(desktop.id, pin="1234", name=name)
        assert attempt.wait() is None
    first, second = desktop.manager.clients(desktop.id, user="alice")
    assert (first.name, second.name) == ("client", "other")
    assert desktop.manager.unpair(desktop.id, first.uuid, user="alice") == first
    assert desktop.manager.clients(desktop.id) == [second]
    for uuid in (first.uuid, "nonsense", "../../api"):
        with pytest.raises(ClientNotFound):
            desktop.manager.unpair(desktop.id, uuid)


def test_only_the_owners_session(desktop: Desktop) -> None:
    """For anybody else there is none."""
    manager = desktop.manager
    for call in (manager.pair, manager.pairing, manager.clients, manager.credentials):
        arguments = {"pin": "1234"} if call == manager.pair else {}
        with pytest.raises(SessionNotFound):
            call(desktop.id, user="bob", **arguments)
    with pytest.raises(SessionNotFound):
        manager.unpair(desktop.id, "x", user="bob")


def test_not_running_yet(desktop: Desktop) -> None:
    """Nor any more."""
    waiting = desktop.manager.create("alice")
    desktop.manager.delete(desktop.id)
    for session_id in (waiting.session_id, desktop.id):
        for call in (desktop.manager.clients, desktop.manager.credentials):
            with pytest.raises(SessionNotRunning):
                call(session_id)
        with pytest.raises(SessionNotRunning):
            desktop.manager.pair(session_id, pin="1234")
        assert desktop.manager.pairing(session_id).status is PairingStatus.NONE


def test_credentials_open_the_web_interface(desktop: Desktop) -> None:
    """By the name that clients use for the node; the password does not show itself."""
    credentials = desktop.manager.credentials(desktop.id, user="alice")
    assert credentials.url == f"https://127.0.0.1:{desktop.standin.port + 1}"
    login = (credentials.username, credentials.password.reveal())
    assert desktop.standin.api("GET", "/api/clients/list", auth=login).status == 200
    assert credentials.password.reveal() not in repr(credentials)


def test_credentials_can_be_switched_off(make_desktop: Callable[..., Desktop]) -> None:
    """By the site."""
    desktop = make_desktop(show_credentials=False)
    with pytest.raises(CredentialsHidden, match="show_credentials"):
        desktop.manager.credentials(desktop.id)


def test_another_certificate_gets_nothing(desktop: Desktop) -> None:
    """A process on the port that is not the session's Sunshine never sees the password."""
    desktop.report(phase="ready", cert="0" * 64)
    with pytest.raises(SunshineAnswerUnusable, match="another certificate"):
        desktop.manager.clients(desktop.id)
    with pytest.raises(SunshineAnswerUnusable, match="another certificate"):
        desktop.manager.pair(desktop.id, pin="1234")
    assert desktop.manager.pairing(desktop.id).status is PairingStatus.FAILED


@pytest.mark.parametrize("cert", [None, "", "AB" * 32, "0" * 63, 7, ["0" * 64]])
def test_no_certificate_is_no_trust(desktop: Desktop, cert: object) -> None:
    """Without a fingerprint nothing is sent to anybody."""
    desktop.report(phase="ready", cert=cert)
    with pytest.raises(SunshineAnswerUnusable, match="did not tell the certificate"):
        desktop.manager.clients(desktop.id)


def test_a_password_that_the_owner_changed(desktop: Desktop) -> None:
    """The owner may; then the web interface is the place to pair."""
    login = (desktop.session.username, desktop.password)
    change = {
        "currentUsername": login[0],
        "currentPassword": login[1],
        "newUsername": "me",
        "newPassword": "other",
        "confirmNewPassword": "other",
    }
    assert desktop.standin.api("POST", "/api/password", change, auth=login).json["status"]
    with pytest.raises(SunshineAnswerUnusable, match="web interface"):
        desktop.manager.clients(desktop.id)


def test_a_sunshine_that_is_gone(desktop: Desktop) -> None:
    """Told as such."""
    desktop.standin.process.kill()
    desktop.standin.wait_exit()
    with pytest.raises(SunshineUnreachable, match="does not answer"):
        desktop.manager.pair(desktop.id, pin="1234")
    assert desktop.manager.pairing(desktop.id).status is PairingStatus.FAILED


def test_the_fingerprint_is_not_shown(desktop: Desktop) -> None:
    """It is for the service alone, and the record's other fields are as they were."""
    assert "cert_sha256" not in desktop.session.to_json()
    assert desktop.session.cert_sha256
    assert desktop.session.cert_sha256 not in json.dumps(desktop.session.to_json())

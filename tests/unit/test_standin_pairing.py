"""Pairing, the client list, streaming and the commands around it, as Sunshine has them."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin_support import WAIT_S, Launcher, Standin, udp_taken, wait_until, x_server
from sunshine_standin.standin.client import ClientError
from sunshine_standin.standin.state import make_certificate


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One key and certificate for all: making them takes longest."""
    folder = tmp_path_factory.mktemp("keys")
    make_certificate(folder / "key.pem", folder / "cert.pem", "test")
    make_certificate(folder / "client.key", folder / "client.crt", "client")
    return folder


@pytest.fixture
def launcher(tmp_path: Path, keys: Path) -> Iterator[Launcher]:
    """Start stand-ins in a folder of the test's own, with a client's key at hand."""
    for client in ("client", "other"):
        (tmp_path / client).mkdir()
        for name in ("client.key", "client.crt"):
            (tmp_path / client / name).write_bytes((keys / name).read_bytes())
    made = Launcher(tmp_path, keys)
    yield made
    made.stop_all()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Standin]:
    """A stand-in for all tests that change nothing in it."""
    made = Launcher(tmp_path_factory.mktemp("shared"), keys)
    yield made.start()
    made.stop_all()


@pytest.fixture
def standin(launcher: Launcher) -> Standin:
    """A stand-in without a display: enough to pair with."""
    return launcher.start()


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ({"pin": 1234, "name": "x"}, 400, False),
        ({"pin": "10000", "name": "x"}, 400, False),
        ({"pin": "-001", "name": "x"}, 400, False),
        ({"pin": "abcd", "name": "x"}, 400, False),
        ({"pin": "", "name": "x"}, 400, False),
        ({"pin": "12", "name": "x"}, 200, False),
        ({"pin": "0214", "name": "x"}, 200, False),
    ],
)
def test_what_api_pin_says_when_nobody_waits(
    shared: Standin, body: dict[str, object], status: int, answer: object
) -> None:
    """400 for what is no PIN, and 200 with false for one that nobody waits for."""
    got = shared.api("POST", "/api/pin", body)
    assert (got.status, got.json["status"]) == (status, answer)


def test_api_pin_wants_json_and_credentials(shared: Standin) -> None:
    """The content type is looked at first, then who asks."""
    body = {"pin": "1234", "name": "x"}
    assert shared.api("POST", "/api/pin", body, Content_Type="text/plain").status == 400
    wrong = shared.api("POST", "/api/pin", body, auth=("moonlight", "wrong"))
    assert wrong.status == 401
    assert wrong.json == {"error": "Unauthorized", "status": False, "status_code": 401}
    assert shared.api("POST", "/api/pin", body, auth=None).status == 401


def test_pairing_lists_the_client_and_survives_a_restart(
    launcher: Launcher, standin: Standin
) -> None:
    """The state file holds the host's identity and its clients."""
    client = standin.client()
    assert standin.pair(client).json == {"status": True}
    (entry,) = standin.clients()
    assert (entry["name"], entry["enabled"]) == ("laptop", True)
    first = client.http("/serverinfo", {}).values["uniqueid"]
    assert client.https("/serverinfo").values["PairStatus"] == "1"
    standin.process.terminate()
    standin.wait_exit()
    again = launcher.start(port=standin.port)
    assert again.clients() == [entry]
    assert client.https("/serverinfo").values["uniqueid"] == first


def test_an_unpaired_host_has_another_identity_after_each_start(launcher: Launcher) -> None:
    """The state file is written by the first pairing and not before."""
    ids = set()
    for _ in range(2):
        standin = launcher.start()
        ids.add(standin.client().http("/serverinfo", {}).values["uniqueid"])
    assert len(ids) == 2
    assert not (launcher.folder / "state.json").exists()


def test_a_wrong_pin_is_answered_with_true(standin: Standin) -> None:
    """Only the list of clients tells that nothing came of it."""
    with pytest.raises(ClientError, match="another PIN"):
        standin.pair(standin.client(), "1234", entered="4321")
    assert standin.clients() == []
    standin.pair(standin.client(), "1234")
    assert len(standin.clients()) == 1


def test_an_attempt_that_its_client_gave_up_is_in_the_way_once(standin: Standin) -> None:
    """A client that leaves at a wrong PIN, or is killed, makes the next attempt fail."""
    with pytest.raises(ClientError, match="another PIN"):
        standin.pair(standin.client(), "1234", entered="4321", leave=True)
    with pytest.raises(ClientError, match="Out of order"):
        standin.pair(standin.client(), "1234")
    standin.pair(standin.client(), "1234")
    assert len(standin.clients()) == 1


def test_a_step_out_of_order_ends_the_attempt(standin: Standin) -> None:
    """What a client has left behind is forgotten, and the next attempt is a fresh one."""
    with pytest.raises(ClientError, match="another PIN"):
        standin.pair(standin.client(), "1234", entered="4321", leave=True)
    for told in ("Out of order call to serverchallengeresp", "Invalid uniqueid"):
        answer = standin.client().http("/pair", {"serverchallengeresp": "00"})
        assert (answer.status, answer.message) == (400, told)
    standin.pair(standin.client(), "1234")
    assert len(standin.clients()) == 1


def test_unpair_one_and_all(standin: Standin) -> None:
    """A client that was forgotten cannot come back; an unknown one is answered with false."""
    client = standin.client()
    standin.pair(client)
    assert standin.api("POST", "/api/clients/unpair", {"uuid": "no"}).json == {"status": False}
    uuid = standin.clients()[0]["uuid"]
    assert standin.api("POST", "/api/clients/unpair", {"uuid": uuid}).json == {"status": True}
    with pytest.raises(ClientError, match="not paired"):
        client.https("/serverinfo")
    standin.pair(client)
    assert standin.api("POST", "/api/clients/unpair-all").json == {"status": True}
    assert standin.clients() == []


def test_other_sites_are_refused(shared: Standin) -> None:
    """Without Origin and Referer a request passes; with a foreign one it does not."""
    body = {"uuid": "x"}
    path = "/api/clients/unpair"
    own = f"https://localhost:{shared.port + 1}"
    assert shared.api("POST", path, body).status == 200
    assert shared.api("POST", path, body, Origin=own).status == 200
    assert shared.api("POST", path, body, Referer=own + "/pin").status == 200
    for name in ("Origin", "Referer"):
        foreign = shared.api("POST", path, body, **{name: own + ".evil.example"})
        assert foreign.status == 400
        assert foreign.json["error"] == "Missing CSRF token"
    token = shared.api("GET", "/api/csrf-token").json["csrf_token"]
    headers = {"Origin": "https://evil.example", "X_CSRF_Token": token}
    assert shared.api("POST", path, body, **headers).status == 200


def test_streaming_takes_udp_ports_and_runs_the_commands_around_it(launcher: Launcher) -> None:
    """From launch to quit: BUSY, the client's resolution, log lines and ports."""
    folder = launcher.folder
    record = folder / "record"
    script = folder / "record.sh"
    script.write_text(
        f'#!/bin/sh\necho "$1 $SUNSHINE_CLIENT_WIDTH $SUNSHINE_CLIENT_HEIGHT '
        f'$SUNSHINE_CLIENT_FPS" >>{record}\n',
        encoding="utf-8",
    )
    script.chmod(0o700)
    prep = [{"do": f"{script} do", "undo": f"{script} undo"}]
    with x_server(folder) as display:
        options = {"global_prep_cmd": json.dumps(prep)}
        standin = launcher.start(display=display, options=options)
        client = standin.client()
        standin.pair(client)
        client.launch("Desktop", "1920x1080x30")
        with client.stream():
            standin.wait_for("New streaming session started [active sessions: 1]")
            standin.wait_for("CLIENT CONNECTED")
            assert udp_taken(standin.port)
            assert "SUNSHINE_SERVER_BUSY" in standin.http("/serverinfo").text
            assert record.read_text(encoding="utf-8") == "do 1920 1080 30\n"
        standin.wait_for("CLIENT DISCONNECTED")
        wait_until(lambda: not udp_taken(standin.port), "UDP ports released")
        assert "SUNSHINE_SERVER_BUSY" in standin.http("/serverinfo").text
        client.launch("Desktop", "1280x720x60")
        client.stream().close()
        client.quit()
        assert "SUNSHINE_SERVER_FREE" in standin.http("/serverinfo").text
    assert record.read_text(encoding="utf-8") == "do 1920 1080 30\nundo 1920 1080 30\n"


def test_a_busy_udp_port_fails_the_stream_and_nothing_else(launcher: Launcher) -> None:
    """Idle nobody notices, and the process stays."""
    with x_server(launcher.folder) as display, socket.socket(type=socket.SOCK_DGRAM) as other:
        standin = launcher.start(display=display)
        other.bind(("127.0.0.1", standin.port + 10))
        client = standin.client()
        standin.pair(client)
        client.launch("Desktop", "1280x720x60")
        with pytest.raises(ClientError, match="did not start"):
            client.stream()
        standin.wait_for(f"Couldn't bind Control server to port [{standin.port + 10}]")
        assert standin.process.poll() is None


def test_a_display_that_is_gone_fails_the_launch(launcher: Launcher) -> None:
    """Sunshine looks again before each launch."""
    with x_server(launcher.folder) as display:
        standin = launcher.start(display=display)
    client = standin.client()
    standin.pair(client)
    with pytest.raises(ClientError, match="Is a display connected"):
        client.launch("Desktop", "1280x720x60")


def test_the_stop_of_the_host_undoes_the_preparations(launcher: Launcher) -> None:
    """SIGTERM while an application runs leaves nothing changed."""
    done = launcher.folder / "undone"
    apps = {"env": {}, "apps": [{"name": "Desktop", "prep-cmd": [{"undo": f"touch {done}"}]}]}
    (launcher.folder / "apps.json").write_text(json.dumps(apps), encoding="utf-8")
    with x_server(launcher.folder) as display:
        standin = launcher.start(display=display)
        client = standin.client()
        standin.pair(client)
        client.launch("Desktop", "1280x720x60")
        standin.process.terminate()
        assert standin.process.wait(WAIT_S) == 0
    assert done.exists()


def test_closing_the_app_by_the_interface_ends_the_stream(launcher: Launcher) -> None:
    """The operator can end what runs; the client is disconnected."""
    with x_server(launcher.folder) as display:
        standin = launcher.start(display=display)
        client = standin.client()
        standin.pair(client)
        client.launch("Desktop", "1280x720x60")
        with client.stream() as stream:
            assert standin.api("POST", "/api/apps/close").json == {"status": True}
            stream.settimeout(WAIT_S)
            assert stream.recv(16) == b""
        standin.wait_for("CLIENT DISCONNECTED")
        assert "SUNSHINE_SERVER_FREE" in standin.http("/serverinfo").text

"""The command line of an ordinary user: through the service, as if it were the library."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from desktop import Desktop, ask
from live import Live, serving
from unit.test_png import picture

from moonlight_core import Picture, SessionManager, cli, errors, reconcile
from moonlight_core.cli import context
from moonlight_core.cli.entry import main
from moonlight_core.errors import UserNotAllowed
from moonlight_http import client, identity
from moonlight_http.answers import error_of, session_of
from moonlight_http.client import ServiceClient
from moonlight_http.errors import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

    Serve = Callable[..., contextlib.AbstractContextManager[Live]]

UIDS = {"alice": 2001, "bob": 2002, "carol": 2003}


@pytest.fixture
def path() -> Iterator[Path]:
    """Where the users' socket is."""
    with tempfile.TemporaryDirectory(prefix="moonlight-run-") as name:
        yield Path(name) / "users.sock"


@pytest.fixture
def config(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration as users find it: its secret is not theirs."""
    file = path.with_name("moonlight.toml")
    secret = path.with_name("secret")
    secret.touch(mode=0o600)
    file.write_text(f'[service]\nusers_socket = "{path}"\nsecret_file = "{secret}"\n')
    monkeypatch.setenv("MOONLIGHT_CONFIG", str(file))
    return file


@pytest.fixture
def become(config: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this process somebody else's, for the commands and for the service's kernel."""
    who: dict[int, str] = {}
    monkeypatch.setattr(identity, "account_name", who.__getitem__)
    monkeypatch.setattr(context, "name_of", {uid: name for name, uid in UIDS.items()}.get)
    monkeypatch.setattr(reconcile, "name_of", {uid: name for name, uid in UIDS.items()}.get)
    real = os.getuid()

    def become(name: str) -> None:
        who[real] = name
        monkeypatch.setattr("os.geteuid", lambda: UIDS[name])

    become("alice")
    return become


@pytest.fixture
def live(serve: Serve, path: Path, become: Callable[[str], None]) -> Iterator[Live]:
    """A service with a users' socket; carol administers."""
    with serve(service={"users_socket": str(path), "administrators": ["carol"]}) as service:
        yield service


@pytest.fixture
def rounds(live: Live) -> Iterator[None]:
    """Reconcile goes on, as it does in a service."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.05):
            live.manager.reconcile()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join(20)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command answers in JSON; it must end well."""
    assert main(["--json", *arguments]) == cli.EXIT_OK, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def starts(gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch, phase: str = "ready") -> None:
    """Every job starts at once, and says how far it is."""
    submit = gateway.submit

    def submit_and_start(spec: object) -> int:
        job_id = submit(spec)
        gateway.start(job_id, "viz1")
        gateway.report(job_id, json.dumps({"phase": phase, "reason": "So far."}))
        return job_id

    monkeypatch.setattr(gateway, "submit", submit_and_start)


def test_a_users_day(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """All she has, in the words that the library has."""
    assert main(["list"]) == cli.EXIT_OK
    assert capsys.readouterr().out == "No sessions.\n"
    made = told(capsys, "create", "--gpus", "0", "--no-audio", "--hours", "2")
    assert (made["username"], made["gpus"], made["audio"]) == ("alice", 0, False)
    session_id = made["session_id"]
    as_library = live.manager.get(session_id).to_json()
    assert told(capsys, "show", session_id) == as_library
    assert told(capsys, "list") == [as_library]
    assert told(capsys, "list", "--user", "alice") == [as_library]
    assert main(["show", session_id]) == cli.EXIT_OK
    assert "Waiting in the queue." in capsys.readouterr().out
    (image,) = told(capsys, "images")
    assert image == {
        "id": "xfce4",
        "name": "XFCE4 Desktop (Sunshine)",
        "default": True,
        "available": True,
    }
    assert told(capsys, "log", session_id)["lines"] == []
    assert told(capsys, "delete", session_id)["status"] == "stopping"
    assert told(capsys, "delete", session_id)["status"] == "stopping"


def test_another_users_session_is_as_none(
    live: Live, become: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """In words and exit code, whatever is done to it; an administrator sees and ends it."""
    theirs = live.manager.create("bob").session_id
    missing = theirs[:-1] + ("0" if theirs[-1] != "0" else "1")
    for command in (["show"], ["delete"], ["log"], ["clients"], ["pair", "--pin", "0214"]):
        said = []
        for session_id in (theirs, missing):
            assert main([*command, session_id]) == cli.EXIT_REFUSED
            said.append(capsys.readouterr().err.replace(session_id, "ID"))
        assert said[0] == said[1]
        assert said[0].startswith("moonlight: There is no session 'ID'.")
    assert main(["show", "../sessions?all=true"]) == cli.EXIT_REFUSED
    assert "There is no session" in capsys.readouterr().err
    for arguments in (["--all"], ["--user", "bob"]):
        assert main(["list", *arguments]) == cli.EXIT_REFUSED
        assert "Only administrators see all sessions." in capsys.readouterr().err
    for arguments in (["create", "--user", "bob"], ["images", "--user", "bob"]):
        assert main(arguments) == cli.EXIT_REFUSED
        assert "You are alice: only root may ask" in capsys.readouterr().err
    become("carol")
    assert told(capsys, "list") == []
    (listed,) = told(capsys, "list", "--all")
    assert [listed] == told(capsys, "list", "--user", "bob")
    assert told(capsys, "delete", theirs)["status"] == "stopping"
    assert main(["log", theirs]) == cli.EXIT_REFUSED


def test_refusals_are_those_of_the_library(
    live: Live, gateway: MemoryGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same sentence, the same exit code."""

    def both(*arguments: str) -> tuple[int, str]:
        code = main(["create", *arguments])
        return code, capsys.readouterr().err

    assert both("--cpus", "0") == (cli.EXIT_USAGE, "moonlight: cpus is 0: it may be 1 to 32.\n")
    code, said = both("--image", "none")
    assert (code, "no image 'none'" in said) == (cli.EXIT_REFUSED, True)
    code, said = both("--keyboard", "x")
    assert (code, "de or us(intl)" in said) == (cli.EXIT_USAGE, True)
    for _ in range(4):
        told(capsys, "create")
    code, said = both()
    assert (code, "alice has 4 live sessions" in said) == (cli.EXIT_REFUSED, True)
    session_id = told(capsys, "list")[0]["session_id"]
    assert main(["log", session_id, "--tail", "0"]) == cli.EXIT_USAGE
    assert main(["pair", session_id, "--pin", "0214"]) == cli.EXIT_REFUSED
    assert "is pending" in capsys.readouterr().err
    told(capsys, "delete", session_id)
    live.manager.reconcile()
    gateway.away = True
    code, said = both()
    assert (code, "slurmctld" in said) == (cli.EXIT_UNAVAILABLE, True)


@pytest.mark.usefixtures("rounds")
def test_waiting_shows_progress(
    gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the desktop is there; when it fails, why."""
    starts(gateway, monkeypatch)
    assert main(["create", "--wait", "--timeout", "20"]) == cli.EXIT_OK
    shown = capsys.readouterr()
    assert "running 100 %: So far." in shown.err
    assert "viz1:47989" in shown.out
    starts(gateway, monkeypatch, "starting_x")
    assert main(["create", "--wait", "--timeout", "1.2"]) == cli.EXIT_REFUSED
    assert "is starting (starting_x) after 1.2 s" in capsys.readouterr().err
    monkeypatch.undo()


@pytest.mark.usefixtures("rounds")
def test_a_wait_outlives_a_service_that_is_away_for_a_moment(
    live: Live, gateway: MemoryGateway, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is restarted at any time; a session that ends is told by its reason."""
    starts(gateway, monkeypatch, "starting_x")
    alice = ServiceClient(path, "alice")
    session = alice.create("alice")
    hidden = path.with_name("hidden")
    seen: list[str] = []

    def progress(now: Any) -> None:
        seen.append(now.phase)
        if now.phase == "starting_x":
            path.rename(hidden)
            threading.Timer(1.5, hidden.rename, [path]).start()
            gateway.report(session.job_id or 0, '{"phase": "ready", "reason": "Ready."}')

    assert alice.wait(session.session_id, timeout_s=30, progress=progress).status == "running"
    assert seen[-2:] == ["starting_x", "ready"]
    alice.delete(session.session_id)
    with pytest.raises(errors.SessionEnded, match="stopped"):
        alice.wait(session.session_id, timeout_s=30)
    assert live.manager.get(session.session_id).status == "stopped"


def test_ctrl_c_leaves_the_session_and_says_which(
    live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where only JSON was wanted."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ServiceClient, "wait", interrupted)
    assert main(["create", "--wait", "--json"]) == cli.EXIT_INTERRUPTED
    shown = capsys.readouterr()
    (session,) = live.manager.list(user="alice")
    assert shown.out == ""
    assert f"`moonlight delete {session.session_id}` ends it" in shown.err


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize(
    "command", [["reconcile"], ["reap"], ["nodes"], ["doctor"], ["doctor", "--json"], ["serve"]]
)
def test_what_operators_alone_can_do(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Says so, and what one can."""
    assert main(command) == cli.EXIT_REFUSED
    said = capsys.readouterr().err
    assert "You are alice, and this is a command for operators" in said
    assert "create, list, show" in said


def test_without_a_service(
    path: Path,
    config: Path,
    become: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody listens, something else does, there is no such way, the configuration is closed."""
    assert become
    assert main(["list"]) == cli.EXIT_UNAVAILABLE
    assert f"socket {path} does not answer: No such file" in capsys.readouterr().err
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert main(["list"]) == cli.EXIT_UNAVAILABLE
        assert "Connection refused" in capsys.readouterr().err
        other.listen()
        for answer in (
            b"",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nhello",
            b"HTTP/1.1 500 X\r\n\r\n[]",
        ):
            thread = threading.Thread(target=_answer_once, args=(other, answer))
            thread.start()
            assert main(["list"]) == cli.EXIT_UNAVAILABLE
            thread.join(20)
            said = capsys.readouterr().err
            assert "gave no answer" in said or "is not the service" in said
    # What is not the service's is hers to read.
    assert main(["config", "--changed"]) == cli.EXIT_OK
    assert str(path) in capsys.readouterr().out
    config.write_text(config.read_text().replace(str(path), ""))
    assert main(["list"]) == cli.EXIT_CONFIG
    assert "[service] users_socket is empty" in capsys.readouterr().err
    monkeypatch.setattr(context.Context, "_config_is_readable", property(lambda _self: False))
    # Then it is where it is usually, which here may be a real one.
    assert Path("/run/moonlight/users.sock") == context.USERS_SOCKET
    monkeypatch.setattr(context, "USERS_SOCKET", path.with_name("usual.sock"))
    assert main(["list"]) == cli.EXIT_UNAVAILABLE
    assert "usual.sock does not answer" in capsys.readouterr().err


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)


def test_single_users_and_the_services_account_have_the_library(
    config: Path, become: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs is the secret, or the whole installation."""
    assert become
    assert context.Context().is_ordinary
    config.write_text("[service]\nsingle_user = true\n")
    assert not context.Context().is_ordinary
    config.write_text(f'[service]\nsecret_file = "{config}"\n')
    assert context.Context().is_ordinary
    monkeypatch.setattr("os.geteuid", lambda: config.stat().st_uid)
    assert not context.Context().is_ordinary


@pytest.fixture
def with_desktop(
    make_desktop: Callable[..., Desktop],
    path: Path,
    become: Callable[[str], None],
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desktop]:
    """A running session of alice's behind a service."""
    monkeypatch.setattr(identity, "find_user", resolve_user)
    monkeypatch.setattr(client, "_PAIRING_EVERY_S", 0.02)
    become("alice")
    desktop = make_desktop(users_socket=str(path), host="")
    with serving(desktop.manager):
        yield desktop


def test_pairing(with_desktop: Desktop, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the client's PIN, and by one that is drawn; a wrong one is told as by the library."""
    session_id = with_desktop.id
    assert main(["clients", session_id]) == cli.EXIT_OK
    assert capsys.readouterr().out == "No clients.\n"
    attempt = ask(with_desktop.client(), "0214")
    assert main(["pair", session_id, "--pin", "0214", "--name", "laptop"]) == cli.EXIT_OK
    assert attempt.wait() is None
    assert capsys.readouterr().out == "laptop is paired.\n"
    (listed,) = told(capsys, "clients", session_id)
    assert (listed["name"], listed["enabled"]) == ("laptop", True)
    wrong = ask(with_desktop.client("other"), "1111", leave=True)
    assert main(["pair", session_id, "--pin", "2222"]) == cli.EXIT_REFUSED
    assert "it has another PIN" in capsys.readouterr().err
    wrong.wait()
    assert main(["pair", session_id, "--pin", "12"]) == cli.EXIT_USAGE
    alice = ServiceClient(path, "alice")
    offered: list[Any] = []

    def show(offer: Any) -> None:
        offered.append((offer, ask(with_desktop.client("other"), offer.pin)))

    paired = alice.pair(session_id, name="tablet", show_pin=show)
    assert offered[0][1].wait() is None
    assert paired.client is not None
    assert paired.client.name == "tablet"
    assert [each.name for each in alice.clients(session_id)] == ["laptop", "tablet"]


def test_a_drawn_pin_that_nobody_takes(
    with_desktop: Desktop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's own sentence, as the library's error."""
    begin = SessionManager.begin_pairing
    monkeypatch.setattr(
        SessionManager,
        "begin_pairing",
        lambda manager, *args, **named: begin(manager, *args, **named | {"timeout_s": 0.3}),
    )
    with pytest.raises(errors.NoClientWaiting, match="No Moonlight client asked"):
        ServiceClient(path, "alice").pair(with_desktop.id, show_pin=print)


def test_a_picture(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes, with its size."""
    session_id = live.manager.create("alice").session_id
    taken = Picture(data=picture(8, 6), width=8, height=6, taken_at=live.manager._now())
    monkeypatch.setattr(SessionManager, "screenshot", lambda *_, **__: taken)
    file = tmp_path / "now.png"
    assert main(["screenshot", session_id, str(file)]) == cli.EXIT_OK
    assert "8 x 6 pixels" in capsys.readouterr().out
    assert file.read_bytes() == taken.data


@pytest.mark.parametrize("kind", list(TABLE), ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_what_it_was(kind: type[errors.MoonlightError]) -> None:
    """Or as another that a caller treats alike."""
    status, code = TABLE[kind]
    document = {"error": "A sentence.", "code": code, "limit": 3}
    again = error_of(int(status.split()[0]), document, session_id="ml-x")
    assert str(again) == "A sentence."
    alike = {
        errors.ScreenshotsOff: errors.RequestError,
        errors.SubmitOutcomeUnknown: errors.SlurmError,
    }
    expected = alike.get(kind, kind)
    if int(status.split()[0]) == 500:
        expected = errors.ServiceUnavailable
    assert isinstance(again, expected)
    with contextlib.suppress(TypeError):
        for name in vars(kind("x")):
            assert hasattr(again, name)


def test_sessions_travel_whole(live: Live, gateway: MemoryGateway) -> None:
    """All that is shown of one; what a newer service shows beside is no trouble."""
    session = live.manager.create("alice")
    gateway.start(session.job_id or 0, "viz1")
    live.manager.reconcile()
    session = live.manager.get(session.session_id)
    shown = session.to_json()
    assert session.connect is not None
    assert session_of(json.loads(json.dumps(shown)) | {"new": 1}).to_json() == shown
    assert isinstance(UserNotAllowed("x"), errors.RequestError)
    assert attrs.fields_dict(type(session)).keys() >= set(shown) - {"percent"}

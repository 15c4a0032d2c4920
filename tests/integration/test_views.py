"""The log and the picture of a session: whose they are, how often, and what can go wrong."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import falcon
import pytest
from falcon import testing
from unit.test_png import picture

from moonlight_core import SessionManager, bus, pictures, reconcile
from moonlight_core.errors import InvalidRequest
from moonlight_core.users import User
from moonlight_http import create_app, identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway

SESSIONS = "/api/moonlight/sessions"


class Client(testing.TestClient):
    """Somebody behind the proxy on this host."""

    def ask(self, path: str, user: str = "alice", **options: Any) -> testing.Result:
        """GET below the sessions."""
        headers = {"X-Remote-User": user}
        return self.simulate_get(
            SESSIONS + path, headers=headers, remote_addr="127.0.0.1", **options
        )


@pytest.fixture
def make_manager(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., SessionManager]:
    """Users' files lie in tmp_path and belong to whoever runs the tests."""

    def resolve(name: str, *, first_uid: int) -> User:
        return User(
            name=name, uid=os.geteuid(), gid=os.getegid(), home=str(tmp_path), shell="/bin/sh"
        )

    monkeypatch.setattr(identity, "find_user", resolve)
    monkeypatch.setattr(reconcile, "name_of", lambda _uid: "alice")
    paths = {"logs": str(tmp_path / "sunshine_logs")}
    paths["sessions"] = str(tmp_path / "sunshine_sessions")
    for path in paths.values():
        os.mkdir(path)  # noqa: PTH102 - strings are what the settings take

    def make(**service: Any) -> SessionManager:
        return SessionManager(
            make_settings(service={"administrators": ["carol"]} | service, paths=paths),
            store,
            gateway,
            service_secret=secret,
            resolve_user=resolve,
        )

    return make


@pytest.fixture
def manager(make_manager: Callable[..., SessionManager]) -> SessionManager:
    """With the default settings."""
    return make_manager()


@pytest.fixture
def client(manager: SessionManager) -> Client:
    """The service."""
    return Client(create_app(manager))


def running(manager: SessionManager, gateway: MemoryGateway, *, hears: int = 1) -> str:
    """The id of a session that runs."""
    session = manager.create("alice")
    assert session.job_id is not None
    gateway.start(session.job_id, "viz1")
    manager.reconcile()
    gateway.report(session.job_id, json.dumps({"phase": "ready", "hears": hears}))
    manager.reconcile()
    # The lease is known from here on; the mark says so.
    manager.reconcile()
    return session.session_id


class Script:
    """What a job's script does when it is woken, in a few lines."""

    def __init__(self, manager: SessionManager, gateway: MemoryGateway, session_id: str) -> None:
        self._gateway = gateway
        self._folder = manager.settings.paths.sessions / session_id / "pictures"
        self.asked: list[str] = []
        self.answer: tuple[str, bytes] = ("png", picture(640, 480))
        wake = gateway.wake

        def woken(job_id: int) -> None:
            wake(job_id)
            self._heed(job_id)

        gateway.wake = woken  # type: ignore[method-assign]

    def _heed(self, job_id: int) -> None:
        mark = bus.Mark.of_job(self._gateway.jobs([job_id])[job_id])
        assert mark is not None
        number = mark.wishes["shot"]
        self.asked.append(number)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{number}.{self.answer[0]}").write_bytes(self.answer[1])


def test_the_log_of_a_session(
    client: Client, manager: SessionManager, gateway: MemoryGateway
) -> None:
    """Its last lines, with nothing that a terminal would obey; none before it starts."""
    session_id = manager.create("alice").session_id
    path = manager.settings.paths.logs / f"{session_id}.log"
    nothing = client.ask(f"/{session_id}/log").json
    assert (nothing["lines"], nothing["complete"], nothing["path"]) == ([], True, str(path))
    path.write_text("one\n\x1b[2Jtwo\nthree \udcff\n", errors="surrogateescape")
    told = client.ask(f"/{session_id}/log").json
    assert told["lines"] == ["one", "?[2Jtwo", "three \ufffd"]
    assert (told["complete"], told["size_bytes"]) == (True, path.stat().st_size)
    last = client.ask(f"/{session_id}/log", params={"tail": "1"}).json
    assert (last["lines"], last["complete"]) == (["three \ufffd"], False)
    path.write_text("x" * 3_000_000 + "\nlast\n")
    assert client.ask(f"/{session_id}/log").json["lines"] == ["last"]
    path.unlink()
    gateway.end(1, "COMPLETED")
    manager.reconcile()
    gone = client.ask(f"/{session_id}/log")
    assert (gone.status, gone.json["code"]) == (falcon.HTTP_404, "log_not_found")
    path.symlink_to("/etc/passwd")
    refused = client.ask(f"/{session_id}/log")
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_502, "file_unreadable")
    assert "root:" not in refused.text


@pytest.mark.parametrize("tail", ["0", "2001", "-1", "x"])
def test_so_many_lines(client: Client, manager: SessionManager, tail: str) -> None:
    """Within bounds."""
    session_id = manager.create("alice").session_id
    refused = client.ask(f"/{session_id}/log", params={"tail": tail})
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_400, "malformed_parameter")
    with pytest.raises(InvalidRequest):
        manager.log(session_id, tail=0)


def test_a_picture(client: Client, manager: SessionManager, gateway: MemoryGateway) -> None:
    """Made by the job, kept for a moment, then made anew."""
    session_id = running(manager, gateway)
    script = Script(manager, gateway, session_id)
    result = client.ask(f"/{session_id}/screenshot")
    assert result.status == falcon.HTTP_200, result.text
    assert result.content == picture(640, 480)
    assert result.headers["Content-Type"] == "image/png"
    assert result.headers["X-Content-Type-Options"] == "nosniff"
    assert result.headers["Cache-Control"].startswith("private, max-age=")
    assert client.ask(f"/{session_id}/screenshot").content == result.content
    assert script.asked == ["1"]
    # What reconcile does meanwhile leaves the wish alone.
    manager.reconcile()
    assert script.asked == ["1"]
    assert "shots" not in client.ask(f"/{session_id}").json


def test_too_many_pictures(
    client: Client,
    manager: SessionManager,
    make_manager: Callable[..., SessionManager],
    gateway: MemoryGateway,
) -> None:
    """Another service has one made; this one says when it may. Whoever asks at once gets one."""
    session_id = running(manager, gateway)
    script = Script(manager, gateway, session_id)
    other = make_manager()
    other.screenshot(session_id)
    refused = client.ask(f"/{session_id}/screenshot")
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_429, "too_many_screenshots")
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    threads = [threading.Thread(target=other.screenshot, args=(session_id,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert script.asked == ["1"]


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (("failed", b"maim: no \x1b[2Jdisplay\n"), "gave no picture: maim: no ?[2Jdisplay"),
        (("png", b"<script>"), "no PNG"),
        (("png", picture()[:-3]), "no PNG"),
        (("png", b"\0" * (17 << 20)), "at most"),
        (("other", b""), "within"),
    ],
)
def test_what_is_no_picture(
    client: Client,
    manager: SessionManager,
    gateway: MemoryGateway,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[str, bytes],
    part: str,
) -> None:
    """502 with the reason; nothing of what the user put there is passed on."""
    monkeypatch.setattr(pictures, "_PATIENCE_S", 0.5)
    session_id = running(manager, gateway)
    Script(manager, gateway, session_id).answer = answer
    refused = client.ask(f"/{session_id}/screenshot")
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_502, "screenshot_failed")
    assert part in refused.json["error"]


def test_a_script_that_would_be_ended_by_the_signal_is_left_alone(
    client: Client, manager: SessionManager, gateway: MemoryGateway
) -> None:
    """One of an earlier version."""
    session_id = running(manager, gateway, hears=0)
    refused = client.ask(f"/{session_id}/screenshot")
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_409, "screenshot_unavailable")
    assert not gateway.woken


def test_a_wish_that_another_writer_undid_is_made_again(
    client: Client,
    manager: SessionManager,
    gateway: MemoryGateway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next round of reconcile writes it, and wakes the script."""
    session_id = running(manager, gateway)
    script = Script(manager, gateway, session_id)
    write, wake = gateway.set_admin_comment, gateway.wake

    def lost(*_: object) -> None:
        """Nothing comes of it, this time."""

    monkeypatch.setattr(gateway, "set_admin_comment", lost)
    monkeypatch.setattr(gateway, "wake", lost)
    answers: list[testing.Result] = []
    thread = threading.Thread(
        target=lambda: answers.append(client.ask(f"/{session_id}/screenshot"))
    )
    thread.start()
    time.sleep(0.3)
    monkeypatch.setattr(gateway, "set_admin_comment", write)
    monkeypatch.setattr(gateway, "wake", wake)
    manager.reconcile()
    thread.join(10)
    assert answers[0].status == falcon.HTTP_200
    assert script.asked == ["1"]


def test_who_may_look(
    client: Client,
    manager: SessionManager,
    make_manager: Callable[..., SessionManager],
    gateway: MemoryGateway,
) -> None:
    """The owner; administrators where the site says so; before and after it runs there is none."""
    waiting = manager.create("alice").session_id
    refused = client.ask(f"/{waiting}/screenshot")
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_409, "session_not_running")
    session_id = running(manager, gateway)
    Script(manager, gateway, session_id)
    for user in ("bob", "carol"):
        for what in ("log", "screenshot"):
            refused = client.ask(f"/{session_id}/{what}", user)
            assert (refused.status, refused.json["code"]) == (
                falcon.HTTP_404,
                "session_not_found",
            )
    admins = Client(create_app(make_manager(administrators_look=True, screenshot_every_s=1)))
    assert admins.ask(f"/{session_id}/screenshot", "carol").status == falcon.HTTP_200
    assert admins.ask(f"/{session_id}/screenshot", "bob").status == falcon.HTTP_404
    refused = Client(create_app(make_manager(screenshots=False))).ask(f"/{session_id}/screenshot")
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_403, "disabled")

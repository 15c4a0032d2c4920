"""Requests that wait for a session: answered when it is there, bounded, and heard at once."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import falcon
import pytest
from falcon import testing

from moonlight_core import SessionManager, reconcile, views
from moonlight_core.errors import InvalidRequest
from moonlight_http import create_app, identity
from moonlight_http.pairings import Pairings
from moonlight_http.waiting import HAS_LEFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

SESSIONS = "/api/moonlight/sessions"


class Client(testing.TestClient):
    """Somebody behind the proxy on this host."""

    def ask(self, path: str, user: str = "alice", **options: Any) -> testing.Result:
        """GET below the sessions."""
        return self.simulate_get(
            SESSIONS + path,
            headers={"X-Remote-User": user},
            extras={"REMOTE_ADDR": "127.0.0.1"} | options.pop("extras", {}),
            **options,
        )


@pytest.fixture
def manager(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> SessionManager:
    """Four requests may wait, one of each user."""
    monkeypatch.setattr(identity, "find_user", resolve_user)
    names = {2001: "alice", 2002: "bob"}
    monkeypatch.setattr(reconcile, "name_of", names.get)
    return SessionManager(
        make_settings(service={"waiting": 4}),
        store,
        gateway,
        service_secret=secret,
        resolve_user=resolve_user,
    )


@pytest.fixture
def stop() -> threading.Event:
    """The end of the service."""
    return threading.Event()


@pytest.fixture
def client(manager: SessionManager, stop: threading.Event) -> Client:
    """The service."""
    return Client(create_app(manager, pairings=Pairings(stop)))


class Waiter(threading.Thread):
    """A request that waits."""

    def __init__(self, look: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._look = look
        self.answer: Any = None
        self.start()

    def run(self) -> None:
        """Wait."""
        self.answer = self._look()

    def result(self) -> Any:
        """The answer."""
        self.join(10)
        assert not self.is_alive()
        return self.answer


def run(manager: SessionManager, gateway: MemoryGateway, job_id: int) -> None:
    """Let a session get ready."""
    gateway.start(job_id, "viz1")
    manager.reconcile()
    gateway.report(job_id, json.dumps({"phase": "ready"}))
    manager.reconcile()


def test_the_answer_comes_with_the_change(
    client: Client,
    manager: SessionManager,
    gateway: MemoryGateway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not with the next look at the record: it is heard."""
    monkeypatch.setattr(views, "_LOOK_EVERY_S", 300.0)
    session = manager.create("alice")
    assert session.job_id is not None
    path = f"/{session.session_id}"
    waiter = Waiter(lambda: client.ask(path, params={"wait": "running", "timeout": "20"}))
    ended = Waiter(lambda: manager.wait_until(session.session_id, "ended", timeout_s=20))
    time.sleep(0.3)
    assert waiter.is_alive()
    run(manager, gateway, session.job_id)
    answer = waiter.result().json
    assert (answer["status"], answer["percent"]) == ("running", 100)
    assert answer["connect"]["port"] == answer["sunshine_port"]
    # Asked again it is there already.
    again = Waiter(lambda: client.ask(path, params={"wait": "running"}))
    assert again.result().json["status"] == "running"
    assert ended.is_alive()
    gateway.end(session.job_id, "COMPLETED")
    manager.reconcile()
    assert ended.result().status == "stopped"


def test_a_session_that_will_not_run_is_not_waited_for(
    client: Client, manager: SessionManager, gateway: MemoryGateway
) -> None:
    """An end answers a wait for running."""
    session = manager.create("alice")
    waiter = Waiter(lambda: client.ask(f"/{session.session_id}", params={"wait": "running"}))
    gateway.end(session.job_id or 0, "FAILED", exit_code=1)
    manager.reconcile()
    assert waiter.result().json["status"] == "failed"


def test_the_time_is_over(client: Client, manager: SessionManager) -> None:
    """200 with the session as it is, and what it waits for."""
    session = manager.create("alice")
    begin = time.monotonic()
    answer = client.ask(f"/{session.session_id}", params={"wait": "running", "timeout": "1"})
    assert 0.9 < time.monotonic() - begin < 5
    assert answer.status == falcon.HTTP_200
    assert (answer.json["status"], answer.json["percent"]) == ("pending", 5)
    now = client.ask(f"/{session.session_id}", params={"wait": "ended", "timeout": "0"})
    assert now.json["status"] == "pending"


@pytest.mark.parametrize(
    "parameters",
    [
        {"wait": "walking"},
        {"wait": ["running", "ended"]},
        {"wait": "running", "timeout": "61"},
        {"wait": "running", "timeout": "-1"},
        {"wait": "running", "timeout": "1.5"},
        {"timeout": "x"},
    ],
)
def test_parameters_that_make_no_sense(
    client: Client, manager: SessionManager, parameters: dict[str, Any]
) -> None:
    """400, with what would be right."""
    session = manager.create("alice")
    refused = client.ask(f"/{session.session_id}", params=parameters, params_csv=False)
    assert refused.status == falcon.HTTP_400
    assert refused.json["code"] == "malformed_parameter"


def test_others_wait_for_nothing(client: Client, manager: SessionManager) -> None:
    """A session of somebody else is as none."""
    session = manager.create("alice")
    refused = client.ask(f"/{session.session_id}", "bob", params={"wait": "running"})
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_404, "session_not_found")
    with pytest.raises(InvalidRequest):
        manager.wait_until(session.session_id, "pending", timeout_s=1)


def test_so_many_may_wait(client: Client, manager: SessionManager, stop: threading.Event) -> None:
    """More are refused at once; the end of the service lets all go, as a client that leaves."""
    session = manager.create("alice")
    path = f"/{session.session_id}"
    has_left = threading.Event()
    waiter = Waiter(
        lambda: client.ask(
            path,
            params={"wait": "running"},
            extras={HAS_LEFT: has_left.is_set},
        )
    )
    time.sleep(0.3)
    refused = client.ask(path, params={"wait": "running"})
    assert (refused.status, refused.json["code"]) == (falcon.HTTP_503, "busy")
    assert int(refused.headers["Retry-After"]) > 0
    assert client.ask(path).status == falcon.HTTP_200
    has_left.set()
    waiter.result()
    waiter = Waiter(lambda: client.ask(path, params={"wait": "running"}))
    time.sleep(0.3)
    assert waiter.is_alive()
    stop.set()
    assert waiter.result().json["status"] == "pending"


def test_the_feed_ends_with_its_last_watcher_and_begins_again(
    client: Client, manager: SessionManager, store: SessionStore
) -> None:
    """No thread and no connection is left when nobody waits."""

    def listening() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "events"]

    session = manager.create("alice")
    for _ in range(2):
        with store.feed.watch(session.session_id) as changed, store.feed.watch("other") as other:
            assert changed.wait(5)
            changed.clear()
            other.clear()
            store.update(manager.get(session.session_id), announce=True, reason="A change.")
            assert changed.wait(5)
            assert not other.is_set()
            assert len(listening()) == 1
        deadline = time.monotonic() + 5
        while listening():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_queue_says_when(
    client: Client, manager: SessionManager, gateway: MemoryGateway
) -> None:
    """Slurm's estimate, for programs and for people; forgotten when it starts."""
    session = manager.create("alice")
    assert session.job_id is not None
    expected = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=30)
    gateway.change(session.job_id, state_reason="Resources", expected_start_at=expected)
    manager.reconcile()
    answer = client.ask(f"/{session.session_id}").json
    assert dt.datetime.fromisoformat(answer["expected_start_at"]) == expected
    assert " Expected at " in answer["reason"]
    gateway.change(session.job_id, expected_start_at=None)
    run(manager, gateway, session.job_id)
    assert client.ask(f"/{session.session_id}").json["expected_start_at"] is None

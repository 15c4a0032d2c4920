"""The HTTP face, as a proxy would use it: identity, routes, errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import falcon
import pytest
from falcon import testing

from moonlight_core import SessionManager, errors
from moonlight_http import create_app, identity
from moonlight_http.errors import TABLE, status_and_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

SESSIONS = "/api/moonlight/sessions"


class Client(testing.TestClient):
    """A client on this host, where the proxy is."""

    def simulate_request(self, *args: Any, **kwargs: Any) -> Any:
        """Falcon's, with an address."""
        return super().simulate_request(*args, **{"remote_addr": "127.0.0.1"} | kwargs)


@pytest.fixture
def client(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> testing.TestClient:
    """The application, with carol as the administrator."""
    monkeypatch.setattr(identity, "find_user", resolve_user)
    manager = SessionManager(
        make_settings(service={"administrators": ["carol"], "max_body_bytes": 2000}),
        store,
        gateway,
        service_secret=secret,
        resolve_user=resolve_user,
    )
    return Client(create_app(manager))


def as_user(name: str) -> dict[str, str]:
    """The proxy's header."""
    return {"X-Remote-User": name}


def create(client: testing.TestClient, user: str = "alice", **body: Any) -> testing.Result:
    """POST a session."""
    return client.simulate_post(SESSIONS, headers=as_user(user), json={"image_id": "xfce4"} | body)


def check_error(result: testing.Result, status: str, code: str) -> None:
    """Every error has the same shape."""
    assert result.status == status
    assert result.json["code"] == code
    assert len(result.json["error"]) > 10


def test_a_session_comes_and_goes(client: testing.TestClient) -> None:
    """201 with its place, then listed, read, ended, ended again."""
    created = create(client)
    assert created.status == falcon.HTTP_201
    place = created.headers["Location"]
    assert place == f"{SESSIONS}/{created.json['session_id']}"
    assert created.json["status"] == "pending"
    listed = client.simulate_get(SESSIONS, headers=as_user("alice")).json
    assert [session["session_id"] for session in listed["sessions"]] == [created.json["session_id"]]
    assert client.simulate_get(place, headers=as_user("alice")).json["status"] == "pending"
    first = client.simulate_delete(place, headers=as_user("alice"))
    again = client.simulate_delete(place, headers=as_user("alice"))
    assert (first.status, first.json) == (falcon.HTTP_200, again.json)


def test_a_request_can_be_repeated(client: testing.TestClient) -> None:
    """With an Idempotency-Key: the same answer, and one session."""
    headers = as_user("alice") | {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    first, again = (client.simulate_post(SESSIONS, headers=headers) for _ in range(2))
    assert (first.status, first.json) == (again.status, again.json)
    assert len(client.simulate_get(SESSIONS, headers=as_user("alice")).json["sessions"]) == 1
    headers["Idempotency-Key"] = "x" * 256
    refused = client.simulate_post(SESSIONS, headers=headers)
    check_error(refused, falcon.HTTP_422, "invalid_value")


def test_images(client: testing.TestClient) -> None:
    """The fields of the contract."""
    answer = client.simulate_get("/api/moonlight/images", headers=as_user("alice")).json
    assert answer["images"][0].keys() == {
        "id", "name", "description", "icon", "default", "available", "options"
    }  # fmt: skip
    assert answer["images"][0]["available"] is True


@pytest.mark.parametrize("path", ["/health", "/api/moonlight/health", "/health/"])
def test_health_needs_no_identity(client: testing.TestClient, path: str) -> None:
    """And never asks slurmctld."""
    answer = client.simulate_get(path)
    assert answer.status == falcon.HTTP_200
    assert answer.json["service"] == "moonlight_backend"
    assert answer.json["port"] == 8004
    assert answer.json["checks"]["redis"] == "ok"


def test_without_a_name_nobody_is_anybody(client: testing.TestClient) -> None:
    """401 on every route but health."""
    for path in ("/api/moonlight/images", SESSIONS, f"{SESSIONS}/ml-x"):
        check_error(client.simulate_get(path), falcon.HTTP_401, "not_identified")
    check_error(client.simulate_post(SESSIONS, json={}), falcon.HTTP_401, "not_identified")


def test_the_header_from_elsewhere_is_refused(client: testing.TestClient) -> None:
    """Only a configured address may set it."""
    result = client.simulate_get(SESSIONS, headers=as_user("alice"), remote_addr="10.1.2.3")
    check_error(result, falcon.HTTP_403, "untrusted_proxy")


@pytest.mark.parametrize(
    "name",
    ["root", "nobody", "mallory", "alice,bob", "alice bob", "../alice", "a" * 300, "ALICE", ""],
)
def test_who_is_nobody_here_is_refused(client: testing.TestClient, name: str) -> None:
    """No record is looked at for them."""
    assert client.simulate_get(SESSIONS, headers=as_user(name)).status in (
        falcon.HTTP_401,
        falcon.HTTP_403,
    )


def test_a_foreign_session_is_as_a_missing_one(client: testing.TestClient) -> None:
    """In status and words."""
    place = create(client).headers["Location"]
    foreign = client.simulate_get(place, headers=as_user("bob"))
    missing = client.simulate_get(f"{SESSIONS}/ml-x", headers=as_user("bob"))
    check_error(foreign, falcon.HTTP_404, "session_not_found")
    session_id = place.rpartition("/")[2]
    assert foreign.json["error"].replace(session_id, "ml-x") == missing.json["error"]
    check_error(
        client.simulate_delete(place, headers=as_user("bob")), falcon.HTTP_404, "session_not_found"
    )
    assert client.simulate_get(place, headers=as_user("alice")).json["status"] == "pending"


def test_administrators_see_and_end_all(client: testing.TestClient) -> None:
    """And nobody else does."""
    place = create(client).headers["Location"]
    everybody = {"all": "true"}
    refused = client.simulate_get(SESSIONS, headers=as_user("bob"), params=everybody)
    check_error(refused, falcon.HTTP_403, "not_administrator")
    seen = client.simulate_get(SESSIONS, headers=as_user("carol"), params=everybody).json
    assert len(seen["sessions"]) == 1
    assert client.simulate_get(SESSIONS, headers=as_user("carol")).json == {"sessions": []}
    assert client.simulate_delete(place, headers=as_user("carol")).json["status"] == "stopping"


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"{", "application/json", falcon.HTTP_400, "malformed_json"),
        (b"\xff\xfe", "application/json", falcon.HTTP_400, "malformed_json"),
        (b"[" * 1500, "application/json", falcon.HTTP_400, "malformed_json"),
        (b"[]", "application/json", falcon.HTTP_400, "malformed_json"),
        (b'"x"', "application/json", falcon.HTTP_400, "malformed_json"),
        (b"{}", "text/plain", falcon.HTTP_415, "unsupported_media_type"),
        (b"a=b", "application/x-www-form-urlencoded", falcon.HTTP_415, "unsupported_media_type"),
        (b" " * 3000, "application/json", falcon.HTTP_413, "body_too_large"),
        (b'{"image_id": "none"}', "application/json", falcon.HTTP_422, "image_not_found"),
        (b'{"image_id": {}}', "application/json", falcon.HTTP_422, "image_not_found"),
        (b'{"user": "bob"}', "application/json", falcon.HTTP_422, "unknown_field"),
        (b'{"gpus": "1"}', "application/json", falcon.HTTP_422, "invalid_value"),
        (b'{"hours": 1e9}', "application/json", falcon.HTTP_422, "invalid_value"),
        (b'{"hours": NaN}', "application/json", falcon.HTTP_422, "invalid_value"),
        (b'{"cpus": 99999999999999999999}', "application/json", falcon.HTTP_422, "invalid_value"),
    ],
)
def test_a_body_that_will_not_do(
    client: testing.TestClient, body: bytes, media_type: str, status: str, code: str
) -> None:
    """The right 4xx, and nothing is made."""
    headers = as_user("alice") | {"Content-Type": media_type}
    check_error(client.simulate_post(SESSIONS, headers=headers, body=body), status, code)
    assert client.simulate_get(SESSIONS, headers=as_user("alice")).json == {"sessions": []}


def test_an_empty_body_means_all_defaults(client: testing.TestClient) -> None:
    """The default image."""
    result = client.simulate_post(SESSIONS, headers=as_user("alice"))
    assert (result.status, result.json["image_id"]) == (falcon.HTTP_201, "xfce4")


@pytest.mark.parametrize("value", ["maybe", "", "true,false"])
def test_a_parameter_that_will_not_do(client: testing.TestClient, value: str) -> None:
    """Is not guessed at."""
    result = client.simulate_get(SESSIONS, headers=as_user("carol"), query_string=f"all={value}x")
    check_error(result, falcon.HTTP_400, "malformed_parameter")


def test_unknown_places_and_methods(client: testing.TestClient) -> None:
    """In our shape too."""
    check_error(client.simulate_get("/"), falcon.HTTP_404, "not_found")
    check_error(client.simulate_get("/api/vnc/sessions"), falcon.HTTP_404, "not_found")
    result = client.simulate_put(SESSIONS, headers=as_user("alice"))
    check_error(result, falcon.HTTP_405, "method_not_allowed")


def test_the_quota(client: testing.TestClient) -> None:
    """429 with limit and use."""
    for _ in range(4):
        assert create(client).status == falcon.HTTP_201
    result = create(client)
    check_error(result, falcon.HTTP_429, "quota_exceeded")
    assert (result.json["limit"], result.json["current"]) == (4, 4)


def test_slurm_away(client: testing.TestClient, gateway: MemoryGateway) -> None:
    """503 with Retry-After for a create; reads go on."""
    gateway.away = True
    result = create(client)
    check_error(result, falcon.HTTP_503, "slurm_unavailable")
    assert int(result.headers["Retry-After"]) > 0
    assert client.simulate_get(SESSIONS, headers=as_user("alice")).json == {"sessions": []}


@pytest.fixture
def broken_redis(redis_client: redis.Redis) -> Iterator[None]:
    """A Redis that answers every command with an error."""
    redis_client.execute_command("CONFIG", "SET", "maxmemory", "1")
    yield
    redis_client.execute_command("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.usefixtures("broken_redis")
def test_redis_full(client: testing.TestClient, gateway: MemoryGateway) -> None:
    """503, and no job is made."""
    check_error(create(client), falcon.HTTP_503, "store_unavailable")
    assert gateway.specs == {}


def every_error(kind: type = errors.MoonlightError) -> Iterator[type[errors.MoonlightError]]:
    """The whole tree."""
    yield kind
    for child in kind.__subclasses__():
        yield from every_error(child)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_core_error_has_an_answer(kind: type[errors.MoonlightError]) -> None:
    """Resolved by the table; only what a service never meets in a request is a 500."""
    status, code = status_and_code(kind.__new__(kind))
    assert code
    assert kind in TABLE or kind.__mro__[1] in TABLE
    unexpected = (
        errors.SettingsError,
        errors.ServiceUnavailable,
        errors.WaitTimeout,
        errors.SessionEnded,
    )
    assert (status == falcon.HTTP_500) == (kind in (errors.MoonlightError, *unexpected))


def test_a_bug_is_told_without_its_inside(
    client: testing.TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback, the answer has not."""
    monkeypatch.setattr(SessionManager, "images", lambda _self: 1 / 0)
    result = client.simulate_get("/api/moonlight/images", headers=as_user("alice"))
    check_error(result, falcon.HTTP_500, "internal_error")
    assert "ZeroDivisionError" not in result.text
    assert "ZeroDivisionError" in caplog.text


def test_answers_are_json(client: testing.TestClient) -> None:
    """The errors too."""
    result = client.simulate_get(SESSIONS)
    assert result.headers["Content-Type"] == "application/json"
    assert json.loads(result.text)["code"] == "not_identified"

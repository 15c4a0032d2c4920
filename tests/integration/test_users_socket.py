"""The users' socket: everybody is the account that connects, and nobody can say otherwise."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from live import SESSIONS, SOMEBODY, Live, served
from test_tokens import SETTINGS, claims, secret_file, signed

from moonlight_core import users
from moonlight_core.doctor import Grade, Site
from moonlight_core.doctor import service as doctors_service
from moonlight_core.errors import SettingsError, UserNotAllowed
from moonlight_http import identity, peers
from moonlight_http.identity import PROXY_SECRET

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator

    from moonlight_core.doctor import Finding

    Serve = Callable[..., contextlib.AbstractContextManager[Live]]

__all__ = ["secret_file"]
ALICE, BOB, CAROL, STRANGER = 2001, 2002, 2003, 54321

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="programs of other accounts are started")


@pytest.fixture
def path() -> Iterator[Path]:
    """Where the socket is; unlike ``tmp_path`` it is open to users."""
    with tempfile.TemporaryDirectory(prefix="moonlight-run-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder / "users.sock"


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts that do not depend on the machine's, beside root."""
    known = {0: "root", ALICE: "alice", BOB: "bob", CAROL: "carol"}

    def account_name(uid: int) -> str:
        if uid not in known:
            raise UserNotAllowed(f"There is no account with the uid {uid} on this system.")
        return known[uid]

    monkeypatch.setattr(identity, "account_name", account_name)


def over(live: Live) -> Live:
    """The same service, asked over its users' socket."""
    return attrs.evolve(live, socket=live.manager.settings.service.users_socket)


@root_only
def test_the_kernel_tells_who_asks(serve: Serve, path: Path) -> None:
    """Each sees and makes her own sessions; somebody else's looks as a missing one."""
    with serve(service={"users_socket": str(path)}) as live:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        users_way = over(live)
        status, made = users_way.curl("--request", "POST", uid=ALICE, over_socket=True)
        assert (status, made["username"]) == (201, "alice")
        _, listed = users_way.curl(uid=ALICE, over_socket=True)
        assert [each["session_id"] for each in listed["sessions"]] == [made["session_id"]]
        assert users_way.curl(uid=BOB, over_socket=True) == (200, {"sessions": []})
        place = f"{SESSIONS}/{made['session_id']}"
        for method in ("GET", "DELETE"):
            status, answer = users_way.curl(
                "--request", method, uid=BOB, over_socket=True, path=place
            )
            assert (status, answer["code"]) == (404, "session_not_found")
        assert live.ask("GET", place, X_Remote_User="alice")[2]["status"] == "pending"
        # Who may be nobody here: root, who has the library, and accounts that there are not.
        for uid in (0, SOMEBODY, STRANGER):
            status, answer = users_way.curl(uid=uid, over_socket=True)
            assert (status, answer["code"]) == (403, "user_not_allowed"), uid
    assert not path.exists()


@root_only
@pytest.mark.parametrize("uid", [0, ALICE])
@pytest.mark.parametrize(
    "header",
    [
        "X-Remote-User: bob",
        "X-Remote-User: alice",
        f"{PROXY_SECRET}: 0123",
        "Authorization: Bearer x",
    ],
)
def test_nobody_names_anybody(serve: Serve, path: Path, uid: int, header: str) -> None:
    """Not even root, whom the proxy's socket believes, and not even oneself."""
    with serve(service={"users_socket": str(path)}) as live:
        status, answer = over(live).curl("--header", header, uid=uid, over_socket=True)
        assert (status, answer["code"]) == (403, "untrusted_proxy")
        assert header.partition(":")[0] in answer["error"]


@root_only
def test_where_callers_are_known_by_tokens(serve: Serve, path: Path, secret_file: Path) -> None:
    """There the account alone counts; elsewhere the token alone, as ever."""
    token = signed(claims(sub="bob"))
    keys = SETTINGS | {"algorithm": "HS256", "key_file": str(secret_file), "cookie": "portal"}
    service = {"identity": "jwt", "users_socket": str(path)}
    with serve(service=service, jwt=keys) as live:
        users_way = over(live)
        for told in (f"Authorization: Bearer {token}", f"Cookie: portal={token}"):
            status, answer = users_way.curl("--header", told, uid=ALICE, over_socket=True)
            assert (status, answer["code"]) == (403, "untrusted_proxy")
        status, made = users_way.curl("--request", "POST", uid=ALICE, over_socket=True)
        assert (status, made["username"]) == (201, "alice")
        assert live.ask("GET", SESSIONS)[0] == 401
        status, _, listed = live.ask("GET", SESSIONS, Authorization=f"Bearer {token}")
        assert (status, listed) == (200, {"sessions": []})


@root_only
def test_administrators_have_their_rights_in_writing(
    serve: Serve, path: Path, tmp_path: Path
) -> None:
    """As over HTTP; nobody else has them."""
    log = tmp_path / "audit.jsonl"
    with serve(service={"users_socket": str(path), "audit_log": str(log)}) as live:
        made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice")[2]
        everybody = f"{SESSIONS}?all=true"
        status, answer = over(live).curl(uid=ALICE, over_socket=True, path=everybody)
        assert (status, answer["code"]) == (403, "not_administrator")
        assert log.read_text() == ""
        status, listed = over(live).curl(uid=CAROL, over_socket=True, path=everybody)
        assert (status, listed["sessions"][0]["session_id"]) == (200, made["session_id"])
        said = json.loads(log.read_text())
        assert (said["who"], said["whose"], said["address"]) == ("carol", "*", peers.USERS)


def test_the_systems_own_words(serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root is refused as everywhere, by the machine's real databases."""
    monkeypatch.setattr(identity, "account_name", lambda _uid: users.account_name(0))
    monkeypatch.setattr(identity, "find_user", users.find_user)
    with serve(service={"users_socket": str(path)}):
        status, answer = talk(path, "GET", SESSIONS)
        assert (status, answer["code"]) == (403, "user_not_allowed")
        assert answer["error"] == "root is a system account; sessions are for people."
        assert talk(path, "GET", "/health")[0] == 200


def talk(path: Path, method: str, place: str) -> tuple[int, dict[str, str]]:
    """A request of this process."""
    connection = http.client.HTTPConnection("x", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request(method, place)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_an_account_has_so_many_connections(serve: Serve, path: Path) -> None:
    """Also root's: over this socket nobody is the proxy."""
    with serve(service={"users_socket": str(path)}) as live:
        flood = []
        for _ in range(80):
            one = socket.socket(socket.AF_UNIX)
            one.settimeout(10)
            one.connect(str(path))
            flood.append(one)
        assert 1 <= served(flood) <= 40
        assert live.ask("GET", SESSIONS, X_Remote_User="alice")[0] == 200


def test_where_the_socket_may_lie(serve: Serve, path: Path) -> None:
    """Where nobody can put another; one that is in use is left, one that a crash left is taken."""
    settings = {"users_socket": str(path), "host": ""}
    path.parent.chmod(0o777)
    with pytest.raises(SettingsError, match="users_socket: others can"), serve(service=settings):
        pass
    path.parent.chmod(0o755)
    with serve(service=settings):
        with pytest.raises(OSError, match="in use"), serve(service=settings):
            pass
        os.link(path, path.with_name("left"))
    path.with_name("left").rename(path)
    with serve(service=settings):
        assert talk(path, "GET", "/health")[0] == 200
    for wrong, part in (
        ({"users_socket": "users.sock"}, "absolute path"),
        ({"users_socket": str(path), "socket": str(path)}, "are the same"),
        ({"host": ""}, "listen nowhere"),
    ):
        with pytest.raises(SettingsError, match=part), serve(service=wrong):
            pass


def test_the_doctor_looks_whether_users_get_there(serve: Serve, path: Path) -> None:
    """It answers; and every directory above it lets users through."""
    settings = {"users_socket": str(path), "host": ""}
    with serve(service=settings) as live:
        live.manager.reconcile()

        def look() -> Finding:
            (found,) = doctors_service.users(Site(settings=live.manager.settings))
            return found

        assert look().grade is Grade.GREEN
        for place, mode, mend in (
            (path, 0o600, f"chmod 666 {path}"),
            (path.parent, 0o700, f"chmod o+x {path.parent}"),
        ):
            before = place.stat().st_mode
            place.chmod(mode)
            found = look()
            assert (found.grade, mend in found.mend) == (Grade.YELLOW, True)
            place.chmod(stat.S_IMODE(before))
    assert "does not answer" in look().message

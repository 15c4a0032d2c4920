"""Nobody is somebody else: the proxy's header from anywhere but the proxy is refused."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from live import SESSIONS, SOMEBODY, Live

from moonlight_core import administrators
from moonlight_core.errors import SettingsError, UserNotAllowed
from moonlight_http import identity, peers
from moonlight_http.identity import PROXY_SECRET

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    Serve = Callable[..., contextlib.AbstractContextManager[Live]]

ALICE = ("--header", "X-Remote-User: alice")

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="programs of other accounts are started")


@root_only
def test_another_account_of_this_host_cannot_be_the_proxy(live: Live) -> None:
    """Loopback alone proves nothing: who owns the other end counts."""
    assert live.curl(*ALICE)[0] == 200
    status, answer = live.curl(*ALICE, uid=SOMEBODY)
    assert (status, answer["code"]) == (403, "untrusted_proxy")
    # What needs no identity goes on for everybody.
    status, answer = live.curl("--request", "OPTIONS", uid=SOMEBODY)
    assert status == 200


@root_only
def test_an_account_of_the_proxys_can(serve: Serve) -> None:
    """The one the settings name."""
    with serve(service={"trusted_users": ["nobody", "no-such-account"]}) as live:
        assert live.curl(*ALICE, uid=SOMEBODY)[0] == 200


def test_a_closed_connection_has_no_owner(live: Live) -> None:
    """A socket that its program closed would look like root's: it is nobody's."""
    proxies = peers.Proxies.of(["127.0.0.1"], [], accounts=True)
    assert not proxies.trusts("127.0.0.1", None)
    assert proxies.trusts("127.0.0.1", 0)
    assert live.port


def test_addresses_are_compared_as_networks() -> None:
    """IPv4 in IPv6 clothes is IPv4; what is no address is nobody."""
    proxies = peers.Proxies.of(["10.1.0.0/16", "::1"], [], accounts=True)
    assert proxies.trusts("10.1.2.3", None)
    assert proxies.trusts("::ffff:10.1.2.3", None)
    for address in ("10.2.0.1", "", "10.1.2.3.example.org", "127.0.0.1", "::1"):
        assert not proxies.trusts(address, None)
    assert not proxies.trusts(peers.UNIX, None)
    assert not proxies.trusts("10.1.2.3", SOMEBODY)


@root_only
def test_a_unix_socket_tells_who_connects(serve: Serve, open_path: Path) -> None:
    """Its mode keeps others out, and where the mode lets them in their account does."""
    path = open_path / "moonlight.sock"
    with serve(service={"socket": str(path)}) as live:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert live.curl(*ALICE, over_socket=True)[0] == 200
        assert live.curl(*ALICE, over_socket=True, uid=SOMEBODY)[0] == 0
        path.chmod(0o666)
        status, answer = live.curl(*ALICE, over_socket=True, uid=SOMEBODY)
        assert (status, answer["code"]) == (403, "untrusted_proxy")
    assert not path.exists()


@root_only
def test_the_socket_is_the_proxys_groups(serve: Serve, tmp_path: Path) -> None:
    """And a socket that a crash left behind is taken over, one in use is not."""
    path = tmp_path / "moonlight.sock"
    settings = {"socket": str(path), "socket_group": "daemon", "host": ""}
    with serve(service=settings):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.group() == "daemon"
        with pytest.raises(OSError, match="in use"), serve(service=settings):
            pass
        os.link(path, tmp_path / "left")
    (tmp_path / "left").rename(path)
    with serve(service=settings) as live:
        assert live.curl(*ALICE, over_socket=True)[0] == 200


def test_a_socket_where_others_could_put_theirs_is_refused(serve: Serve, tmp_path: Path) -> None:
    """A directory that others may write to, a file that is no socket, a group that is none."""
    path = tmp_path / "open" / "moonlight.sock"
    with pytest.raises(SettingsError, match="does not exist"), serve(service={"socket": str(path)}):
        pass
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(SettingsError, match="others can"), serve(service={"socket": str(path)}):
        pass
    path.parent.chmod(0o755)
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"), serve(service={"socket": str(path)}):
        pass
    assert path.read_text() == "precious"
    wrong = {"socket": str(tmp_path / "s"), "socket_group": "no-such-group"}
    with pytest.raises(SettingsError, match="no group"), serve(service=wrong):
        pass


def test_a_proxy_elsewhere_proves_itself_by_a_secret(serve: Serve, tmp_path: Path) -> None:
    """Its address alone could be any program of its host."""
    path = tmp_path / "proxy.secret"
    path.write_text("4ac1e0f3a3b8\n")
    path.chmod(0o600)
    with serve(service={"proxy_secret_file": str(path)}) as live:
        for told in ({}, {PROXY_SECRET: "4ac1e0f3a3b"}, {PROXY_SECRET: "é"}):
            status, _, answer = live.ask("GET", SESSIONS, X_Remote_User="alice", **told)
            assert (status, answer["code"]) == (403, "untrusted_proxy")
        told = {PROXY_SECRET: "4ac1e0f3a3b8"}
        assert live.ask("GET", SESSIONS, X_Remote_User="alice", **told)[0] == 200
    path.chmod(0o644)
    with (
        pytest.raises(SettingsError, match="chmod 600"),
        serve(service={"proxy_secret_file": str(path)}),
    ):
        pass


ODD = [b"alice,bob", b"alice bob", b"../alice", b"a" * 300, b"ALICE", b"alice\xc3\xa9",
       b"al\xffice", b"alice;root", b"$(id)", b"%61lice", b"root", b"daemon", b"nobody", b"mallory",
       b"alice\tx", b"''", b"alice@EXAMPLE.ORG"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_refused(live: Live, name: bytes) -> None:
    """On the wire, as bytes."""
    request = b"GET %s HTTP/1.1\r\nHost: x\r\nX-Remote-User: %s\r\nConnection: close\r\n\r\n"
    answer = live.raw(request % (SESSIONS.encode(), name))
    assert answer[9:12] in (b"400", b"403")


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Remote-User: alice\r\nX-Remote-User: alice\r\n",
        b"X-Remote-User: alice\r\nx-remote-user: bob\r\n",
        b"X-Remote-User: alice\r\n bob\r\n",
        b"X-Remote-User : alice\r\n",
        b"X-Remote-User: alice\r\nX_Remote_User: bob\r\nX-Remote-User: carol\r\n",
        b"X-Remote-User: \x00alice\r\n",
        b"X-Remote-User:\r\n",
    ],
)
def test_several_values_and_broken_headers_name_nobody(live: Live, headers: bytes) -> None:
    """A proxy that passes on a header of the client beside its own is caught."""
    request = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"
    answer = live.raw(request % (SESSIONS.encode(), headers))
    assert answer[:7] == b"HTTP/1."
    assert answer[9:12] in (b"400", b"401", b"403"), answer


def test_a_header_with_underscores_is_not_the_header(live: Live) -> None:
    """CGI cannot tell them apart: a proxy may have passed on the client's."""
    request = b"GET %s HTTP/1.1\r\nHost: x\r\nX_Remote_User: alice\r\nConnection: close\r\n\r\n"
    assert live.raw(request % SESSIONS.encode()).startswith(b"HTTP/1.1 401")


def test_administrators_by_a_unix_group(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system's databases say now, not when the service started."""
    monkeypatch.setattr(identity, "_REMEMBER_S", 0.0)
    members: set[str] = set()

    class Grp:
        """A group database of one group."""

        @staticmethod
        def getgrnam(name: str) -> Any:
            """The group, by its name."""
            if name != "vizadmins":
                raise KeyError(name)
            return type("Group", (), {"gr_gid": 4711})

    monkeypatch.setattr(administrators, "grp", Grp)
    monkeypatch.setattr(
        administrators.os, "getgrouplist", lambda name, gid: [gid] + [4711] * (name in members)
    )
    everybody = f"{SESSIONS}?all=true"
    with serve(service={"administrators_group": "vizadmins"}) as live:
        assert live.ask("GET", everybody, X_Remote_User="bob")[0] == 403
        members.add("bob")
        assert live.ask("GET", everybody, X_Remote_User="bob")[0] == 200
        assert live.ask("GET", everybody, X_Remote_User="alice")[0] == 403
        assert live.ask("GET", everybody, X_Remote_User="carol")[0] == 200
    with serve(service={"administrators_group": "no-such-group"}) as live:
        assert live.ask("GET", everybody, X_Remote_User="bob")[0] == 403


def test_what_changes_something_asks_the_system_anew(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has just been locked out may look for a moment more, and change nothing."""
    monkeypatch.setattr(identity, "_REMEMBER_S", 600.0)

    def locked(name: str, **_: object) -> None:
        raise UserNotAllowed(f"The account {name} is locked.")

    with serve() as live:
        assert live.ask("GET", SESSIONS, X_Remote_User="alice")[0] == 200
        monkeypatch.setattr(identity, "find_user", locked)
        assert live.ask("GET", SESSIONS, X_Remote_User="alice")[0] == 200
        assert live.ask("POST", SESSIONS, X_Remote_User="alice")[0] == 403
        assert live.ask("DELETE", f"{SESSIONS}/ml-alice-x", X_Remote_User="alice")[0] == 403
        assert live.ask("GET", SESSIONS, X_Remote_User="bob")[0] == 403

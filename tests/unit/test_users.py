"""Accounts: only people who are known to the system and may log in."""

from __future__ import annotations

import pwd

import pytest

from moonlight_core import UserNotAllowed
from moonlight_core.users import find_user, name_of


def entry(name: str, uid: int, shell: str) -> pwd.struct_passwd:
    """A line of the user database."""
    return pwd.struct_passwd((name, "x", uid, uid, "", f"/home/{name}", shell))


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user database of our own."""
    entries = {
        "alice": entry("alice", 2001, "/bin/bash"),
        "root": entry("root", 0, "/bin/bash"),
        "toor": entry("toor", 0, "/bin/bash"),
        "daemon": entry("daemon", 1, "/usr/sbin/nologin"),
        "locked": entry("locked", 2005, "/usr/sbin/nologin"),
        "false": entry("false", 2006, "/bin/false"),
        "bare": entry("bare", 2007, ""),
    }
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entries[name])
    monkeypatch.setattr(
        pwd, "getpwuid", lambda uid: next((e for e in entries.values() if e.pw_uid == uid), None)
    )


def test_a_person_is_found() -> None:
    """With everything a job needs."""
    alice = find_user("alice", first_uid=1000)
    assert (alice.uid, alice.gid, alice.home, alice.shell) == (
        2001,
        2001,
        "/home/alice",
        "/bin/bash",
    )
    assert find_user("bare", first_uid=1000).shell == "/bin/sh"
    assert name_of(2001) == "alice"


@pytest.mark.parametrize(
    "name",
    ["root", "toor", "daemon", "locked", "false", "mallory", "", "a b", "a\n", "-x", "../x", "é",
     "A", "x" * 40, "a;id", "$(id)", "a\0b", None, 7],
)  # fmt: skip
def test_anybody_else_is_refused(name: str) -> None:
    """With a sentence, whatever the name is made of."""
    with pytest.raises(UserNotAllowed) as caught:
        find_user(name, first_uid=1000)
    assert str(caught.value).endswith(".")

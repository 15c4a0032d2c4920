"""Accounts: only people who are known to the system and may log in."""

from __future__ import annotations

import pwd

import pytest

from moonlight_core import UserNotAllowed
from moonlight_core.users import account_name, find_user, name_of


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
        # A name of both the directory (2009) and /etc/passwd (2008), which is asked first.
        "twice": entry("twice", 2008, "/bin/bash"),
        "in the directory": entry("twice", 2009, "/bin/bash"),
    }
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entries[name])
    by_uid = {account.pw_uid: account for account in entries.values()}
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: by_uid[uid])


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


def test_a_uid_means_the_account_that_its_name_means() -> None:
    """Otherwise a session would run as somebody else of that name."""
    assert account_name(2001) == "alice"
    assert account_name(2008) == "twice"
    for uid, part in ((2009, "another account's"), (4711, "no account with the uid 4711")):
        with pytest.raises(UserNotAllowed, match=part):
            account_name(uid)

"""Accounts: who may have sessions, as the system's user database tells."""

from __future__ import annotations

import datetime as dt
import grp
import os
import pwd
import re
from pathlib import Path

import attrs

from moonlight_core.errors import UserNotAllowed

_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_NO_LOGIN = ("nologin", "false")
_SHADOW = Path("/etc/shadow")
_SHADOW_FIELDS = 9


@attrs.frozen(kw_only=True)
class User:
    """An account that may have sessions."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


def find_user(name: str, *, first_uid: int) -> User:
    """The account of that name.

    Args:
        name: user name.
        first_uid: accounts with a lower uid are system accounts.

    Raises:
        UserNotAllowed: when it is unknown, root or a system account, or may not log in.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserNotAllowed(
            "The user name is not one of this system: names are made of a-z, 0-9, _, . and -."
        )
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UserNotAllowed(f"There is no account {name} on this system.") from None
    if entry.pw_uid == 0 or entry.pw_uid < first_uid:
        raise UserNotAllowed(f"{name} is a system account; sessions are for people.")
    if entry.pw_shell.rpartition("/")[2] in _NO_LOGIN:
        raise UserNotAllowed(f"The account {name} may not log in, so it may not have sessions.")
    if _is_locked(name):
        raise UserNotAllowed(f"The account {name} is locked, so it may not have sessions.")
    return User(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        home=entry.pw_dir,
        shell=entry.pw_shell or "/bin/sh",
    )


def _is_locked(name: str) -> bool:
    """Whether ``passwd --lock`` or ``usermod --expiredate`` locked an account (shadow(5)).

    An account that never had a password is not locked: people come by keys and single sign-on.
    Accounts of a directory are not in the file; their locks show in the shell, or not at all.
    """
    try:
        lines = _SHADOW.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        fields = line.split(":")
        if fields[0] != name or len(fields) < _SHADOW_FIELDS:
            continue
        password, expires = fields[1], fields[7]
        today = (dt.datetime.now(dt.UTC).date() - dt.date(1970, 1, 1)).days
        return (password.startswith("!") and password.strip("!*") != "") or (
            expires.isdigit() and int(expires) <= today
        )
    return False


def group_names(user: User) -> set[str]:
    """The names of the Unix groups that a user is in."""
    names = set()
    for gid in os.getgrouplist(user.name, user.gid):
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return names


def account_name(uid: int) -> str:
    """The name of the account with a uid, by which that account alone is meant.

    Raises:
        UserNotAllowed: there is none, or by its name another one is found: where both /etc/passwd
            and a directory have a name, one person would be taken for the other.
    """
    name = name_of(uid)
    if name is None:
        raise UserNotAllowed(f"There is no account with the uid {uid} on this system.")
    try:
        meant = pwd.getpwnam(name).pw_uid
    except KeyError:
        meant = None
    if meant != uid:
        raise UserNotAllowed(f"The uid {uid} has the name {name}, which is another account's too.")
    return name


def name_of(uid: int) -> str | None:
    """The account name of a uid, or None."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None

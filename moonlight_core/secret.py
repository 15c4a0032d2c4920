"""Secrets: read from files that only the service can read, never shown."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from moonlight_core.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


class Secret:
    """A string that does not show itself in a repr, a log or a traceback."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


def read_secret(path: Path) -> Secret:
    """Read a secret from the first line of a file.

    Raises:
        SettingsError: when the file is missing, empty, or open to others than its owner, who must
            be root or the account the service runs as.
    """
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            value = file.readline().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError([f"The secret file {path} cannot be read: {exc}."]) from exc
    mode = status.st_mode & 0o777
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(
            [f"The secret file {path} is open to others (mode {mode:03o}): chmod 600 {path}."]
        )
    if status.st_uid not in (0, os.geteuid()):
        owner = f"The secret file {path} belongs to uid {status.st_uid}"
        raise SettingsError([f"{owner}: it must belong to root or to the service's own account."])
    if not value:
        raise SettingsError([f"The secret file {path} is empty: write a secret into it."])
    return Secret(value)

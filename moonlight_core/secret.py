"""Secrets: read from files that only the service can read, never shown."""

from __future__ import annotations

import hmac
import os
import stat
from typing import TYPE_CHECKING

from moonlight_core.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


_SHORTEST = 16


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


class ServiceSecrets:
    """The service's secret, and earlier ones that sessions still living were made with.

    A session remembers with which one it was made by a number that tells nothing about it.
    """

    def __init__(self, current: Secret, *earlier: Secret) -> None:
        self.current = current
        self._by_id = {_id_of(secret): secret for secret in (*reversed(earlier), current)}

    @property
    def current_id(self) -> int:
        """The number of the secret that new sessions are made with, above 0."""
        return _id_of(self.current)

    def of(self, secret_id: int) -> Secret | None:
        """The secret of that number, None if it is no longer there; 0 is the current one."""
        return self._by_id.get(secret_id) if secret_id else self.current

    def __repr__(self) -> str:
        return f"ServiceSecrets({len(self._by_id)} of them)"


def _id_of(secret: Secret) -> int:
    digest = hmac.digest(secret.reveal().encode(), b"moonlight secret id", "sha256")
    return int.from_bytes(digest[:4]) or 1


def read_service_secrets(path: Path) -> ServiceSecrets:
    """Read the service's secrets: a line each, the current one first.

    Raises:
        SettingsError: as ``read_secret``, and when one is too short to be one.
    """
    secrets = [Secret(line) for line in _private_lines(path)]
    if any(len(secret.reveal()) < _SHORTEST for secret in secrets):
        told = f"The secret file {path} holds a line of less than {_SHORTEST} characters"
        raise SettingsError([f"{told}: make one by `openssl rand -hex 32`."])
    return ServiceSecrets(*secrets)


def read_secret(path: Path) -> Secret:
    """Read a secret from the first line of a file.

    Raises:
        SettingsError: when the file is missing, empty, or open to others than its owner, who must
            be root or the account the service runs as.
    """
    return Secret(_private_lines(path)[0])


def _private_lines(path: Path) -> list[str]:
    """The lines of a file that only root and we can read, without empty ones at its end."""
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            lines = [line.strip() for line in file]
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
    if not lines or not lines[0]:
        raise SettingsError([f"The secret file {path} is empty: write a secret into it."])
    return [line for line in lines if line]

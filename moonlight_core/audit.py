"""The audit log: a file with a line of JSON for each act of an administrator."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import threading
from typing import TYPE_CHECKING

from moonlight_core.models import SESSION_ID

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger("moonlight.audit")
_UNIQUE_PART = 19


def owner_in(session_id: str) -> str | None:
    """Whose session an id would be; None for what is no id."""
    if not SESSION_ID.fullmatch(session_id):
        return None
    return session_id.removeprefix("ml-")[:-_UNIQUE_PART]


class AuditLog:
    """A file with a line of JSON for each act; without a file the lines go to the service's log.

    The file is opened for each line, so that it can be rotated by renaming.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def check(self) -> None:
        """See that it can be written.

        Raises:
            OSError: it cannot.
        """
        if self._path is not None:
            os.close(self._open(self._path))

    def write(self, **entry: object) -> None:
        """Write a line; one that cannot be written is in the service's log at least."""
        moment = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": moment, **entry}, ensure_ascii=True)
        if self._path is None:
            _log.warning("%s", line)
            return
        try:
            with self._lock:
                file = self._open(self._path)
                try:
                    os.write(file, line.encode() + b"\n")
                finally:
                    os.close(file)
        except OSError as exc:
            _log.error("the audit log %s cannot be written (%s): %s", self._path, exc, line)

    @staticmethod
    def _open(path: Path) -> int:
        # Whoever could put a link there could have another file written to.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

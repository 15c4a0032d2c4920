"""The log of the stand-in, in the form and with the levels of Sunshine's own."""

import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import IO

LEVELS = ("verbose", "debug", "info", "warning", "error", "fatal", "none")
"""Names of `min_log_level`, quietest last; their index is Sunshine's number for the level."""


class Journal:
    """Writes each line to standard output and to `log_path`, as Sunshine does at once.

    The file is truncated at the start, as before 2026.8. A file that cannot be opened is ignored,
    as Sunshine ignores it: the lines still go to standard output.
    """

    def __init__(self, path: str, min_level: int) -> None:
        self._lock = threading.Lock()
        self._min_level = min_level
        self._file: IO[str] | None = None
        try:
            self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - kept open
        except OSError:
            self._file = None

    def _write(self, level: int, message: str) -> None:
        if level < self._min_level:
            return
        now = datetime.now().astimezone()
        stamp = now.strftime("%Y-%m-%d %H:%M:%S.") + f"{now.microsecond // 1000:03d}"
        line = f"[{stamp}]: {LEVELS[level].capitalize()}: {message}\n"
        with self._lock:
            for stream in (sys.stdout, self._file):
                if stream is None:
                    continue
                try:
                    stream.write(line)
                    stream.flush()
                except (OSError, ValueError):
                    # A full disk or a closed pipe must not end a running session.
                    continue

    def debug(self, message: str) -> None:
        """Write what only somebody who looks for a fault wants to see."""
        self._write(1, message)

    def info(self, message: str) -> None:
        """Write what happens in a healthy life."""
        self._write(2, message)

    def warning(self, message: str) -> None:
        """Write what works, but worse than asked for."""
        self._write(3, message)

    def error(self, message: str) -> None:
        """Write what failed while the program goes on."""
        self._write(4, message)

    def fatal(self, message: str) -> None:
        """Write what makes this instance useless, whether or not it exits."""
        self._write(5, message)

"""Shows steps and their elapsed time: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from devcluster.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TICK_S = 0.2
_FRAMES = "|/-\\"
#: Without a live line, a sign of life once a minute.
_STILL_TICKS = 300
_LOOK_BACK = 500
_DOING_LENGTH = 40


def minutes(seconds: float) -> str:
    """Elapsed time as m:ss."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _slug(name: str) -> str:
    """The name as a file name."""
    return re.sub("[^a-z0-9]+", "-", name.lower())


class Step:
    """One running step; `detail` is shown beside its name."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.begun = time.monotonic()
        self.detail = ""
        self.result = "done"

    def doing(self) -> str:
        """What it says of itself, or the last line of its log, cut short."""
        if self.detail:
            return self.detail
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOOK_BACK))
                lines = stream.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        last = next((line for line in reversed(lines) if line.strip()), "")
        # A log may hold what moves a terminal's cursor.
        plain = "".join(c for c in last if c.isprintable()).strip()
        return "" if plain.startswith("$ ") else plain[:_DOING_LENGTH]


class Progress:
    """Writes to one stream; safe to use from several threads."""

    def __init__(self, logs: Path, stream: TextIO = sys.stderr, *, quiet: bool = False) -> None:
        self._logs = logs
        self._stream = stream
        self._live = stream.isatty() and not quiet
        self._quiet = quiet
        self._running: list[Step] = []
        self._lock = threading.RLock()
        self._begun = time.monotonic()
        self._drawn = False
        if not quiet:
            threading.Thread(target=self._tick, daemon=True).start()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """Print a line of its own, between the steps."""
        with self._lock:
            self._erase()
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def event(self, text: str) -> None:
        """Print something that happened now, with the elapsed time."""
        if not self._quiet:
            self.say(f"[{minutes(self.elapsed_s)}] {text}")

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run the body as a step; at its end its `result` is printed, or that it failed.

        The step's log is named after it and begins empty.
        """
        step = Step(name, self._logs / f"{_slug(name)}.log")
        step.log.unlink(missing_ok=True)
        with self._lock:
            self._running.append(step)
        if not self._live:
            self.event(f"{name} ...")
        try:
            yield step
        except (KeyboardInterrupt, CancelledError):
            step.result = "stopped"
            raise
        except BaseException:
            step.result = "FAILED"
            raise
        finally:
            with self._lock:
                self._running.remove(step)
                self.event(f"{name}: {step.result} ({time.monotonic() - step.begun:.1f} s)")

    def _tick(self) -> None:
        frame = 0
        while True:
            time.sleep(_TICK_S)
            frame += 1
            with self._lock:
                if self._live and self._running:
                    self._draw(_FRAMES[frame % len(_FRAMES)])
                elif not self._live and frame % _STILL_TICKS == 0:
                    for step in self._running:
                        self.event(f"{step.name}: still at work: {step.doing()}")

    def _draw(self, frame: str) -> None:
        now = time.monotonic()
        parts = [
            f"{step.name} {minutes(now - step.begun)} {step.doing()}".rstrip()
            for step in self._running
        ]
        line = f"[{minutes(self.elapsed_s)}] {frame} {' · '.join(parts)}"
        columns = shutil.get_terminal_size().columns
        self._stream.write(f"\r\x1b[K{line[: columns - 1]}")
        self._stream.flush()
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False

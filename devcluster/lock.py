"""One cluster a machine: who holds it, and who works on it right now."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from devcluster import layout, proc, store
from devcluster.errors import DevError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devcluster.progress import Progress

_POLL_S = 0.2


def now() -> str:
    """The time for people, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True)
class Holder:
    """The running cluster: whose it is, and the first process of its head."""

    checkout: str
    dev_dir: str
    pid: int
    start_ticks: int
    since: str
    key: str

    @classmethod
    def load(cls) -> Self | None:
        """The cluster that runs on this machine; None when its record is missing or stale."""
        try:
            holder = cls(**json.loads((layout.RUN_DIR / "cluster.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        # After a reboot the number may belong to anybody; its start time then differs.
        return holder if proc.start_ticks(holder.pid) == holder.start_ticks else None

    def save(self) -> None:
        """Record it."""
        store.write(layout.RUN_DIR / "cluster.json", json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def clear() -> None:
        """Forget the record."""
        (layout.RUN_DIR / "cluster.json").unlink(missing_ok=True)

    @property
    def is_ours(self) -> bool:
        """Whether this checkout started it."""
        return self.checkout == str(layout.CHECKOUT)

    def sentence(self) -> str:
        """Who holds it."""
        return (
            f"The cluster of this machine belongs to the checkout {self.checkout}"
            f" (head process {self.pid}, since {self.since})."
        )


def require_ours(holder: Holder | None) -> None:
    """Refuse to touch the cluster of another checkout."""
    if holder and not holder.is_ours:
        raise DevError(
            holder.sentence(),
            f"One machine runs one cluster. Stop it with {holder.checkout}/dev down"
            " (or from here with ./dev down --force), then try again.",
        )


@contextmanager
def exclusive(command: str, progress: Progress) -> Iterator[None]:
    """Hold the machine's lock while changing the cluster.

    A second command of the same checkout waits and says so; one of another checkout is refused at
    once.
    """
    layout.RUN_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = layout.RUN_DIR / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        said = False
        while not _try_lock(descriptor):
            who = _read_owner(path)
            if who.get("checkout") not in {str(layout.CHECKOUT), None}:
                raise DevError(
                    f"./dev {who.get('command')} of the checkout {who.get('checkout')} is at work"
                    f" (process {who.get('pid')}, since {who.get('since')}).",
                    "Wait until it has ended, or interrupt it there.",
                )
            if not said:
                progress.say(
                    f"Waiting for ./dev {who.get('command', '')} to end (process"
                    f" {who.get('pid', 'unknown')}, since {who.get('since', 'just now')});"
                    " Ctrl-C gives up."
                )
                said = True
            time.sleep(_POLL_S)
        owner = {
            "checkout": str(layout.CHECKOUT),
            "pid": os.getpid(),
            "command": command,
            "since": now(),
        }
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        yield
        os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_owner(path: Path) -> dict[str, object]:
    try:
        owner = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}

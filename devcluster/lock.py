"""One command at a time changes the machine's cluster."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from devcluster import layout
from devcluster.errors import DevError
from devcluster.holder import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devcluster.progress import Progress

_POLL_S = 0.2


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

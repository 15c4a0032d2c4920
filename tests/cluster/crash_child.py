"""One operation of the library that dies by SIGKILL just before its n-th call to the outside.

``python crash_child.py CALL OPERATION ARGUMENT``: calls are commands to Redis and requests to
Slurm, counted from 1. The real library runs here: only the doors to the outside are watched, so
that every gap between two calls can be tried.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import redis.connection

from moonlight_core import SessionManager, Settings
from moonlight_core.slurm import PyslurmGateway


class Doors:
    """Counts what goes out, and dies in time."""

    def __init__(self, last: int) -> None:
        self.calls = 0
        self._last = last

    def passed(self) -> None:
        """Somebody is about to go out."""
        self.calls += 1
        if self.calls == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class WatchedGateway:
    """The real gateway behind a door."""

    def __init__(self, gateway: PyslurmGateway, doors: Doors) -> None:
        self._gateway = gateway
        self._doors = doors

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._gateway, name)

        def call(*args: Any, **options: Any) -> Any:
            self._doors.passed()
            return method(*args, **options)

        return call


def main(last: int, operation: str, argument: str) -> None:
    """Carry out one operation."""
    settings = Settings.load()
    gateway = PyslurmGateway(settings.slurm.conf)
    gateway.load()
    doors = Doors(last)
    manager = SessionManager.from_settings(settings, gateway=WatchedGateway(gateway, doors))
    # Connecting is no step of ours.
    manager.check()
    doors.calls = 0
    send = redis.connection.AbstractConnection.send_packed_command

    def watched_send(self: Any, *args: Any, **options: Any) -> None:
        doors.passed()
        send(self, *args, **options)

    redis.connection.AbstractConnection.send_packed_command = watched_send
    if operation == "create":
        manager.create(argument, "bare")
    elif operation == "advance":
        manager._reconciler.advance(manager._get(argument, None))
    elif operation == "delete":
        manager.delete(argument)
    else:
        manager.reconcile()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])

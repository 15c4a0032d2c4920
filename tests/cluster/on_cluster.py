"""The development cluster as tests see it: HTTP as a user, Slurm, Redis, the nodes."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from moonlight_core.models import SESSION_ID

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = Path("/run/moonlight-dev")
SESSIONS = "/api/moonlight/sessions"
LIVE = ("pending", "starting", "running", "stopping")


def run(*command: str, check: bool = True, **options: Any) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        **options,
    )
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


@attrs.frozen
class Node:
    """One node of the cluster, looked at from inside."""

    name: str

    def command(self, *command: str, user: str | None = None) -> list[str]:
        """The command line that runs a command in the node's namespaces."""
        pid = (RUN / "nodes" / f"{self.name}.pid").read_text().strip()
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        return ["nsenter", "-t", pid, "-a", *as_user, *command]

    def run(self, *command: str, user: str | None = None, check: bool = True) -> str:
        """Run a command on the node."""
        return run(*self.command(*command, user=user), check=check)

    def processes(self, user: str) -> dict[int, str]:
        """The processes of a user on the node, by process id."""
        found = {}
        for line in self.run("ps", "-eo", "pid=,user=,args=").splitlines():
            pid, owner, arguments = line.split(maxsplit=2)
            if owner == user:
                found[int(pid)] = arguments
        return found

    def listeners(self) -> dict[int, str]:
        """TCP ports somebody listens on, with the program's name."""
        found = {}
        for line in self.run("ss", "-Hlntp").splitlines():
            words = line.split()
            program = words[5].split('"')[1] if len(words) > 5 else ""
            found[int(words[3].rpartition(":")[2])] = program
        return found

    def displays(self) -> set[int]:
        """X displays with a server."""
        sockets = self.run("cat", "/proc/net/unix")
        return {
            int(line.rpartition("/X")[2]) for line in sockets.splitlines() if "/.X11-unix/X" in line
        }


@attrs.frozen
class Api:
    """The service, as one user sees it through the proxy."""

    user: str
    port: int = 8004

    def __call__(
        self, method: str, path: str, body: Any = None, *, idempotency_key: str = ""
    ) -> tuple[int, Any]:
        """One request: status and JSON answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"X-Remote-User": self.user} if self.user else {}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body)
        with contextlib.closing(connection):
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def create(self, image_id: str = "bare", **fields: Any) -> dict[str, Any]:
        """A new session; it must be accepted."""
        status, answer = self("POST", SESSIONS, {"image_id": image_id, **fields})
        assert status == 201, answer
        assert SESSION_ID.fullmatch(answer["session_id"])
        return dict(answer)

    def get(self, session_id: str) -> dict[str, Any]:
        """The session."""
        status, answer = self("GET", f"{SESSIONS}/{session_id}")
        assert status == 200, answer
        return dict(answer)

    def delete(self, session_id: str) -> dict[str, Any]:
        """End the session."""
        status, answer = self("DELETE", f"{SESSIONS}/{session_id}")
        assert status == 200, answer
        return dict(answer)

    def wait(self, session_id: str, *statuses: str, timeout_s: float = 90) -> dict[str, Any]:
        """Wait until the session has one of these statuses; the last seen state is in the error."""
        return wait_for(
            lambda: self.get(session_id),
            lambda session: session["status"] in statuses,
            timeout_s,
            stop=lambda session: session["status"] in ("failed", "stopped"),
        )


def wait_for(
    look: Callable[[], Any],
    good: Callable[[Any], bool],
    timeout_s: float = 30,
    stop: Callable[[Any], bool] = lambda _seen: False,
    *,
    every_s: float = 0.1,
) -> Any:
    """Look until it is good; fail with what was seen last."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if good(seen):
            return seen
        if stop(seen) or time.monotonic() > deadline:
            pytest.fail(f"after {timeout_s:g} s still: {seen}")
        time.sleep(every_s)


def everything() -> list[dict[str, Any]]:
    """All sessions, as the administrator sees them."""
    status, answer = Api("carol")("GET", f"{SESSIONS}?all=true")
    assert status == 200, answer
    return list(answer["sessions"])

"""The service's own server in this process, on a port and a unix socket, to be attacked."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import attrs
from waitress import wasyncore

from moonlight_http import create_app
from moonlight_http.serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from moonlight_core import SessionManager

SESSIONS = "/api/moonlight/sessions"
SOMEBODY = 65534
"""The uid of an account of this host that is no proxy: nobody's."""


@attrs.frozen(kw_only=True)
class Live:
    """A service that answers."""

    manager: SessionManager
    port: int
    socket: Path | None

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """One request over TCP, as root: status, headers in lower case, answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        connection.request(method, path, data, named)
        response = connection.getresponse()
        raw = response.read()
        connection.close()
        answered = {name.lower(): value for name, value in response.getheaders()}
        if answered.get("content-type", "").startswith("text/plain"):
            return response.status, answered, raw.decode()
        return response.status, answered, json.loads(raw) if raw else None

    def raw(self, data: bytes, *, timeout_s: float = 10) -> bytes:
        """Send these very bytes; all that comes back until the end of connection or time."""
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as connection:
            connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionResetError, TimeoutError):
                while part := connection.recv(65536):
                    received += part
        return received

    def curl(
        self, *arguments: str, uid: int = 0, over_socket: bool = False, path: str = SESSIONS
    ) -> tuple[int, Any]:
        """A request by a program of another account: status (0: none) and JSON answer."""
        place = ["--unix-socket", str(self.socket)] if over_socket else []
        done = subprocess.run(
            ["curl", "--silent", "--noproxy", "*", "--max-time", "10", "--write-out",
             "\n%{http_code}", *place, *arguments,
             f"http://127.0.0.1:{self.port}{path}"],
            check=False, capture_output=True, text=True, user=uid, group=uid, extra_groups=[],
            cwd="/", timeout=20,
        )  # fmt: skip
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body) if body else None


@contextlib.contextmanager
def serving(manager: SessionManager) -> Iterator[Live]:
    """Serve a manager's settings; the port must be a free one."""
    server = Server(create_app(manager, tells_accounts=True), manager.settings.service)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield Live(
            manager=manager,
            port=manager.settings.service.port,
            socket=manager.settings.service.socket,
        )
    finally:
        # In the loop's own thread: it ends when it has nothing left to look at.
        trigger = next(iter(server._map.values()))
        # It may be awake for another reason, and have closed the trigger before this is written.
        with contextlib.suppress(OSError):
            trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
        thread.join(20)
        server._dispatcher.shutdown()
        server.close()
        assert not thread.is_alive()


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def served(connections: Iterable[socket.socket]) -> int:
    """How many of these connections the service still answers; they are closed."""
    answered = 0
    for one in connections:
        try:
            one.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answered += one.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            continue
        finally:
            one.close()
    return answered

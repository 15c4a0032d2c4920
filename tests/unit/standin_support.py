"""Running the stand-in for Sunshine, and a pretend X server for it to find."""

import contextlib
import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from sunshine_standin.standin.client import Client, ClientError
from sunshine_standin.standin.state import password_hash

STANDIN = Path(__file__).parents[1] / "sunshine_standin"
OFFSETS = (-5, 0, 1, 21)
USER, PASSWORD = "moonlight", "correct horse"
WAIT_S = 5.0


def free_base_port() -> int:
    """Return a base port whose TCP and UDP ports are all free, outside the site's own range."""
    for _ in range(50):
        port = random.randrange(20000, 30000)  # noqa: S311 - no secret
        if all(not taken(port + offset) for offset in OFFSETS) and not udp_taken(port):
            return port
    raise AssertionError("no free ports")


def taken(port: int) -> bool:
    """Tell whether somebody listens on a TCP port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def udp_taken(base: int) -> bool:
    """Tell whether one of the UDP ports of a base port is bound."""
    for offset in (9, 10, 11):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("0.0.0.0", base + offset))  # noqa: S104 - to meet any binding
            except OSError:
                return True
    return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fail after five seconds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
        time.sleep(0.02)


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


@dataclass
class Standin:
    """A running stand-in and what it is asked with."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        """Everything that it has written so far."""
        return "".join(self.lines)

    def wait_for(self, text: str) -> None:
        """Wait until the output holds a text."""
        wait_until(lambda: text in self.output, f"{text!r} in:\n{self.output}")

    def wait_exit(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(WAIT_S)

    def http(self, path: str) -> Answer:
        """Ask on port P."""
        return _ask(HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S), "GET", path, None, {})

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        auth: tuple[str, str] | None = (USER, PASSWORD),
        **headers: str,
    ) -> Answer:
        """Ask the web interface; a body is sent as JSON unless a header says otherwise."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if auth is not None:
            sent["Authorization"] = "Basic " + b64encode(":".join(auth).encode()).decode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = HTTPSConnection("127.0.0.1", self.port + 1, timeout=WAIT_S, context=context)
        data = None if body is None else json.dumps(body)
        return _ask(connection, method, path, data, sent)

    def client(self, name: str = "client") -> Client:
        """Return a pretend client with files of its own."""
        return Client("127.0.0.1", self.port, self.folder / name)

    def pair(
        self, client: Client, pin: str = "1234", entered: str | None = None, *, leave: bool = False
    ) -> Answer:
        """Pair a client, entering its PIN, or another one; return what the interface answered."""
        failures: list[Exception] = []

        def run() -> None:
            try:
                client.pair(pin, WAIT_S, leave=leave)
            except (ClientError, OSError, HTTPException) as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        body = {"pin": entered or pin, "name": "laptop"}
        answer = self.api("POST", "/api/pin", body)
        deadline = time.monotonic() + WAIT_S
        while answer.status == 200 and not answer.json["status"]:
            assert time.monotonic() < deadline, "no client came to be paired"
            time.sleep(0.02)
            answer = self.api("POST", "/api/pin", body)
        thread.join(WAIT_S)
        if failures:
            raise failures[0]
        return answer

    def clients(self) -> list[dict[str, Any]]:
        """Return the paired clients as the interface lists them."""
        return self.api("GET", "/api/clients/list").json["named_certs"]


def _ask(
    connection: HTTPConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> Answer:
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), dict(response.getheaders()))


class Launcher:
    """Starts stand-ins and ends them all."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder = folder
        self._keys = keys
        self._started: list[Standin] = []

    def start(
        self,
        *,
        port: int | None = None,
        credentials: bool = True,
        display: str = "",
        options: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        ready: bool = True,
    ) -> Standin:
        """Start one on a base port; when `ready`, wait until its web interface answers."""
        port = free_base_port() if port is None else port
        folder = self.folder
        credentials_file = folder / "credentials.json"
        if credentials:
            entry = {"username": USER, "salt": "0123456789abcdef"}
            entry["password"] = password_hash(PASSWORD, entry["salt"])
            credentials_file.write_text(json.dumps(entry), encoding="utf-8")
        settings = {
            "port": str(port),
            "bind_address": "127.0.0.1",
            "file_apps": str(folder / "apps.json"),
            "file_state": str(folder / "state.json"),
            "credentials_file": str(credentials_file),
            "log_path": str(folder / "sunshine.log"),
            "pkey": str(self._keys / "key.pem"),
            "cert": str(self._keys / "cert.pem"),
            "standin_stop_s": "0",
        } | (options or {})
        config = folder / "sunshine.conf"
        config.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()), encoding="utf-8")
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "DISPLAY": display,
            "XAUTHORITY": str(folder / "Xauthority"),
        } | (environment or {})
        process = subprocess.Popen(
            [sys.executable, str(STANDIN / "sunshine"), str(config), *arguments],
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        standin = Standin(process, port, folder)
        threading.Thread(target=_collect, args=(standin,), daemon=True).start()
        self._started.append(standin)
        if ready:
            standin.wait_for("Configuration UI available")
        return standin

    def stop_all(self) -> None:
        """End what still runs."""
        for standin in self._started:
            if standin.process.poll() is None:
                standin.process.send_signal(signal.SIGKILL)
            standin.process.wait(WAIT_S)
            if standin.process.stdout is not None:
                standin.process.stdout.close()


def _collect(standin: Standin) -> None:
    # The pipe is closed under us when a test ends.
    with contextlib.suppress(ValueError, OSError):
        for line in standin.process.stdout or ():
            standin.lines.append(line)


@contextlib.contextmanager
def x_server(folder: Path, cookie: bytes = bytes(range(16))) -> Iterator[str]:
    """Pretend an X server with one screen; writes the Xauthority file and yields the display."""
    number = random.randrange(20000, 60000)  # noqa: S311 - no secret
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0/tmp/.X11-unix/X{number}")
    listener.listen()
    parts = [os.uname().nodename.encode(), str(number).encode(), b"MIT-MAGIC-COOKIE-1", cookie]
    entry = struct.pack(">H", 256) + b"".join(struct.pack(">H", len(p)) + p for p in parts)
    (folder / "Xauthority").write_bytes(entry)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(_setup_reply(connection.recv(4096), bytes(range(16))))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f":{number}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WAIT_S)


def _setup_reply(request: bytes, cookie: bytes) -> bytes:
    """Answer a connection setup as the protocol's chapter 8 says: a screen, or a refusal."""
    if not request.endswith(cookie):
        reason = b"Authorization required"
        padded = reason + bytes(-len(reason) % 4)
        return struct.pack("<BBHHH", 0, len(reason), 11, 0, len(padded) // 4) + padded
    vendor = b"test"
    screen = struct.pack("<IIIIIHH", 1, 2, 0, 0, 0, 1280, 720) + bytes(16)
    fixed = struct.pack("<IIIIHHBB", 0, 0, 0, 0, len(vendor), 65535, 1, 0) + bytes(10)
    body = fixed + vendor + screen
    return struct.pack("<BBHHH", 1, 0, 11, 0, len(body) // 4) + body

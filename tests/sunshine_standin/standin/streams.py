"""Streaming sessions of pretend clients: who is connected, and which UDP ports that takes.

A pretend client opens a connection to the RTSP port, sends one line `STREAM <uniqueid>` and keeps
the connection open for as long as it streams. Nothing else of RTSP is understood.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from .journal import Journal

VIDEO, CONTROL, AUDIO = 9, 10, 11
LAUNCH_VALID_S = 10.0
LONGEST_LINE = 256


def bound_socket(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    """Return a socket bound to an address; for `::` it serves IPv4 as well.

    Raises:
        OSError: when the port is taken.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


class Streams:
    """The sessions being streamed; UDP ports are held while there is at least one."""

    def __init__(
        self, address: str, port: int, journal: Journal, app_running: Callable[[], int]
    ) -> None:
        self._address = address
        self._port = port
        self._journal = journal
        self._app_running = app_running
        self._lock = threading.Lock()
        self._launched_until = 0.0
        self._connections: set[socket.socket] = set()
        self._udp: list[socket.socket] = []

    @property
    def count(self) -> int:
        """Number of clients that stream at this moment."""
        with self._lock:
            return len(self._connections)

    def expect(self) -> None:
        """Let one client connect within the next ten seconds, as a launch or resume does."""
        with self._lock:
            self._launched_until = time.monotonic() + LAUNCH_VALID_S

    def _bind_udp(self) -> bool:
        if self._udp:
            return True
        sockets: list[socket.socket] = []
        for offset, complaint in (
            (CONTROL, self._control_complaint),
            (VIDEO, self._media_complaint("Video")),
            (AUDIO, self._media_complaint("Audio")),
        ):
            port = self._port + offset
            try:
                sockets.append(bound_socket(socket.SOCK_DGRAM, self._address, port))
            except OSError as error:
                complaint(port, error)
                for made in sockets:
                    made.close()
                return False
        self._udp = sockets
        return True

    def _control_complaint(self, port: int, _error: OSError) -> None:
        self._journal.error(
            f"Couldn't bind Control server to port [{port}], "
            "likely another process already bound to the port"
        )

    def _media_complaint(self, name: str) -> Callable[[int, OSError], None]:
        def complain(port: int, error: OSError) -> None:
            self._journal.fatal(f"Couldn't bind {name} server to port [{port}]: {error.strerror}")

        return complain

    def serve(self, connection: socket.socket) -> None:
        """Handle one RTSP connection from its first line until it is closed."""
        with contextlib.closing(connection):
            try:
                line = connection.makefile("rb").readline(LONGEST_LINE)
                if not line.startswith(b"STREAM "):
                    self._journal.error("Malformed RTSP message: [-1]")
                    return
                if not self._start(connection):
                    connection.sendall(b"ERROR\n")
                    return
                connection.sendall(b"STREAMING\n")
                self._journal.info("CLIENT CONNECTED")
                while connection.recv(LONGEST_LINE):
                    pass
            except OSError:
                # The client has gone; what is left to do is below.
                pass
            finally:
                self._end(connection)

    def _start(self, connection: socket.socket) -> bool:
        with self._lock:
            if time.monotonic() > self._launched_until:
                return False
            if not self._bind_udp():
                self._journal.error("Failed to start a streaming session")
                return False
            self._launched_until = 0.0
            self._connections.add(connection)
            self._journal.info(
                f"New streaming session started [active sessions: {len(self._connections)}]"
            )
            return True

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            if connection not in self._connections:
                return
            self._connections.discard(connection)
            self._journal.info("CLIENT DISCONNECTED")
            if not self._connections:
                for made in self._udp:
                    made.close()
                self._udp = []

    def end_all(self) -> None:
        """Disconnect every client."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def end_if_app_gone(self) -> None:
        """Disconnect the clients when the application that they look at has ended."""
        if self.count and not self._app_running():
            self._journal.info("Process terminated")
            self.end_all()

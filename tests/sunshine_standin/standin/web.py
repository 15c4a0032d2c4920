"""The HTTP machinery under both the client's and the operator's interface."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape, quoteattr

from .streams import bound_socket

LARGEST_BODY = 1 << 20
HANDSHAKE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Request:
    """What a handler sees of a request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes
    remote: str
    local: str
    certificate: bytes | None


@dataclass(frozen=True)
class Response:
    """What a handler answers."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)


def json_response(
    content: dict[str, object], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return JSON as Sunshine prints it: keys in order, no spaces, framing forbidden."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    framing = {
        "X-Frame-Options": "DENY",
        "Content-Security-Policy": "frame-ancestors 'none';",
    }
    return Response(text.encode(), status, "application/json", framing | (headers or {}))


def xml_response(
    status: int, children: dict[str, object] | None = None, message: str = "", inner: str = ""
) -> Response:
    """Return the XML of GameStream, whose status is an attribute: HTTP itself always says 200."""
    attributes = f" status_code={quoteattr(str(status))}"
    if message:
        attributes += f" status_message={quoteattr(message)}"
    elements = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in (children or {}).items())
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<root{attributes}>{elements}{inner}</root>\n'
    return Response(text.encode(), 200, "application/xml")


Handler = Callable[[Request], Response | None]
"""Answers a request; None closes the connection without an answer."""


class Listener:
    """A TCP port with a thread that accepts and one thread for each connection."""

    def __init__(self, address: str, port: int, serve: Callable[[socket.socket], None]) -> None:
        """Bind and listen.

        Raises:
            OSError: when the port is taken.
        """
        self._serve = serve
        self._socket = bound_socket(socket.SOCK_STREAM, address, port)
        self._socket.listen(64)

    def start(self) -> None:
        """Begin to accept."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop to accept and give the port back."""
        # A thread that sits in accept() holds the port until it is woken.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def http_service(
    handler: Handler, context: Callable[[], ssl.SSLContext] | None = None
) -> Callable[[socket.socket], None]:
    """Return what serves HTTP on a connection, with TLS when a context is given."""

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(HANDSHAKE_TIMEOUT_S)
            if context is not None:
                connection = context().wrap_socket(connection, server_side=True)
            connection.settimeout(None)
            _Connection(connection, connection.getpeername(), handler)
        with contextlib.suppress(OSError):
            connection.close()

    return serve


class _Connection(BaseHTTPRequestHandler):
    """One connection; requests one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "Sunshine-stand-in"
    sys_version = ""

    def __init__(self, connection: socket.socket, peer: tuple[str, int], handler: Handler) -> None:
        self._handler = handler
        # The base class handles the whole connection in its constructor and needs no server.
        super().__init__(connection, peer, None)  # type: ignore[arg-type]

    def _respond(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if not 0 <= length <= LARGEST_BODY:
            self.send_error(400)
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        tls = self.connection if isinstance(self.connection, ssl.SSLSocket) else None
        request = Request(
            method=self.command,
            path=parts.path,
            query=query,
            headers=self.headers,
            body=self.rfile.read(length),
            remote=str(self.client_address[0]).removeprefix("::ffff:"),
            local=str(self.connection.getsockname()[0]).removeprefix("::ffff:"),
            certificate=tls.getpeercert(binary_form=True) if tls else None,
        )
        response = self._handler(request)
        if response is None:
            self.close_connection = True
            return
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _respond  # noqa: N815 - names of the base

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: Sunshine logs requests at its debug level only."""

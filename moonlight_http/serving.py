"""waitress as we use it: where it listens, what it knows of its peers, how long it waits for them.

waitress alone lets a client send a request for ever, byte by byte, tells nothing of the account at
the other end, and answers what is no HTTP in words of its own.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from moonlight_http import listening
from moonlight_http.peers import PEER_UID, UNIX, USERS, Proxies, peer_uid
from moonlight_http.waiting import HAS_LEFT

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from moonlight_core.service_settings import ServiceSettings

# A body above the configured limit is read up to here, so that the answer is one of ours; waitress
# keeps what is long on disk, and cuts off what is longer.
_MOST_BUFFERED_BYTES = 16 << 20
_MOST_HEADER_BYTES = 16384
_MOST_CONNECTIONS = 1000
# Connections at a time of an account, or of another host, that is no proxy of ours.
_MOST_CONNECTIONS_EACH = 32
_LOOK_FOR_SLOW_EVERY_S = 2


class Server:
    """Listens on a TCP port, a unix socket for the proxy, one for users, or several of them."""

    def __init__(self, application: WSGIApplication, service: ServiceSettings) -> None:
        """Begin to listen.

        Raises:
            OSError: an address cannot be listened on; ``filename`` names it.
            SettingsError: a socket's directory or group will not do.
        """
        self._paths = [path for path in (service.socket, service.users_socket) if path]
        self._map: dict[int, Any] = {}
        # Whoever waits for a session has a thread beside those (moonlight_http.waiting).
        threads = service.threads + service.waiting
        adjustments = Adjustments(
            threads=threads,
            ident=None,
            max_request_body_size=max(_MOST_BUFFERED_BYTES, service.max_body_bytes),
            max_request_header_size=_MOST_HEADER_BYTES,
            channel_timeout=service.request_timeout_s,
            cleanup_interval=_LOOK_FOR_SLOW_EVERY_S,
            connection_limit=_MOST_CONNECTIONS,
            backlog=listening.BACKLOG,
            clear_untrusted_proxy_headers=True,
        )
        proxies = Proxies.of(service.trusted_proxies, service.trusted_users, accounts=True)
        self._dispatcher = ThreadedTaskDispatcher()
        listeners: list[tuple[type, str, socket.socket]] = []
        try:
            if service.socket is not None:
                own = listening.for_proxy(service.socket, service.socket_group)
                listeners.append((UnixWSGIServer, UNIX, own))
            if service.users_socket is not None:
                users = listening.for_users(service.users_socket)
                listeners.append((UnixWSGIServer, USERS, users))
            if service.host:
                tcp = listening.on_tcp(service.host, service.port)
                listeners.extend((TcpWSGIServer, "", each) for each in tcp)
        except BaseException:
            for _, _, listener in listeners:
                listener.close()
            raise
        self._dispatcher.set_thread_count(threads)
        for kind, name, listener in listeners:
            server = kind(
                application,
                map=self._map,
                _sock=listener,
                dispatcher=self._dispatcher,
                adj=adjustments,
                sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
                bind_socket=False,
            )
            server.channel_class = _Channel
            server.proxies = proxies
            server.unix_name = name

    def run(self) -> None:
        """Answer requests until ``SystemExit``, then finish those that are under way."""
        try:
            wasyncore.loop(timeout=1, map=self._map, use_poll=True)
        except SystemExit:
            self._dispatcher.shutdown()

    def close(self) -> None:
        """Stop listening."""
        wasyncore.close_all(self._map)
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink()


class _Task(WSGITask):  # type: ignore[misc] # waitress ships no types
    """A request, with the account that sent it, and whether that still listens."""

    def get_environment(self) -> dict[str, Any]:
        """As waitress, and ``PEER_UID`` and ``HAS_LEFT``."""
        environment: dict[str, Any] = super().get_environment()
        environment[PEER_UID] = self.channel.peer_uid
        environment[HAS_LEFT] = self.channel.has_left
        return environment


class _ErrorTask(ErrorTask):  # type: ignore[misc] # as above
    """The answer to what is no request: in our shape, and without a word of what we are."""

    def execute(self) -> None:
        """As waitress, in JSON."""
        error = self.request.error
        code = error.reason.lower().replace(" ", "_")
        sentence = _SENTENCES.get(error.code, "The service cannot answer this.")
        body = json.dumps({"error": sentence, "code": code}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


_SENTENCES = {
    400: "This is no HTTP request that can be read without doubt.",
    413: "The body is too large.",
    431: f"The request's line and headers are too long: at most {_MOST_HEADER_BYTES} bytes.",
    500: "Something went wrong in the service; its log tells the administrators what.",
    501: "The request uses a transfer coding that the service does not take.",
}


class _Parser(HTTPRequestParser):  # type: ignore[misc] # as above
    """Refuses a request whose length is told in two ways: proxies and servers choose differently.

    RFC 9112, section 6.3, lets a server choose too; waitress does.
    """

    def parse_header(self, header_plus: bytes) -> None:
        """As waitress."""
        named = {line.partition(b":")[0].strip().lower() for line in header_plus.split(b"\n")}
        if {b"content-length", b"transfer-encoding"} <= named:
            raise ParsingError("Content-Length beside Transfer-Encoding")
        super().parse_header(header_plus)


class _Channel(HTTPChannel):  # type: ignore[misc] # as above
    """A connection: whose it is, and since when a request is being received on it."""

    task_class = _Task
    error_task_class = _ErrorTask
    parser_class = _Parser

    def __init__(
        self,
        server: Any,
        sock: socket.socket,
        addr: Any,
        adj: Any,
        map: Any = None,  # noqa: A002
    ) -> None:
        if sock.family == socket.AF_UNIX:
            addr = (server.unix_name, None)
        self.peer_uid = peer_uid(sock)
        self._request_begun = 0.0
        super().__init__(server, sock, addr, adj, map)
        if not server.proxies.trusts(addr[0], self.peer_uid):
            same = sum(
                (channel.peer_uid, channel.addr[0]) == (self.peer_uid, addr[0])
                for channel in server.active_channels.values()
            )
            self.will_close = same > _MOST_CONNECTIONS_EACH

    def has_left(self) -> bool:
        """Whether the client has closed its end; to be asked by a request that waits.

        waitress's own way (channel_request_lookahead) gives no answer to clients that close their
        sending half once they have sent.
        """
        poll = select.poll()
        try:
            poll.register(self.socket, select.POLLRDHUP)
        except (OSError, TypeError, ValueError):
            return True
        return bool(poll.poll(0))

    def handle_read(self) -> None:
        """As waitress; a request that dribbles in is no activity, so that it runs out of time."""
        if self.request is None:
            self._request_begun = time.time()
        super().handle_read()
        if self.request is not None and not self.requests:
            self.last_activity = self._request_begun

"""The client of Sunshine's API against servers that mean no good."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Self

import attrs
import pytest
from desktop import fingerprint
from hypothesis import given
from hypothesis import strategies as st

from moonlight_core import SunshineAnswerUnusable, SunshineUnreachable
from moonlight_core.errors import SunshineError
from moonlight_core.models import PairedClient
from moonlight_core.secret import Secret
from moonlight_core.sunshine import Sunshine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UUID = "0F1E2D3C-0000-4000-8000-00000000000A"


@attrs.define
class Host:
    """A server with Sunshine's certificate that does as it likes, and what it was sent."""

    sunshine: Sunshine
    serve: Callable[[socket.socket], None] = lambda _connection: None
    heard: bytes = b""


@pytest.fixture
def host(certificates: Path) -> Iterator[Host]:
    """Such a server on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Host(
            Sunshine(
                host="127.0.0.1",
                port=listener.getsockname()[1] - 1,
                username="alice",
                password=Secret("opensesame"),
                cert_sha256=fingerprint(certificates / "cert.pem"),
                timeout_s=0.5,
            )
        )

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    with contextlib.suppress(OSError), plain:
                        plain.settimeout(5)
                        with context.wrap_socket(plain, server_side=True) as connection:
                            made.heard = request_of(connection)
                            made.serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def request_of(connection: socket.socket) -> bytes:
    """A whole request, head and body."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        received = connection.recv(65536)
        if not received:
            return heard
        heard += received
    head, _, body = heard.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes, status: str = "200 OK", *more: str) -> bytes:
    """A complete answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


def says(body: object) -> Callable[[socket.socket], None]:
    """Answers with a JSON document."""
    return lambda connection: connection.sendall(answer(json.dumps(body).encode()))


def drip(connection: socket.socket) -> None:
    """Never silent for long, never done."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def drip_headers(connection: socket.socket) -> None:
    """The same before the body."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-A: b\r\n")
        time.sleep(0.02)


def flood(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Sends without end."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return serve


def calls(sunshine: Sunshine) -> list[Callable[[], object]]:
    """Everything that is asked of the API."""
    return [
        sunshine.clients,
        lambda: sunshine.enter_pin(Secret("0000"), "x"),
        lambda: sunshine.unpair(UUID),
    ]


@pytest.mark.parametrize("serve", [drip, drip_headers, lambda _connection: time.sleep(20)])
def test_slow_ones_have_a_deadline_for_all(
    host: Host, serve: Callable[[socket.socket], None]
) -> None:
    """However often they send a byte."""
    host.serve = serve
    begin = time.monotonic()
    with pytest.raises((SunshineUnreachable, SunshineAnswerUnusable)):
        host.sunshine.clients()
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"", b"x" * 65536),
    ],
)
def test_endless_answers_are_cut_off(host: Host, start: bytes, piece: bytes) -> None:
    """At a size, wherever they are endless."""
    host.serve = flood(start, piece)
    with pytest.raises(SunshineAnswerUnusable):
        attrs.evolve(host.sunshine, timeout_s=5).clients()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/1.1 999999 no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        answer(b"{", "200 OK"),
        answer(b"[" * 60000, "200 OK"),
        answer(b'"text"', "200 OK"),
        answer(b"\xff\xfe\xff", "200 OK"),
        answer(b"{}", "500 Internal Server Error"),
        answer(b"{}", "204 No Content"),
        answer(b"{}", "404 Not Found"),
        answer(b"{}", "403 Forbidden"),
        answer(b"", "302 Found", "Location: https://127.0.0.1:1/api/clients/list"),
        answer(b"", "307 Temporary Redirect", "Location: http://169.254.169.254/"),
    ],
)
def test_nonsense_is_told(host: Host, raw: bytes) -> None:
    """And a redirect is nonsense."""
    host.serve = lambda connection: connection.sendall(raw)
    with pytest.raises((SunshineAnswerUnusable, SunshineUnreachable)):
        host.sunshine.clients()


@pytest.mark.parametrize(
    "status",
    ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect",
     "308 Permanent Redirect", "300 Multiple Choices"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["https://127.0.0.1:{}/x", "http://localhost:{}/", "//[::1]:{}/"])
def test_redirects_lead_nowhere(host: Host, status: str, where: str) -> None:
    """Whatever is asked, nobody else hears of it, and whoever asked gets a sentence."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = first.getsockname()[1]
        elsewhere = [first]
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(OSError):
                server = socket.create_server(("::1", port), family=socket.AF_INET6)
                elsewhere.append(stack.enter_context(server))
        target = where.format(port)
        raw = answer(b"", status, f"Location: {target}", f"Refresh: 0; url={target}")
        host.serve = lambda connection: connection.sendall(raw)
        for ask in calls(host.sunshine):
            with pytest.raises(
                SunshineAnswerUnusable, match=rf"answered {status[:3]}\. That is no"
            ):
                ask()
        for server in elsewhere:
            server.settimeout(0)
            with pytest.raises(BlockingIOError):
                server.accept()


def test_redirects_in_a_circle_are_asked_once(host: Host) -> None:
    """From Sunshine to itself, at the same path and at the API of a client's pairing."""
    here = f"https://127.0.0.1:{host.sunshine.port + 1}"
    asked = []

    def serve(connection: socket.socket) -> None:
        asked.append(host.heard.split(b"\r\n", 1)[0])
        connection.sendall(answer(b"", "307 Temporary Redirect", f"Location: {here}/api/pin"))

    host.serve = serve
    for ask in calls(host.sunshine):
        with pytest.raises(SunshineAnswerUnusable, match="answered 307"):
            ask()
    assert asked == [
        b"GET /api/clients/list HTTP/1.1",
        b"POST /api/pin HTTP/1.1",
        b"POST /api/clients/unpair HTTP/1.1",
    ]


def test_a_redirect_on_the_port_of_clients_leads_nowhere(host: Host) -> None:
    """Where a half pairing is dropped; the answer there is not looked at."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as elsewhere,
    ):
        target = f"Location: http://127.0.0.1:{elsewhere.getsockname()[1]}/"

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                request_of(connection)
                connection.sendall(answer(b"", "302 Found", target))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        attrs.evolve(host.sunshine, port=listener.getsockname()[1]).drop_pairing()
        thread.join(5)
        elsewhere.settimeout(0)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"named_certs": None},
        {"named_certs": {}},
        {"named_certs": [7]},
        {"named_certs": [{"name": "x"}]},
        {"named_certs": [{"name": 7, "uuid": UUID}]},
        {"named_certs": [{"name": "x", "uuid": "../../etc"}]},
        {"named_certs": [{"name": "x", "uuid": UUID + "\n"}]},
    ],
)
def test_lists_that_are_none(host: Host, document: object) -> None:
    """Wrong types are told, not stumbled over."""
    host.serve = says(document)
    with pytest.raises(SunshineAnswerUnusable):
        host.sunshine.clients()


def test_lists_of_all_versions(host: Host) -> None:
    """With and without the switch; names are harmless and bounded."""
    entries = [
        {"name": "old", "uuid": UUID},
        {"name": "new", "uuid": UUID, "enabled": False},
        {"name": "\x1b[2J" + "x" * 100, "uuid": UUID, "enabled": "true"},
    ]
    host.serve = says({"named_certs": entries, "status": True})
    assert host.sunshine.clients() == [
        PairedClient(name="old", uuid=UUID),
        PairedClient(name="new", uuid=UUID, enabled=False),
        PairedClient(name="?[2J" + "x" * 60, uuid=UUID),
    ]


@pytest.mark.parametrize(
    ("status", "meaning"), [(True, True), ("true", True), (False, False), ("false", False)]
)
def test_yes_and_no_of_all_versions(host: Host, status: object, *, meaning: bool) -> None:
    """Old ones wrote the words."""
    host.serve = says({"status": status})
    assert host.sunshine.enter_pin(Secret("0000"), "x") is meaning
    assert host.sunshine.unpair(UUID) is meaning


@pytest.mark.parametrize("status", [None, 1, 0, "yes", [], {}])
def test_neither_yes_nor_no(host: Host, status: object) -> None:
    """A pairing is not concluded from it."""
    host.serve = says({"status": status})
    with pytest.raises(SunshineAnswerUnusable, match="neither yes nor no"):
        host.sunshine.enter_pin(Secret("0000"), "x")


def test_what_is_sent(host: Host) -> None:
    """The login and the document; nothing that Sunshine takes for another site's request."""
    host.serve = says({"status": True})
    host.sunshine.enter_pin(Secret("0214"), "Jürgens Läptop")
    head, _, body = host.heard.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/pin HTTP/1.1"
    assert "Content-Type: application/json" in lines
    assert "Connection: close" in lines
    assert "Authorization: Basic YWxpY2U6b3BlbnNlc2FtZQ==" in lines
    assert not any(line.lower().startswith(("origin:", "referer:")) for line in lines)
    assert json.loads(body) == {"pin": "0214", "name": "Jürgens Läptop"}


def test_another_certificate_is_sent_nothing(host: Host) -> None:
    """Not even a request line."""
    stranger = attrs.evolve(host.sunshine, cert_sha256="0" * 64)
    with pytest.raises(SunshineAnswerUnusable, match="another certificate"):
        stranger.clients()
    time.sleep(0.05)
    assert host.heard == b""


@pytest.mark.parametrize("first", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_no_tls(host: Host, first: bytes) -> None:
    """Something else sits on the port, talks or is silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def accept() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(first)
                while received := connection.recv(65536):
                    heard.append(received)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        other = attrs.evolve(host.sunshine, port=listener.getsockname()[1] - 1)
        begin = time.monotonic()
        with pytest.raises((SunshineAnswerUnusable, SunshineUnreachable)):
            other.clients()
        assert time.monotonic() - begin < 5
        thread.join(5)
    assert b"Basic" not in b"".join(heard)


def test_half_a_pairing_is_dropped_without_a_secret(host: Host) -> None:
    """On the port where clients pair, which has no TLS; whatever is said to it, it is survived."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(request_of(connection))
                connection.sendall(answer(b"<root paired='0'/>", "400 Bad Request"))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        attrs.evolve(host.sunshine, port=listener.getsockname()[1]).drop_pairing()
        thread.join(5)
    lines = heard[0].decode().split("\r\n")
    assert lines[0].startswith("GET /pair?uniqueid=0123456789ABCDEF&serverchallengeresp=")
    assert not any(line.startswith("Authorization") for line in lines)
    with pytest.raises(SunshineError):
        attrs.evolve(host.sunshine, port=host.sunshine.port + 1).drop_pairing()


def test_nobody_there(host: Host) -> None:
    """A refused connection, and a name that nothing has."""
    with pytest.raises(SunshineUnreachable, match="does not answer"):
        attrs.evolve(host.sunshine, port=1).clients()
    with pytest.raises(SunshineUnreachable):
        attrs.evolve(host.sunshine, host="no-such-node.invalid").clients()


def test_nothing_shows_the_password(host: Host) -> None:
    """Not in a repr, and not in an error."""
    assert "opensesame" not in repr(host.sunshine)
    host.serve = lambda connection: connection.sendall(answer(b"{}", "401 Unauthorized"))
    with pytest.raises(SunshineAnswerUnusable, match="password") as caught:
        host.sunshine.clients()
    assert "opensesame" not in str(caught.value)
    assert "YWxpY2U6" not in str(caught.value)


class Told:
    """A connection that was made, over which everything has been said already."""

    def __init__(self, said: bytes) -> None:
        self._said = io.BytesIO(said)

    def settimeout(self, seconds: float) -> None:
        """As a socket's."""

    def sendall(self, data: bytes) -> None:
        """As a socket's."""

    def recv_into(self, buffer: bytearray) -> int:
        """As a socket's."""
        return self._said.readinto(buffer)

    def getpeername(self) -> tuple[str, int]:
        """As a socket's."""
        return "x", 1

    def getpeercert(self, **_form: bool) -> bytes:
        """As a TLS socket's."""
        return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest)
    | st.binary(max_size=300).map(answer)
    | st.text(max_size=200).map(lambda text: answer(json.dumps({"named_certs": text}).encode()))
)
def test_any_answer_is_survived(said: bytes) -> None:
    """Whatever is said, it is one of our errors, or a list."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing
    sunshine = Sunshine(host="x", port=1, username="alice", password=Secret("x"), cert_sha256=empty)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", lambda *_: Told(said))
        patch.setattr(ssl.SSLContext, "wrap_socket", lambda _self, plain: plain)
        with contextlib.suppress(SunshineError):
            assert sunshine.clients() == []

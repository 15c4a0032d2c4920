"""The HTTP face against whoever means it harm: broken, slow, many, from other sites."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis.exceptions
from live import SESSIONS, Live, served

from moonlight_http import serving

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from moonlight_core.testing import MemoryGateway

    Serve = Callable[..., contextlib.AbstractContextManager[Live]]

ALICE = b"Host: x\r\nX-Remote-User: alice\r\n"
GET = b"GET /api/moonlight/sessions HTTP/1.1\r\n"
POST = b"POST /api/moonlight/sessions HTTP/1.1\r\nContent-Type: application/json\r\n"
SMUGGLED = (
    b"DELETE /api/moonlight/sessions/ml-x HTTP/1.1\r\nHost: x\r\nX-Remote-User: carol\r\n\r\n"
)


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


@pytest.mark.parametrize(
    "request_",
    [
        POST + ALICE + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        POST + ALICE + b"Content-Length: 0\r\nContent-Length: 91\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Content-Length: 2, 91\r\n\r\n{}" + SMUGGLED,
        POST + ALICE + b"Content-Length: +2\r\n\r\n{}" + SMUGGLED,
        POST + ALICE + b"Content-Length: 0x2\r\n\r\n{}" + SMUGGLED,
        POST + ALICE + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Content-Length : 2\r\n\r\n{}" + SMUGGLED,
        POST + ALICE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + SMUGGLED,
        POST + ALICE + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n" + SMUGGLED,
        GET + ALICE + b"X: a\nb: c\r\n\r\n" + SMUGGLED,
        GET + ALICE + b"X\x00: a\r\n\r\n" + SMUGGLED,
        GET + ALICE + b": empty\r\n\r\n" + SMUGGLED,
        GET + ALICE + b"No colon\r\n\r\n" + SMUGGLED,
        b"GET /a b HTTP/1.1\r\n" + ALICE + b"\r\n" + SMUGGLED,
        b"GET  /api HTTP/1.1\r\n" + ALICE + b"\r\n" + SMUGGLED,
        b"get /api HTTP/1.1\r\n" + ALICE + b"\r\n" + SMUGGLED,
        b"GET /api HTTP/9.9x\r\n" + ALICE + b"\r\n" + SMUGGLED,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\r\n\r\n",
        b"GET " + b"/" * 20000 + b" HTTP/1.1\r\n" + ALICE + b"\r\n",
        GET + ALICE + b"X: " + b"a" * 20000 + b"\r\n\r\n",
        GET + ALICE + b"X: a\r\n" * 5000 + b"\r\n",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_read_in_none(live: Live, request_: bytes) -> None:
    """One refusal and the end of the connection: nothing behind it is taken for a request."""
    answer = live.raw(request_)
    assert len(statuses(answer)) == 1, answer
    assert statuses(answer)[0] in (400, 413, 431, 501), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"]
    assert live.ask("GET", "/health")[0] == 200


def test_a_whole_chunked_body_is_read(live: Live) -> None:
    """And counted."""
    chunked = POST + ALICE + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(live.raw(chunked + b"2\r\n{}\r\n0\r\n\r\n")) == [201]
    long = b"".join(b"8000\r\n" + b" " * 0x8000 + b"\r\n" for _ in range(4)) + b"0\r\n\r\n"
    assert statuses(live.raw(chunked + long)) == [413]


def test_answers_tell_nothing_of_the_inside(live: Live) -> None:
    """No version, no path, no name of a program, no trace; and what browsers need to know."""
    requests = (
        GET + ALICE, GET + b"Host: x\r\n", b"PUT" + GET[3:] + ALICE, b"GET /x HTTP/1.1\r\n" + ALICE,
        b"GET /health HTTP/1.0\r\n" + ALICE, POST + ALICE + b"Content-Length: 1\r\n\r\n{",
        b"BREW /health HTTP/1.1\r\n" + ALICE, b"HEAD" + GET[3:] + ALICE, b"x" * 99,
    )  # fmt: skip
    for request in requests:
        answer = live.raw(request + b"Connection: close\r\n\r\n")
        assert statuses(answer)
        for word in (b"waitress", b"falcon", b"python", b"traceback", b"/opt", b"/etc",
                     b"site-packages", b"server:", b"0.1.0"):  # fmt: skip
            assert word not in answer.lower(), answer
    _, headers, _ = live.ask("GET", SESSIONS, X_Remote_User="alice")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])


def test_a_bug_tells_its_number_and_nothing_else(
    live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Which leads to the log."""
    monkeypatch.setattr(type(live.manager), "images", lambda _self: 1 / 0)
    status, headers, answer = live.ask("GET", "/api/moonlight/images", X_Remote_User="alice")
    assert status == 500
    assert answer["request_id"] == headers["x-request-id"]
    assert "Zero" not in json.dumps(answer)
    assert "ZeroDivisionError" in caplog.text


def test_what_redis_says_stays_inside(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses and files are in the log."""

    def refuse(*_args: object, **_options: object) -> None:
        raise redis.exceptions.ConnectionError("Error 2 /secret/redis.sock 10.9.8.7")

    monkeypatch.setattr("redis.connection.AbstractConnection.connect", refuse)
    live.manager._store._redis.connection_pool.disconnect()
    for method, path in (("GET", SESSIONS), ("POST", SESSIONS), ("GET", "/health")):
        status, _, answer = live.ask(method, path, X_Remote_User="alice")
        assert status in (200, 503), answer
        assert "secret" not in json.dumps(answer)
        assert "10.9.8.7" not in json.dumps(answer)


def test_a_request_id_is_only_taken_from_the_proxy_and_only_a_good_one(live: Live) -> None:
    """A log cannot be written into."""
    for odd in ("x", "a b c d e f g h", "x" * 65, "aaaaaaaa%0a", "é" * 9, "<script>alert(1)"):
        _, headers, _ = live.ask("GET", "/health", X_Request_Id=odd)
        assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])
    assert live.ask("GET", "/health", X_Request_Id="proxy-42")[1]["x-request-id"] == "proxy-42"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": "https://portal.example.org.evil.org"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": "https://other.example.org"},
        {"Sec_Fetch_Site": "x"},
    ],
)
def test_other_sites_pages_change_nothing(
    serve: Serve, gateway: MemoryGateway, headers: dict[str, str]
) -> None:
    """A form or a script of theirs goes with the user's login, and is refused all the same."""
    with serve(service={"allowed_origins": ["https://portal.example.org"]}) as live:
        status, answered, answer = live.ask("POST", SESSIONS, X_Remote_User="alice", **headers)
        assert (status, answer["code"]) == (403, "cross_site")
        assert "access-control-allow-origin" not in answered
        status, answered, _ = live.ask("OPTIONS", SESSIONS, **headers)
        assert "access-control-allow-origin" not in answered
    assert gateway.specs == {}


def test_the_sites_own_pages_may(serve: Serve) -> None:
    """Those of configured sites, with a preflight that needs no login; and programs."""
    portal = "https://portal.example.org"
    with serve(service={"allowed_origins": [portal]}, sessions={"per_user": 9}) as live:
        for headers in (
            {}, {"Origin": portal}, {"Origin": portal, "Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-origin", "Origin": "https://desk.example.org"},
            {"Origin": f"http://127.0.0.1:{live.port}"},
        ):  # fmt: skip
            status, answered, _ = live.ask("POST", SESSIONS, {}, X_Remote_User="alice", **headers)
            assert status == 201
        status, answered, _ = live.ask(
            "OPTIONS", SESSIONS, Origin=portal, Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type",
        )  # fmt: skip
        assert status == 200
        assert answered["access-control-allow-origin"] == portal
        assert "POST" in answered["access-control-allow-methods"]
        _, answered, _ = live.ask("GET", SESSIONS, X_Remote_User="alice", Origin=portal)
        assert answered["access-control-allow-origin"] == portal
        assert answered["access-control-allow-credentials"] == "true"
        assert "Origin" in answered["vary"]


def test_a_slow_client_runs_out_of_time(serve: Serve) -> None:
    """However busily it dribbles; others are served meanwhile."""
    with serve(service={"request_timeout_s": 2, "threads": 2}) as live:
        slow = [socket.create_connection(("127.0.0.1", live.port), 10) for _ in range(20)]
        begin = time.monotonic()
        alive = set(slow)
        while alive and time.monotonic() - begin < 15:
            for one in list(alive):
                try:
                    one.send(GET[:1] if time.monotonic() - begin < 0.2 else b"x")
                    one.settimeout(0.01)
                    if one.recv(1000) == b"":
                        alive.discard(one)
                except TimeoutError:
                    continue
                except OSError:
                    alive.discard(one)
            assert live.ask("GET", "/health")[0] == 200
            time.sleep(0.2)
        for one in slow:
            one.close()
        assert not alive
        assert time.monotonic() - begin >= 2


def test_one_who_sends_and_never_reads(serve: Serve) -> None:
    """Answers that nobody takes do not fill the service."""
    with serve(service={"request_timeout_s": 2, "threads": 2}) as live:
        greedy = [socket.create_connection(("127.0.0.1", live.port), 10) for _ in range(8)]
        for one in greedy:
            one.settimeout(1)
            try:
                for _ in range(50):
                    one.sendall((GET + ALICE + b"\r\n") * 20)
            except OSError:
                continue
        assert live.ask("GET", "/health")[0] == 200
        for one in greedy:
            one.close()


def test_a_flood_of_connections(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who is no proxy of ours gets so many at a time; the proxy goes on."""
    monkeypatch.setattr(serving.Proxies, "trusts", lambda _self, _address, _uid: False)
    with serve() as live:
        flood = [socket.create_connection(("127.0.0.1", live.port), 10) for _ in range(120)]
        for one in flood:
            one.settimeout(5)
        time.sleep(0.5)
        monkeypatch.setattr(serving.Proxies, "trusts", lambda _self, _address, _uid: True)
        assert live.ask("GET", SESSIONS, X_Remote_User="alice")[0] == 200
        assert 1 <= served(flood) <= 40


def test_keep_alive_serves_many_at_once(live: Live) -> None:
    """A hundred connections with twenty requests each, all answered."""

    def talk(_number: int) -> int:
        request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return statuses(live.raw(request * 19 + last, timeout_s=60)).count(200)

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        assert list(pool.map(talk, range(100))) == [20] * 100


def test_methods_and_media_types(live: Live) -> None:
    """Only what the address takes, only JSON."""
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"):
        status, headers, answer = live.ask(method, SESSIONS, X_Remote_User="alice")
        assert status in (400, 405), (method, answer)
        if status == 405:
            assert sorted(headers["allow"].split(", ")) == ["GET", "OPTIONS", "POST"]
    for media in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "", "a"):
        body: Any = {"Content-Type": media}
        status, _, answer = live.ask("POST", SESSIONS, b"{}", X_Remote_User="alice", **body)
        assert (status, answer["code"]) == (415, "unsupported_media_type")

"""The service as a process: started, refused, stopped; beside the one that is running."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from on_cluster import SESSIONS, Api, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT = 8104
SECOND = {"MOONLIGHT_SERVICE_PORT": str(PORT), "MOONLIGHT_SERVICE_USERS_SOCKET": ""}


def start(**environ: str) -> subprocess.Popen[str]:
    """A second service, on another port."""
    return subprocess.Popen(
        [sys.executable, "-m", "moonlight_http"],
        env=os.environ | SECOND | environ,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def service() -> Iterator[subprocess.Popen[str]]:
    """A second service that answers; ended afterwards."""
    process = start()
    wait_for(answers, bool)
    yield process
    end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End a service that a test is done with."""
    process.kill()
    process.communicate()


def answers() -> bool:
    """Whether the second service answers."""
    try:
        return Api("", PORT)("GET", "/health")[0] == 200
    except OSError:
        return False


def test_health_tells_how_slurm_and_redis_are(service: subprocess.Popen[str]) -> None:
    """Also beside another service on the same Redis."""
    wait_for(
        lambda: Api("", PORT)("GET", "/health")[1],
        lambda health: health["status"] == "ok" and health["checks"] == {
            "redis": "ok",
            "slurm": "ok",
        },
    )  # fmt: skip
    assert Api("", PORT)("GET", "/health")[1]["port"] == PORT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_sessions_go_on(
    service: subprocess.Popen[str], api: Callable[[str], Api], number: signal.Signals
) -> None:
    """Within five seconds, with exit code 0, and nothing is left of it."""
    alice = Api("alice", PORT)
    session_id = alice.create("bare")["session_id"]
    api("alice").wait(session_id, "running")
    begin = time.monotonic()
    service.send_signal(number)
    assert service.wait(timeout=5) == 0
    assert time.monotonic() - begin < 5
    assert api("alice").get(session_id)["status"] == "running"
    children = subprocess.run(
        ["pgrep", "-P", str(service.pid)], check=False, capture_output=True, text=True
    )
    assert children.stdout == ""


def test_a_request_under_way_is_finished(
    service: subprocess.Popen[str], api: Callable[[str], Api]
) -> None:
    """A create that has been sent is answered although the service is told to stop."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.putrequest("POST", SESSIONS)
    body = b'{"image_id":"bare"}'
    for name, value in {
        "X-Remote-User": "bob",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body)
    time.sleep(0.05)
    service.send_signal(signal.SIGTERM)
    response = connection.getresponse()
    assert response.status == 201
    response.read()
    connection.close()
    assert service.wait(timeout=5) == 0


def test_a_port_in_use_is_a_sentence() -> None:
    """No traceback, and the exit code says unavailable."""
    process = start(MOONLIGHT_SERVICE_PORT="8004")
    _, told = process.communicate(timeout=20)
    assert process.returncode == os.EX_UNAVAILABLE
    assert "cannot listen on 127.0.0.1:8004" in told
    assert "Traceback" not in told


def test_faulty_settings_are_told_all_at_once() -> None:
    """Exit code 78 (EX_CONFIG)."""
    process = start(MOONLIGHT_SLOTS_FIRST_DISPLAY="1", MOONLIGHT_SERVICE_THREADS="none")
    _, told = process.communicate(timeout=20)
    assert process.returncode == os.EX_CONFIG
    assert "displays :1 to :9" in told
    assert "MOONLIGHT_SERVICE_THREADS" in told
    assert "Traceback" not in told


def test_nobody_without_the_proxys_header(service: subprocess.Popen[str]) -> None:
    """401, on the real server."""
    assert service.poll() is None
    status, answer = Api("", PORT)("GET", SESSIONS)
    assert (status, answer["code"]) == (401, "not_identified")


def test_the_header_counts_only_from_the_proxy() -> None:
    """An address that is not configured is refused although it sets the header."""
    process = start(MOONLIGHT_SERVICE_TRUSTED_PROXIES="10.9.9.9")
    try:
        wait_for(answers, bool)
        status, answer = Api("alice", PORT)("GET", SESSIONS)
        assert (status, answer["code"]) == (403, "untrusted_proxy")
    finally:
        end(process)


@pytest.mark.parametrize("size", [70_000, 10_000_000])
def test_a_body_too_large_is_refused_in_our_words(
    service: subprocess.Popen[str], size: int
) -> None:
    """413 with a JSON error, as for every other mistake, and the service goes on."""
    status, answer = Api("alice", PORT)("POST", SESSIONS, {"image_id": "x" * size})
    assert (status, answer["code"]) == (413, "body_too_large")
    assert service.poll() is None
    assert answers()


def test_a_header_spelled_with_underscores_names_nobody(service: subprocess.Popen[str]) -> None:
    """CGI cannot tell X_Remote_User from X-Remote-User: a proxy may have passed the former on."""
    assert service.poll() is None
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request("GET", SESSIONS, headers={"X_Remote_User": "alice"})
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status == 401

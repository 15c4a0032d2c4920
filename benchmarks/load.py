"""Load: wrk for reads, threads with a connection each for what changes something."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable

_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Reads:
    """What a run of wrk saw; times in milliseconds."""

    def __init__(self, text: str) -> None:
        found = {name: float(value) * _MS[unit] for name, value, unit in _LATENCY.findall(text)}
        bad = re.search(r"(Non-2xx or 3xx responses: .*|Socket errors: .*)", text)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
        if bad or rate is None or len(found) != 2:  # noqa: PLR2004 - the 50th and the 99th
            raise BenchError(f"wrk: {bad[0] if bad else text}")
        self.p50_ms = found["50"]
        self.p99_ms = found["99"]
        self.per_s = float(rate[1])


def reads(
    url: str, *, user: str = "alice", clients: int = 1, seconds: float = 2, timeout_s: int = 30
) -> Reads:
    """Ask for one address again and again."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--latency", f"--timeout={timeout_s}s",
         "-H", f"X-Remote-User: {user}", url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Reads(done.stdout)


class Client:
    """One connection to a service, as one user."""

    def __init__(self, port: int, user: str = "alice") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"X-Remote-User": user, "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and document of one answer."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, body=data, headers=self._headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())


def at_once(threads: int, work: Callable[[int], None]) -> float:
    """Run ``work(n)`` in so many threads; the seconds until all have ended.

    Raises:
        BenchError: with the first exception of any.
    """
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except Exception as exc:  # noqa: BLE001 - told by whoever waits
            failures.append(exc)

    all_of_them = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(threads)]
    begun = time.perf_counter()
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()
    took = time.perf_counter() - begun
    if failures:
        raise BenchError(f"{len(failures)} of {threads} clients failed: {failures[0]!r}")
    return took


def timed_ms(call: Callable[[], object]) -> float:
    """How long a call takes, in milliseconds."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000

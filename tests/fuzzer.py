"""Requests that nobody would send on purpose, many of them, and what must be true of each answer.

Drawn from the API's own description and from a list of what has broken programs before. The same
seed draws the same requests.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import random
import subprocess
import sys
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from pathlib import Path

NASTY: tuple[Any, ...] = (
    "", " ", "\n", "\x00", "a\x00b", "../../etc/passwd", "..%2f..%2f", "'; DROP TABLE x; --",
    "$(id)", "`id`", "${jndi:ldap://127.0.0.1/x}", "{{7*7}}", "%s%s%s%n", "%00", "\r\nX-A: b",
    "\u202e\u0000\ud7ff\uffff", "\U0001f4a9" * 50, "ﬁ", "İ", "ß", "\u0661\u0662\u0663\u0664",
    "A" * 300, "A" * 5000, "nan", "-1", "0", "1e999", "0x10", "٣", "true", "null", "[]", "{}",
    "ml-alice-" + "0" * 18, "ml-alice-" + "0" * 18 + ":pins", "moonlight:sessions", "*", "xfce4",
    -1, 0, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 1.5, 1e308, True, False, None, [], {}, [[]],
    {"a": {"b": {"c": []}}}, ["x"] * 50, {"$ne": None}, {"__class__": "x"}, "0214", "1234",
)  # fmt: skip
METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "BREW")
MEDIA = ("application/json", "application/json; charset=utf-8", "text/plain", "application/xml", "")
BODIES = (b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 3000, b'{"a":' * 900, b'{"gpus":NaN}',
          b'{"gpus":1e400}', b'{"pin":"\\ud800"}', b'{"image_id":"\\u0000"}', b"{}" * 2,
          b'{"gpus":' + b"9" * 5000 + b"}", b" " * 70000, b'{"a":1,"a":2}')  # fmt: skip
HEADERS = ("Idempotency-Key", "Origin", "Sec-Fetch-Site", "X-Request-Id", "X-Real-IP", "Cookie",
           "Authorization", "Accept", "If-Match", "Range", "Expect", "X-HTTP-Method-Override",
           "X-Forwarded-For", "X-Original-URL", "Content-Encoding")  # fmt: skip


@attrs.define
class Outcome:
    """What came of a run.

    Attributes:
        statuses: how often each status was answered.
        faults: requests whose answer was wrong, in words.
    """

    statuses: collections.Counter[int] = attrs.field(factory=collections.Counter)
    faults: list[str] = attrs.field(factory=list)

    @property
    def requests(self) -> int:
        """How many were answered."""
        return self.statuses.total()


class Fuzzer:
    """Draws requests for a description."""

    def __init__(self, description: dict[str, Any], port: int, user: str) -> None:
        self._paths = [*description["paths"], "/", "/metrics", "/api/moonlight/x", "/api/vnc"]
        self._description = description
        self._port = port
        self._user = user
        self.known_ids: list[str] = []

    def run(self, count: int, *, seed: int, threads: int = 4) -> Outcome:
        """Send so many requests and look at each answer."""
        outcome, lock = Outcome(), threading.Lock()

        def work(number: int) -> None:
            mine = Outcome()
            draw = random.Random(f"{seed} {number}")  # noqa: S311 - not for secrets
            connection = self._connect()
            for _ in range(count // threads):
                request = self._request(draw)
                try:
                    self._send(connection, request, mine)
                except (OSError, http.client.HTTPException) as exc:
                    if not isinstance(exc, http.client.RemoteDisconnected | ConnectionError):
                        mine.faults.append(f"{request}: {exc!r}")
                    connection.close()
                    connection = self._connect()
            connection.close()
            with lock:
                outcome.statuses += mine.statuses
                outcome.faults += mine.faults

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return outcome

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=70)

    def _request(self, draw: random.Random) -> tuple[str, str, bytes | None, dict[str, str]]:
        path = draw.choice(self._paths)
        item = self._description["paths"].get(path, {})
        for name in ("session_id", "uuid"):
            ids = self.known_ids if self.known_ids and draw.random() < 0.5 else NASTY
            value = urllib.parse.quote(str(draw.choice(ids)), safe="")
            path = path.replace("{" + name + "}", value or "-")
        methods = [method.upper() for method in item if method in ("get", "post", "delete")]
        method = draw.choice(methods if methods and draw.random() < 0.8 else METHODS)
        if draw.random() < 0.4:
            pairs = [
                (draw.choice(("all", "wait", "timeout", "lines", "x", "")), str(draw.choice(NASTY)))
                for _ in range(draw.randint(1, 3))
            ]
            # A long wait is no fault, but it would take long.
            pairs = [(name, "0" if name == "timeout" and draw.random() < 0.7 else value)
                     for name, value in pairs if name != "wait"]  # fmt: skip
            path += "?" + urllib.parse.urlencode(pairs, errors="surrogatepass")
        headers = {"X-Remote-User": self._user}
        if draw.random() < 0.03:
            headers = {}
        elif draw.random() < 0.05:
            headers["X-Remote-User"] = _header(draw.choice(NASTY))
        if draw.random() < 0.2:
            headers[draw.choice(HEADERS)] = _header(draw.choice(NASTY))
        body = None
        if method in ("POST", "PUT", "PATCH") or draw.random() < 0.05:
            headers["Content-Type"] = MEDIA[0] if draw.random() < 0.8 else draw.choice(MEDIA)
            body = draw.choice(BODIES) if draw.random() < 0.2 else self._body(draw, item)
        return method, path, body, headers

    @staticmethod
    def _body(draw: random.Random, item: dict[str, Any]) -> bytes:
        content = item.get("post", {}).get("requestBody", {}).get("content", {})
        properties = content.get("application/json", {}).get("schema", {}).get("properties", {})
        names = [*properties, "x", "username", "__proto__"]
        chosen = draw.sample(names, draw.randint(0, min(3, len(names))))
        return json.dumps({name: draw.choice(NASTY) for name in chosen}).encode()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        request: tuple[str, str, bytes | None, dict[str, str]],
        outcome: Outcome,
    ) -> None:
        method, path, body, headers = request
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        raw = response.read()
        outcome.statuses[response.status] += 1
        wrong = None
        if response.status >= 500 and response.status != 503:
            wrong = f"answered {response.status}"
        elif response.getheader("X-Request-Id") is None and response.status not in (400, 431, 501):
            wrong = "has no request id"
        elif response.status >= 400 and raw:
            with contextlib.suppress(ValueError):
                answer = json.loads(raw)
                if not isinstance(answer.get("error"), str) or not isinstance(answer["code"], str):
                    wrong = "is no error of ours"
            if not raw.startswith(b"{"):
                wrong = "is no JSON"
        if wrong:
            outcome.faults.append(f"{request!r:.300} {wrong}: {raw[:300]!r}")


def _header(value: object) -> str:
    return "".join(c for c in str(value) if c >= " " and ord(c) < 256) or "x"


CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)


def schemathesis(
    port: int, user: str, folder: Path, *, examples: int, phases: str
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis by the description that a service serves.

    Args:
        port: where the service listens.
        user: as whom.
        folder: where it may write.
        examples: most of each operation in the phase fuzzing.
        phases: of examples, coverage and fuzzing.
    """
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run",
         f"http://127.0.0.1:{port}/api/moonlight/openapi.json",
         "--header", f"X-Remote-User: {user}", "--max-examples", str(examples), "--seed", "1",
         "--request-timeout", "70", "--phases", phases, "--workers", "2", "--no-color",
         "--checks", CHECKS],
        check=False, capture_output=True, text=True, cwd=folder, timeout=3000,
    )  # fmt: skip

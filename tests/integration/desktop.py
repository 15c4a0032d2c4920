"""A session whose Sunshine is the stand-in, on this machine, for tests that speak to it."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from typing import TYPE_CHECKING

import attrs
from sunshine_standin.standin.client import Client, ClientError
from unit.standin_support import WAIT_S, Launcher, Standin

from moonlight_core import Session, SessionManager, keys, sunshine

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from moonlight_core.secret import Secret
    from moonlight_core.testing import MemoryGateway


@attrs.frozen(kw_only=True)
class Desktop:
    """A running session of alice's, its stand-in, and what a test may look at."""

    manager: SessionManager
    gateway: MemoryGateway
    redis: redis.Redis
    session: Session
    standin: Standin
    secret: Secret

    @property
    def id(self) -> str:
        """The session's id."""
        return self.session.session_id

    @property
    def password(self) -> str:
        """The password of its Sunshine."""
        return sunshine.password(self.secret, self.id).reveal()

    def client(self, name: str = "client") -> Client:
        """A pretend client."""
        return self.standin.client(name)

    def report(self, **report: object) -> None:
        """Let the job say something, and the record follow."""
        self.gateway.report(self.session.job_id or 0, json.dumps(report))
        self.manager.reconcile()

    def stored(self) -> str:
        """Everything in Redis about the session, as text."""
        every = [keys.session(self.id), keys.pairing(self.id)]
        texts = [str(self.redis.hgetall(key)) for key in every]
        return "".join([*texts, str(self.redis.lrange(keys.pins(self.id), 0, -1))])


@attrs.frozen
class Attempt:
    """A pretend client that asks to be paired, in a thread."""

    thread: threading.Thread
    failures: list[Exception]

    def wait(self) -> Exception | None:
        """Its end: what went wrong, or None when it is paired."""
        self.thread.join(2 * WAIT_S)
        assert not self.thread.is_alive()
        return self.failures[0] if self.failures else None


def ask(client: Client, pin: str, *, leave: bool = False) -> Attempt:
    """Let a client ask to be paired with a PIN; with ``leave`` it goes away at another PIN."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            client.pair(pin, WAIT_S, leave=leave)
        except (ClientError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return Attempt(thread, failures)


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a certificate, as the batch script tells it."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    return hashlib.sha256(der).hexdigest()


def started(
    manager: SessionManager, gateway: MemoryGateway, secret: Secret, launcher: Launcher, port: int
) -> tuple[Session, Standin]:
    """A session of alice's that runs, and the stand-in that it would have on its node."""
    session = manager.create("alice")
    assert session.job_id is not None
    file = sunshine.credentials_file(secret, session)
    (launcher.folder / "credentials.json").write_text(file, encoding="utf-8")
    standin = launcher.start(port=port, credentials=False)
    gateway.start(session.job_id, "viz1")
    manager.reconcile()
    cert = fingerprint(launcher.folder / "keys" / "cert.pem")
    gateway.report(session.job_id, json.dumps({"phase": "ready", "cert": cert}))
    manager.reconcile()
    return manager.get(session.session_id), standin

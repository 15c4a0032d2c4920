"""What tests of a running desktop share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from desktop import Desktop, started
from live import Live, free_port, serving
from sunshine_standin.standin.state import make_certificate
from unit.standin_support import Launcher, free_base_port

from moonlight_core import SessionManager, pairing, reconcile
from moonlight_http import identity

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates of a host and a client: making them takes longest."""
    folder = tmp_path_factory.mktemp("keys")
    make_certificate(folder / "key.pem", folder / "cert.pem", "Sunshine Gamestream Host")
    make_certificate(folder / "client.key", folder / "client.crt", "client")
    return folder


@pytest.fixture
def make_desktop(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    redis_client: redis.Redis,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Desktop]]:
    """Makes a running session with a stand-in of its own; waits are short."""
    names = {2001: "alice", 2002: "bob"}
    monkeypatch.setattr(reconcile, "name_of", names.get)
    monkeypatch.setattr(pairing, "_ASK_EVERY_S", 0.02)
    monkeypatch.setattr(pairing, "_CONFIRM_S", 0.5)
    shutil.copytree(certificates, tmp_path / "keys")
    for client in ("client", "other"):
        (tmp_path / client).mkdir()
        for name in ("client.key", "client.crt"):
            shutil.copy(certificates / name, tmp_path / client)
    launcher = Launcher(tmp_path, tmp_path / "keys")

    def make(**service: Any) -> Desktop:
        port = free_base_port()
        manager = SessionManager(
            make_settings(
                slots={"first_port": port, "last_port": port},
                connect={"host": "{node}.example.org", "hosts": {"viz1": "127.0.0.1"}},
                service={"administrators": ["carol"]} | service,
            ),
            store,
            gateway,
            service_secret=secret,
            resolve_user=resolve_user,
        )
        session, standin = started(manager, gateway, secret, launcher, port)
        return Desktop(
            manager=manager,
            gateway=gateway,
            redis=redis_client,
            session=session,
            standin=standin,
            secret=secret,
        )

    yield make
    launcher.stop_all()


@pytest.fixture
def desktop(make_desktop: Callable[..., Desktop]) -> Desktop:
    """A running session of alice's."""
    return make_desktop()


@pytest.fixture
def serve(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., contextlib.AbstractContextManager[Live]]:
    """Serves these settings on a free port; carol is the administrator."""
    monkeypatch.setattr(identity, "find_user", resolve_user)

    def make(**document: Any) -> contextlib.AbstractContextManager[Live]:
        document["service"] = {"port": free_port(), "administrators": ["carol"]} | document.get(
            "service", {}
        )
        manager = SessionManager(
            make_settings(**document),
            store,
            gateway,
            service_secret=secret,
            resolve_user=resolve_user,
        )
        return serving(manager)

    return make


@pytest.fixture
def live(serve: Callable[..., contextlib.AbstractContextManager[Live]]) -> Iterator[Live]:
    """The service with the defaults."""
    with serve() as service:
        yield service

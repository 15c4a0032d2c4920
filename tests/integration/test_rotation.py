"""The service's secret can be changed while sessions run, and nothing shows it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from desktop import ask

from moonlight_core import SessionManager, SettingsError, SunshineAnswerUnusable, keys
from moonlight_core.secret import Secret, ServiceSecrets, read_service_secrets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from desktop import Desktop

    from moonlight_core.store import SessionStore
    from moonlight_core.users import User

NEW = Secret("fedcba9876543210" * 4)


@pytest.fixture
def after(
    store: SessionStore, resolve_user: Callable[..., User]
) -> Callable[[Desktop, ServiceSecrets], SessionManager]:
    """The service as it is after a restart with other secrets."""

    def restart(desktop: Desktop, secrets: ServiceSecrets) -> SessionManager:
        return SessionManager(
            desktop.manager.settings,
            store,
            desktop.gateway,
            service_secret=secrets,
            resolve_user=resolve_user,
        )

    return restart


def test_running_sessions_go_on(
    desktop: Desktop, after: Callable[[Desktop, ServiceSecrets], SessionManager]
) -> None:
    """They are paired and shown with the secret that they were made with; new ones get the new."""
    manager = after(desktop, ServiceSecrets(NEW, desktop.secret))
    attempt = ask(desktop.client(), "0214")
    assert manager.pair(desktop.id, pin="0214", user="alice").client is not None
    assert attempt.wait() is None
    shown = manager.credentials(desktop.id, user="alice").password.reveal()
    assert shown == desktop.password
    made = manager.create("bob")
    assert made.secret_id == ServiceSecrets(NEW).current_id
    assert made.secret_id != desktop.session.secret_id


def test_also_after_redis_was_lost(
    desktop: Desktop, after: Callable[[Desktop, ServiceSecrets], SessionManager]
) -> None:
    """Slurm remembers which secret it was, and not the secret."""
    desktop.manager.reconcile()
    desktop.redis.flushall()
    manager = after(desktop, ServiceSecrets(NEW, desktop.secret))
    manager.reconcile()
    manager.reconcile()
    assert [client.name for client in manager.clients(desktop.id)] == []
    marks = [job.admin_comment for job in desktop.gateway.our_jobs()]
    assert any(f"secret_id={desktop.session.secret_id}" in mark for mark in marks)
    assert desktop.secret.reveal() not in "".join(marks)


def test_a_secret_that_was_dropped_too_early_is_told(
    desktop: Desktop, after: Callable[[Desktop, ServiceSecrets], SessionManager]
) -> None:
    """In words, and no wrong password is tried."""
    manager = after(desktop, ServiceSecrets(NEW))
    for act in (manager.clients, manager.credentials):
        with pytest.raises(SunshineAnswerUnusable, match="further line"):
            act(desktop.id)
    assert manager.get(desktop.id).status == "running"


def test_the_file_holds_the_current_one_first(tmp_path: Path) -> None:
    """And earlier ones below it; a short line is no secret."""
    path = tmp_path / "secret"
    path.write_text(f"{NEW.reveal()}\n\n{'old' * 10}\n")
    path.chmod(0o600)
    secrets = read_service_secrets(path)
    assert secrets.current.reveal() == NEW.reveal()
    earlier = secrets.of(ServiceSecrets(Secret("old" * 10)).current_id)
    assert earlier is not None
    assert earlier.reveal() == "old" * 10
    assert secrets.of(12345) is None
    path.write_text(f"{NEW.reveal()}\nshort\n")
    with pytest.raises(SettingsError, match="openssl rand") as caught:
        read_service_secrets(path)
    assert NEW.reveal() not in str(caught.value)


def test_nothing_shows_a_secret(
    desktop: Desktop, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """No repr, log, record, job or error: not the service's, not the session's."""
    caplog.set_level(logging.DEBUG)
    shown = [repr(desktop.manager.__dict__), repr(desktop.manager._secrets), desktop.stored()]
    shown += [json.dumps(session.to_json()) for session in desktop.manager.list()]
    shown += [repr(desktop.manager.credentials(desktop.id))]
    shown += [repr(desktop.redis.hgetall(keys.session(desktop.id)))]
    shown += [repr(job) for job in desktop.gateway.our_jobs()]
    shown += [repr(spec) for spec in desktop.gateway.specs.values()]
    desktop.manager.clients(desktop.id)
    desktop.standin.process.kill()
    desktop.standin.process.wait()
    with pytest.raises(Exception, match="Sunshine") as caught:
        desktop.manager.clients(desktop.id)
    shown += [str(caught.value), repr(caught.value), caplog.text]
    for secret in (desktop.secret.reveal(), desktop.password):
        assert secret not in "".join(shown)

"""Idle desktops through reconcile: what the script is told, and when it is woken."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from moonlight_core import SessionManager, SettingsError, bus, reconcile
from moonlight_core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User


class Site:
    """A service whose time a test moves."""

    def __init__(self, make: Callable[..., SessionManager], gateway: MemoryGateway) -> None:
        self.now = dt.datetime.now(dt.UTC)
        self.manager = make(lambda: self.now)
        self.gateway = gateway
        self.job_id = 0

    def start(self, **wanted: Any) -> str:
        """A session of alice's that runs, and that nobody is connected to."""
        session = self.manager.create("alice", **wanted)
        assert session.job_id is not None
        self.job_id = session.job_id
        self.gateway.start(self.job_id, "viz1")
        self.manager.reconcile()
        self.tell(clients="0")
        return session.session_id

    def tell(self, **facts: object) -> None:
        """Let the script report, and the record and the mark follow."""
        report = {"phase": "ready", "hears": 1} | facts
        self.gateway.report(self.job_id, json.dumps(report))
        self.manager.reconcile()
        self.manager.reconcile()

    def after(self, minutes: float) -> dict[str, str]:
        """What is wished of the script so much later."""
        self.now += dt.timedelta(minutes=minutes)
        self.manager.reconcile()
        self.manager.reconcile()
        mark = bus.Mark.of_job(self.gateway.jobs([self.job_id])[self.job_id])
        assert mark is not None
        return dict(mark.wishes)


@pytest.fixture
def make_site(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Site]:
    """A site with these [sessions]."""
    monkeypatch.setattr(reconcile, "name_of", {2001: "alice"}.get)

    def make(**sessions: Any) -> Site:
        return Site(
            lambda clock: SessionManager(
                make_settings(sessions=sessions),
                store,
                gateway,
                service_secret=secret,
                resolve_user=resolve_user,
                clock=clock,
            ),
            gateway,
        )

    return make


def test_warned_asked_asked_again(make_site: Callable[..., Site]) -> None:
    """The script is woken once for each change, and each minute while it does nothing."""
    site = make_site(idle_minutes=30)
    session_id = site.start()
    woken = site.gateway.woken
    assert site.after(20) == {}
    assert woken[site.job_id] == 0
    ends = site.manager.get(session_id).idle_ends_at
    assert ends is not None
    assert site.after(5) == {"ends": str(int(ends.timestamp()))}
    assert woken[site.job_id] == 1
    assert site.after(5)["end"] == "idle"
    assert woken[site.job_id] == 2
    assert site.after(0.5)["end"] == "idle"
    assert woken[site.job_id] == 2
    site.after(0.6)
    assert woken[site.job_id] == 3
    # It had somebody, and says so.
    site.tell(clients="1", seen=str(int(site.now.timestamp())))
    assert site.after(0) == {}
    assert site.manager.get(session_id).idle_ends_at is None
    assert site.gateway.jobs([site.job_id])[site.job_id].state == "RUNNING"


def test_reap_tells_and_does(make_site: Callable[..., Site]) -> None:
    """A dry run changes nothing."""
    site = make_site(idle_minutes=10)
    session_id = site.start()
    site.now += dt.timedelta(minutes=12)
    before = site.manager.get(session_id)
    (told,) = site.manager.reap(dry_run=True)
    assert "It ends now" in told.verdict
    assert site.manager.get(session_id) == before
    (told,) = site.manager.reap()
    # Nobody had looked for a while: the warning comes first.
    assert "It ends in 5 min" in told.verdict
    assert "and says so" in told.verdict
    site.now += dt.timedelta(minutes=5)
    (told,) = site.manager.reap()
    assert "asked to end" in told.verdict


def test_what_a_request_may_choose(make_site: Callable[..., Site]) -> None:
    """Anything where the site sets no limit, never above it where it does."""
    free = make_site(idle_minutes=30)
    assert free.manager.create("alice").idle_minutes == 30
    assert free.manager.create("alice", idle_minutes=0).idle_minutes == 0
    bound = make_site(idle_minutes=30, max_idle_minutes=60)
    assert bound.manager.create("alice", idle_minutes=60).idle_minutes == 60
    for wrong in (0, 61, -1, True, "5"):
        with pytest.raises(InvalidRequest, match="idle_minutes"):
            bound.manager.create("alice", idle_minutes=wrong)
    with pytest.raises(SettingsError, match="max_idle_minutes allows 1 to 60"):
        make_site(idle_minutes=0, max_idle_minutes=60)

"""When an idle desktop ends: the decisions alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import attrs
import pytest
from session_factory import session

from moonlight_core import Settings, idle
from moonlight_core.models import Session, Status

READY = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)


def minutes(count: float) -> dt.timedelta:
    """So many."""
    return dt.timedelta(minutes=count)


def limits(**sessions: int) -> Any:
    """The site's."""
    return attrs.evolve(Settings().sessions, **sessions)


def desktop(**changes: object) -> Session:
    """A running one that nobody is connected to, for 30 minutes at most."""
    usual = {
        "status": Status.RUNNING, "started_at": READY - minutes(1), "ready_at": READY,
        "clients_connected": 0, "idle_minutes": 30,
    }  # fmt: skip
    return session(**usual | changes)


def round_at(seen: Session, at: dt.datetime, site: Any = None) -> Session:
    """The session after a round."""
    return attrs.evolve(seen, **idle.changes(seen, site or limits(), at, hears=True))


def test_from_ready_to_the_end() -> None:
    """Known from the start, said five minutes before, asked at the end, asked again."""
    seen = round_at(desktop(), READY)
    assert (seen.idle_ends_at, seen.warned_at) == (READY + minutes(30), None)
    seen = round_at(seen, READY + minutes(24.9))
    assert seen.warned_at is None
    seen = round_at(seen, READY + minutes(25))
    assert (seen.warned_at, seen.end_wanted) == (READY + minutes(25), None)
    assert seen.idle_ends_at == READY + minutes(30)
    assert round_at(seen, READY + minutes(29.9)) == seen
    seen = round_at(seen, READY + minutes(30))
    assert (seen.end_wanted, seen.asked_at) == ("idle", READY + minutes(30))
    assert round_at(seen, READY + minutes(30.5)) == seen
    assert round_at(seen, READY + minutes(31)).asked_at == READY + minutes(31)


def test_whoever_comes_in_time_is_safe() -> None:
    """Even after the end was wanted; from when she leaves it counts anew."""
    seen = round_at(round_at(desktop(), READY + minutes(29)), READY + minutes(40))
    assert seen.end_wanted == "idle"
    there = attrs.evolve(seen, clients_connected=1, last_connected_at=READY + minutes(40))
    there = round_at(there, READY + minutes(40.1))
    nothing = (None, None, None, None)
    assert (there.idle_ends_at, there.warned_at, there.end_wanted, there.asked_at) == nothing
    left = attrs.evolve(there, clients_connected=0, last_connected_at=READY + minutes(90))
    assert round_at(left, READY + minutes(91)).idle_ends_at == READY + minutes(120)


def test_a_short_visit_between_two_rounds_counts() -> None:
    """The notice goes, and comes again later."""
    seen = round_at(desktop(), READY + minutes(29))
    assert seen.warned_at is not None
    seen = attrs.evolve(seen, last_connected_at=READY + minutes(29.5))
    seen = round_at(seen, READY + minutes(29.6))
    assert (seen.warned_at, seen.idle_ends_at) == (None, READY + minutes(59.5))


def test_nobody_is_ended_without_a_warning() -> None:
    """A service that was away for an hour warns first."""
    seen = round_at(desktop(), READY + minutes(60))
    assert (seen.end_wanted, seen.idle_ends_at) == (None, READY + minutes(65))
    assert round_at(seen, READY + minutes(64)).end_wanted is None
    assert round_at(seen, READY + minutes(65)).end_wanted == "idle"
    short = round_at(desktop(idle_minutes=2), READY + minutes(1))
    assert short.warned_at is not None
    assert round_at(short, READY + minutes(3)).end_wanted == "idle"


@pytest.mark.parametrize(
    "changes",
    [
        {"clients_connected": None},
        {"clients_connected": 1},
        {"idle_minutes": 0},
        {"status": Status.STARTING},
        {"status": Status.STOPPING},
        {"ready_at": None},
    ],
)
def test_left_alone(changes: dict[str, object]) -> None:
    """What is not known counts as somebody."""
    seen = round_at(desktop(**changes), READY + minutes(10_000))
    assert (seen.idle_ends_at, seen.warned_at, seen.end_wanted) == (None, None, None)


def test_a_script_that_cannot_be_asked_is_left_alone() -> None:
    """It would be ended by the signal."""
    assert idle.changes(desktop(), limits(), READY + minutes(99), hears=False) == idle._NOTHING


def test_age() -> None:
    """Ends what nobody is connected to, whatever it may be idle; not who has just lost the line."""
    site = limits(max_age_hours=2)
    old = desktop(idle_minutes=0)
    assert round_at(old, READY, site).idle_ends_at == READY + minutes(119)
    seen = round_at(round_at(old, READY + minutes(115), site), READY + minutes(120), site)
    assert seen.end_wanted == "age"
    connected = attrs.evolve(old, clients_connected=1)
    assert round_at(connected, READY + minutes(999), site).end_wanted is None
    left = attrs.evolve(old, last_connected_at=READY + minutes(300))
    assert round_at(left, READY + minutes(300), site).idle_ends_at == READY + minutes(305)
    both = desktop(idle_minutes=30)
    assert round_at(both, READY, site).idle_ends_at == READY + minutes(30)


def test_verdicts() -> None:
    """A sentence for each."""
    now = READY + minutes(26)

    def verdict(seen: Session) -> str:
        return idle.Idleness.of(seen, limits(), now).verdict

    assert "not known" in verdict(desktop(clients_connected=None))
    assert verdict(desktop(clients_connected=2)) == "Somebody is connected."
    assert "as long as" in verdict(desktop(idle_minutes=0))
    assert verdict(round_at(desktop(), READY)) == "It ends in 4 min by 30 min without anybody."
    assert "says so" in verdict(round_at(desktop(), now))
    assert "asked" in verdict(round_at(round_at(desktop(), now), READY + minutes(31)))

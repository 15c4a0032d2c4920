"""How far a start is, and when it will be."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise

import pytest

from moonlight_core.progress import PERCENT, expected, percent
from moonlight_core.shipped import batch_script

NOW = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)


def test_every_phase_of_a_start_has_its_place() -> None:
    """What the batch script says, in the order of its lines, never goes back."""
    spoken = re.findall(r'^\s*(?:report|say "phase) ([a-z_]+)', batch_script(), re.MULTILINE)
    later = ("failed", "ending", "slot_busy", "restarting_sunshine")
    start = [phase for phase in spoken if phase not in later]
    assert {"checking_slot", "unpacking_image", "starting_x", "ready"} <= set(start)
    assert set(start) <= set(PERCENT)
    assert all(before <= after for before, after in pairwise(PERCENT.values()))
    assert (PERCENT["submitting"], PERCENT["ready"]) == (0, 100)


@pytest.mark.parametrize(
    ("status", "phase", "shown"),
    [
        ("pending", "queued", 5),
        ("starting", "starting_x", 70),
        ("starting", "something_new", None),
        ("running", "suspended", 100),
        ("stopping", "cancelling", None),
        ("failed", "ended", None),
    ],
)
def test_percent(status: str, phase: str, shown: int | None) -> None:
    """Of the start only."""
    assert percent(status, phase) == shown


def test_when_it_is_expected() -> None:
    """The time of the day; another day with its date; nothing where nothing is known."""
    soon = NOW + dt.timedelta(minutes=5)
    assert expected(soon, NOW) == f" Expected at {soon.astimezone():%H:%M}."
    late = NOW + dt.timedelta(days=2)
    assert f" {late.astimezone():%Y-%m-%d %H:%M}." in expected(late, NOW)
    assert expected(None, NOW) == expected(NOW, NOW) == ""

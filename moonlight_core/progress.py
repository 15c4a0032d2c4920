"""How far a session is on its way to a desktop: for progress bars, and for people who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

PERCENT: Mapping[str, int] = {
    "submitting": 0,
    "queued": 5,
    "held": 5,
    "allocated": 10,
    "waiting_for_slot": 12,
    "checking_slot": 15,
    "slot_busy": 15,
    "unpacking_image": 20,
    "starting_container": 60,
    "starting_x": 70,
    "starting_sunshine": 80,
    "starting_desktop": 90,
    "ready": 100,
}
"""Where each phase of a start begins, by the time that the phases take: a sandbox's first start
unpacks for most of it, others jump over that part."""


def percent(status: str, phase: str) -> int | None:
    """How much of the start is done, in percent; None for a session that ends or has ended."""
    if status in ("pending", "starting"):
        return PERCENT.get(phase)
    return 100 if status == "running" else None


def expected(at: dt.datetime | None, now: dt.datetime) -> str:
    """What the sentence of a session in the queue ends with, in the service's own time zone.

    Args:
        at: when Slurm expects to start it, where it has an estimate.
        now: the time; an estimate of the past is none.
    """
    if at is None or at <= now:
        return ""
    local, today = at.astimezone(), now.astimezone()
    form = "%H:%M" if local.date() == today.date() else "%Y-%m-%d %H:%M"
    return f" Expected at {local.strftime(form)}."

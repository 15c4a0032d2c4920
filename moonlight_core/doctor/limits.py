"""Slurm's way of writing times."""

from __future__ import annotations

_HOUR_MIN = 60
_DAY_MIN = 24 * _HOUR_MIN
_UNLIMITED = ("UNLIMITED", "INFINITE", "NONE", "")


def minutes(text: str) -> int | None:
    """A limit in minutes; None for no limit.

    Args:
        text: as slurm.conf(5) has it: minutes, minutes:seconds, hours:minutes:seconds,
            days-hours, days-hours:minutes or days-hours:minutes:seconds.
    """
    if text.upper() in _UNLIMITED:
        return None
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, least = parts[0], (parts[1] if len(parts) > 1 else 0)
        return int(days) * _DAY_MIN + hours * _HOUR_MIN + least
    if len(parts) > 2:  # noqa: PLR2004 - hours, minutes, seconds
        return parts[0] * _HOUR_MIN + parts[1]
    return parts[0]

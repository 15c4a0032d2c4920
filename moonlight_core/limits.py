"""How much a user may have: the site's limits, those of her Unix groups, and those of the image.

A group's table replaces the site's values, upwards or downwards; of several groups the most
generous counts. What an image allows is never exceeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.errors import SettingsError
from moonlight_core.users import group_names
from moonlight_core.values import convert

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moonlight_core.images import Image
    from moonlight_core.settings import SessionSettings
    from moonlight_core.users import User

UNLIMITED = -1


@attrs.frozen(kw_only=True)
class GroupLimits:
    """``[limits.<group>]``: what members of a Unix group may have; None as everybody."""

    per_user: int | None = None
    creates_per_minute: int | None = None
    max_cpus: int | None = None
    max_memory_gb: int | None = None
    max_gpus: int | None = None
    max_hours: int | None = None


@attrs.frozen(kw_only=True)
class Limits:
    """What a user may have.

    Attributes:
        per_user: live sessions of the user.
        total: live sessions of all users; -1 for any number.
        creates_per_minute: new sessions of the user within a minute; -1 for any number.
        max_cpus: CPUs of a session.
        max_memory_gb: memory of a session, GiB.
        max_gpus: GPUs of a session.
        max_hours: time limit of a session, hours.
        max_width: width of a desktop in pixels.
        max_height: height of a desktop in pixels.
        max_fps: frames a second.
        max_bitrate_kbps: kilobits a second of a stream; 0 for any number.
        idle_minutes: minutes with nobody connected, where nothing else is said; 0 for any number.
        max_idle_minutes: most of them; 0 for any number.
    """

    per_user: int
    total: int = UNLIMITED
    creates_per_minute: int = UNLIMITED
    max_cpus: int
    max_memory_gb: int
    max_gpus: int
    max_hours: int
    max_width: int
    max_height: int
    max_fps: int
    max_bitrate_kbps: int
    idle_minutes: int = 0
    max_idle_minutes: int = 0


def limits_for(
    user: User, image: Image, site: SessionSettings, groups: Mapping[str, GroupLimits]
) -> Limits:
    """What a user may have of an image.

    Args:
        user: the account.
        image: the image that is asked for.
        site: limits for everybody.
        groups: limits by the name of a Unix group.
    """
    mine = [groups[name] for name in group_names(user) & set(groups)] if groups else []
    values: dict[str, int] = {}
    for field in attrs.fields(GroupLimits):
        given = [value for group in mine if (value := getattr(group, field.name)) is not None]
        values[field.name] = max(given) if given else getattr(site, field.name)
        allowed = getattr(image, field.name, None)
        if allowed is not None:
            values[field.name] = min(values[field.name], allowed)
    # 0 is written for "any number" where a limit of none would make no sense.
    return Limits(
        **values | {"creates_per_minute": values["creates_per_minute"] or UNLIMITED},
        total=site.total or UNLIMITED,
        max_width=site.max_width,
        max_height=site.max_height,
        max_fps=site.max_fps,
        max_bitrate_kbps=site.max_bitrate_kbps,
        idle_minutes=site.idle_minutes if image.idle_minutes is None else image.idle_minutes,
        max_idle_minutes=site.max_idle_minutes,
    )


def group_limits(document: Any) -> Mapping[str, GroupLimits]:
    """Read the ``limits`` table of the configuration.

    Args:
        document: ``{group: {limit: value}}``.

    Raises:
        SettingsError: with a sentence for every fault found.
    """
    if not isinstance(document, dict):
        raise SettingsError(["[limits] holds a table for each Unix group: [limits.students]."])
    faults: list[str] = []
    fields = {field.name: field for field in attrs.fields(GroupLimits)}
    groups = {}
    for name, table in document.items():
        if not isinstance(table, dict):
            faults.append(f"[limits.{name}] is a table, not {table!r}.")
            continue
        values = {}
        for key, raw in table.items():
            if key not in fields:
                faults.append(f"[limits.{name}] has no {key!r}; it has {', '.join(fields)}.")
                continue
            try:
                values[key] = convert(raw, fields[key].type)
            except ValueError as exc:
                faults.append(f"[limits.{name}] {key} {exc}")
                continue
            least = 0 if key in ("max_gpus", "creates_per_minute", "per_user") else 1
            if values[key] is not None and values[key] < least:
                faults.append(f"[limits.{name}] {key} is {raw}: it must be {least} or more.")
        groups[name] = GroupLimits(**values)
    if faults:
        raise SettingsError(faults)
    return groups

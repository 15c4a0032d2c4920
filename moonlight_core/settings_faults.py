"""What is wrong with settings whose values are of the right types: bounds, and what does not fit.

``moonlight_core.neighbour`` has what would cross the line to the VNC service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core import ports
from moonlight_core.options import LARGEST_SIDE, SMALLEST_SIDE
from moonlight_core.service_settings import service_faults

if TYPE_CHECKING:
    from moonlight_core.settings import Settings


def settings_faults(settings: Settings) -> list[str]:
    """What no single value shows: bounds and values that do not fit each other."""
    faults = [*_bound_faults(settings), *_slot_faults(settings)]
    faults += service_faults(settings.service, settings.jwt)
    if settings.service.single_user and settings.slurm.report_field == "comment":
        faults.append(
            "[service] single_user needs Comment for the lease: [slurm] report_field must be extra."
        )
    if settings.connect.host.count("{node}") != 1:
        faults.append(f"[connect] host is {settings.connect.host!r}: it must hold {{node}} once.")
    return faults


def _bound_faults(settings: Settings) -> list[str]:
    slots, sessions, service = settings.slots, settings.sessions, settings.service
    watch = settings.watch
    positive = {
        "[service] threads": service.threads,
        "[service] request_timeout_s": service.request_timeout_s,
        "[service] waiting": service.waiting,
        "[service] reconcile_interval_s": service.reconcile_interval_s,
        "[service] max_body_bytes": service.max_body_bytes,
        "[service] screenshot_every_s": service.screenshot_every_s,
        "[redis] timeout_s": settings.redis.timeout_s,
        "[slurm] deadline_s": settings.slurm.deadline_s,
        "[slots] wait_s": slots.wait_s,
        "[slots] block_s": slots.block_s,
        "[sessions] per_user": sessions.per_user,
        "[sessions] max_cpus": sessions.max_cpus,
        "[sessions] max_memory_gb": sessions.max_memory_gb,
        "[sessions] max_hours": sessions.max_hours,
        "[sessions] submit_grace_s": sessions.submit_grace_s,
        "[sessions] start_timeout_s": sessions.start_timeout_s,
        "[sessions] keep_ended_s": sessions.keep_ended_s,
        "[sessions] idle_warning_minutes": sessions.idle_warning_minutes,
        "[sessions] max_fps": sessions.max_fps,
        "[watch] interval_s": watch.interval_s,
        "[watch] timeout_s": watch.timeout_s,
        "[watch] misses": watch.misses,
    }
    faults = [
        f"{name} is {value}: it must be above 0." for name, value in positive.items() if value <= 0
    ]
    faults += [
        f"{name} is {value}: it cannot be negative."
        for name, value in {
            "[sessions] max_gpus": sessions.max_gpus,
            "[sessions] total": sessions.total,
            "[sessions] creates_per_minute": sessions.creates_per_minute,
            "[sessions] max_bitrate_kbps": sessions.max_bitrate_kbps,
            "[sessions] end_notice_s": sessions.end_notice_s,
            "[sessions] idle_minutes": sessions.idle_minutes,
            "[sessions] max_idle_minutes": sessions.max_idle_minutes,
            "[sessions] max_age_hours": sessions.max_age_hours,
            "[watch] restarts": watch.restarts,
        }.items()
        if value < 0
    ]
    faults += [
        f"[sessions] {name} is {value}: a desktop has {SMALLEST_SIDE} to {LARGEST_SIDE} pixels."
        for name in ("max_width", "max_height")
        if not SMALLEST_SIDE <= (value := getattr(sessions, name)) <= LARGEST_SIDE
    ]
    most = sessions.max_idle_minutes
    chosen = {"[sessions] idle_minutes": sessions.idle_minutes} | {
        f"[images.{image.id}] idle_minutes": image.idle_minutes
        for image in settings.images.values()
        if image.idle_minutes is not None
    }
    faults += [
        f"{name} is {minutes}: [sessions] max_idle_minutes allows 1 to {most}."
        for name, minutes in chosen.items()
        if most > 0 and not 1 <= minutes <= most
    ]
    faults += [
        f"[images.{image.id}] {name} is {value}: it is above [sessions] max_{name}."
        for image in settings.images.values()
        for name in ("width", "height", "fps")
        if (value := getattr(image, name)) > getattr(sessions, f"max_{name}")
    ]
    if settings.slurm.report_field not in ("extra", "comment"):
        faults.append(
            f"[slurm] report_field is {settings.slurm.report_field!r}: it is extra or comment."
        )
    faults += [
        f"[paths] {name} is {path}: it must be an absolute path."
        for name, path in attrs.asdict(settings.paths).items()
        if not path.is_absolute()
    ]
    return faults


def _slot_faults(settings: Settings) -> list[str]:
    slots, faults = settings.slots, []
    if slots.first_display > slots.last_display:
        faults.append("[slots] first_display is above last_display: there would be no display.")
    if slots.first_port > slots.last_port:
        faults.append("[slots] first_port is above last_port: there would be no port.")
    if slots.first_port < ports.LOWEST_BASE_PORT or slots.last_port > ports.HIGHEST_BASE_PORT:
        faults.append(
            f"[slots] base ports {slots.first_port}-{slots.last_port} are outside "
            f"{ports.LOWEST_BASE_PORT}-{ports.HIGHEST_BASE_PORT}: Sunshine would silently use "
            "47989 instead."
        )
    return faults

"""The line to the VNC service that lives on the same nodes, partition and Redis.

Whatever would cross it is refused when the settings are read, with what and why; nothing else in
the project needs to think about the neighbour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core import ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moonlight_core.settings import Settings

LAST_VNC_DISPLAY = 9
VNC_PORTS = (range(5900, 6000), range(6900, 7000), range(5010, 5011))


def faults_with_neighbour(settings: Settings) -> list[str]:
    """A sentence for each setting that would disturb the VNC service."""
    return [
        *_slot_faults(settings),
        *_path_faults(settings),
        *_image_faults(settings),
        *_job_faults(settings),
    ]


def _slot_faults(settings: Settings) -> Iterator[str]:
    slots = settings.slots
    if slots.first_display <= LAST_VNC_DISPLAY:
        yield (
            f"[slots] first_display is {slots.first_display}: displays :1 to :{LAST_VNC_DISPLAY} "
            f"belong to the VNC service; begin at :{LAST_VNC_DISPLAY + 1} or above."
        )
    lowest = slots.first_port + min(ports.TCP_OFFSETS)
    highest = slots.last_port + max(ports.TCP_OFFSETS)
    for used in VNC_PORTS:
        if lowest < used.stop and used.start <= highest:
            yield (
                f"[slots] base ports {slots.first_port}-{slots.last_port} make Sunshine use TCP "
                f"{lowest}-{highest}, which meets the VNC service's {used.start}-{used.stop - 1}; "
                "use 47989-48010."
            )
    if any(settings.service.port in used for used in VNC_PORTS):
        yield (
            f"[service] port is {settings.service.port}: the VNC service uses 5010, 5900-5999 and "
            "6900-6999; ours is 8004."
        )


def _path_faults(settings: Settings) -> Iterator[str]:
    for name, path in attrs.asdict(settings.paths, recurse=False).items():
        if _is_theirs(path):
            yield (
                f"[paths] {name} is {path}: names that begin with vnc_ belong to the VNC service; "
                "use a directory of our own."
            )
        elif name != "images" and not path.name.startswith("sunshine_"):
            yield (
                f"[paths] {name} is {path}: the last part must begin with sunshine_, so that "
                "nobody takes it for the VNC service's."
            )


def _image_faults(settings: Settings) -> Iterator[str]:
    for image in settings.images.values():
        if _is_theirs(image.sif) or not image.sif.name.startswith("sunshine_"):
            yield (
                f"[images.{image.id}] sif is {image.sif}: image files are named sunshine_*.sif; "
                "vnc_* ones belong to the VNC service."
            )


def _job_faults(settings: Settings) -> Iterator[str]:
    if not settings.slurm.qos:
        yield (
            "[slurm] qos is empty: sessions need a QoS of their own (moonlight), as jobs without "
            "one are the VNC service's."
        )


def _is_theirs(path: Path) -> bool:
    return any(part.startswith("vnc_") for part in path.parts)

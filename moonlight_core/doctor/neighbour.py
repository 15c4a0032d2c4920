"""The line to the VNC service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core.doctor.finding import Finding, green, red

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonlight_core.doctor.site import Site


def line(site: Site) -> Iterator[Finding]:
    """No path of ours leads, by a link, to the neighbour's; the settings were checked when read."""
    settings = site.settings
    paths = {
        **{
            f"[paths] {name}": path
            for name, path in attrs.asdict(settings.paths, recurse=False).items()
        },
        **{f"[images.{image.id}] sif": image.sif for image in settings.images.values()},
    }
    crossing = {
        name: path
        for name, path in paths.items()
        if any(part.startswith("vnc_") for part in path.resolve().parts)
    }
    for name, path in crossing.items():
        yield red(
            "line to VNC",
            f"{name} is {path}, which is a link to {path.resolve()}: that is the VNC service's.",
            "Give it a place of its own; images are built from definitions/, from scratch.",
        )
    if not crossing:
        yield green(
            "line to VNC",
            "Displays, ports, directories, images and QoS keep to our side of it.",
        )

"""The image files: readable by the users, and with a Sunshine that may be offered."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

from moonlight_core.doctor.finding import Finding, green, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moonlight_core.doctor.site import Site
    from moonlight_core.images import Image


def files(site: Site) -> Iterator[Finding]:
    """Each image of the catalogue is there, and users may read it."""
    for image in site.settings.images.values():
        subject = f"image {image.id}"
        blocked = unreadable_part(image.sif)
        if not image.sif.is_file():
            yield red(
                subject,
                f"{image.sif} is not there.",
                f"definitions/build {image.id} --output {image.sif.parent}, or take the entry out "
                "of the catalogue.",
            )
        elif blocked is not None:
            yield red(
                subject,
                f"{blocked} is closed to users, as whom sessions run.",
                f"chmod a+r{'x' if blocked.is_dir() else ''} {blocked}",
            )
        else:
            yield green(subject, f"{image.sif} is readable by everybody.")


def unreadable_part(path: Path) -> Path | None:
    """The file or the folder on its way that is closed to others; None when it is readable."""
    for part in (*reversed(path.parents), path):
        try:
            mode = part.stat().st_mode
        except OSError:
            return part
        if not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
            return part
    return None


def sunshine(site: Site) -> Iterator[Finding]:
    """Which Sunshine each image has, and what is known of it."""
    records: dict[Path, list[Image]] = {}
    for image in site.settings.images.values():
        if os.access(image.sif, os.R_OK):
            records.setdefault(image.sif.with_name(image.sif.name + ".json"), []).append(image)
    for record, images in records.items():
        subject = f"Sunshine in {', '.join(image.id for image in images)}"
        try:
            version = str(json.loads(record.read_text(encoding="utf-8"))["sunshine_version"])
        except (OSError, ValueError, KeyError, TypeError):
            yield yellow(
                subject,
                f"{record} cannot be read, so its version, and what is known of it, is unknown.",
                "definitions/build writes it beside the image; keep the two together.",
            )
            continue
        known = [advisory for advisory in advisories() if older(version, advisory["fixed"])]
        for advisory in known:
            say = yellow if advisory["severity"] == "limitation" else red
            yield say(
                subject,
                f"{version} has {advisory['id']}: {advisory['summary']}.",
                f"Build the image with {advisory['fixed']} or newer (docs/images.md).",
            )
        if not known:
            yield green(subject, f"{version}; nothing is known against it.")


def advisories() -> list[dict[str, Any]]:
    """What is known of releases of Sunshine, as it was when this was released."""
    text = resources.files("moonlight_core.doctor").joinpath("advisories.toml").read_text("utf-8")
    found: list[dict[str, Any]] = tomllib.loads(text)["advisory"]
    return found


def older(version: str, than: str) -> bool:
    """Whether a release of Sunshine is older than another; a suffix such as +standin is ignored."""
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(
        int(part) for part in re.findall(r"\d+", re.split(r"[+~-]", version, maxsplit=1)[0])
    )

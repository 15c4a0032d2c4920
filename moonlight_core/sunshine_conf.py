"""What a session's Sunshine is told in its files, and what a Sunshine of some version can.

First versions of keys are those of ``src/config.cpp`` in Sunshine's tags; a key that is in none of
the tables below is as old as v0.23. Sunshine only warns of a key that it does not know, but then
does not do what was asked for.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moonlight_core.images import Image
    from moonlight_core.models import Session

Version = tuple[int, ...]

SINCE: Mapping[str, Version] = {
    "notify_pre_releases": (2025, 122),
    "max_bitrate": (2025, 628),
    "stream_audio": (2025, 628),
    "system_tray": (2025, 923),
}
_CODEC_MODES = {"auto": 0, "off": 1, "on": 2}
# Without /dev/uinput v0.23 sent input by XTest, and from 2026.816 it does again (its sources).
_NO_XTEST: tuple[Version, Version] = ((2025, 118), (2026, 816))
_VERSION = re.compile(r"v?(\d+(?:\.\d+){1,2})")


def version_of(text: str | None) -> Version | None:
    """The numbers of a version (``2026.516.143833+something``), or None if it is none."""
    found = _VERSION.match(text or "")
    return tuple(int(part) for part in found[1].split(".")) if found else None


def knows(version: str | None, key: str) -> bool:
    """Whether a Sunshine of this version knows a key; of an unknown version it is assumed."""
    numbers = version_of(version)
    return numbers is None or numbers >= SINCE.get(key, ())


def options_text(session: Session) -> str:
    """The keys of ``sunshine.conf`` that a session's options decide.

    Each line begins with the first version that knows the key, or ``-``: the batch script leaves
    out what the Sunshine at hand does not know. Paths, name and port are the script's own.
    """
    options = {
        "upnp": "disabled",
        # Pairing comes from the head node, whose address need not be a private one; it needs the
        # password.
        "origin_web_ui_allowed": "wan",
        "capture": "x11",
        "system_tray": "disabled",
        "notify_pre_releases": "disabled",
        "min_log_level": "info",
        "hevc_mode": str(_CODEC_MODES[session.hevc]),
        "av1_mode": str(_CODEC_MODES[session.av1]),
        "stream_audio": "enabled" if session.audio else "disabled",
    }
    if session.encoder != "auto":
        options["encoder"] = session.encoder
    if session.max_bitrate_kbps:
        options["max_bitrate"] = str(session.max_bitrate_kbps)
    return "\n".join(f"{_since(key)} {key} = {value}" for key, value in options.items())


def _since(key: str) -> str:
    return ".".join(str(part) for part in SINCE.get(key, ())) or "-"


def apps_json(session: Session, image: Image) -> str:
    """The text of ``apps.json``: the desktop, and the applications chosen beside it."""
    apps: list[dict[str, str]] = [{"name": "Desktop", "image-path": "desktop.png"}]
    apps += [
        {"name": name, "cmd": command}
        for name, command in image.applications.items()
        if name in session.applications
    ]
    return json.dumps({"env": {}, "apps": apps})


def input_of(version: str | None, *, uinput: bool = False) -> str | None:
    """How keyboard and mouse of a client reach the desktop: a word, a colon, a sentence.

    Args:
        version: of Sunshine; None if unknown.
        uinput: whether the container has a /dev/uinput that can be written to.

    Returns:
        ``uinput: …``, ``xtest: …`` or ``none: …``; None if the version is unknown.
    """
    numbers = version_of(version)
    if numbers is None:
        return None
    if uinput:
        return "uinput: through the node's /dev/uinput, which reaches the seat of the node as well"
    first, last = _NO_XTEST
    if first <= numbers < last:
        return (
            f"none: Sunshine {version} has no keyboard and mouse without /dev/uinput, which a "
            f"session does not get; {last[0]}.{last[1]} or newer has"
        )
    return "xtest: keyboard and mouse go to this desktop's X server alone"

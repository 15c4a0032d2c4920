"""What is known of an image without starting it: the record that ``definitions/build`` writes.

It lies beside the image file as ``<file>.json``. A site may have built its image otherwise; then
there is none, and what it would tell is unknown rather than wrong.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen(kw_only=True)
class ImageRecord:
    """What a record tells.

    Attributes:
        sunshine_version: Sunshine's version; None if unknown.
        locales: the locales in it, as ``en_US.UTF-8``; None if unknown.
        keyboards: the keyboard layouts of its X server, as ``de`` or ``us(intl)``; None if unknown.
    """

    sunshine_version: str | None = None
    locales: frozenset[str] | None = None
    keyboards: frozenset[str] | None = None


def image_record(sif: Path) -> ImageRecord:
    """The record of an image file; an empty one when there is none that can be read."""
    path = sif.with_name(f"{sif.name}.json")
    try:
        status = path.stat()
    except OSError:
        return ImageRecord()
    return _read(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _read(path: Path, _mtime_ns: int, _size: int) -> ImageRecord:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return ImageRecord()
    if not isinstance(document, dict):
        return ImageRecord()
    version = document.get("sunshine_version")
    return ImageRecord(
        sunshine_version=version if isinstance(version, str) else None,
        locales=_words(document.get("locales")),
        keyboards=_words(document.get("keyboards")),
    )


def _words(value: object) -> frozenset[str] | None:
    if not isinstance(value, list):
        return None
    return frozenset(word for word in value if isinstance(word, str))

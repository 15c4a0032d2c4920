"""The image catalogue: what a user can choose from.

``[images.<id>]`` tables of the configuration; without any there is one entry, ``xfce4``.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path  # noqa: TC003 - attrs tells the type of a field by it
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.errors import SettingsError
from moonlight_core.values import convert

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moonlight_core.users import User

_ID = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
_ENCODERS = ("software", "nvenc", "vaapi")
_ROOTFS = ("sandbox", "overlay", "readonly")


@attrs.frozen(kw_only=True)
class Image:
    """One entry of the catalogue: an Apptainer image and what a session of it gets by default.

    Attributes:
        id: the name in requests, file names and job names: ``[a-z0-9_]``.
        name: the name people see.
        description: a sentence for people.
        icon: name of an icon for a dashboard.
        default: whether a request without ``image_id`` means this one.
        sif: the image file, on a path that the nodes share.
        desktop: command line that starts the desktop and ends with it, run by a shell.
        encoder: Sunshine's ``encoder``: ``software``, ``nvenc`` or ``vaapi``.
        rootfs: ``sandbox`` (unpacked once a user, writable), ``overlay`` (a writable layer a user)
            or ``readonly`` (the image file as it is; changes are lost).
        binds: extra ``source[:target[:ro]]`` bind mounts.
        cpus: CPUs of a session.
        memory_gb: memory of a session in GiB.
        gpus: GPUs of a session.
        hours: time limit in hours.
        width: width of the desktop in pixels.
        height: height of the desktop in pixels.
        fps: most frames a second that are streamed.
        max_cpus: most CPUs a request may ask for; None as the site says.
        max_memory_gb: most memory in GiB; None as the site says.
        max_gpus: most GPUs; None as the site says.
        max_hours: longest time limit in hours; None as the site says.
    """

    id: str
    name: str
    description: str = ""
    icon: str = "desktop"
    default: bool = False
    sif: Path
    desktop: str = "startxfce4"
    encoder: str = "software"
    rootfs: str = "sandbox"
    binds: tuple[str, ...] = ()
    cpus: int = 4
    memory_gb: int = 8
    gpus: int = 1
    hours: int = 8
    width: int = 1920
    height: int = 1080
    fps: int = 60
    max_cpus: int | None = None
    max_memory_gb: int | None = None
    max_gpus: int | None = None
    max_hours: int | None = None

    @property
    def available(self) -> bool:
        """Whether the image file is there and can be read from here."""
        return self.sif.is_file() and os.access(self.sif, os.R_OK)

    def available_to(self, user: User) -> bool:
        """Whether the image file is there and ``user``, as whom a session would run, can read it.

        Where access is told by a POSIX ACL, not by the mode, it is taken for readable.
        """
        groups = frozenset(os.getgrouplist(user.name, user.gid))
        return self.sif.is_file() and all(
            _open_to(part, user.uid, groups) for part in (*reversed(self.sif.parents), self.sif)
        )


def _open_to(path: Path, uid: int, groups: frozenset[int]) -> bool:
    try:
        status = path.stat()
        if "system.posix_acl_access" in os.listxattr(path):
            return True
    except OSError:
        return False
    # Read of a file and search of a directory, as the kernel decides: by the first class that fits.
    wanted = stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH
    if status.st_uid == uid:
        wanted <<= 6
    elif status.st_gid in groups:
        wanted <<= 3
    return bool(status.st_mode & wanted)


def catalogue(document: Any, directory: Path) -> Mapping[str, Image]:
    """Make the catalogue of the ``images`` table of the configuration.

    Args:
        document: ``{id: {field: value}}``; empty for the built-in entry.
        directory: where an image file is looked for when an entry names none.

    Raises:
        SettingsError: with a sentence for every fault found.
    """
    if not isinstance(document, dict):
        raise SettingsError(["[images] holds a table for each image: [images.xfce4]."])
    if not document:
        document = {
            "xfce4": {
                "name": "XFCE4 Desktop (Sunshine)",
                "description": "A complete XFCE4 desktop, streamed by Sunshine.",
                "icon": "xfce4",
                "default": True,
            }
        }
    faults: list[str] = []
    images = {}
    for image_id, table in document.items():
        image = _image(image_id, table, directory, faults)
        if image is not None:
            images[image_id] = image
    if sum(image.default for image in images.values()) > 1:
        faults.append("[images] has more than one entry with default = true: keep one.")
    if faults:
        raise SettingsError(faults)
    if not any(image.default for image in images.values()):
        first = next(iter(images))
        images[first] = attrs.evolve(images[first], default=True)
    return images


def _image(image_id: str, table: Any, directory: Path, faults: list[str]) -> Image | None:
    where = f"[images.{image_id}]"
    if not _ID.fullmatch(image_id):
        faults.append(f"{where}: an image id is made of a-z, 0-9 and _, at most 32 of them.")
        return None
    if not isinstance(table, dict):
        faults.append(f"{where} is a table, not {table!r}.")
        return None
    fields = {field.name: field for field in attrs.fields(Image) if field.name != "id"}
    before = len(faults)
    faults += [
        f"{where} has no field {key!r}; it has {', '.join(fields)}."
        for key in table
        if key not in fields
    ]
    values: dict[str, Any] = {
        "id": image_id,
        "name": image_id,
        "sif": directory / f"sunshine_{image_id}.sif",
    }
    for key, field in fields.items():
        if key in table:
            try:
                values[key] = convert(table[key], field.type)
            except ValueError as exc:
                faults.append(f"{where} {key} {exc}")
    if len(faults) > before:
        return None
    image = Image(**values)
    faults += [f"{where} {fault}" for fault in _image_faults(image)]
    return image


def _image_faults(image: Image) -> list[str]:
    faults = []
    if image.encoder not in _ENCODERS:
        faults.append(f"encoder is {image.encoder!r}: it is one of {', '.join(_ENCODERS)}.")
    if image.rootfs not in _ROOTFS:
        faults.append(f"rootfs is {image.rootfs!r}: it is one of {', '.join(_ROOTFS)}.")
    if not image.sif.is_absolute():
        faults.append(f"sif is {image.sif}: it must be an absolute path.")
    faults += [
        f"{name} is {value}: it must be above 0."
        for name in ("cpus", "memory_gb", "hours", "width", "height", "fps")
        if (value := getattr(image, name)) <= 0
    ]
    faults += [
        f"{name} is {getattr(image, name)}, more than its max_{name} ({most})."
        for name in ("cpus", "memory_gb", "gpus", "hours")
        if (most := getattr(image, f"max_{name}")) is not None and getattr(image, name) > most
    ]
    if image.gpus < 0:
        faults.append(f"gpus is {image.gpus}: it cannot be negative.")
    faults += [
        f"binds has {bind!r}: a bind is source[:target[:ro]] with absolute paths and no commas."
        for bind in image.binds
        if not re.fullmatch(r"/[^:,\s]*(:/[^:,\s]*(:r[ow])?)?", bind)
    ]
    return faults

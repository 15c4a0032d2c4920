"""The image catalogue: what a user can choose from.

``[images.<id>]`` tables of the configuration; without any there is one entry, ``xfce4``.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping  # noqa: TC003 - attrs tells the type of a field by it
from pathlib import Path  # noqa: TC003 - attrs tells the type of a field by it
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core.errors import SettingsError
from moonlight_core.options import OPTIONS, fault
from moonlight_core.values import convert

if TYPE_CHECKING:
    from moonlight_core.users import User

_APPLICATION = re.compile(r"[^\W_][\w .()+-]{0,63}")
_ID = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
_BIND = re.compile(r"/[^:,\s]*(:/[^:,\s]*(:r[ow])?)?")
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
        encoder: what encodes the stream: ``software``, ``nvenc``, ``vaapi`` or ``auto``.
        hevc: HEVC: ``auto``, ``off`` or ``on``.
        av1: AV1: ``auto``, ``off`` or ``on``.
        max_bitrate_kbps: most kilobits a second of the stream; 0 for the site's limit.
        x_server: ``xvfb``, or ``xorg`` with the dummy driver or ``xorg_conf``.
        xorg_conf: an Xorg configuration on the nodes, for ``xorg``; None for the shipped one.
        keyboard: keyboard layout as ``de`` or ``us(intl)``; empty for the X server's own.
        locale: locale of the desktop.
        time_zone: time zone as ``Asia/Seoul``; empty for the node's.
        audio: whether the desktop has sound.
        applications: what Moonlight shows beside the desktop: a command line by its name.
        choices: for the options a request may choose (``moonlight_core.options``), the values that
            it may, where these are not all.
        rootfs: ``sandbox`` (unpacked once a user, writable), ``overlay`` (a writable layer a user)
            or ``readonly`` (the image file as it is; changes are lost).
        binds: extra ``source[:target[:ro]]`` bind mounts.
        optional_binds: such mounts that a request may ask for.
        cpus: CPUs of a session.
        memory_gb: memory of a session in GiB.
        gpus: GPUs of a session.
        hours: time limit in hours.
        idle_minutes: minutes with nobody connected after which the desktop ends; 0 for never, None
            for the site's.
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
    encoder: str = "auto"
    hevc: str = "auto"
    av1: str = "auto"
    max_bitrate_kbps: int = 0
    x_server: str = "xvfb"
    xorg_conf: Path | None = None
    keyboard: str = ""
    locale: str = "en_US.UTF-8"
    time_zone: str = ""
    audio: bool = True
    applications: Mapping[str, str] = attrs.Factory(dict)
    choices: Mapping[str, tuple[str, ...]] = attrs.Factory(dict)
    rootfs: str = "sandbox"
    binds: tuple[str, ...] = ()
    optional_binds: tuple[str, ...] = ()
    cpus: int = 4
    memory_gb: int = 8
    gpus: int = 1
    hours: int = 8
    idle_minutes: int | None = None
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
    if image.idle_minutes is not None and image.idle_minutes < 0:
        faults.append(f"idle_minutes is {image.idle_minutes}: it cannot be negative.")
    if image.gpus < 0:
        faults.append(f"gpus is {image.gpus}: it cannot be negative.")
    if image.max_bitrate_kbps < 0:
        faults.append(f"max_bitrate_kbps is {image.max_bitrate_kbps}: it cannot be negative.")
    if image.xorg_conf is not None and not image.xorg_conf.is_absolute():
        faults.append(f"xorg_conf is {image.xorg_conf}: it must be an absolute path.")
    return faults + _bind_faults(image) + _option_faults(image)


def _bind_faults(image: Image) -> list[str]:
    faults = []
    for name in ("binds", "optional_binds"):
        for bind in getattr(image, name):
            if not _BIND.fullmatch(bind):
                faults.append(
                    f"{name} has {bind!r}: a bind is source[:target[:ro]] with absolute paths and "
                    "no commas."
                )
            elif bind.split(":")[0].rstrip("/") in ("/dev", "/dev/uinput", "/dev/input"):
                faults.append(
                    f"{name} has {bind!r}: input devices are the whole node's, and one user's keys "
                    "would reach another's desktop."
                )
    return faults


def _option_faults(image: Image) -> list[str]:
    faults = []
    for name, option in OPTIONS.items():
        if option.kind is not str:
            continue
        value = getattr(image, name)
        unset = not value and not option.words
        wrong = None if unset else fault(name, value)
        if wrong:
            faults.append(f"{name} {wrong}")
        elif not unset and value not in image.choices.get(name, (value,)):
            faults.append(f"{name} is {value!r}, which [choices] {name} leaves out.")
    for name, values in image.choices.items():
        if name not in OPTIONS or OPTIONS[name].kind is not str:
            of_words = ", ".join(n for n, option in OPTIONS.items() if option.kind is str)
            faults.append(f"choices has {name!r}: there are {of_words}.")
            continue
        faults += [f"choices {name} {wrong}" for value in values if (wrong := fault(name, value))]
    faults += [
        f"applications has {name!r}: a name is 1 to 64 printable characters, and its command is "
        "not empty; Desktop is there already."
        for name, command in image.applications.items()
        if not (_APPLICATION.fullmatch(name) and command.strip()) or name == "Desktop"
    ]
    return faults

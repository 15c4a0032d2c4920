"""Directories and secret files: there, and with the right owners and modes."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import attrs

from moonlight_core.doctor.finding import Finding, green, red, yellow
from moonlight_core.errors import SettingsError
from moonlight_core.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moonlight_core.doctor.site import Site

_STICKY_FOR_ALL = 0o1777
_SMALL_GB = 5
_GB = 1 << 30


def directories(site: Site) -> Iterator[Finding]:
    """Users may make their own parts in them, and nobody may touch another's."""
    for name, path in attrs.asdict(site.settings.paths, recurse=False).items():
        if name == "images":
            continue
        subject = f"{path}"
        mend = f"install -d -o root -g root -m 1777 {path}, on a file system the nodes share."
        try:
            status = path.stat()
        except OSError as exc:
            yield red(subject, f"[paths] {name}: {exc.strerror}.", mend)
            continue
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISDIR(status.st_mode):
            yield red(subject, f"[paths] {name} is no directory.", mend)
        elif status.st_uid != 0:
            yield red(
                subject,
                f"It belongs to uid {status.st_uid}, who can take other users' directories away.",
                mend,
            )
        elif mode != _STICKY_FOR_ALL:
            why = (
                "anybody may rename or remove other users' directories"
                if mode & stat.S_IWOTH
                else "users cannot write there"
            )
            yield red(subject, f"Its mode is {mode:04o} instead of 1777: {why}.", mend)
        else:
            usage = os.statvfs(path)
            free_gb = usage.f_bavail * usage.f_frsize / _GB
            if free_gb < _SMALL_GB:
                yield yellow(
                    subject,
                    f"Only {free_gb:.1f} GB are free; a sandbox takes 1 to 3 GB for each user.",
                    "Make room, or choose another file system.",
                )
            else:
                yield green(subject, f"Owner and mode are right; {free_gb:.0f} GB are free.")


def secrets(site: Site) -> Iterator[Finding]:
    """Readable by the service alone."""
    settings = site.settings
    files: list[tuple[str, Path]] = [("the service's secret", settings.service.secret_file)]
    if settings.redis.password_file is not None:
        files.append(("Redis's password", settings.redis.password_file))
    for what, path in files:
        try:
            read_secret(path)
        except SettingsError as exc:
            yield red(
                what,
                exc.faults[0],
                f"It is one line, owned by root, mode 600: `chown root {path}; chmod 600 {path}`.",
            )
        else:
            yield green(what, f"{path} is ours alone.")

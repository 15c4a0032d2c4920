"""Kept results: made under another name, renamed when whole, found again by key."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Begins every name of something unfinished.
PART = ".part-"
_KEPT_VERSIONS = 3


def kept(folder: Path, key: str) -> Path | None:
    """The finished result of this key, if there is one."""
    path = folder / key
    return path if path.exists() else None


def make(folder: Path, key: str, build: Callable[[Path], None]) -> Path:
    """Have ``build`` fill an empty folder, then give it its final name.

    Whatever ends this early, an exception or the death of the process, leaves nothing under the
    final name; what an earlier death left behind is removed first.
    """
    sweep(folder)
    part = folder / f"{PART}{key}-{os.getpid()}"
    part.mkdir(parents=True)
    try:
        build(part)
        part.rename(folder / key)
    finally:
        remove(part)
    return folder / key


def prune(folder: Path, key: str) -> None:
    """Note that ``key`` is in use, and remove what was not among the last few in use."""
    os.utime(folder / key)
    finished = [path for path in folder.iterdir() if not path.name.startswith(PART)]
    finished.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in finished[_KEPT_VERSIONS:]:
        remove(old)


def sweep(folder: Path) -> None:
    """Remove what was left unfinished in ``folder``."""
    for part in folder.glob(f"{PART}*"):
        remove(part)


def remove(path: Path) -> None:
    """Remove a file or a whole tree, patiently: a killed program may write for a moment more."""
    for _attempt in range(20):
        if not os.path.lexists(path):
            return
        if path.is_dir() and not path.is_symlink():
            # rm is several times faster than shutil.rmtree on a root file system, and stops at
            # mount points.
            subprocess.run(
                ["rm", "-rf", "--one-file-system", path], check=False, stderr=subprocess.DEVNULL
            )
        else:
            path.unlink(missing_ok=True)
        if os.path.lexists(path):
            time.sleep(0.1)
    if os.path.lexists(path):
        shutil.rmtree(path)  # raises, and says which file and why


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a small file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{path.name}-{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    part.rename(path)

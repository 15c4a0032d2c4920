"""Processes as /proc shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Whether the process runs, and does not only wait to be reaped."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in {"Z", "X"}


def group_members(group: int) -> list[int]:
    """The processes of a process group."""
    return [pid for pid in pids() if (fields := _stat(pid)) and int(fields[2]) == group]


def pids() -> Iterator[int]:
    """All processes."""
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def environ(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone."""
    try:
        data = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    words = data.decode(errors="replace").split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def name(pid: int) -> str:
    """The process's name; empty when it is gone."""
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def is_namespace_init(pid: int) -> bool:
    """Whether it is process 1 of a process namespace directly below ours."""
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) == 2 and numbers[-1] == "1"  # noqa: PLR2004  # ours and theirs
    return False


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on: the name before may hold blanks."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()

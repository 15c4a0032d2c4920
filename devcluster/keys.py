"""Names of kept things: a hash of everything they were made from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_LENGTH = 16


def key_of(*parts: str | bytes | Path | Iterable[Path]) -> str:
    """Hash texts, files and folders into a short name.

    Every part is set apart by its length, so that ("ab", "c") differs from ("a", "bc"). A folder
    counts with the relative names, the executable bits and the contents of its files; compiled
    Python does not count.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str | bytes):
            _add(digest, part if isinstance(part, bytes) else part.encode())
        elif isinstance(part, Path):
            _add_tree(digest, part)
        else:
            for path in part:
                _add_tree(digest, path)
    return digest.hexdigest()[:KEY_LENGTH]


def _add(digest: hashlib._Hash, data: bytes) -> None:
    digest.update(f"{len(data)}:".encode())
    digest.update(data)


def _add_tree(digest: hashlib._Hash, top: Path) -> None:
    files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
    for path in files:
        if "__pycache__" in path.parts:
            continue
        name = path.name if path == top else path.relative_to(top).as_posix()
        _add(digest, f"{name} {bool(path.stat().st_mode & 0o100)}".encode())
        _add(digest, path.read_bytes())

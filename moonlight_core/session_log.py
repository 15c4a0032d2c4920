"""The log of a session, for its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core.user_files import read_end

if TYPE_CHECKING:
    from moonlight_core.settings import PathSettings
    from moonlight_core.users import User

MOST_LINES = 2000
_MOST_BYTES = 1 << 20
_LONGEST_LINE = 2000


@attrs.frozen(kw_only=True)
class SessionLog:
    """The end of a session's log.

    Attributes:
        lines: its last lines, the oldest first; what a terminal might obey is shown as ``?``.
        complete: whether these are all there are.
        size_bytes: size of the whole log.
        path: where it is.
    """

    lines: tuple[str, ...]
    complete: bool
    size_bytes: int
    path: str


def read_log(paths: PathSettings, session_id: str, user: User, tail: int) -> SessionLog | None:
    """The last ``tail`` lines of a session's log; None while there is none.

    Raises:
        FileUnreadable: the service may not read it, or what is there is not it.
    """
    name = f"{session_id}.log"
    piece = read_end(user, paths.logs, name, most=_MOST_BYTES)
    if piece is None:
        return None
    lines = piece.data.decode("utf-8", "replace").splitlines()
    cut = piece.size > len(piece.data)
    if cut:
        # The first one has no beginning.
        lines = lines[1:]
    kept = lines[-tail:] if tail else []
    return SessionLog(
        lines=tuple(_shown(line) for line in kept),
        complete=not cut and len(kept) == len(lines),
        size_bytes=piece.size,
        path=str(paths.logs / name),
    )


def _shown(line: str) -> str:
    tabs = line.expandtabs()[:_LONGEST_LINE]
    return "".join(character if character.isprintable() else "?" for character in tabs)

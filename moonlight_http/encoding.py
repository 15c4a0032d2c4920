"""Sessions as JSON texts: made once for each change of a session, not once for each request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from moonlight_core.derived import Derived

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from moonlight_core import Session

_BEGIN, _END = b'{"sessions":[', b"]}"
_AT_ONCE = 64


class SessionTexts:
    """The JSON of sessions, to be shared by all resources and threads."""

    def __init__(self) -> None:
        self._text = Derived(_text)

    def one(self, session: Session) -> bytes:
        """The body of an answer that is a session."""
        return self._text(session)

    def many(self, sessions: Iterable[Session]) -> tuple[Iterator[bytes], int]:
        """The body of an answer that lists sessions, in pieces, and its length in bytes.

        In pieces, because the memory of one that is many megabytes long would stay with the thread.
        """
        texts = [self._text(session) for session in sessions]
        commas = max(0, len(texts) - 1)
        return _pieces(texts), len(_BEGIN) + sum(map(len, texts)) + commas + len(_END)


def _pieces(texts: list[bytes]) -> Iterator[bytes]:
    yield _BEGIN
    for first in range(0, len(texts), _AT_ONCE):
        piece = b",".join(texts[first : first + _AT_ONCE])
        yield b"," + piece if first else piece
    yield _END


def _text(session: Session) -> bytes:
    return json.dumps(session.to_json(), ensure_ascii=False).encode()

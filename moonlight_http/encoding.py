"""Sessions as JSON texts: made once for each change of a session, not once for each request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from moonlight_core.derived import Derived

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moonlight_core import Session


class SessionTexts:
    """The JSON of sessions, to be shared by all resources and threads."""

    def __init__(self) -> None:
        self._text = Derived(_text)

    def one(self, session: Session) -> bytes:
        """The body of an answer that is a session."""
        return self._text(session)

    def many(self, sessions: Iterable[Session]) -> bytes:
        """The body of an answer that lists sessions."""
        return b'{"sessions":[%b]}' % b",".join(map(self._text, sessions))


def _text(session: Session) -> bytes:
    return json.dumps(session.to_json(), ensure_ascii=False).encode()

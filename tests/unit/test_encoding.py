"""Lists of sessions as JSON: the same text whatever pieces it comes in."""

from __future__ import annotations

import json

import attrs
import pytest
from session_factory import session

from moonlight_http.encoding import SessionTexts


@pytest.mark.parametrize("number", [0, 1, 2, 64, 65, 200])
def test_a_list_is_json_of_the_length_it_announces(number: int) -> None:
    """A client is told the length first, and waits for so many bytes."""
    sessions = [session(reason='Zürich "x"') for _ in range(number)]
    pieces, length = SessionTexts().many(sessions)
    body = b"".join(pieces)
    assert len(body) == length
    assert json.loads(body) == {"sessions": [one.to_json() for one in sessions]}


def test_a_changed_session_has_another_text() -> None:
    """An unchanged one has the very text of before."""
    texts, one = SessionTexts(), session()
    assert texts.one(one) is texts.one(one)
    changed = attrs.evolve(one, job_id=7)
    assert json.loads(texts.one(changed))["job_id"] == 7

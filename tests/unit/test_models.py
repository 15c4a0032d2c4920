"""Sessions: the record and JSON forms, ids."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from session_factory import session

from moonlight_core.models import SESSION_ID, Connect, Session, Status
from moonlight_core.session_id import created_at, new_session_id

NOW = dt.datetime(2026, 5, 1, 12, 0, 0, 123000, tzinfo=dt.UTC)


def test_a_record_comes_back_as_it_went() -> None:
    """What is None is absent and comes back as None."""
    before = session(status=Status.RUNNING, job_id=7, started_at=NOW, reason="Gut, ja: “ok”")
    record = before.to_record()
    assert "stopped_at" not in record
    assert all(isinstance(value, str) for value in record.values())
    assert Session.from_record(record) == before


def test_a_damaged_record_is_a_value_error() -> None:
    """So that a listing can pass it over."""
    record = session().to_record()
    del record["username"]
    with pytest.raises(ValueError, match="username"):
        Session.from_record(record)


def test_json_has_the_fields_of_the_contract() -> None:
    """Names that front ends rely on; unknown ones are null; times are UTC."""
    answer = session(connect=Connect.to("viz1", 47989)).to_json()
    json.dumps(answer)
    for name in [
        "session_id",
        "username",
        "image_id",
        "image_name",
        "status",
        "phase",
        "reason",
        "error",
        "display_num",
        "sunshine_port",
        "slurm_node",
        "job_id",
        "created_at",
        "started_at",
        "stopped_at",
        "expires_at",
        "connect",
    ]:
        assert name in answer
    assert answer["started_at"] is None
    assert answer["created_at"] == "2026-05-01T12:00:00.123Z"
    assert answer["connect"] == {
        "host": "viz1",
        "port": 47989,
        "address": "viz1:47989",
        "command": "moonlight stream viz1:47989 Desktop",
    }
    assert "revision" not in answer


def test_an_ipv6_address_is_bracketed() -> None:
    """As Moonlight wants it."""
    assert Connect.to("fd00::1", 47989).address == "[fd00::1]:47989"


def test_ids_are_sortable_unique_and_tell_their_time() -> None:
    """Unlike ids by the second, they cannot collide."""
    ids = [new_session_id("a.b") for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(SESSION_ID.fullmatch(one) for one in ids)
    assert [one[-18:-8] for one in ids] == sorted(one[-18:-8] for one in ids)
    created = created_at(ids[0])
    assert created is not None
    assert abs((created - dt.datetime.now(dt.UTC)).total_seconds()) < 5


def test_the_id_of_a_key_is_always_the_same() -> None:
    """For one user; another user's, or another key's, is another one."""
    one = new_session_id("alice", "k1")
    assert one == new_session_id("alice", "k1")
    assert SESSION_ID.fullmatch(one)
    assert len({one, new_session_id("bob", "k1"), new_session_id("alice", "k2")}) == 3
    assert created_at(one) is None

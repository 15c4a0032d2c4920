"""Short runs of the fuzzers; tests/cluster/test_fuzz_live.py holds the long ones."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from fuzzer import Fuzzer, schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import SESSIONS, Live

from moonlight_core import RequestError, Session, Settings, SettingsError, UserNotAllowed
from moonlight_core.admission import check_idempotency_key, new_session
from moonlight_core.bus import Mark, Report
from moonlight_core.gateway import SlurmJob
from moonlight_core.images import catalogue
from moonlight_core.limits import Limits, group_limits
from moonlight_core.models import SESSION_ID, SessionRequest
from moonlight_core.pairing import checked_name, checked_pin
from moonlight_core.session_id import new_session_id
from moonlight_core.users import find_user
from moonlight_http import resources
from moonlight_http.description import sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.testing import MemoryGateway

few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)


def test_nothing_that_is_sent_breaks_the_service(live: Live, gateway: MemoryGateway) -> None:
    """No 5xx, always our shape of an answer; afterwards there is nothing but what was made."""
    _, _, described = live.ask("GET", "/api/moonlight/openapi.json")
    _, _, made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice")
    fuzzer = Fuzzer(described, live.port, "alice")
    fuzzer.known_ids = [made["session_id"]]
    outcome = fuzzer.run(1000, seed=1)
    assert outcome.faults == []
    assert outcome.requests > 800
    assert {200, 400, 401, 403, 404, 405, 413, 415, 422, 429} <= set(outcome.statuses)
    for spec in gateway.specs.values():
        assert SESSION_ID.fullmatch(spec.name)
        values = dict(spec.environment)
        # Lines of "version key = value", each made by us.
        for line in values.pop("MOONLIGHT_SUNSHINE_OPTIONS").splitlines():
            assert re.fullmatch(r"[-0-9.]+ [a-z_0-9]+ = [ -~]*", line), line
        assert all("\n" not in value and "\0" not in value for value in values.values())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a session longer than a second."""
    for module in (sessions, resources):
        monkeypatch.setattr(module, "LONGEST_WAIT_S", 1)
        monkeypatch.setattr(module, "DEFAULT_WAIT_S", 1)


def test_schemathesis_finds_nothing(impatient: None, live: Live, tmp_path: Path) -> None:
    """The description's own properties, on a few examples of each operation."""
    done = schemathesis(live.port, "alice", tmp_path, examples=1, phases="fuzzing")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def job(**changes: Any) -> SlurmJob:
    """A job that says these things."""
    return attrs.evolve(SlurmJob(job_id=1, name="x", user_id=2001, state="RUNNING"), **changes)


@few
@given(st.text(max_size=2000))
def test_whatever_stands_in_a_job(text: str) -> None:
    """Comment, Extra and AdminComment are read, or passed over."""
    for said in (text, f"moonlight:{new_session_id('alice')} {text}", "{" + text):
        report = Report.of_job(job(comment=said, extra=said))
        mark = Mark.of_job(job(admin_comment=said))
        assert report is None or report.phase.isascii()
        assert mark is None or SESSION_ID.fullmatch(mark.session_id)


@few
@given(st.dictionaries(st.sampled_from(["phase", "reason", "log", "busy", "port", "cert"]),
                       json_values))  # fmt: skip
def test_whatever_json_a_job_reports(document: dict[str, Any]) -> None:
    """Every value is of the right kind afterwards, and nothing controls a terminal."""
    report = Report.of_job(job(extra=json.dumps(document | {"phase": "ready"})))
    assert report is None or all(
        c == "\n" or c.isprintable() for c in (report.reason or "") + (report.log or "")
    )


def refusal(call: Callable[[], object], *kinds: type[Exception]) -> str:
    """The sentence of a refusal of these kinds; nothing when there was none."""
    try:
        call()
    except kinds as exc:
        return str(exc)
    return ""


@few
@given(
    st.dictionaries(
        st.sampled_from(["service", "slurm", "slots", "images", "limits", "x", "jwt", "sessions"]),
        json_values,
    )
)
def test_whatever_stands_in_the_configuration(document: dict[str, Any]) -> None:
    """Settings, or sentences; never anything else."""
    refusal(lambda: Settings.from_mapping(document, {}), SettingsError)


@few
@given(json_values)
def test_whatever_stands_in_catalogue_and_limits(document: Any) -> None:
    """The same of the tables that a site writes most of."""
    for tried in (document, {"xfce4": document}, {"xfce4": {"desktop": document}}):
        refusal(lambda tried=tried: catalogue(tried, Path("/opt/x")), SettingsError)
        refusal(lambda tried=tried: group_limits(tried), SettingsError)


@few
@given(json_values, json_values)
def test_whatever_is_asked_for(one: Any, other: Any) -> None:
    """A session within the limits, or a short sentence."""
    image = Settings.from_mapping({}, {}).images["xfce4"]
    most = Limits(**{field.name: 8 for field in attrs.fields(Limits)})
    now = dt.datetime.now(dt.UTC)
    for field in ("cpus", "memory_gb", "gpus", "hours", "width", "height", "fps"):
        request = SessionRequest(username="alice", **{field: one})
        made: list[Session] = []

        def ask(request: SessionRequest = request, made: list[Session] = made) -> None:
            made.append(new_session(request, image, most, session_id="x", created_at=now))

        assert len(refusal(ask, RequestError)) < 300
        assert all(session.cpus <= 8 and 0 <= session.gpus <= 8 for session in made)
    for check in (checked_pin, checked_name, check_idempotency_key):
        assert len(refusal(lambda check=check: check(other), RequestError)) < 300


@few
@given(st.text() | st.binary() | st.integers() | st.none())
def test_whatever_name_is_told(name: Any) -> None:
    """An account of this system that may, or a sentence."""
    assert len(refusal(lambda: find_user(name, first_uid=1000), UserNotAllowed)) < 300


@few
@given(st.dictionaries(st.sampled_from([f.name for f in attrs.fields(Session)]), st.text()))
def test_whatever_stands_in_a_record(record: dict[str, str]) -> None:
    """A session, or an error that the store passes over."""
    refusal(lambda: Session.from_record(record), ValueError, KeyError)

"""What travels through slurmctld: exact ways there and back, and nothing believed of forgeries."""

from __future__ import annotations

import datetime as dt
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moonlight_core.bus import Mark, Report, comment_of
from moonlight_core.gateway import SlurmJob
from moonlight_core.models import Lease, Session
from moonlight_core.session_id import new_session_id

NUMBERS = {
    "identity": 2,
    "cpus": 4, "memory_gb": 8, "gpus": 1, "hours": 8, "width": 1920, "height": 1080, "fps": 60,
    "idle_minutes": 30,
    "secret_id": 4000000000,
}  # fmt: skip


def job(**changes: object) -> SlurmJob:
    """A job with these attributes."""
    return SlurmJob(**{"job_id": 1, "name": "x", "user_id": 2001, "state": "RUNNING"} | changes)


@pytest.mark.parametrize(
    "lease", [None, Lease(node="viz-01.x", display_num=10, sunshine_port=47989)]
)
def test_a_mark_comes_back_as_it_went(lease: Lease | None) -> None:
    """With and without a lease."""
    mark = Mark(
        session_id=new_session_id("a.b-c_d"),
        image_id="xfce4",
        numbers=NUMBERS,
        lease=lease,
        restart_count=2 if lease else 0,
        wishes={"ends": "1795300000", "end": "idle", "shot": "3"} if lease else {},
    )
    assert Mark.of_job(job(admin_comment=mark.text())) == mark


def test_the_options_of_a_session_are_in_its_mark() -> None:
    """Lists too, whatever is in them, so that a lost Redis does not change what is shown."""
    session = Session(
        session_id=new_session_id("alice"),
        username="alice",
        image_id="xfce4",
        image_name="XFCE4",
        created_at=dt.datetime.now(dt.UTC),
        encoder="software",
        audio=False,
        binds=("/data/klima, 50%:/data:ro", "/sw/*"),
        applications=("Größe = 1 display=11 port=1 restart=0", "Terminal"),
        **NUMBERS,
    )
    text = Mark.of_session(session).text()
    assert text.isascii()
    assert len(text) < 700
    assert not set(text) & set("*?[]\n")
    assert " display=" not in text
    mark = Mark.of_job(job(admin_comment=text))
    assert mark == Mark.of_session(session)
    assert Session.parsed(mark.options) == {
        name: getattr(session, name) for name in ("encoder", "audio", "binds", "applications")
    }
    # What is too long is left out.
    many = attrs.evolve(session, binds=tuple(f"/data/{n}" for n in range(30)))
    assert "binds" not in Mark.of_session(many).options


def test_a_mark_of_another_version_is_read() -> None:
    """An older one has fewer words, a newer one more; nonsense is left out."""
    old = (
        "moonlight:{} image=bare identity=1 cpus=1 memory_gb=1 gpus=0 hours=1 width=640 height=480"
    )
    session_id = new_session_id("alice")
    text = old.format(session_id) + " fps=60 node=viz1 display=10 port=47989 restart=0"
    mark = Mark.of_job(job(admin_comment=text))
    assert mark is not None
    assert (mark.numbers["idle_minutes"], mark.wishes) == (0, {})
    newer = Mark.of_job(job(admin_comment=f"{text} colour=blue shot=x end=idle"))
    assert newer == attrs.evolve(mark, wishes={"end": "idle"})
    assert Mark.of_job(job(admin_comment=text.replace("port=47989", "port="))) == attrs.evolve(
        mark, lease=None
    )
    assert Mark.of_job(job(admin_comment=text.replace("cpus=1", "cpus=-1"))) is None


@pytest.mark.parametrize(
    "text", ["", "moonlight:", "something of an admin", "moonlight:ml-x-1 image=y"]
)
def test_another_admin_comment_is_no_mark(text: str) -> None:
    """What is not ours is left alone."""
    assert Mark.of_job(job(admin_comment=text)) is None


@given(st.text(max_size=300))
def test_any_report_is_survived(extra: str) -> None:
    """The owner can write anything."""
    Report.of_job(job(extra=extra))


@given(
    st.dictionaries(
        st.sampled_from(["phase", "reason", "log", "busy", "display", "port", "restart", "cert"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=50)
        | st.lists(st.none()),
    )
)
def test_any_json_report_is_survived(document: dict[str, object]) -> None:
    """Wrong types are as good as missing."""
    report = Report.of_job(job(extra=json.dumps(document)))
    if report is not None:
        assert isinstance(report.phase, str)
        assert report.sunshine_port is None or 0 <= report.sunshine_port < 65536


def test_a_report_is_bounded_and_harmless() -> None:
    """No terminal control sequence and no novel reaches a record."""
    report = Report.of_job(job(extra=json.dumps({"phase": "failed", "reason": "\x1b[2Jx" * 1000})))
    assert report is not None
    assert report.reason is not None
    assert "\x1b" not in report.reason
    assert len(report.reason) <= 500


def test_a_report_travels_in_the_comment_too() -> None:
    """Where a site lets the scheduler read Extra."""
    comment = comment_of(new_session_id("alice")) + ' {"phase":"ready"}'
    report = Report.of_job(job(comment=comment))
    assert report is not None
    assert report.phase == "ready"

"""The life of a session over a real Redis and a Slurm that a test moves along by hand."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
import pytest

from moonlight_core import (
    ImageNotFound,
    ImageUnavailable,
    InvalidRequest,
    QuotaExceeded,
    Session,
    SessionEnded,
    SessionManager,
    SessionNotFound,
    SlurmUnavailable,
    Status,
    SubmitOutcomeUnknown,
    SubmitRejected,
    UserNotAllowed,
    WaitTimeout,
    keys,
    reconcile,
)
from moonlight_core.bus import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from moonlight_core import Settings
    from moonlight_core.gateway import JobSpec
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC)

    def __call__(self) -> dt.datetime:
        """The time now."""
        return self.now

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """The manager's clock."""
    return Clock()


@pytest.fixture
def manager(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    clock: Clock,
    resolve_user: Callable[..., User],
    monkeypatch: pytest.MonkeyPatch,
) -> SessionManager:
    """A manager over the private Redis and the memory gateway."""
    names = {2001: "alice", 2002: "bob"}
    monkeypatch.setattr(reconcile, "name_of", names.get)
    return SessionManager(
        make_settings(),
        store,
        gateway,
        service_secret=secret,
        clock=clock,
        resolve_user=resolve_user,
    )


def job_of(session: Session) -> int:
    """The job id, which must be there."""
    assert session.job_id is not None
    return session.job_id


def started(manager: SessionManager, gateway: MemoryGateway, node: str = "viz1") -> Session:
    """A session whose job runs on a node and has its lease."""
    session = manager.create("alice")
    gateway.start(job_of(session), node)
    manager.reconcile()
    return manager.get(session.session_id)


def say(gateway: MemoryGateway, session: Session, **report: object) -> None:
    """What the batch script would report."""
    gateway.report(job_of(session), json.dumps(report))


def test_a_whole_life(manager: SessionManager, gateway: MemoryGateway) -> None:
    """Pending, starting, running, stopping, stopped; each with what is known by then."""
    session = manager.create("alice", "xfce4")
    assert (session.status, session.phase) == (Status.PENDING, "queued")
    assert session.connect is None
    gateway.start(job_of(session), "viz1")
    manager.reconcile()
    session = manager.get(session.session_id)
    assert (session.slurm_node, session.display_num, session.sunshine_port) == ("viz1", 10, 47989)
    mark = Mark.of_job(gateway.jobs([job_of(session)])[job_of(session)])
    assert mark is not None
    assert mark.lease == session.lease
    say(gateway, session, phase="starting_x", reason="Starting the X server.")
    manager.reconcile()
    session = manager.get(session.session_id)
    assert (session.status, session.phase) == (Status.STARTING, "starting_x")
    say(gateway, session, phase="ready", reason="Ready.")
    session = manager.wait(session.session_id, timeout_s=5)
    assert session.status is Status.RUNNING
    assert session.connect is not None
    assert session.connect.address == "viz1:47989"
    assert session.expires_at is not None
    session = manager.delete(session.session_id)
    assert session.status is Status.STOPPING
    manager.reconcile()
    session = manager.get(session.session_id)
    assert (session.status, session.reason) == (Status.STOPPED, "Ended on request.")
    assert session.connect is None
    assert manager.delete(session.session_id) == session


def test_the_job_is_what_was_asked_for(manager: SessionManager, gateway: MemoryGateway) -> None:
    """As the user, with everything explicit and no secret in the clear."""
    session = manager.create("alice", cpus=2, memory_gb=3, gpus=0, hours=1, width=1280, height=720)
    spec = gateway.specs[job_of(session)]
    assert (spec.user_id, spec.group_id) == (2001, 2001)
    assert (spec.cpus, spec.memory_mb, spec.time_limit_min) == (2, 3072, 60)
    assert spec.gres == {"gpu": 0, "moonlight": 1}
    assert (spec.partition, spec.qos) == ("viz", "moonlight")
    assert spec.comment == f"moonlight:{session.session_id}"
    assert spec.output == f"/scratch/sunshine_logs/{session.session_id}.log"
    assert spec.environment["MOONLIGHT_WIDTH"] == "1280"
    assert "REDIS" not in " ".join(spec.environment)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"user": "nobody_knows"}, UserNotAllowed),
        ({"user": "alice", "image_id": "vnc_desktop"}, ImageNotFound),
        ({"user": "alice", "image_id": 7}, ImageNotFound),
        ({"user": "alice", "cpus": 0}, InvalidRequest),
        ({"user": "alice", "cpus": 10**9}, InvalidRequest),
        ({"user": "alice", "gpus": -1}, InvalidRequest),
        ({"user": "alice", "hours": "8"}, InvalidRequest),
        ({"user": "alice", "hours": True}, InvalidRequest),
        ({"user": "alice", "width": 1.5}, InvalidRequest),
        ({"user": "alice", "colour": 1}, InvalidRequest),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    manager: SessionManager, gateway: MemoryGateway, arguments: dict[str, object], error: type
) -> None:
    """No record, no job."""
    with pytest.raises(error):
        manager.create(**arguments)
    assert manager.list() == []
    assert gateway.specs == {}


def test_an_image_without_a_file_is_not_available(manager: SessionManager) -> None:
    """Said before a job is made."""
    manager.settings.images["xfce4"].sif.unlink()
    assert [image.available for image in manager.images()] == [False]
    with pytest.raises(ImageUnavailable, match="xfce4"):
        manager.create("alice")


def test_a_rejected_submit_leaves_nothing(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """Slurmctld's own words reach the caller; the quota is not used up."""
    manager._gateway._qos = ()
    with pytest.raises(SubmitRejected, match="Invalid qos specification"):
        manager.create("alice")
    assert manager.list() == []
    assert redis_client.zcard(keys.user_live("alice")) == 0


def test_slurmctld_away_refuses_and_frees_nothing(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """A create is refused whole; a delete is remembered; a running session stays as it is."""
    session = started(manager, gateway)
    gateway.away = True
    with pytest.raises(SlurmUnavailable):
        manager.create("alice")
    with pytest.raises(SlurmUnavailable):
        manager.reconcile()
    (shown,) = manager.list()
    assert "Slurm has not answered since" in (shown.reason or "")
    assert attrs.evolve(shown, reason=session.reason) == session
    assert manager.check()["slurm"] != "ok"
    stopping = manager.delete(session.session_id)
    assert stopping.status is Status.STOPPING
    assert "as soon as it answers" in (stopping.reason or "")
    gateway.away = False
    manager.reconcile()
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.STOPPED
    assert manager.check()["slurm"] == "ok"


def test_a_submit_of_unknown_outcome_makes_no_second_job(
    manager: SessionManager,
    gateway: MemoryGateway,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job that appears all the same is found by its name and cancelled."""
    submit = gateway.submit

    def submit_without_answer(spec: object) -> int:
        submit(spec)
        raise SubmitOutcomeUnknown("no answer.")

    monkeypatch.setattr(gateway, "submit", submit_without_answer)
    with pytest.raises(SubmitOutcomeUnknown):
        manager.create("alice")
    clock.tick(6)
    for _ in range(3):
        manager.reconcile()
    assert [job.state for job in gateway.our_jobs()] == ["CANCELLED"]
    assert [session.status for session in manager.list()] == [Status.STOPPED]


def test_a_session_ended_while_it_is_submitted_is_cancelled(
    manager: SessionManager, gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wish is older than the job's id, and is not forgotten when that is written."""
    submit = gateway.submit

    def submit_while_it_is_ended(spec: JobSpec) -> int:
        manager.delete(spec.name)
        return submit(spec)

    monkeypatch.setattr(gateway, "submit", submit_while_it_is_ended)
    session = manager.create("alice")
    assert session.status is Status.STOPPING
    manager.reconcile()
    manager.reconcile()
    assert gateway.jobs([job_of(session)])[job_of(session)].state == "CANCELLED"
    assert manager.get(session.session_id).status is Status.STOPPED


def test_the_same_key_is_the_same_session(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """Once, whatever happens in between: a second request, twenty at once, a lost Redis."""
    first = manager.create("alice", idempotency_key="wish 1")
    assert manager.create("alice", idempotency_key="wish 1") == first
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: manager.create("bob", idempotency_key="x"), range(20)))
    assert len({session.session_id for session in made}) == 1
    assert len(gateway.specs) == 2
    assert manager.create("alice", idempotency_key="wish 2").session_id != first.session_id
    redis_client.flushall()
    manager.reconcile()
    assert manager.create("alice", idempotency_key="wish 1").job_id == first.job_id
    assert len(gateway.specs) == 3
    with pytest.raises(InvalidRequest, match="Idempotency-Key"):
        manager.create("alice", idempotency_key="\n")


def test_with_a_key_an_unanswered_submit_is_kept(
    manager: SessionManager,
    gateway: MemoryGateway,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asking again finds the job that the first request made after all."""
    submit = gateway.submit

    def submit_without_answer(spec: object) -> int:
        submit(spec)
        raise SubmitOutcomeUnknown("no answer.")

    monkeypatch.setattr(gateway, "submit", submit_without_answer)
    with pytest.raises(SubmitOutcomeUnknown, match="same idempotency key"):
        manager.create("alice", idempotency_key="k")
    clock.tick(6)
    manager.reconcile()
    again = manager.create("alice", idempotency_key="k")
    assert (again.job_id, again.status) == (1, Status.PENDING)
    assert len(gateway.specs) == 1


def test_a_crash_after_the_submit_is_repaired(
    manager: SessionManager, gateway: MemoryGateway, store: SessionStore, clock: Clock
) -> None:
    """A record without a job finds its job by name."""
    session = manager.create("alice")
    assert store.update(store.get(session.session_id) or session, job_id=None, phase="submitting")
    clock.tick(6)
    manager.reconcile()
    manager.reconcile()
    found = manager.get(session.session_id)
    assert (found.job_id, found.phase) == (session.job_id, "queued")


def test_somebody_elses_job_of_that_name_is_not_taken(
    manager: SessionManager, gateway: MemoryGateway, store: SessionStore, clock: Clock
) -> None:
    """Bob cannot answer for alice's session."""
    session = manager.create("alice")
    gateway.change(job_of(session), user_id=2002)
    assert store.update(store.get(session.session_id) or session, job_id=None)
    clock.tick(31)
    manager.reconcile()
    clock.tick(11)
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.FAILED


def test_a_crash_before_the_submit_fails_after_a_grace(
    manager: SessionManager, gateway: MemoryGateway, store: SessionStore, clock: Clock
) -> None:
    """A record that never got a job says so."""
    session = manager.create("alice")
    gateway.forget(job_of(session))
    assert store.update(store.get(session.session_id) or session, job_id=None)
    clock.tick(10)
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.PENDING
    clock.tick(25)
    manager.reconcile()
    failed = manager.get(session.session_id)
    assert failed.status is Status.FAILED
    assert "never became a Slurm job" in (failed.error or "")


def test_a_lost_redis_is_rebuilt_from_slurm(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """The same sessions with the same leases; a new one gets another slot."""
    before = started(manager, gateway)
    say(gateway, before, phase="ready")
    manager.reconcile()
    before = manager.get(before.session_id)
    redis_client.flushall()
    manager.reconcile()
    manager.reconcile()
    after = manager.get(before.session_id)
    for name in ("session_id", "username", "image_id", "image_name", "cpus", "memory_gb", "gpus",
                 "hours", "width", "height", "fps", "status", "phase", "job_id", "slurm_node",
                 "display_num", "sunshine_port", "expires_at", "connect"):  # fmt: skip
        assert getattr(after, name) == getattr(before, name), name
    other = started(manager, gateway)
    assert (other.display_num, other.sunshine_port) == (11, 47992)


def test_a_forged_job_gets_nothing(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """Comment and Extra of a job without our mark make no session."""
    real = manager.create("alice")
    # The AdminComment of a submit is taken from root and SlurmUser alone.
    spec = attrs.evolve(gateway.specs[job_of(real)], user_id=2002, admin_comment="")
    manager.delete(real.session_id)
    manager.reconcile()
    redis_client.flushall()
    forged = gateway.submit(spec)
    gateway.start(forged, "viz1")
    gateway.report(forged, '{"phase":"ready"}')
    manager.reconcile()
    assert manager.list() == []
    assert gateway.jobs([forged])[forged].admin_comment == ""


def test_a_busy_slot_is_blocked_and_another_one_leased(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """What the script found taken is out of use for a while; the session goes on elsewhere."""
    session = started(manager, gateway)
    say(gateway, session, phase="slot_busy", busy="port", display=10, port=47989, reason="Taken.")
    manager.reconcile()
    manager.reconcile()
    session = manager.get(session.session_id)
    assert (session.display_num, session.sunshine_port) == (10, 47992)
    # The old report is still there, and is about a slot that is no longer ours.
    manager.reconcile()
    assert manager.get(session.session_id).sunshine_port == 47992
    say(gateway, session, phase="slot_busy", busy="display", display=10, port=47992)
    manager.reconcile()
    manager.reconcile()
    session = manager.get(session.session_id)
    assert (session.display_num, session.sunshine_port) == (11, 47992)
    say(gateway, session, phase="slot_busy", busy="port", display=11, port=47992, reason="Again.")
    manager.reconcile()
    manager.reconcile()
    session = manager.get(session.session_id)
    # As long as there are others, there is no reason to give up.
    assert (session.display_num, session.sunshine_port) == (11, 47996)


def test_what_a_script_says_of_its_end_is_not_the_last_word(
    manager: SessionManager, gateway: MemoryGateway, clock: Clock
) -> None:
    """It may go on, or be put back into the queue; one that does not end is cancelled."""
    session = started(manager, gateway)
    say(gateway, session, phase="ready", reason="Ready.")
    manager.reconcile()
    say(gateway, session, phase="failed", reason="Sunshine died.")
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.STOPPING
    say(gateway, session, phase="ready", reason="Ready.")
    manager.reconcile()
    again = manager.get(session.session_id)
    assert (again.status, again.ending_at) == (Status.RUNNING, None)
    gateway.change(job_of(session), state="COMPLETING")
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.STOPPING
    gateway.change(job_of(session), state="PENDING", node=None, restart_count=1)
    manager.reconcile()
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.PENDING
    gateway.start(job_of(session), "viz1")
    manager.reconcile()
    say(gateway, session, phase="failed", reason="Sunshine died.", restart=1)
    manager.reconcile()
    clock.tick(50)
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.STOPPING
    clock.tick(20)
    manager.reconcile()
    manager.reconcile()
    ended = manager.get(session.session_id)
    assert (ended.status, ended.slurm_state) == (Status.FAILED, "CANCELLED")


def test_ending_a_session_that_ends_by_itself_is_carried_out(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """The script may hang at its end."""
    session = started(manager, gateway)
    say(gateway, session, phase="failed", reason="Sunshine died.")
    manager.reconcile()
    manager.delete(session.session_id)
    manager.reconcile()
    ended = manager.get(session.session_id)
    assert (ended.status, ended.error) == (Status.FAILED, "Sunshine died.")


def test_a_slot_once_used_is_not_given_away(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """Its owner may write that it is busy; the desktop in it lives all the same."""
    session = started(manager, gateway)
    say(gateway, session, phase="ready", reason="Ready.")
    manager.reconcile()
    say(gateway, session, phase="slot_busy", busy="port", display=10, port=47989, reason="Lie.")
    manager.reconcile()
    manager.reconcile()
    assert manager.get(session.session_id).lease == session.lease


def test_without_a_free_slot_a_session_waits_visibly(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """And gets the first one that becomes free."""
    sessions = []
    for user in ("alice", "alice", "alice", "alice", "bob", "bob", "bob"):
        session = manager.create(user, gpus=0)
        gateway.start(job_of(session), "viz1")
        sessions.append(session)
    manager.reconcile()
    waiting = [s for s in manager.list() if s.display_num is None]
    assert [session.phase for session in waiting] == ["waiting_for_slot"]
    leased = next(s for s in manager.list() if s.display_num is not None)
    manager.delete(leased.session_id)
    manager.reconcile()
    manager.reconcile()
    assert manager.get(waiting[0].session_id).sunshine_port == leased.sunshine_port


def test_a_completing_job_keeps_its_lease(
    manager: SessionManager, gateway: MemoryGateway, redis_client: redis.Redis
) -> None:
    """Its processes may live."""
    session = started(manager, gateway)
    gateway.change(job_of(session), state="COMPLETING")
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.STOPPING
    assert redis_client.hlen(keys.leases("viz1")) == 1
    gateway.end(job_of(session), "FAILED", exit_code=1)
    manager.reconcile()
    assert redis_client.hlen(keys.leases("viz1")) == 0


@pytest.mark.parametrize(
    ("state", "status", "part"),
    [
        ("COMPLETED", Status.STOPPED, "closed"),
        ("TIMEOUT", Status.STOPPED, "time limit"),
        ("PREEMPTED", Status.STOPPED, "higher priority"),
        ("CANCELLED", Status.STOPPED, "scancel"),
        ("FAILED", Status.FAILED, "failed"),
        ("NODE_FAIL", Status.FAILED, "the node viz1 failed"),
        ("OUT_OF_MEMORY", Status.FAILED, "memory"),
    ],
)
def test_an_end_says_what_slurm_says(
    manager: SessionManager, gateway: MemoryGateway, state: str, status: Status, part: str
) -> None:
    """Status, reason, exit code and time."""
    session = started(manager, gateway)
    gateway.end(job_of(session), state, exit_code=3)
    manager.reconcile()
    ended = manager.get(session.session_id)
    assert ended.status is status
    assert part in (ended.reason or "").lower()
    assert (ended.error is not None) == (status is Status.FAILED)
    # Of a node that failed nobody knows how the script ended.
    exit_code = None if state == "NODE_FAIL" else 3
    assert (ended.exit_code, ended.slurm_state) == (exit_code, state)
    assert ended.stopped_at is not None


def test_the_scripts_reason_and_log_are_kept(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """What it said last is why it failed."""
    session = started(manager, gateway)
    say(
        gateway, session, phase="failed", reason="The X server did not start.", log="line 1\nline 2"
    )
    gateway.end(job_of(session), "FAILED", exit_code=1)
    manager.reconcile()
    failed = manager.get(session.session_id)
    assert failed.error == "The X server did not start."
    assert failed.log_tail == "line 1\nline 2"


def test_a_session_that_ends_by_itself_is_not_cancelled(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """What its script says of the end stays, and Slurm is not asked to end it."""
    session = started(manager, gateway)
    say(gateway, session, phase="ending", reason="The desktop was closed.")
    manager.reconcile()
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.STOPPING
    assert gateway.jobs([job_of(session)])[job_of(session)].state == "RUNNING"
    gateway.end(job_of(session), "COMPLETED")
    manager.reconcile()
    ended = manager.get(session.session_id)
    assert (ended.status, ended.reason) == (Status.STOPPED, "The desktop was closed.")


def test_a_forgotten_job_has_its_last_word_in_slurmdbd(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """Slurmctld forgets after MinJobAge."""
    session = started(manager, gateway)
    gateway.end(job_of(session), "OUT_OF_MEMORY")
    gateway.forget(job_of(session))
    manager.reconcile()
    assert manager.get(session.session_id).slurm_state == "OUT_OF_MEMORY"


def test_a_job_nobody_remembers_ends_after_a_grace(
    manager: SessionManager, gateway: MemoryGateway, clock: Clock
) -> None:
    """Slurmdbd may be slow to learn; not for ever."""
    session = started(manager, gateway)
    gateway.forget(job_of(session))
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.STARTING
    clock.tick(61)
    manager.reconcile()
    assert manager.get(session.session_id).status is Status.FAILED


def test_a_requeued_job_begins_anew(manager: SessionManager, gateway: MemoryGateway) -> None:
    """The lease of its earlier start goes back; reports of then count no more."""
    session = started(manager, gateway)
    say(gateway, session, phase="ready", restart=0)
    manager.reconcile()
    gateway.change(job_of(session), state="PENDING", node=None, restart_count=1)
    manager.reconcile()
    manager.reconcile()
    waiting = manager.get(session.session_id)
    assert (waiting.status, waiting.display_num) == (Status.PENDING, None)
    gateway.start(job_of(session), "viz2")
    manager.reconcile()
    manager.reconcile()
    again = manager.get(session.session_id)
    assert (again.status, again.slurm_node) == (Status.STARTING, "viz2")
    mark = Mark.of_job(gateway.jobs([job_of(session)])[job_of(session)])
    assert mark is not None
    assert (mark.lease, mark.restart_count) == (again.lease, 1)


def test_a_job_that_outlives_its_record_is_cancelled(
    manager: SessionManager, gateway: MemoryGateway, store: SessionStore
) -> None:
    """No job of ours without a living record."""
    session = started(manager, gateway)
    store.finish(store.get(session.session_id) or session, keep_s=60, status=Status.FAILED)
    store._redis.delete(keys.SCAN)
    manager.reconcile()
    assert gateway.jobs([job_of(session)])[job_of(session)].state == "CANCELLED"


def test_a_users_sessions_are_hers_alone(manager: SessionManager) -> None:
    """A foreign id answers exactly as a missing one."""
    session = manager.create("alice")
    with pytest.raises(SessionNotFound) as foreign:
        manager.get(session.session_id, user="bob")
    with pytest.raises(SessionNotFound):
        manager.delete(session.session_id, user="bob")
    with pytest.raises(SessionNotFound) as missing:
        manager.get("ml-x", user="bob")
    assert str(foreign.value).replace(session.session_id, "ml-x") == str(missing.value)
    assert manager.list(user="bob") == []


def test_the_quota_names_limit_and_use(manager: SessionManager) -> None:
    """So that a caller knows what to do."""
    for _ in range(4):
        manager.create("alice")
    with pytest.raises(QuotaExceeded) as caught:
        manager.create("alice")
    assert (caught.value.limit, caught.value.current) == (4, 4)
    manager.create("bob")


def test_waiting_ends_when_the_session_does(
    manager: SessionManager, gateway: MemoryGateway
) -> None:
    """With its reason; and a wait that is too short says where the session is."""
    session = manager.create("alice")
    told: list[str] = []
    with pytest.raises(WaitTimeout, match="pending"):
        manager.wait(session.session_id, timeout_s=0, progress=lambda s: told.append(s.phase))
    assert told == ["queued"]
    gateway.end(job_of(session), "NODE_FAIL")
    with pytest.raises(SessionEnded, match="The node failed"):
        manager.wait(session.session_id, timeout_s=5)

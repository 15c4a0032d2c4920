"""Faults of slurmctld and slurmdbd: nothing freezes, nothing is lost, nothing is made twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cluster_view import jobs_in_slurm
from faults import Answers, hung, killed, note, stopped, timed_request
from invariants import desktops, whole_within
from on_cluster import SESSIONS, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from on_cluster import Api

pytestmark = pytest.mark.usefixtures("mended")

# On a machine that does other things as well; docs/reliability.md has what was measured.
P99_S = 0.1
REFUSED_WITHIN_S = 3.0
WAYS: dict[str, Callable[[str], AbstractContextManager[None]]] = {"stopped": stopped, "hung": hung}


def running(api: Callable[[str], Api], *users: str) -> list[tuple[Api, str]]:
    """A running desktop for each user."""
    made = [(api(user), api(user).create()["session_id"]) for user in users]
    for user, session_id in made:
        user.wait(session_id, "running")
    return made


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.timeout(400)
def test_slurmctld_is_away(api: Callable[[str], Api], way: str, seconds: int) -> None:
    """Reads stay fast, a create is refused, a delete is remembered, desktops go on."""
    (alice, kept), (bob, ended) = running(api, "alice", "bob")
    before = desktops()
    with Answers() as usual:
        time.sleep(3)
    with WAYS[way]("slurmctld"), Answers() as answers:
        until = time.monotonic() + seconds
        first_s, first = timed_request(alice, "POST", SESSIONS, {"image_id": "bare"})
        refusals = [first_s]
        delete_s, deleted = timed_request(bob, "DELETE", f"{SESSIONS}/{ended}")
        while time.monotonic() < until:
            took, answer = timed_request(alice, "POST", SESSIONS, {"image_id": "bare"})
            assert (answer.status, answer.json["code"]) == (503, "slurm_unavailable")
            refusals.append(took)
            # A user may only ask so often in a minute.
            time.sleep(max(0.5, seconds / 15))
        health = alice("GET", "/health")[1]
        now = alice.get(kept)
    assert (first.status, first.json["code"]) == (503, "slurm_unavailable")
    assert int(first.headers["Retry-After"]) > 0
    assert max(refusals) < REFUSED_WITHIN_S
    assert deleted.status == 200
    assert deleted.json["status"] == "stopping"
    assert "as soon as it answers" in deleted.json["reason"]
    assert health["status"] == "degraded"
    assert health["checks"]["slurm"] != "ok"
    assert now["status"] == "running"
    assert "Slurm has not answered since" in now["reason"]
    assert answers.statuses(SESSIONS) == answers.statuses("/health") == {200}
    assert answers.p99_s < max(P99_S, 2 * usual.p99_s)
    before.pop(ended)
    # An unanswered submit whose job came after all is found and cancelled.
    note(
        f"slurmctld {way} {seconds} s",
        whole_s=whole_within(60, survivors=before),
        usual_p99_s=usual.p99_s,
        p99_s=answers.p99_s,
        worst_s=answers.worst_s,
        first_post_s=first_s,
        later_post_s=max(refusals[1:]),
        delete_s=delete_s,
    )
    bob.wait(ended, "stopped")
    assert "has not answered" not in alice.get(kept)["reason"]
    again = alice.create()["session_id"]
    alice.wait(again, "running")


def test_slurmctld_is_restarted(api: Callable[[str], Api]) -> None:
    """Sessions before, during and after."""
    ((alice, _),) = running(api, "alice")
    waiting = api("bob").create()["session_id"]
    before = desktops()
    run("cluster-service", "restart", "slurmctld")
    note("slurmctld restarted", whole_s=whole_within(60, survivors=before))
    api("bob").wait(waiting, "running")
    alice.wait(alice.create()["session_id"], "running")


def test_slurmctld_crashes(api: Callable[[str], Api]) -> None:
    """What it had not saved is lost to it, and is told; the rest goes on."""
    running(api, "alice")
    before = desktops()
    # slurmctld saves jobs some seconds after they have changed (JobState in its save thread).
    time.sleep(8)
    just_made = api("bob").create()["session_id"]
    with killed("slurmctld"):
        pass
    note("slurmctld killed", whole_s=whole_within(90, survivors=before))
    session = api("bob").get(just_made)
    assert session["status"] in ("pending", "starting", "running", "failed")
    if session["status"] == "failed":
        assert "Slurm no longer knows the job" in session["error"]


def test_slurmdbd_is_away(api: Callable[[str], Api]) -> None:
    """Sessions are made, run and end as ever; what slurmctld has forgotten is asked for later."""
    with Answers() as usual:
        time.sleep(3)
    with stopped("slurmdbd"), Answers() as answers:
        ((alice, session_id),) = running(api, "alice")
        before = desktops()
        whole_within(20, survivors=before)
        alice.delete(session_id)
        assert alice.wait(session_id, "stopped")["reason"] == "Ended on request."
        bob = api("bob")
        kept = bob.create()["session_id"]
        bob.wait(kept, "running")
    # Desktops start meanwhile.
    assert answers.p99_s < max(2 * P99_S, 2 * usual.p99_s)
    note("slurmdbd stopped", whole_s=whole_within(30), p99_s=answers.p99_s)


def test_a_submit_that_is_not_answered_makes_one_job(api: Callable[[str], Api]) -> None:
    """A slurmctld that hangs takes the request and carries it out when it goes on.

    With an idempotency key the job is the session's; without, it is cancelled.
    """
    alice, body = api("alice"), {"image_id": "bare"}
    # Records of earlier runs are kept for a day.
    wish = f"wish {time.time_ns()}"
    with hung("slurmctld"):
        first = alice("POST", SESSIONS, body, idempotency_key=wish)
        assert (first[0], first[1]["code"]) == (503, "slurm_unavailable")

    def again() -> tuple[int, dict[str, str]]:
        return alice("POST", SESSIONS, body, idempotency_key=wish)

    status, session = wait_for(again, lambda answer: answer[0] == 201, timeout_s=20)
    assert status == 201
    alice.wait(session["session_id"], "running")
    assert len(alive("alice")) == 1
    with hung("slurmctld"):
        status, answer = alice("POST", SESSIONS, body)
        assert status == 503
        assert "is cancelled" in answer["error"] or "moment ago" in answer["error"]
    note("submit not answered", whole_s=whole_within(60))
    # One that is being cancelled is whole as well.
    wait_for(lambda: alive("alice"), lambda jobs: len(jobs) == 1)


def alive(user: str) -> list[int]:
    """A user's jobs that have not ended."""
    return [job.job_id for job in jobs_in_slurm().values() if job.user == user and not job.ended]

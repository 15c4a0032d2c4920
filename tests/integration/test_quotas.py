"""Limits hold against whoever asks for everything at once, and say what they are."""

from __future__ import annotations

import collections
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from live import SESSIONS, Live

from moonlight_core import limits

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    import pytest
    import redis

    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

    Serve = Callable[..., contextlib.AbstractContextManager[Live]]


def create(live: Live, user: str = "alice", **body: Any) -> tuple[int, Any]:
    """Ask for a session: status and answer."""
    status, headers, answer = live.ask("POST", SESSIONS, body, X_Remote_User=user)
    return status, answer | {"retry_after": headers.get("retry-after")}


def test_fifty_at_once_at_a_limit_of_three_give_three(serve: Serve, gateway: MemoryGateway) -> None:
    """Exactly, over two services on one Redis; and each refusal tells limit and use."""
    settings = {"sessions": {"per_user": 3}}
    with serve(**settings) as one, serve(**settings) as two, ThreadPoolExecutor(50) as pool:
        asked = list(pool.map(lambda n: create((one, two)[n % 2]), range(50)))
    assert collections.Counter(status for status, _ in asked) == {201: 3, 429: 47}
    for status, answer in asked:
        if status == 429:
            assert (answer["code"], answer["quota"]) == ("quota_exceeded", "user")
            assert (answer["limit"], answer["current"]) == (3, 3)
    assert len(gateway.specs) == 3


def test_the_total_of_all_users(serve: Serve, gateway: MemoryGateway) -> None:
    """Thirty of three users at once at a total of five give five."""
    with serve(sessions={"total": 5}) as live, ThreadPoolExecutor(30) as pool:
        users = ("alice", "bob", "carol") * 10
        asked = list(pool.map(lambda user: create(live, user), users))
        counted = collections.Counter(status for status, _ in asked)
        assert counted == {201: 5, 429: 25}
        full = [answer for status, answer in asked if status == 429 and answer["quota"] == "total"]
        assert full
        assert {(answer["limit"], answer["current"]) for answer in full} == {(5, 5)}
        status, _, _ = live.ask(
            "DELETE",
            f"{SESSIONS}/{next(a['session_id'] for s, a in asked if s == 201)}",
            X_Remote_User="carol",
        )
        assert status == 200
        live.manager.reconcile()
        assert create(live, "bob")[0] == 201


def test_creates_per_minute(serve: Serve, redis_client: redis.Redis) -> None:
    """However quickly the sessions are ended again; neither refused nor repeated ones count."""
    with serve(sessions={"creates_per_minute": 3}) as live:
        for number in range(3):
            key = {"Idempotency_Key": f"wish {number}"}
            for _ in range(3):
                status, _, made = live.ask("POST", SESSIONS, {}, X_Remote_User="alice", **key)
                assert status == 201
            assert create(live, cpus=0)[0] == 422
            live.ask("DELETE", f"{SESSIONS}/{made['session_id']}", X_Remote_User="alice")
            live.manager.reconcile()
        status, answer = create(live)
        assert (status, answer["quota"], answer["limit"]) == (429, "per_minute", 3)
        assert 0 < int(answer["retry_after"]) <= 60
        assert create(live, "bob")[0] == 201
        assert 0 < int(redis_client.ttl("moonlight:user:alice:creates")) <= 60


def groups_of(**members: set[str]) -> Callable[[User], set[str]]:
    """A group database."""
    return lambda user: {group for group, names in members.items() if user.name in names}


def test_limits_of_groups_and_images(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group's replace the site's, the most generous counts, an image's are never exceeded."""
    monkeypatch.setattr(
        limits, "group_names", groups_of(students={"alice", "bob"}, project={"bob"}, idle={"bob"})
    )
    settings: dict[str, Any] = {
        "sessions": {"per_user": 2, "max_hours": 6, "max_gpus": 2},
        "limits": {
            "students": {"per_user": 1, "max_hours": 2, "max_gpus": 0},
            "project": {"per_user": 3, "max_hours": 12},
            "idle": {},
        },
        "images": {
            "xfce4": {"gpus": 1, "hours": 4, "default": True},
            "small": {"gpus": 0, "hours": 4, "cpus": 1, "max_cpus": 2, "max_hours": 4},
        },
    }
    with serve(**settings) as live:
        status, answer = create(live, "alice", hours=3)
        assert (status, answer["field"], answer["limit"]) == (422, "hours", 2)
        assert create(live, "alice", gpus=1)[0] == 422
        # Who says nothing gets as much as she may.
        status, answer = create(live, "alice")
        assert (status, answer["hours"], answer["gpus"]) == (201, 2, 0)
        assert create(live, "alice")[1]["limit"] == 1
        assert create(live, "bob", hours=12)[0] == 201
        status, answer = create(live, "bob", hours=13)
        assert (status, answer["limit"]) == (422, 12)
        assert create(live, "bob", gpus=1)[0] == 422
        assert create(live, "carol", hours=7)[1]["limit"] == 6
        assert create(live, "carol", gpus=2)[0] == 201


def test_an_images_limits(serve: Serve) -> None:
    """Whatever the site would allow."""
    images = {
        "xfce4": {"gpus": 1, "max_gpus": 1, "max_cpus": 4, "max_memory_gb": 8, "max_hours": 8}
    }
    with serve(images=images) as live:
        for field, most in (("gpus", 1), ("cpus", 4), ("memory_gb", 8), ("hours", 8)):
            status, answer = create(live, **{field: most + 1})
            assert (status, answer["field"], answer["limit"]) == (422, field, most)
        assert create(live, gpus=1, cpus=4, memory_gb=8, hours=8)[0] == 201

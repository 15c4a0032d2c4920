"""After an unanswered question one worker asks on, and everybody else is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from moonlight_core import silence
from moonlight_core.errors import SlurmUnavailable
from moonlight_core.silence import Peer


class Asked:
    """A worker that was asked; ``word`` is what it says when it is listened to."""

    was_asked = True

    def __init__(self) -> None:
        self.word: object = TimeoutError()
        self.asked_again = 0
        self.ended = False

    def answer_by(self, _deadline: float) -> object:
        """As ``Worker``."""
        if isinstance(self.word, (TimeoutError, EOFError)):
            raise self.word
        return self.word

    def ask_again(self) -> None:
        """As ``Worker``."""
        self.asked_again += 1
        self.word = TimeoutError()

    def end(self) -> None:
        """As ``Worker``."""
        self.ended = True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved."""
    moment = [1000.0]
    monkeypatch.setattr(silence.time, "monotonic", lambda: moment[0])
    return moment


@pytest.fixture
def worker(now: list[float]) -> Any:
    """One that is not answered."""
    return Asked()


@pytest.fixture
def peer(worker: Any) -> Peer:
    """A silent one, listened to by that worker."""
    peer = Peer("slurmctld")
    peer.silent()
    assert peer.is_left_to(worker)
    assert not peer.is_left_to(Asked())
    return peer


def refused(peer: Peer, *, question: bool) -> bool:
    """Whether a call is."""
    try:
        peer.check(question=question)
    except SlurmUnavailable:
        return True
    return False


def test_nobody_else_asks_while_one_listens(peer: Peer, now: list[float]) -> None:
    """However long ago it was tried, within that one's patience."""
    for later in (0, 5, 15):
        now[0] = 1000.0 + later
        assert refused(peer, question=True)
        assert refused(peer, question=False)


def test_its_answer_ends_the_silence(peer: Peer, worker: Any) -> None:
    """And it can be used again."""
    worker.word = {}
    assert peer.check(question=False) is worker
    assert peer.check(question=False) is None
    assert not worker.ended


def test_what_the_library_gave_up_is_asked_again(peer: Peer, worker: Any, now: list[float]) -> None:
    """By the same process, as often as it takes, with its patience anew."""
    for times in (1, 2, 3):
        now[0] += 20
        worker.word = SlurmUnavailable("not reached")
        assert refused(peer, question=True)
        assert worker.asked_again == times
    assert not worker.ended


def test_a_stuck_one_makes_room(peer: Peer, worker: Any, now: list[float]) -> None:
    """The next question is asked by another one, which then listens."""
    now[0] += 26
    assert peer.check(question=True) is None
    assert worker.ended
    assert peer.is_left_to(Asked())
    assert refused(peer, question=True)


def test_one_that_died_makes_room(peer: Peer, worker: Any, now: list[float]) -> None:
    """Questions are tried each second then, changes wait longer."""
    worker.word = EOFError()
    assert refused(peer, question=True)
    assert worker.ended
    now[0] += 1.5
    assert not refused(peer, question=True)
    assert refused(peer, question=False)
    now[0] += 10
    assert not refused(peer, question=False)


def test_a_worker_that_never_was_ready_does_not_listen(worker: Any) -> None:
    """It was not asked: nothing will come."""
    worker.was_asked = False
    assert not Peer("slurmctld").is_left_to(worker)

"""Reading what users wrote: theirs, as they, and nothing that only looks like it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from moonlight_core import user_files
from moonlight_core.errors import FileUnreadable
from moonlight_core.user_files import Piece, read_end
from moonlight_core.users import User

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT = os.geteuid() == 0
UID = 2001 if ROOT else os.geteuid()
GID = 2001 if ROOT else os.getegid()
ALICE = User(name="alice", uid=UID, gid=GID, home="/home/alice", shell="/bin/bash")
BOB = User(name="bob", uid=UID + 1, gid=GID + 1, home="/home/bob", shell="/bin/bash")
as_root = pytest.mark.skipif(not ROOT, reason="only root can act as somebody else")


@pytest.fixture
def shared(open_path: Path) -> Iterator[Path]:
    """A directory like /scratch/sunshine_logs, which everybody can reach."""
    place = open_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    return place


def give(path: Path, user: User = ALICE, mode: int = 0o600) -> Path:
    """Let a file or folder be the user's own."""
    if ROOT:
        os.chown(path, user.uid, user.gid)
    if not path.is_symlink():
        path.chmod(mode)
    return path


def written(path: Path, text: str = "one\ntwo\n", user: User = ALICE) -> Path:
    """A file of the user's."""
    path.write_text(text)
    return give(path, user)


def test_the_end_of_a_file(shared: Path) -> None:
    """So many bytes of it, and its size; None where there is none."""
    written(shared / "a.log")
    assert read_end(ALICE, shared, "a.log", most=100) == Piece(b"one\ntwo\n", 8)
    assert read_end(ALICE, shared, "a.log", most=4) == Piece(b"two\n", 8)
    assert read_end(ALICE, shared, "b.log", most=4) is None
    assert read_end(ALICE, shared, "no", "such", "folder", most=4) is None
    give(shared / "a.log").write_text("")
    assert read_end(ALICE, shared, "a.log", most=4) == Piece(b"", 0)


def test_a_file_in_folders_of_the_users(shared: Path) -> None:
    """Each of them is hers and no link."""
    inner = shared / "session" / "pictures"
    inner.mkdir(parents=True)
    written(inner / "1.png", "picture")
    give(inner, mode=0o700)
    give(inner.parent, mode=0o700)
    assert read_end(ALICE, shared, "session", "pictures", "1.png", most=9) == Piece(b"picture", 7)
    elsewhere = shared / "elsewhere"
    inner.rename(elsewhere)
    inner.symlink_to(elsewhere)
    # A link in the place of a folder is none.
    assert read_end(ALICE, shared, "session", "pictures", "1.png", most=9) is None


def test_tricks(shared: Path) -> None:
    """Links, pipes, folders, a name with another one: refused, and nobody waits for a pipe."""
    secret = written(shared / "secret", "somebody's")
    (shared / "link").symlink_to(secret)
    os.mkfifo(shared / "pipe")
    give(shared / "pipe")
    (shared / "folder").mkdir()
    give(shared / "folder", mode=0o700)
    os.link(written(shared / "first"), shared / "second")
    (shared / "device").symlink_to("/dev/zero")
    begin = time.monotonic()
    for name in ("link", "pipe", "folder", "second", "device"):
        with pytest.raises(FileUnreadable, match=r"no regular file|cannot read"):
            read_end(ALICE, shared, name, most=100)
    assert time.monotonic() - begin < 2


@as_root
def test_root_reads_as_the_user_and_not_as_root(shared: Path) -> None:
    """What she may not read she does not get, be it under her own session's name."""
    written(shared / "alice.log", "put there by bob", BOB).chmod(0o644)
    with pytest.raises(FileUnreadable, match="no regular file of alice's"):
        read_end(ALICE, shared, "alice.log", most=100)
    (shared / "alice.log").chmod(0o600)
    with pytest.raises(FileUnreadable, match="Permission denied"):
        read_end(ALICE, shared, "alice.log", most=100)
    folder = shared / "bobs"
    folder.mkdir()
    written(folder / "x.log")
    give(folder, BOB, 0o755)
    with pytest.raises(FileUnreadable, match="no regular file of alice's"):
        read_end(ALICE, shared, "bobs", "x.log", most=100)
    # The thread that asked has kept its own identity.
    (shared / "roots").write_text("x")
    (shared / "roots").chmod(0o600)
    assert (shared / "roots").read_text() == "x"


@as_root
def test_a_file_that_only_its_owner_can_reach(shared: Path) -> None:
    """As on a file system that does not trust root."""
    folder = shared / "private"
    folder.mkdir()
    written(folder / "x.log", "hers")
    give(folder, mode=0o700)
    assert read_end(ALICE, shared, "private", "x.log", most=100) == Piece(b"hers", 4)
    with pytest.raises(FileUnreadable):
        read_end(BOB, shared, "private", "x.log", most=100)


def test_a_file_server_that_hangs(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs so much patience, and not every thread there is."""
    written(shared / "a.log")
    released = threading.Event()
    places = threading.BoundedSemaphore(2)
    monkeypatch.setattr(user_files, "_places", places)

    def hang(*_: object) -> None:
        released.wait(10)

    monkeypatch.setattr(user_files, "_read_end", hang)
    for _ in range(2):
        with pytest.raises(FileUnreadable, match="does not answer"):
            read_end(ALICE, shared, "a.log", most=1, patience_s=0.05)
    begin = time.monotonic()
    with pytest.raises(FileUnreadable, match="does not answer"):
        read_end(ALICE, shared, "a.log", most=1, patience_s=5)
    assert time.monotonic() - begin < 1
    released.set()
    for _ in range(2):
        assert places.acquire(timeout=5)

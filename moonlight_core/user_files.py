"""Reading files that users wrote, as the user and never as root.

A log or a picture lies in a directory that its owner may change at any moment: into a symbolic
link to somebody else's file, a FIFO that never ends, a terabyte of zeros. So the service puts on
the user's identity before it looks, follows no link, takes nothing but a regular file of hers, and
reads so much and no more, for so long and no longer.

The identity is that of one thread (setfsuid(2)), which lives for one read. It is what a kernel's
NFS server does; a file system that does not trust root (root_squash) shows the file, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import threading
from typing import TYPE_CHECKING

import attrs

from moonlight_core.errors import FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from moonlight_core.users import User

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PATIENCE_S = 5.0
# Reads that hang on a dead file server keep their threads; more than this are not begun.
_MOST_AT_ONCE = 32
_places = threading.BoundedSemaphore(_MOST_AT_ONCE)


@attrs.frozen
class Piece:
    """What was read of a file.

    Attributes:
        data: its last bytes.
        size: all its bytes.
    """

    data: bytes
    size: int


def read_end(
    user: User, directory: Path, *names: str, most: int, patience_s: float = _PATIENCE_S
) -> Piece | None:
    """The end of a user's file; None while there is no such file.

    Args:
        user: whose file it must be, and as whom it is read if the service is root.
        directory: a directory of the site's, whose path nobody else can change.
        names: the directories of the user below it, and the file.
        most: bytes to read at most.
        patience_s: seconds after which the file system counts as away.

    Raises:
        FileUnreadable: it may not be read, is no regular file of the user's, or the file system
            does not answer.
    """
    return _as_user(user, lambda: _read_end(user, directory, names, most), patience_s)


def _read_end(user: User, directory: Path, names: tuple[str, ...], most: int) -> Piece | None:
    path = "/".join((str(directory), *names))
    try:
        with _opened(directory, names) as (folder, descriptor):
            # Folders below the site's own are the user's; in somebody else's the name is not hers.
            owners = {os.fstat(found).st_uid for found in folder}
            status = os.fstat(descriptor)
            if (
                not stat.S_ISREG(status.st_mode)
                or status.st_nlink != 1
                or {status.st_uid, *owners} != {user.uid}
            ):
                raise FileUnreadable(f"{path} is not read: it is no regular file of {user.name}'s.")
            start = max(0, status.st_size - most)
            return Piece(os.pread(descriptor, most, start), status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise FileUnreadable(
            f"The service cannot read {path}: {exc.strerror}. It must run as root, or as "
            f"{user.name}, on a host that shares this directory with the nodes."
        ) from exc


@contextlib.contextmanager
def _opened(directory: Path, names: tuple[str, ...]) -> Iterator[tuple[list[int], int]]:
    """Descriptors of the folders below ``directory`` and of the file; each from the one before."""
    with contextlib.ExitStack() as stack:

        def keep(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        # The site may have made its own directory a link.
        inside = keep(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        folders = []
        for name in names[:-1]:
            inside = keep(os.open(name, _DIRECTORY, dir_fd=inside))
            folders.append(inside)
        yield folders, keep(os.open(names[-1], _FILE, dir_fd=inside))


def _as_user(user: User, work: Callable[[], Piece | None], patience_s: float) -> Piece | None:
    """What ``work`` returns or raises, done in a thread that has the user's identity."""
    answer: list[Piece | None] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            if os.geteuid() == 0:
                _put_on(user)
            answer.append(work())
        except BaseException as exc:  # noqa: BLE001 - raised again by whoever waits
            failure.append(exc)
        finally:
            _places.release()

    if not _places.acquire(blocking=False):
        raise FileUnreadable("The file system of the sessions does not answer; try again later.")
    thread = threading.Thread(target=run, name=f"files of {user.name}", daemon=True)
    thread.start()
    thread.join(patience_s)
    if thread.is_alive():
        raise FileUnreadable("The file system of the sessions does not answer; try again later.")
    if failure:
        raise failure[0]
    return answer[0]


def _put_on(user: User) -> None:
    """Give this thread the user's file system identity; it loses root's rights over files."""
    libc = ctypes.CDLL(None)
    libc.setfsgid(user.gid)
    libc.setfsuid(user.uid)
    # The calls tell no error; asked with an impossible id they tell what is.
    if (libc.setfsuid(-1), libc.setfsgid(-1)) != (user.uid, user.gid):
        raise FileUnreadable(f"The service could not act as {user.name} to read a file.")

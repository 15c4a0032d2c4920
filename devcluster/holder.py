"""Who holds this machine's cluster, read from the cluster itself.

Nothing is recorded in a file that could be lost, or be left behind by a reboot: the first process
of the head carries all of it in its environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from devcluster import layout, proc
from devcluster.errors import DevError

if TYPE_CHECKING:
    from pathlib import Path

#: Variables of the head's first process; the first marks it.
_DEV_DIR = "MOONLIGHT_DEV_HEAD"
_CHECKOUT = "MOONLIGHT_DEV_CHECKOUT"
_SINCE = "MOONLIGHT_DEV_SINCE"
_KEY = "MOONLIGHT_DEV_KEY"


def now() -> str:
    """The time for people, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def heads() -> list[int]:
    """First processes of heads, also of one that is only half started."""
    return [
        pid for pid in proc.pids() if _DEV_DIR in proc.environ(pid) and proc.is_namespace_init(pid)
    ]


def head_environment(dev_dir: Path, key: str) -> dict[str, str]:
    """What a new head is given to carry."""
    return {
        _DEV_DIR: str(dev_dir),
        _CHECKOUT: str(layout.CHECKOUT),
        _SINCE: now(),
        _KEY: key,
    }


@dataclass(frozen=True)
class Holder:
    """The running cluster: whose it is, what it was made of, and the first process of its head."""

    pid: int
    checkout: str
    dev_dir: str
    since: str
    key: str

    @classmethod
    def load(cls) -> Self | None:
        """The cluster that runs on this machine, or None."""
        for pid in heads():
            # head-init becomes tini when everything is mounted.
            if proc.name(pid) == "tini":
                found = proc.environ(pid)
                fields = (
                    found.get(name, "unknown") for name in (_CHECKOUT, _DEV_DIR, _SINCE, _KEY)
                )
                return cls(pid, *fields)
        return None

    @property
    def is_ours(self) -> bool:
        """Whether this checkout started it."""
        return self.checkout == str(layout.CHECKOUT)

    def sentence(self) -> str:
        """Who holds it."""
        return (
            f"The cluster of this machine belongs to the checkout {self.checkout}"
            f" (head process {self.pid}, since {self.since})."
        )


def require_ours(holder: Holder | None) -> None:
    """Refuse to touch the cluster of another checkout.

    Raises:
        DevError: It is another's; the message says whose.
    """
    if holder and not holder.is_ours:
        raise DevError(
            holder.sentence(),
            f"One machine runs one cluster. Stop it with {holder.checkout}/dev down"
            " (or from here with ./dev down --force), then try again.",
        )

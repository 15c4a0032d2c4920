"""What is made of a session, kept until the session changes.

Records seldom change and are asked for often: a dashboard asks every few seconds, ``reconcile``
every second. ``SessionStore`` returns the same object for as long as a record is unchanged, so
whether something is still true of a session is one comparison of identities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core.models import Session

_T = TypeVar("_T")


class Derived(Generic[_T]):
    """A function of a session alone that is not computed again for an unchanged one.

    Safe to be shared by threads: at worst two of them compute the same.
    """

    def __init__(self, function: Callable[[Session], _T], *, most: int = 20_000) -> None:
        """``most``: of so many sessions the outcome is kept; then it is begun anew."""
        self._function = function
        self._most = most
        self._known: dict[str, tuple[Session, _T]] = {}

    def __call__(self, session: Session) -> _T:
        """What the function returns for ``session``."""
        known = self._known.get(session.session_id)
        if known is not None and known[0] is session:
            return known[1]
        value = self._function(session)
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[session.session_id] = (session, value)
        return value

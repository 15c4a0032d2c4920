"""What can go wrong, as sentences for the person at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class DevError(Exception):
    """Something stops the command; the message says what, ``hint`` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StepError(DevError):
    """A step failed; ``log`` holds what its programs printed, or None where there is no log."""

    def __init__(self, message: str, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message, hint)
        self.log = log


class CancelledError(Exception):
    """The command was interrupted while a step ran: not a failure of the step."""

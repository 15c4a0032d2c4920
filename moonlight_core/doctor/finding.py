"""What a check says."""

from __future__ import annotations

import enum

import attrs


class Grade(enum.StrEnum):
    """How well something is."""

    GREEN = "green"
    """As it should be."""
    YELLOW = "yellow"
    """Sessions work; something is at risk, slower, or could not be looked at."""
    RED = "red"
    """Sessions do not work, or not safely."""


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at, in a few words.
        grade: how well it is.
        message: a sentence on how it is.
        mend: how to mend it; empty when green.
    """

    subject: str
    grade: Grade
    message: str
    mend: str = ""


def green(subject: str, message: str) -> Finding:
    """As it should be."""
    return Finding(subject=subject, grade=Grade.GREEN, message=message)


def yellow(subject: str, message: str, mend: str) -> Finding:
    """At risk."""
    return Finding(subject=subject, grade=Grade.YELLOW, message=message, mend=mend)


def red(subject: str, message: str, mend: str) -> Finding:
    """Broken."""
    return Finding(subject=subject, grade=Grade.RED, message=message, mend=mend)

"""Session ids: ``ml-<user>-<18 characters>``, sortable by time, impossible to guess or repeat.

The last part is 48 bits of Unix time in milliseconds and 40 random bits, in the base 32 of
Crockford (https://www.crockford.com/base32.html) in lower case, like a short ULID.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_session_id(username: str) -> str:
    """A new id for a session of ``username``."""
    unique = _base32(time.time_ns() // 1_000_000, 10) + _base32(secrets.randbits(40), 8)
    return f"ml-{username}-{unique}"


def created_at(session_id: str) -> dt.datetime:
    """When an id of ``new_session_id`` was made."""
    milliseconds = 0
    for digit in session_id[-18:-8]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(digit)
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def _base32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))

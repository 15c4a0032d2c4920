"""Session ids: ``ml-<user>-<18 characters>``, impossible to guess or repeat.

The last part is 48 bits of Unix time in milliseconds and 40 random bits, in the base 32 of
Crockford (https://www.crockford.com/base32.html) in lower case, like a short ULID: it sorts by
time.

Where the caller gives an idempotency key, it is ``z`` and 85 bits of a hash of user and key
instead: the same key leads to the same id, so that record and job can exist only once, and nothing
needs to be stored for it. No time begins with ``z``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_KEYED = "z"


def new_session_id(username: str, idempotency_key: str | None = None) -> str:
    """An id for a session of ``username``: a new one, or the one of a key."""
    if idempotency_key is None:
        unique = _base32(time.time_ns() // 1_000_000, 10) + _base32(secrets.randbits(40), 8)
    else:
        digest = hashlib.sha256(f"{username}\0{idempotency_key}".encode()).digest()
        unique = _KEYED + _base32(int.from_bytes(digest), 17)
    return f"ml-{username}-{unique}"


def owner_of(session_id: str) -> str:
    """The user in an id, which is true of ids that we made."""
    return session_id[len("ml-") : -len("-") - 18]


def created_at(session_id: str) -> dt.datetime | None:
    """When an id was made; None for the id of a key, which does not tell."""
    unique = session_id[-18:]
    if unique.startswith(_KEYED):
        return None
    milliseconds = 0
    for digit in unique[:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(digit)
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def _base32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))

"""Values of a record: as text in Redis, and as JSON shows them."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any


def plain(value: Any) -> Any:
    """A value for JSON; times in ISO 8601, UTC."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return list(value) if isinstance(value, tuple) else value


def spelled(value: Any) -> str:
    """A value as text, of which ``PARSERS`` makes the value again."""
    return json.dumps(value) if isinstance(value, tuple | bool) else str(plain(value))


def _strings(text: str) -> tuple[str, ...]:
    return tuple(str(item) for item in json.loads(text))


PARSERS: dict[Any, Any] = {
    "str": str,
    "str | None": str,
    "int": int,
    "int | None": int,
    "bool": json.loads,
    "tuple[str, ...]": _strings,
    "dt.datetime": dt.datetime.fromisoformat,
    "dt.datetime | None": dt.datetime.fromisoformat,
}
"""What makes a value of its text, by the annotation of the attribute."""

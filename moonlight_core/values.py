"""Values of a configuration file or an environment variable, checked against a declared type."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def convert(raw: Any, declared: Any, *, from_text: bool = False) -> Any:
    """Make ``raw`` a value of the ``declared`` type.

    Args:
        raw: a TOML value, or a string from the environment.
        declared: ``str``, ``int``, ``float``, ``bool``, ``Path``, ``tuple[str, ...]``,
            ``Mapping[str, str]``, ``Mapping[str, tuple[str, ...]]``, or one of them ``| None``;
            also as a string annotation.
        from_text: ``raw`` is text in which numbers, booleans and lists are spelled out.

    Raises:
        ValueError: with the end of a sentence ("is 'x': a whole number is wanted.").
    """
    if isinstance(declared, str):
        declared = _NAMED[declared]
    if isinstance(declared, types.UnionType):
        if raw in (None, ""):
            return None
        declared = next(part for part in typing.get_args(declared) if part is not type(None))
    if from_text and declared in _SPELLED:
        raw = _SPELLED[declared](raw)
    return _CHECKS[declared](raw)


def _string(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"is {raw!r}: a string is wanted.")
    if any(ord(character) < ord(" ") for character in raw):
        raise ValueError("holds a control character: a plain line of text is wanted.")
    return raw


def _path(raw: Any) -> Path:
    text = _string(raw)
    if not text:
        raise ValueError("is empty: a path is wanted.")
    return Path(text)


def _integer(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError(f"is {raw!r}: a whole number is wanted.")
    return raw


def _number(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise ValueError(f"is {raw!r}: a number is wanted.")
    return float(raw)


def _boolean(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"is {raw!r}: true or false is wanted.")
    return raw


def _strings(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise ValueError(f"is {raw!r}: a list of strings is wanted.")
    return tuple(_string(item) for item in raw)


def _table(raw: Any) -> Mapping[str, str]:
    if not isinstance(raw, dict):
        raise ValueError(f"is {raw!r}: a table of strings is wanted.")
    return {key: _string(value) for key, value in raw.items()}


def _lists(raw: Any) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(raw, dict):
        raise ValueError(f"is {raw!r}: a table of lists of strings is wanted.")
    return {key: _strings(value) for key, value in raw.items()}


_CHECKS: Mapping[Any, Callable[[Any], Any]] = {
    str: _string,
    Path: _path,
    int: _integer,
    float: _number,
    bool: _boolean,
    tuple[str, ...]: _strings,
    Mapping[str, str]: _table,
    Mapping[str, tuple[str, ...]]: _lists,
}


def _spelled_integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _spelled_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _spelled_boolean(text: str) -> bool | str:
    return text.lower() in _TRUE if text.lower() in _TRUE | _FALSE else text


def _spelled_strings(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _spelled_table(text: str) -> dict[str, str] | str:
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    if not all(separator for _, separator, _ in pairs):
        return text
    return {key.strip(): value.strip() for key, _, value in pairs}


# What text means is decided here; whether it will do, above. Text that means nothing stays text.
_SPELLED: Mapping[Any, Callable[[str], Any]] = {
    int: _spelled_integer,
    float: _spelled_number,
    bool: _spelled_boolean,
    tuple[str, ...]: _spelled_strings,
    Mapping[str, str]: _spelled_table,
}

# Annotations arrive as text where a module postpones their evaluation (PEP 563).
_NAMED: Mapping[str, Any] = {
    "str": str,
    "int": int,
    "int | None": int | None,
    "float": float,
    "bool": bool,
    "Path": Path,
    "Path | None": Path | None,
    "tuple[str, ...]": tuple[str, ...],
    "Mapping[str, str]": Mapping[str, str],
    "Mapping[str, tuple[str, ...]]": Mapping[str, tuple[str, ...]],
}

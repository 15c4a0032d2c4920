"""What the service's answers mean to a program: the core's own values and errors again."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import attrs

from moonlight_core import errors
from moonlight_core.models import Connect, Session, Status
from moonlight_http.errors import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Where several errors have one code, the one that says no more than the code does.
_CLASSES: Mapping[str, type[errors.MoonlightError]] = {
    code: kind for kind, (_status, code) in TABLE.items()
} | {
    "disabled": errors.CredentialsHidden,
    "slurm_unavailable": errors.SlurmUnavailable,
    "store_unavailable": errors.StoreUnavailable,
    "sunshine_unusable": errors.SunshineAnswerUnusable,
    "malformed_parameter": errors.InvalidRequest,
    "unknown_field": errors.InvalidRequest,
    "not_administrator": errors.UserNotAllowed,
}
_FIRST_OF_OURS = 500
# So that every attribute that the core's errors have is there.
_UNTOLD: Mapping[str, object] = {
    "field": "",
    "limit": None,
    "allowed": (),
    "current": None,
    "quota": "user",
    "address": "",
    "status": "",
}


def _tuple(items: Any) -> tuple[Any, ...]:
    return tuple(items)


def _connect(document: Any) -> Connect:
    return Connect(**document)


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "Status": Status,
    "tuple[str, ...]": _tuple,
    "dt.datetime": dt.datetime.fromisoformat,
    "dt.datetime | None": dt.datetime.fromisoformat,
    "Connect | None": _connect,
}


def session_of(document: Mapping[str, Any]) -> Session:
    """The session that ``Session.to_json`` has shown; what a newer service adds is ignored.

    Raises:
        ValueError, TypeError: it is none.
    """
    values = {}
    for field in attrs.fields(Session):
        if field.name in document:
            value = document[field.name]
            parse = _PARSERS.get(str(field.type))
            values[field.name] = parse(value) if parse and value is not None else value
    return Session(**values)


def error_of(status: int, document: Mapping[str, Any], **known: object) -> errors.MoonlightError:
    """The error that the service has answered with, with its sentence and the data it told.

    Args:
        status: the HTTP status.
        document: the answer.
        known: attributes of the error that the answer does not tell.
    """
    data = {**_UNTOLD, **known, **document}
    sentence, code = str(data.pop("error", "")), str(data.pop("code", ""))
    kind = _CLASSES.get(code)
    if kind is None or status == _FIRST_OF_OURS:
        kind = errors.RequestError if status < _FIRST_OF_OURS else errors.ServiceUnavailable
    return retold(kind, sentence or f"The service answered with status {status}.", **data)


def retold(
    kind: type[errors.MoonlightError], sentence: str, **attributes: object
) -> errors.MoonlightError:
    """An error with a sentence that was made elsewhere, where its class makes one of its own."""
    error = kind.__new__(kind, sentence)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error

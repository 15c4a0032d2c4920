"""What a request may carry: body size, media type, fields and parameters."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import falcon

from moonlight_http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

_DIGITS = re.compile(r"[0-9]{1,9}")
_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no")


class BodyLimit:
    """Middleware that refuses a body over the limit before anybody reads it."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max = max_body_bytes

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Look at the announced length; waitress holds a client to what it announced."""
        if (req.content_length or 0) > self._max:
            raise Refusal(
                falcon.HTTP_413,
                "body_too_large",
                f"The body has {req.content_length} bytes; at most {self._max} are read.",
            )


def json_object(req: falcon.Request, fields: Collection[str]) -> dict[str, Any]:
    """The body as a JSON object that has none but these fields; empty when there is no body.

    Raises:
        Refusal: 415 for another media type, 400 for what is no JSON object, 422 for another field.
    """
    raw = req.bounded_stream.read()
    if not raw:
        return {}
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refusal(
            falcon.HTTP_415,
            "unsupported_media_type",
            "The body must be JSON, with the header Content-Type: application/json.",
        )
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise Refusal(
            falcon.HTTP_400, "malformed_json", "The body is no JSON that can be read."
        ) from exc
    if not isinstance(document, dict):
        raise Refusal(falcon.HTTP_400, "malformed_json", "The body must be a JSON object: {…}.")
    unknown = sorted(set(document) - set(fields))
    if unknown:
        raise Refusal(
            falcon.HTTP_422,
            "unknown_field",
            f"There is no field {unknown[0][:40]!r}; there are {', '.join(fields)}.",
        )
    return document


def flag(req: falcon.Request, name: str) -> bool:
    """A boolean query parameter; False when it is missing.

    Raises:
        Refusal: 400 when it is neither true nor false, or given twice.
    """
    values = req.get_param_as_list(name) or []
    if not values:
        return False
    if len(values) == 1 and values[0].lower() in _TRUE + _FALSE:
        return values[0].lower() in _TRUE
    raise Refusal(falcon.HTTP_400, "malformed_parameter", f"The parameter {name} is true or false.")


def choice(req: falcon.Request, name: str, choices: Collection[str]) -> str | None:
    """A query parameter that is one of some words; None when it is missing.

    Raises:
        Refusal: 400 when it is none of them, or given twice.
    """
    values = req.get_param_as_list(name) or []
    if not values:
        return None
    if len(values) == 1 and values[0] in choices:
        return values[0]
    raise Refusal(
        falcon.HTTP_400,
        "malformed_parameter",
        f"The parameter {name} is one of {', '.join(choices)}.",
    )


def whole_number(req: falcon.Request, name: str, *, least: int, most: int) -> int | None:
    """A query parameter that is a whole number; None when it is missing.

    Raises:
        Refusal: 400 when it is none, out of bounds, or given twice.
    """
    values = req.get_param_as_list(name) or []
    if not values:
        return None
    if len(values) == 1 and _DIGITS.fullmatch(values[0]) and least <= int(values[0]) <= most:
        return int(values[0])
    raise Refusal(
        falcon.HTTP_400,
        "malformed_parameter",
        f"The parameter {name} is a whole number from {least} to {most}.",
    )

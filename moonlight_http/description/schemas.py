"""The schemas that have a name. What a session is made of is read off ``Session``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from moonlight_core.models import INTERNAL_FIELDS, Session, Status
from moonlight_http.description.pieces import record

if TYPE_CHECKING:
    from moonlight_http.description.pieces import Schema

_TYPES: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "tuple[str, ...]": {"type": "array", "items": {"type": "string"}},
    "Status": {"enum": [str(status) for status in Status]},
    "dt.datetime": {"type": "string", "format": "date-time"},
    "Connect": {"$ref": "#/components/schemas/Connect"},
}


def schemas() -> dict[str, Schema]:
    """The schemas, by name."""
    session = {
        field.name: _schema_of(str(field.type))
        for field in attrs.fields(Session)
        if field.name not in INTERNAL_FIELDS
    }
    text, number = {"type": "string"}, {"type": "integer"}
    return {
        "Session": record(**session, percent={"type": ["integer", "null"]}),
        "Connect": record(host=text, port=number, address=text, command=text),
        "Client": record(name=text, uuid=text),
        "Error": {
            "type": "object",
            "required": ["error", "code"],
            "properties": {
                "error": {"type": "string", "description": "a sentence a person can act on"},
                "code": {"type": "string", "description": "a stable word"},
                "field": {"type": "string"},
                "limit": {"type": "integer"},
                "current": {"type": "integer"},
                "quota": {"enum": ["user", "total", "per_minute"]},
                "address": {"type": "string"},
                "request_id": {"type": "string"},
            },
        },
    }


def _schema_of(declared: str) -> Schema:
    """The schema of a field of a record, by its annotation."""
    name, _, optional = declared.partition(" | ")
    schema = _TYPES[name]
    return {"anyOf": [schema, {"type": "null"}]} if optional else schema

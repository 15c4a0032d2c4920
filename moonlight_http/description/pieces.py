"""The pieces that a description by OpenAPI is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import falcon

if TYPE_CHECKING:
    from collections.abc import Mapping

Schema = dict[str, Any]
Codes = dict[int, tuple[str, ...]]
"""Words in ``code`` of errors, by status."""


def operation(
    name: str, summary: str, answers: dict[int, Schema], *errors: Mapping[int, tuple[str, ...]]
) -> Schema:
    """What an address answers to a method: when all is well, and with which errors."""
    responses = {
        str(status): {
            "description": falcon.code_to_http_status(status).partition(" ")[2],
            "content": {"application/json": {"schema": schema}},
        }
        for status, schema in answers.items()
    }
    codes: dict[int, list[str]] = {}
    for more in errors:
        for status, words in more.items():
            codes.setdefault(status, []).extend(words)
    for status, said in sorted(codes.items()):
        schema = {
            "allOf": [
                reference("Error"),
                {"properties": {"code": {"enum": list(dict.fromkeys(said))}}},
            ]
        }
        responses[str(status)] = {
            "description": ", ".join(dict.fromkeys(said)),
            "content": {"application/json": {"schema": schema}},
        }
    return {"operationId": name, "summary": summary, "responses": responses}


def record(**properties: Schema) -> Schema:
    """An object that has all of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def many(schema: Schema) -> Schema:
    """A list of things of one kind."""
    return {"type": "array", "items": schema}


def reference(name: str) -> Schema:
    """One of the schemas that have a name."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(name: str, where: str, schema: Schema) -> Schema:
    """A parameter in the path, the query or a header."""
    return {"name": name, "in": where, "required": where == "path", "schema": schema}

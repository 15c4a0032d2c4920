"""What is about the service as a whole: health, metrics, the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moonlight_http.description.codes import IDENTITY
from moonlight_http.description.pieces import many, operation, record

if TYPE_CHECKING:
    from moonlight_http.description.pieces import Schema


def health(name: str) -> Schema:
    """``/health``, at the root and below the prefix."""
    health = record(
        status={"enum": ["ok", "degraded"]},
        service={"const": "moonlight_backend"},
        port={"type": "integer"},
        checks=record(redis={"type": "string"}, slurm={"type": "string"}),
    )
    return {"get": operation(name, "Whether the service works", {200: health}) | {"security": []}}


def metrics() -> Schema:
    """``/metrics``."""
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "get": {
            "operationId": "getMetrics",
            "summary": "What the service counts, for Prometheus",
            "responses": {"200": {"description": "OK", "content": text}},
            "security": [],
        }
    }


def images() -> Schema:
    """``/images``."""
    image = record(
        id={"type": "string"},
        name={"type": "string"},
        description={"type": "string"},
        icon={"type": "string"},
        default={"type": "boolean"},
        available={"type": "boolean"},
        options={
            "type": "object",
            "description": "What a request may choose, by name",
            "additionalProperties": {
                "type": "object",
                "required": ["default"],
                "properties": {
                    "default": {},
                    "values": many({"type": "string"}),
                    "least": {"type": "integer"},
                    "most": {"type": "integer"},
                },
            },
        },
    )
    return {
        "get": operation(
            "listImages", "What can be asked for", {200: record(images=many(image))}, IDENTITY
        )
    }

"""The HTTP face of ``moonlight_core``: requests in, one core call, JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moonlight_http.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    # Whoever wants the client alone does not wait until the service's parts are imported.
    if name == "create_app":
        from moonlight_http.app import create_app  # noqa: PLC0415

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

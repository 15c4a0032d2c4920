"""The HTTP face of ``moonlight_core``: requests in, one core call, JSON out."""

from moonlight_http.app import create_app

__all__ = ["create_app"]

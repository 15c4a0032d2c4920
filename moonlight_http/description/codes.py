"""The words of errors that several calls have in common, by status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moonlight_http.description.pieces import Codes

IDENTITY: Codes = {
    401: ("not_identified", "invalid_token"),
    403: ("untrusted_proxy", "user_not_allowed"),
}
CHANGE: Codes = {403: ("cross_site",), 413: ("body_too_large",)}
BODY: Codes = {
    400: ("malformed_json",),
    415: ("unsupported_media_type",),
    422: ("invalid_value", "unknown_field"),
}
STORE: Codes = {503: ("store_unavailable", "identity_unavailable", "audit_unavailable")}
SESSION: Codes = {404: ("session_not_found",)}
PARAMETER: Codes = {400: ("malformed_parameter",)}
DESKTOP: Codes = {
    409: ("session_not_running",),
    502: ("sunshine_unusable",),
    503: ("sunshine_unreachable", "busy"),
}

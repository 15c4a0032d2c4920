"""From core errors to answers: one table, and the shape that every error has.

``{"error": "<a sentence>", "code": "<a stable word>", …}``; the class decides status and code, the
error's own data is added where the caller can act on it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import falcon

from moonlight_core import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 5

TABLE: Mapping[type[errors.MoonlightError], tuple[str, str]] = {
    errors.InvalidRequest: (falcon.HTTP_422, "invalid_value"),
    errors.ImageNotFound: (falcon.HTTP_422, "image_not_found"),
    errors.ImageUnavailable: (falcon.HTTP_409, "image_unavailable"),
    errors.UserNotAllowed: (falcon.HTTP_403, "user_not_allowed"),
    errors.SessionNotFound: (falcon.HTTP_404, "session_not_found"),
    errors.SessionNotRunning: (falcon.HTTP_409, "session_not_running"),
    errors.QuotaExceeded: (falcon.HTTP_429, "quota_exceeded"),
    errors.NoClientWaiting: (falcon.HTTP_409, "no_client_waiting"),
    errors.WrongPin: (falcon.HTTP_422, "wrong_pin"),
    errors.PairingUnderWay: (falcon.HTTP_409, "pairing_under_way"),
    errors.TooManyPins: (falcon.HTTP_429, "too_many_pins"),
    errors.ClientNotFound: (falcon.HTTP_404, "client_not_found"),
    errors.CredentialsHidden: (falcon.HTTP_403, "disabled"),
    errors.ScreenshotsOff: (falcon.HTTP_403, "disabled"),
    errors.ScreenshotUnavailable: (falcon.HTTP_409, "screenshot_unavailable"),
    errors.TooManyScreenshots: (falcon.HTTP_429, "too_many_screenshots"),
    errors.ScreenshotFailed: (falcon.HTTP_502, "screenshot_failed"),
    errors.LogNotFound: (falcon.HTTP_404, "log_not_found"),
    errors.FileUnreadable: (falcon.HTTP_502, "file_unreadable"),
    errors.PairingInterrupted: (falcon.HTTP_503, "service_stopping"),
    errors.SunshineUnreachable: (falcon.HTTP_503, "sunshine_unreachable"),
    errors.SunshineError: (falcon.HTTP_502, "sunshine_unusable"),
    errors.NotPermitted: (falcon.HTTP_403, "not_permitted"),
    errors.SubmitRejected: (falcon.HTTP_422, "submit_rejected"),
    errors.SubmitOutcomeUnknown: (falcon.HTTP_503, "slurm_unavailable"),
    errors.SlurmError: (falcon.HTTP_503, "slurm_unavailable"),
    errors.StoreError: (falcon.HTTP_503, "store_unavailable"),
    errors.RequestError: (falcon.HTTP_400, "bad_request"),
    errors.MoonlightError: (falcon.HTTP_500, "internal_error"),
}


# What these say names hosts and files, which is nobody's business outside: it goes into the log.
_INSIDE: Mapping[type[errors.MoonlightError], str] = {
    errors.StoreError: "The records of sessions cannot be read or written now. Running desktops go "
    "on; try again.",
    errors.SlurmNotUsable: "The service cannot speak to Slurm; its log tells the administrators "
    "why. Running desktops go on.",
}


class Refusal(Exception):
    """Raised for what is wrong with a request as HTTP, before the core sees it."""

    def __init__(
        self, status: str, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.headers = dict(headers or {})
        super().__init__(message)


def status_and_code(error: errors.MoonlightError) -> tuple[str, str]:
    """The nearest entry of the table, from the error's class upwards."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def add_error_handlers(app: falcon.App[Any, Any]) -> None:
    """Teach an application to answer every error in our shape."""
    app.add_error_handler(Exception, _on_bug)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(Refusal, _on_refusal)
    app.add_error_handler(errors.MoonlightError, _on_core_error)
    app.add_sink(_no_such_place, prefix="/")


def _answer(resp: falcon.Response, status: str, code: str, message: str, **data: Any) -> None:
    resp.status = status
    resp.media = {"error": message, "code": code} | data
    if status == falcon.HTTP_503:
        resp.set_header("Retry-After", str(RETRY_AFTER_S))


def _on_core_error(
    req: falcon.Request, resp: falcon.Response, error: errors.MoonlightError, _params: object
) -> None:
    req.context.error = error
    status, code = status_and_code(error)
    data: dict[str, Any] = {}
    if isinstance(error, errors.InvalidRequest):
        told = {"field": error.field, "limit": error.limit, "allowed": list(error.allowed) or None}
        data |= {name: value for name, value in told.items() if value is not None}
    if isinstance(error, errors.QuotaExceeded):
        data |= {"limit": error.limit, "current": error.current, "quota": error.quota}
        if error.retry_after_s is not None:
            resp.set_header("Retry-After", str(error.retry_after_s))
    if isinstance(error, errors.NoClientWaiting):
        data["address"] = error.address
    if isinstance(error, (errors.TooManyPins, errors.TooManyScreenshots)):
        resp.set_header("Retry-After", str(error.retry_after_s))
    if status == falcon.HTTP_500:
        _log.error("unexpected error", exc_info=error)
    message = str(error)
    for kind, sentence in _INSIDE.items():
        if isinstance(error, kind):
            _log.warning("%s", error)
            message = sentence
    _answer(resp, status, code, message, **data)


def _on_refusal(
    _req: falcon.Request, resp: falcon.Response, error: Refusal, _params: object
) -> None:
    resp.set_headers(error.headers)
    _answer(resp, error.status, error.code, str(error))


def _on_http_error(
    _req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object
) -> None:
    status = falcon.code_to_http_status(error.status)
    code = status.partition(" ")[2].lower().replace(" ", "_").replace("-", "_")
    message = error.description or error.title or status
    if error.headers:
        resp.set_headers(error.headers)
    if status == falcon.HTTP_405:
        message = f"This address does not take that method; it takes {resp.get_header('Allow')}."
    _answer(resp, status, code, message)


def _on_bug(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    _log.error("a bug: %s %s", req.method, req.path, exc_info=error)
    _answer(
        resp,
        falcon.HTTP_500,
        "internal_error",
        "Something went wrong in the service; its log tells the administrators what.",
        request_id=getattr(req.context, "request_id", None),
    )


def _no_such_place(req: falcon.Request, resp: falcon.Response, **kwargs: Any) -> None:  # noqa: ARG001 - Falcon passes these by name
    raise Refusal(
        falcon.HTTP_404,
        "not_found",
        "There is nothing at this address; the API is below /api/moonlight.",
    )

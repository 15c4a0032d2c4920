"""The service's log: lines for people, or a JSON object a line for a log store."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import Any

from moonlight_core.models import SESSION_ID
from moonlight_http.request_id import LogFilter

TEXT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s"


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "request_id", "session_id", "message", "error"}``.

    ``session_id`` is the one the message is about; null, as ``request_id``, for none. ``error`` is
    a traceback, and there only with one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        message = record.getMessage()
        session = SESSION_ID.search(message)
        request_id = getattr(record, "request_id", "-")
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": None if request_id == "-" else request_id,
            "session_id": session[0] if session else None,
            "message": message,
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(level: str, style: str) -> None:
    """Let all loggers write to standard error.

    Args:
        level: the least severe that is shown.
        style: ``text`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(LogFilter())
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)

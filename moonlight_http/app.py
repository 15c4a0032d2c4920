"""The Falcon application: routes, and nothing that knows Slurm or Redis.

``create_app`` is the one place where the parts are put together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import falcon

from moonlight_http.errors import add_error_handlers
from moonlight_http.identity import HeaderIdentity
from moonlight_http.requests import BodyLimit
from moonlight_http.resources import Health, Images, SessionById, Sessions

if TYPE_CHECKING:
    from moonlight_core import SessionManager

PREFIX = "/api/moonlight"


def create_app(manager: SessionManager) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application over a manager.

    Args:
        manager: what every request is carried out by; shared by all threads.
    """
    service = manager.settings.service
    identity = HeaderIdentity(
        header=service.user_header,
        trusted_proxies=service.trusted_proxies,
        administrators=service.administrators,
        first_uid=manager.settings.sessions.first_uid,
    )
    app = falcon.App()
    app.add_middleware(BodyLimit(service.max_body_bytes))
    app.add_middleware(identity)
    app.req_options.strip_url_path_trailing_slash = True
    # A parameter given twice is a mistake to point out, not a list.
    app.req_options.auto_parse_qs_csv = False
    add_error_handlers(app)
    app.add_route("/health", Health(manager))
    app.add_route(f"{PREFIX}/health", Health(manager))
    app.add_route(f"{PREFIX}/images", Images(manager))
    app.add_route(f"{PREFIX}/sessions", Sessions(manager))
    app.add_route(f"{PREFIX}/sessions/{{session_id}}", SessionById(manager))
    return app

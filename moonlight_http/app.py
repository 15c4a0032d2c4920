"""The Falcon application: routes, and nothing that knows Slurm or Redis.

``create_app`` is the one place where the parts are put together.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import falcon

from moonlight_http.desktop import ClientById, Clients, Credentials, Pair
from moonlight_http.encoding import SessionTexts
from moonlight_http.errors import add_error_handlers
from moonlight_http.identity import HeaderIdentity
from moonlight_http.pairings import Gate, Pairings
from moonlight_http.requests import BodyLimit
from moonlight_http.resources import Health, Images, SessionById, Sessions

if TYPE_CHECKING:
    from moonlight_core import SessionManager

PREFIX = "/api/moonlight"


def create_app(
    manager: SessionManager, *, pairings: Pairings | None = None
) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application over a manager.

    Args:
        manager: what every request is carried out by; shared by all threads.
        pairings: what carries out pairings that outlive their request; whoever gives one ends it.
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
    texts = SessionTexts()
    app.add_route(f"{PREFIX}/sessions", Sessions(manager, texts))
    app.add_route(f"{PREFIX}/sessions/{{session_id}}", SessionById(manager, texts))
    # Sunshine may be slow, and its owner may make it so: half of the threads stay free of it.
    gate = Gate(most=max(1, service.threads // 2), most_each=max(1, service.threads // 4))
    session = f"{PREFIX}/sessions/{{session_id}}"
    app.add_route(f"{session}/pair", Pair(manager, pairings or Pairings(threading.Event()), gate))
    app.add_route(f"{session}/clients", Clients(manager, gate))
    app.add_route(f"{session}/clients/{{uuid}}", ClientById(manager, gate))
    app.add_route(f"{session}/credentials", Credentials(manager))
    return app

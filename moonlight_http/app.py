"""The Falcon application: routes, and nothing that knows Slurm or Redis.

``create_app`` is the one place where the parts are put together.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import falcon

from moonlight_core.administrators import Administrators
from moonlight_core.audit import AuditLog
from moonlight_core.errors import SettingsError
from moonlight_core.secret import read_secret
from moonlight_http.audit import Audit
from moonlight_http.browser import CrossSite, SecurityHeaders
from moonlight_http.description import Description
from moonlight_http.desktop import ClientById, Clients, Credentials, Pair
from moonlight_http.encoding import SessionTexts
from moonlight_http.errors import add_error_handlers
from moonlight_http.identity import HeaderIdentity, Identity, OwnAccount
from moonlight_http.metrics import Metrics, MetricsPage
from moonlight_http.pairings import Gate, Pairings
from moonlight_http.peers import Proxies
from moonlight_http.request_id import HEADER, RequestIds
from moonlight_http.requests import BodyLimit
from moonlight_http.resources import Health, Images, SessionById, Sessions
from moonlight_http.tokens import TokenIdentity
from moonlight_http.views import Log, Screenshot
from moonlight_http.waiting import Waiters

if TYPE_CHECKING:
    from moonlight_core import SessionManager, Settings
    from moonlight_http.identity import Source

PREFIX = "/api/moonlight"


def create_app(
    manager: SessionManager,
    *,
    pairings: Pairings | None = None,
    metrics: Metrics | None = None,
    tells_accounts: bool = False,
) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application over a manager.

    Args:
        manager: what every request is carried out by; shared by all threads.
        pairings: what carries out pairings that outlive their request; whoever gives one ends it.
        metrics: what counts for ``/metrics``; whoever runs reconcile gives one and tells it.
        tells_accounts: whether the server tells the account at the other end of a connection
            (``moonlight_http.peers.PEER_UID``), as ours does; without, addresses alone decide.

    Raises:
        SettingsError: a key or secret of the settings cannot be used.
    """
    service = manager.settings.service
    proxies = Proxies.of(service.trusted_proxies, service.trusted_users, accounts=tells_accounts)
    app = falcon.App()
    if service.allowed_origins:
        app.add_middleware(
            falcon.CORSMiddleware(
                allow_origins=service.allowed_origins,
                allow_credentials=service.allowed_origins,
                expose_headers=["Location", "Retry-After", HEADER],
            )
        )
    metrics = metrics or Metrics(manager)
    app.add_middleware(metrics)
    app.add_middleware(RequestIds(proxies))
    app.add_middleware(SecurityHeaders(service.allowed_origins))
    app.add_middleware(CrossSite(service.allowed_origins))
    app.add_middleware(BodyLimit(service.max_body_bytes))
    app.add_middleware(
        Identity(
            OwnAccount(
                _source(manager.settings, proxies),
                header=service.user_header,
                cookie=manager.settings.jwt.cookie,
            ),
            Administrators(service.administrators, service.administrators_group),
            first_uid=manager.settings.sessions.first_uid,
            single_user=service.single_user,
        )
    )
    audit = AuditLog(service.audit_log)
    try:
        audit.check()
    except OSError as exc:
        raise SettingsError([f"[service] audit_log cannot be written: {exc}."]) from exc
    app.add_middleware(Audit(audit, proxies))
    app.req_options.strip_url_path_trailing_slash = True
    # A parameter given twice is a mistake to point out, not a list.
    app.req_options.auto_parse_qs_csv = False
    add_error_handlers(app)
    app.add_route("/metrics", MetricsPage(metrics))
    _add_routes(app, manager, pairings or Pairings(threading.Event()))
    return app


def _source(settings: Settings, proxies: Proxies) -> Source:
    """The way to know callers that the settings choose."""
    service = settings.service
    if service.identity == "jwt":
        return TokenIdentity(settings.jwt, user_header=service.user_header)
    secret = read_secret(service.proxy_secret_file) if service.proxy_secret_file else None
    return HeaderIdentity(header=service.user_header, proxies=proxies, proxy_secret=secret)


def _add_routes(
    app: falcon.App[falcon.Request, falcon.Response], manager: SessionManager, pairings: Pairings
) -> None:
    service = manager.settings.service
    app.add_route("/health", Health(manager))
    app.add_route(f"{PREFIX}/health", Health(manager))
    app.add_route(f"{PREFIX}/openapi.json", Description(manager.settings, PREFIX))
    app.add_route(f"{PREFIX}/images", Images(manager))
    texts = SessionTexts()
    app.add_route(f"{PREFIX}/sessions", Sessions(manager, texts))
    waiters = Waiters(manager, most=service.waiting, stop=pairings.stop)
    app.add_route(f"{PREFIX}/sessions/{{session_id}}", SessionById(manager, texts, waiters))
    # Sunshine may be slow, and its owner may make it so: half of the threads stay free of it.
    gate = Gate(most=max(1, service.threads // 2), most_each=max(1, service.threads // 4))
    session = f"{PREFIX}/sessions/{{session_id}}"
    app.add_route(f"{session}/pair", Pair(manager, pairings, gate))
    app.add_route(f"{session}/clients", Clients(manager, gate))
    app.add_route(f"{session}/clients/{{uuid}}", ClientById(manager, gate))
    app.add_route(f"{session}/credentials", Credentials(manager))
    app.add_route(f"{session}/log", Log(manager, gate))
    app.add_route(f"{session}/screenshot", Screenshot(manager, gate))

"""``/metrics``: what the service knows of itself, in Prometheus's text format.

Nothing in it names a user or a session: labels are images, nodes, states and the like, few and
known. Sessions and slots are counted when they are asked for, the rest as it happens.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from moonlight_core import __version__
from moonlight_core.errors import MoonlightError, SlurmError, StoreError, SunshineError
from moonlight_core.models import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import falcon
    from prometheus_client.metrics_core import Metric

    from moonlight_core import Session, SessionManager
    from moonlight_core.reconcile import Round

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_START_BUCKETS_S = (1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 900, 3600)
_FAST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
# Asking slurmctld for the nodes is cheap, but not for everybody who likes to ask.
_KEEP_S = 5.0
_SYSTEMS = ((StoreError, "redis"), (SlurmError, "slurm"), (SunshineError, "sunshine"))


class Metrics:
    """Counts what happens, and shows it; safe to be shared by threads."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager
        registry = CollectorRegistry()
        self._registry = registry
        Gauge(
            "moonlight_build_info", "The version of the service.", ["version"], registry=registry
        ).labels(__version__).set(1)
        self._requests = Histogram(
            "moonlight_http_request_seconds",
            "Requests by how long their answer took.",
            ["method", "route", "status"],
            buckets=_FAST_BUCKETS_S,
            registry=registry,
        )
        self._errors = Counter(
            "moonlight_errors",
            "What another system refused or did not answer, in requests and in reconcile.",
            ["system", "error"],
            registry=registry,
        )
        self._rounds = Histogram(
            "moonlight_reconcile_seconds",
            "Rounds of reconcile by how long they took.",
            buckets=_FAST_BUCKETS_S,
            registry=registry,
        )
        self._repairs = Counter(
            "moonlight_reconcile_changes",
            "What rounds of reconcile did.",
            ["what"],
            registry=registry,
        )
        self._last_round = Gauge(
            "moonlight_reconcile_last_success_timestamp_seconds",
            "When a round of reconcile last succeeded.",
            registry=registry,
        )
        self._starts = Histogram(
            "moonlight_session_start_seconds",
            "Sessions that became ready, by how long each phase took: queue (asked for to job "
            "started), desktop (job started to ready), all.",
            ["phase", "image"],
            buckets=_START_BUCKETS_S,
            registry=registry,
        )
        # Sessions that were ready before this process began were counted by the one before.
        self._counted: set[str] = set()
        self._began = time.time()
        registry.register(_Counts(manager))

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)

    def round_done(self, result: Round, seconds: float) -> None:
        """A round of reconcile came to its end."""
        self._rounds.observe(seconds)
        self._last_round.set_to_current_time()
        for what, count in (
            ("changed", result.changed),
            ("ended", result.ended),
            ("restored", result.restored),
            ("leases_released", result.leases_released),
            ("failed", result.failed),
        ):
            self._repairs.labels(what).inc(count)
        if result.changed:
            self._observe_starts(self._manager.list())

    def failed(self, error: MoonlightError) -> None:
        """Another system refused, or did not answer."""
        for kind, system in _SYSTEMS:
            if isinstance(error, kind):
                self._errors.labels(system, type(error).__name__).inc()

    def _observe_starts(self, sessions: Iterable[Session]) -> None:
        ready = {
            session.session_id: session
            for session in sessions
            if session.ready_at is not None and session.ready_at.timestamp() >= self._began
        }
        for session_id, session in ready.items():
            if session_id in self._counted or session.ready_at is None:
                continue
            begun = session.started_at or session.created_at
            for phase, since, until in (
                ("queue", session.created_at, begun),
                ("desktop", begun, session.ready_at),
                ("all", session.created_at, session.ready_at),
            ):
                seconds = max(0.0, (until - since).total_seconds())
                self._starts.labels(phase, session.image_id).observe(seconds)
        # What is no longer in the records cannot come back: the set stays as small as they are.
        self._counted = set(ready)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: object
    ) -> None:
        """Falcon middleware: count the request by the route, never by the path as it was sent."""
        began = getattr(req.context, "begun", None)
        if began is not None:
            route = req.uri_template or "none"
            method = req.method if route != "none" else "any"
            labels = (method, route, str(resp.status_code))
            self._requests.labels(*labels).observe(time.monotonic() - began)
        error = getattr(req.context, "error", None)
        if isinstance(error, MoonlightError):
            self.failed(error)


class _Counts:
    """Sessions and slots, as they are when somebody asks."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._until = 0.0
        self._kept: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self._kept = [*self._sessions(), *self._slots(), *self._health()]
                self._until = now + _KEEP_S
            yield from self._kept

    def describe(self) -> list[Metric]:
        """Nothing is asked of anybody when the collector is registered."""
        return []

    def _sessions(self) -> Iterator[Metric]:
        sessions = GaugeMetricFamily(
            "moonlight_sessions",
            "Sessions by status, ended ones until they are forgotten.",
            labels=["status", "image"],
        )
        unused = GaugeMetricFamily(
            "moonlight_sessions_unused", "Running sessions to which nobody is connected."
        )
        try:
            records = self._manager.list()
        except MoonlightError:
            return
        images = {image.id for image in self._manager.images()}
        count = Tally((session.status, session.image_id) for session in records)
        for status in Status:
            for image in sorted(images | {session.image_id for session in records}):
                sessions.add_metric([str(status), image], count[status, image])
        unused.add_metric(
            [],
            sum(s.status is Status.RUNNING and not s.clients_connected for s in records),
        )
        yield sessions
        yield unused

    def _slots(self) -> Iterator[Metric]:
        slots = GaugeMetricFamily(
            "moonlight_node_slots", "Slots of a node by what they are.", labels=["node", "state"]
        )
        usable = GaugeMetricFamily(
            "moonlight_node_usable", "Whether Slurm would start a session there.", labels=["node"]
        )
        try:
            nodes = self._manager.nodes()
        except MoonlightError:
            return
        for node in nodes:
            for state in ("used", "free", "blocked"):
                slots.add_metric([node.node, state], getattr(node, state))
            usable.add_metric([node.node], node.usable)
        yield slots
        yield usable

    def _health(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "moonlight_up", "Whether what the service needs answers it.", labels=["system"]
        )
        for system, state in self._manager.check().items():
            up.add_metric([system], state == "ok")
        yield up


class MetricsPage:
    """``/metrics``: for the site's monitoring on this machine; it names no user and no session."""

    public = True

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Everything, in Prometheus's text format."""
        resp.content_type = CONTENT_TYPE
        resp.data = self._metrics.text()

"""/metrics, the JSON log, and the dashboard and alert rules that are made of them."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import yaml
from falcon import testing
from prometheus_client.parser import text_string_to_metric_families

from moonlight_core import SessionManager
from moonlight_core.errors import SlurmUnavailable
from moonlight_core.reconcile import Round
from moonlight_http import logs
from moonlight_http.app import create_app
from moonlight_http.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from moonlight_core import Settings
    from moonlight_core.secret import Secret
    from moonlight_core.store import SessionStore
    from moonlight_core.testing import MemoryGateway
    from moonlight_core.users import User

DEPLOY = Path(__file__).parents[2] / "deploy"
READY = '{"phase":"ready","reason":"The desktop is ready."}'


@pytest.fixture
def manager(
    make_settings: Callable[..., Settings],
    store: SessionStore,
    gateway: MemoryGateway,
    secret: Secret,
    resolve_user: Callable[..., User],
) -> SessionManager:
    """The library on a Slurm in memory."""
    return SessionManager(
        make_settings(), store, gateway, service_secret=secret, resolve_user=resolve_user
    )


@pytest.fixture
def metrics(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> Metrics:
    """What counts; asked twice it looks twice."""
    monkeypatch.setattr("moonlight_http.metrics._KEEP_S", 0)
    return Metrics(manager)


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and labels, through Prometheus's own parser."""
    return {
        sample.name + json.dumps(dict(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def reconcile(manager: SessionManager, metrics: Metrics) -> None:
    """As the service's loop does it."""
    metrics.round_done(manager.reconcile(), 0.02)


def test_sessions_slots_and_starts(
    manager: SessionManager, gateway: MemoryGateway, metrics: Metrics
) -> None:
    """From the request to a ready desktop, each start counted once."""
    session = manager.create("alice")
    found = values(metrics)
    assert found['moonlight_sessions{"image": "xfce4", "status": "pending"}'] == 1
    assert found['moonlight_node_slots{"node": "viz1", "state": "free"}'] == 6
    assert 'moonlight_session_start_seconds_count{"image": "xfce4", "phase": "all"}' not in found
    gateway.start(session.job_id or 0, "viz1")
    gateway.report(session.job_id or 0, READY)
    for _ in range(4):
        reconcile(manager, metrics)
    found = values(metrics)
    assert found['moonlight_sessions{"image": "xfce4", "status": "running"}'] == 1
    assert found["moonlight_sessions_unused{}"] == 1
    assert found['moonlight_node_slots{"node": "viz1", "state": "used"}'] == 1
    assert found['moonlight_node_usable{"node": "viz2"}'] == 1
    for phase in ("queue", "desktop", "all"):
        labels = json.dumps({"image": "xfce4", "phase": phase})
        assert found[f"moonlight_session_start_seconds_count{labels}"] == 1
    assert found["moonlight_reconcile_seconds_count{}"] == 4
    assert found['moonlight_reconcile_changes_total{"what": "changed"}'] >= 1
    assert abs(found["moonlight_reconcile_last_success_timestamp_seconds{}"] - time.time()) < 60
    assert b"alice" not in metrics.text()
    assert session.session_id.encode() not in metrics.text()


def test_a_restart_does_not_count_old_starts_again(
    manager: SessionManager, gateway: MemoryGateway, metrics: Metrics
) -> None:
    """Sessions that were ready before are the earlier process's."""
    session = manager.create("alice")
    gateway.start(session.job_id or 0, "viz1")
    gateway.report(session.job_id or 0, READY)
    for _ in range(3):
        reconcile(manager, metrics)
    time.sleep(0.01)
    later = Metrics(manager)
    later.round_done(Round(changed=1), 0.01)
    assert not any("start_seconds_count" in name for name in values(later))


def test_troubles_are_counted_and_shown(
    manager: SessionManager, gateway: MemoryGateway, metrics: Metrics
) -> None:
    """Without slurmctld the page still answers, without the slots; requests count by route."""
    client = testing.TestClient(create_app(manager, metrics=metrics))
    gateway.away = True
    metrics.failed(SlurmUnavailable("gone"))
    headers = {"X-Remote-User": "nobody-here"}
    client.simulate_get("/api/moonlight/sessions/ml-x", headers=headers)
    client.simulate_get("/wp-login.php?x=1")
    page = client.simulate_get("/metrics")
    assert (page.status_code, page.headers["content-type"]) == (200, CONTENT_TYPE)
    found = values(metrics)
    assert found['moonlight_errors_total{"error": "SlurmUnavailable", "system": "slurm"}'] == 1
    assert 'moonlight_up{"system": "redis"}' in found
    assert not any("node_slots" in name for name in found)
    counted = [name for name in found if name.startswith("moonlight_http_request_seconds_count")]
    assert any('"route": "/api/moonlight/sessions/{session_id}"' in name for name in counted)
    assert not any("ml-x" in name or "wp-login" in name for name in counted)


def test_looking_often_costs_little(manager: SessionManager, gateway: MemoryGateway) -> None:
    """Slurm and Redis are asked once in five seconds, however many look."""
    asked = 0
    look = gateway.nodes

    def nodes(partition: str) -> Any:
        nonlocal asked
        asked += 1
        return look(partition)

    gateway.nodes = nodes  # type: ignore[method-assign]
    metrics = Metrics(manager)
    began = time.monotonic()
    for _ in range(50):
        metrics.text()
    assert asked == 1 + int((time.monotonic() - began) // 5)


def test_a_line_of_json() -> None:
    """With the ids that tie it to a request and to a session."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    log = logging.getLogger("moonlight_core.test_of_json")
    log.propagate = False
    log.addHandler(handler)
    log.warning(
        'session %s: "odd"\nwords', "ml-alice-01m82nzkx1ht1ab6de", extra={"request_id": "abcdef12"}
    )
    log.error("failed", exc_info=ValueError("why"))
    log.removeHandler(handler)
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first["session_id"] == "ml-alice-01m82nzkx1ht1ab6de"
    assert (first["request_id"], first["level"]) == ("abcdef12", "warning")
    assert first["message"].endswith('"odd"\nwords')
    assert (second["session_id"], second["request_id"]) == (None, None)
    assert "ValueError: why" in second["error"]


def expressions() -> dict[str, str]:
    """What the dashboard and the alerts compute, by title."""
    dashboard = json.loads((DEPLOY / "grafana/moonlight.json").read_text())
    rules = yaml.safe_load((DEPLOY / "prometheus/moonlight.rules.yml").read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= set(rule)
            assert set(rule["annotations"]) == {"summary", "description"}
            found[rule["alert"]] = rule["expr"]
    return found


def test_dashboard_and_alerts_ask_for_what_there_is(
    manager: SessionManager, gateway: MemoryGateway, metrics: Metrics
) -> None:
    """Every metric and label in an expression is one that the service shows; brackets match."""
    session = manager.create("alice")
    gateway.start(session.job_id or 0, "viz1")
    gateway.report(session.job_id or 0, READY)
    for _ in range(3):
        reconcile(manager, metrics)
    metrics.failed(SlurmUnavailable("gone"))
    client = testing.TestClient(create_app(manager, metrics=metrics))
    client.simulate_get("/health")
    shown: dict[str, set[str]] = {"up": {"job"}}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            shown.setdefault(sample.name, set()).update(sample.labels)
    asked = expressions()
    assert len(asked) > 20
    for title, expression in asked.items():
        for pair in ("()", "{}", "[]"):
            assert expression.count(pair[0]) == expression.count(pair[1]), title
        names = re.findall(r"\b(?:moonlight_\w+|up(?=\{))", expression)
        assert names, title
        for name in names:
            assert name in shown, (title, name)
        for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert labels <= shown[name], (title, labels)
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            known = set().union(*(shown[name] for name in names))
            assert set(re.split(r",\s*", labels)) <= known, title


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not at hand")
def test_prometheus_itself_takes_them(
    manager: SessionManager, metrics: Metrics, tmp_path: Path
) -> None:
    """Rules, the dashboard's expressions and the page, by promtool; and each alert fires."""
    reconcile(manager, metrics)
    shutil.copy(DEPLOY / "prometheus/moonlight.rules.yml", tmp_path)
    shutil.copy(Path(__file__).with_name("alerts.test.yml"), tmp_path)
    recorded = [{"record": "x", "expr": expression} for expression in expressions().values()]
    (tmp_path / "dashboard.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]})
    )
    for arguments, page in (
        (("check", "rules", "moonlight.rules.yml"), b""),
        (("check", "rules", "dashboard.yml"), b""),
        (("check", "metrics"), metrics.text()),
        (("test", "rules", "alerts.test.yml"), b""),
    ):
        done = subprocess.run(
            ["promtool", *arguments],
            check=False, capture_output=True, cwd=tmp_path, input=page, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)


def test_a_faulty_log_format_is_refused(make_settings: Callable[..., Settings]) -> None:
    """With the two there are."""
    with pytest.raises(Exception, match="text or json"):
        make_settings(service={"log_format": "xml"})
    assert attrs.evolve(make_settings().service, log_format="json").log_format == "json"

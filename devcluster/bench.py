"""``./dev bench``: all measurements, on the head, as root; a long run writes the page's tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import report
from devcluster import layout, store, testing

if TYPE_CHECKING:
    from devcluster.holder import Holder
    from devcluster.machine import Machine

_PAGE = layout.CHECKOUT / "docs/performance.md"
_INSIDE = "/var/cache/moonlight-test/bench.json"


def run(
    paths: layout.Paths,
    holder: Holder,
    host: Machine,
    *,
    long: bool,
    as_json: bool,
    names: list[str],
) -> int:
    """Measure on this terminal; returns the exit code."""
    figures = paths.cache / "test/bench.json"
    figures.unlink(missing_ok=True)
    script = [
        "/usr/local/lib/moonlight-dev/run-bench",
        f"--output={_INSIDE}",
        *(["--long"] if long else []),
        *(["--json"] if as_json else []),
        *names,
    ]
    code = testing.run_on_head(holder, host, script)
    if long and not names and figures.exists():
        tables = report.markdown(json.loads(figures.read_text()))
        store.write(_PAGE, report.into_page(_PAGE.read_text(), tables))
    return code

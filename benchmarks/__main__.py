"""``python -m benchmarks``: all measurements, one after another, and their tables."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report, rows_http, rows_leases, rows_memory, rows_reconcile, rows_start
from benchmarks.bench import Bench, machine
from benchmarks.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALL: Mapping[str, tuple[str, Callable[[Bench], None]]] = {
    "create": ("create, one after another", rows_http.create_serial),
    "create16": ("create, 16 clients at once", rows_http.create_at_once),
    "list": ("list sessions, and one by id", rows_http.list_and_get),
    "away": ("reads without slurmctld", rows_http.reads_without_slurmctld),
    "leases": ("leases", rows_leases.leases),
    "start": ("start of a session, phase by phase", rows_start.starts),
    "first": ("first use of an image", rows_start.first_use),
    "memory": ("memory of the service", rows_memory.service),
    "overhead": ("memory of a session", rows_memory.session),
    "reconcile": ("rounds of reconcile on Slurm", rows_reconcile.rounds_on_slurm),
    "records": ("growth: records in Redis", rows_reconcile.growth_of_records),
    "nodes": ("growth: nodes", rows_reconcile.growth_of_nodes),
    "jobs": ("growth: jobs in Slurm", rows_reconcile.growth_of_jobs),
}


def main(argv: list[str] | None = None) -> int:
    """Measure; the exit code is 1 when something could not be measured."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unknown = [name for name in options.names if name not in ALL]
    if unknown:
        print(f"There is no measurement {unknown[0]!r}; there are {', '.join(ALL)}.")
        return os.EX_USAGE
    bench = Bench(long=options.long)
    begun = time.monotonic()
    where = machine() | {"load_before": os.getloadavg()[0]}
    troubles: list[str] = []
    names = options.names or list(ALL)
    try:
        bench.begin()
        for number, name in enumerate(names, 1):
            title, measure = ALL[name]
            _say(f"[{number}/{len(names)}] {title} ...")
            first, since = len(bench.rows), time.monotonic()
            try:
                measure(bench)
            except (BenchError, OSError, subprocess.SubprocessError) as exc:
                troubles.append(f"{title}: {exc}")
                _say(f"    not measured: {exc}")
            for row in bench.rows[first:]:
                _say(report.plain(row))
            _say(f"    ({time.monotonic() - since:.0f} s)")
    except KeyboardInterrupt:
        _say("\nInterrupted; what was begun is removed.")
        return 128 + signal.SIGINT
    finally:
        # A second Ctrl-C would interrupt the tidying up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        bench.end()
    document = {
        "when": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "mode": "long" if options.long else "short",
        "minutes": (time.monotonic() - begun) / 60,
        "machine": where | {"load_after": os.getloadavg()[0]},
        "rows": [row.as_json() for row in bench.rows],
        "troubles": troubles,
    }
    if options.output:
        options.output.write_text(json.dumps(document, indent=1))
    if options.json:
        print(json.dumps(document, indent=1))
    return 1 if troubles else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("--long", action="store_true", help="as for the page: more and longer")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON there as well")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(ALL)}")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

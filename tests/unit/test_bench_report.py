"""The tables of ./dev bench."""

from __future__ import annotations

from pathlib import Path

from benchmarks import report
from benchmarks.figures import Figure, Row

ROOT = Path(__file__).parents[2]


def test_a_figure_shows_its_noise() -> None:
    """The median, and the smallest and largest beside it; no more digits than mean something."""
    assert str(Figure.of([3.14159, 1.0, 12345.6], "ms")) == "3.14 ms (1-12,346)"
    assert str(Figure(0.0, 0, 0, "/s")) == "0 /s"


def test_tables_replace_those_of_the_last_run() -> None:
    """And nothing else of the page."""
    row = Row(
        "Requests",
        "create",
        Figure.of([2.0], "ms"),
        {"baseline": Figure.of([8.0], "ms"), "rate": Figure.of([5.0], "/s")},
        "≤ 3 ms",
        met=True,
    )
    document = {
        "when": "2026-05-01", "mode": "long", "minutes": 30.0, "rows": [row.as_json()],
        "troubles": ["start: no node"],
        "machine": {"cpus": 2, "cpu": "x", "memory_gb": 8, "kernel": "6", "slurm": "26.05",
                    "redis": "8", "python": "3.14", "load_before": 0.1, "load_after": 0.2},
    }  # fmt: skip
    tables = report.markdown(document)
    assert (
        "| create | 2 ms | baseline: 8 ms (ours is 0.25 times)<br>rate: 5 /s | ≤ 3 ms | met |"
        in tables
    )
    assert "Not measured: start: no node" in tables
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.into_page(page, tables) == (
        f"before\n{report.BEGIN}\n{tables}\n{report.END}\nafter\n"
    )


def test_the_page_has_a_place_for_them() -> None:
    """One beginning and one end."""
    page = (ROOT / "docs/performance.md").read_text("utf-8")
    assert page.count(report.BEGIN) == page.count(report.END) == 1
    assert page.index(report.BEGIN) < page.index(report.END)

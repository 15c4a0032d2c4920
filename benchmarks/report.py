"""The tables of a run, for a terminal and for docs/performance.md. Standard library only."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from benchmarks.figures import Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

BEGIN = "<!-- written by ./dev bench --long: begin -->"
END = "<!-- written by ./dev bench --long: end -->"


def markdown(document: dict[str, Any]) -> str:
    """All tables, and the machine they were measured on."""
    machine = document["machine"]
    lines = [
        "".join(
            [
                f"Measured {document['when']} ({document['mode']} run, ",
                f"{document['minutes']:.0f} minutes) on {machine['cpus']} processors ",
                f"({machine['cpu']}), {machine['memory_gb']} GB, Linux {machine['kernel']}, ",
                f"Slurm {machine['slurm']}, Redis {machine['redis']}, ",
                f"Python {machine['python']}. Load of the machine (1 minute) before and after: ",
                f"{machine['load_before']:.1f} and {machine['load_after']:.1f}.",
            ]
        ),
        "",
    ]
    rows = [Row.from_json(row) for row in document["rows"]]
    for topic, some in groupby(rows, key=lambda row: row.topic):
        lines += [f"### {topic}", "", *_table(list(some)), ""]
    lines += [f"Not measured: {trouble}" for trouble in document["troubles"]]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    lines = ["| what | ours | beside it in the same run | goal | |", "|---|---|---|---|---|"]
    for row in rows:
        beside = "<br>".join(
            f"{name}: {figure}{_ratio(row, name)}" for name, figure in row.beside.items()
        )
        met = {True: "met", False: "**missed**", None: ""}[row.met]
        what = row.what + (f"<br>*{row.note}*" if row.note else "")
        lines.append(f"| {what} | {row.ours} | {beside} | {row.goal} | {met} |")
    return lines


def _ratio(row: Row, name: str) -> str:
    other = row.beside[name]
    if other.unit != row.ours.unit or not other.median or not row.ours.median:
        return ""
    return f" (ours is {row.ours.median / other.median:.2g} times)"


def plain(row: Row) -> str:
    """A row for a terminal."""
    met = {True: "  [goal met]", False: "  [GOAL MISSED]", None: ""}[row.met]
    lines = [f"    {row.what}: {row.ours}{met}{f'  goal: {row.goal}' if row.goal else ''}"]
    lines += [f"        {name}: {figure}{_ratio(row, name)}" for name, figure in row.beside.items()]
    if row.note:
        lines.append(f"        {row.note}")
    return "\n".join(lines)


def into_page(page: str, tables: str) -> str:
    """The page with its written part replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"

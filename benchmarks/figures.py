"""What a measurement comes to: samples with their noise, and rows of the page's tables.

Needs nothing but the standard library: the page is written outside of the cluster.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured value: the median of several measurements, the smallest and the largest.

    ``unit`` is of all three; ``count`` is how many there were.
    """

    median: float
    least: float
    most: float
    unit: str
    count: int = 1

    @classmethod
    def of(cls, values: Sequence[float], unit: str) -> Self:
        """The figure of these values."""
        return cls(statistics.median(values), min(values), max(values), unit, len(values))

    def __str__(self) -> str:
        if self.count == 1:
            return f"{_short(self.median)} {self.unit}".strip()
        noise = f"{_short(self.least)}-{_short(self.most)}"
        return f"{_short(self.median)} {self.unit} ({noise})"


@dataclasses.dataclass
class Row:
    """One line: what was measured, what it is beside, and whether the goal is met.

    Attributes:
        topic: heading of the table it belongs to.
        what: what was measured.
        ours: the figure.
        beside: figures of the same run to compare with, by what they are.
        goal: the goal in words; empty for none.
        met: whether it is met; None where there is none, or it was not decided.
        note: what has to be known about it.
    """

    topic: str
    what: str
    ours: Figure
    beside: dict[str, Figure] = dataclasses.field(default_factory=dict)
    goal: str = ""
    met: bool | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read what ``as_json`` made."""
        values = dict(document)
        values["ours"] = Figure(**values["ours"])
        values["beside"] = {name: Figure(**one) for name, one in values["beside"].items()}
        return cls(**values)


def _short(value: float) -> str:
    """Three digits that mean something, and no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:  # noqa: PLR2004 - three digits stand before the point
        return f"{value:,.0f}"
    return f"{value:.3g}"

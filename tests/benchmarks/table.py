"""A line of a table, and how a ratio is computed."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tests.benchmarks.measure import Figure, Reading, of_medians, of_rounds, quotient


@dataclasses.dataclass
class Row:
    """A line of the table. Without a figure, ``note`` says why there is none.

    ``figure`` is compared with the budget: instructions, medians of processor time, or
    resident memory. ``control`` is another measure of the same.
    """

    what: str
    limit: float | None = None
    figure: Figure | None = None
    control: Figure | None = None
    unit: str = ""
    note: str = ""

    def met(self) -> str:
        """Return "noise" if the figure and its control disagree, or neither is certain.

        With a unit there is hardly any noise, and the control is something else.
        """
        figures = [f for f in (self.figure, None if self.unit else self.control) if f]
        if self.limit is None or not figures:
            return ""
        limit = self.limit
        if all(f.value <= limit for f in figures):
            return "yes"
        certain = all(f.value > limit for f in figures) and any(f.low > limit for f in figures)
        return "no" if certain else "noise"


class Series(NamedTuple):
    """The readings of one variant, separated."""

    values: Sequence[float]
    controls: Sequence[float]

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> Series:
        return cls([r.value for r in readings], [r.control for r in readings])


def ratio_row(what: str, limit: float | None, on: Sequence[Reading], off: Sequence[Reading]) -> Row:
    """Return a ratio of processor time, which varies less than wall time on a busy machine."""
    a, b = Series.of(on), Series.of(off)
    medians = [1000 * statistics.median(values) for values in (a.controls, b.controls)]
    note = "%.2f / %.2f ms" % tuple(medians)
    figure = of_medians(quotient, a.controls, b.controls)
    return Row(what, limit, figure, of_rounds(quotient, a.values, b.values), note=note)

"""Intervals drawn in the rows of a table: one shared scale, a mark at the value, a line from end to
end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from stemkin.report.words import Quantity, plain, power_of_ten

FAR_APART = 30
"""Values whose ratio is larger than this are drawn on a logarithmic scale."""


@dataclass(frozen=True)
class Scale:
    """Where values lie on a row, in percent of its width."""

    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the place of `value` in percent, kept on the row.

        >>> Scale(0, 4).at(1), Scale(0.01, 1, logarithmic=True).at(0.1), Scale(0, 4).at(9)
        (25.0, 50.0, 100.0)
        """
        if self.logarithmic:
            if value <= 0:
                return 0.0
            part = (math.log(value) - math.log(self.low)) / (
                math.log(self.high) - math.log(self.low)
            )
        else:
            part = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, part)), 2)

    def cuts(self, value: float) -> bool:
        """Tell whether `value` lies beyond the row."""
        return not self.low <= value <= self.high

    def ticks(self, exponent: int = 0) -> list[tuple[float, str]]:
        """Return place and label of a few round values; labels are in units of 10^`exponent`."""
        if self.logarithmic:
            first, last = (
                math.ceil(math.log10(self.low) - 1e-9),
                math.floor(math.log10(self.high) + 1e-9),
            )
            every = max(1, math.ceil((last - first + 1) / 5))
            return [
                (self.at(10.0**e), power_of_ten(10.0**e)) for e in range(first, last + 1, every)
            ]
        for n_steps in (3.5, 7):
            step = _round_step((self.high - self.low) / n_steps)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first >= 2:
                break
        return [
            (self.at(i * step), plain(i * step / 10.0**exponent, 3)) for i in range(first, last + 1)
        ]


def _round_step(length: float) -> float:
    power = 10.0 ** math.floor(math.log10(length))
    return float(next(s * power for s in (1, 2, 5, 10) if s * power >= length * (1 - 1e-9)))


def scale_for(leading: Iterable[Quantity], others: Iterable[Quantity] = ()) -> Scale:
    """Return a scale that holds all of them: logarithmic where most of the `leading` ones are
    positive and far apart.

    On a logarithmic scale zero, what is negative, and what is a million times less than the largest
    lie at the left edge.
    """
    known = [q for q in leading if q.is_known]
    values = [v for q in (*known, *others) for v in (q.value, q.low, q.high) if math.isfinite(v)]
    if not values:
        return Scale(0.0, 1.0)
    positive = [q.value for q in known if q.value > 0]
    if 2 * len(positive) > len(known) and max(positive) > FAR_APART * min(positive):
        largest = max(values)
        smallest = min(v for v in values if v > 0)
        low = max(smallest, min(positive) / FAR_APART, 1e-6 * largest)
        return Scale(
            10.0 ** math.floor(math.log10(low)),
            10.0 ** math.ceil(math.log10(largest)),
            logarithmic=True,
        )
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.04 * ((high - low) or 1.0)
    return Scale(low - margin if low < 0 else 0.0, high + margin)


@dataclass(frozen=True)
class Row:
    """One row: a label with a second line, the value with its interval, the null control beside it,
    further cells."""

    label: Markup
    role: str
    mark: str
    quantity: Quantity
    null: Quantity | None = None
    cells: tuple[str, ...] = ()
    below: str = ""


@dataclass(frozen=True)
class IntervalTable:
    """Rows on one scale, in one unit; on a linear scale also in one power of ten."""

    what: str
    unit: str
    rows: list[Row]
    headings: tuple[str, ...] = ()
    scale: Scale = Scale(0.0, 1.0)
    exponent: int | None = None

    @property
    def has_nulls(self) -> bool:
        """Tell whether any row has a null control."""
        return any(row.null is not None for row in self.rows)

    @property
    def has_edge(self) -> bool:
        """Tell whether a value lies at the left edge because the scale has no place for it."""
        values = [
            q.value
            for row in self.rows
            for q in (row.quantity, row.null)
            if q is not None and q.is_known
        ]
        return self.scale.logarithmic and any(v < self.scale.low for v in values)

    @property
    def heading(self) -> Markup:
        """What the values are, with power of ten and unit."""
        power = (
            Markup("10<sup>{}</sup> ").format(str(self.exponent).replace("-", "−"))
            if self.exponent
            else ""
        )
        return Markup("{} ({}{})").format(self.what, power, self.unit)


def interval_table(
    what: str, unit: str, rows: Sequence[Row], headings: tuple[str, ...] = ()
) -> IntervalTable:
    """Return `rows` on one scale."""
    quantities = [q for row in rows for q in (row.quantity, row.null) if q is not None]
    scale = scale_for([row.quantity for row in rows], quantities)
    if scale.logarithmic:
        return IntervalTable(what, unit, list(rows), headings, scale)
    exponent = Quantity(scale.high - scale.low).exponent
    same = [
        replace(
            row,
            quantity=_in(row.quantity, exponent),
            null=None if row.null is None else _in(row.null, exponent),
        )
        for row in rows
    ]
    return IntervalTable(what, unit, same, headings, scale, exponent)


def _in(quantity: Quantity, exponent: int) -> Quantity:
    return replace(quantity, given_exponent=exponent)

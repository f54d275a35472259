"""Intervals drawn in the rows of a table, on one scale: a mark at the value, a line end to end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from stemkin.plot.numerals import plain, power_of_ten
from stemkin.report.words import Quantity, power_markup

FAR_APART = 30
"""Values whose ratio is larger than this are drawn on a logarithmic scale."""
FAR_OUT = 10
"""What lies so many times farther out than the largest value is not drawn to its end."""


@dataclass(frozen=True)
class AxisScale:
    """Where values lie on a row, in percent of its width."""

    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the place of `value` in percent, kept on the row.

        >>> AxisScale(0, 4).at(1), AxisScale(0, 4).at(9)
        (25.0, 100.0)
        >>> AxisScale(0.01, 1, logarithmic=True).at(0.1)
        50.0
        """
        if self.logarithmic:
            if value <= 0:
                return 0.0
            span = math.log(self.high) - math.log(self.low)
            part = (math.log(value) - math.log(self.low)) / span
        else:
            part = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, part)), 2)

    def goes_on_above(self, end: float) -> bool:
        """Tell whether an interval with this upper `end` goes on beyond the row."""
        return end > self.high * (1 + 1e-9)

    def goes_on_below(self, end: float) -> bool:
        """Tell whether an interval with this lower `end` goes on beyond the row.

        >>> AxisScale(0.01, 1, logarithmic=True).goes_on_below(0.0)
        True
        """
        return end < self.low - 1e-9 * abs(self.low)

    def ticks(self, exponent: int = 0) -> list[tuple[float, str]]:
        """Return place and label of a few round values; labels are in units of 10^`exponent`."""
        if self.logarithmic:
            return self._decades()
        for n_steps in (3.5, 7):
            step = _round_step((self.high - self.low) / n_steps)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first >= 2:
                break
        values = [i * step for i in range(first, last + 1)]
        return [(self.at(value), plain(value / 10.0**exponent, 3)) for value in values]

    def _decades(self) -> list[tuple[float, str]]:
        """Return place and label of at most about five powers of ten."""
        first = math.ceil(math.log10(self.low) - 1e-9)
        last = math.floor(math.log10(self.high) + 1e-9)
        every = max(1, math.ceil((last - first + 1) / 5))
        values = [10.0**e for e in range(first, last + 1, every)]
        return [(self.at(value), power_of_ten(value)) for value in values]


def _round_step(length: float) -> float:
    power = 10.0 ** math.floor(math.log10(length))
    return float(next(s * power for s in (1, 2, 5, 10) if s * power >= length * (1 - 1e-9)))


def scale_for(leading: Iterable[Quantity], others: Iterable[Quantity] = ()) -> AxisScale:
    """Return a scale for the `leading` quantities; wide intervals and `others` may lie beyond it.

    All leading values lie on it, and the ends of their intervals as far as `FAR_OUT` times the
    largest value. It is logarithmic where most of the values are positive and far apart: zero, what
    is negative, and what is a million times less than the largest then lie at the left edge.
    """
    known = [q for q in leading if q.is_known]
    values = [q.value for q in known]
    if not values:
        return AxisScale(0.0, 1.0)
    reach = FAR_OUT * max(abs(value) for value in values)
    ends = [end for q in (*known, *others) for end in (q.value, q.low, q.high)]
    near = [end for end in ends if math.isfinite(end) and (abs(end) <= reach or reach == 0)]
    positive = [value for value in values if value > 0]
    if 2 * len(positive) > len(known) and max(positive) > FAR_APART * min(positive):
        return _logarithmic_scale([*values, *near], positive)
    low, high = min(0.0, *values, *near), max(0.0, *values, *near)
    margin = 0.04 * ((high - low) or 1.0)
    if low < 0:
        return AxisScale(low - margin, high + margin)
    return AxisScale(0.0, high + margin)


def _logarithmic_scale(values: Sequence[float], positive: Sequence[float]) -> AxisScale:
    """Return a scale of whole decades for `values` whose `positive` leading ones are far apart."""
    largest = max(values)
    smallest = min(v for v in values if v > 0)
    low = max(smallest, min(positive) / FAR_APART, 1e-6 * largest)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(largest))
    return AxisScale(10.0**first, 10.0 ** max(last, first + 1), logarithmic=True)


@dataclass(frozen=True)
class Row:
    """One row: what is measured, its value with an interval, and its null control.

    Attributes
    ----------
    label, below
        What it is, and a second line.
    role, mark
        Colour and shape of its mark.
    quantity, null
        The value with its interval, and the same of the null control.
    cells
        Further cells.
    """

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
    scale: AxisScale = AxisScale(0.0, 1.0)
    exponent: int | None = None

    @property
    def has_nulls(self) -> bool:
        """Tell whether any row has a null control."""
        return any(row.null is not None for row in self.rows)

    @property
    def has_arrows(self) -> bool:
        """Tell whether an interval goes on beyond the scale."""
        known = [quantity for quantity in _quantities(self.rows) if quantity.is_known]
        return any(
            self.scale.goes_on_above(q.high) or self.scale.goes_on_below(q.low) for q in known
        )

    @property
    def has_edge(self) -> bool:
        """Tell whether a value lies at the left edge because the scale has no place for it."""
        if not self.scale.logarithmic:
            return False
        known = [quantity for quantity in _quantities(self.rows) if quantity.is_known]
        return any(quantity.value < self.scale.low for quantity in known)

    @property
    def heading(self) -> Markup:
        """What the values are, with power of ten and unit."""
        if not self.exponent:
            return Markup("{} ({})").format(self.what, self.unit)
        return Markup("{} ({} {})").format(self.what, power_markup(self.exponent), self.unit)


def interval_table(
    what: str, unit: str, rows: Sequence[Row], headings: tuple[str, ...] = ()
) -> IntervalTable | None:
    """Return `rows` on one scale, None where there are none.

    Parameters
    ----------
    what, unit
        What the values are.
    rows
        The rows, from above to below.
    headings
        Of their further cells.
    """
    if not rows:
        return None
    scale = scale_for([row.quantity for row in rows], _quantities(rows))
    if scale.logarithmic:
        return IntervalTable(what, unit, list(rows), headings, scale)
    exponent = Quantity(scale.high - scale.low).exponent
    same = [_with_exponent(row, exponent) for row in rows]
    return IntervalTable(what, unit, same, headings, scale, exponent)


def _quantities(rows: Sequence[Row]) -> list[Quantity]:
    """Return all values and null controls of `rows`."""
    return [q for row in rows for q in (row.quantity, row.null) if q is not None]


def _with_exponent(row: Row, exponent: int) -> Row:
    """Return a row whose numbers are all written with the same power of ten."""
    quantity, null = replace(row.quantity, given_exponent=exponent), row.null
    if null is not None:
        null = replace(null, given_exponent=exponent)
    return replace(row, quantity=quantity, null=null)

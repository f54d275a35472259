"""Numbers as a physicist writes them: digits that the interval bears, one power of ten, units."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup, escape

from stemkin.plot.numerals import not_finite
from stemkin.progress import in_words

SUBSCRIPT = re.compile(r"\b([A-Z][a-z]?)_([A-Z][a-z]?\d*|ad)(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Quantity:
    """A value with its 95 % interval; NaN where either is not known."""

    value: float
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    given_exponent: int | None = None

    @property
    def is_known(self) -> bool:
        """Tell whether there is a value."""
        return math.isfinite(self.value)

    @property
    def has_interval(self) -> bool:
        """Tell whether both ends are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def exponent(self) -> int:
        """Power of ten that is written once behind value and interval."""
        if self.given_exponent is not None:
            return self.given_exponent
        sizes = [abs(v) for v in (self.value, self.low, self.high) if math.isfinite(v)]
        largest = max((size for size in sizes if size > 1e-300), default=1.0)
        if 1e-2 <= largest < 1e5:
            return 0
        leading = largest
        if self.is_known and abs(self.value) > largest / 20:
            leading = abs(self.value)
        return math.floor(math.log10(leading))

    def like(self, other: Quantity) -> Quantity:
        """Return the same quantity, written with the power of ten of `other`."""
        return replace(self, given_exponent=other.exponent)

    @property
    def decimals(self) -> int:
        """Decimals after the point.

        They show two significant digits of half the interval, or three of a value without one.
        """
        scale = 10.0**self.exponent
        if self.has_interval and self.high > self.low:
            step = (self.high - self.low) / 2 / scale
            return min(6, max(0, 1 - math.floor(math.log10(step))))
        size = 1.0
        if self.is_known and self.value:
            size = abs(self.value) / scale
        return min(6, max(0, 2 - math.floor(math.log10(size))))

    def digits(self, value: float) -> str:
        """Return `value` in the units of the power of ten."""
        if not math.isfinite(value):
            return not_finite(value)
        if value == 0:
            return "0"
        text = f"{value / 10.0**self.exponent:,.{self.decimals}f}"
        if float(text.replace(",", "")) == 0:
            return text.removeprefix("-")
        return text.replace("-", "−")

    @property
    def text(self) -> str:
        """Value alone.

        >>> Quantity(8.64e-4, 5.2e-4, 12.1e-4).text
        '8.6'
        """
        if math.isnan(self.value):
            return "not measured"
        return self.digits(self.value)

    @property
    def interval(self) -> str:
        """Both ends, one where the other is open, empty where not known.

        >>> Quantity(8.64e-4, 5.2e-4, 12.1e-4).interval
        '5.2 to 12.1'
        >>> Quantity(3e-10, 0, math.inf).interval, Quantity(3.0, 2.0, math.inf).interval
        ('not bounded', 'at least 2.00')
        """
        if math.isnan(self.low) or math.isnan(self.high):
            return ""
        if self.is_unbounded:
            return "not bounded"
        if math.isinf(self.high):
            return f"at least {self.digits(self.low)}"
        if math.isinf(self.low):
            return f"at most {self.digits(self.high)}"
        return f"{self.digits(self.low)} to {self.digits(self.high)}"

    @property
    def is_unbounded(self) -> bool:
        """Tell whether the data bound the quantity neither below (but by zero) nor above."""
        return self.high == math.inf and self.low <= 0

    @property
    def interval_times(self) -> Markup:
        """The power of ten that belongs to the ends of the interval, empty where they have none."""
        if not self.interval or self.is_unbounded:
            return Markup("")
        return self.times

    @property
    def power(self) -> Markup:
        """The power of ten and the unit, as HTML.

        >>> Quantity(8.64e-4, 5.2e-4, 12.1e-4, "nm²/s").power
        Markup('× 10<sup>−4</sup> nm²/s')
        """
        return Markup(" ").join(part for part in (self.times, escape(self.unit)) if part)

    @property
    def times(self) -> Markup:
        """The power of ten alone, as HTML; empty where it is one."""
        if self.exponent == 0:
            return Markup("")
        return Markup("× {}").format(power_markup(self.exponent))


def power_markup(exponent: int) -> Markup:
    """Return a power of ten as HTML.

    >>> power_markup(-4)
    Markup('10<sup>−4</sup>')
    """
    return Markup("10<sup>{}</sup>").format(str(exponent).replace("-", "−"))


def percent(share: float) -> str:
    """Return a share in per cent, a dash where it is not known.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3 %', '–')
    """
    if not math.isfinite(share):
        return "–"
    return f"{100 * share:.1f} %"


def class_label(name: Any) -> Markup:
    """Return a class name as HTML, ``V_S`` with its subscript; anything else is harmless text.

    >>> class_label("Mo_W+V_S2"), class_label("hole_edge"), class_label("<b>")
    (Markup('Mo<sub>W</sub>+V<sub>S2</sub>'), Markup('hole_edge'), Markup('&lt;b&gt;'))
    """
    return Markup(SUBSCRIPT.sub(r"\1<sub>\2</sub>", str(escape(str(name)))))  # noqa: S704 - escaped just here


def duration(value: Any) -> str:
    """Return a duration in the unit that suits it.

    >>> duration(0.42), duration(75), duration(119.7), duration(7300)
    ('0.42 s', '1 min 15 s', '2 min 0 s', '2 h 2 min')
    """
    number = float(value)
    if not math.isfinite(number):
        return "–"
    if number < 10:
        return f"{number:.2g} s"
    return in_words(number)


def number_of(n: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun.

    >>> number_of(1, "movie"), number_of(1200, "frame")
    ('1 movie', '1,200 frames')
    """
    if n == 1:
        return f"{n:,} {one}"
    return f"{n:,} {many or one + 's'}"

"""Numbers in plain letters: as axes, figures and tables bear them."""

from __future__ import annotations

import math
from typing import Any

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(value: Any, digits: int = 4) -> str:
    """Return a number of a table: thousands separated, no needless digits.

    >>> plain(12345), plain(0.03), plain(2.25), plain(float("nan")), plain(0.00012)
    ('12,345', '0.03', '2.25', '–', '1.2 × 10⁻⁴')
    """
    number = float(value)
    if not math.isfinite(number):
        return not_finite(number)
    if number and not 1e-3 <= abs(number) < 1e7:
        mantissa, exponent = f"{number:.{digits - 1}e}".split("e")
        text = mantissa.rstrip("0").rstrip(".")
        power = str(int(exponent)).translate(SUPERSCRIPT)
        return f"{text} × 10{power}".replace("-", "−")
    if abs(number) < 10**digits:
        return f"{number:,.{digits}g}".replace("-", "−")
    return f"{number:,.0f}".replace("-", "−")


def not_finite(value: float) -> str:
    """Return how a number is written that is none: NaN as a dash, infinity with its sign."""
    if math.isnan(value):
        return "–"
    if value > 0:
        return "∞"
    return "−∞"


def power_of_ten(value: float) -> str:
    """Return a power of ten in Unicode, for axes.

    >>> power_of_ten(0.001), power_of_ten(1), power_of_ten(10)
    ('10⁻³', '1', '10')
    """
    exponent = round(math.log10(value))
    return {0: "1", 1: "10"}.get(exponent, "10" + str(exponent).translate(SUPERSCRIPT))

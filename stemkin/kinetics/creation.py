"""How fast the beam makes defects: creation rate per site, and its cross-section.

>>> round(float(cross_section(10, 1e4 * 1e6)[0]), 2)
10.0
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.intervals import count_interval

NM2_IN_BARN = 1e10
"""One square nanometre in barn."""


def cross_section(
    n_created: int, exposure_e_per_nm2: float, *, efficiency: float = 1.0, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the cross-section of making a defect, and the interval that its count gives [barn].

    Parameters
    ----------
    n_created
        Defects that were made while the movie ran.
    exposure_e_per_nm2
        Sites that could become one, times the electrons per nm² that each of them saw meanwhile.
    efficiency
        Probability that a defect that was made is found. Vacancies that leave between two frames are not: with no allowance
        for them the result is a lower bound.
    confidence
        Of the interval (Poisson, Jeffreys' prior).

    Raises
    ------
    ValueError
        If the count is negative, there was no exposure, or the efficiency is not in (0, 1].
    """
    if n_created < 0 or not exposure_e_per_nm2 > 0 or not 0 < efficiency <= 1:
        msg = (
            "a cross-section needs a count of 0 or more, a positive exposure and an efficiency in (0, 1], but they are "
            f"{n_created}, {exposure_e_per_nm2} and {efficiency}"
        )
        raise ValueError(msg)
    low, high = count_interval(np.array(n_created), confidence=confidence)
    scale = NM2_IN_BARN / (exposure_e_per_nm2 * efficiency)
    return float(n_created * scale), float(low * scale), float(high * scale)

"""Scatter of values of which a few are strange.

>>> float(robust_sd(np.array([-1.0, 0.0, 1.0, 1000.0])).round(2))
1.48
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.common.medians import median

OF_NORMAL = 0.6745
"""Median deviation of a normal distribution, over its standard deviation."""


def robust_sd(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation of normal values, as their median deviation tells it.

    Parameters
    ----------
    values
        (n,) values, or (n, d) columns of them.

    Returns
    -------
    One number, or (d,) of them.
    """
    if values.ndim == 1 and len(values):
        return np.asarray(median(np.abs(values - median(values))) / OF_NORMAL)
    deviations = np.abs(values - np.median(values, axis=0))
    return np.asarray(np.median(deviations, axis=0) / OF_NORMAL)

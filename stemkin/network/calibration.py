"""What a logit means: its signal-to-noise, so that a threshold is a rate of false positives.

On drawn frames without any defect the net's highest places are counted. A logit that r places per
square pixel exceed there gets the signal-to-noise z which as many maxima of Gaussian noise behind
the matched filter exceed (`peaks.threshold_for`); beyond the counted range z grows along a straight
line, as a likelihood ratio does. Dark and bright places share the false positives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stemkin.kernels.crystal.peaks import threshold_for
from stemkin.kernels.crystal.residual import FILTER_SD

CHANNELS = ("dark", "bright")

SHARES = {"dark": 0.9, "bright": 0.1}
"""Of the false positives. An atom more is never close to the threshold."""

N_KNOTS = 24
TAIL = 40
"""So many of the highest places tell how the line goes on."""

BORDER = 1
"""Cells at the edge of the map that hold no place."""


def summits(values: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns (m,) of the local maxima of `values` (y, x) above `least`.

    They come in reading order; of equal neighbours the first counts.

    Parameters
    ----------
    values
        (y, x) logits.
    least
        Lower places are left out.

    Examples
    --------
    >>> values = np.zeros((4, 4))
    >>> values[1, 1:3] = 5.0
    >>> rows, columns = summits(values, 1.0)
    >>> rows.tolist(), columns.tolist()
    ([1], [1])
    """
    height, width = values.shape
    rows, columns = np.nonzero(values > least)
    inside = (
        (rows >= BORDER)
        & (rows < height - BORDER)
        & (columns >= BORDER)
        & (columns < width - BORDER)
    )
    rows, columns = rows[inside], columns[inside]
    here = values[rows, columns]
    top = np.ones(len(rows), bool)
    for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        there = values[rows + dy, columns + dx]
        # of two equal neighbours the later one is beaten by the earlier, and not the other way
        if (dy, dx) < (0, 0):
            top &= here > there
        else:
            top &= here >= there
    return rows[top], columns[top]


def calibrate(maps: Sequence[np.ndarray], *, area_px: float, spacing_px: float) -> dict[str, Any]:
    """Count the summits of frames without defects.

    Parameters
    ----------
    maps
        (4, y, x) maps of each frame.
    area_px
        Area of all frames [px2].
    spacing_px
        Lattice constant [px].

    Returns
    -------
    For each channel ``logit`` and ``snr``, increasing: what is counted.
    """
    found: dict[str, Any] = {}
    for channel, name in enumerate(CHANNELS):
        heights = np.concatenate([one[channel][summits(one[channel], -20.0)] for one in maps])
        heights = np.sort(heights)[::-1]
        ranks = np.unique(np.round(np.geomspace(2, max(len(heights), 2), N_KNOTS)).astype(int)) - 1
        ranks = ranks[ranks < len(heights)]
        if len(ranks) < 4:
            found[name] = {"logit": [-10.0, 0.0], "snr": [0.0, 6.0]}
            continue
        # Down to the place of rank k (from 0) there are k + 1 false positives: those of one
        # channel, which has a share of all. Frequent ones are counted, rare ones follow a line.
        rates = (ranks + 1) / SHARES[name]
        z = np.array([_snr_of(rate, area_px, spacing_px) for rate in rates])
        line = ranks < TAIL
        slope = max(float(np.polyfit(heights[ranks[line]], z[line], 1)[0]), 0.05)
        # the straight line goes on from the highest place counted twice
        logits = np.concatenate([[heights[ranks[0]] + 10.0], heights[ranks]])
        snr = np.concatenate([[z[0] + 10.0 * slope], z])
        order = np.argsort(logits, kind="stable")
        found[name] = {
            "logit": logits[order].tolist(),
            "snr": np.maximum.accumulate(snr[order]).tolist(),
        }
    return found


def snr_of(logits: np.ndarray, knots: Mapping[str, Any]) -> np.ndarray:
    """Return the signal-to-noise (m,) of `logits` (m,).

    The last line goes on above the highest knot; below the lowest the value stays.

    Parameters
    ----------
    logits
        (m,) heights on a map of the net.
    knots
        ``logit`` and ``snr`` (k,) each, ascending, as `calibrate` returns them.
    """
    x, y = np.asarray(knots["logit"], float), np.asarray(knots["snr"], float)
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
    above = np.maximum(logits - x[-1], 0.0)
    return np.asarray(np.interp(logits, x, y) + slope * above)


def logit_of(snr: float, knots: Mapping[str, Any]) -> float:
    """Return the logit from which on the signal-to-noise is at least `snr`."""
    x, y = np.asarray(knots["logit"], float), np.asarray(knots["snr"], float)
    if snr > y[-1]:
        return float(x[-1] + (snr - y[-1]) * (x[-1] - x[-2]) / max(y[-1] - y[-2], 1e-9))
    rising = np.concatenate([[True], np.diff(y) > 0])
    return float(np.interp(snr, y[rising], x[rising]))


def _snr_of(n: float, area_px: float, spacing_px: float) -> float:
    edge = np.sqrt(area_px)
    return threshold_for(n, (edge, edge), FILTER_SD * spacing_px)

"""The jitter of single lines of the scan: regression of what a model leaves on the model's slopes.

A row that is displaced by d shows M - d . grad M, so what is left of it tells d, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.common.medians import median
from stemkin.kernels.images.filters import clipped, fitted_noise, weights_of

LANES = 16
"""So many sums are added up beside each other, as processors do: a row's order of sums is theirs."""

CLIPPED = 3.0
"""What is left beyond so many standard deviations is cut off: it is a defect."""


def row_equations(
    frame: Array, model: Array, slopes: Sequence[Array], mask: Array | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the normal equations of each row for its displacement.

    Parameters
    ----------
    frame, model
        (y, x) floating-point intensities, any library.
    slopes
        (y, x) dM/dy and dM/dx [per px].
    mask
        (y, x) 1 where a pixel counts, else 0; None for all.

    Returns
    -------
    (height, 2, 2) matrices and (height, 2) right sides, on the host.
    """
    if isinstance(frame, np.ndarray) and mask is None:
        some = model[::2, ::5]
        squares = (frame[::2, ::5] - some) ** 2
        limit = CLIPPED * float(np.sqrt(squares.mean()))
        noise = fitted_noise(squares, some)
        sums = _row_sums(frame, model, slopes[0], slopes[1], (*noise, limit))
        yy, xy, xx, down, across = sums.T
        return np.array([[yy, xy], [xy, xx]]).transpose(2, 0, 1), np.stack([down, across], axis=1)
    xp, rest = namespace(frame), frame - model
    if mask is not None:
        rest = rest * mask
    weight = weights_of(rest, model)[0]
    if mask is not None:
        weight = weight * mask
    rest = clipped(rest, n_sd=CLIPPED)
    weighted = [slope * weight for slope in slopes]
    right = [-to_host(xp.vecdot(part, rest)).astype(float) for part in weighted]
    yy = to_host(xp.vecdot(weighted[0], slopes[0])).astype(float)
    xy = to_host(xp.vecdot(weighted[1], slopes[0])).astype(float)
    xx = to_host(xp.vecdot(weighted[1], slopes[1])).astype(float)
    return np.array([[yy, xy], [xy, xx]]).transpose(2, 0, 1), np.stack(right, axis=1)


@compiled
def _row_sums(
    frame: np.ndarray,
    model: np.ndarray,
    down: np.ndarray,
    across: np.ndarray,
    noise: tuple[float, float, float, float],
) -> np.ndarray:
    """Return (height, 5) sums over each row: of slopes with one another, and with what is left.

    `noise` holds alpha, beta and the middle of the model for the variance alpha + beta (M -
    middle), and the limit of what is left.
    """
    height, width = frame.shape
    kind = frame.dtype.type
    alpha, beta, middle, limit = noise
    base, slope = kind(alpha - beta * middle), kind(beta)
    least, most = kind(0.05 * alpha + 1e-30), kind(limit)
    sums = np.zeros((height, 5))
    lanes = np.zeros((5, LANES), frame.dtype)
    for y in range(height):
        lanes[:] = 0
        for first in range(0, width, LANES):
            for i in range(min(LANES, width - first)):
                x = first + i
                drawn, dy, dx = model[y, x], down[y, x], across[y, x]
                rest = min(max(frame[y, x] - drawn, -most), most)
                weight = kind(1) / max(base + slope * drawn, least)
                wy, wx = dy * weight, dx * weight
                lanes[0, i] += wy * dy
                lanes[1, i] += wx * dy
                lanes[2, i] += wx * dx
                lanes[3, i] -= wy * rest
                lanes[4, i] -= wx * rest
        for k in range(5):
            for i in range(LANES):
                sums[y, k] += lanes[k, i]
    return sums


def row_displacements(
    normal: np.ndarray, right: np.ndarray, *, window: np.ndarray, limit_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the jitter of each row beyond the model: ridge regression on the model's slopes.

    Parameters
    ----------
    normal, right
        (height, 2, 2) and (height, 2) as `row_equations` gives them.
    window
        (n, height) windows over which rows were averaged when the slow distortion was measured.
    limit_px
        No row is moved further than this along either axis [px].

    Returns
    -------
    moved
        (height, 2) displacements (y, x) [px]. Each is shrunk towards 0 by the share of its scatter
        that noise explains (the prior variance of the ridge is the measured one), so rows of a
        steady scan stay where they are.
    hidden
        (2,) standard deviation (y, x) [px] of what the slow distortion has taken of displacements
        that differ from row to row: their mean over a window, in which rows between the columns of
        atoms hardly count.
    """
    hidden, normal = [], normal.copy()
    for a in (0, 1):
        information = np.maximum(normal[:, a, a], 1e-6 * normal[:, a, a].max() + 1e-12)
        raw = np.clip(right[:, a] / information, -limit_px, limit_px)
        # 1 / information is the noise of `raw`: what its squares have beyond is the jitter's own
        spread = float((information**2 * (raw**2 - 1 / information)).sum() / (information**2).sum())
        spread = max(spread, 1e-6 * limit_px**2)
        # the mean over a window of rows with the weights c has the variance sum c^2 / (sum c)^2
        counts = window * information
        share = (counts**2).sum(axis=1) / np.maximum(counts.sum(axis=1), 1e-30) ** 2
        hidden.append(np.sqrt(spread * median(share)))
        normal[:, a, a] = information + 1 / spread
    moved = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return np.clip(moved, -limit_px, limit_px), np.array(hidden)

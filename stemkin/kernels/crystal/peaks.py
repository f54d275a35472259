"""Defects as extrema of a signal-to-noise map: found, refined below one pixel, duplicates merged.

>>> snr = np.zeros((9, 9), np.float32); snr[4, 4] = -8; snr[4, 5] = -4
>>> y, x, score = extrema(snr, threshold=5.0)
>>> y.tolist(), x.round(2).tolist(), score.tolist()
([4.0], [4.17], [-8.0])
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled


def extrema(
    snr: Array, *, threshold: float, border_px: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find local extrema of both signs beyond `threshold`.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise, any library.
    threshold
        Smallest |snr| of an extremum.
    border_px
        Extrema closer than this to the edge are left out; at least 1.

    Returns
    -------
    y, x
        (m,) positions [px], refined with the parabola through each extremum and its neighbours;
        ordered by y, x.
    score
        (m,) signed signal-to-noise at the extremum.
    """
    xp = namespace(snr)
    height, width = (int(n) for n in snr.shape)
    flat = xp.reshape(snr, (-1,))
    if isinstance(snr, np.ndarray):
        over = _over(np.ascontiguousarray(snr).reshape(-1), threshold)
    else:
        over = to_host(xp.nonzero(xp.abs(flat) > threshold)[0])
    rows, columns = np.divmod(over, width)
    inside = (rows >= border_px) & (rows < height - border_px)
    inside &= (columns >= border_px) & (columns < width - border_px)
    rows, columns, over = rows[inside], columns[inside], over[inside]
    # entry [i, 1 + dy, 1 + dx] is the neighbour dy, dx of pixel i; all are turned so that the pixel
    # itself is positive, since a dark defect is a minimum
    around = np.array([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    values = _taken(flat, over[:, None] + around).reshape(-1, 3, 3)
    values = values * np.sign(values[:, 1:2, 1:2])
    # an exact tie belongs to the first pixel in reading order
    before, after = values.reshape(-1, 9)[:, :4], values.reshape(-1, 9)[:, 5:]
    centre = values[:, 1, 1]
    top = (centre[:, None] > before).all(axis=1) & (centre[:, None] >= after).all(axis=1)
    rows, columns, values = rows[top], columns[top], values[top]
    return (
        rows + vertex(values[:, :, 1]),
        columns + vertex(values[:, 1, :]),
        _taken(flat, over[top]),
    )


@compiled
def _over(flat: np.ndarray, threshold: float) -> np.ndarray:
    """Return the numbers of the values (n,) whose size is beyond a threshold."""
    n = 0
    for value in flat:
        n += abs(value) > threshold
    numbers, n = np.empty(n, np.int64), 0
    for i in range(len(flat)):
        if abs(flat[i]) > threshold:
            numbers[n] = i
            n += 1
    return numbers


def _taken(flat: Array, index: np.ndarray) -> np.ndarray:
    """Return the entries `index` (any shape) of `flat` (n,) on the host, flattened, as float64."""
    if not index.size:
        return np.zeros(0)
    xp = namespace(flat)
    taken = xp.take(flat, xp.asarray(index.reshape(-1), dtype=xp.int64))
    return np.asarray(to_host(taken), dtype=float)


def merge(
    y: np.ndarray,
    x: np.ndarray,
    score: np.ndarray,
    *,
    min_distance_px: float,
    ringing: float = 0.35,
) -> np.ndarray:
    """Choose which extrema are defects of their own.

    An extremum closer than `min_distance_px` to a stronger one is the same defect. One within twice
    that distance is taken for the ringing around it where it is weaker than the share `ringing` of
    it.

    Parameters
    ----------
    y, x
        (m,) positions [px].
    score
        (m,) signed signal-to-noise.
    min_distance_px
        Smallest distance of two defects [px].
    ringing
        Strength of the ringing around a defect, over that of the defect.

    Returns
    -------
    (k,) indices of the extrema kept, increasing.
    """
    from scipy.spatial import cKDTree

    if len(y) < 2:
        return np.arange(len(y))
    strength = np.abs(score)
    pairs = cKDTree(np.stack([y, x], axis=1)).query_pairs(
        2 * min_distance_px, output_type="ndarray"
    )
    distance = np.hypot(y[pairs[:, 0]] - y[pairs[:, 1]], x[pairs[:, 0]] - x[pairs[:, 1]])
    dropped = np.zeros(len(y), dtype=bool)
    rank = np.argsort(np.argsort(-strength, kind="stable"))
    in_order = rank[pairs[:, 0]] < rank[pairs[:, 1]]
    strong, weak = (np.where(in_order, pairs[:, i], pairs[:, 1 - i]) for i in (0, 1))
    clash = (distance < min_distance_px) | (strength[weak] < ringing * strength[strong])
    strong, weak = strong[clash], weak[clash]
    # from the strongest on: an extremum that was dropped itself drops no other
    for i in np.argsort(rank[strong], kind="stable"):
        if not dropped[strong[i]]:
            dropped[weak[i]] = True
    return np.flatnonzero(~dropped)


def threshold_for(false_positives: float, shape: tuple[int, int], filter_sd_px: float) -> float:
    """Choose the |snr| that so many extrema of pure noise exceed on average in a frame.

    White noise behind a Gaussian filter of standard deviation s is a Gaussian field whose gradient
    has variance 1/(2 s^2) per axis; the expected number of maxima above a high level u is A / (2
    s^2) / (2 pi)^(3/2) u exp(-u^2 / 2) (Adler, The Geometry of Random Fields, 1981, eq. 6.9.4).
    Both signs are counted.

    Parameters
    ----------
    false_positives
        Extrema per frame.
    shape
        (height, width) of the frame [px].
    filter_sd_px
        Standard deviation s of the filter [px].

    Returns
    -------
    The level u.

    Examples
    --------
    >>> round(threshold_for(1.0, (512, 512), 1.0), 2)
    4.75
    """
    area = shape[0] * shape[1]
    levels = np.linspace(1.5, 12.0, 10501)
    rate = 2 * area / (2 * filter_sd_px**2) / (2 * np.pi) ** 1.5
    expected = rate * levels * np.exp(-(levels**2) / 2)
    return float(levels[np.argmax(expected <= false_positives)])


def vertex(triples: np.ndarray) -> np.ndarray:
    """Find the vertex of the parabola through three equidistant values.

    Parameters
    ----------
    triples
        (m, 3) values, the middle one the largest.

    Returns
    -------
    (m,) places, counted from the middle value in steps between values, -0.5 to 0.5.
    """
    low, mid, high = triples[:, 0], triples[:, 1], triples[:, 2]
    bend = low - 2 * mid + high
    return np.asarray(np.clip(0.5 * (low - high) / np.where(bend < 0, bend, -np.inf), -0.5, 0.5))

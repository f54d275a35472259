"""The spectrum of a frame: where it has sharp peaks, and which two vectors explain them all.

A crystal of any orientation and sampling shows as a net of sharp spectral peaks. The frame is windowed, its power is
divided by the noise floor around each frequency, peaks far above what noise gives are listed, and the pair of peaks is
taken whose whole-numbered combinations explain most of them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np

from stemkin.devices import Array, namespace, to_host

MIN_CELLS = 4
"""A frame narrower than this many lattice planes has no spectrum to speak of."""

MIN_PERIOD_PX = 3.0
"""Planes closer than this are beyond what a probe shows; video codecs leave sharp peaks there."""

PEAK_POWER = 20.0
"""Power over the noise floor that makes a spectral peak: noise alone exceeds it in 1 of 5e8 frequencies."""

SIDE_LOBE = 1e-4
"""Peaks this much weaker than the strongest may be side lobes of the window."""


def spectral_peaks(frame: Array, *, n_max: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Find the sharp peaks in the spectrum of a frame.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    n_max
        At most this many peaks, the strongest first.

    Returns
    -------
    frequencies
        (m, 2) peaks (y, x) [cycles per px], one of each pair +g and -g.
    power
        (m,) power over the local noise floor, decreasing.
    """
    xp = namespace(frame)
    height, width = (int(n) for n in frame.shape)
    window_y, window_x = (xp.asarray(_hanning(n), dtype=frame.dtype) for n in (height, width))
    spectrum = xp.fft.rfftn((frame - xp.mean(frame)) * window_y[:, None] * window_x[None, :])
    power = to_host(xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2)
    ring, inside, sample, counts = _rings(height, width)
    floor = (
        np.bincount(ring.ravel()[sample], weights=np.log(power.ravel()[sample] + 1e-30), minlength=len(counts)) / counts
    )
    power = power * np.exp(-floor - np.euler_gamma).astype(power.dtype)[ring]
    rows, columns = np.nonzero((power > PEAK_POWER) & inside)
    rows, columns = _above(power, rows, columns, SIDE_LOBE * float(power[rows, columns].max(initial=0.0)))
    order = np.argsort(-power[rows, columns], kind="stable")[:600]
    rows, columns = rows[order], columns[order]
    kept = _suppress(rows, columns, height, n_max)
    rows, columns = rows[kept], columns[kept]
    frequencies = [_refine(power, row, column) for row, column in zip(rows, columns, strict=True)]
    found = np.array(frequencies, dtype=float).reshape(-1, 2) / (height, width)
    return found - np.round(found), power[rows, columns]


def explain_peaks(frequencies: np.ndarray, power: np.ndarray, *, tolerance: float) -> tuple[np.ndarray, float] | None:
    """Find the two vectors whose whole-numbered combinations explain most of the peaks.

    Parameters
    ----------
    frequencies, power
        As `spectral_peaks` gives them.
    tolerance
        How far a peak may lie from a combination [cycles per px].

    Returns
    -------
    The reduced (2, 2) basis (rows are reciprocal vectors, y, x) and the share of the peaks' amplitude that it explains;
    None where there are no two peaks in different directions.
    """
    strong = frequencies[:14]
    pairs = [(i, j) for i, j in combinations(range(len(strong)), 2) if _are_independent(strong[i], strong[j])]
    if not pairs:
        return None
    bases = np.array([[strong[i], strong[j]] for i, j in pairs])
    weights = np.sqrt(power) / np.sqrt(power).sum()
    indices = frequencies @ np.linalg.inv(bases)
    nearest = np.round(indices)
    miss = np.linalg.norm((indices - nearest) @ bases, axis=2)
    order = np.abs(nearest).max(axis=2)
    explained = ((miss < tolerance * np.maximum(order, 1)) & (order <= 5)) @ weights
    area = np.abs(np.linalg.det(bases))
    good = np.flatnonzero(explained >= 0.93 * explained.max())
    best = good[np.argmax(area[good])]
    return reduce_basis(bases[best]), float(explained[best])


def reduce_basis(basis: np.ndarray) -> np.ndarray:
    """Return the two shortest vectors (rows) that span the same net (Lagrange and Gauss)."""
    short, long = sorted(np.asarray(basis, dtype=float), key=lambda g: float(g @ g))
    while True:
        long = long - np.round((long @ short) / (short @ short)) * short
        if long @ long >= short @ short * (1 - 1e-9):
            return np.stack([short, long])
        short, long = long, short


def _are_independent(g: np.ndarray, h: np.ndarray) -> bool:
    return bool(abs(g[0] * h[1] - g[1] * h[0]) > 0.4 * np.hypot(*g) * np.hypot(*h))


@lru_cache(maxsize=16)
def _hanning(n: int) -> np.ndarray:
    return np.hanning(n + 2)[1:-1]


def _above(power: np.ndarray, rows: np.ndarray, columns: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    kept = power[rows, columns] > least
    return rows[kept], columns[kept]


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what depends on the shape alone.

    The ring number of every frequency (y, x); which frequencies may hold a lattice (y, x); flat indices of every third
    frequency, enough to tell the floor; how many of those each ring has.
    """
    gy, gx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    radius = np.hypot(gy, gx)
    inside = (radius >= MIN_CELLS / min(height, width)) & (radius <= 1 / MIN_PERIOD_PX)
    inside &= ~((gx == 0) & (gy < 0))
    ring = np.minimum((radius * 96).astype(np.int64), 64)
    sample = np.arange(0, ring.size, 3)
    counts = np.maximum(np.bincount(ring.ravel()[sample], minlength=65), 1)
    return ring, inside, sample, counts


def _suppress(rows: np.ndarray, columns: np.ndarray, height: int, n_max: int) -> np.ndarray:
    """Return the indices of the entries (strongest first) that are at least 4 bins from every stronger one."""
    kept: list[int] = []
    left = np.arange(len(rows))
    while len(left) and len(kept) < n_max:
        first = left[0]
        kept.append(int(first))
        dy, sum_y = np.abs(rows[left] - rows[first]), rows[left] + rows[first]
        clash = (np.minimum(dy, height - dy) < 4) & (np.abs(columns[left] - columns[first]) < 4)
        clash |= ((np.abs(sum_y - height) < 4) | (sum_y < 4)) & (columns[left] + columns[first] < 4)
        left = left[~clash]
    return np.array(kept, dtype=np.int64)


def _refine(power: np.ndarray, row: int, column: int) -> tuple[float, float]:
    """Return the vertex of the parabola through the logarithm of the peak and its neighbours, in bins."""
    height, width = power.shape
    logs = np.log(power[[(row - 1) % height, row, (row + 1) % height], column] + 1e-30)
    dy = _vertex(logs)
    across = power[row, [abs(column - 1), column, min(column + 1, width - 1)]]
    return row + dy, column + _vertex(np.log(across + 1e-30))


def _vertex(values: np.ndarray) -> float:
    low, mid, high = (float(v) for v in values)
    bend = low - 2 * mid + high
    return float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5)) if bend < 0 else 0.0

"""Correlations of site traces in space and time, as sums over a block of frames.

For sites i of one sublattice with signals z, and for steps d between sites and lags τ,

    C(d, τ) = mean over i and t of z(i, t) z(i + d, t + τ).

Noise is independent from frame to frame, so that for τ > 0 only what is in the specimen is left
(image correlation spectroscopy: Petersen et al., Biophys. J. 65, 1135 (1993); van Hove, Phys. Rev.
95, 249 (1954)). Signals are laid out on the grid of their cells, and all steps and lags come from one
Fourier transform in space and time (Wiener and Khinchin).

>>> cells = np.array([[0, 0], [1, 0]])
>>> z = np.array([[1.0, -1.0], [1.0, -1.0], [1.0, -1.0]])
>>> sums, counts = block_sums(z, cells, np.array([[0, 0], [1, 0]]), n_own=2, max_lag=1)
>>> sums.round(9).tolist(), counts.tolist()
([[4.0, -2.0], [4.0, -2.0]], [[4, 2], [4, 2]])
"""

from __future__ import annotations

import numpy as np
from scipy import fft


def centred(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the mean of each frame off its signals.

    Parameters
    ----------
    values
        (t, m) signals, NaN where a site is not judged.

    Returns
    -------
    (t, m) float64 with zeros where nothing is known, and (t, m) where something is.
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    n = np.maximum(known.sum(axis=1, keepdims=True), 1)
    filled -= filled.sum(axis=1, keepdims=True) / n
    return np.where(known, filled, 0.0), known


def block_sums(
    values: np.ndarray, cells: np.ndarray, steps: np.ndarray, *, n_own: int, max_lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the products of pairs of signals whose first lies in a block of frames.

    Parameters
    ----------
    values
        (n, m) signals of the block and of up to `max_lag` frames after it; NaN where not judged.
    cells
        (m, 2) whole-numbered (u, v) of the sites, each there once.
    steps
        (k, 2) steps (u, v) from the first site of a pair to the second.
    n_own
        Frames of the block itself.
    max_lag
        Longest lag in frames.

    Returns
    -------
    (max_lag + 1, k) sums of products, and (max_lag + 1, k) whole numbers of pairs.
    """
    z, known = centred(values)
    # frames beyond the end are empty; the same lengths for every block give the same bits
    frames = np.zeros((n_own + max_lag, len(cells)))
    frames[: len(z)] = z
    sums = _correlated(frames, cells, steps, n_own, max_lag)
    there = np.zeros_like(frames)
    there[: len(z)] = known
    ever = np.asarray(there.any(axis=0))
    whole = np.asarray(there[:, ever].all(axis=1))
    if (there == whole[:, None] * ever).all():
        counts = _pairs_of_whole_frames(there, ever, cells, steps, n_own, max_lag)
    else:
        counts = _correlated(there, cells, steps, n_own, max_lag)
    return sums, np.rint(counts).astype(np.int64)


def _pairs_of_whole_frames(
    there: np.ndarray,
    ever: np.ndarray,
    cells: np.ndarray,
    steps: np.ndarray,
    n_own: int,
    max_lag: int,
) -> np.ndarray:
    """Count pairs where a frame shows the same sites or nothing: a product of two numbers."""
    good = np.asarray(there.any(axis=1), dtype=np.float64)
    of_frames = [good[:n_own] @ good[lag : lag + n_own] for lag in range(max_lag + 1)]
    of_sites = _correlated(ever[None].astype(np.float64), cells, steps, 1, 0)[0]
    return np.outer(np.array(of_frames), np.rint(of_sites))


def _correlated(
    frames: np.ndarray, cells: np.ndarray, steps: np.ndarray, n_own: int, max_lag: int
) -> np.ndarray:
    """Return (max_lag + 1, k) sums of products of `frames` (n_own + max_lag, m), by FFT."""
    low = cells.min(axis=0)
    reach = np.abs(steps).max(axis=0)
    extent = cells.max(axis=0) - low + 1
    # empty cells beyond the last keep what wraps around away from the steps that are asked for
    shape = tuple(fft.next_fast_len(int(n), real=True) for n in extent + reach)
    laid = np.zeros((len(frames), *shape))
    laid[:, cells[:, 0] - low[0], cells[:, 1] - low[1]] = frames
    waves = fft.rfft2(laid, axes=(1, 2))
    n = fft.next_fast_len(len(frames))
    power = np.conj(fft.fft(waves[:n_own], n, axis=0)) * fft.fft(waves, n, axis=0)
    at_lags = fft.ifft(power, axis=0, overwrite_x=True)[: max_lag + 1]
    found = fft.irfft2(at_lags, s=shape, axes=(1, 2))
    return np.asarray(found[:, steps[:, 0] % shape[0], steps[:, 1] % shape[1]])


def same_site_moments(values: np.ndarray, *, n_own: int) -> np.ndarray:
    """Sum the third and fourth moments of signals of a site one frame apart.

    Noise of different frames is independent, so that <z z'²> - and <z² z'²> less what two
    independent values give - are moments of what is in the specimen: they tell how deep one vacancy
    is, where C tells only the square of its depth times their number.

    Parameters
    ----------
    values
        (n, m) signals of a block and of at least one frame after it, unless it is the last.
    n_own
        Frames of the block itself.

    Returns
    -------
    (6,) sums of 1, z z', z z'², z² z'², z² and z'² over pairs, primes one frame later.
    """
    z, known = centred(values[: n_own + 1])
    first, later = z[:-1], z[1:]
    both = known[:-1] & known[1:]
    first, later = first[both], later[both]
    return np.array(
        [
            both.sum(),
            (first * later).sum(),
            (first * later**2 + first**2 * later).sum() / 2,
            (first**2 * later**2).sum(),
            (first**2).sum(),
            (later**2).sum(),
        ],
        dtype=np.float64,
    )

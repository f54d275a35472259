"""A frame made ready for a net: free of its slow background, in units of its own contrast.

>>> frame = np.random.default_rng(0).normal(50.0, 3.0, (64, 64)).astype(np.float32)
>>> level = evened(frame, spacing_px=10.0)
>>> bool(np.allclose(level, evened(7 * frame + 100, spacing_px=10.0), atol=1e-3))
True
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stemkin.devices import Array, namespace, to_host

WIDE = 1.5
"""Standard deviation, over the lattice constant, of the neighbourhood whose mean is taken away."""

GOOD = 75.0
"""The contrast of a frame is that of its better part: this percentile over neighbourhoods, so that
holes do not count."""

PITCH = 4
"""Pixels from one place where the mean is taken to the next; it is linear in between."""


def evened(frame: Array, *, spacing_px: float) -> Array:
    """Return (y, x) `frame` minus its local mean, over the standard deviation of its better part.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    spacing_px
        Lattice constant [px].
    """
    xp = namespace(frame)
    shape = tuple(int(n) for n in frame.shape)
    sd = min(WIDE * spacing_px, min(shape) / 5)
    means, lines = (
        [xp.asarray(m, dtype=frame.dtype) for m in pair]
        for pair in zip(*(_tables(n, sd) for n in shape), strict=True)
    )
    frame = frame - xp.mean(frame)
    # A Gaussian mean is a product along y and one along x. It is taken at every `PITCH`-th place
    # only, and drawn out to all pixels by straight lines between them.
    coarse = xp.matmul(xp.matmul(means[0], frame), means[1].T)
    level = frame - xp.matmul(xp.matmul(lines[0], coarse), lines[1].T)
    variance = to_host(xp.matmul(xp.matmul(means[0], level**2), means[1].T))
    return level * (1 / float(np.sqrt(np.percentile(variance, GOOD)) + 1e-30))


@lru_cache(maxsize=32)
def _tables(n: int, sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Gaussian means along a line of `n` pixels, and the interpolation between them.

    The first (m, n) gives the means at every `PITCH`-th place, the second (n, m) is linear.
    """
    places = np.arange(-(-n // PITCH)) * PITCH + min((PITCH - 1) / 2, (n - 1) / 2)
    means = np.exp(-0.5 * ((np.arange(n) - places[:, None]) / max(sd, 1e-3)) ** 2)
    means /= means.sum(axis=1, keepdims=True)
    # rows of `lines` add up to 1: tents between places, the nearest place beyond the outermost ones
    lines = np.maximum(1 - np.abs(np.arange(n)[:, None] - places) / PITCH, 0.0)
    lines[np.arange(n) < places[0]] = np.eye(len(places))[0]
    lines[np.arange(n) > places[-1]] = np.eye(len(places))[-1]
    return means, lines

"""Signal-to-noise at the sites of the lattice, each compared with its own neighbourhood.

A defect that sits on the lattice needs to be looked for at a few thousand places only, not at every pixel; so at the same
rate of false positives a weaker signal is enough. What the crystal model leaves over locally (contamination, strain, the
edge of a hole) shows in many sites at once: each site's value is freed of the mean of the sites around it and divided by
their scatter where that is larger than noise alone explains.

>>> image = np.arange(36.0).reshape(6, 6)
>>> interpolate(image, np.array([[2.5, 2.25]])).round(6).tolist()
[17.25]
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.lattice import CHALCOGEN, METAL, Lattice, sites

CLIP = 2.5
"""Sites beyond this many standard deviations count as if they were there: they may be defects."""

MIN_SITES = 100
"""With fewer sites their scatter is not known, and taken as that of the map: 1."""

CLIPPED_VARIANCE = 0.978
"""Mean of min(z^2, CLIP^2) of a normal z."""

TOLERATED = 1.25
"""Scatter of a neighbourhood that noise alone may show: two standard errors of the variance of its about 130 sites."""

NEIGHBOURHOOD = 3.0
"""Standard deviation, over the lattice constant, of the window in which sites are compared."""


def site_signals(
    snr: Array, lattice: Lattice, *, mask: np.ndarray | None = None, border_px: float = 2.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a signal-to-noise map at the sites of both sublattices.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise, any library.
    lattice
        The crystal.
    mask
        (y, x) True where a pixel belongs to this crystal; None for the whole frame.
    border_px
        Sites closer than this to the edge are left out; at least 1.

    Returns
    -------
    points
        (m, 2) sites (y, x) [px].
    sublattice
        (m,) int8, METAL or CHALCOGEN.
    signal
        (m,) signed signal-to-noise, of mean 0 and standard deviation 1 in each neighbourhood without defects.
    """
    height, width = (int(n) for n in snr.shape)
    both = [_inner_sites(lattice, (height, width), which, mask, border_px) for which in (METAL, CHALCOGEN)]
    points = np.concatenate(both)
    sublattice = np.repeat(np.array([METAL, CHALCOGEN], dtype=np.int8), [len(places) for places in both])
    signal = interpolate(snr, points)
    if mask is not None:  # at the rim of its grain no site is judged
        judged = signal != 0
        points, sublattice, signal = points[judged], sublattice[judged], signal[judged]
    for which in (METAL, CHALCOGEN):
        own = sublattice == which
        signal[own] = normalised(
            points[own], signal[own], sd_px=NEIGHBOURHOOD * lattice.spacing_px, shape=(height, width)
        )
    return points, sublattice, signal


def _inner_sites(
    lattice: Lattice, shape: tuple[int, int], which: int, mask: np.ndarray | None, border_px: float
) -> np.ndarray:
    places = sites(lattice, shape, which)
    places = places[((places >= border_px) & (places <= np.array(shape) - 1 - border_px)).all(axis=1)]
    if mask is None:
        return places
    pixel = np.rint(places).astype(np.int64)
    return np.asarray(places[mask[pixel[:, 0], pixel[:, 1]]])


def normalised(points: np.ndarray, values: np.ndarray, *, sd_px: float, shape: tuple[int, int]) -> np.ndarray:
    """Free `values` (m,) at `points` (m, 2) of their local mean, divide by their scatter, and by the local one where larger.

    The scatter of all is a little below 1 even in a perfect frame, because a fitted crystal takes some of the noise with it.
    """
    if len(values) < MIN_SITES:
        return values
    overall = max(float(np.median(np.abs(values - np.median(values)))) / 0.6745, 0.5)
    values = values / overall
    values = values - _local_mean(points, np.clip(values, -CLIP, CLIP), sd_px=sd_px, shape=shape)
    scatter = _local_mean(points, np.minimum(values**2, CLIP**2), sd_px=sd_px, shape=shape) / CLIPPED_VARIANCE
    return np.asarray(values / np.sqrt(np.maximum(scatter / TOLERATED, 1.0)))


def interpolate(image: Array, points: np.ndarray) -> np.ndarray:
    """Return the values (m,) of (y, x) `image` at `points` (m, 2) [px], by cubic convolution (Keys 1981).

    Points must lie at least one pixel inside the frame.
    """
    values, shares = _windows(image, points)
    wy, wx = _cubic_weights(shares[:, 0]), _cubic_weights(shares[:, 1])
    return np.asarray((np.matmul(values, wx[:, :, None])[:, :, 0] * wy).sum(axis=1))


def gradient(image: Array, points: np.ndarray) -> np.ndarray:
    """Return the slopes (m, 2) along y and x of what `interpolate` returns [per px]."""
    values, shares = _windows(image, points)
    (wy, wx), (sy, sx) = ([f(shares[:, axis]) for axis in (0, 1)] for f in (_cubic_weights, _cubic_slopes))
    along_y = (np.matmul(values, wx[:, :, None])[:, :, 0] * sy).sum(axis=1)
    along_x = (np.matmul(values, sx[:, :, None])[:, :, 0] * wy).sum(axis=1)
    return np.stack([along_y, along_x], axis=1)


def _windows(image: Array, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (m, 4, 4) pixels around each point, and where in the middle square it lies (m, 2), 0 to 1."""
    xp = namespace(image)
    height, width = (int(n) for n in image.shape)
    base = np.clip(np.floor(points).astype(np.int64), 1, np.array([height, width]) - 3)
    steps = np.arange(-1, 3)
    index = (base[:, 0, None, None] + steps[:, None]) * width + base[:, 1, None, None] + steps
    if not len(points):
        return np.zeros((0, 4, 4)), np.zeros((0, 2))
    flat = xp.take(xp.reshape(image, (-1,)), xp.asarray(index.reshape(-1), dtype=xp.int64))
    return np.asarray(to_host(flat), dtype=float).reshape(-1, 4, 4), points - base


def _cubic_weights(share: np.ndarray) -> np.ndarray:
    """Return (m, 4) weights of the pixels at -1, 0, 1, 2 for positions `share` (m,) between 0 and 1."""
    t = share
    before = ((-0.5 * t + 1) * t - 0.5) * t
    first = (1.5 * t - 2.5) * t * t + 1
    second = ((-1.5 * t + 2) * t + 0.5) * t
    return np.stack([before, first, second, (0.5 * t - 0.5) * t * t], axis=1)


def _cubic_slopes(share: np.ndarray) -> np.ndarray:
    """Return the derivatives (m, 4) of `_cubic_weights`."""
    t = share
    before = (-1.5 * t + 2) * t - 0.5
    second = (-4.5 * t + 4) * t + 0.5
    return np.stack([before, (4.5 * t - 5) * t, second, (1.5 * t - 1) * t], axis=1)


def _local_mean(points: np.ndarray, values: np.ndarray, *, sd_px: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the Gaussian mean of `values` around each point, by way of a grid of cells half an sd wide."""
    cell = sd_px / 2
    grid = [int(n / cell) + 1 for n in shape]
    where = np.floor((points + 0.5) / cell).astype(np.int64)
    number = where[:, 0] * grid[1] + where[:, 1]
    total = np.bincount(number, weights=values, minlength=grid[0] * grid[1]).reshape(grid)
    count = np.bincount(number, minlength=grid[0] * grid[1]).reshape(grid)
    gy, gx = (np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) * 0.5) ** 2) for n in grid)
    mean = (gy @ total @ gx) / np.maximum(gy @ count @ gx, 1e-12)
    return np.asarray(mean[where[:, 0], where[:, 1]])

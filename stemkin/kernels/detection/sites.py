"""Signal-to-noise at the sites of the lattice, each compared with its own neighbourhood.

A defect that sits on the lattice needs to be looked for at a few thousand places only, not at every
pixel; so at the same rate of false positives a weaker signal is enough. What the crystal model
leaves over locally (contamination, strain, the edge of a hole) shows in many sites at once: each
site's value is freed of the mean of the sites around it and divided by their scatter where that is
larger than noise alone explains.

>>> from stemkin.kernels.crystal.lattice import honeycomb
>>> snr = np.zeros((64, 64)); snr[32, 32] = -9.0
>>> places = site_signals(snr, honeycomb(10.0, metal=(32.0, 32.0)))
>>> places.points[np.argmin(places.signal)].tolist()
[32.0, 32.0]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, numbered_sites
from stemkin.kernels.images.filters import Skewness
from stemkin.kernels.images.interpolation import Patches

CLIP = 2.5
"""Sites beyond this many standard deviations do not count: they may be defects."""

MIN_SITES = 100
"""With fewer sites their scatter is not known, and taken as that of the map: 1."""

CLIPPED_VARIANCE = 0.9113
"""Mean of z^2 of those normal z that lie within `CLIP`."""

TOLERATED = 1.25
"""Scatter of a neighbourhood that noise alone may show: two standard errors of the variance of its
about 130 sites."""

STRONG = 5.0
"""Sites with such a signal hold a defect; what is seen beside them is not noise alone."""

SKEWED = 4.0
"""Beyond so many standard deviations a signal is not noise, and its skewness does not matter."""

FINE = 1.1
"""By no more than this factor is the scale of the signals corrected in the end, when their skewness
is out."""

BONDED = ((0, 0), (1, 0), (0, 1))
"""Steps (u, v) from the cell of a chalcogen column to those of the three metal columns around
it."""

AROUND = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, -1), (-1, 1))
"""Steps (u, v) from a column to itself and to its six neighbours of the same kind."""

NEIGHBOURHOOD = 3.0
"""Standard deviation, over the lattice constant, of the window in which sites are compared."""


@dataclass(frozen=True, eq=False)
class Sites:
    """The sites of a lattice that are judged, and what a signal-to-noise map shows there.

    Attributes
    ----------
    cells
        (m, 2) whole-numbered u, v.
    points
        (m, 2) places (y, x) [px].
    sublattice
        (m,) int8, METAL or CHALCOGEN.
    signal
        (m,) signed signal-to-noise, of mean 0 and standard deviation 1 in each neighbourhood
        without defects.
    alone
        (m,) the same of the site alone, where `signal` also tells what its neighbours do.
    beside_strong
        (m,) True where a site is, or neighbours, one whose signal is so strong that it shows around
        it, too.
    patches
        What the map shows around each site.
    """

    cells: np.ndarray
    points: np.ndarray
    sublattice: np.ndarray
    signal: np.ndarray
    alone: np.ndarray
    beside_strong: np.ndarray
    patches: Patches


@dataclass(frozen=True)
class Grid:
    """Values of sites laid out by cell: entry [u - low_u, v - low_v]; one empty cell lies all
    around."""

    low: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, cells: np.ndarray) -> Grid:
        """Return the grid of all `cells` (m, 2)."""
        if not len(cells):
            return cls(np.zeros(2, np.int64), (3, 3))
        low, high = cells.min(axis=0) - 1, cells.max(axis=0) + 1
        return cls(low, (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1))

    def at(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the index of the entries of `cells` (m, 2)."""
        return cells[:, 0] - self.low[0], cells[:, 1] - self.low[1]

    def laid(
        self, cells: np.ndarray, values: np.ndarray, empty: float | bool = np.nan
    ) -> np.ndarray:
        """Lay out `values` (m, ...) of `cells` (m, 2); `empty` elsewhere."""
        spread = np.full((*self.shape, *values.shape[1:]), empty, dtype=values.dtype)
        spread[self.at(cells)] = values
        return spread


def shifted(laid: np.ndarray, du: int, dv: int) -> np.ndarray:
    """Return what a `Grid` holds `du`, `dv` cells further on: entry [u, v] is that of [u + du, v +
    dv]."""
    return np.roll(laid, (-du, -dv), axis=(0, 1))


def site_signals(
    snr: Array,
    lattice: Lattice,
    *,
    mask: np.ndarray | None = None,
    border_px: float = 2.0,
    skew: Skewness | None = None,
) -> Sites:
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
    skew
        Skewness of the noise of `snr`, or None for none. It is taken out (`unskewed`), so that a
        weak dark and a weak bright signal are equally likely to be noise.
    """
    height, width = (int(n) for n in snr.shape)
    both = [
        _inner_sites(lattice, (height, width), which, mask, border_px)
        for which in (METAL, CHALCOGEN)
    ]
    cells, points = (np.concatenate([part[i] for part in both]) for i in (0, 1))
    sublattice = np.repeat(
        np.array([METAL, CHALCOGEN], dtype=np.int8), [len(part[0]) for part in both]
    )
    patches = Patches.of(snr, points)
    signal = patches.values
    if mask is not None:  # at the rim of its grain no site is judged
        judged = np.flatnonzero(signal != 0)
        cells, points, sublattice, signal = (
            cells[judged],
            points[judged],
            sublattice[judged],
            signal[judged],
        )
        patches = patches.only(judged)
    beside = _beside(cells, sublattice, np.abs(signal) > STRONG)
    plain = ~beside
    for which in (METAL, CHALCOGEN):
        own = sublattice == which
        signal[own] = normalised(
            points[own],
            signal[own],
            plain[own],
            sd_px=NEIGHBOURHOOD * lattice.spacing_px,
            shape=(height, width),
        )
    if skew is not None:
        signal = unskewed(signal, skew.at(points))
    for which in (METAL, CHALCOGEN):
        own = sublattice == which
        told = signal[own & plain]
        if len(told) >= MIN_SITES:
            signal[own] /= np.clip(scatter_of(told, bright=True), 1 / FINE, FINE)
    return Sites(cells, points, sublattice, signal, signal, beside, patches)


def _beside(cells: np.ndarray, sublattice: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """Return (m,) whether a site or one of its neighbours is `strong` (m,)."""
    grid, near = Grid.of(cells), np.zeros(len(cells), bool)
    metal, chalcogen = (
        grid.laid(cells[own], strong[own], False)
        for own in (sublattice == METAL, sublattice == CHALCOGEN)
    )
    for which, same, other, bonds in (
        (METAL, metal, chalcogen, -np.array(BONDED)),
        (CHALCOGEN, chalcogen, metal, BONDED),
    ):
        around = [shifted(same, *step) for step in AROUND] + [
            shifted(other, *step) for step in bonds
        ]
        own = sublattice == which
        near[own] = np.logical_or.reduce(around)[grid.at(cells[own])]
    return near


def unskewed(signal: np.ndarray, skew: np.ndarray) -> np.ndarray:
    """Return the signal-to-noise (m,) of normal noise that is as unlikely as `signal` (m,) in noise
    of skewness `skew` (m,).

    The first term of Cornish & Fisher (1938); a signal beyond `SKEWED` standard deviations is not
    noise, and moves no more than one of that size.

    Examples
    --------
    >>> unskewed(np.array([-3.0, 3.0]), np.array([0.15, 0.15])).round(2).tolist()
    [-3.2, 2.8]
    """
    return np.asarray(signal - skew / 6 * (np.minimum(signal**2, SKEWED**2) - 1))


def _inner_sites(
    lattice: Lattice, shape: tuple[int, int], which: int, mask: np.ndarray | None, border_px: float
) -> tuple[np.ndarray, np.ndarray]:
    cells, places = numbered_sites(lattice, shape, which)
    (y, x), (low, high_y, high_x) = (
        places.T,
        (border_px, shape[0] - 1 - border_px, shape[1] - 1 - border_px),
    )
    inner = np.flatnonzero((y >= low) & (y <= high_y) & (x >= low) & (x <= high_x))
    cells, places = cells[inner], places[inner]
    if mask is None:
        return cells, places
    pixel = np.rint(places).astype(np.int64)
    within = mask[pixel[:, 0], pixel[:, 1]]
    return cells[within], places[within]


def normalised(
    points: np.ndarray,
    values: np.ndarray,
    plain: np.ndarray,
    *,
    sd_px: float,
    shape: tuple[int, int],
) -> np.ndarray:
    """Free `values` (m,) at `points` (m, 2) of their local mean, divide by their scatter, and by
    the local one where larger.

    Only `plain` (m,) sites tell the scatter of all, since those beside strong defects see these. It
    is a little below 1 even in a perfect frame, because a fitted crystal takes some of the noise
    with it.
    """
    if len(values) < MIN_SITES:
        return values
    told = values[plain] if plain.sum() >= MIN_SITES else values
    values = values / max(scatter_of(told), 0.5)
    ordinary = np.flatnonzero(plain & (np.abs(values) < CLIP))
    grid = _Cells.of(points, sd_px=sd_px, shape=shape)
    values = values - grid.mean(values, ordinary)
    ordinary = ordinary[np.abs(values[ordinary]) < CLIP]
    scatter = grid.mean(values**2, ordinary) / CLIPPED_VARIANCE
    return np.asarray(values / np.sqrt(np.maximum(scatter / TOLERATED, 1.0)))


def scatter_of(values: np.ndarray, *, bright: bool = False) -> float:
    """Return the standard deviation of normal `values` (m,), few of which are defects: that of the
    middle 95 %, corrected.

    Defects of moderate strength raise a median deviation more. `bright` looks at the values above
    the middle only: nearly all weak defects are dark.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=4000); values[:80] -= 3
    >>> abs(scatter_of(values) - 1) < 0.04
    True
    """
    middle = float(np.median(values))
    spread = float(np.median(np.abs(values - middle))) / 0.6745
    for _ in range(4):
        near = values[np.abs(values - middle) < 2 * spread]
        if not len(near):
            break
        middle, spread = float(near.mean()), float(near.std()) / 0.8796
    if bright:
        above = values[(values > middle) & (values < middle + 2 * spread)] - middle
        spread = float(np.sqrt((above**2).mean())) / 0.8796 if len(above) else spread
    return spread


@dataclass(frozen=True)
class _Cells:
    """Squares half an sd wide, by way of which Gaussian means around points are taken."""

    number: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, points: np.ndarray, *, sd_px: float, shape: tuple[int, int]) -> _Cells:
        cell = sd_px / 2
        grid = (int(shape[0] / cell) + 1, int(shape[1] / cell) + 1)
        where = np.floor((points + 0.5) / cell).astype(np.int64)
        return cls(where[:, 0] * grid[1] + where[:, 1], grid)

    def mean(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the Gaussian mean of ``values[rows]`` around every point."""
        n, number = self.shape[0] * self.shape[1], self.number[rows]
        total = np.bincount(number, weights=values[rows], minlength=n).reshape(self.shape)
        count = np.bincount(number, minlength=n).reshape(self.shape)
        gy, gx = (
            np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) * 0.5) ** 2) for n in self.shape
        )
        mean = (gy @ total @ gx) / np.maximum(gy @ count @ gx, 1e-12)
        return np.asarray(mean.ravel()[self.number])

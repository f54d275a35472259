"""Signal-to-noise at the sites of the lattice, each compared with its own neighbourhood.

A defect that sits on the lattice needs to be looked for at a few thousand places only, not at every
pixel; so at the same rate of false positives a weaker signal is enough.

>>> from stemkin.kernels.crystal.lattice import honeycomb
>>> snr = np.zeros((64, 64)); snr[32, 32] = -9.0
>>> places = site_signals(snr, honeycomb(10.0, metal=(32.0, 32.0)))
>>> places.points[np.argmin(places.signal)].tolist()
[32.0, 32.0]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, numbered_sites
from stemkin.kernels.detection.normalisation import MIN_SITES, normalised, scatter_of, unskewed
from stemkin.kernels.images.filters import Skewness
from stemkin.kernels.images.interpolation import Patches

BORDER_PX = 2
"""Nothing is looked for closer to the edge of a frame than this; diffusion assumes the same of a
track's last sight."""

FINEST = 1 / 128
"""Signals of sites are kept as whole multiples of this: their rounding, sd .0023, is lost in noise of
sd 1, and what is stored of them is half as large."""

STRONG_SITE = 5.0
"""Sites with such a signal hold a defect; what is seen beside them is not noise alone."""

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

    def only(self, kept: np.ndarray) -> Sites:
        """Return the sites with the numbers `kept`."""
        return Sites(
            self.cells[kept],
            self.points[kept],
            self.sublattice[kept],
            self.signal[kept],
            self.alone[kept],
            self.beside_strong[kept],
            self.patches.only(kept),
        )


@dataclass(frozen=True, eq=False)
class SeenSites:
    """What one frame shows of the sites of its largest crystal, by that frame's own numbers.

    Attributes
    ----------
    lattice
        The crystal, as the frame finds it.
    cells
        For METAL and CHALCOGEN: (m, 2) int16 whole-numbered u, v.
    signals
        For METAL and CHALCOGEN: (m,) float32 signal-to-noise, whole multiples of `FINEST`.
    other_share
        Pixels of the next largest crystal over those of this one; 0 where there is no other.
    """

    lattice: Lattice
    cells: tuple[np.ndarray, np.ndarray]
    signals: tuple[np.ndarray, np.ndarray]
    other_share: float

    @classmethod
    def of(cls, places: Sites, lattice: Lattice, other_share: float) -> SeenSites:
        """Return what `places`, the judged sites of `lattice`, show."""
        own = [places.sublattice == which for which in (METAL, CHALCOGEN)]
        cells = places.cells.astype(np.int16)
        signals = (np.rint(places.signal / FINEST) * FINEST).astype(np.float32)
        return cls(
            lattice,
            (cells[own[0]], cells[own[1]]),
            (signals[own[0]], signals[own[1]]),
            other_share,
        )


@dataclass(frozen=True)
class SiteGrid:
    """Values of sites laid out by cell: entry [u - low_u, v - low_v], one empty cell all around.

    The empty cells are what is found beyond the outermost sites when a grid is `shifted` by one.
    """

    low: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, cells: np.ndarray) -> SiteGrid:
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
    """Shift what a `SiteGrid` holds, so that entry [u, v] is that of [u + du, v + dv].

    Parameters
    ----------
    laid
        (nu, nv, ...) values as `SiteGrid.laid` gives them.
    du, dv
        Steps in cells, -1, 0 or 1: the empty margin is one cell wide.

    Returns
    -------
    (nu, nv, ...) values.
    """
    return np.roll(laid, (-du, -dv), axis=(0, 1))


def site_signals(
    snr: Array,
    lattice: Lattice,
    *,
    mask: np.ndarray | None = None,
    border_px: float = BORDER_PX,
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

    Returns
    -------
    The sites, metal columns first.
    """
    shape = (int(snr.shape[0]), int(snr.shape[1]))
    places = _raw_sites(snr, lattice, mask, border_px)
    if mask is not None:
        # the map is 0 at the rim of its grain, where no site is judged
        places = places.only(np.flatnonzero(places.signal != 0))
    strong = np.abs(places.signal) > STRONG_SITE
    beside = beside_others(places.cells, places.sublattice, strong, itself=True)
    signal = places.signal.copy()
    for which in (METAL, CHALCOGEN):
        own = places.sublattice == which
        signal[own] = comparable(
            places.points[own],
            signal[own],
            ~beside[own],
            skewness=None if skew is None else skew.at(places.points[own]),
            spacing_px=lattice.spacing_px,
            shape=shape,
        )
    return replace(places, signal=signal, alone=signal, beside_strong=beside)


def strong_sites(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, sublattice: int
) -> np.ndarray:
    """Return the places (m, 2) [px] of the sites of a sublattice that hold a defect for sure.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise, any library.
    lattice
        The crystal.
    mask
        (y, x) of the pixels that belong to it; None for all.
    sublattice
        METAL or CHALCOGEN.
    """
    places = _raw_sites(snr, lattice, mask, BORDER_PX)
    own = places.sublattice == sublattice
    return np.asarray(places.points[own & (np.abs(places.signal) > STRONG_SITE)])


def comparable(
    points: np.ndarray,
    signal: np.ndarray,
    plain: np.ndarray,
    *,
    skewness: np.ndarray | None,
    spacing_px: float,
    shape: tuple[int, int],
) -> np.ndarray:
    """Make the signals of the sites of one sublattice comparable: of mean 0 and sd 1 everywhere.

    They are freed of their local mean and divided by their scatter (`normalised`), their skewness
    is taken out (`unskewed`), and the scatter of what is above the middle is looked at once more.

    Parameters
    ----------
    points
        (m, 2) places (y, x) [px].
    signal
        (m,) signal-to-noise; NaN where it is not known.
    plain
        (m,) True for sites that are not beside strong defects: they tell the scatter.
    skewness
        (m,) of the noise of the signals; None for none.
    spacing_px
        Lattice constant [px].
    shape
        (height, width) of the frame [px].

    Returns
    -------
    (m,) signals.
    """
    known = np.flatnonzero(np.isfinite(signal))
    made, sure = np.full(len(signal), np.nan), plain[known]
    values = normalised(
        points[known], signal[known], sure, sd_px=NEIGHBOURHOOD * spacing_px, shape=shape
    )
    if skewness is not None:
        values = unskewed(values, skewness[known])
    if sure.sum() >= MIN_SITES:
        values = values / np.clip(scatter_of(values[sure], bright=True), 1 / FINE, FINE)
    made[known] = values
    return made


def _raw_sites(snr: Array, lattice: Lattice, mask: np.ndarray | None, border_px: float) -> Sites:
    """Return the sites of both sublattices with the map's own values; none is beside another."""
    shape = (int(snr.shape[0]), int(snr.shape[1]))
    both = [_inner_sites(lattice, shape, which, mask, border_px) for which in (METAL, CHALCOGEN)]
    cells, points = (np.concatenate([part[i] for part in both]) for i in (0, 1))
    kinds = np.array([METAL, CHALCOGEN], dtype=np.int8)
    sublattice = np.repeat(kinds, [len(part[0]) for part in both])
    patches = Patches.of(snr, points)
    signal = patches.values
    return Sites(cells, points, sublattice, signal, signal, np.zeros(len(cells), bool), patches)


def beside_others(
    cells: np.ndarray, sublattice: np.ndarray, strong: np.ndarray, *, itself: bool = False
) -> np.ndarray:
    """Tell which sites have strong neighbours: on the bonded columns, or on the six of their kind.

    Parameters
    ----------
    cells, sublattice
        As `Sites` has them.
    strong
        (m,) True for sites that show around them, too.
    itself
        Whether strong sites themselves count as well.

    Returns
    -------
    (m,) True where a site has such a neighbour.
    """
    around: tuple[tuple[int, int], ...] = AROUND[1:]
    if itself:
        around = AROUND
    grid, near = SiteGrid.of(cells), np.zeros(len(cells), bool)
    u, v = grid.at(cells)
    is_metal, is_chalcogen = sublattice == METAL, sublattice == CHALCOGEN
    metal, chalcogen = (
        grid.laid(cells[own], strong[own], False) for own in (is_metal, is_chalcogen)
    )
    # `BONDED` leads from chalcogen to metal; the other way round its steps are negative
    _mark_beside(near, is_metal, u, v, metal, np.array(around))
    _mark_beside(near, is_metal, u, v, chalcogen, -np.array(BONDED))
    _mark_beside(near, is_chalcogen, u, v, chalcogen, np.array(around))
    _mark_beside(near, is_chalcogen, u, v, metal, np.array(BONDED))
    return near


@compiled
def _mark_beside(
    near: np.ndarray,
    own: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    laid: np.ndarray,
    steps: np.ndarray,
) -> None:
    """Mark of the sites that are `own` those from which a step leads to what is `laid` and True."""
    for i in range(len(near)):
        if own[i]:
            for du, dv in steps:
                near[i] |= laid[u[i] + du, v[i] + dv]


def _inner_sites(
    lattice: Lattice, shape: tuple[int, int], which: int, mask: np.ndarray | None, border_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells and places (m, 2) of the sites of one sublattice within border and mask."""
    cells, places = numbered_sites(lattice, shape, which)
    y, x = places.T
    inner = (y >= border_px) & (y <= shape[0] - 1 - border_px)
    inner &= (x >= border_px) & (x <= shape[1] - 1 - border_px)
    cells, places = cells[inner], places[inner]
    if mask is None:
        return cells, places
    pixel = np.rint(places).astype(np.int64)
    within = mask[pixel[:, 0], pixel[:, 1]]
    return cells[within], places[within]

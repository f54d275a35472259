"""Where defects are: seen in the map, drawn towards their sites as far as the frame says.

A vacancy between bright columns is seen to a tenth of an angstrom, while its site is known to a
picometre; so both are averaged. How much a site is worth is asked of the frame itself: of how far
its defects lie from their sites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.crystal import peaks
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.detection.beside import bound_signals
from stemkin.kernels.detection.observer import Observer
from stemkin.kernels.detection.site_scatter import (
    FAR,
    GROUPS,
    LEAST_SPREAD,
    Away,
    SiteScatter,
    scattered,
)
from stemkin.kernels.detection.sites import BONDED, STRONG_SITE, SiteGrid, Sites, shifted
from stemkin.kernels.images.interpolation import Patches

STRONG = 8.0
"""The extremum of such a signal-to-noise is not displaced by noise beside it."""

VACANT = -3.0
"""Signal of a site beside a metal column that is another that is taken for a vacancy."""


@dataclass(frozen=True, eq=False)
class PlacedDefects:
    """The defects of a frame, each with where it is seen and which site it belongs to.

    Attributes
    ----------
    y, x
        (m,) where they are seen [px].
    score
        (m,) signed signal-to-noise.
    alone
        (m,) signal-to-noise of what is seen at the place itself, without what its neighbours tell.
    site
        (m, 2) site (y, x) [px] of each defect on the lattice, NaN elsewhere.
    lean
        (m, 2) unit vector (y, x) from a metal column that is another towards the vacancy beside it,
        zeros where there is none.
    seen_error
        (m,) standard deviation of where they are seen, along each axis [px].
    group
        (m,) which of `GROUPS` each belongs to, -1 for what is on no site.
    expected_false
        How many of the frame's are expected to be false, NaN where that is not known.
    """

    y: np.ndarray
    x: np.ndarray
    score: np.ndarray
    alone: np.ndarray
    site: np.ndarray
    lean: np.ndarray
    seen_error: np.ndarray
    group: np.ndarray
    expected_false: float = np.nan

    def only(self, kept: np.ndarray) -> PlacedDefects:
        """Return the defects with the numbers `kept`."""
        return PlacedDefects(
            self.y[kept],
            self.x[kept],
            self.score[kept],
            self.alone[kept],
            self.site[kept],
            self.lean[kept],
            self.seen_error[kept],
            self.group[kept],
            self.expected_false,
        )

    def and_then(self, others: PlacedDefects) -> PlacedDefects:
        """Return these defects and then the `others`."""
        return PlacedDefects(
            np.concatenate([self.y, others.y]),
            np.concatenate([self.x, others.x]),
            np.concatenate([self.score, others.score]),
            np.concatenate([self.alone, others.alone]),
            np.concatenate([self.site, others.site]),
            np.concatenate([self.lean, others.lean]),
            np.concatenate([self.seen_error, others.seen_error]),
            np.concatenate([self.group, others.group]),
            self.expected_false,
        )


def towards_sites(
    found: PlacedDefects,
    y: np.ndarray,
    x: np.ndarray,
    *,
    spacing_px: float,
    off_site: float,
    site_error_px: float = 0.0,
    known: SiteScatter | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Combine where a defect is seen with where its site is.

    A vacancy between bright columns is seen worse than the lattice is known; a defect on the lattice
    lies close to its site. Both are averaged with their inverse variances. How close is asked of
    the movie (`known`) or else of the frame, for dark and bright defects of either kind of site by
    themselves: the squares of all distances, less what noise explains, each with the weight that it
    deserves and `off_site` as one more. A vacancy pulls the image of the metal column beside it;
    that pull is the same everywhere, and measured in the same way. A defect that lies `FAR` standard
    deviations or more from its site stays where it is seen. What the scan does to a frame moves
    sites and atoms alike, and comes on top.

    Parameters
    ----------
    found
        As `on_lattices` gives it.
    y, x
        (m,) where they are seen [px], freed of jitter.
    spacing_px
        Lattice constant [px].
    off_site
        Standard deviation of defects about their sites, along each axis, over the lattice constant,
        before the frame is asked; infinity leaves them where they are seen.
    site_error_px
        How well the sites themselves are known, along each axis [px].
    known
        What the movie's sample told; None to ask the frame.

    Returns
    -------
    y, x
        (m,) [px].
    error
        (m,) standard deviation of either [px].
    """
    variance, seen = found.seen_error**2, np.stack([y, x], axis=1)
    # NaN where a defect has no site: such a row is neither on a site nor near one, so it is far
    away = seen - found.site
    prior = np.full(len(GROUPS), off_site * spacing_px)
    if known is None or not np.isfinite(off_site):
        pull, spread = scattered(away, variance, found.lean, found.group, prior_px=prior)
    else:
        pull = known.pull * spacing_px
        spread = np.maximum((np.array(known.spreads) * spacing_px) ** 2, LEAST_SPREAD)
        site_error_px = max(site_error_px, known.scan * spacing_px)
    away = away - pull * found.lean
    # what has no group has no site, and stays as it is seen
    own = np.where(found.group >= 0, spread[found.group], np.inf)
    # the weight of what is seen, of the two with inverse variances 1 / variance and 1 / spread
    share = 1 / (1 + variance / own)
    far = ~((away**2).max(axis=1, initial=0.0) < FAR**2 * (own + variance))
    moved = np.where(far[:, None], seen, found.site + share[:, None] * away)
    error = np.sqrt(np.where(far, variance, share * variance) + site_error_px**2)
    return moved[:, 0], moved[:, 1], error


def away_from_sites(found: PlacedDefects, y: np.ndarray, x: np.ndarray, spacing_px: float) -> Away:
    """Return what a frame tells of how its defects lie about their sites.

    Parameters
    ----------
    found, y, x
        As for `towards_sites`.
    spacing_px
        Lattice constant [px].

    Returns
    -------
    Offsets, their variances, leans and groups, over the lattice constant.
    """
    away = (np.stack([y, x], axis=1) - found.site) / spacing_px
    return away, (found.seen_error / spacing_px) ** 2, found.lean, found.group


"""`away`, `variance`, `lean` and `group` as `scattered` takes them, over the lattice constant."""
"""Displacements of the rows and of the columns of a frame (n, 2) [px]."""


def seen_error(score: np.ndarray, filter_sd_px: float) -> np.ndarray:
    """Tell how well Gaussian features are located: the Cramer-Rao bound sqrt(2) s / z.

    It is that of a feature of standard deviation s and signal-to-noise z in white noise (see
    `images.ideal`).

    Parameters
    ----------
    score
        (m,) signed signal-to-noise.
    filter_sd_px
        Width s of the features [px].

    Returns
    -------
    (m,) standard deviation of the place along each axis [px].
    """
    return np.asarray(np.sqrt(2) * filter_sd_px / np.maximum(np.abs(score), 1.0))


def nearby_extrema(
    snr: Array, points: np.ndarray, signs: np.ndarray, *, reach_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the extremum of a given sign close to each point, refined below one pixel.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise, any library.
    points
        (m, 2) places (y, x) [px].
    signs
        (m,) 1 for a maximum, -1 for a minimum.
    reach_px
        How far from its point an extremum may lie [px].

    Returns
    -------
    y, x (m,) [px].
    """
    xp = namespace(snr)
    height, width = (int(n) for n in snr.shape)
    if not len(points):
        return np.zeros(0), np.zeros(0)
    reach = max(1, int(np.floor(reach_px)))
    steps = np.arange(-reach - 1, reach + 2)
    centre = np.round(points).astype(np.int64)
    rows = np.clip(centre[:, 0, None] + steps, 0, height - 1)
    columns = np.clip(centre[:, 1, None] + steps, 0, width - 1)
    index = (rows[:, :, None] * width + columns[:, None, :]).reshape(-1)
    window = to_host(xp.take(xp.reshape(snr, (-1,)), xp.asarray(index, dtype=xp.int64)))
    window = np.asarray(window, dtype=float).reshape(len(points), len(steps), len(steps))
    window = window * signs[:, None, None]
    # windows reach one pixel further than is looked at, so every extremum has its neighbours
    dy, dx = np.meshgrid(steps, steps, indexing="ij")
    near = np.hypot(dy, dx) <= reach
    best = np.where(near, window, -np.inf).reshape(len(points), -1).argmax(axis=1)
    i, j = np.divmod(best, len(steps))
    which = np.arange(len(points))
    down = np.stack([window[which, i + s, j] for s in (-1, 0, 1)], axis=1)
    across = np.stack([window[which, i, j + s] for s in (-1, 0, 1)], axis=1)
    return rows[which, i] + peaks.vertex(down), columns[which, j] + peaks.vertex(across)


def leans_of(
    places: Sites,
    lattice: Lattice,
    mask: np.ndarray | None = None,
    observer: Observer | None = None,
    noise_units: Array | None = None,
) -> np.ndarray:
    """Point from each metal column that is another to the clearest vacancy beside it.

    Parameters
    ----------
    places
        The sites.
    lattice, mask
        Their crystal, and the (y, x) pixels that belong to it; None for all.
    observer, noise_units
        What was learned of the movie, and the (y, x) remainder over its noise that it looks at; the
        signals of the sites unless it knows what vacancies beside dopants look like.

    Returns
    -------
    (m, 2) unit vectors (y, x) for all sites; zeros where there is no such vacancy.
    """
    lean = np.zeros_like(places.points)
    if not len(lean):
        return lean
    other = np.flatnonzero((places.sublattice == METAL) & (np.abs(places.alone) > STRONG_SITE))
    # a metal column of cell c is bonded to the chalcogen columns of the cells c - BONDED
    steps = lattice.bond - np.array(BONDED) @ np.stack([lattice.a1, lattice.a2])
    vacant = VACANT
    if observer is not None and observer.knows_bound and noise_units is not None:
        columns = places.points[other][:, None] + steps
        seen = bound_signals(noise_units, lattice, mask, observer, columns)
        beside = np.nan_to_num(seen)
        vacant = min(VACANT, -float(observer.beside[CHALCOGEN]) / 2)
    else:
        grid, chalcogen = SiteGrid.of(places.cells), places.sublattice == CHALCOGEN
        signal = grid.laid(places.cells[chalcogen], places.signal[chalcogen], 0.0)
        at = grid.at(places.cells[other])
        beside = np.stack([shifted(signal, -du, -dv)[at] for du, dv in BONDED], axis=1)
    deepest, leaning = beside.argmin(axis=1), (beside < vacant).any(axis=1)
    lean[other[leaning]] = (steps / np.linalg.norm(steps, axis=1, keepdims=True))[deepest[leaning]]
    return lean


def places_of(
    snr: Array, points: np.ndarray, signal: np.ndarray, *, filter_sd_px: float, reach_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Locate defects in the map, close to their sites.

    Strong ones are seen at the extremum close by. A weak extremum may belong to the noise beside
    the site; there the slope at the site tells the offset, 2 s^2 grad z / z for a Gaussian seen
    through its own filter.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise, any library.
    points
        (m, 2) sites (y, x) [px].
    signal
        (m,) their signed signal-to-noise.
    filter_sd_px
        Width s of the matched filter [px].
    reach_px
        How far from its site a defect may be seen [px].

    Returns
    -------
    y, x (m,) [px].
    """
    y, x = nearby_extrema(snr, points, np.sign(signal), reach_px=reach_px)
    weak = np.flatnonzero(np.abs(signal) < STRONG)
    if len(weak):
        patches = Patches.of(snr, points[weak])
        offset = 2 * filter_sd_px**2 * patches.slopes / patches.values[:, None]
        small = (np.abs(offset) < reach_px / 2).all(axis=1)
        weak, moved = weak[small], points[weak[small]] + offset[small]
        y[weak], x[weak] = moved[:, 0], moved[:, 1]
    return y, x

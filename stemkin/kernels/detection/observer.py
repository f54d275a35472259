"""The Hotelling observer: sites judged by all that a missing atom does around them.

Of all linear observers the one with weights w = C^-1 s separates best a signature s from noise of
covariance C (Barrett & Myers, Foundations of Image Science (2004), ch. 13). Both are learned from
the movie itself (`observer_learning`), in the lattice's own frame: patches are taken at the points
of a fine hexagonal grid around each site, counted in lattice vectors, so that what was learned holds
for any rotation and pixel size. The weights are drawn as filters for the lattice of a frame, and
read at its sites (`reading`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.medians import median
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.detection.gathering import gathered, gathered_partly
from stemkin.kernels.detection.normalisation import scatter_of
from stemkin.kernels.detection.patch_grid import GRID, STEPS
from stemkin.kernels.detection.reading import Filters
from stemkin.kernels.detection.sites import STRONG_SITE, Sites, comparable
from stemkin.kernels.images.filters import Skewness

SMALLEST_SHARE = 0.25
"""A site with less of its filter inside its crystal is judged alone."""


def bonded(which: int) -> np.ndarray:
    """Return where the columns of the other kind around a site stand.

    Parameters
    ----------
    which
        METAL or CHALCOGEN: the kind of the site.

    Returns
    -------
    (3, 2) steps in lattice vectors.
    """
    metals = np.array([[-1, -1], [2, -1], [-1, 2]]) / 3
    if which == CHALCOGEN:
        return metals
    return -metals


@dataclass(frozen=True, eq=False, repr=False)
class Observer:
    """What was learned of the dark defects of a movie, for metal and chalcogen sites.

    Attributes
    ----------
    weights
        (2, P) what the patch around a site is multiplied with, METAL and CHALCOGEN; zeros where
        nothing significant was learned.
    blind
        (2, P) the same for sites beside strong defects: blind to whatever stands on the sites
        around, and as noisy.
    knowing
        (2, 3, P) the same for sites of which it is known that another column stands on the first,
        second or third of the bonded ones, and no more.
    depths
        (2,) by how many standard deviations what was learned stands out in the frames that it was
        learned from; NaN where nothing was.
    tails
        (2,) by how much larger signals of clean sites are than those of normal noise, where they
        are as seldom as false positives; signals are divided by it.
    signatures
        (2, P) what such a defect looks like, over the noise of a pixel; zeros where nothing was
        learned. Nothing is judged by it: people look at it.
    alike
        (2, R) correlation of the noise of clean sites with itself, 0, 1, ... steps of the grid
        away, METAL and CHALCOGEN; NaN where nothing was learned.
    judges
        (2,) whether it says what stands on METAL and on CHALCOGEN sites beside a defect: it does
        where it tells more than the amplitude of the column, as in haze and at a low dose.
    judges_itself
        (2,) whether its signal, and not the amplitude, says by how much dark METAL and CHALCOGEN
        columns with a defect of their own are darker.
    bound
        (3, P) what the patch around a dopant on a METAL site is multiplied with, for a vacancy on
        the first, second and third of its bonded columns (`bound_vacancies`); zeros where that was
        not learned, and then `knowing` judges those columns.
    bound_told
        (3,) what dopants alone give then, by how much more it scatters there than at clean sites,
        and how far a bound vacancy stands out (NaN where that was not learned), all over the noise
        of clean sites.
    """

    weights: np.ndarray
    blind: np.ndarray
    knowing: np.ndarray
    depths: np.ndarray
    tails: np.ndarray
    signatures: np.ndarray
    alike: np.ndarray
    judges: np.ndarray = field(default_factory=lambda: np.ones(2, dtype=bool))
    judges_itself: np.ndarray = field(default_factory=lambda: np.ones(2, dtype=bool))
    bound: np.ndarray = field(default_factory=lambda: np.zeros((3, len(GRID))))
    bound_told: np.ndarray = field(default_factory=lambda: np.array([0.0, 1.0, np.nan]))

    def __eq__(self, other: object) -> bool:
        """Tell whether the same was learned, to the last bit."""
        if not isinstance(other, Observer):
            return NotImplemented
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return all(np.array_equal(mine, yours, equal_nan=True) for mine, yours in pairs)

    def __hash__(self) -> int:
        """Return a number that is equal for equal observers."""
        return hash(self.weights.tobytes())

    def __repr__(self) -> str:
        """Say what is known: the array of weights is long."""
        return f"Observer(depths={self.depths.round(2).tolist()})"

    @property
    def beside(self) -> np.ndarray:
        """By how many (2,) standard deviations what was learned stands out beside another column.

        NaN where nothing was. All weights are as noisy, so their signals are as their depths.
        """
        told = np.full(2, np.nan)
        for which in (METAL, CHALCOGEN):
            seen = float(self.weights[which] @ self.signatures[which])
            if self.knows(which) and seen > 0:
                # the three bonded columns are alike, but for the last bits
                share = float(self.knowing[which, 0] @ self.signatures[which]) / seen
                told[which] = self.depths[which] * share / self.tails[which]
        if self.knows_bound:
            _, scatter, depth = self.bound_told
            told[CHALCOGEN] = depth / scatter
        return told

    @property
    def knows_bound(self) -> bool:
        """Tell whether it was learned what vacancies beside dopants on METAL sites look like."""
        return bool(np.isfinite(self.bound_told[2]))

    def knows(self, sublattice: int) -> bool:
        """Tell whether anything significant was learned of a sublattice."""
        return bool(np.isfinite(self.depths[sublattice]))


def observed(
    places: Sites,
    noise_units: Array,
    lattice: Lattice,
    mask: np.ndarray | None,
    observer: Observer,
    skew: Skewness | None,
) -> Sites:
    """Judge sites by the patches around them; those that nothing was learned of stay as they are.

    Parameters
    ----------
    places
        The sites, with the signals of the matched filter.
    noise_units
        (y, x) what is left of the frame without its crystal, over its noise, any library.
    lattice
        Their crystal.
    mask
        (y, x) of the pixels that belong to it; None for all.
    observer
        What was learned.
    skew
        Skewness of the noise; None for none.

    Returns
    -------
    The sites, with other signals; `alone` stays what it was.
    """
    signal, xp = places.signal.copy(), namespace(noise_units)
    image = noise_units
    if mask is not None:
        image = noise_units * xp.asarray(mask, dtype=noise_units.dtype)
    for which in (METAL, CHALCOGEN):
        own = np.flatnonzero(places.sublattice == which)
        if not (observer.knows(which) and len(own)):
            continue
        points, plain = places.points[own], ~places.beside_strong[own]
        seen = _judged(image, which, points, plain, lattice, mask, observer, skew)
        told = np.where(np.isfinite(seen), seen, signal[own])
        # what is dark beyond doubt is no darker for its neighbours
        alone = places.alone[own]
        signal[own] = np.where(alone < -STRONG_SITE, np.minimum(told, alone), told)
    return replace(places, signal=signal)


def _judged(
    image: Array,
    which: int,
    points: np.ndarray,
    plain: np.ndarray,
    lattice: Lattice,
    mask: np.ndarray | None,
    observer: Observer,
    skew: Skewness | None,
) -> np.ndarray:
    """Return the signals (m,) of the sites of one sublattice, NaN where too little is seen.

    Those at (m, 2) `points` that are `plain` (m,) are not beside strong defects.
    """
    filters = Filters.of(observer.weights[which], lattice)
    kernel, norm = filters.kernels[0], float(np.sqrt(filters.squares[0]))
    raw = _read(image, filters, points, mask)
    seen = comparable(
        points,
        raw,
        plain,
        skewness=_skewness(kernel, points, skew),
        spacing_px=lattice.spacing_px,
        shape=(int(image.shape[0]), int(image.shape[1])),
    )
    # sites beside strong defects are few, and are judged patch by patch; the noise of the blind
    # observer is that of the other one, which tells its scale in this frame
    ordinary = raw[plain & np.isfinite(raw)]
    beside = np.flatnonzero(~plain)
    if len(beside) and len(ordinary):
        patches, inside = patches_at(image, points[beside], lattice, mask)
        blind = -(patches @ observer.blind[which]) / norm
        blind = (blind - median(ordinary)) / max(scatter_of(ordinary), 1e-12)
        seen[beside] = np.nan
        seen[beside[inside]] = blind
    return np.asarray(seen / observer.tails[which])


def patches_at(
    image: Array, points: np.ndarray, lattice: Lattice, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Take the patches around those points that lie inside a frame and a crystal with them.

    Parameters
    ----------
    image
        (y, x) array, any library.
    points
        (n, 2) places (y, x) [px].
    lattice
        The crystal.
    mask
        (y, x) of the pixels that belong to it; None for all.

    Returns
    -------
    patches
        (m, P) float32 on the host, bilinear at the points of `GRID`.
    inside
        (m,) which of the points they belong to.
    """
    xp, (height, width) = namespace(image), (int(n) for n in image.shape)
    offsets = GRID / STEPS @ np.stack([lattice.a1, lattice.a2])
    reach = float(np.abs(offsets).max()) + 1
    within = (points > reach) & (points < np.array([height, width]) - 1 - reach)
    inside = np.flatnonzero(within.all(axis=1))
    if mask is None and isinstance(image, np.ndarray):
        return gathered(image, points[inside], offsets), inside
    at = points[inside, None] + offsets
    base = np.floor(at).astype(np.int64)
    if mask is not None:
        whole = mask[base[..., 0], base[..., 1]].all(axis=1)
        inside, at, base = inside[whole], at[whole], base[whole]
    if not len(inside):
        return np.zeros((0, len(GRID)), np.float32), inside
    if isinstance(image, np.ndarray):
        return gathered(image, points[inside], offsets), inside
    low, right = np.moveaxis((at - base).astype(np.float32), -1, 0)
    first = (base[..., 0] * width + base[..., 1]).ravel()
    flat, corners = xp.reshape(image, (-1,)), []
    for step in (0, 1, width, width + 1):
        taken = xp.take(flat, xp.asarray(first + step, dtype=xp.int64))
        corners.append(np.asarray(to_host(taken), dtype=np.float32).reshape(low.shape))
    above = corners[0] * (1 - right) + corners[1] * right
    below = corners[2] * (1 - right) + corners[3] * right
    return np.asarray(above * (1 - low) + below * low), inside


def partial_patches(
    image: Array, points: np.ndarray, lattice: Lattice, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Take the patches around points, as far as they lie inside a frame and a crystal.

    Parameters
    ----------
    image, points, lattice, mask
        As for `patches_at`.

    Returns
    -------
    patches
        (n, P) on the host, bilinear at the points of `GRID`, 0 where nothing is seen.
    seen
        (n, P) True where something is.
    """
    xp, (height, width) = namespace(image), (int(n) for n in image.shape)
    offsets = GRID / STEPS @ np.stack([lattice.a1, lattice.a2])
    if isinstance(image, np.ndarray):
        within = mask if mask is not None else np.zeros((0, 0), bool)
        taken, told = gathered_partly(image, np.asarray(points, dtype=float), offsets, within)
        return np.asarray(taken), np.asarray(told)
    at = points[:, None] + offsets
    base = np.floor(at).astype(np.int64)
    seen = ((base >= 0) & (base < np.array([height, width]) - 1)).all(axis=2)
    base = np.where(seen[..., None], base, 0)
    if mask is not None:
        seen &= mask[base[..., 0], base[..., 1]]
    first, flat = base[..., 0] * width + base[..., 1], xp.reshape(image, (-1,))
    low, right = np.moveaxis(at - base, -1, 0)
    patches = np.zeros(seen.shape)
    for step, weight in (
        (0, (1 - low) * (1 - right)),
        (1, (1 - low) * right),
        (width, low * (1 - right)),
        (width + 1, low * right),
    ):
        taken = xp.take(flat, xp.asarray(first.ravel() + step, dtype=xp.int64))
        patches += weight * np.asarray(to_host(taken), dtype=float).reshape(seen.shape)
    return np.where(seen, patches, 0.0), seen


def _read(
    image: Array, filters: Filters, points: np.ndarray, mask: np.ndarray | None
) -> np.ndarray:
    """Return the (m,) signals at points, dark ones negative, over what white noise would give.

    NaN where too little of the filter lies inside the frame and the mask.
    """
    sums, which = filters.read(image, points)
    values = -sums / np.sqrt(filters.squares[which])
    share = np.ones(len(points))
    if mask is None:
        shape = (int(image.shape[0]), int(image.shape[1]))
        far = np.array(shape) - 1 - filters.reach_px - 1
        cut = np.flatnonzero(((points < filters.reach_px + 1) | (points > far)).any(axis=1))
        share[cut] = _inside(filters.kernels[0].astype(np.float64) ** 2, points[cut], shape)
    else:
        inside, _ = filters.squared().read(mask.astype(np.float32), points)
        share = inside / filters.squares[which]
    enough = share > SMALLEST_SHARE
    return np.where(enough, values / np.sqrt(np.where(enough, share, 1.0)), np.nan)


def _inside(squares: np.ndarray, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which share (m,) of the squares of a filter lies inside the frame around each point.

    What lies inside is a rectangle, whose sum follows from four entries of a table of sums.
    """
    size, reach = len(squares), len(squares) // 2
    table = np.zeros((size + 1, size + 1))
    table[1:, 1:] = squares.cumsum(axis=0).cumsum(axis=1)
    nearest = np.rint(points).astype(np.int64)
    low = np.clip(reach - nearest, 0, size)
    high = np.clip(np.array(shape) - nearest + reach, 0, size)
    (top, left), (bottom, right) = low.T, high.T
    total = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return np.asarray(total / table[-1, -1])


def _skewness(kernel: np.ndarray, points: np.ndarray, skew: Skewness | None) -> np.ndarray | None:
    """Return the skewness (m,) of the noise of the signals that a filter gives, dark ones negative.

    Sums with weights -k of values of skewness g have the skewness -g sum(k^3) / sum(k^2)^(3/2); a
    Gaussian of width s, of which `Skewness` tells, has 2 / (3 s sqrt(pi)) in place of the quotient.
    """
    if skew is None:
        return None
    quotient = -(kernel**3).sum() / (kernel**2).sum() ** 1.5
    return np.asarray(skew.at(points) * quotient * 1.5 * skew.sd_px * np.sqrt(np.pi))

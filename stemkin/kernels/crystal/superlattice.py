"""Which net of reflections is the crystal's: the strongest ones may belong to a finer net.

In a honeycomb of equal atoms |F11| = 2 |F10|, in a perovskite whose columns are nearly alike F10 all
but vanishes, and a glide plane hides whole rows. The strong reflections alone then tell a cell that
is too small, by a factor 2, 3 or 4 in area. So where a net was found, the reflections of its
superlattices are looked at, each compared with what places of no net hold; one superlattice is
taken for the crystal's where two of its own reflections, in different directions, are there.

>>> over = np.ones((64, 33)); over[8, 8] = over[8, 56 - 64] = 40.0
>>> finer(np.array([[0.25, 0.0], [0.0, 0.25]]), over, (64, 64)).round(3).tolist()
[[0.25, 0.0], [0.0, 0.25]]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stemkin.kernels.crystal.fourier import MIN_CELLS, MIN_PERIOD_PX, reduce_basis

SURE = 7.0
"""Robust standard deviations over the places around, from which a reflection is there."""

SUPPORT = 4.0
"""The same for the third reflection that a net must show: where it is, is known."""

LARGEST = 4
"""Superlattices of so many cells are tried."""

FAR = 2.3
"""How far reflections are looked at, over the shortest reciprocal vector of the net."""

N_RINGS, N_PLACES, LEAST_PLACES = 16, 100, 100
"""Rings of places of no net that reflections are compared with, places in each, and the fewest."""

CLEAR_BINS = 4.0
"""Nothing closer to a reflection than this is a place of no net."""

APART_BINS = 6.0
"""Reflections closer to each other than this leak into each other."""

FAINT = 1e-2
"""Reflections so much weaker than the strongest one may be what a jittering scan scatters, or what
a compressed video adds."""

BESIDE_BINS, SHARP = 4, 2.0
"""A reflection has so many times the power of what is so far beside it."""


def finer(basis: np.ndarray, over: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the net of the crystal, of which `basis` may span only the strong reflections.

    Parameters
    ----------
    basis
        (2, 2) reduced reciprocal vectors as rows (y, x) [cycles per px].
    over
        (y, x // 2 + 1) power over the noise floor, of one frame or the mean of many.
    shape
        (height, width) of the frames [px].

    Returns
    -------
    (2, 2) reduced basis; the same where no superlattice shows.
    """
    highest = highest_around(over)
    # a superlattice of a superlattice: 2 x 2 by two steps of 2, black phosphorus by two glides
    for _ in range(2):
        found = _first_superlattice(basis, highest, shape)
        if found is None:
            break
        basis = found
    return basis


def is_supported(basis: np.ndarray, over: np.ndarray, shape: tuple[int, int]) -> bool:
    """Tell whether a net shows a reflection beside the two that span it.

    Two peaks always span a net; a crystal shows a third.

    Parameters
    ----------
    basis, over, shape
        As of `finer`.

    Returns
    -------
    Whether any of the net's other short reflections is there.
    """
    indices = _indices(2)
    others = np.abs(indices).sum(axis=1) > 1
    g = indices[others] @ basis
    g = g[np.argsort((g**2).sum(axis=1), kind="stable")]
    g = g[_is_within(g, shape)][:6]
    if not len(g):
        return False
    around = _Surroundings.of(basis, highest_around(over), shape)
    return bool(around.standing_out(g).max() > SUPPORT)


def _first_superlattice(
    basis: np.ndarray, highest: np.ndarray, shape: tuple[int, int]
) -> np.ndarray | None:
    """Return the net of the smallest superlattice that shows; None where none does."""
    around = _Surroundings.of(basis, highest, shape)
    least = FAINT * float(highest.max())
    far = FAR * float(np.linalg.norm(basis, axis=1).min())
    for matrix in _superlattices():
        net = reduce_basis(np.linalg.inv(matrix).T @ basis)
        if np.linalg.norm(net[0]) * min(shape) < APART_BINS:
            continue
        g = _indices(6) @ net
        own = g @ np.linalg.inv(basis)
        is_new = np.abs(own - np.round(own)).max(axis=1) > 0.1
        new = g[is_new & (np.linalg.norm(g, axis=1) < far) & _is_within(g, shape)]
        if len(new) < 2:
            continue
        is_sure = around.standing_out(new) > SURE
        sure = new[is_sure & (tops(new, highest, shape) > least) & _is_sharp(new, highest, shape)]
        if len(sure) > 1 and _is_plane(sure):
            return net
    return None


def _is_sharp(g: np.ndarray, highest: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Tell which frequencies (m, 2) are peaks, and not places on a streak.

    Lines that jitter scatter each strong reflection along y, rows that differ along x.
    """
    seen, beside = tops(g, highest, shape), np.zeros(len(g))
    for away in BESIDE_BINS * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) / shape:
        beside = np.maximum(beside, tops(g + away, highest, shape))
    return np.asarray(seen > SHARP * beside)


def _is_plane(g: np.ndarray) -> bool:
    """Tell whether the vectors (m, 2) point in different directions."""
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    cross = np.abs(np.outer(unit[:, 0], unit[:, 1]) - np.outer(unit[:, 1], unit[:, 0]))
    return bool(cross.max() > 0.2)


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """What places of no net hold, by their distance from the origin.

    Attributes
    ----------
    highest, shape
        As of `tops`.
    radius
        (n,) distances [cycles per px], increasing.
    middle, spread
        (n,) median of the power around there, and how far above it the 84th percentile is.
    """

    highest: np.ndarray
    shape: tuple[int, int]
    radius: np.ndarray
    middle: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, net: np.ndarray, highest: np.ndarray, shape: tuple[int, int]) -> _Surroundings:
        """Look at places that lie on no point of the `net` (2, 2)."""
        # the golden angle repeats no direction; rings are equally wide, for haze is steep
        number = np.arange(N_RINGS * N_PLACES) + 0.5
        farthest = min(1.1 * FAR * float(np.linalg.norm(net, axis=1).max()), 1 / MIN_PERIOD_PX)
        length = number / len(number) * farthest
        angle = number * np.pi * (3 - np.sqrt(5))
        places = length[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        index = places @ np.linalg.inv(net)
        away = np.linalg.norm((index - np.round(index)) @ net, axis=1) * min(shape)
        free = (away > CLEAR_BINS) & _is_within(places, shape)
        if free.sum() < LEAST_PLACES:
            free = _is_within(places, shape)
        power, length = tops(places[free], highest, shape), length[free]
        parts = np.array_split(np.arange(len(power)), max(1, len(power) * N_RINGS // len(number)))
        # a superlattice that is there covers few of the places: median and percentile do not mind
        ranks = [np.percentile(power[part], [50, 84.13]) for part in parts]
        middle, high = np.transpose(ranks)
        return cls(
            highest, shape, np.array([length[p].mean() for p in parts]), middle, high - middle
        )

    def standing_out(self, g: np.ndarray) -> np.ndarray:
        """Return by how many robust standard deviations the power at `g` (m, 2) stands out."""
        length = np.linalg.norm(g, axis=1)
        middle, spread = (
            np.interp(length, self.radius, known) for known in (self.middle, self.spread)
        )
        return np.asarray((tops(g, self.highest, self.shape) - middle) / np.maximum(spread, 1e-30))


def tops(g: np.ndarray, highest: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Read the largest power within one bin of each frequency.

    Parameters
    ----------
    g
        (m, 2) frequencies (y, x) [cycles per px].
    highest
        (y, x // 2 + 1) as `highest_around` gives it.
    shape
        (height, width) of the frames [px].

    Returns
    -------
    (m,) power.
    """
    height, width = shape
    # one of each pair +g and -g lies in the half that the spectrum of a real image keeps
    g = np.where(g[:, 1:] < 0, -g, g)
    rows, columns = np.rint(g[:, 0] * height).astype(int), np.rint(g[:, 1] * width).astype(int)
    columns = np.clip(columns, 0, highest.shape[1] - 1)
    return np.asarray(highest[rows % height, columns], dtype=float)


def highest_around(over: np.ndarray) -> np.ndarray:
    """Return the largest power within one bin of each bin.

    Parameters
    ----------
    over
        (y, x // 2 + 1) power, as of `finer`. Rows go on from the last to the first one.

    Returns
    -------
    (y, x // 2 + 1) power.
    """
    rows = np.maximum(np.maximum(np.roll(over, 1, axis=0), over), np.roll(over, -1, axis=0))
    highest = np.array(rows)
    highest[:, 1:] = np.maximum(highest[:, 1:], rows[:, :-1])
    highest[:, :-1] = np.maximum(highest[:, :-1], rows[:, 1:])
    return highest


def _is_within(g: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Tell which frequencies (m, 2) a frame of `shape` can show as reflections."""
    length = np.linalg.norm(g, axis=1)
    return np.asarray((length >= MIN_CELLS / min(shape)) & (length <= 1 / MIN_PERIOD_PX))


@lru_cache(maxsize=4)
def _indices(order: int) -> np.ndarray:
    """Return the (m, 2) pairs h, k up to an order, one of each pair +h, k and -h, -k."""
    n = np.arange(-order, order + 1)
    h, k = (index.ravel() for index in np.meshgrid(n, n, indexing="ij"))
    half = (h > 0) | ((h == 0) & (k > 0))
    return np.stack([h[half], k[half]], axis=1)


@lru_cache(maxsize=1)
def _superlattices() -> list[np.ndarray]:
    """List the matrices of all superlattices of up to `LARGEST` cells, the smallest first.

    The rows are their vectors in units of the lattice's, in Hermite's normal form.
    """
    found = []
    for n in range(2, LARGEST + 1):
        for a in range(1, n + 1):
            if n % a == 0:
                found += [np.array([[a, b], [0, n // a]], float) for b in range(n // a)]
    return found

"""What is said of a detection: how bright each lattice site around it is, compared with the perfect
crystal.

Amplitudes are in units of a metal column's height above the hollow sites: an S vacancy reads about
-0.07, a missing W column -1, Mo in place of W -0.6, whatever the dose, the pixel size or the
rotation. Around a site of a honeycomb stand two triangles of sites at a/sqrt(3) (one occupied, one
not), then six of its own kind at a:

    centre 1 | occupied triangle 3 | other triangle 3 | mean of the six 1

Neighbourhoods that differ by a turn of 120 degrees are the same defect: the occupied triangle is
turned until the column that lost most comes first, and the turn is kept as the `orientation` (0, 1,
2: which of the three columns).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.kernels.classes.neighbours import (
    atoms_around,
    contrast,
    fall,
    places_around,
    slopes_at,
    smooth_variance,
)
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, sites
from stemkin.kernels.crystal.patches import (
    HOLLOW,
    axes_of,
    centre_sites,
    crops,
    gaussian_means,
    hollow_of,
    patches,
)

SITE_NAMES = ("site", "centre", "near_0", "near_1", "near_2", "gap_0", "gap_1", "gap_2", "ring")
"""The physical descriptors, in order: the kind of site, then the amplitudes (see the module's
docstring)."""

FILTER_SD = 0.14
"""Standard deviation of the weights over the lattice constant: about that of a column's image,
which is where noise weighs least."""

LEAKAGE = float(np.exp(-1 / (12 * FILTER_SD**2)))
"""Share of a column that the weights of a neighbour at a/sqrt(3) see, for an image as wide as the
weights; it is undone."""

MIN_SHARE = 0.6
"""Share of a site's weight that must lie within the frame; else the site counts as perfect."""

CHANGED = 0.25
"""Size of the amplitude of a site from which on another atom, or none, stands there."""

COMPARABLE = 0.6
"""Height of the dimmer columns over that of the brighter ones from which on a dopant may as well be
on a dimmer one: graphene, MoSe2."""

LEVEL_SITES = 160
"""Sites from which the levels of a frame are taken."""

STEEP_SITES = 64
"""Sites beside which it is measured how steeply columns fall."""

_PER_DETECTION = ("physical", "patches", "pictures", "orientation", "satellite", "atoms")


def _shares(site: int, variance: float) -> np.ndarray:
    """Return the (13, 13) shares of the columns around a site that are seen at each of its places;
    `variance` is the mean of that of a column and that of the weights."""
    places = places_around(site)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    return np.asarray(np.exp(-(apart**2) / (4 * variance)))


_KINDS = (METAL, CHALCOGEN, HOLLOW)
_PLACES = np.stack([places_around(site) for site in _KINDS])
_UNMIX = np.stack([np.linalg.inv(_shares(site, FILTER_SD**2)) for site in _KINDS])
"""(3, 13, 13) from what the weights see to the amplitudes of the columns, each a Gaussian as wide
as the weights."""


@dataclass(frozen=True, eq=False)
class Scale:
    """What one unit of amplitude is in a frame.

    Attributes
    ----------
    height
        Height of a metal column as the weights see it, in the frame's units.
    noise
        (3,) standard deviation of an amplitude at METAL, CHALCOGEN and HOLLOW sites, in units of
        `height`.
    level
        Weighted mean of the frame at hollow sites, in the frame's units.
    chalcogen
        Height of a chalcogen column, in units of `height`.
    spacing_px
        Lattice constant [px].
    contrast
        Weighted mean of the frame at metal sites minus that at hollow sites, in the frame's units.
    metal
        (m, 2) metal sites [px] at which it was measured, about `LEVEL_SITES`.
    """

    height: float
    noise: np.ndarray
    level: float
    chalcogen: float
    spacing_px: float
    contrast: float
    metal: np.ndarray


def scale_of(
    frame: np.ndarray, rest: np.ndarray, lattice: Lattice, *, mask: np.ndarray | None = None
) -> Scale | None:
    """Measure the unit of amplitude; None where no column stands out.

    Parameters
    ----------
    frame
        (y, x) intensities.
    rest
        (y, x) the frame without its crystal, same units.
    lattice
        Of the frame.
    mask
        (y, x) of the pixels that belong to it; all unless given.
    """
    sd = FILTER_SD * lattice.spacing_px
    metal, both = _within(lattice, frame, mask), np.stack([frame, rest])
    steps = (np.zeros(2), lattice.bond, hollow_of(lattice) - lattice.metal)
    levels, spreads = np.array([_level_and_spread(both, metal + step, sd) for step in steps]).T
    seen = float(levels[METAL] - levels[HOLLOW])
    height = seen / (
        1 - 3 * LEAKAGE
    )  # a hollow site sees three metal columns, a metal column three hollow sites
    if not height > 0:
        return None
    chalcogen = float(levels[CHALCOGEN] - levels[HOLLOW]) / seen
    return Scale(
        height, spreads / height, float(levels[HOLLOW]), chalcogen, lattice.spacing_px, seen, metal
    )


def _within(lattice: Lattice, frame: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return the (m, 2) metal sites [px] of a frame, of those within `mask`: about `LEVEL_SITES` of
    them."""
    metal = sites(lattice, (frame.shape[0], frame.shape[1]), METAL)
    if mask is not None:
        metal = metal[
            mask[tuple(np.clip(np.round(metal).astype(int), 0, np.array(mask.shape) - 1).T)]
        ]
    return metal[:: max(1, len(metal) // LEVEL_SITES)]


def _level_and_spread(both: np.ndarray, points: np.ndarray, sd_px: float) -> tuple[float, float]:
    """Return the median of the frame and the scatter of the remainder at the sites `points`,
    defects left out."""
    points = points[((points > 0) & (points < np.array(both.shape[1:]) - 1)).all(axis=1)]
    if not len(points):
        return np.nan, np.nan
    level, rest = gaussian_means(both, points, sd_px)
    return float(np.median(level)), float(np.median(np.abs(rest - np.median(rest)))) / 0.6745


def site_offsets(kinds: np.ndarray) -> np.ndarray:
    """Return the (m, 13, 2) canonical steps from sites of the given (m,) `kinds` to themselves, the
    occupied triangle, the other one, the six."""
    return np.asarray(_PLACES[np.asarray(kinds, int)])


def site_amplitudes(seen: np.ndarray, kinds: np.ndarray, scale: Scale) -> np.ndarray:
    """Return the (m, 13) amplitudes of the sites around detections, ordered as `site_offsets`; 0
    beyond the frame.

    Parameters
    ----------
    seen
        (m, 13) weighted means of the frame without its crystal at `site_offsets`; NaN beyond the
        frame.
    kinds
        (m,), as `patches.centre_sites` gives them.
    """
    values = np.nan_to_num(seen / scale.height)
    return np.asarray(
        np.einsum("ms,mts->mt", values, _UNMIX[np.asarray(kinds, int)], optimize=False)
    )


def blurred(amplitudes: np.ndarray, site: int, width: float) -> np.ndarray:
    """Return the amplitudes that are seen around a site where columns are wider than the weights.

    The weights then see more of the neighbours than `site_amplitudes` undoes, and the height of a
    column stands out less.

    Parameters
    ----------
    amplitudes
        (13,) true amplitudes of the sites, ordered as `site_offsets`.
    site
        METAL, CHALCOGEN or HOLLOW: the kind of the first of them.
    width
        Standard deviation of the image of a column [lattice constants].

    Returns
    -------
    (13,) amplitudes; the same ones for columns no wider than `FILTER_SD`.
    """
    if width <= FILTER_SD:
        return amplitudes
    seen = _shares(site, (width**2 + FILTER_SD**2) / 2) @ amplitudes
    leakage = np.exp(-1 / (6 * (width**2 + FILTER_SD**2)))
    return np.asarray(_UNMIX[site] @ seen * (1 - 3 * LEAKAGE) / (1 - 3 * leakage))


def fold(amplitudes: np.ndarray, thirds: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Turn each neighbourhood so that the column of its occupied triangle that lost most comes
    first.

    Parameters
    ----------
    amplitudes
        (m, 13) as `site_amplitudes` gives them.
    thirds
        (m,) which column comes first instead.

    Returns
    -------
    (m, 8) folded amplitudes (centre, near x3, gap x3, mean of the six) and the (m,) int8 turn in
    thirds: the `orientation`.

    Examples
    --------
    >>> a = np.zeros((1, 13)); a[0, 0] = -0.6; a[0, 3] = -0.07   # Mo, and an S missing in direction 2
    >>> folded, orientation = fold(a)
    >>> folded[0, :4].tolist(), orientation.tolist()
    ([-0.6, -0.07, 0.0, 0.0], [2])
    """
    centre, near, gap, six = np.split(amplitudes, [1, 4, 7], axis=1)
    if thirds is None:
        thirds = near.argmin(axis=1) if len(near) else np.empty(0, int)
    order = (thirds[:, None] + np.arange(3)) % 3
    turned = [np.take_along_axis(triangle, order, axis=1) for triangle in (near, gap)]
    return np.concatenate(
        [centre, *turned, six.mean(axis=1, keepdims=True)], axis=1
    ), thirds.astype(np.int8)


@dataclass(frozen=True, eq=False)
class Describer:
    """Turns detections into rows of numbers: the physical descriptors and then principal components
    of the patch.

    Attributes
    ----------
    uses_lattice
        False for movies without a lattice: then raw crops in units of the frame's noise, and
        principal components only.
    mean
        (p,) mean patch of the sample, flattened.
    components
        (k, p) principal components.
    """

    uses_lattice: bool
    mean: np.ndarray
    components: np.ndarray

    @property
    def names(self) -> list[str]:
        """What each descriptor is."""
        physical = list(SITE_NAMES) if self.uses_lattice else []
        return physical + [f"pc_{i}" for i in range(len(self.components))]

    def describe(self, look: Look) -> np.ndarray:
        """Return the (m, d) float32 descriptors of the detections of one frame; NaN where its
        lattice is missing."""
        if self.uses_lattice != look.has_lattice:
            return np.full((len(look.patches), len(self.names)), np.nan, np.float32)
        flat = look.patches.reshape(len(look.patches), self.mean.size) - self.mean
        # einsum and not a matrix product: a row's bits must not depend on how many rows there are
        scores = np.einsum("mp,kp->mk", flat, self.components, optimize=False)
        return np.concatenate([look.physical, scores], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen around the detections of one frame.

    Attributes
    ----------
    has_lattice
        Whether the frame has one.
    physical
        (m, 9) physical descriptors (`SITE_NAMES`), or (m, 0) without a lattice.
    patches
        (m, p, p) float32 of the remainder: canonical, or raw crops without a lattice.
    pictures
        Like `patches`, of the frame itself, its background at 0 and its metal columns at 1; empty
        unless asked for.
    orientation
        (m,) int8, -1 without a lattice.
    satellite
        (m,) whether a detection on a chalcogen site belongs to a defect that was detected on the
        metal site beside it.
    atoms
        (m, 10, 3) float32 where the atoms around stand (`neighbours.atoms_around`); empty unless
        asked for, or without a lattice.
    scale
        The unit of amplitude and its noise; None without a lattice.
    """

    has_lattice: bool
    physical: np.ndarray
    patches: np.ndarray
    pictures: np.ndarray
    orientation: np.ndarray
    satellite: np.ndarray
    atoms: np.ndarray
    scale: Scale | None

    def only(self, kept: np.ndarray) -> Look:
        """Return the look without the detections where `kept` (m,) is False."""
        return replace(
            self,
            **{
                name: getattr(self, name)[kept]
                for name in _PER_DETECTION
                if len(getattr(self, name))
            },
        )


def look_at(
    frame: np.ndarray,
    rest: np.ndarray,
    lattice: Lattice | None,
    points: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    pictures: bool = False,
    neighbours: bool = False,
) -> Look:
    """Look at the neighbourhoods of `points` in one frame.

    Parameters
    ----------
    frame
        (y, x) intensities.
    rest
        (y, x) the frame without its crystal (or background), same units.
    lattice
        Of the frame, or None.
    points
        (m, 2) positions (y, x) [px].
    mask
        (y, x) of the pixels that belong to `lattice`; all unless given.
    pictures, neighbours
        Whether to fill `Look.pictures` and `Look.atoms`.
    """
    frame, rest = np.asarray(frame, dtype=np.float32), np.asarray(rest, dtype=np.float32)
    scale = (
        None
        if lattice is None or not lattice.is_honeycomb
        else scale_of(frame, rest, lattice, mask=mask)
    )
    if lattice is None or scale is None:
        unit = float(np.median(np.abs(rest))) / 0.6745 or 1.0
        level = float(np.median(frame))
        none = np.empty((len(points), 0), np.float32)
        alone = np.zeros(len(points), bool)
        seen = crops((frame - level) / unit, points) if pictures else none
        return Look(
            False,
            none,
            crops(rest / unit, points),
            seen,
            np.full(len(points), -1, np.int8),
            alone,
            none,
            None,
        )
    centres, kinds = centre_sites(lattice, points)
    axes, sd_px = axes_of(lattice), FILTER_SD * lattice.spacing_px
    around = centres[:, None, :] + site_offsets(kinds) @ axes.T
    if neighbours:
        seen = slopes_at(rest, around, lattice, sd_px=sd_px, min_share=MIN_SHARE)
    else:
        seen = gaussian_means(rest, around, sd_px, min_share=MIN_SHARE)[None]
    folded, orientation = fold(site_amplitudes(seen[0], kinds, scale))
    atoms = np.empty((len(points), 0), np.float32)
    if neighbours:
        steepness = (
            fall(
                frame, scale.metal[:: max(1, len(scale.metal) // STEEP_SITES)], lattice, sd_px=sd_px
            )
            / scale.contrast
        )
        variance = float(smooth_variance(steepness, chalcogen=scale.chalcogen))
        height = scale.contrast / float(contrast(variance))
        atoms = atoms_around(
            seen, kinds, orientation, variance=variance, height=height, chalcogen=scale.chalcogen
        )
    drawn = np.empty((len(points), 0))
    if pictures:
        drawn = patches(
            (frame - scale.level) / np.float32(scale.height), centres, axes, orientation
        )
    physical = np.concatenate([kinds[:, None], folded], axis=1).astype(np.float32)
    shapes = patches(rest / np.float32(scale.height), centres, axes, orientation)
    return Look(
        True,
        physical,
        shapes,
        drawn,
        orientation,
        satellites(centres, physical, lattice, dimmer=scale.chalcogen),
        atoms,
        scale,
    )


def satellites(
    centres: np.ndarray, physical: np.ndarray, lattice: Lattice, *, dimmer: float
) -> np.ndarray:
    """Tell which detections are seen twice: beside a column that changed more, and was detected.

    The amplitudes around that column say it all (``near_0``, and the orientation which column), so
    the other one is not a defect of its own.

    Parameters
    ----------
    centres
        (m, 2) sites [px].
    physical
        (m, 9) physical descriptors.
    lattice
        Of the frame.
    dimmer
        Height of the dimmer columns over that of the brighter ones: only where they are
        `COMPARABLE` is a detection on a brighter column taken for part of one on a dimmer one.

    Returns
    -------
    (m,) True for those that are part of another one.
    """
    found = np.zeros(len(centres), bool)
    kinds, change = physical[:, 0], np.abs(physical[:, 1])
    hosts = [METAL, CHALCOGEN] if dimmer >= COMPARABLE else [METAL]
    for host in hosts:
        guest = CHALCOGEN if host == METAL else METAL
        here = np.flatnonzero(kinds == guest)
        there = np.flatnonzero((kinds == host) & (change > CHANGED))
        if not (len(here) and len(there)):
            continue
        steps = centres[here][:, None] - centres[there][None]
        apart = np.linalg.norm(steps, axis=2) / lattice.spacing_px
        beside = np.abs(apart - 1 / np.sqrt(3)) < 0.12
        found[here] = (beside & (change[here][:, None] < change[there][None])).any(axis=1)
    return found


def look_at_pieces(
    frame: np.ndarray,
    rest: np.ndarray,
    pieces: list[tuple[Lattice, np.ndarray | None]],
    points: np.ndarray,
    *,
    pictures: bool = False,
    neighbours: bool = False,
) -> Look:
    """Look at the neighbourhoods of `points` in a broken crystal, each in the lattice of its own
    piece.

    Parameters
    ----------
    frame, rest, points, pictures, neighbours
        As for `look_at`.
    pieces
        Lattices with the masks (y, x) of their pixels, the largest first; points in none belong to
        the first.
    """
    pixel = np.clip(np.round(points).astype(int), 0, np.array(frame.shape) - 1)
    owner = np.zeros(len(points), int)
    for i, (_, mask) in enumerate(pieces[1:], 1):
        if mask is not None:
            owner[mask[pixel[:, 0], pixel[:, 1]]] = i
    looks = [
        look_at(
            frame,
            rest,
            lattice,
            points[owner == i],
            mask=mask,
            pictures=pictures,
            neighbours=neighbours,
        )
        for i, (lattice, mask) in enumerate(pieces)
    ]
    if (
        len({look.has_lattice for look in looks}) > 1
    ):  # a piece too small to tell its own unit is looked at in the first lattice
        return look_at(
            frame,
            rest,
            pieces[0][0],
            points,
            mask=pieces[0][1],
            pictures=pictures,
            neighbours=neighbours,
        )
    back = np.argsort(np.argsort(owner, kind="stable"), kind="stable")
    joined = {
        name: np.concatenate([getattr(look, name) for look in looks])[back]
        for name in _PER_DETECTION
    }
    return Look(looks[0].has_lattice, scale=looks[0].scale, **joined)

"""Site amplitudes: how bright each lattice site around a detection is, beside the perfect crystal.

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

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.classes.neighbours import PLACE_KINDS, places_around
from stemkin.kernels.common.medians import median, row_medians
from stemkin.kernels.common.robust import robust_sd
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, sites
from stemkin.kernels.crystal.patches import HOLLOW, axes_of, hollow_of
from stemkin.kernels.images.local_means import gaussian_means

FILTER_SD = 0.14
"""Standard deviation of the weights over the lattice constant: about that of a column's image,
which is where noise weighs least."""

LEAKAGE = float(np.exp(-1 / (12 * FILTER_SD**2)))
"""Share of a column that the weights of a neighbour at a/sqrt(3) see, for an image as wide as the
weights; it is undone."""

MIN_SHARE = 0.6
"""Share of a site's weight that must lie within the frame; else the site counts as perfect."""

LEVEL_SITES = 160
"""Sites from which the levels of a frame are taken."""

HAZE_SITES = 64
"""Sites at which it is measured how much of what lies around a site lies on the site, too."""

AROUND = slice(4, 13)
"""Places of a neighbourhood that tell what lies around a site: all but itself and the occupied
triangle. Their median counts, since few of them hold another defect."""


def _shares(site: int, variance: float) -> np.ndarray:
    """Return the (13, 13) shares of the columns around a site that are seen at each of its places.

    `variance` is the mean of that of a column and that of the weights [squared lattice constants].
    """
    places = places_around(site)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    return np.asarray(np.exp(-(apart**2) / (4 * variance)))


_KINDS = (METAL, CHALCOGEN, HOLLOW)
_PLACES = np.stack([places_around(site) for site in _KINDS])
_UNMIX = np.stack([np.linalg.inv(_shares(site, FILTER_SD**2)) for site in _KINDS])
"""(3, 13, 13) from what the weights see to the amplitudes of the columns, each a Gaussian as wide
as the weights."""


@dataclass(frozen=True, eq=False)
class DescriptorScale:
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
    haze_share
        (3,) share of what lies around a site (haze, which is smooth) that lies on METAL, CHALCOGEN
        and HOLLOW sites, too: 0 where noise alone is around, 1 in strong haze.
    usual_around
        (3,) what lies around METAL, CHALCOGEN and HOLLOW sites by the median, in the frame's units.
    """

    height: float
    noise: np.ndarray
    level: float
    chalcogen: float
    spacing_px: float
    contrast: float
    metal: np.ndarray
    haze_share: np.ndarray
    usual_around: np.ndarray


def descriptor_scale(
    frame: np.ndarray, rest: np.ndarray, lattice: Lattice, *, mask: np.ndarray | None = None
) -> DescriptorScale | None:
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

    Returns
    -------
    The unit of amplitude with its noise, or None.
    """
    sd = FILTER_SD * lattice.spacing_px
    metal = _within(lattice, frame, mask)
    steps = (np.zeros(2), lattice.bond, hollow_of(lattice) - lattice.metal)
    levels = [_level(frame, metal + step, sd) for step in steps]
    hazes = [
        _haze(rest, metal + step, kind, lattice, sd)
        for kind, step in zip(_KINDS, steps, strict=True)
    ]
    shares, usual, spreads = np.array(hazes).T
    seen = float(levels[METAL] - levels[HOLLOW])
    # a hollow site sees three metal columns, a metal column three hollow sites: what is seen
    # between them is the height less three leaks
    height = seen / (1 - 3 * LEAKAGE)
    if not height > 0:
        return None
    chalcogen = float(levels[CHALCOGEN] - levels[HOLLOW]) / seen
    return DescriptorScale(
        height,
        spreads / height,
        float(levels[HOLLOW]),
        chalcogen,
        lattice.spacing_px,
        seen,
        metal,
        shares,
        usual,
    )


def _within(lattice: Lattice, frame: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return about `LEVEL_SITES` metal sites (m, 2) [px] of a frame, of those within `mask`."""
    metal = sites(lattice, (frame.shape[0], frame.shape[1]), METAL)
    if mask is not None:
        last = np.array(mask.shape) - 1
        rows, columns = np.clip(np.round(metal).astype(int), 0, last).T
        metal = metal[mask[rows, columns]]
    return metal[:: max(1, len(metal) // LEVEL_SITES)]


def _level(frame: np.ndarray, points: np.ndarray, sd_px: float) -> float:
    """Return the median of the frame at the sites `points`: it leaves defects out."""
    points = _inner(frame, points)
    if not len(points):
        return np.nan
    return float(median(gaussian_means(frame, points, sd_px)))


def _inner(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return those of `points` (m, 2) that lie inside an image."""
    within = (points > 0) & (points < np.array(image.shape) - 1)
    return np.asarray(points[within.all(axis=1)])


def _haze(
    rest: np.ndarray, points: np.ndarray, kind: int, lattice: Lattice, sd_px: float
) -> tuple[float, float, float]:
    """Measure the haze at sites of one kind.

    Returns
    -------
    How much of what lies around them lies on them, what lies around by the median, and the robust
    scatter of what is left: that of a Gaussian with this median deviation.
    """
    points = _inner(rest, points)
    points = points[:: max(1, len(points) // HAZE_SITES)]
    places = points[:, None, :] + _PLACES[kind] @ axes_of(lattice).T
    seen = gaussian_means(rest, places, sd_px, min_share=MIN_SHARE)
    own, around = seen[:, 0], around_of(seen)
    known = np.isfinite(own) & np.isfinite(around)
    own, around = own[known], around[known]
    if not len(own):
        return 0.0, 0.0, np.nan
    usual = float(median(around))
    beyond = around - usual
    # defects on the site, or all around it, tell nothing of haze
    plain = np.abs(own - median(own)) < 4 * robust_sd(own)
    plain &= np.abs(beyond) < 4 * robust_sd(around)
    power, share = float(beyond[plain] @ beyond[plain]), 0.0
    if power > 0:
        share = float(np.clip((own - median(own))[plain] @ beyond[plain] / power, 0.0, 1.0))
    return share, usual, float(robust_sd(own - share * beyond))


def around_of(seen: np.ndarray) -> np.ndarray:
    """Return what lies around sites: the median of the weighted means `AROUND` them.

    Parameters
    ----------
    seen
        (m, 13) weighted means at `site_offsets`; places beyond the frame are NaN, and tell nothing.

    Returns
    -------
    (m,) medians; NaN where nothing is known.
    """
    return row_medians(seen[:, AROUND])


def site_offsets(kinds: np.ndarray) -> np.ndarray:
    """Return the canonical steps from sites to the places of their neighbourhoods.

    Parameters
    ----------
    kinds
        (m,) METAL, CHALCOGEN or HOLLOW: the kind of each site.

    Returns
    -------
    (m, 13, 2) steps (y, x) [lattice constants] to the site itself, the occupied triangle, the other
    one, and the six of its own kind.
    """
    return np.asarray(_PLACES[np.asarray(kinds, int)])


def site_amplitudes(seen: np.ndarray, kinds: np.ndarray, scale: DescriptorScale) -> np.ndarray:
    """Unmix the amplitudes of the sites around detections from what the weights see there.

    Parameters
    ----------
    seen
        (m, 13) weighted means of the frame without its crystal at `site_offsets`; NaN beyond the
        frame.
    kinds
        (m,) METAL, CHALCOGEN or HOLLOW, as `patches.centre_sites` gives them.
    scale
        The unit of amplitude of the frame.

    Returns
    -------
    (m, 13) amplitudes in units of ``scale.height``, ordered as `site_offsets`; a place beyond the
    frame counts as unchanged.
    """
    # einsum without optimisation and not a matrix product: the bits of one detection must not
    # depend on how many others the frame holds
    kinds = np.asarray(kinds, int)
    # haze is smooth: what it adds to a site is told by what lies around
    haze = np.nan_to_num(around_of(seen) - scale.usual_around[kinds])
    seen = seen - scale.haze_share[PLACE_KINDS[kinds]] * haze[:, None]
    values = np.nan_to_num(seen / scale.height)
    return np.asarray(np.einsum("ms,mts->mt", values, _UNMIX[kinds], optimize=False))


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
    # wider columns blur into each other twice: at the places, and in the height that is the unit
    seen = _shares(site, (width**2 + FILTER_SD**2) / 2) @ amplitudes
    leakage = np.exp(-1 / (6 * (width**2 + FILTER_SD**2)))
    return np.asarray(_UNMIX[site] @ seen * (1 - 3 * LEAKAGE) / (1 - 3 * leakage))


def fold(amplitudes: np.ndarray, thirds: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Turn each neighbourhood so that the column of its occupied triangle that lost most leads.

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
    >>> a = np.zeros((1, 13)); a[0, 0] = -0.6; a[0, 3] = -0.07   # Mo, an S missing in direction 2
    >>> folded, orientation = fold(a)
    >>> folded[0, :4].tolist(), orientation.tolist()
    ([-0.6, -0.07, 0.0, 0.0], [2])
    """
    centre, near, gap, six = np.split(amplitudes, [1, 4, 7], axis=1)
    if thirds is None:
        thirds = near.argmin(axis=1)
    # a turn by 120 degrees moves both triangles on by one place and the six by two, but of the six
    # only the mean is kept, which no turn changes
    order = (thirds[:, None] + np.arange(3)) % 3
    turned = [np.take_along_axis(triangle, order, axis=1) for triangle in (near, gap)]
    folded = np.concatenate([centre, *turned, six.mean(axis=1, keepdims=True)], axis=1)
    return folded, thirds.astype(np.int8)

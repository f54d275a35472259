"""Where the atoms around a site stand, to a hundredth of a lattice constant, without peak finding.

This is local crystallography. What is left of a frame without its crystal tells at every site by
how much the column there is brighter (a) and displaced: a column of height A that moved by u leaves
a G(r) - A u . grad G(r), G being the image of a column. Smoothed with a Gaussian, value and slope
at the 13 sites of a neighbourhood are linear in all a and all *moments* p = A u together, so they
are unmixed by one matrix. Moments and heights are returned, not their ratio u: a vacancy has hardly
a column to measure, and sums over detections must be taken before anything is divided.

How wide a smoothed column is, is measured on the frame itself: by how steeply the smoothed frame
falls beside its metal columns.

>>> smooth_variance(steepness(0.04, chalcogen=0.1), chalcogen=0.1).round(4)
np.float64(0.04)
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.crystal.patches import HOLLOW, axes_of, turn_of
from stemkin.kernels.images.local_means import gaussian_slopes

N_ATOMS = 10
"""Atoms of a neighbourhood: at the site itself, on the triangles beside it, on the six sites of its
own kind."""

GRID = 2.0**-12
"""Moments [lattice constants] and heights are rounded to this (0.08 pm in WS2), so that sums of
them, and of their products, are exact in any order up to some 1e9 rows."""

LARGEST = 4.0
"""No moment or height is taken for larger: what is, was no column."""

PROBED = 0.1
"""Distance from metal columns [lattice constants] at which their steepness is measured."""

_BOND = np.array([np.sin(np.pi / 6), np.cos(np.pi / 6)]) / np.sqrt(3)
_PLUS = turn_of(np.arange(3)) @ _BOND
_SIX = np.stack([np.sin(np.arange(6) * np.pi / 3), np.cos(np.arange(6) * np.pi / 3)], axis=1)
_ASIDE = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])


PLACE_KINDS = np.array(
    [
        [METAL, *[CHALCOGEN] * 3, *[HOLLOW] * 3, *[METAL] * 6],
        [CHALCOGEN, *[METAL] * 3, *[HOLLOW] * 3, *[CHALCOGEN] * 6],
        [HOLLOW, *[METAL] * 3, *[CHALCOGEN] * 3, *[HOLLOW] * 6],
    ]
)
"""(3, 13) kinds of the places of `places_around` a METAL, CHALCOGEN or HOLLOW site."""


def places_around(site: int) -> np.ndarray:
    """Return the canonical steps from a site to the places of its neighbourhood.

    Parameters
    ----------
    site
        METAL, CHALCOGEN or HOLLOW: the kind of the site.

    Returns
    -------
    (13, 2) steps (y, x) [lattice constants] to the site itself, the three of the occupied triangle,
    the
    three of the other one, and the six of its own kind.
    """
    # the bonds of the two sublattices point in opposite directions
    near = _PLUS
    if site == CHALCOGEN:
        near = -_PLUS
    return np.concatenate([np.zeros((1, 2)), near, -near, _SIX])


def atoms_of(site: int) -> np.ndarray:
    """Return which places of a neighbourhood hold its atoms.

    Parameters
    ----------
    site
        METAL, CHALCOGEN or HOLLOW: the kind of the site.

    Returns
    -------
    (10,) numbers of `places_around`; -1 for no atom: nothing stands at the other triangle of a
    column.
    """
    if site == HOLLOW:
        return np.array([0, 1, 2, 3, 4, 5, 6, -1, -1, -1])
    return np.array([0, 1, 2, 3, 7, 8, 9, 10, 11, 12])


def kinds_of(site: int) -> np.ndarray:
    """Return the kinds of the columns at the atoms of a neighbourhood.

    Parameters
    ----------
    site
        METAL, CHALCOGEN or HOLLOW: the kind of the site.

    Returns
    -------
    (10,) kinds at `atoms_of`; HOLLOW where nothing stands in the perfect crystal.
    """
    atoms = atoms_of(site)
    return np.where(atoms < 0, HOLLOW, PLACE_KINDS[site, atoms])


def atoms_around(
    seen: np.ndarray,
    kinds: np.ndarray,
    thirds: np.ndarray,
    *,
    variance: float,
    height: float,
    chalcogen: float,
) -> np.ndarray:
    """Unmix moments and heights of the atoms around sites.

    Parameters
    ----------
    seen
        (3, m, 13) of the smoothed remainder at `places_around`: values, and slopes along canonical
        y and x [per lattice constant]; NaN beyond the frame.
    kinds, thirds
        (m,) kind of each site, and the turn that is undone (`amplitudes.fold`).
    variance
        Of a smoothed column [squared lattice constants], see `smooth_variance`.
    height
        Of a smoothed metal column, in the units of `seen`.
    chalcogen
        Height of a chalcogen column over that of a metal column.

    Returns
    -------
    (m, 10, 3) float32: moments along y and x [lattice constants] and change of height, both over
    the height of the perfect column; a column that is whole and moved by u has the moment u.
    Multiples of `GRID`; NaN where no atom is, and throughout where the frame ends within the
    neighbourhood.
    """
    perfect = np.array([1.0, chalcogen, 1.0])
    out = np.full((len(kinds), N_ATOMS, 3), np.nan, np.float32)
    for site in (METAL, CHALCOGEN, HOLLOW):
        rows = np.flatnonzero(kinds == site)
        if not len(rows):
            continue
        # (3, m, 13) become (m, 39): 13 values, 13 slopes along y, 13 along x, as in `_response`
        values = seen[:, rows].transpose(1, 0, 2).reshape(len(rows), -1) / height
        unmix = np.linalg.inv(_response(places_around(site), variance))
        change, moments = np.split(
            np.einsum("ms,ts->mt", values, unmix, optimize=False), [13], axis=1
        )
        moments = moments.reshape(-1, 2, 13).transpose(0, 2, 1)
        turned = _turned_back(np.concatenate([moments, change[..., None]], axis=2), thirds[rows])
        atoms = atoms_of(site)
        # where there is no atom (-1) the last place is read, and forgotten in the next line
        turned = turned[:, atoms] / perfect[kinds_of(site)][:, None]
        turned[:, atoms < 0] = np.nan
        too_large = (np.abs(turned) > LARGEST).any(axis=(1, 2))
        turned[too_large | ~np.isfinite(values).all(axis=1)] = np.nan
        out[rows] = np.round(turned / GRID) * GRID
    return out


def slopes_at(
    rest: np.ndarray, points: np.ndarray, lattice: Lattice, *, sd_px: float, min_share: float
) -> np.ndarray:
    """Measure the smoothed value of an image and its slopes along the canonical axes.

    Parameters
    ----------
    rest
        (y, x) image.
    points
        (..., 2) positions (y, x) [px].
    lattice
        Whose axes they are.
    sd_px
        Standard deviation of the smoothing Gaussian [px].
    min_share
        Share of a point's weight that must lie within the frame.

    Returns
    -------
    (3, ...) values, and slopes along canonical y and x [per lattice constant]; NaN beyond the
    frame.
    """
    value, *slopes = gaussian_slopes(rest, points, sd_px, min_share=min_share)
    return np.concatenate(
        [value[None], np.einsum("jk,j...->k...", axes_of(lattice), np.stack(slopes))]
    )


def fall(frame: np.ndarray, metal: np.ndarray, lattice: Lattice, *, sd_px: float) -> float:
    """Measure how steeply a smoothed frame falls at `PROBED` beside its metal columns.

    Parameters
    ----------
    frame
        (y, x) intensities.
    metal
        (m, 2) metal sites (y, x) [px].
    lattice
        Of the frame.
    sd_px
        Standard deviation of the smoothing Gaussian [px].

    Returns
    -------
    Median over the sites, in the frame's units per lattice constant.
    """
    points = metal[:, None] + PROBED * _ASIDE @ axes_of(lattice).T
    slopes = slopes_at(frame, points, lattice, sd_px=sd_px, min_share=0.9)[1:]
    return float(-np.nanmedian((slopes * _ASIDE.T[:, None]).sum(axis=0).mean(axis=1)))


def steepness(variance: np.ndarray | float, *, chalcogen: float) -> np.ndarray:
    """Compute the `fall` beside columns of a known width, over their `contrast`.

    Parameters
    ----------
    variance
        (...,) of a smoothed column [squared lattice constants].
    chalcogen
        Height of a chalcogen column over that of a metal column.

    Returns
    -------
    (...,) steepness [per lattice constant]; `smooth_variance` inverts it.
    """
    v = np.asarray(variance, float)[..., None, None]
    places = places_around(METAL)
    heights = np.array([1.0, *[chalcogen] * 3, *[0.0] * 3, *[1.0] * 6])
    step = PROBED * _ASIDE[:, None] - places
    falls = (step * _ASIDE[:, None]).sum(-1) / v * np.exp(-(step**2).sum(-1) / (2 * v)) * heights
    return np.asarray(falls.sum(axis=-1).mean(axis=-1) / contrast(variance))


def contrast(variance: np.ndarray | float) -> np.ndarray:
    """Compute how far metal sites stand above hollow ones, over the height of a metal column.

    Parameters
    ----------
    variance
        (...,) of a smoothed column [squared lattice constants].

    Returns
    -------
    (...,) contrast, below 1: a hollow site sees three metal columns, a metal column three hollow
    sites.
    """
    return 1 - 3 * np.exp(-1 / (6 * np.asarray(variance)))


_VARIANCES = np.geomspace(0.02, 0.055, 200)
"""Wider columns run into each other: their steepness over their contrast does not fall any more."""


def smooth_variance(measured: np.ndarray | float, *, chalcogen: float) -> np.ndarray:
    """Find the variance of a smoothed column that gives the measured `steepness`.

    Parameters
    ----------
    measured
        (...,) steepness [per lattice constant].
    chalcogen
        Height of a chalcogen column over that of a metal column.

    Returns
    -------
    (...,) variances [squared lattice constants], within those that can be told apart.
    """
    expected = steepness(_VARIANCES, chalcogen=chalcogen)
    # steepness falls as columns widen; `interp` wants rising abscissas, hence the two signs
    return np.asarray(np.interp(-np.asarray(measured), -expected, _VARIANCES))


def _response(places: np.ndarray, variance: float) -> np.ndarray:
    """Return the (39, 39) matrix from changes and moments at `places` to values and slopes.

    Both are ordered as 13 scalars, 13 along y, 13 along x.
    """
    d = places[:, None] - places[None]
    # a displaced column is -p . grad G: its value is the first derivative of the smoothed column,
    # its slopes the second ones
    k = np.exp(-(d**2).sum(-1) / (2 * variance))
    first = d / variance
    second = np.eye(2) / variance - first[..., :, None] * first[..., None, :]
    blocks = [
        [k, first[..., 0] * k, first[..., 1] * k],
        [-first[..., 0] * k, second[..., 0, 0] * k, second[..., 0, 1] * k],
        [-first[..., 1] * k, second[..., 1, 0] * k, second[..., 1, 1] * k],
    ]
    return np.block(blocks)


def _turned_back(values: np.ndarray, thirds: np.ndarray) -> np.ndarray:
    """Turn neighbourhoods (m, 13, 3: vector y, x and a number) back by `thirds` (m,) of a turn."""
    t = np.asarray(thirds, int)[:, None]
    # a third of a turn moves a triangle on by one place (1-3, 4-6) and the six (7-12) by two
    triangle = (t + np.arange(3)) % 3
    six = (2 * t + np.arange(6)) % 6
    order = np.concatenate([np.zeros_like(t), 1 + triangle, 4 + triangle, 7 + six], axis=1)
    moved = np.take_along_axis(values, order[:, :, None], axis=1)
    moved[..., :2] = np.einsum("mjk,mpk->mpj", turn_of(-t[:, 0]), moved[..., :2])
    return moved

"""Mean structure of a class, its modes of deformation and its strain, from sums over detections.

Of each detection a row v of 30 numbers: moments p (y, x) and changes of height h of its ten atoms
(`neighbours.atoms_around`). All below follows from n, sum of v and sum of v v^T. A displacement is
a ratio of means, u = <p> / (1 + <h>); to first order one detection deviates from it by w = (p - u
h) / (1 + <h>), minus its mean, so the covariance J C J^T of w gives

- the error of u: J C J^T / n,
- the modes of deformation: its principal axes (Pearson 1901), as in the notebooks of Maksov et al.
  (2019), but with each atom's displacement over its noise, since a faint column is measured ten
  times worse than a bright one and would fill every mode. The noise is that of the quietest column
  of the same kind. Noise alone gives variances up to (1 + sqrt(20 / n))^2 (Marchenko & Pastur
  1967),
- the strain: the affine map of the neighbourhood that fits u best, weighted by the errors.

Rows lie on a grid (`neighbours.GRID`), so the sums are exact: the same to the bit for every split
and order.

>>> atoms = np.zeros((4, 10, 3)); atoms[:, 1, 0] = [0.25, 0.25, 0.5, 0.5]
>>> found = structure_of(structure_sums(atoms, np.zeros(4, int), 1)[0], site=0)
>>> found.n, found.displacements[1].tolist(), found.covariances[1].round(6).tolist()
(4, [0.375, 0.0], [[0.005208, 0.0], [0.0, 0.0]])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.classes.neighbours import GRID, N_ATOMS, atoms_of, kinds_of, places_around

N_NUMBERS = 3 * N_ATOMS
N_SUMS = 1 + N_NUMBERS + N_NUMBERS**2

MIN_HEIGHT = 0.25
"""A column less high than this share of the perfect one has no position."""

N_MODES = 4
"""Modes that are kept."""


@dataclass(frozen=True, eq=False)
class Structure:
    """What the neighbourhoods of one class look like.

    Lengths are in lattice constants, atoms ordered as `neighbours.atoms_of`.

    Attributes
    ----------
    n
        Detections with a whole neighbourhood.
    places
        (10, 2) where the atoms of the perfect crystal stand (y, x).
    heights
        (10,) mean height over that of the perfect column.
    displacements, covariances
        (10, 2) mean displacements and (10, 2, 2) covariances of their errors; NaN for an atom that
        is missing.
    variances, modes
        (m,) variance of single detections along each mode, and (m, 10, 2) modes of length 1, the
        most significant first.
    over_noise, shares
        (m,) the same variance over that of noise, and its share of the sum over all modes.
    strain, strain_errors
        (4,) e_yy, e_xx, e_xy and rotation [rad, from +x to +y] of the best affine map, and their
        standard errors.
    breathing, breathing_error
        Mean displacement of the three nearest atoms away from the site.
    """

    n: int
    places: np.ndarray
    heights: np.ndarray
    displacements: np.ndarray
    covariances: np.ndarray
    variances: np.ndarray
    modes: np.ndarray
    over_noise: np.ndarray
    shares: np.ndarray
    strain: np.ndarray
    strain_errors: np.ndarray
    breathing: float
    breathing_error: float


def structure_sums(atoms: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Add up neighbourhoods group by group.

    Atoms that the site does not have are NaN and count as 0; a neighbourhood whose centre is NaN is
    left out.

    Parameters
    ----------
    atoms
        (m, 10, 3) moments y, x [lattice constants] and changes of height
        (`neighbours.atoms_around`).
    groups
        (m,) group of each neighbourhood; negative ones are left out.
    n_groups
        Number of groups.

    Returns
    -------
    (n_groups, N_SUMS) float64: n, the 30 sums of v, and the 900 of v v^T, row by row.
    """
    rows = np.asarray(atoms, dtype=np.float64)
    known = np.isfinite(rows[:, 0, 0]) & (groups >= 0)
    # (m, 10, 3) become (m, 30): ten moments along y, ten along x, ten changes of height
    rows = np.nan_to_num(rows[known]).transpose(0, 2, 1).reshape(-1, N_NUMBERS)
    groups = np.asarray(groups)[known]
    sums = np.zeros((n_groups, N_SUMS))
    for group in np.unique(groups):
        own = rows[groups == group]
        sums[group] = np.concatenate([[len(own)], own.sum(axis=0), (own.T @ own).ravel()])
    return sums


def structure_of(sums: np.ndarray, *, site: int) -> Structure:
    """Compute the mean structure of a class from its sums.

    Parameters
    ----------
    sums
        (N_SUMS,) of the class, as `structure_sums` gives them.
    site
        METAL, CHALCOGEN or HOLLOW: the kind of site that its detections lie on.

    Returns
    -------
    Displacements, modes and strain, each with its error.
    """
    n = round(float(sums[0]))
    mean = sums[1 : 1 + N_NUMBERS] / max(n, 1)
    spread = sums[1 + N_NUMBERS :].reshape(N_NUMBERS, N_NUMBERS) / max(n, 1) - np.outer(mean, mean)
    unbiased = np.nan
    if n > 1:
        unbiased = n / (n - 1)
    spread = spread * unbiased
    atoms = atoms_of(site)
    heights = np.where(atoms < 0, np.nan, 1 + mean[2 * N_ATOMS :])
    stands = np.nan_to_num(heights) >= MIN_HEIGHT
    moments = np.stack([mean[:N_ATOMS], mean[N_ATOMS : 2 * N_ATOMS]], axis=1)
    u = moments / np.where(stands, heights, np.nan)[:, None]
    to_u = _deviations(u, heights, stands)
    covariance = to_u @ spread @ to_u.T
    modes = _modes(covariance, np.nan_to_num(heights), kinds_of(site), stands)
    error = covariance / max(n, 1)
    places = places_around(site)[np.maximum(atoms, 0)]
    strain, strain_errors = _strain(places, u, error, stands)
    breathing, breathing_error = _breathing(places, u, error, stands)
    # rows and columns are (axis, atom): of each atom the (2, 2) block of its own two axes
    own = np.einsum("iaja->aij", error.reshape(2, N_ATOMS, 2, N_ATOMS))
    own = np.where(stands[:, None, None], own, np.nan)
    return Structure(
        n, places, heights, u, own, *modes, strain, strain_errors, breathing, breathing_error
    )


def noise_edge(n: int) -> float:
    """Compute the Marchenko-Pastur edge: the largest variance that noise alone gives a mode.

    Parameters
    ----------
    n
        Number of detections.

    Returns
    -------
    (1 + sqrt(20 / n))^2, in units of the noise's variance (Marchenko & Pastur 1967).
    """
    return float((1 + np.sqrt(2 * N_ATOMS / max(n, 1))) ** 2)


def _deviations(u: np.ndarray, heights: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """Return the (20, 30) matrix from a row's numbers to its displacements: all y, then all x.

    Missing atoms stay at rest.
    """
    over = np.where(stands, 1 / np.where(stands, heights, 1.0), 0.0)
    matrix = np.zeros((2 * N_ATOMS, N_NUMBERS))
    for axis in (0, 1):
        rows = np.arange(N_ATOMS) + axis * N_ATOMS
        matrix[rows, rows] = over
        matrix[rows, 2 * N_ATOMS + np.arange(N_ATOMS)] = -np.nan_to_num(u[:, axis]) * over
    return matrix


def _modes(
    covariance: np.ndarray, heights: np.ndarray, kinds: np.ndarray, stands: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return variances, modes (m, 10, 2), variances over noise and shares of the principal axes.

    The largest displacement of each mode is positive.
    """
    used = np.flatnonzero(np.concatenate([stands, stands]))
    if not len(used) or not np.isfinite(covariance).all():
        return np.zeros(0), np.zeros((0, N_ATOMS, 2)), np.zeros(0), np.zeros(0)
    quiet = np.zeros(N_ATOMS)
    moments = np.diagonal(covariance).reshape(2, N_ATOMS).mean(axis=0) * heights**2
    # the quietest column of a kind tells the noise of a moment: over a column's own height, that of
    # its displacement
    for kind in np.unique(kinds[stands]):
        same = stands & (kinds == kind)
        quiet[same] = moments[same].min() / heights[same] ** 2
    # no noise is less than that of rounding to the grid, whose variance is GRID^2 / 12
    sd = np.sqrt(np.maximum(np.concatenate([quiet, quiet])[used], GRID**2 / 12))
    values, vectors = np.linalg.eigh(covariance[np.ix_(used, used)] / np.outer(sd, sd))
    order = np.argsort(-values, kind="stable")[:N_MODES]
    moves = np.zeros((len(order), 2 * N_ATOMS))
    moves[:, used] = vectors[:, order].T * sd
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    largest = np.take_along_axis(moves, np.abs(moves).argmax(axis=1)[:, None], axis=1)
    over_noise = np.maximum(values[order], 0.0)
    modes = (moves / lengths * np.sign(largest)).reshape(-1, 2, N_ATOMS).transpose(0, 2, 1)
    shares = over_noise / max(float(values.sum()), 1e-30)
    return over_noise * lengths[:, 0] ** 2, modes, over_noise, shares


def _strain(
    places: np.ndarray, u: np.ndarray, error: np.ndarray, stands: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit u = t + F r to the atoms around the centre, each weighted by its own error."""
    used = np.flatnonzero(stands[1:]) + 1
    if len(used) < 3 or not np.isfinite(error).all():
        return np.full(4, np.nan), np.full(4, np.nan)
    rows = np.concatenate([used, used + N_ATOMS])
    r, zero, one = places[used], np.zeros(len(used)), np.ones(len(used))
    # unknowns t_y, t_x, F_yy, F_yx, F_xy, F_xx; rows first of all y, then of all x displacements
    along_y = np.stack([one, zero, r[:, 0], r[:, 1], zero, zero], axis=1)
    along_x = np.stack([zero, one, zero, zero, r[:, 0], r[:, 1]], axis=1)
    design = np.concatenate([along_y, along_x])
    weight = 1 / np.maximum(np.diagonal(error)[rows], 1e-12)
    solve = np.linalg.pinv(design.T @ (weight[:, None] * design)) @ (design.T * weight)
    # e_yy = F_yy, e_xx = F_xx, e_xy = (F_yx + F_xy) / 2, rotation = (F_yx - F_xy) / 2
    parts = np.array(
        [
            [0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0.5, 0.5, 0],
            [0, 0, 0, 0.5, -0.5, 0],
        ]
    )
    to_strain = parts @ solve
    variance = np.diagonal(to_strain @ error[np.ix_(rows, rows)] @ to_strain.T)
    return to_strain @ u[used].T.ravel(), np.sqrt(np.maximum(variance, 0.0))


def _breathing(
    places: np.ndarray, u: np.ndarray, error: np.ndarray, stands: np.ndarray
) -> tuple[float, float]:
    """Return the mean displacement of the three nearest atoms away from the site, and its error."""
    used = np.flatnonzero(stands[1:4]) + 1
    if not len(used):
        return float("nan"), float("nan")
    outwards = places[used] / np.linalg.norm(places[used], axis=1, keepdims=True) / len(used)
    rows = np.concatenate([used, used + N_ATOMS])
    weights = outwards.T.ravel()
    variance = float(weights @ error[np.ix_(rows, rows)] @ weights)
    error_of_mean = float("nan")
    if np.isfinite(variance):
        error_of_mean = float(np.sqrt(max(variance, 0.0)))
    return float((outwards * u[used]).sum()), error_of_mean

"""Local crystallography: where the atoms around defects stand, how they move, and the strain.

    rows = detect(archive, model, neighbours=True)   # detections, and the ten atoms around each
    found = crystallography(rows)
    found.structure                                  # mean positions and errors, a row per atom
    found.modes                                      # principal modes of deformation
    found.strain                                     # best affine map, breathing of the nearest

The frame is the lattice's own: lengths are in lattice constants (``_a``), a1 along +x, and
neighbourhoods that differ by a third of a turn are folded together as the class's `orientation`
says. So movies of any rotation and pixel size are pooled. Each partition is reduced to sums that
add in any order, to the bit (`kernels.structure`).

How to read the answer: a displacement is that of the mean column, relative to the crystal fitted
through the frame; errors are those of the mean over detections. A mode of deformation is one only
if its variance ``over_noise`` lies clearly above ``noise_edge``, the most that noise gives. Traps:
detections of one defect in many frames are not independent, so errors are too small where defects
differ lastingly from each other; a faint column (S) beside one that is changed altogether (Mo for
W) is seen displaced by up to 2 pm, because columns are not exactly Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.kernels.classes import structure as kernel
from stemkin.kernels.classes.neighbours import N_ATOMS, kinds_of
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.crystal.patches import HOLLOW
from stemkin.rows.passes import Sums, sum_over
from stemkin.rows.table import as_dask
from stemkin.vocabulary import checked, whole_numbers

SITES = {METAL: "metal", CHALCOGEN: "chalcogen", HOLLOW: "hollow"}
"""Words for the kinds of sites."""

SITE_COLUMN = "d00"
"""The descriptor that says which kind of site a detection lies on
(`kernels.descriptors.SITE_NAMES`)."""

NEEDED = ("class_id", SITE_COLUMN, *tables.ATOM_COLUMNS)
"""Columns that are looked at."""

STRAINS = ("e_yy", "e_xx", "e_xy", "rotation_rad")
"""What the affine map of a neighbourhood says."""


@dataclass(frozen=True, eq=False)
class Crystallography:
    """What the neighbourhoods of each class look like; three tables of `tables.COLUMNS`.

    Attributes
    ----------
    structure
        ``structure``: one row per class, kind of site and atom.
    modes
        ``modes``: one row per class, kind of site, mode and atom.
    strain
        ``strain``: one row per class and kind of site.
    """

    structure: pd.DataFrame
    modes: pd.DataFrame
    strain: pd.DataFrame


@one_thread
@checked
def crystallography(detections: Any) -> Crystallography:
    """Describe the neighbourhoods of each class. Computes once, one pass over the rows.

    Parameters
    ----------
    detections
        Rows (pandas or Dask) of ``detect(..., neighbours=True)``: ``class_id``, the descriptor
        ``d00`` and the atoms.

    Returns
    -------
    `Crystallography`, classes by number, the kind of site with the most detections first.
    Detections that are not named, have no lattice, or lie so close to the edge that atoms are
    missing do not count; nothing is left of a class that has no others.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    rows = as_dask(detections)
    tables.check_columns(rows, "neighbours", needed=NEEDED)
    return described(sum_over(rows[list(NEEDED)], neighbourhood_sums))


@one_thread
def neighbourhood_sums(rows: pd.DataFrame) -> Sums:
    """Sum up the neighbourhoods of a partition: (class, kind of site) → `kernels.structure` sums.

    Parameters
    ----------
    rows
        The columns `NEEDED`.
    """
    atoms = rows[list(tables.ATOM_COLUMNS)].to_numpy().reshape(len(rows), N_ATOMS, 3)
    class_id, site = whole_numbers(rows, "class_id"), rows[SITE_COLUMN].to_numpy()
    pairs = [(int(c), s) for c in np.unique(class_id[class_id >= 0]) for s in SITES]
    group = np.full(len(rows), -1)
    for i, (c, s) in enumerate(pairs):
        group[(class_id == c) & (site == s)] = i
    found = kernel.structure_sums(atoms, group, len(pairs))
    return {pair: sums for pair, sums in zip(pairs, found, strict=True) if sums[0] > 0}


def described(sums: Sums) -> Crystallography:
    """Return the tables that the sums over all detections say."""
    pairs = sorted(sums, key=lambda pair: (pair[0], -sums[pair][0], pair[1]))
    found = [(c, s, kernel.structure_of(sums[c, s], site=s)) for c, s in pairs]
    return Crystallography(
        _table("structure", [row for c, s, one in found for row in _atoms(c, s, one)]),
        _table("modes", [row for c, s, one in found for row in _modes(c, s, one)]),
        _table("strain", [_strain(c, s, one) for c, s, one in found]),
    )


def _table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    if not rows:
        return tables.empty(name)
    return tables.conform(pd.DataFrame(rows), name)


def _atoms(class_id: int, site: int, found: kernel.Structure) -> list[dict[str, Any]]:
    """Return the rows of ``structure``: atoms that stand at their places at all."""
    about = {"class_id": class_id, "site": SITES[site], "n": found.n}
    return [
        about | _atom(i, kind, found)
        for i, kind in enumerate(kinds_of(site))
        if np.isfinite(found.heights[i])
    ]


def _atom(i: int, kind: int, found: kernel.Structure) -> dict[str, Any]:
    covariance = found.covariances[i]
    return {
        "atom": i,
        "column": SITES[kind],
        "y_a": found.places[i, 0],
        "x_a": found.places[i, 1],
        "height": found.heights[i],
        "dy_a": found.displacements[i, 0],
        "dx_a": found.displacements[i, 1],
        "error_y_a": np.sqrt(covariance[0, 0]),
        "error_x_a": np.sqrt(covariance[1, 1]),
        "covariance_yx_a2": covariance[0, 1],
    }


def _modes(class_id: int, site: int, found: kernel.Structure) -> list[dict[str, Any]]:
    """Return the rows of ``modes``: each mode with the atoms that are displaced at all."""
    about = {"class_id": class_id, "site": SITES[site], "noise_edge": kernel.noise_edge(found.n)}
    seen = [i for i in range(N_ATOMS) if np.isfinite(found.displacements[i, 0])]
    rows: list[dict[str, Any]] = []
    for m, mode in enumerate(found.modes):
        strength = {
            "mode": m,
            "variance_a2": found.variances[m],
            "share": found.shares[m],
            "over_noise": found.over_noise[m],
        }
        rows += [about | strength | {"atom": i, "dy": mode[i, 0], "dx": mode[i, 1]} for i in seen]
    return rows


def _strain(class_id: int, site: int, found: kernel.Structure) -> dict[str, Any]:
    errors = [f"{name}_error" for name in STRAINS]
    return {
        "class_id": class_id,
        "site": SITES[site],
        "n": found.n,
        **dict(zip(STRAINS, found.strain, strict=True)),
        **dict(zip(errors, found.strain_errors, strict=True)),
        "breathing_a": found.breathing,
        "breathing_error_a": found.breathing_error,
    }

"""The points of a patch: a fine hexagonal grid around a site, counted in lattice vectors.

So what was learned of patches holds for any rotation and pixel size.
"""

from __future__ import annotations

import numpy as np

STEPS = 7
"""Points of the grid per lattice vector."""

REACH = 1.4
"""Radius of a patch, over the lattice constant: it holds the neighbours of both kinds."""


def _hexagonal_grid() -> np.ndarray:
    """Return the (P, 2) steps, in lattice vectors over `STEPS`, of all points within `REACH`."""
    index = np.arange(-2 * STEPS, 2 * STEPS + 1)
    h, k = (part.ravel() for part in np.meshgrid(index, index, indexing="ij"))
    near = h * h + k * k + h * k <= (REACH * STEPS) ** 2 + 1e-9
    return np.stack([h[near], k[near]], axis=1)


GRID = _hexagonal_grid()
"""(P, 2) points of a patch, counted in lattice vectors over `STEPS`."""

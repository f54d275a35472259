"""Descriptors: the row of numbers that says what a detection looks like.

First the physical ones (`SITE_NAMES`): the kind of its site and the amplitudes around it, see
`amplitudes`. Then principal components of its patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.classes.looks import Look

SITE_NAMES = ("site", "centre", "near_0", "near_1", "near_2", "gap_0", "gap_1", "gap_2", "ring")
"""The physical descriptors, in order: the kind of site, then the amplitudes (see
`amplitudes`)."""


@dataclass(frozen=True, eq=False)
class Describer:
    """Turns detections into rows of numbers: physical descriptors, then scores of the patch.

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
        """Return the (m, d) float32 descriptors of one frame's detections; NaN without lattice."""
        if self.uses_lattice != look.has_lattice:
            return np.full((len(look.patches), len(self.names)), np.nan, np.float32)
        flat = look.patches.reshape(len(look.patches), self.mean.size) - self.mean
        # einsum and not a matrix product: a row's bits must not depend on how many rows there are
        scores = np.einsum("mp,kp->mk", flat, self.components, optimize=False)
        return np.concatenate([look.physical, scores], axis=1).astype(np.float32)

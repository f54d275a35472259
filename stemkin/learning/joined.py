"""Looks at sampled frames, put together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.kernels.classes.looks import Look

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class JoinedLooks:
    """All looks of one kind (with a lattice, or without) put together."""

    uses_lattice: bool
    looks: list[Look]
    n_frames: int
    spacing_nm: float

    def joined(self, name: str) -> np.ndarray:
        """Return what the looks say of each detection, one after the other."""
        return np.concatenate([getattr(look, name) for look in self.looks])

    def median(self, name: str) -> Any:
        """Return the median over frames of what their `DescriptorScale` says."""
        return np.median([getattr(look.scale, name) for look in self.looks], axis=0)


def joined_looks(looks: list[tuple[Look, float | None]]) -> JoinedLooks:
    """Join looks: those in a lattice, or those without, whichever saw more.

    Parameters
    ----------
    looks
        Each with its pixel size [nm], None where it is not known.

    Returns
    -------
    The looks that were kept, and the median lattice constant [nm] of those with a pixel size.
    """
    in_lattice = sum(len(look.patches) for look, _ in looks if look.has_lattice)
    without = sum(len(look.patches) for look, _ in looks if not look.has_lattice)
    uses_lattice = in_lattice >= without
    if not uses_lattice:
        logger.warning(
            "most sampled detections lie in frames without a lattice: they are described by raw "
            "crops, so the classes do not carry over to other rotations or pixel sizes"
        )
    kept = [(look, size) for look, size in looks if look.has_lattice == uses_lattice]
    spacings_nm = [
        look.scale.spacing_px * size
        for look, size in kept
        if look.scale is not None and size is not None
    ]
    spacing_nm = float("nan")
    if spacings_nm:
        spacing_nm = float(np.median(spacings_nm))
    return JoinedLooks(uses_lattice, [look for look, _ in kept], len(looks), spacing_nm)

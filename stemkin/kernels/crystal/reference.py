"""What the frames of a movie share: the crystal that each of them is compared with.

One frame may show too little of its lattice, or a wrong one: a bright atom outshines it, a torn or
doubled frame shows a net of its own. A movie's frames show the same crystal, moved. So it is found
once, from the spectra of many frames added up (`pooling`), and looked for in each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.crystal.cell import MeanCell


@dataclass(frozen=True, eq=False)
class Reference:
    """The crystal that the frames of a movie share.

    Attributes
    ----------
    basis
        (2, 2) reciprocal vectors as rows (y, x) [cycles per px].
    strong
        (K, 2) whole numbers h, k of its strongest reflections, by which a frame is straightened.
    cell
        Its mean unit cell; None as long as only the net is known.
    step_px
        Median length of the steps from frame to frame [px] where they are well below half a lattice
        constant, so that the shortest step that the lattice allows is the likeliest by far; None
        where they are not, or where the sample holds too few neighbours.
    pattern, pattern_sd
        (K,) median share of each strong reflection in the sum of their amplitudes, and its robust
        standard deviation from frame to frame.
    contrast
        Range of nearly all pixels of a usual frame, in the movie's own units.
    """

    basis: np.ndarray
    strong: np.ndarray
    cell: MeanCell | None = None
    step_px: float | None = None
    pattern: np.ndarray | None = None
    pattern_sd: np.ndarray | None = None
    contrast: float = 0.0

"""Frames in units of their own contrast, whatever the detector counts in.

>>> image, unit = in_own_contrast(np.array([[0, 1000], [2000, 3000]], np.uint16))
>>> image.astype(float).round(2).tolist(), round(unit)
([[-0.52, -0.17], [0.17, 0.52]], 2880)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.common.medians import quantile

OUTLIER = 20.0
"""Pixels this many times the frame's contrast away from its middle hold no atom."""


def in_own_contrast(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """Bring a frame into units of its own contrast; zero is the middle of it.

    So currents in ampere and counts in millions have squares that float32 can hold. What is
    `OUTLIER` contrasts away is no column of atoms but a hot pixel or a cosmic ray, and is cut off:
    it would outshine the whole lattice.

    Parameters
    ----------
    frame
        (y, x) finite intensities, real.

    Returns
    -------
    The frame as float32, and the unit: the range of nearly all of its pixels.
    """
    step_y, step_x = (max(1, n // 64) for n in frame.shape)
    some = np.asarray(frame[::step_y, ::step_x], dtype=float)
    low, high = 0.0, 0.0
    if some.size:
        flat = some.ravel()
        low, high = quantile(flat, 0.02), quantile(flat, 0.98)
    scale = float(high - low) or float(np.std(frame, dtype=float)) or 1.0
    # integers of up to 16 bits are exact in float32; larger ones are scaled in float64 first
    working: np.dtype[Any] = np.dtype(np.float64)
    if frame.dtype.itemsize <= 2:
        working = np.dtype(np.float32)
    middle, share = working.type((low + high) / 2), working.type(1 / scale)
    # whole numbers of the machine's own order are read as they are; half precision and others are not
    native: np.dtype[Any] = frame.dtype
    if native.kind not in "iu" or not native.isnative:
        native = working
    return np.asarray(_scaled(np.ascontiguousarray(frame, native), middle, share)), scale


@compiled
def _scaled(frame: np.ndarray, middle: float, share: float) -> np.ndarray:
    """Return the float32 frame (y, x) less its middle, times a share, in the precision of both."""
    scaled = np.empty(frame.shape, np.float32)
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            scaled[y, x] = min(max((frame[y, x] - middle) * share, -OUTLIER), OUTLIER)
    return scaled

"""Frames in units of their own contrast, whatever the detector counts in.

>>> image, unit = in_own_contrast(np.array([[0, 1000], [2000, 3000]], np.uint16))
>>> image.astype(float).round(2).tolist(), round(unit)
([[-0.52, -0.17], [0.17, 0.52]], 2880)
"""

from __future__ import annotations

import numpy as np

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
        low, high = np.percentile(some, [2, 98])
    scale = float(high - low) or float(np.std(frame, dtype=float)) or 1.0
    # integers of up to 16 bits are exact in float32; larger ones are scaled in float64 first
    working = np.float32 if frame.dtype.itemsize <= 2 else np.float64
    scaled = frame.astype(working)
    np.subtract(scaled, (low + high) / 2, out=scaled)
    np.multiply(scaled, 1 / scale, out=scaled)
    return np.clip(scaled, -OUTLIER, OUTLIER, out=scaled).astype(np.float32, copy=False), scale

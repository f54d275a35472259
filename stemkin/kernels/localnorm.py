"""A frame made ready for a net: free of its slow background, in units of its own contrast.

>>> frame = np.random.default_rng(0).normal(50.0, 3.0, (64, 64)).astype(np.float32)
>>> level = evened(frame, spacing_px=10.0)
>>> bool(np.allclose(level, evened(7 * frame + 100, spacing_px=10.0), atol=1e-3))
True
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.filters import gaussian

WIDE = 1.5
"""Standard deviation, over the lattice constant, of the neighbourhood whose mean is taken away."""

GOOD = 75.0
"""The contrast of a frame is that of its better part: this percentile over neighbourhoods, so that holes do not count."""


def evened(frame: Array, *, spacing_px: float) -> Array:
    """Return (y, x) `frame` minus its local mean, over the standard deviation of its better part.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    spacing_px
        Lattice constant [px].
    """
    xp = namespace(frame)
    sd = min(WIDE * spacing_px, min(int(n) for n in frame.shape) / 5)
    frame = frame - xp.mean(frame)
    level = frame - gaussian(frame, sd)
    variance = to_host(gaussian(level**2, sd)[::4, ::4])
    return level * (1 / float(np.sqrt(np.percentile(variance, GOOD)) + 1e-30))

"""Labels for a net, from frames alone: the paper's, and better ones.

The paper's labels are pixels (`paper`): the frame without its low frequencies, compared with the
frame. Better ones are places (`of_remainder`): sites of the lattice, and extrema between them,
whose noise-normalised residual is too large for noise, dark and bright. What is neither clearly a
defect nor clearly none is said to be doubtful, and nothing is learned there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import to_host
from stemkin.kernels.crystal.residual import Remainder
from stemkin.kernels.detection import defects

SURE, DOUBTFUL = 0.3, 100.0
"""False positives per frame at which a place is labelled a defect, and up to which it is
doubtful."""

MERGED = 0.3
"""A doubtful place this close to a defect, over the lattice constant, is that defect."""


@dataclass(frozen=True, eq=False)
class TrainingLabels:
    """Places on one frame.

    Attributes
    ----------
    points
        (m, 2) defects (y, x) [px].
    channel
        (m,) 0 for dark, 1 for bright ones.
    doubtful
        (k, 2) places that may be defects.
    """

    points: np.ndarray
    channel: np.ndarray
    doubtful: np.ndarray


def paper(
    frame: np.ndarray, *, low: float = 0.25, high: float = 0.75, disk: float = 0.1
) -> np.ndarray:
    """Return the (y, x) mask of "defect" pixels as in Maksov et al. (2019), Methods.

    The central disk of radius ``disk * imagesize`` is removed from the Fourier transform; the
    absolute difference between the frame and what comes back is scaled to 0..1; pixels below `low`
    or above `high` are defects.

    Parameters
    ----------
    frame
        (y, x) intensities.
    low, high, disk
        The paper's settings.
    """
    frame = np.asarray(frame, dtype=float)
    height, width = frame.shape
    fy, fx = np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width) * width
    kept = np.hypot(fy, fx) > disk * min(frame.shape)
    # `fy`, `fx` count periods per frame, so the disk is a share of the shorter edge
    filtered = np.fft.ifft2(np.fft.fft2(frame) * kept).real
    difference = np.abs(frame - filtered)
    span = float(np.ptp(difference))
    scaled = (difference - difference.min()) / (span or 1.0)
    return np.asarray((scaled < low) | (scaled > high))


def of_remainder(
    rest: Remainder, *, sure: float = SURE, doubtful: float = DOUBTFUL
) -> TrainingLabels:
    """Return the labels of a frame with a lattice, from what is left of it without its crystal.

    Parameters
    ----------
    rest
        The frame without its crystal; one without a lattice gives no labels.
    sure, doubtful
        False positives per frame, see `SURE`.
    """
    if not rest.grains:
        return TrainingLabels(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros((0, 2)))
    crystals = [(g.lattice, None if g.mask is None else to_host(g.mask) > 0) for g in rest.grains]
    clear, loose = (
        defects.on_lattices(
            rest.snr,
            crystals,
            false_positives=n,
            relaxation=None,
            skew=rest.skew,
            filter_sd_px=rest.filter_sd_px,
        )
        for n in (sure, doubtful)
    )
    points, others = (np.stack([found.y, found.x], axis=1) for found in (clear, loose))
    known = np.isfinite(clear.site[:, 0])
    points[known] = clear.site[known]
    if len(points) and len(others):
        apart = np.hypot(*(others[:, None] - points).transpose(2, 0, 1)).min(axis=1)
        others = others[apart > MERGED * rest.grains[0].lattice.spacing_px]
    return TrainingLabels(points, (clear.score > 0).astype(np.int64), others)

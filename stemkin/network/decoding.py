"""From the maps of a net to places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stemkin.kernels.crystal import peaks
from stemkin.kernels.crystal.residual import FILTER_SD
from stemkin.kernels.detection.defects import MERGE
from stemkin.network.calibration import CHANNELS, logit_of, snr_of, summits

STRIDE = 2
"""Pixels per cell of the local net's maps."""

SURE, LEAST_PX, MOST_PX = 0.95, 5, 700
"""The paper's: probability of a defect's pixels, and how many of them a defect has."""


def threshold(false_positives: float, area_px: float, spacing_px: float) -> float:
    """Return the signal-to-noise that a perfect frame exceeds by chance `false_positives` times.

    Parameters
    ----------
    false_positives
        Mean number of them in a frame.
    area_px
        Area of the frame [px2].
    spacing_px
        Lattice constant [px].
    """
    edge = np.sqrt(area_px)
    return peaks.threshold_for(false_positives, (edge, edge), FILTER_SD * spacing_px)


def places(
    maps: np.ndarray, calibration: Mapping[str, Any], *, least: float, spacing_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the defects on the (4, y, x) `maps`.

    Parameters
    ----------
    maps
        (4, y, x) maps of one frame: logits of dark and bright, offsets (y, x) [px].
    calibration
        What logits mean, by channel, and the position error (`learning`).
    least
        Signal-to-noise from which on a place is a defect.
    spacing_px
        Lattice constant [px].

    Returns
    -------
    y, x [px], signal-to-noise, position error [px] and sign (-1 dark, +1 bright), (m,) each.
    """
    parts = []
    for channel, name in enumerate(CHANNELS):
        # Maps 0 and 1 are logits of dark and bright, 2 and 3 the offset (y, x) [px] from the middle
        # of a cell, which lies at STRIDE * cell + (STRIDE - 1) / 2.
        rows, columns = summits(maps[channel], logit_of(least, calibration[name]))
        logits = maps[channel][rows, columns]
        y, x = (
            STRIDE * at + (STRIDE - 1) / 2 + maps[2 + axis][rows, columns]
            for axis, at in enumerate((rows, columns))
        )
        parts.append(
            np.stack([y, x, snr_of(logits, calibration[name]), np.full(len(y), 2.0 * channel - 1)])
        )
    y, x, score, sign = np.concatenate(parts, axis=1).astype(float)
    # sign -1 is dark, +1 bright; of both at one place the surer stays
    kept = peaks.merge(y, x, score, min_distance_px=MERGE * spacing_px, ringing=0.0)
    y, x, score, sign = y[kept], x[kept], score[kept], sign[kept]
    floor, slope = calibration.get("position_error", (0.05, 2.0))
    return y, x, score, np.hypot(floor, slope / np.maximum(score, 1.0)), sign


def components(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the paper's detections on its net's (2, y, x) `maps`.

    Parameters
    ----------
    maps
        (2, y, x) logits of "perfect" and "defect".

    Returns
    -------
    y, x [px] and the largest difference of the logits, (m,) each.
    """
    from scipy import ndimage

    logit = maps[1].astype(float) - maps[0]
    labels, n = ndimage.label(logit > np.log(SURE / (1 - SURE)))
    if n == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    # label 0 is what lies between the defects; `numbers` are those of a defect's size
    numbers = np.arange(1, n + 1)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    numbers = numbers[(sizes >= LEAST_PX) & (sizes <= MOST_PX)]
    if not len(numbers):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    y, x = np.array(ndimage.center_of_mass(np.ones_like(logit), labels, numbers)).T
    return y, x, np.asarray(ndimage.maximum(logit, labels, numbers), float)


def stretched(frame: np.ndarray) -> np.ndarray:
    """Return `frame` (y, x) scaled to 0..1 as float32, the input of the paper's net."""
    frame = np.asarray(frame, dtype=np.float32)
    span = float(np.ptp(frame))
    return np.asarray((frame - frame.min()) / (span or 1.0))

"""Detector corrections: wrapped counts, dark and gain, dead pixels, flyback, inverted contrast.

Frames come from a file, so this works on NumPy where they are read. The order is that of the
detector, backwards: counts are unwrapped, columns of the beam's flyback cut off, dead pixels filled
from their living neighbours; then, in frames that are whole (`stemkin.kernels.images.quality`), the
dark image is subtracted, the gain divided out and the contrast turned. Frames that are blank,
saturated, truncated or corrupt stay as they are, so that they are still known as such.

>>> frames = np.array([[[10, 20, 30], [40, -1, 60], [70, 80, 90]]], dtype="i2")
>>> correct(frames, Correction(dead=np.eye(3, dtype=bool) & (np.arange(3) == 1)))[0, 1].tolist()
[40, 50, 60]
>>> unwrap(np.array([-1, 5], dtype="i2"), "unsigned").tolist()
[65535, 5]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np

from stemkin.kernels.images.quality import frame_status
from stemkin.tables import OK

Wrap = Literal["unsigned", "signed"]


@dataclass(frozen=True, eq=False)
class Correction:
    """What is to be undone; images are (y, x) of the raw frame, before columns are cut off.

    Attributes
    ----------
    dark
        What the detector reads without beam, in its counts: an image or one number.
    gain
        Its response to even light, in any unit (only the ratio to its mean counts): an image or one
        number.
    dead
        (y, x) truth values: pixels that say nothing. Pixels whose gain is 0 or not finite are dead
        too.
    flyback
        Columns to cut off at the left and the right, where the beam was still flying back.
    wrap
        ``"unsigned"``: negative counts are large ones that did not fit a signed type. ``"signed"``:
        huge counts are negative ones.
    invert
        Whether dark is bright (bright field, negatives). Integers are turned about their type's
        range, others change sign.
    """

    dark: np.ndarray | float | None = None
    gain: np.ndarray | float | None = None
    dead: np.ndarray | None = None
    flyback: tuple[int, int] = (0, 0)
    wrap: Wrap | None = None
    invert: bool = False

    def dtype(self, stored: np.dtype) -> np.dtype:
        """Return the type of corrected frames: as stored, or floating where dark or gain apply."""
        if self.dark is None and self.gain is None:
            return unwrapped(stored, self.wrap)
        if stored.kind == "f" and stored.itemsize > 4:
            return np.dtype(np.float64)
        return np.dtype(np.float32)


def correct(frames: np.ndarray, correction: Correction) -> np.ndarray:
    """Undo what the detector did to a block of frames.

    Parameters
    ----------
    frames
        (n, y, x) raw intensities.
    correction
        What is to be undone.

    Returns
    -------
    (n, y, x') corrected frames; x' is smaller by the flyback columns. `frames` itself is not
    changed.
    """
    raw = unwrap(frames, correction.wrap)
    dead = dead_pixels(correction, (raw.shape[1], raw.shape[2]))
    if dead is not None and dead.any():
        raw = fill_dead(raw, dead)
    columns = slice(correction.flyback[0], raw.shape[2] - correction.flyback[1])
    raw = raw[:, :, columns]
    if correction.dark is None and correction.gain is None and not correction.invert:
        return np.ascontiguousarray(raw)
    done = raw.astype(correction.dtype(frames.dtype))
    whole = np.flatnonzero(frame_status(raw) == OK)
    if len(whole):
        done[whole] = _levelled(done[whole], correction, columns)
    return done


def unwrap(values: np.ndarray, wrap: Wrap | None) -> np.ndarray:
    """Read the bits of integers as the other kind of integer.

    Parameters
    ----------
    values
        Any shape; integers unless `wrap` is None.
    wrap
        ``"unsigned"`` reads signed integers as unsigned ones, ``"signed"`` the other way round;
        None leaves them.

    Returns
    -------
    A view of `values`, same shape.

    Raises
    ------
    ValueError
        If the type cannot have wrapped in that way.
    """
    if wrap is None:
        return values
    return values.view(unwrapped(values.dtype, wrap))


def unwrapped(stored: np.dtype, wrap: Wrap | None) -> np.dtype:
    """Return the type that `unwrap` gives.

    Parameters
    ----------
    stored
        Type of the pixels in the file.
    wrap
        As for `unwrap`.

    Returns
    -------
    A type of the same size.

    Raises
    ------
    ValueError
        If the type cannot have wrapped in that way.
    """
    if wrap is None:
        return stored
    # how to be read → what is needed for that, and the letters of both kinds
    kinds = {"unsigned": ("signed", "i", "u"), "signed": ("unsigned", "u", "i")}
    if wrap not in kinds:
        msg = f'wrap must be "unsigned" or "signed", not {wrap!r}'
        raise ValueError(msg)
    needed, before, after = kinds[wrap]
    if stored.kind != before:
        msg = f"wrap={wrap!r} needs {needed} integers, but the pixels are {stored}"
        raise ValueError(msg)
    return np.dtype(f"{after}{stored.itemsize}")


def dead_pixels(correction: Correction, shape: tuple[int, int]) -> np.ndarray | None:
    """Find the pixels that are dead: those named, and those without gain.

    Parameters
    ----------
    correction
        What is to be undone.
    shape
        (height, width) of the raw frames [px].

    Returns
    -------
    (y, x) truth values; None where no pixel is named and no gain image is given.
    """
    reasons = []
    if correction.dead is not None:
        reasons.append(np.asarray(correction.dead, bool))
    if isinstance(correction.gain, np.ndarray):
        reasons.append(~np.isfinite(correction.gain) | (correction.gain <= 0))
    if not reasons:
        return None
    return np.broadcast_to(reduce(np.logical_or, reasons), shape)


def fill_dead(frames: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """Replace each dead pixel by the mean of its living neighbours, the nearest that there are.

    Parameters
    ----------
    frames
        (n, y, x) intensities.
    dead
        (y, x) truth values.

    Returns
    -------
    (n, y, x) a copy, of the same type.
    """
    filled = frames.copy()
    for y, x in np.argwhere(dead):
        box = _living_neighbours(dead, int(y), int(x))
        if box is None:
            continue
        mean = frames[(slice(None), *box)][:, ~dead[box]].mean(axis=1, dtype=np.float64)
        if frames.dtype.kind in "iu":
            mean = np.rint(mean)
        filled[:, y, x] = mean
    return filled


def _living_neighbours(dead: np.ndarray, y: int, x: int) -> tuple[slice, slice] | None:
    """Return the smallest square around a pixel in which any lives; None where all are dead."""
    for radius in range(1, max(dead.shape)):
        rows = slice(max(0, y - radius), y + radius + 1)
        columns = slice(max(0, x - radius), x + radius + 1)
        if not dead[rows, columns].all():
            return rows, columns
    return None


def _levelled(frames: np.ndarray, correction: Correction, columns: slice) -> np.ndarray:
    """Subtract the dark image, divide by the gain, turn the contrast."""
    if correction.dark is not None:
        frames = frames - _cut(correction.dark, columns).astype(frames.dtype)
    if correction.gain is not None:
        gain = np.asarray(correction.gain, np.float64)
        alive = np.isfinite(gain) & (gain > 0)
        relative = np.where(alive, gain, 1.0) / gain[alive].mean()
        relative = np.where(alive, relative, 1.0)
        frames = frames / _cut(relative, columns).astype(frames.dtype)
    if correction.invert:
        return _turned(frames)
    return frames


def _turned(frames: np.ndarray) -> np.ndarray:
    """Return `frames` with dark and bright exchanged, in their own type."""
    if frames.dtype.kind == "f":
        return -frames
    # max + min is -1 for signed integers and max for unsigned ones, so the whole range is kept
    info = np.iinfo(frames.dtype)
    return np.asarray(info.max + info.min - frames, frames.dtype)


def _cut(image: np.ndarray | float, columns: slice) -> np.ndarray:
    """Return the `columns` of an image (y, x); a single number as it is."""
    image = np.asarray(image)
    if image.ndim == 2:
        return image[:, columns]
    return image

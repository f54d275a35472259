"""Pixels that are missing: dead ones stored as NaN, beam stops, cut corners, dead rows and columns.

Many programs write NaN where a detector is dead. Such pixels say nothing of the specimen, and the
rest of the frame says what would stand there: first the mean of living neighbours, then the frame's
own strongest Fourier components, which a crystal repeats across the gap (Papoulis, IEEE Trans.
Circuits Syst. 22, 735 (1975); Gerchberg, Opt. Acta 21, 709 (1974)). What lies mostly in filled
pixels was not seen, and is counted nowhere.

A frame with more than `MOST_MISSING` of it missing stays as it is, and is corrupt. A frame without
missing pixels keeps its bits.

>>> frames = np.random.default_rng(0).poisson(20, (1, 16, 16)).astype("f4")
>>> frames[0, 3, 4] = np.nan
>>> filled, missing = without_missing(frames)
>>> bool(np.isfinite(filled).all()), missing is not None and int(missing.sum())
(True, 1)
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

MOST_MISSING = 0.3
"""A frame with a larger part missing is corrupt: a dead quadrant is filled, a dead half is not."""
MOST_BAND_PX = 4
"""Rows or columns of one value side by side; more of them may be vacuum, or a scan that stopped."""
BAND_CHANCE = 1e-6
"""Chance below which a row, column or quadrant of one value is not taken for shot noise."""
N_ROUNDS = 12
"""The model of the frame is made anew so many times, each time with the gaps filled better."""
STRONG = 6.0
"""Fourier components count as the frame's structure from so many times their median on."""
UNSEEN_SHARE = 0.5
"""What has more than this part of its surroundings missing was not seen."""
BESIDE_LATTICES = 0.8
"""What is nearer than this to a missing area was measured with what was filled [lattice constant]."""
SURROUNDINGS_PX = 5
"""Edge of the square around a place that counts as its surroundings."""


def without_missing(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Fill the missing pixels of each frame from its surroundings and its own structure.

    Parameters
    ----------
    frames
        (n, y, x) intensities in arbitrary units, real.

    Returns
    -------
    frames, missing
        (n, y, x) frames, and truth values where a pixel was filled. Where none was, `frames` itself
        and None.
    """
    found = [_missing_in(frame) for frame in frames]
    if all(one is None for one in found):
        return frames, None
    filled = frames.copy()
    missing = np.zeros(frames.shape, bool)
    for i, one in enumerate(found):
        if one is not None:
            missing[i] = one
            filled[i] = _filled(frames[i], one)
    return filled, missing


def unseen(missing: np.ndarray, y: np.ndarray, x: np.ndarray, *, beside_px: float) -> np.ndarray:
    """Tell which places of a frame lie mostly in missing pixels, or beside a whole area of them.

    Parameters
    ----------
    missing
        (y, x) truth values, one frame of those of `without_missing`.
    y, x
        (m,) places [px].
    beside_px
        What is nearer to an area, two pixels wide or more, was measured with what was filled [px].

    Returns
    -------
    (m,) truth values.
    """
    if not len(y) or not missing.any():
        return np.zeros(len(y), bool)
    # lone pixels do not survive the opening; what does, grows by a diamond for each pixel
    areas = ndimage.binary_opening(missing, np.ones((2, 2), dtype=bool))
    if areas.any():
        areas = ndimage.binary_dilation(areas, iterations=max(1, round(beside_px)))
    share = ndimage.uniform_filter(missing.astype(np.float32), SURROUNDINGS_PX, mode="nearest")
    rows = np.clip(np.rint(y).astype(np.intp), 0, missing.shape[0] - 1)
    columns = np.clip(np.rint(x).astype(np.intp), 0, missing.shape[1] - 1)
    return np.asarray((share[rows, columns] > UNSEEN_SHARE) | areas[rows, columns])


def _missing_in(frame: np.ndarray) -> np.ndarray | None:
    """Return the pixels of a frame (y, x) to be filled; None where there are none, or too many."""
    bands = _bands(frame)
    if frame.dtype.kind == "f":
        not_finite = ~np.isfinite(frame)
        if not_finite.any():
            bands = not_finite if bands is None else bands | not_finite
    if bands is None or bands.mean() > MOST_MISSING:
        return None
    return bands


def _bands(frame: np.ndarray) -> np.ndarray | None:
    """Return rows, columns and quadrants inside a frame that hold one value, None for none."""
    height, width = frame.shape
    found = None
    for axis in (0, 1, 0):  # dead columns that a dead row crosses are known once the row is
        for start, stop in _runs(_of_one_value(frame, found, axis)):
            # at the edge of a frame it may be vacuum, or where the scan began late or ended early
            if start == 0 or stop == frame.shape[1 - axis] or stop - start > MOST_BAND_PX:
                continue
            place = (slice(None), slice(start, stop))
            if axis == 1:
                place = place[::-1]
            found = _with(found, frame, place)
    for rows in (slice(0, height // 2), slice(height // 2, None)):
        for columns in (slice(0, width // 2), slice(width // 2, None)):
            quadrant = frame[rows, columns]
            if quadrant.size < 2 or quadrant[0, 0] != quadrant[-1, -1]:  # nearly always
                continue
            if (quadrant == quadrant[0, 0]).all():
                found = _with(found, frame, (rows, columns))
    return found


def _of_one_value(frame: np.ndarray, found: np.ndarray | None, axis: int) -> np.ndarray:
    """Return which columns (`axis` 0) or rows (1) hold one value, but for pixels `found` before."""
    if found is None:
        return np.asarray(frame.max(axis=axis) == frame.min(axis=axis))
    alive = ~found
    high = np.max(frame, axis=axis, where=alive, initial=frame.min())
    low = np.min(frame, axis=axis, where=alive, initial=frame.max())
    return np.asarray((high == low) & alive.any(axis=axis))


def _with(
    found: np.ndarray | None, frame: np.ndarray, place: tuple[slice, slice]
) -> np.ndarray | None:
    """Return `found` with a place of one value, unless shot noise would make it."""
    part = frame[place]
    n_rest = frame.size - part.size
    # with a chance p for this value in the rest of the frame, a part of m pixels has p**m; one is
    # added to both counts, so that what was never seen is not impossible
    value = np.median(part)  # other bands may cross it
    n_like = np.count_nonzero(frame == value) - np.count_nonzero(part == value)
    if n_rest == 0 or (n_like + 1) / (n_rest + 1) > BAND_CHANCE ** (1 / part.size):
        return found
    if found is None:
        found = np.zeros(frame.shape, bool)
    found[place] = True
    return found


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, stop) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _filled(frame: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return a frame (y, x) with its missing pixels filled, in its own type."""
    image = _from_neighbours(np.where(missing, 0.0, frame).astype(np.float64), ~missing)
    level = image[~missing].mean()
    for i in range(1, N_ROUNDS + 1):
        # the strongest components are the crystal's; weaker ones join as the gaps are filled
        # better, and with them their echoes around each component fade
        waves = fft.rfft2(image - level)
        strength = np.abs(waves)
        weakest = max(STRONG * np.median(strength), strength.max() * 0.5**i)
        waves[strength < weakest] = 0.0
        model = fft.irfft2(waves, s=image.shape)
        image[missing] = model[missing] + level
    low, high = frame[~missing].min(), frame[~missing].max()
    values = np.clip(image[missing], low, high)
    if frame.dtype.kind in "iu":
        values = np.rint(values)
    filled = frame.copy()
    filled[missing] = values.astype(frame.dtype)
    return filled


def _from_neighbours(image: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Return an image whose dead pixels have the mean of the living ones around them."""
    image = image.copy()
    left = ~alive
    size = 3
    while left.any() and size < 2 * max(image.shape):
        weight = ndimage.uniform_filter(alive.astype(np.float64), size, mode="constant")
        total = ndimage.uniform_filter(np.where(alive, image, 0.0), size, mode="constant")
        known = left & (weight > 0.5 / size**2)  # one living pixel has 1 / size**2
        image[known] = total[known] / weight[known]
        left &= ~known
        size = 2 * size + 1
    return image

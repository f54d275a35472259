"""Whether a frame can be searched at all: ok, blank, saturated, truncated or corrupt, and why.

A frame is judged by itself alone, so its status depends neither on the block it comes in nor on its
neighbours:

- *corrupt*: some pixels are not finite, lines inside it were lost, or the file could not be decoded
  there (`damaged`); where few pixels are missing, `stemkin.kernels.images.missing` fills them before;
- *blank*: (almost) all pixels hold one value;
- *saturated*: many pixels sit at the detector's full scale;
- *truncated*: the scan ended early or began late: the lines at its end or start hold one value that
  noise would not make.

A line counts as lost when it holds one value, and a line of independent pixels of this frame would
do so with a chance below `LINE_CHANCE`; so a dark frame of a few counts is not taken for a broken
one. A vacuum that a detector stores as exact zeros over whole lines looks the same as lost lines:
no frame by itself can tell the two apart.

>>> import numpy as np
>>> frames = np.random.default_rng(0).poisson(20, (3, 32, 32)).astype("uint16")
>>> frames[1, 20:] = 0
>>> frames[2] = 7
>>> frame_status(frames).tolist()
['ok', 'truncated', 'blank']
>>> frame_quality(frames)[1].reason
'the last 12 of 32 lines hold one value, 0'
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.tables import BLANK, CORRUPT, OK, SATURATED, TRUNCATED

BLANK_FRACTION = 0.9999
"""A frame is blank if at least this part of it holds one value (a few hot pixels may stand out)."""
SATURATED_FRACTION = 0.1
"""A frame is saturated if more than this part of it sits at full scale; W columns alone cover about
as much."""
LOST_LINES_FRACTION = 0.02
"""Lines of one value are lost lines from this part of the frame on, and from two lines on."""
LINE_CHANCE = 1e-6
"""Chance below which a line of one value is not taken for shot noise."""
FULL_SCALES = frozenset(2**bits - 1 for bits in (8, 10, 12, 14, 15, 16, 24, 31, 32))
"""Where detectors clip integers, beside the highest value of the type; in floating point any
highest value may be it."""
SLAB_PIXELS = 2**20
"""Pixels looked at together: they stay in the cache, and the masks stay small."""


class FrameQuality(NamedTuple):
    """The `status` of a frame, one of `stemkin.tables.STATUSES`, and the `reason`, empty if ok."""

    status: str
    reason: str = ""


def frame_status(frames: Array) -> np.ndarray:
    """Judge every frame of a block by itself; see `frame_quality`, which also gives the reasons.

    Parameters
    ----------
    frames
        (n, y, x) intensities in arbitrary units, real, of any array library.

    Returns
    -------
    (n,) texts: 'ok', 'blank', 'saturated', 'truncated' or 'corrupt'.
    """
    return np.array([quality.status for quality in frame_quality(frames)], dtype=object)


def frame_quality(frames: Array) -> list[FrameQuality]:
    """Judge every frame of a block by itself.

    Parameters
    ----------
    frames
        (n, y, x) intensities in arbitrary units, real, of any array library. Whole lines run along
        x.

    Returns
    -------
    One `FrameQuality` per frame. No frames give an empty list.

    Raises
    ------
    ValueError
        If `frames` is not (n, y, x).
    """
    if frames.ndim != 3:
        msg = (
            f"frame_quality wants a block (n, y, x), but the array has {frames.ndim} axes; use "
            "frames[None] for one frame"
        )
        raise ValueError(msg)
    n, height, width = frames.shape
    if n == 0:
        return []
    if height * width == 0:
        return [FrameQuality(CORRUPT, "the frame has no pixels")] * n
    xp = namespace(frames)
    extremes = None
    if not xp.isdtype(frames.dtype, "real floating"):
        limits = xp.iinfo(frames.dtype)
        extremes = int(limits.min), int(limits.max)
    slab = max(1, SLAB_PIXELS // (height * width))
    found = []
    for start in range(0, n, slab):
        measured = _measure(frames[start : min(start + slab, n), :, :])
        for i in range(len(measured["low"])):
            frame = {key: values[i] for key, values in measured.items()}
            found.append(_judge(frame, extremes, height, width))
    return found


def damaged(n_frames: int, height: int, width: int, dtype: np.dtype) -> np.ndarray:
    """Make frames that stand where a file could not be decoded; `frame_status`: corrupt.

    Floating-point frames are NaN. Integers have no NaN: theirs is a chequerboard of the type's two
    extremes, which no detector makes. Pixels cannot be mistaken for data, and the status survives
    copying, conversion and dtype changes.

    Parameters
    ----------
    n_frames, height, width
        Shape of the frames.
    dtype
        Their type, real.

    Returns
    -------
    (n, y, x) frames.
    """
    if dtype.kind == "f":
        return np.full((n_frames, height, width), np.nan, dtype)
    low, high = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    frames = np.full((n_frames, height, width), low, dtype)
    frames[:, 0::2, 1::2] = high
    frames[:, 1::2, 0::2] = high
    return frames


def is_damaged(frames: np.ndarray) -> np.ndarray:
    """Tell for each frame whether it is one of `damaged`.

    Parameters
    ----------
    frames
        (n, y, x) intensities, real.

    Returns
    -------
    (n,) truth values.
    """
    height, width = frames.shape[1:]
    floating = frames.dtype.kind == "f"
    mark = damaged(1, height, width, frames.dtype)[0]
    # the corner tells nearly always; only what agrees there is compared as a whole
    corner = frames[:, :2, :2]
    suspect = corner == mark[:2, :2]
    if floating:
        suspect |= np.isnan(corner)
    found: np.ndarray = suspect.all(axis=(1, 2))
    for i in np.nonzero(found)[0]:
        found[i] = np.array_equal(frames[i], mark, equal_nan=floating)
    return found


def _measure(frames: Array) -> dict[str, np.ndarray]:
    """Reduce each frame to a few numbers and its lines to their extremes: all that reads pixels."""
    xp = namespace(frames)
    n_not_finite = xp.zeros(frames.shape[0], dtype=xp.int64)
    if xp.isdtype(frames.dtype, "real floating"):
        n_not_finite = xp.count_nonzero(~xp.isfinite(frames), axis=(1, 2))
    if "torch" in xp.__name__ and xp.isdtype(frames.dtype, "unsigned integer"):
        # torch reduces no unsigned integers but uint8
        frames = xp.astype(frames, xp.int64)
    line_low, line_high = xp.min(frames, axis=2), xp.max(frames, axis=2)
    low, high = xp.min(line_low, axis=1), xp.max(line_high, axis=1)
    return {
        "line_low": to_host(line_low),
        "line_high": to_host(line_high),
        "low": to_host(low),
        "high": to_host(high),
        "n_low": to_host(xp.count_nonzero(frames == low[:, None, None], axis=(1, 2))),
        "n_high": to_host(xp.count_nonzero(frames == high[:, None, None], axis=(1, 2))),
        "n_not_finite": to_host(n_not_finite),
        "corner": to_host(frames[:, :2, :2]),
    }


def _judge(
    frame: dict[str, Any], extremes: tuple[int, int] | None, height: int, width: int
) -> FrameQuality:
    """Judge a frame by what `_measure` says of it; `extremes` are those of an integer type."""
    n_pixels, n_high, n_low = height * width, int(frame["n_high"]), int(frame["n_low"])
    low, high = frame["low"], frame["high"]
    if frame["n_not_finite"]:
        many = f"{frame['n_not_finite']} of {n_pixels}"
        if frame["n_not_finite"] == n_pixels:
            many = "all"
        return FrameQuality(CORRUPT, f"{many} pixels are not finite")
    two_valued = (low, high) == extremes and n_low + n_high == n_pixels
    if two_valued and _is_chequered(frame["corner"]):
        return FrameQuality(CORRUPT, "the file could not be decoded here")
    if _is_full_scale(low, high, extremes) and n_high > SATURATED_FRACTION * n_pixels:
        share = n_high / n_pixels
        reason = f"{share:.0%} of the pixels are at full scale, {high:g}"
        return FrameQuality(SATURATED, reason)
    if max(n_low, n_high) >= BLANK_FRACTION * n_pixels:
        many, value = "all", low
        if high != low:
            many = "nearly all"
        if n_high > n_low:
            value = high
        return FrameQuality(BLANK, f"{many} pixels hold one value, {value:g}")
    return _judge_lines(frame, height, width)


def _is_full_scale(low: Any, high: Any, extremes: tuple[int, int] | None) -> bool:
    """Tell whether detectors clip at a frame's highest value; in floating point any may be it."""
    if extremes is None:
        return bool(high != low)
    return int(high) in FULL_SCALES or bool(high == extremes[1])


def _judge_lines(frame: dict[str, Any], height: int, width: int) -> FrameQuality:
    """Find lines that hold one value where noise would not make one."""
    lost = frame["line_low"] == frame["line_high"]
    n_lost = int(lost.sum())
    enough = max(2, LOST_LINES_FRACTION * height)
    if n_lost < enough:
        return FrameQuality(OK)
    values, counts = np.unique(frame["line_low"][lost], return_counts=True)
    value, n_rest = values[counts.argmax()], (height - n_lost) * width
    # How often that value is met in the other lines, of which only lowest and highest are counted:
    # with a chance p a pixel, a whole line of it has the chance p^width. One is added to both
    # counts, so what was never seen is not impossible.
    counted = {frame["low"]: frame["n_low"], frame["high"]: frame["n_high"]}
    in_rest = counted.get(value, n_lost * width) - n_lost * width
    if n_rest == 0 or (max(int(in_rest), 0) + 1) / (n_rest + 1) > LINE_CHANCE ** (1 / width):
        return FrameQuality(OK)
    at_end, at_start = int(np.argmin(lost[::-1])), int(np.argmin(lost))
    if max(at_end, at_start) < enough:
        return FrameQuality(CORRUPT, f"{n_lost} of {height} lines hold one value each")
    where, n = "last", at_end
    if at_start > at_end:
        where, n = "first", at_start
    reason = f"the {where} {n} of {height} lines hold one value, {value:g}"
    return FrameQuality(TRUNCATED, reason)


def _is_chequered(corner: np.ndarray) -> bool:
    """Tell whether the corner (2, 2) of a frame is that of `damaged`."""
    odd = np.indices(corner.shape).sum(axis=0) % 2 == 1
    return bool((corner == np.where(odd, corner.max(), corner.min())).all())

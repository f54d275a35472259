"""Whether a frame can be searched at all: ok, blank, saturated, truncated or corrupt, and why.

A frame is judged by itself alone, so its status depends neither on the block it comes in nor on its
neighbours:

- *corrupt*: some pixels are not finite, lines inside it were lost, or the file could not be decoded
  there (`damaged`);
- *blank*: (almost) all pixels hold one value;
- *saturated*: many pixels sit at the detector's full scale;
- *truncated*: the scan ended early or began late: the lines at its end or start hold one value that
  noise would not make.

A line counts as lost when it holds one value, and a line of independent pixels of this frame would
do so with a chance below `LINE_CHANCE`; so a dark frame of a few counts is not taken for a broken
one. A vacuum that a detector stores as
exact zeros over whole lines looks the same as lost lines: no frame by itself can tell the two
apart.

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
    """A frame's `status`, one of `stemkin.tables.STATUSES`, and the `reason`, empty where it is
    ok."""

    status: str
    reason: str = ""


def frame_status(frames: Array) -> np.ndarray:
    """Return the status of every frame of a block (n, y, x), as (n,) texts: 'ok', 'blank',
    'saturated', 'truncated' or 'corrupt'.

    See `frame_quality`, which also gives the reasons.
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
    floating = xp.isdtype(frames.dtype, "real floating")
    extremes = (
        None if floating else (int(xp.iinfo(frames.dtype).min), int(xp.iinfo(frames.dtype).max))
    )
    slab = max(1, SLAB_PIXELS // (height * width))
    found = []
    for start in range(0, n, slab):
        measured = _measure(frames[start : min(start + slab, n), :, :])
        rows = (
            {key: values[i] for key, values in measured.items()}
            for i in range(len(measured["low"]))
        )
        found += [_judge(row, extremes, height, width) for row in rows]
    return found


def damaged(n_frames: int, height: int, width: int, dtype: np.dtype) -> np.ndarray:
    """Return frames (n, y, x) that stand where a file could not be decoded; `frame_status` calls
    them corrupt.

    Floating-point frames are NaN. Integers have no NaN: theirs is a chequerboard of the type's two
    extremes, which no detector makes. Pixels cannot be mistaken for data, and the status survives
    copying, conversion and dtype changes.
    """
    if dtype.kind == "f":
        return np.full((n_frames, height, width), np.nan, dtype)
    low, high = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    frames = np.full((n_frames, height, width), low, dtype)
    frames[:, 0::2, 1::2] = high
    frames[:, 1::2, 0::2] = high
    return frames


def is_damaged(frames: np.ndarray) -> np.ndarray:
    """Tell for each frame of a block (n, y, x) whether it is one of `damaged`: (n,) truth
    values."""
    height, width = frames.shape[1:]
    mark = damaged(1, height, width, frames.dtype)[0]
    suspect = (frames[:, :2, :2] == mark[:2, :2]) | (
        np.isnan(frames[:, :2, :2]) if frames.dtype.kind == "f" else False
    )
    found: np.ndarray = suspect.all(axis=(1, 2))
    for i in np.nonzero(found)[0]:
        found[i] = np.array_equal(frames[i], mark, equal_nan=frames.dtype.kind == "f")
    return found


def _measure(frames: Array) -> dict[str, np.ndarray]:
    """Reduce each frame to a few numbers and, per line, its lowest and highest pixel; this is all
    that reads pixels."""
    xp = namespace(frames)
    floating = xp.isdtype(frames.dtype, "real floating")
    if "torch" in xp.__name__ and xp.isdtype(frames.dtype, "unsigned integer"):
        frames = xp.astype(frames, xp.int64)  # torch reduces no unsigned integers but uint8
    n, *_ = frames.shape
    line_low, line_high = xp.min(frames, axis=2), xp.max(frames, axis=2)
    low, high = xp.min(line_low, axis=1), xp.max(line_high, axis=1)
    n_not_finite = (
        xp.count_nonzero(~xp.isfinite(frames), axis=(1, 2))
        if floating
        else xp.zeros(n, dtype=xp.int64)
    )
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
    n_pixels, n_high, n_low = height * width, int(frame["n_high"]), int(frame["n_low"])
    low, high = frame["low"], frame["high"]
    if frame["n_not_finite"]:
        many = (
            "all" if frame["n_not_finite"] == n_pixels else f"{frame['n_not_finite']} of {n_pixels}"
        )
        return FrameQuality(CORRUPT, f"{many} pixels are not finite")
    if (
        extremes is not None
        and (low, high) == extremes
        and n_low + n_high == n_pixels
        and _is_chequered(frame["corner"])
    ):
        return FrameQuality(CORRUPT, "the file could not be decoded here")
    full_scale = (
        high != low if extremes is None else int(high) in FULL_SCALES or high == extremes[1]
    )
    if full_scale and n_high > SATURATED_FRACTION * n_pixels:
        return FrameQuality(
            SATURATED, f"{n_high / n_pixels:.0%} of the pixels are at full scale, {high:g}"
        )
    if max(n_low, n_high) >= BLANK_FRACTION * n_pixels:
        value = high if n_high > n_low else low
        return FrameQuality(
            BLANK, f"{'all' if high == low else 'nearly all'} pixels hold one value, {value:g}"
        )
    return _judge_lines(frame, height, width)


def _judge_lines(frame: dict[str, Any], height: int, width: int) -> FrameQuality:
    """Find lines that hold one value where noise would not make one."""
    lost = frame["line_low"] == frame["line_high"]
    n_lost = int(lost.sum())
    if n_lost < max(2, LOST_LINES_FRACTION * height):
        return FrameQuality(OK)
    values, counts = np.unique(frame["line_low"][lost], return_counts=True)
    value, n_rest = values[counts.argmax()], (height - n_lost) * width
    in_rest = {frame["low"]: frame["n_low"], frame["high"]: frame["n_high"]}.get(
        value, n_lost * width
    ) - n_lost * width
    if n_rest == 0 or (max(int(in_rest), 0) + 1) / (n_rest + 1) > LINE_CHANCE ** (1 / width):
        return FrameQuality(OK)
    at_end, at_start = int(np.argmin(lost[::-1])), int(np.argmin(lost))
    if max(at_end, at_start) >= max(2, LOST_LINES_FRACTION * height):
        where, n = ("last", at_end) if at_end >= at_start else ("first", at_start)
        return FrameQuality(
            TRUNCATED, f"the {where} {n} of {height} lines hold one value, {value:g}"
        )
    return FrameQuality(CORRUPT, f"{n_lost} of {height} lines hold one value each")


def _is_chequered(corner: np.ndarray) -> bool:
    odd = np.indices(corner.shape).sum(axis=0) % 2 == 1
    return bool((corner == np.where(odd, corner.max(), corner.min())).all())

"""Linking one block of a movie's detections: what a worker does with one file.

    block  = prepare(rows of this block, clock)
    before = last_frames(prepare(rows before this block, clock))          # three frames
    after  = first_frames(prepare(rows after it, clock))                  # two frames
    counts = count_block(block, before, after, clock, settings)           # every block by itself
    model  = fit_steps([counts of every block], clock, settings)          # how far defects step: a few numbers
    links  = link_block(block, before, after, clock, settings, model)     # every block by itself
    names  = join_links([links.summary of every block], ...)              # seams and gaps: a few numbers per track
    tracks = block_tracks(block, links.names, names[k])                   # the block's rows of the table `tracks`

`link` lays this over a Dask table. A link depends on the few frames around it, so blocks may be cut
anywhere between frames. A block of n rows takes about 200 n bytes while it is linked; joining takes
8 bytes per row of each block's last frame and, where gaps are closed, 16 bytes per closed gap
besides a window of ends and starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stemkin.kernels.linking.block_names import name_tracks
from stemkin.kernels.linking.linking import links_by_distance, links_by_likelihood
from stemkin.kernels.linking.sightings import Looks, Sightings, goes_on
from stemkin.kernels.linking.stepping import count_steps
from stemkin.kernels.linking.steps import NO_STEPS, StepCounts, StepModel
from stemkin.kernels.linking.tips import Tips
from stemkin.linking.clock import Clock, Settings
from stemkin.linking.joining import Summary


@dataclass(frozen=True, eq=False)
class BlockLinks:
    """The tracks of one block, before the blocks are joined.

    Attributes
    ----------
    names
        (n,) name of each row's track; negative where it came in from before the block (see
        `stemkin.kernels.linking.block_names`).
    summary
        What the other blocks must know.
    """

    names: np.ndarray
    summary: Summary


def count_block(
    block: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, clock: Clock, settings: Settings
) -> StepCounts:
    """Link a block by distance, only to count steps, losses and births; arguments as in
    `link_block`. Computes once."""
    limit = clock.step_limit_nm(settings.max_step_nm)
    seen, own = _sightings(block, before, after, clock, settings)
    return count_steps(seen, limit, own)


def link_block(
    block: pd.DataFrame,
    before: pd.DataFrame,
    after: pd.DataFrame,
    clock: Clock,
    settings: Settings,
    model: StepModel | None = None,
) -> BlockLinks:
    """Link the frames of a block among each other and to the last occupied frame before it.
    Computes once.

    Parameters
    ----------
    block
        Rows of whole frames, from `prepare`.
    before, after
        `last_frames` of all rows before the block, and `first_frames` of all rows after it; no rows
        at the movie's ends.
    clock, settings
        As for every block of the movie.
    model
        Odds of steps, from `fit_steps`; None: links by distance.

    Raises
    ------
    ValueError
        If the rows do not follow each other in time, or no step limit is known.
    """
    seen, own = _sightings(block, before, after, clock, settings)
    if model is None:
        links = links_by_distance(seen, clock.step_limit_nm(settings.max_step_nm))
    else:
        links = links_by_likelihood(seen, model)
    frame = before["frame"].to_numpy()
    halo = (
        int(np.searchsorted(frame, frame[-1])) if len(frame) else 0
    )  # where the last occupied frame before begins
    rows = slice(halo, own.stop)
    links = np.where(links[rows] >= 0, links[rows] - halo, -1)
    links[: own.start - halo] = -1
    seen = seen.take(rows)
    names, of_all, seam = name_tracks(links, seen.frame, n_previous=own.start - halo)
    nothing = np.empty(0, np.int64)
    starts, ends = (
        _tips(links, seen.frame, own.start - halo)
        if settings.max_gap_frames
        else (nothing, nothing)
    )
    tip, is_end = np.concatenate([starts, ends]), np.repeat([False, True], [len(starts), len(ends)])
    tips = Tips(
        is_end,
        of_all[tip],
        seen.ordinal[tip],
        seen.frame[tip],
        seen.point_nm[tip],
        seen.looks.take(tip),
    )
    last = int(block["frame"].iloc[-1]) if len(block) else -1
    return BlockLinks(names, Summary(seam, tips, last))


def _sightings(
    block: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, clock: Clock, settings: Settings
) -> tuple[Sightings, slice]:
    """Return the rows of a block and those around it as arrays, and which of them are the block's
    own."""
    parts = [before, block, after]
    _check_order([part["frame"].to_numpy() for part in parts if len(part)], clock)
    frame, ordinal = (
        np.concatenate([p[c].to_numpy(np.int64) for p in parts]) for c in ("frame", "ordinal")
    )
    point = np.concatenate([p[["y_nm", "x_nm"]].to_numpy(np.float64) for p in parts])
    since_last, since_second = (clock.since(ordinal, frame, n_apart) for n_apart in (1, 2))
    looks, longest = _looks(parts, settings), settings.max_blind_frames + 1
    seen = Sightings(
        ordinal, frame, point, since_last, since_second, looks, longest, clock.spacing_nm(settings)
    )
    return seen, slice(len(before), len(before) + len(block))


def _check_order(frames: Sequence[np.ndarray], clock: Clock) -> None:
    """Check that blocks follow each other in time."""
    for then, now in itertools.pairwise(frames):
        if then[-1] >= now[0]:
            what = (
                f"frame {now[0]} is cut in two"
                if now[0] == then[-1]
                else f"frame {now[0]} comes after frame {then[-1]}"
            )
            msg = (
                f"movie {clock.movie!r}: {what}; partitions must hold whole frames in the order of "
                "time, as detect() returns them"
            )
            raise ValueError(msg)


def _looks(parts: Sequence[pd.DataFrame], settings: Settings) -> Looks:
    """Return how the rows look, as far as the settings let it count."""
    n = sum(map(len, parts))
    class_id, brightness = np.zeros(n, np.int16), np.zeros(n)
    if settings.class_penalty_nm:
        class_id = np.concatenate([p["class_id"].to_numpy(np.int16) for p in parts])
    if settings.brightness_penalty_nm:
        score = np.concatenate([p["score"].to_numpy(np.float64) for p in parts])
        brightness = settings.brightness_penalty_nm * np.log(np.maximum(score, 1e-3))
    return Looks(class_id, brightness, settings.class_penalty_nm)


def _tips(before: np.ndarray, frame: np.ndarray, n_previous: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows where tracks begin in the block, and those where they end before its last
    frame."""
    starts = np.flatnonzero(before < 0)
    ends = (
        np.flatnonzero(~goes_on(before) & (frame < frame[-1]))
        if len(frame)
        else np.empty(0, np.int64)
    )
    return starts[starts >= n_previous], ends


def fit_steps(counts: Sequence[StepCounts], clock: Clock, settings: Settings) -> StepModel:
    """Return how far the defects of a movie step and how often they are missed. Computes once; any
    order of blocks."""
    limit_nm, spacing_nm = clock.step_limit_nm(settings.max_step_nm), clock.spacing_nm(settings)
    return StepModel(sum(counts, start=NO_STEPS), limit_nm, spacing_nm)

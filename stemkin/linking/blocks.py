"""Linking one block of a movie's detections: what a worker does with one file.

    block    = prepare(rows of this block, clock)
    previous = last_frame(prepare(rows of the block before, clock))           # the halo: one frame
    links    = link_block(block, previous, clock=clock, settings=settings)    # every block by itself
    model    = fit_steps([links.summary for every block], clock, settings)    # how far defects step: a few numbers
    links    = link_block(block, previous, ..., model=model)                  # again, now by likelihood
    names    = join_links([links.summary for every block], ...)               # seams and gaps: a few numbers per track
    tracks   = block_tracks(block, links, names[k])                           # the block's rows of the table `tracks`

`link` lays this over a Dask table and `link_in_blocks` over files. Each pair of frames is assigned by itself, so blocks may be
cut anywhere between frames. A block of n rows takes about 300 n bytes while it is linked; joining takes 8 bytes per row of each
block's last frame and, where gaps are closed, about 150 bytes per track.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.gaps import Tips, close_gaps, one_name, renamed
from stemkin.kernels.linking import Looks, links
from stemkin.kernels.seams import ID_STRIDE, Seam, join, name_tracks, settle
from stemkin.kernels.steps import NO_STEPS, StepCounts, StepModel, count_steps
from stemkin.linking.clock import Clock, Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Summary:
    """What the other blocks must know of a block.

    Attributes
    ----------
    seam
        The tracks in its last frame.
    counts
        Its steps, losses and births.
    starts, ends
        First detections of tracks that begin in the block, last ones of those that end in it or in its halo. Empty where
        gaps are not closed.
    last_frame
        Number of its last occupied frame, -1 for a block without rows.
    """

    seam: Seam
    counts: StepCounts
    starts: Tips
    ends: Tips
    last_frame: int


@dataclass(frozen=True, eq=False)
class BlockLinks:
    """The tracks of one block, before the blocks are joined.

    Attributes
    ----------
    names
        (n,) name of each row's track; negative where it came in from before the block (see `stemkin.kernels.seams`).
    summary
        What the other blocks must know.
    """

    names: np.ndarray
    summary: Summary


@dataclass(frozen=True, eq=False)
class Names:
    """What a block must know of the others.

    Attributes
    ----------
    incoming
        Names of the tracks in its halo.
    old, new
        Names that change since a gap was closed, ascending, and what they change into.
    """

    incoming: np.ndarray
    old: np.ndarray
    new: np.ndarray


def prepare(rows: pd.DataFrame, clock: Clock) -> pd.DataFrame:
    """Return the good frames' rows of one movie, sorted by frame, y, x, with `y_nm`, `x_nm` and `ordinal`. Computes once.

    Parameters
    ----------
    rows
        Rows of the table ``detections``, all of the clock's movie.
    clock
        The movie's good frames and shifts.

    Raises
    ------
    ValueError
        If a coordinate is not finite.
    """
    position = rows[["y", "x"]].to_numpy(np.float64)
    if not np.isfinite(position).all():
        bad = int((~np.isfinite(position)).any(axis=1).sum())
        msg = f"movie {clock.movie!r}: {bad} detections have no finite y, x; drop them first: rows.dropna(subset=['y', 'x'])"
        raise ValueError(msg)
    frame = rows["frame"].to_numpy()
    ordinal = clock.ordinal(frame)
    order = _order(rows, frame, position)
    kept = order[ordinal[order] >= 0]
    if len(kept) < len(rows):
        logger.warning("movie %r: %d detections lie in bad frames and are left out", clock.movie, len(rows) - len(kept))
    position, ordinal = position[kept], ordinal[kept]
    if clock.shift_px is not None:
        position -= clock.shift_px[ordinal]
    position *= clock.pixel_size_nm
    in_order = np.array_equal(kept, np.arange(len(rows)))
    rows = (rows if in_order else rows.iloc[kept]).reset_index(drop=True)
    return rows.assign(y_nm=position[:, 0], x_nm=position[:, 1], ordinal=ordinal)


def _order(rows: pd.DataFrame, frame: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the order frame, y, x; detections at the same place are told apart by their other columns."""
    y, x = position.T
    now, then = slice(None, -1), slice(1, None)
    same_y = (y[now] == y[then]) & (x[now] < x[then])
    in_order = (frame[now] < frame[then]) | ((frame[now] == frame[then]) & ((y[now] < y[then]) | same_y))
    if in_order.all():
        return np.arange(len(rows))
    extra = [rows[c].to_numpy() for c in ("orientation", "class_id", "score") if c in rows.columns]
    return np.lexsort((*extra, x, y, frame))


def last_frame(prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last occupied frame: the halo of the next block. An empty block gives no rows."""
    frame = prepared["frame"].to_numpy()
    return prepared.iloc[np.searchsorted(frame, frame[-1]) :] if len(frame) else prepared


def link_block(
    block: pd.DataFrame, previous: pd.DataFrame, *, clock: Clock, settings: Settings, model: StepModel | None = None
) -> BlockLinks:
    """Link the frames of a block among each other and to the last occupied frame before it. Computes once.

    Parameters
    ----------
    block
        Rows of whole frames, from `prepare`.
    previous
        `last_frame` of the nearest block before that has any rows; no rows at the start of a movie.
    clock, settings
        As for every block of the movie.
    model
        Odds of steps, from `fit_steps`; None: links by distance.

    Raises
    ------
    ValueError
        If `previous` does not lie before the block, or no step limit is known.
    """
    _check_order(block, previous, clock)
    both = [previous, block]
    frame, ordinal = (np.concatenate([p[c].to_numpy(np.int64) for p in both]) for c in ("frame", "ordinal"))
    point = np.concatenate([p[["y_nm", "x_nm"]].to_numpy(np.float64) for p in both])
    looks = _looks(both, settings)
    apart = clock.since_last(ordinal, frame)
    limit = clock.step_limit_nm(settings.max_step_nm)
    reach = np.where(apart <= settings.max_blind_frames + 1, limit * np.sqrt(apart), 0.0)
    n_previous = len(previous)
    before = links(ordinal, point, reach_nm=reach, looks=looks, model=model)
    names, of_all, seam = name_tracks(before, frame, n_previous=n_previous)
    counts = count_steps(ordinal, point, before, reach, n_previous=n_previous)
    tips = Tips(of_all, ordinal, frame, point, looks)
    starts, ends = _tips(before, frame, n_previous) if settings.max_gap_frames else (np.empty(0, np.int64),) * 2
    last = int(block["frame"].iloc[-1]) if len(block) else -1
    return BlockLinks(names, Summary(seam, counts, tips.take(starts), tips.take(ends), last))


def _check_order(block: pd.DataFrame, previous: pd.DataFrame, clock: Clock) -> None:
    """Check that the halo lies before the block."""
    if not len(block) or not len(previous):
        return
    now, then = int(block["frame"].iloc[0]), int(previous["frame"].iloc[0])
    if then >= now:
        what = f"frame {now} is cut in two" if now == then else f"frame {now} comes after frame {then}"
        msg = f"movie {clock.movie!r}: {what}; partitions must hold whole frames in the order of time, as detect() returns them"
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
    """Return the rows where tracks begin in the block, and those where they end before its last frame."""
    goes_on = np.zeros(len(before), bool)
    goes_on[before[before >= 0]] = True
    starts = np.flatnonzero(before < 0)
    ends = np.flatnonzero(~goes_on & (frame < frame[-1])) if len(frame) else np.empty(0, np.int64)
    return starts[starts >= n_previous], ends


def fit_steps(summaries: Sequence[Summary], clock: Clock, settings: Settings) -> StepModel:
    """Return how far the defects of a movie step and how often they are missed. Computes once; any order of blocks."""
    counts = sum((summary.counts for summary in summaries), start=NO_STEPS)
    return StepModel(counts, clock.step_limit_nm(settings.max_step_nm))


def join_links(
    summaries: Sequence[Summary], clock: Clock, settings: Settings, *, model: StepModel | None = None
) -> list[Names]:
    """Return, for each block of a movie in the order of time, how its tracks are called. Computes once.

    Gaps are closed here, between the ends and the starts of all tracks of the movie.

    Parameters
    ----------
    summaries
        Of every block, also of those without rows.
    clock, settings, model
        As the blocks were linked with; without a model, `fit_steps` makes one of the summaries.
    """
    incoming = join([summary.seam for summary in summaries])
    old = new = np.empty(0, np.int64)
    if settings.max_gap_frames and summaries:
        known_end = [settle(s.ends.name, names) for s, names in zip(summaries, incoming, strict=True)]
        end = replace(Tips.concatenated([s.ends for s in summaries]), name=np.concatenate(known_end))
        start = Tips.concatenated([s.starts for s in summaries])
        i, j = close_gaps(
            end,
            start,
            model=model or fit_steps(summaries, clock, settings),
            max_gap_frames=settings.max_gap_frames,
            max_blind_frames=settings.max_blind_frames,
        )
        old, new = one_name(end.name[i], start.name[j])
        logger.info("movie %r: %d gaps closed among %d tracks", clock.movie, len(old), len(start))
    names = []
    for summary, known in zip(summaries, incoming, strict=True):  # a block needs no names of tracks that begin after it
        n = int(np.searchsorted(old, (summary.last_frame + 1) * ID_STRIDE))
        names.append(Names(known, old[:n], new[:n]))
    return names


def block_tracks(block: pd.DataFrame, links: BlockLinks, names: Names) -> pd.DataFrame:
    """Return the block's rows of the table ``tracks``, sorted as the block is. Computes once."""
    particle = renamed(settle(links.names, names.incoming), names.old, names.new)
    return tables.conform(block.assign(particle=particle), "tracks")

"""Linking one block of a movie's detections: what a worker does with one file.

A link depends on the few frames around it, so blocks may be cut anywhere between frames. A block of
n rows takes about 200 n bytes while it is linked; joining takes 8 bytes per row of each block's
last frame and, where gaps are closed, 16 bytes per closed gap besides a window of ends and starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from stemkin.kernels.linking.block_names import Seam, name_tracks
from stemkin.kernels.linking.endpoints import Endpoints
from stemkin.kernels.linking.linking import links_by_distance, links_by_likelihood
from stemkin.kernels.linking.sightings import Looks, Sightings, goes_on
from stemkin.kernels.linking.step_counts import count_steps
from stemkin.kernels.linking.steps import NO_STEPS, StepModel
from stemkin.linking.clock import Clock
from stemkin.linking.names import Summary
from stemkin.linking.settings import LinkSettings


class Links(Protocol):
    """The tracks of one block, before the blocks are joined."""

    @property
    def names(self) -> np.ndarray:
        """(n,) name of each row's track, as `stemkin.kernels.linking.block_names` gives them.

        Negative where it came in from before the block.
        """

    @property
    def summary(self) -> Summary:
        """What the other blocks must know."""


class MovieBlock(Protocol):
    """Consecutive frames of one movie, and where its rows, links and tracks are kept."""

    @property
    def clock(self) -> Clock:
        """The movie's clock, at least around these frames."""

    def own(self) -> pd.DataFrame:
        """Return the block's rows, from `drift_corrected`."""

    def rows(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return the block's rows, and its halos: those of the frames before and after it."""

    def keep(self, links: BlockLinks) -> Links:
        """Keep the block's links until the blocks are joined."""

    def finish(self, tracks: pd.DataFrame) -> Any:
        """Take the block's rows of ``tracks``; return what is to be known of them."""


@dataclass(frozen=True, eq=False)
class BlockSummary:
    """What the other blocks must know of a block; see `Summary`."""

    seam: Seam
    endpoints: Endpoints
    last_frame: int


@dataclass(frozen=True, eq=False)
class BlockLinks:
    """The links of a block, in memory; see `Links`."""

    names: np.ndarray
    summary: BlockSummary


@dataclass(frozen=True, eq=False)
class HeldBlock:
    """A block that is held in memory; its tracks are what it hands on.

    Attributes
    ----------
    placed, before, after
        Its rows and its halos, from `drift_corrected`.
    clock
        The movie's clock around these frames.
    """

    placed: pd.DataFrame
    before: pd.DataFrame
    after: pd.DataFrame
    clock: Clock

    @classmethod
    def of(
        cls, placed: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, clock: Clock
    ) -> HeldBlock:
        """Return the block with as much of the movie's `clock` as it needs."""
        occupied = [part["frame"] for part in (before, placed, after) if len(part)]
        if occupied:
            clock = clock.between(int(occupied[0].iloc[0]), int(occupied[-1].iloc[-1]))
        return cls(placed, before, after, clock)

    def own(self) -> pd.DataFrame:
        """Return the block's rows."""
        return self.placed

    def rows(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return the block's rows and its halos."""
        return self.placed, self.before, self.after

    def keep(self, links: BlockLinks) -> BlockLinks:
        """Return the links."""
        return links

    def finish(self, tracks: pd.DataFrame) -> pd.DataFrame:
        """Return the tracks."""
        return tracks


def count_block(block: MovieBlock, settings: LinkSettings) -> StepModel:
    """Count steps, losses and births in a block, linked by distance for that alone.

    Parameters
    ----------
    block, settings
        As for `link_block`.

    Returns
    -------
    The odds that the block alone tells; `fit_steps` adds up those of a movie.
    """
    limit_nm = block.clock.step_limit_nm(settings.max_step_nm)
    seen, own = _sightings(block, settings)
    return StepModel(count_steps(seen, limit_nm, own), limit_nm, seen.spacing_nm)


def fit_steps(models: Sequence[StepModel]) -> StepModel:
    """Return how far the defects of a movie step and how often they are missed.

    Parameters
    ----------
    models
        What `count_block` returned for each of its blocks, in any order; at least one.
    """
    counts = sum((model.counts for model in models), start=NO_STEPS)
    return StepModel(counts, models[0].reach_nm, models[0].spacing_nm)


def link_block(block: MovieBlock, settings: LinkSettings, model: StepModel | None) -> BlockLinks:
    """Link the frames of a block among each other and to the last occupied frame before it.

    Parameters
    ----------
    block
        Rows of whole frames, and the occupied frames around them; no rows at the movie's ends.
    settings
        As for every block of the movie.
    model
        Odds of steps, from `fit_steps`; None: links by distance.

    Raises
    ------
    ValueError
        If the rows do not follow each other in time, or no step limit is known.
    """
    seen, own = _sightings(block, settings)
    if model is None:
        links = links_by_distance(seen, block.clock.step_limit_nm(settings.max_step_nm))
    else:
        links = links_by_likelihood(seen, model)
    # From here on only the last occupied frame before the block is looked at, and the block:
    # row 0 is the first of that frame, row `n_previous` the block's own first.
    first = _last_frame_begins(seen.frame[: own.start])
    rows, n_previous = slice(first, own.stop), own.start - first
    seen, links = seen.take(rows), links[rows]
    links = np.where(links >= 0, links - first, -1)
    links[:n_previous] = -1
    names, of_all, seam = name_tracks(links, seen.frame, n_previous=n_previous)
    last_frame = -1
    if own.stop > own.start:
        last_frame = int(seen.frame[-1] + block.clock.apart(seen.ordinal[-1:])[0])
    endpoints = _endpoints(links, seen, of_all, n_previous, closes_gaps=settings.max_gap_frames > 0)
    # gaps are closed in a time in which stretches lie far apart
    endpoints = replace(endpoints, frame=endpoints.frame + block.clock.apart(endpoints.ordinal))
    return BlockLinks(names, BlockSummary(seam, endpoints, last_frame))


def _last_frame_begins(frame: np.ndarray) -> int:
    """Return the first row of the last of the ascending `frame` (n,); 0 where there is none."""
    return int(np.searchsorted(frame, frame[-1])) if len(frame) else 0


def _sightings(block: MovieBlock, settings: LinkSettings) -> tuple[Sightings, slice]:
    """Return the rows of a block and its halos as arrays, and which of them are the block's own."""
    own, before, after = block.rows()
    parts, clock = [before, own, after], block.clock
    _check_order([part["frame"].to_numpy() for part in parts if len(part)], clock)
    frame = np.concatenate([part["frame"].to_numpy(np.int64) for part in parts])
    ordinal = np.concatenate([part["ordinal"].to_numpy(np.int64) for part in parts])
    seen = Sightings(
        ordinal=ordinal,
        frame=frame,
        point_nm=np.concatenate([part[["y_nm", "x_nm"]].to_numpy(np.float64) for part in parts]),
        since_last=clock.since(ordinal, frame, 1),
        since_second=clock.since(ordinal, frame, 2),
        looks=_looks(parts, settings),
        longest=settings.max_blind_frames + 1,
        spacing_nm=clock.spacing_nm(settings),
    )
    return seen, slice(len(before), len(before) + len(own))


def _check_order(frames: Sequence[np.ndarray], clock: Clock) -> None:
    """Check that blocks follow each other in time."""
    for then, now in itertools.pairwise(frames):
        if then[-1] < now[0]:
            continue
        what = f"frame {now[0]} comes after frame {then[-1]}"
        if now[0] == then[-1]:
            what = f"frame {now[0]} is cut in two"
        msg = (
            f"movie {clock.movie!r}: {what}; partitions must hold whole frames in the order of "
            "time, as detect() returns them"
        )
        raise ValueError(msg)


def _looks(parts: Sequence[pd.DataFrame], settings: LinkSettings) -> Looks:
    """Return how the rows look, as far as the settings let it count."""
    n = sum(map(len, parts))
    class_id, brightness = np.zeros(n, np.int16), np.zeros(n)
    if settings.class_penalty_nm:
        class_id = np.concatenate([part["class_id"].to_numpy(np.int16) for part in parts])
    if settings.brightness_penalty_nm:
        score = np.concatenate([part["score"].to_numpy(np.float64) for part in parts])
        brightness = settings.brightness_penalty_nm * np.log(np.maximum(score, 1e-3))
    return Looks(class_id, brightness, settings.class_penalty_nm)


def _endpoints(
    links: np.ndarray, seen: Sightings, names: np.ndarray, n_previous: int, *, closes_gaps: bool
) -> Endpoints:
    """Return where tracks begin in the block, and where they end before its last frame.

    There are none unless gaps are closed.
    """
    starts = ends = np.empty(0, np.int64)
    if closes_gaps and len(links):
        starts = np.flatnonzero(links < 0)
        starts = starts[starts >= n_previous]  # in the halo no track is known to begin
        ends = np.flatnonzero(~goes_on(links) & (seen.frame < seen.frame[-1]))
    rows = np.concatenate([starts, ends])
    return Endpoints(
        is_end=np.repeat([False, True], [len(starts), len(ends)]),
        name=names[rows],
        ordinal=seen.ordinal[rows],
        frame=seen.frame[rows],
        point_nm=seen.point_nm[rows],
        looks=seen.looks.take(rows),
    )

"""How tracks are called: blocks are joined at their seams and across gaps, one name a track."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.linking.block_names import ID_STRIDE, Seam, join, settle
from stemkin.kernels.linking.endpoints import Endpoints, in_windows
from stemkin.kernels.linking.gaps import close_gaps, one_name, replaced
from stemkin.kernels.linking.steps import StepModel
from stemkin.linking.settings import LinkSettings

logger = logging.getLogger(__name__)


class Summary(Protocol):
    """What the other blocks must know of a block."""

    @property
    def seam(self) -> Seam:
        """The tracks in its last frame."""

    @property
    def endpoints(self) -> Endpoints:
        """First detections of tracks that begin in the block, last ones of those that end.

        Also of those that end in its halo; none where gaps are not closed. Asked for twice.
        """

    @property
    def last_frame(self) -> int:
        """Number of its last occupied frame, -1 for a block without rows."""


@dataclass(frozen=True, eq=False)
class TrackNames:
    """What a block must know of the others.

    Attributes
    ----------
    incoming
        (h,) names of the tracks in its halo, in the order of the halo's rows.
    old, new
        (k,) names that change since a gap was closed, ascending, and what they change into.
    """

    incoming: np.ndarray
    old: np.ndarray
    new: np.ndarray


def join_links(
    summaries: Sequence[Summary], model: StepModel | None, settings: LinkSettings
) -> list[TrackNames]:
    """Join the blocks of a movie: seams first, then gaps between the ends and starts of all tracks.

    Parameters
    ----------
    summaries
        Of every block in the order of time, also of those without rows.
    model
        Odds of steps, from `fit_steps`; not asked for where no gaps are closed.
    settings
        As the blocks were linked with.

    Returns
    -------
    For each block, how its tracks are called.
    """
    incoming = join([summary.seam for summary in summaries])
    old = new = np.empty(0, np.int64)
    if settings.max_gap_frames and model is not None and summaries:

        def settled() -> Iterator[tuple[Endpoints, int]]:
            for summary, known in zip(summaries, incoming, strict=True):
                endpoints = summary.endpoints
                yield replace(endpoints, name=settle(endpoints.name, known)), summary.last_frame

        closed = close_gaps(
            lambda: in_windows(settled()),
            model=model,
            max_gap_frames=settings.max_gap_frames,
            max_blind_frames=settings.max_blind_frames,
        )
        old, new = one_name(*closed)
        logger.info("%d gaps closed", len(old))
    names, begun = [], 0
    for summary, known in zip(summaries, incoming, strict=True):
        end = (summary.last_frame + 1) * ID_STRIDE
        own = _changes(old, known, begun, end)
        names.append(TrackNames(known, own, replaced(own, old, new)))
        begun = max(begun, end)
    return names


def _changes(old: np.ndarray, incoming: np.ndarray, begun: int, end: int) -> np.ndarray:
    """Return those of the names `old` (ascending) that a block can hold, ascending.

    A block holds the tracks of its halo, and those that begin in it: names are ordered by the frame
    in which the track begins, so the latter are a run of `old`, from `begun` to `end` (excluded),
    and all names of the halo lie before it.
    """
    first, last = np.searchsorted(old, [begun, end])
    place = np.unique(np.searchsorted(old[:first], incoming))
    came_in = old[place[place < first]]
    came_in = came_in[np.isin(came_in, incoming)]
    return np.concatenate([came_in, old[first:last]])


def block_tracks(block: pd.DataFrame, own: np.ndarray, names: TrackNames) -> pd.DataFrame:
    """Name the tracks of a block.

    Parameters
    ----------
    block
        Its rows, from `drift_corrected`.
    own
        (n,) how its tracks are called before the blocks are joined.
    names
        What it must know of the others.

    Returns
    -------
    Its rows of the table ``tracks``, sorted as the block is.
    """
    particle = replaced(settle(own, names.incoming), names.old, names.new)
    return tables.conform(block.assign(particle=particle), "tracks")


def no_tracks(detections: pd.DataFrame) -> pd.DataFrame:
    """Return the table ``tracks`` without rows, with all columns that `detections` have."""
    return tables.conform(detections.iloc[:0].assign(particle=0, y_nm=0.0, x_nm=0.0), "tracks")


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all `tables`, which must not be none, as one table."""
    filled = [rows for rows in tables if len(rows)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0].iloc[:0]

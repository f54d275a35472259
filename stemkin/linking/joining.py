"""Joining blocks: seams and gaps, so that a track has one name in all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.linking.block_names import ID_STRIDE, Seam, join, settle
from stemkin.kernels.linking.gaps import close_gaps, one_name, renamed
from stemkin.kernels.linking.steps import StepModel
from stemkin.kernels.linking.tips import Tips, in_windows
from stemkin.linking.clock import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Summary:
    """What the other blocks must know of a block.

    Attributes
    ----------
    seam
        The tracks in its last frame.
    tips
        First detections of tracks that begin in the block, last ones of those that end in it or in
        its halo. Empty where gaps are not closed.
    last_frame
        Number of its last occupied frame, -1 for a block without rows.
    """

    seam: Seam
    tips: Tips
    last_frame: int


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


def join_links(
    summaries: Sequence[Summary],
    model: StepModel,
    settings: Settings,
    tips_of: Callable[[int], Tips] | None = None,
) -> list[Names]:
    """Return, for each block of a movie in the order of time, how its tracks are called. Computes
    once.

    Gaps are closed here, between the ends and the starts of all tracks of the movie.

    Parameters
    ----------
    summaries
        Of every block, also of those without rows.
    model
        Odds of steps, from `fit_steps`.
    settings
        As the blocks were linked with.
    tips_of
        Gives the tips of a block by its number, where they are kept elsewhere than in the
        summaries; asked twice for each.
    """
    incoming = join([summary.seam for summary in summaries])
    old = new = np.empty(0, np.int64)
    if settings.max_gap_frames and summaries:

        def settled() -> Iterator[tuple[Tips, int]]:
            for k, (summary, names) in enumerate(zip(summaries, incoming, strict=True)):
                tips = summary.tips if tips_of is None else tips_of(k)
                yield replace(tips, name=settle(tips.name, names)), summary.last_frame

        limits = {
            "max_gap_frames": settings.max_gap_frames,
            "max_blind_frames": settings.max_blind_frames,
        }
        old, new = one_name(*close_gaps(lambda: in_windows(settled()), model=model, **limits))
        logger.info("%d gaps closed", len(old))
    names, begun = [], 0
    for summary, known in zip(summaries, incoming, strict=True):
        # a block holds the tracks of its halo and those that begin in it
        first, last = np.searchsorted(old, [begun, (summary.last_frame + 1) * ID_STRIDE])
        place = np.unique(np.searchsorted(old[:first], known))
        place = place[place < first]
        came_in = old[place]
        came_in = came_in[np.isin(came_in, known)]
        own_old = np.concatenate([came_in, old[first:last]])
        names.append(Names(known, own_old, renamed(own_old, old, new)))
        begun = max(begun, (summary.last_frame + 1) * ID_STRIDE)
    return names


def block_tracks(block: pd.DataFrame, own: np.ndarray, names: Names) -> pd.DataFrame:
    """Return the block's rows of the table ``tracks``, sorted as the block is; `own` are its
    `BlockLinks.names`. Computes once."""
    particle = renamed(settle(own, names.incoming), names.old, names.new)
    return tables.conform(block.assign(particle=particle), "tracks")

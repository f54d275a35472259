"""Counts of how detections step, are lost, begin and come back, behind `kernels.linking.steps`."""

from __future__ import annotations

import numpy as np

from stemkin.kernels.linking.candidates import near_pairs
from stemkin.kernels.linking.linking import links_by_distance
from stemkin.kernels.linking.sightings import Sightings, goes_on
from stemkin.kernels.linking.steps import NO_STEPS, StepCounts, by_length

STRETCH, ENOUGH_ROWS = 16, 256
"""Frames that are counted together, and rows per frame of which more are not needed to know how
defects step."""


def counted_frames(ordinal: np.ndarray) -> np.ndarray:
    """Return for how many frames each row's frame is counted, 0 where it is not.

    A crowded frame says as much as many sparse ones: of all stretches of `STRETCH` frames so many
    are counted (one in k, each of whose frames then stands for k) that there are about
    `ENOUGH_ROWS` rows per frame of the movie. It follows from a frame's number and its rows alone.

    Parameters
    ----------
    ordinal
        (n,) frame of each row, counted among the good frames; ascending, whole frames.

    Returns
    -------
    (n,) int64: 1 where all frames are counted, k where one stretch in k is, 0 in the others.

    Examples
    --------
    >>> counted_frames(np.repeat([0, STRETCH, 2 * STRETCH], [1, 500, 500]))[[0, 1, 501]].tolist()
    [1, 0, 2]
    """
    starts, size = _frames(ordinal)
    one_in = 2 ** np.ceil(np.log2(np.maximum(size / ENOUGH_ROWS, 1))).astype(np.int64)
    return np.repeat(np.where(ordinal[starts] // STRETCH % one_in == 0, one_in, 0), size)


def count_steps(seen: Sightings, max_step_nm: float, own: slice) -> StepCounts:
    """Count steps, losses, births and returns in links by distance.

    Parameters
    ----------
    seen
        Rows of a block and, where there are any, of two occupied frames before and after it.
    max_step_nm
        Largest step between neighbouring frames [nm].
    own
        The block's rows; the counts of all blocks of a movie add up to those of the movie.

    Returns
    -------
    What the frames of the block say; halos are looked at, not counted.
    """
    weight = counted_frames(seen.ordinal)
    weight[: own.start] = weight[own.stop :] = 0
    if not weight.any():
        return NO_STEPS
    first, last = int(seen.ordinal[0]), int(seen.ordinal[-1])
    starts, _ = _frames(seen.ordinal)
    n_pairs = int(weight[starts] @ np.diff(seen.ordinal[starts], prepend=first))
    if not weight[own].all():
        # A counted frame asks for the links into itself and into the frame after (who ended in
        # it), and both ask for the frames before: with k = -2 those from which a track comes back.
        counted = np.unique(seen.ordinal[weight > 0])
        rows = np.flatnonzero(
            np.isin(seen.ordinal, np.concatenate([counted + k for k in (-2, -1, 0, 1)]))
        )
        seen, weight = seen.take(rows), weight[rows]
    ordinal, point, reach = seen.ordinal, seen.point_nm, seen.reach_nm(max_step_nm)
    links = links_by_distance(seen, max_step_nm)
    later = np.flatnonzero((links >= 0) & (weight > 0))
    steps = by_length(
        ((point[later] - point[links[later]]) ** 2).sum(axis=1), reach[later], weight[later]
    )
    # Rows from here on are those of frames that may be asked; what is counted has a weight.
    on, reach_two = goes_on(links), seen.reach_nm(max_step_nm, 2)
    begins = (links < 0) & (weight > 0)
    endpoints = np.flatnonzero(~on | begins)
    reach_two = np.where(begins & (reach_two > 0), reach_two, 0.0)[endpoints]
    pairs = near_pairs(ordinal[endpoints], point[endpoints], reach_two, n_apart=2)
    again = ~on[endpoints[pairs.earlier]]
    start = pairs.later[again]
    own_points = [axis[weight > 0] for axis in point.T]
    return StepCounts(
        steps=steps,
        returns=by_length(pairs.squared[again], reach_two[start], weight[endpoints[start]]),
        n_ended=int(weight[~on & (ordinal < last)].sum()),
        n_begun=int(weight[begins & (ordinal > first)].sum()),
        n_before_two=int(weight[~on & (ordinal + 2 <= last)].sum()),
        n_pairs=n_pairs,
        low_nm=np.array([axis.min() for axis in own_points]),
        high_nm=np.array([axis.max() for axis in own_points]),
    )


def _frames(ordinal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each frame's rows begin, and how many they are; `ordinal` (n,) is ascending."""
    # cut to its length, so that of no rows there is no first one
    starts = np.flatnonzero(np.r_[True, ordinal[1:] != ordinal[:-1]][: len(ordinal)])
    return starts, np.diff(np.append(starts, len(ordinal)))

"""Tracks that branch, as lines: what splits or merges ends there, and what follows begins anew."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph


def lines_of(n_spots: int, source: np.ndarray, target: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Return which line each spot of branching tracks lies on.

    Parameters
    ----------
    n_spots
        Number of spots.
    source, target
        (m,) spots that an edge joins, in any order.
    frame
        (n_spots,) frame of each.

    Returns
    -------
    (n_spots,) number of each spot's line, in the order of their first frames (at equal frames, of
    their first spots). An edge counts where it is the only one that leaves the earlier spot and the
    only one that reaches the later: so each line has one spot a frame at most.

    Raises
    ------
    ValueError
        If an edge joins two spots of one frame.

    Examples
    --------
    >>> # 0 - 1 splits into 2 and 3
    >>> lines_of(4, np.array([0, 1, 1]), np.array([1, 2, 3]), np.array([0, 1, 2, 2])).tolist()
    [0, 0, 1, 2]
    """
    if (frame[source] == frame[target]).any():
        at = int(np.flatnonzero(frame[source] == frame[target])[0])
        msg = f"an edge joins two spots of frame {frame[source[at]]}; a track has one spot a frame"
        raise ValueError(msg)
    earlier = np.where(frame[source] < frame[target], source, target)
    later = np.where(frame[source] < frame[target], target, source)
    pairs = np.unique(np.stack([earlier, later], axis=1), axis=0)  # an edge written twice is one
    earlier, later = pairs.T
    leaves = np.bincount(earlier, minlength=n_spots)
    reaches = np.bincount(later, minlength=n_spots)
    kept = (leaves[earlier] == 1) & (reaches[later] == 1)
    joined = sparse.coo_array(
        (np.ones(int(kept.sum()), bool), (earlier[kept], later[kept])), shape=(n_spots, n_spots)
    )
    _, line = csgraph.connected_components(joined, directed=False)
    # numbered anew, by the first spot of each in the order of time
    order = np.argsort(frame, kind="stable")
    found, first = np.unique(line[order], return_index=True)
    number = np.empty(len(found), np.int64)
    number[np.argsort(first)] = np.arange(len(found))
    return number[np.searchsorted(found, line)]

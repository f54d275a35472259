"""A draw of frames by a seed, one from each equal stretch of the whole."""

from __future__ import annotations

import numpy as np


def sample_frames(lengths: list[int], n_frames: int, *, seed: int) -> list[tuple[int, int]]:
    """Draw frames of movies by a seed, one from each equal stretch of the whole.

    Parameters
    ----------
    lengths
        Number of frames of each movie.
    n_frames
        How many to draw; all where there are fewer.
    seed
        Decides which.

    Returns
    -------
    (movie, frame) numbers, in order.

    Examples
    --------
    >>> sample_frames([3, 2], 9, seed=0)
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    """
    total = sum(lengths)
    n = min(n_frames, total)
    edges = np.linspace(0, total, n + 1)
    offsets = np.random.default_rng(seed).random(n) * np.diff(edges)
    chosen = np.floor(edges[:-1] + offsets).astype(int)
    if n == total:
        chosen = np.arange(total)
    # frames are counted through all movies; `searchsorted` from the right finds the movie of each,
    # and skips movies without frames
    starts = np.cumsum([0, *lengths])
    movie = np.searchsorted(starts, chosen, side="right") - 1
    return [(int(i), int(k - starts[i])) for i, k in zip(movie, chosen, strict=True)]

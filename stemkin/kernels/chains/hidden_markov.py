"""Forward-backward sums of a hidden Markov chain: what is behind names that are sometimes wrong.

A defect is in a state that is not seen; what is seen is a name, with the probability of each name
given in each state (the *emissions*). Forward and backward sums over a track give the likelihood of
all its names, and how often, on average over all histories that explain them, each transition
happened (Baum & Petrie, Ann. Math. Stat. 37, 1554 (1966)). Frames without a detection are bridged
by ``exp(Q g t)``. Tracks run side by side.

>>> P = np.array([[[0.9, 0.1], [0.1, 0.9]]])
>>> names = np.array([0, 0, 1, 0, 0])
>>> sure = np.eye(2)[names]
>>> start, gap, even = np.array([0, 5]), np.zeros(5, dtype=int), np.array([0.5, 0.5])
>>> counts = expected_counts(start, gap, sure, P, even).counts
>>> counts[0, 0].tolist()
[[2.0, 1.0], [1.0, 0.0]]
>>> doubtful = np.array([[0.9, 0.1], [0.1, 0.9]])[:, names].T
>>> expected_counts(start, gap, doubtful, P, even).counts[0, 0].round(2).tolist()
[[3.63, 0.14], [0.14, 0.08]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STRIP = 2048
"""Tracks that run side by side, so that their sums stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What each track adds.

    Attributes
    ----------
    log_likelihood
        (n_tracks,)
    counts
        (n_tracks, m, k, k) expected transitions of each gap, from row to column.
    start
        (n_tracks, k) probability of each state in the first row.
    """

    log_likelihood: np.ndarray
    counts: np.ndarray
    start: np.ndarray


def expected_counts(
    edges: np.ndarray, gap: np.ndarray, emission: np.ndarray, powers: np.ndarray, start: np.ndarray
) -> Expected:
    """Return the expected transitions of every track, by the forward-backward algorithm.

    Parameters
    ----------
    edges
        (n_tracks + 1,) rows `edges[i]` to `edges[i + 1]` belong to track i, in order of time.
    gap
        (n,) which of the `powers` leads to each row from the one before; not used in a track's
        first row.
    emission
        (n, k) probability of what was seen in each row, in each state.
    powers
        (m, k, k) transition matrix of each gap.
    start
        (k,) probability of each state in the first row of a track.

    Returns
    -------
    What each track adds, in the order of `edges`.
    """
    length = np.diff(edges)
    order = np.argsort(-length, kind="stable")
    n_tracks, k, m = len(length), emission.shape[1], len(powers)
    found = Expected(np.zeros(n_tracks), np.zeros((n_tracks, m, k, k)), np.zeros((n_tracks, k)))
    for strip in np.array_split(order, max(1, n_tracks // _STRIP)):
        part = _strip(edges[:-1][strip], length[strip], gap, emission, powers, start)
        found.log_likelihood[strip] = part.log_likelihood
        found.counts[strip] = part.counts
        found.start[strip] = part.start
    return found


def _strip(
    first: np.ndarray,
    length: np.ndarray,
    gap: np.ndarray,
    emission: np.ndarray,
    powers: np.ndarray,
    start: np.ndarray,
) -> Expected:
    """Run along tracks that are sorted by length, the longest first."""
    n, k = len(first), emission.shape[1]
    log_likelihood = np.zeros(n)
    forward: list[np.ndarray] = []
    scale: list[np.ndarray] = []
    longest = int(length.max(initial=0))
    # The longest tracks stand first: those with a row number i are the first alive[i].
    alive = [int(np.searchsorted(-length, -i)) for i in range(longest + 1)]
    for i in range(longest):
        rows = first[: alive[i]] + i
        if i == 0:
            value = emission[rows] * start
        else:
            value = _through(forward[-1][: alive[i]], powers[gap[rows]]) * emission[rows]
        total = _sum(value)
        forward.append(value / total[:, None])
        scale.append(total)
        log_likelihood[: alive[i]] += np.log(total)
    # Backward: `pair` (track, from, to) is the probability of the step from row i - 1 to row i,
    # given all names of the track; each track has one such step, so no place is added to twice.
    counts = np.zeros((n, len(powers), k, k))
    backward = np.ones((n, k))
    for i in range(longest - 1, 0, -1):
        rows, here = first[: alive[i]] + i, slice(0, alive[i])
        P = powers[gap[rows]]
        ahead = backward[here] * emission[rows] / scale[i][:, None]
        pair = forward[i - 1][here, :, None] * P * ahead[:, None, :]
        counts[np.arange(alive[i]), gap[rows]] += pair
        backward[here] = _through(ahead, P.transpose(0, 2, 1))
    begin = forward[0] * backward if longest else np.zeros((n, k))
    return Expected(log_likelihood, counts, begin)


def _through(value: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return value @ P for each track, added in a fixed order: a library may round by the size."""
    result: np.ndarray = value[:, 0, None] * P[:, 0]
    for i in range(1, value.shape[1]):
        result += value[:, i, None] * P[:, i]
    return result


def _sum(value: np.ndarray) -> np.ndarray:
    result = value[:, 0].copy()
    for i in range(1, value.shape[1]):
        result += value[:, i]
    return np.asarray(np.maximum(result, 1e-300))

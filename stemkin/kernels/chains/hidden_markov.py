"""Forward-backward sums of a hidden Markov chain: what is behind names that are sometimes wrong.

A defect is in a state that is not seen; what is seen is a name, with the probability of each name
given in each state (the *emissions*). Forward and backward sums over a track give the likelihood of
all its names, and how often, on average over all histories that explain them, each transition
happened (Baum & Petrie, Ann. Math. Stat. 37, 1554 (1966)). Frames without a detection are bridged
by ``exp(Q g t)``.

A name may also *last*: as long as the state stays, it is kept from one row to the next with a
probability `kept`, and drawn anew otherwise; when the state changes it is drawn anew. A wrong name
then lasts 1 / (1 - kept) frames. The names are seen, so this needs no further hidden states: the
factor of a step depends on whether its two names are the same. (A chain whose emissions depend on
what was emitted before: Hamilton, Econometrica 57, 357 (1989).)

>>> P = np.array([[[0.9, 0.1], [0.1, 0.9]]])
>>> names = np.array([0, 0, 1, 0, 0])
>>> sure = np.eye(2)[names]
>>> start, gap, even = np.array([0, 5]), np.zeros(5, dtype=int), np.array([0.5, 0.5])
>>> counts = expected_counts(start, gap, sure, P, even).counts / UNITS
>>> counts[0].tolist()
[[2.0, 1.0], [1.0, 0.0]]
>>> doubtful = np.array([[0.9, 0.1], [0.1, 0.9]])[:, names].T
>>> (expected_counts(start, gap, doubtful, P, even).counts[0] / UNITS).round(2).tolist()
[[3.63, 0.14], [0.14, 0.08]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.common.compiling import compiled

UNITS = 2**30
"""What tracks add is summed in whole numbers of 1 / `UNITS`: in any order, to the same bit."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What all tracks add, in whole numbers of 1 / `UNITS`.

    Attributes
    ----------
    log_likelihood
        (1,)
    counts
        (m, k, k) expected transitions of each gap, from row to column.
    start
        (k,) expected states of first rows.
    held
        (m, 2) expected steps of each gap without a change of state, in which the name was kept, and
        in which it was drawn anew.
    drawn
        (k, k) how often each state (row) was expected to draw each name.
    """

    log_likelihood: np.ndarray
    counts: np.ndarray
    start: np.ndarray
    held: np.ndarray
    drawn: np.ndarray


def expected_counts(
    edges: np.ndarray,
    gap: np.ndarray,
    emission: np.ndarray,
    powers: np.ndarray,
    start: np.ndarray,
    *,
    name: np.ndarray | None = None,
    kept: np.ndarray | None = None,
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
    name
        (n,) the name of each row, 0 to k - 1; None: names do not last.
    kept
        (m,) probability that a name is kept over each gap while the state stays.

    Returns
    -------
    What all tracks add.
    """
    k, m = emission.shape[1], len(powers)
    shapes = ((1,), (m, k, k), (k,), (m, 2), (k, k))
    found = Expected(*(np.zeros(shape, np.int64) for shape in shapes))
    room = np.zeros(1), np.zeros((m, k, k)), np.zeros(k), np.zeros((m, 2)), np.zeros((k, k))
    if name is None:
        name = np.zeros(0, np.int64)
    if kept is None:
        kept = np.zeros(m)
    longest = int(np.diff(edges).max(initial=0))
    seen = np.asarray(gap, np.int64), np.ascontiguousarray(emission, np.float64)
    chain = np.ascontiguousarray(powers, np.float64), np.asarray(start, np.float64)
    names = np.asarray(name, np.int64), np.asarray(kept, np.float64)
    all_tracks = found.log_likelihood, found.counts, found.start, found.held, found.drawn
    _along_tracks(np.asarray(edges, np.int64), seen, chain, names, longest, room, all_tracks)
    return found


_Pair = tuple[np.ndarray, np.ndarray]
_Sums = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Logarithm of the likelihood, transitions, first states, names kept and drawn anew, names drawn."""


@compiled
def _along_tracks(
    edges: np.ndarray,
    seen: _Pair,
    chain: _Pair,
    names: _Pair,
    longest: int,
    own: _Sums,
    all_tracks: _Sums,
) -> None:
    """Add what each track says to `all_tracks`; `own` is room for one track.

    A plain loop: the sums of a track are in one order, whatever the machine; those of all tracks
    are whole numbers.
    """
    k = len(chain[1])
    forward, scale, backward = np.zeros((longest, k)), np.zeros(longest), np.zeros(k)
    for track in range(len(edges) - 1):
        first, length = edges[track], edges[track + 1] - edges[track]
        if length == 0:
            continue
        own[0][0] = _forward(first, length, seen, chain, names, forward, scale)
        _backward(first, length, seen, chain, names, forward, scale, backward, own)
        for j in range(k):
            own[2][j] = forward[0, j] * backward[j]
            if len(names[0]) > 0:
                own[4][j, names[0][first]] += own[2][j]
        # of different shapes: compiled code has no loop over them
        _add_whole(own[0], all_tracks[0])
        _add_whole(own[1].reshape(-1), all_tracks[1].reshape(-1))
        _add_whole(own[2], all_tracks[2])
        _add_whole(own[3].reshape(-1), all_tracks[3].reshape(-1))
        _add_whole(own[4].reshape(-1), all_tracks[4].reshape(-1))


@compiled
def _staying(at: int, step: int, names: _Pair) -> tuple[float, float]:
    """Return what a state that stays says of a name that was kept, and of one drawn anew."""
    name, kept = names
    if len(name) == 0:
        return 0.0, 1.0
    anew = 1.0 - kept[step]
    if name[at] == name[at - 1]:
        return kept[step], anew
    return 0.0, anew


@compiled
def _forward(
    first: int,
    length: int,
    seen: _Pair,
    chain: _Pair,
    names: _Pair,
    forward: np.ndarray,
    scale: np.ndarray,
) -> float:
    """Fill in the states of each row given the names up to it; return the log-likelihood."""
    (gap, emission), (powers, start) = seen, chain
    k, log_likelihood = len(start), 0.0
    for row in range(length):
        at, total = first + row, 0.0
        if row > 0:
            step = gap[at]
            stay, anew = _staying(at, step, names)
        for j in range(k):
            value = start[j] * emission[at, j]
            if row > 0:
                value = 0.0
                for i in range(k):
                    if i != j:
                        value += forward[row - 1, i] * powers[step, i, j]
                value *= emission[at, j]
                own = forward[row - 1, j] * powers[step, j, j]
                value += own * (stay + anew * emission[at, j])
            forward[row, j] = value
            total += value
        total = max(total, 1e-300)
        for j in range(k):
            forward[row, j] /= total
        scale[row] = total
        log_likelihood += np.log(total)
    return log_likelihood


@compiled
def _backward(
    first: int,
    length: int,
    seen: _Pair,
    chain: _Pair,
    names: _Pair,
    forward: np.ndarray,
    scale: np.ndarray,
    backward: np.ndarray,
    own: _Sums,
) -> None:
    """Add to `own` what happened between rows; `backward` ends as that of the first row.

    `pair` is the probability of the step from row - 1 to row, given all names.
    """
    (gap, emission), powers, name = seen, chain[0], names[0]
    counts, held, drawn = own[1], own[3], own[4]
    k, ahead = len(backward), np.zeros(len(backward))
    backward[:] = 1.0
    for row in range(length - 1, 0, -1):
        at = first + row
        step = gap[at]
        stay, anew = _staying(at, step, names)
        for j in range(k):
            ahead[j] = backward[j] / scale[row]
        for i in range(k):
            value = 0.0
            for j in range(k):
                chance = emission[at, j]
                if i == j:
                    chance = stay + anew * chance
                factor = powers[step, i, j] * chance * ahead[j]
                value += factor
                pair = forward[row - 1, i] * factor
                counts[step, i, j] += pair
                if len(name) > 0:
                    was_kept = 0.0
                    if i == j and chance > 0.0:
                        was_kept = pair * stay / chance
                        held[step, 0] += was_kept
                        held[step, 1] += pair - was_kept
                    drawn[j, name[at]] += pair - was_kept
            backward[i] = value


@compiled
def _add_whole(sums: np.ndarray, total: np.ndarray) -> None:
    """Add the sums of one track to those of all in whole numbers of 1 / `UNITS`, and clear them."""
    for i in range(len(sums)):
        total[i] += np.int64(np.rint(sums[i] * UNITS))
        sums[i] = 0.0

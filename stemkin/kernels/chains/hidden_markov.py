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
    _along_tracks(
        np.asarray(edges, np.int64),
        np.asarray(gap, np.int64),
        np.ascontiguousarray(emission, np.float64),
        np.ascontiguousarray(powers, np.float64),
        np.asarray(start, np.float64),
        np.asarray(name, np.int64),
        np.asarray(kept, np.float64),
        np.zeros((longest, k)),
        *room,
        found.log_likelihood,
        found.counts,
        found.start,
        found.held,
        found.drawn,
    )
    return found


@compiled
def _along_tracks(
    edges: np.ndarray,
    gap: np.ndarray,
    emission: np.ndarray,
    powers: np.ndarray,
    start: np.ndarray,
    name: np.ndarray,
    kept: np.ndarray,
    forward: np.ndarray,
    log_likelihood: np.ndarray,
    counts: np.ndarray,
    begin: np.ndarray,
    held: np.ndarray,
    drawn: np.ndarray,
    all_log_likelihood: np.ndarray,
    all_counts: np.ndarray,
    all_begin: np.ndarray,
    all_held: np.ndarray,
    all_drawn: np.ndarray,
) -> None:
    """Add what each track says to the last five; the six before them are room for one track.

    A plain loop: the sums of a track are in one order, whatever the machine; those of all tracks
    are whole numbers.
    """
    k, lasting = len(start), len(name) > 0
    scale = np.zeros(len(forward))
    backward, ahead = np.zeros(k), np.zeros(k)
    for track in range(len(edges) - 1):
        first, length = edges[track], edges[track + 1] - edges[track]
        if length == 0:
            continue
        for row in range(length):
            at = first + row
            # what a state that stays says of a name that was kept and of one that was drawn
            stay, anew = 0.0, 1.0
            if row > 0 and lasting:
                anew = 1.0 - kept[gap[at]]
                if name[at] == name[at - 1]:
                    stay = kept[gap[at]]
            total = 0.0
            for j in range(k):
                value = start[j]
                if row > 0:
                    value = 0.0
                    for i in range(k):
                        if i != j:
                            value += forward[row - 1, i] * powers[gap[at], i, j]
                    value *= emission[at, j]
                    own = forward[row - 1, j] * powers[gap[at], j, j]
                    value += own * (stay + anew * emission[at, j])
                else:
                    value *= emission[at, j]
                forward[row, j] = value
                total += value
            total = max(total, 1e-300)
            for j in range(k):
                forward[row, j] /= total
            scale[row] = total
            log_likelihood[0] += np.log(total)
        for j in range(k):
            backward[j] = 1.0
        # Backward: `pair` is the probability of the step from row - 1 to row, given all names.
        for row in range(length - 1, 0, -1):
            at = first + row
            step = gap[at]
            stay, anew = 0.0, 1.0
            if lasting:
                anew = 1.0 - kept[step]
                if name[at] == name[at - 1]:
                    stay = kept[step]
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
                    if lasting:
                        was_kept = 0.0
                        if i == j and chance > 0.0:
                            was_kept = pair * stay / chance
                            held[step, 0] += was_kept
                            held[step, 1] += pair - was_kept
                        drawn[j, name[at]] += pair - was_kept
                backward[i] = value
        for j in range(k):
            begin[j] = forward[0, j] * backward[j]
            if lasting:
                drawn[j, name[first]] += begin[j]
        all_log_likelihood[0] += np.int64(np.rint(log_likelihood[0] * UNITS))
        log_likelihood[0] = 0.0
        for step in range(len(powers)):
            for way in range(2):
                all_held[step, way] += np.int64(np.rint(held[step, way] * UNITS))
                held[step, way] = 0.0
            for i in range(k):
                for j in range(k):
                    all_counts[step, i, j] += np.int64(np.rint(counts[step, i, j] * UNITS))
                    counts[step, i, j] = 0.0
        for i in range(k):
            all_begin[i] += np.int64(np.rint(begin[i] * UNITS))
            begin[i] = 0.0
            for j in range(k):
                all_drawn[i, j] += np.int64(np.rint(drawn[i, j] * UNITS))
                drawn[i, j] = 0.0

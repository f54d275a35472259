"""Counting what follows what on rows that are packed into one whole number each, and sorted.

Sorting these costs less than finding out which rows belong together, and afterwards a track is a
run of neighbours: counts of `kernels.chains.counting` take 4 to 20 times as long at one lag, 2 to 9
times as long at ten (`benchmarks/bench_counting.py`, 0.09 to 3.6 million rows).

>>> pack = packed(np.array([8, 7, 8]), np.array([1, 0, 0]), np.array([5, 4, 4]), max_lag=1)
>>> pack.pair_counts().tolist(), pack.states.tolist()
([[[0, 1], [0, 0]]], [4, 5])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

STRIP = 2**16
"""Packed rows that are looked at together: they fit into a processor's cache."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows of tracks as sorted whole numbers: owner, frame and state in the bits of one.

    Attributes
    ----------
    rows
        (n,) ascending, all of one group.
    lowest
        (owner, frame, state) that stand for zero.
    frame_bits, state_bits
        Width of the fields; frames that are `max_lag` apart or less never belong to two owners.
    max_lag
        Largest lag that can be counted [frames].
    """

    rows: np.ndarray
    lowest: tuple[int, int, int]
    frame_bits: int
    state_bits: int
    max_lag: int

    @property
    def n_states(self) -> int:
        """Number of states that the bits can tell apart."""
        return 1 << self.state_bits

    @cached_property
    def twins(self) -> tuple[int, int, int] | None:
        """Return an owner and frame that are there twice, and how often; None where none is."""
        first, n_twins = 0, 0
        for strip in self._strips(1):
            # Without the bits of the state, twins are equal numbers, and neighbours.
            twin = np.diff(strip >> self.state_bits) == 0
            if twin.any() and not n_twins:
                first = int(strip[twin.argmax()])
            n_twins += int(np.count_nonzero(twin))
        if not n_twins:
            return None
        owner, frame = divmod(first >> self.state_bits, 1 << self.frame_bits)
        return owner + self.lowest[0], frame + self.lowest[1], n_twins

    @cached_property
    def states(self) -> np.ndarray:
        """The states that occur, ascending."""
        n_rows = np.zeros(self.n_states, np.int64)
        for strip in self._strips(0):
            n_rows += np.bincount(strip & (self.n_states - 1), minlength=self.n_states)
        return np.flatnonzero(n_rows) + self.lowest[2]

    def without(self, states: Iterable[int]) -> Packed:
        """Return the rows that are in none of `states`."""
        gone = np.intersect1d(list(states), self.states) - self.lowest[2]
        if not len(gone):
            return self
        mask = np.ones(self.n_states, bool)
        mask[gone] = False
        return replace(self, rows=self.rows[mask[self.rows & (self.n_states - 1)]])

    def pair_counts(self, max_lag: int | None = None) -> np.ndarray:
        """Return the (max_lag, n_states, n_states) counts of pairs 1 to `max_lag` frames apart.

        The first state is ``lowest[2]``; by default lags run to the largest that can be counted.
        """
        if max_lag is None:
            max_lag = self.max_lag
        return self._counts(max_lag, range(1, max_lag + 1))

    def neighbour_counts(self, max_gap: int) -> np.ndarray:
        """Return the (max_gap, n_states, n_states) counts of rows that follow each other."""
        return self._counts(max_gap, range(1, 2))

    def _counts(self, max_lag: int, offsets: Iterable[int]) -> np.ndarray:
        mask, n_kinds = self.n_states - 1, self.n_states**2
        counts = np.zeros(max_lag * n_kinds, np.int64)
        for offset in offsets:
            for strip in self._strips(offset):
                # Owner and frame together are one clock: the frame's field is so wide that rows of
                # two owners are always more than `max_lag` apart. A pair's gap, state and following
                # state are packed likewise, into the place where it is counted.
                time, state = strip >> self.state_bits, strip & mask
                gap = time[offset:] - time[:-offset]
                kind = (
                    ((gap - 1) << 2 * self.state_bits)
                    + (state[:-offset] << self.state_bits)
                    + state[offset:]
                )
                counts += np.bincount(kind[gap <= max_lag], minlength=len(counts))
        return counts.reshape(max_lag, self.n_states, self.n_states)

    def _strips(self, overlap: int) -> Iterator[np.ndarray]:
        # Each strip looks `overlap` rows ahead, so that a pair is met once, where its first row is.
        for start in range(0, len(self.rows) - overlap, STRIP):
            yield self.rows[start : start + STRIP + overlap]


def packed(
    owner: np.ndarray, frame: np.ndarray, state: np.ndarray, *, max_lag: int
) -> Packed | None:
    """Pack rows, in any order, into one whole number each; None where 63 bits do not hold them.

    Parameters
    ----------
    owner, frame, state
        (n,) whole numbers, at least one row.
    max_lag
        Largest lag that will be counted [frames].

    Returns
    -------
    The rows, ascending; or None where states span more than 8 bits as well.
    """
    first_owner, first_frame, first_state = (int(v.min()) for v in (owner, frame, state))
    # From high to low bits: owner, frame (with `max_lag` frames left empty at its end), state.
    owner_bits = (int(owner.max()) - first_owner).bit_length()
    frame_bits = (int(frame.max()) - first_frame + max_lag).bit_length()
    state_bits = (int(state.max()) - first_state).bit_length()
    if owner_bits + frame_bits + state_bits > 63 or state_bits > 8:
        return None
    rows = owner - np.int64(first_owner)
    for value, first, width in ((frame, first_frame, frame_bits), (state, first_state, state_bits)):
        rows <<= width
        rows += value
        rows -= first
    rows.sort()
    return Packed(rows, (first_owner, first_frame, first_state), frame_bits, state_bits, max_lag)

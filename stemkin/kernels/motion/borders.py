r"""Horvitz-Thompson weights of steps: those that leave the field of view are not seen.

A particle is seen at several places in turn only if all of them lie in the field. Particles come in
as they go out, so that places are spread evenly: of all paths that span e_y by e_x, in a field of
L_y by L_x, the share

    phi = (1 - e_y / L_y) (1 - e_x / L_x)

lies inside as a whole, and a seen path stands for 1/phi of them (Horvitz & Thompson, J. Am. Stat.
Assoc. 47, 663 (1952); the share is the set covariance of the rectangle, as in the translation
correction of Ohser & Stoyan, Biom. J. 23, 523 (1981)). Means over paths weighted so are those of a
sample without borders, whatever the motion: Brownian, hops, or both. Without the weights D comes
out low by about the share of steps that cross the border: 3.5 % in a field of 11.5 nm with hops of
0.3 nm.

The weight asks only how far places lie apart, not in which order they came: what holds of tracks in
random order of time, or at rest, holds with weights as it does without. (A weight by the distance
of a step's first place from the border takes such tracks for moving ones.)

>>> room = Room(np.array([[18.0], [18.0]]))
>>> room.weights(np.array([0, 1]), np.array([[9.0, 0.0], [0.0, 0.0]])).tolist()
[2.0, 1.0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Weights = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From rows (k,) where paths begin, and how much (2, k) they span, to what each stands for."""

LOWEST_SHARE = 0.2
"""Of paths that span most of the field too few are seen to stand for all others."""

GRAIN = 1024
"""Weights are rounded to 1/1024, so that sums of counts are exact in any order."""


@dataclass(frozen=True, eq=False)
class Room:
    """The field that is looked at.

    Attributes
    ----------
    size
        (2, n) or (2, 1) size (y, x) of the field in which each row lies [length].
    """

    size: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Room:
        """Return the room of `rows`: their numbers (k,), or a slice."""
        if self.size.shape[1] > 1:
            return Room(self.size[:, rows])
        return self

    def weights(self, rows: np.ndarray, extent: np.ndarray) -> np.ndarray:
        """Return how many paths each seen path stands for.

        Parameters
        ----------
        rows
            (k,) rows where the paths begin.
        extent
            (2, k) how much they span along y and x [length].

        Returns
        -------
        (k,) weights of 1 or more, in multiples of 1/1024.
        """
        share = np.prod(np.maximum(1 - extent / self.take(rows).size, 0.0), axis=0)
        return np.asarray(np.rint(GRAIN / np.maximum(share, LOWEST_SHARE)) / GRAIN)


def all_alike(rows: np.ndarray, extent: np.ndarray) -> np.ndarray:  # noqa: ARG001 - as `Weights`
    """Return 1 for every path: no border, or none that is known.

    Parameters
    ----------
    rows, extent
        (k,) where paths begin, and what they span, as of `Room.weights`; not used.

    Returns
    -------
    (k,) ones.
    """
    return np.ones(len(rows))

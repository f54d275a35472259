"""Walks: where particles were seen, frame after frame, and which displacements count together.

Rows come ordered by *segment* (a stretch of track within which displacements count) and then by
frame. Sums are taken per *unit*, usually one track: units are independent, so the spread between
them is the error of any pooled number.

>>> walks = Walks.of(np.array([0, 0, 1, 1]), np.arange(4), np.arange(4.0), np.zeros(4))
>>> walks.starts.tolist(), walks.linked.tolist(), walks.n_units
([0, 2], [True, False, True], 2)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.motion.borders import Weights, all_alike


@dataclass(frozen=True, eq=False)
class Walks:
    """Positions of particles along segments.

    Attributes
    ----------
    segment
        (n,) segment of each row, never decreasing.
    frame
        (n,) frame of each row, increasing within a segment.
    y, x
        (n,) positions [length].
    unit
        (n,) unit of each row, 0 to ``n_units - 1``; a segment belongs to one unit.
    n_units
        Number of units.
    weights
        What a path stands for, since others left the field (`stemkin.kernels.motion.borders`).
    blur
        (n,) motion-blur coefficient of each row, or one number for all: 0 where a frame is an
        instant, 1/6 where it is exposed from the last one to the next (`blur_coefficient`).
    """

    segment: np.ndarray
    frame: np.ndarray
    y: np.ndarray
    x: np.ndarray
    unit: np.ndarray
    n_units: int
    weights: Weights = all_alike
    blur: np.ndarray | float = 0.0

    @classmethod
    def of(
        cls,
        segment: np.ndarray,
        frame: np.ndarray,
        y: np.ndarray,
        x: np.ndarray,
        *,
        weights: Weights = all_alike,
    ) -> Walks:
        """Return walks of which every segment is a unit of its own.

        Parameters
        ----------
        segment
            (n,) segment of each row, 0, 1, 2 ... without a number left out.
        frame, y, x, weights
            As the attributes of `Walks`.
        """
        return cls(segment, frame, y, x, segment, int(segment.max(initial=-1)) + 1, weights)

    @property
    def starts(self) -> np.ndarray:
        """(n_segments,) first row of each segment."""
        first = np.ones(len(self.segment), dtype=bool)
        first[1:] = self.segment[1:] != self.segment[:-1]
        return np.flatnonzero(first)

    @property
    def linked(self) -> np.ndarray:
        """(n - 1,) whether a row and the next one belong to the same segment."""
        return np.asarray(self.segment[1:] == self.segment[:-1])

    def blur_at(self, rows: np.ndarray) -> np.ndarray:
        """Return the (k,) blur coefficients of `rows`."""
        if isinstance(self.blur, np.ndarray):
            return np.asarray(self.blur[rows])
        return np.full(len(rows), float(self.blur))

    def step_weights(self, rows: np.ndarray) -> np.ndarray:
        """Return what the steps from `rows` (k,) to the rows behind them stand for."""
        return self._weights_of(rows, rows + 1)

    def pair_weights(self, rows: np.ndarray) -> np.ndarray:
        """Return what each two steps that begin at `rows` (k,) stand for."""
        return self._weights_of(rows, rows + 2)

    def following_weights(self, rows: np.ndarray) -> np.ndarray:
        """Return what the steps from `rows` (k,) stand for, each with the step that led there.

        A segment's first step stands alone.
        """
        goes_on = np.append(False, self.linked)[rows]
        return self._weights_of(rows - goes_on, rows + 1)

    def _weights_of(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return what the paths from row `first` to row `last` stand for, at most 3 rows each."""
        if self.weights is all_alike:
            return np.ones(len(first))
        extent = np.empty((2, len(first)))
        for i, places in enumerate((self.y, self.x)):
            along = np.stack([places[first], places[(first + last + 1) // 2], places[last]])
            extent[i] = np.ptp(along, axis=0)
        return self.weights(first, extent)

    def per_unit(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the (n_units, p) sums of `values` (k, p) that belong to `rows` (k,)."""
        return sums_per_unit(values, self.unit[rows], self.n_units)


def blur_coefficient(exposure_fraction: float) -> float:
    """Return the motion-blur coefficient R of frames that are exposed for part of their time.

    The mean place of a particle during an exposure wanders less than its place: of a frame of time
    t that is exposed for f t, ``<d²> = 2 D t (1 - 2 R) + 2 s²`` and ``<d_i d_(i+1)> = 2 R D t - s²``
    along each axis, with R = f/6 for an even exposure (Berglund, Phys. Rev. E 82, 011917 (2010),
    eq. 4; Michalet & Berglund, Phys. Rev. E 85, 061916 (2012)). A scanned probe meets each defect
    for an instant only: R = 0.

    Parameters
    ----------
    exposure_fraction
        Between 0 and 1.

    >>> blur_coefficient(1.0) == 1 / 6
    True
    """
    return exposure_fraction / 6


def sums_per_unit(values: np.ndarray, unit: np.ndarray, n_units: int) -> np.ndarray:
    """Add up the rows of each unit, column by column.

    Parameters
    ----------
    values
        (k, p) what the rows add.
    unit
        (k,) unit of each row, 0 to ``n_units - 1``.
    n_units
        Number of units.

    Returns
    -------
    (n_units, p) sums; 0 for a unit without rows.

    >>> sums_per_unit(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1]), 2).tolist()
    [[0.0, 0.0], [4.0, 6.0]]
    """
    sums = np.zeros((n_units, values.shape[1]))
    for i in range(values.shape[1]):
        sums[:, i] = np.bincount(unit, weights=values[:, i], minlength=n_units)
    return sums

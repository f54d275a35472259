"""Survival of stays: ages along tracks, the life table, and the Kaplan-Meier curve.

Rows come ordered by track and frame. A *stay* is a run of rows of one track in one state; its *age*
at a row is the number of frames since it was first seen. Each row that has a next one in the
following frame puts its stay at risk for one frame.

>>> ages = stay_ages(np.array([0, 0, 0, 0]), np.array([3, 4, 6, 7]), np.array([1, 1, 1, 0]))
>>> ages.age.tolist(), ages.at_risk.tolist(), ages.left.tolist()
([1, 2, 4, 1], [True, False, True, False], [False, False, True, False])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from stemkin.kernels.chains.counting import run_starts
from stemkin.kernels.common.intervals import share_interval


@dataclass(frozen=True, eq=False)
class Ages:
    """What each row says of the stay that it is in.

    Attributes
    ----------
    age
        (n,) frames that the stay will have lasted when the next frame is taken, counted from its
        first row.
    at_risk, left
        (n,) whether the next frame shows the same track, and whether in another state.
    first_row, first_frame
        (n,) row and frame in which the stay was first seen.
    changed
        (n,) whether it began with a change from another state, seen in the frame before.
    """

    age: np.ndarray
    at_risk: np.ndarray
    left: np.ndarray
    first_row: np.ndarray
    first_frame: np.ndarray
    changed: np.ndarray


def stay_ages(track: np.ndarray, frame: np.ndarray, state: np.ndarray) -> Ages:
    """Return ages and exits along tracks.

    Parameters
    ----------
    track, frame, state
        (n,) rows ordered by track and frame.

    Returns
    -------
    Of each row.
    """
    n = len(track)
    starts = run_starts(track, state)
    first_row = np.flatnonzero(starts)[np.cumsum(starts) - 1]
    # linked[i] says that row i + 1 shows the same track in the next frame: seen from row i it is at
    # risk, seen from row i + 1 it was looked at just before. (`[:n]` is for tables without a row.)
    linked = (track[1:] == track[:-1]) & (frame[1:] == frame[:-1] + 1)
    at_risk = np.append(linked, False)[:n]
    left = at_risk & np.append(starts[1:], False)[:n]
    came = starts & np.append(False, linked)[:n]
    first_frame = frame[first_row]
    return Ages(frame - first_frame + 1, at_risk, left, first_row, first_frame, came[first_row])


@dataclass(frozen=True, eq=False)
class LifeTable:
    """How many stays were at risk, and left, at each age; two of them add up.

    Attributes
    ----------
    at_risk, exits
        (n,) stays of age 1, 2, ... n frames, and how many of them left.
    """

    at_risk: np.ndarray
    exits: np.ndarray

    @classmethod
    def of(cls, age: np.ndarray, left: np.ndarray) -> LifeTable:
        """Count rows at risk by age, and those that left.

        Parameters
        ----------
        age, left
            (n,) age of each row at risk, 1 or more [frames], and whether it left.

        >>> counted = LifeTable.of(np.array([1, 2, 1]), np.array([False, True, False]))
        >>> counted.at_risk.tolist(), counted.exits.tolist()
        ([2, 1], [0, 1])
        """
        return cls(np.bincount(age)[1:], np.bincount(age, weights=left)[1:].astype(np.int64))

    def __add__(self, other: LifeTable) -> LifeTable:
        """Return both together."""
        return LifeTable(
            _sum_of_both(self.at_risk, other.at_risk), _sum_of_both(self.exits, other.exits)
        )


def _sum_of_both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the sum of two rows of numbers, of which the shorter goes on with 0."""
    n = max(len(one), len(other))
    return np.asarray(np.pad(one, (0, n - len(one))) + np.pad(other, (0, n - len(other))))


def kaplan_meier(
    at_risk: np.ndarray, exits: np.ndarray, *, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the Kaplan-Meier curve: the share that lasts longer than each age, with its interval.

    Parameters
    ----------
    at_risk, exits
        (n,) stays at risk at each age, and how many of them left.
    confidence
        Of the interval: Greenwood's variance on the scale of log(-log S), which keeps it between 0
        and 1 (Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data (1980)). Before
        the first exit it comes from the number at risk there; after all have left the curve is 0,
        and the last bound stands.

    Returns
    -------
    share, low, high
        (n,) NaN beyond an age that nobody reached.

    >>> [v.round(3).tolist() for v in kaplan_meier(np.array([10, 8]), np.array([2, 4]))]
    [[0.8, 0.4], [0.409, 0.123], [0.946, 0.67]]
    """
    n, d = np.asarray(at_risk, dtype=np.float64), np.asarray(exits, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.cumprod(n > 0) > 0
        stays = np.where(n > 0, 1 - d / n, np.nan)
        share = np.cumprod(stays)
        greenwood = np.cumsum(np.where(d < n, d / (n * (n - d)), 0.0))
        reach = -special.ndtri((1 - confidence) / 2) * np.sqrt(greenwood) / np.abs(np.log(share))
        low, high = share ** np.exp(reach), share ** np.exp(-reach)
    # Where the curve is still 1, or already 0, Greenwood's variance is none.
    none, all_gone = share == 1, share == 0
    low = np.where(all_gone, 0.0, low)
    low = np.where(none, share_interval(n, n, confidence=confidence)[0], low)
    high = np.where(none, 1.0, high)
    gone = np.flatnonzero(all_gone)
    if len(gone) and gone[0] > 0:
        high[gone] = high[gone[0] - 1]
    elif len(gone):
        high[gone] = share_interval(d[:1] * 0, n[:1], confidence=confidence)[1][0]
    return tuple(np.where(known, v, np.nan) for v in (share, low, high))  # type: ignore[return-value]

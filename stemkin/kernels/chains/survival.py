"""How long stays last: ages along tracks, and the Kaplan-Meier curve.

Rows come ordered by track and frame. A *stay* is a run of rows of one track in one state; its *age*
at a row is the number of frames since it was first seen. Each row that has a next one in the
following frame puts its stay at risk for one frame.

>>> ages = stays_of(np.array([0, 0, 0, 0]), np.array([3, 4, 6, 7]), np.array([1, 1, 1, 0]))
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


def stays_of(track: np.ndarray, frame: np.ndarray, state: np.ndarray) -> Ages:
    """Return ages and exits along tracks; rows (n,) ordered by track and frame."""
    starts = run_starts(track, state)
    first_row = (
        np.flatnonzero(starts)[np.cumsum(starts) - 1] if len(track) else np.zeros(0, np.int64)
    )
    linked = (track[1:] == track[:-1]) & (frame[1:] == frame[:-1] + 1)
    at_risk = np.append(linked, False)[: len(track)]
    left = at_risk & np.append(starts[1:], False)[: len(track)]
    came = starts & np.append(False, linked)[: len(track)]
    return Ages(
        frame - frame[first_row] + 1, at_risk, left, first_row, frame[first_row], came[first_row]
    )


@dataclass(frozen=True, eq=False)
class Stays:
    """How many stays were at risk, and left, at age 1, 2, ... frames; two of them add up."""

    at_risk: np.ndarray
    exits: np.ndarray

    @classmethod
    def of(cls, age: np.ndarray, left: np.ndarray) -> Stays:
        """Count rows at risk by age (1, 2, ...), and those that left.

        >>> counted = Stays.of(np.array([1, 2, 1]), np.array([False, True, False]))
        >>> counted.at_risk.tolist(), counted.exits.tolist()
        ([2, 1], [0, 1])
        """
        return cls(np.bincount(age)[1:], np.bincount(age, weights=left)[1:].astype(np.int64))

    def __add__(self, other: Stays) -> Stays:
        """Return both together."""
        n = max(len(self.at_risk), len(other.at_risk))
        return Stays(
            *(
                np.pad(a, (0, n - len(a))) + np.pad(b, (0, n - len(b)))
                for a, b in ((self.at_risk, other.at_risk), (self.exits, other.exits))
            )
        )


def kaplan_meier(
    at_risk: np.ndarray, exits: np.ndarray, *, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share that lasts longer than each age, with its interval.

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
    none, all_gone = share == 1, share == 0
    low = np.where(
        none, share_interval(n, n, confidence=confidence)[0], np.where(all_gone, 0.0, low)
    )
    high = np.where(none, 1.0, high)
    before = np.flatnonzero(all_gone)
    if len(before):
        first = before[0]
        high[before] = (
            high[first - 1]
            if first
            else share_interval(d[:1] * 0, n[:1], confidence=confidence)[1][0]
        )
    return tuple(np.where(known, v, np.nan) for v in (share, low, high))  # type: ignore[return-value]

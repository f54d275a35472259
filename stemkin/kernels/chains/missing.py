r"""Detection efficiency where misses go on: a chain of two states, seen and missed.

A defect that is missed once is often missed again (another one sits beside it, its contrast is
weak), so the frames between two sightings say too much of it. With q = P(missed | seen) and Q =
P(missed | missed), looks at one defect run as

    seen, seen, seen      (1 - q)²
    seen, g missed, seen  q Q^(g-1) (1 - Q),

each times the same chance of being seen at first, and the share of the time in which it is seen is

    e = (1 - Q) / (1 - Q + q).

Where the linker bridges two missed frames or more, Q is in the lengths of the gaps. Where it
bridges one only, a longer miss ends a track, and another one begins: of those ends and beginnings
none may be a miss or all, and the interval of e reaches over both; it never takes misses to avoid
each other, Q >= q. (Misses as a Markov chain: Kendall, Nichols & Hines, Ecology 78, 563 (1997);
truncated geometric: Thomasson & Kapadia, Ann. Inst. Stat. Math. 20, 519 (1968).)

>>> sure = seen_share(900, np.array([50, 25, 12]), open_ends=24.0)
>>> round(sure.share, 2)
0.84
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

MAX_MISSED = 3
"""Longest gap that is looked at; what the linker bridges beyond it is left out."""

N_QUANTILES = 63
"""Of each posterior; between them e is smooth."""


@dataclass(frozen=True)
class SeenShare:
    """How often a defect is seen that is there.

    Attributes
    ----------
    share, low, high
        e and its interval.
    missed_again
        Q, the chance that a defect that was missed is missed in the next frame too.
    """

    share: float
    low: float
    high: float
    missed_again: float


UNKNOWN_SHARE = SeenShare(np.nan, np.nan, np.nan, np.nan)


def seen_share(
    seen: float, gaps: np.ndarray, open_ends: float, *, confidence: float = 0.95
) -> SeenShare:
    """Return the share of the time in which a defect is seen.

    Parameters
    ----------
    seen
        Rows that stand between two others of the frame before and after.
    gaps
        (MAX_MISSED,) gaps of 1, 2, ... frames.
    open_ends
        How many longer misses there may be, which ended a track and began another one.
    confidence
        Of the interval.

    Returns
    -------
    NaN where nothing was seen three times in a row.
    """
    if not seen > 0:
        return UNKNOWN_SHARE
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    middle = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    bridged = int(np.flatnonzero(gaps).max(initial=-1)) + 1
    n = float(gaps.sum())
    if bridged > 1:
        again, weight = _missed_again(gaps, bridged, open_ends)
        ratio = _share_ratio(n, seen, middle)
        each = _share(ratio[None] / (1 - again[:, None] ** bridged), again[:, None])
        weights = np.broadcast_to(weight[:, None], each.shape)
        low, share, high = _weighted_quantiles(each, weights, (tails[0], 0.5, tails[1]))
        (usual,) = _weighted_quantiles(again, weight, (0.5,))
        return SeenShare(share, low, high, usual)
    # one frame is bridged at most: (1 - e)/e = n / seen where misses know nothing of each other
    apart = 1 / (1 + _share_ratio(n, seen, middle))
    _, high = _weighted_quantiles(apart, np.ones_like(apart), tails)
    few, more = (special.gammaincinv(v + 0.5, middle) for v in (n, open_ends))
    together = _ended(few[None], more[:, None], seen)
    low, _ = _weighted_quantiles(together, np.ones_like(together), tails)
    alone, bridged_or_half = seen / (seen + n), max(n, 0.5)
    share = float(_ended(bridged_or_half, open_ends / 2, seen))
    missed_again = open_ends / 2 / (open_ends / 2 + bridged_or_half)
    if share > alone:
        share, missed_again = alone, 1 - alone
    return SeenShare(share, min(low, share), max(high, share), missed_again)


def _share_ratio(n: float, seen: float, quantile: np.ndarray) -> np.ndarray:
    """Return quantiles of the expected number of gaps over that of sightings in a row."""
    # neighbouring looks share sightings, by 1 + 2 e (1 - e)
    e = seen / (seen + n)
    looks = (seen + n) / (1 + 2 * e * (1 - e))
    part = special.betaincinv(looks * (1 - e) + 0.5, looks * e + 0.5, quantile)
    return np.asarray(part / (1 - part))


def _share(ratio: np.ndarray | float, again: np.ndarray | float) -> np.ndarray:
    """Return e, where q / (1 - q)² is the `ratio` and Q is `again`."""
    # the smaller root of ratio (1 - q)² = q, in a form that holds where the ratio is small
    first = 2 * np.asarray(ratio) / (1 + 2 * np.asarray(ratio) + np.sqrt(1 + 4 * np.asarray(ratio)))
    return np.asarray((1 - again) / (1 - again + first))


def _ended(bridged: np.ndarray | float, longer: np.ndarray | float, seen: float) -> np.ndarray:
    """Return e, where so many misses of one frame were bridged and so many longer ones not."""
    again = np.asarray(longer) / (np.asarray(longer) + bridged)
    return _share((np.asarray(longer) + bridged) / seen, again)


def _missed_again(
    gaps: np.ndarray, bridged: int, open_ends: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (m,) chances to be missed again, and how likely each is.

    By the lengths of gaps; and what is longer than those that are bridged ended a track, so there
    is hardly more of it than there are ends. (Twice as much is allowed: the ends are an upper
    bound, and were it a sharp one, worlds in which every end is a miss would lie at its edge.)
    """
    again = (np.arange(400) + 0.5) / 400
    length = np.arange(bridged)
    chance = again[:, None] ** length
    chance /= chance.sum(axis=1, keepdims=True)
    longer = gaps.sum() * again**bridged / (1 - again**bridged)
    with np.errstate(divide="ignore"):
        logs = np.log(chance) @ gaps[:bridged] + np.log(special.pdtr(2 * open_ends + 3, longer))
    weight = np.exp(logs - logs.max())
    return again, weight / weight.sum()


def _weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]
) -> list[float]:
    """Return quantiles of values that count as often as their weights say."""
    order = np.argsort(values, axis=None, kind="stable")
    below = np.cumsum(weights.ravel()[order])
    found = np.searchsorted(below, np.array(shares) * below[-1])
    return [float(v) for v in values.ravel()[order][np.minimum(found, len(order) - 1)]]

"""Poisson counts of many pixels at once, several times faster than drawing them one by one.

A mean is split into a multiple of a step and a small rest. The multiple's count comes from an alias table (Walker
1977) with one random word per pixel; the rest's counts are so few that they are strewn over the frame one by one
(thinning). The sum of two independent Poisson counts is a Poisson count, so the split costs no exactness: each count
has its probability to within 2**-32, the width of the random word.

>>> counts = poisson_counts(np.full(40_000, 7.3), np.random.Generator(np.random.SFC64(1)))
>>> bool(abs(counts.mean() - 7.3) < 4 * np.sqrt(7.3 / 40_000)), bool(abs(counts.var() / 7.3 - 1) < 0.04)
(True, True)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

STEP = 0.25
"""Spacing of the tabulated means [counts]."""
N_LEVELS = 1000
"""Means up to ``STEP * N_LEVELS`` are tabulated; brighter pixels use the generator's own Poisson sampler."""
WIDTH = 256
"""Values per table: at the largest tabulated mean this reaches 8 standard deviations to both sides."""


def poisson_counts(means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a Poisson count for each mean.

    Parameters
    ----------
    means
        Any shape, expected counts; values below zero (rounding) count as zero.
    rng
        Consumed in an order that depends on the number of pixels and on their means only.

    Returns
    -------
    Same shape, int32.
    """
    flat = np.ravel(means)
    table, first_value = _alias_tables()
    level = (np.maximum(flat, 0.0) * (1 / STEP)).astype(np.int32)
    bright = level >= N_LEVELS
    any_bright = bool(bright.any())
    if any_bright:
        level[bright] = 0
    rest = flat - level * STEP
    words = rng.bit_generator.random_raw((flat.size + 1) // 2).view(np.uint32)[: flat.size]
    column = words & np.uint32(WIDTH - 1)
    entry = table[(level << 8) | column.view(np.int32)]
    counts = np.where((words >> 8) < (entry >> 8), column, entry & np.uint32(WIDTH - 1)).view(np.int32)
    counts += first_value[level]
    if any_bright:
        counts[bright] = rng.poisson(flat[bright])
        rest[bright] = 0.0
    strewn = rng.integers(0, flat.size, size=rng.poisson(flat.size * STEP))
    strewn = strewn[rng.random(strewn.size) * STEP < rest[strewn]]
    np.add.at(counts, strewn, 1)
    return counts.reshape(np.shape(means))


@lru_cache(maxsize=1)
def _alias_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the tables (N_LEVELS * WIDTH,) uint32 (24 bits of threshold, 8 of alias) and (N_LEVELS,) first values."""
    means = STEP * np.arange(N_LEVELS)
    first = np.maximum(0, np.floor(means - WIDTH / 2)).astype(np.int32)
    weights = _integer_probabilities(means, first)
    thresholds = np.full(weights.shape, 1 << 24, dtype=np.int64)
    aliases = np.tile(np.arange(WIDTH), (N_LEVELS, 1))
    levels = np.arange(N_LEVELS)
    for _ in range(WIDTH - 1):  # the poorest column is filled up by the richest, in every table at once
        poor, rich = weights.argmin(axis=1), weights.argmax(axis=1)
        share = weights[levels, poor]
        thresholds[levels, poor], aliases[levels, poor] = share, rich
        weights[levels, rich] -= (1 << 24) - share
        weights[levels, poor] = 1 << 24
        poor_done = share == 1 << 24
        aliases[levels[poor_done], poor[poor_done]] = poor[poor_done]
        if poor_done.all():
            break
    full = thresholds == 1 << 24
    thresholds[full] -= 1  # 24 bits hold no 2**24: the column's alias is then the column itself
    aliases[full] = np.nonzero(full)[1]
    return ((thresholds << 8) | aliases).astype(np.uint32).ravel(), first


def _integer_probabilities(means: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return (n, WIDTH) int64 Poisson probabilities in units of 2**-32; each row sums to 2**32."""
    from scipy.stats import poisson

    values = first[:, None] + np.arange(WIDTH)
    weights = np.rint(poisson.pmf(values, means[:, None]) * 2.0**32).astype(np.int64)
    rows = np.arange(len(means))
    weights[rows, weights.argmax(axis=1)] += (1 << 32) - weights.sum(axis=1)
    return weights

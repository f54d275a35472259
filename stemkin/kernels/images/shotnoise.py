"""Poisson counts of many pixels at once, several times faster than drawing them one by one.

A mean is split into a multiple of a step and a small rest. The multiple's count comes from an alias
table (Walker, Electron. Lett. 10, 127 (1974)) with one random word per pixel; the rest's counts are
so few that they are strewn over the pixels one by one (thinning). The sum of two independent
Poisson counts is a Poisson count, so the split costs no exactness: each tabulated probability is
right to 2**-32, the width of the random word.

>>> counts = poisson_counts(np.full(40_000, 7.3), np.random.Generator(np.random.SFC64(1)))
>>> bool(abs(counts.mean() - 7.3) < 4 * np.sqrt(7.3 / 40_000))
True
>>> bool(abs(counts.var() / 7.3 - 1) < 0.04)
True
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

STEP = 0.25
"""Spacing of the tabulated means [counts]."""
N_LEVELS = 1024
"""Means below ``STEP * N_LEVELS`` are tabulated; brighter pixels use the generator's own Poisson
sampler."""
WIDTH = 256
"""Values per table: at the largest tabulated mean this reaches 8 standard deviations to both
sides."""
N_FROM_ZERO = 512
"""Tables below this level begin at zero counts, the others WIDTH / 2 below their mean."""
AT_ONCE = 2**15
"""Pixels worked on at once, so that all intermediate arrays stay in a core's own cache."""

_WORD, _COLUMN = 32, 8
_FULL = 1 << (_WORD - _COLUMN)
"""Weight of a column of an alias table, in units of 2**-32."""


def poisson_counts(means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a Poisson count for each mean.

    Parameters
    ----------
    means
        Any shape, expected counts (used in single precision); values below zero (rounding) count as
        zero.
    rng
        Consumed in an order that depends on the number of pixels and on their means only.

    Returns
    -------
    Same shape, int32.
    """
    flat = np.ravel(means)
    counts = np.empty(flat.size, np.int32)
    for start in range(0, flat.size, AT_ONCE):
        part = np.maximum(flat[start : start + AT_ONCE], 0).astype(np.float32)
        counts[start : start + AT_ONCE] = _counts(part, rng)
    return counts.reshape(np.shape(means))


def _counts(means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) int32 counts of few (n,) float32 means."""
    table, first_value = alias_tables()
    level = (means * np.float32(1 / STEP)).astype(np.int32)
    top = int(level.max(initial=0))
    bright = np.empty(0, np.int64)
    if top >= N_LEVELS:
        bright = np.flatnonzero(level >= N_LEVELS)
        level[bright] = 0
    # the low 8 bits of a word choose a column, its high 24 bits whether the column itself or its
    # alias is counted
    words = rng.bit_generator.random_raw((means.size + 1) // 2).view(np.uint32)[: means.size]
    column = words & np.uint32(WIDTH - 1)
    entry = table[(level << _COLUMN) | column.view(np.int32)]
    stays = (words >> _COLUMN) < (entry >> _COLUMN)
    counts = np.asarray(np.where(stays, column, entry & np.uint32(WIDTH - 1)).view(np.int32))
    if top >= N_FROM_ZERO:
        counts += first_value[level]
    rest = means - level * np.float32(STEP)
    if len(bright):
        counts[bright], rest[bright] = rng.poisson(means[bright].astype(np.float64)), 0
    # each pixel may get a Poisson number of further electrons of mean STEP, of which the share
    # rest / STEP is kept
    where = rng.integers(0, means.size, size=rng.poisson(means.size * STEP), dtype=np.int32)
    where = where[rng.random(where.size, dtype=np.float32) * np.float32(STEP) < rest[where]]
    return np.asarray(counts + np.bincount(where, minlength=means.size).astype(np.int32))


@lru_cache(maxsize=1)
def alias_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return one alias table per tabulated mean, and the count of each table's column 0.

    Column c of a table holds 24 bits of threshold t and 8 bits of alias a: a random word with the
    low bits c counts c if its high bits are below t, else a. All columns weigh the same, and the
    weights add up exactly to integers.

    Returns
    -------
    (N_LEVELS * WIDTH,) uint32 and (N_LEVELS,) int32.
    """
    level = np.arange(N_LEVELS)
    first = np.where(level < N_FROM_ZERO, 0, STEP * level - WIDTH // 2).astype(np.int32)
    weights = _integer_probabilities(STEP * level, first)
    packed = np.stack([_alias_table(row) for row in weights])
    return packed.ravel(), first


def _integer_probabilities(means: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return (n, WIDTH) int64 Poisson probabilities in units of 2**-32; each row sums to 2**32."""
    from scipy.special import gammaln, xlogy

    values = first[:, None] + np.arange(WIDTH)
    logarithm = xlogy(values, means[:, None]) - means[:, None] - gammaln(values + 1.0)
    weights = np.rint(np.exp(logarithm) * 2.0**_WORD).astype(np.int64)
    weights[np.arange(len(means)), weights.argmax(axis=1)] += (1 << _WORD) - weights.sum(axis=1)
    return np.asarray(weights)


def _alias_table(weights: np.ndarray) -> np.ndarray:
    """Return the packed alias table (WIDTH,) of integer `weights` whose sum is WIDTH * _FULL.

    Light columns are filled up by heavy ones in order; a heavy one that has given too much is
    filled up by the next (the sweep of Huebschle-Schneider & Sanders, ACM Trans. Math. Softw. 48,
    45 (2022), by running sums).
    """
    light, heavy = np.flatnonzero(weights < _FULL), np.flatnonzero(weights >= _FULL)
    missing, spare = np.cumsum(_FULL - weights[light]), np.cumsum(weights[heavy] - _FULL)
    threshold, alias = np.full(WIDTH, _FULL, np.int64), np.arange(WIDTH)
    threshold[light] = weights[light]
    before = missing - (_FULL - weights[light])
    alias[light] = heavy[np.minimum(np.searchsorted(spare, before, side="left"), len(heavy) - 1)]
    # the light column that each heavy one fails on
    used_up = np.searchsorted(missing, spare, side="right")
    given = used_up < len(light)
    threshold[heavy[given]] = _FULL + spare[given] - missing[used_up[given]]
    alias[heavy[given]] = heavy[np.minimum(np.flatnonzero(given) + 1, len(heavy) - 1)]
    # 24 bits do not hold 2**24: a column that always stays is its own alias instead
    whole = threshold >= _FULL
    threshold[whole], alias[whole] = 0, np.flatnonzero(whole)
    return np.asarray((threshold << _COLUMN | alias).astype(np.uint32))

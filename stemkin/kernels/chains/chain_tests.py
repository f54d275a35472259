"""What a transition matrix implies, and whether a Markov chain is a fair model at all.

>>> P = np.array([[0.9, 0.1], [0.2, 0.8]])
>>> stationary_distribution(P).round(3).tolist(), implied_timescales(P, 1.0).round(3).tolist()
([0.667, 0.333], [2.804])
"""

from __future__ import annotations

import numpy as np
from scipy import sparse, special
from scipy.sparse import csgraph


def connected_sets(counts: np.ndarray) -> np.ndarray:
    """Return the (k,) number of the set that each state belongs to: within a set every state was
    reached from every other.

    >>> connected_sets(np.array([[5, 1, 0], [2, 5, 0], [0, 0, 9]])).tolist()
    [0, 0, 1]
    """
    _, label = csgraph.connected_components(
        sparse.csr_matrix((counts > 0).astype(np.int8)), directed=True, connection="strong"
    )
    _, first = np.unique(label, return_index=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[label])


def stationary_distribution(P: np.ndarray) -> np.ndarray:
    """Return the (k,) shares that a chain with the transition matrix `P` keeps; NaN where it has
    none or several."""
    k = len(P)
    if not np.isfinite(P).all():
        return np.full(k, np.nan)
    values, vectors = np.linalg.eig(P.T)
    ones = np.abs(values - 1) < 1e-9
    if ones.sum() != 1:
        return np.full(k, np.nan)
    share = np.real(vectors[:, ones][:, 0])
    return np.asarray(share / share.sum())


def implied_timescales(P: np.ndarray, lag: float) -> np.ndarray:
    """Return the (..., k - 1) times over which chains forget, ``-lag / ln |eigenvalue|``, the
    longest first.

    Parameters
    ----------
    P
        (..., k, k) transition matrices.
    lag
        Time that they span.
    """
    known = np.isfinite(P).all(axis=(-1, -2))
    size = np.sort(np.abs(np.linalg.eigvals(np.where(known[..., None, None], P, 0.0))), axis=-1)[
        ..., ::-1
    ][..., 1:]
    with np.errstate(divide="ignore"):
        times = np.where(size >= 1 - 1e-12, np.inf, -lag / np.log(np.clip(size, 0, 1)))
    return np.asarray(np.where(known[..., None], times, np.nan))


def never_left(P: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Return, for each of the connected sets in ascending order, whether (..., k, k) `P` leaves
    nothing of it elsewhere."""
    blocks = [
        P[..., own[:, None], own] for own in (np.flatnonzero(sets == s) for s in np.unique(sets))
    ]
    known = [block[np.isfinite(block).all(axis=(-1, -2))] for block in blocks]
    return np.array([np.allclose(block.sum(axis=-1), 1.0) for block in known], dtype=bool)


def set_timescales(
    P: np.ndarray, sets: np.ndarray, lag: float, *, closed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the timescales of each connected set by itself, the longest first, and which set each
    belongs to.

    A set that is never left has one timescale less than states; one that is left for good also has
    that of its loss.

    Parameters
    ----------
    P
        (..., k, k) transition matrices, zero where no pair joins two sets.
    sets
        (k,) as of `connected_sets`.
    lag
        Time that they span.
    closed
        Which sets are never left, as of `never_left`; by default as `P` says.

    >>> P = np.array([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]])
    >>> times, which = set_timescales(P, np.array([0, 0, 1, 2]), 1.0)
    >>> times.round(2).tolist(), which.tolist()
    ([4.48, 1.44], [0, 2])
    """
    times: list[np.ndarray] = [np.zeros((*P.shape[:-2], 0))]
    which: list[int] = []
    closed = never_left(P, sets) if closed is None else closed
    for number, stays in zip(np.unique(sets).tolist(), closed.tolist(), strict=True):
        own = np.flatnonzero(sets == number)
        block = P[..., own[:, None], own]
        known = np.isfinite(block).all(axis=(-1, -2))
        size = np.abs(np.linalg.eigvals(np.where(known[..., None, None], block, 0.0)))
        size = np.sort(size, axis=-1)[..., ::-1]
        with np.errstate(divide="ignore"):
            kept = np.where(
                known[..., None], -lag / np.log(np.clip(size[..., int(stays) :], 0, 1)), np.nan
            )
        times.append(kept)
        which += [number] * kept.shape[-1]
    return np.concatenate(times, axis=-1), np.array(which, dtype=np.int64)


def sampled_matrices(
    counts: np.ndarray, n: int, rng: np.random.Generator, *, sets: np.ndarray | None = None
) -> np.ndarray:
    """Draw (n, k, k) transition matrices from the Dirichlet posterior of `counts` (k, k), a prior
    of 1/k for each entry.

    Rows without counts are NaN. With `sets` (k,) pairs of different sets have no prior: what was
    never seen to be joined stays apart.
    """
    k = len(counts)
    allowed = np.ones((k, k), bool) if sets is None else (sets[:, None] == sets) | (counts > 0)
    gammas = rng.standard_gamma(np.where(allowed, counts + 1 / max(k, 1), 0.0), size=(n, k, k))
    P: np.ndarray = gammas / gammas.sum(axis=2, keepdims=True)
    P[:, counts.sum(axis=1) == 0] = np.nan
    return P


def reversible_transitions(
    counts: np.ndarray, *, tolerance: float = 1e-10, max_steps: int = 100_000
) -> np.ndarray:
    """Return the most likely transition matrix among those with detailed balance, ``pi_i P_ij =
    pi_j P_ji``.

    Self-consistent iteration of Bowman, Beauchamp, Boxer & Pande, J. Chem. Phys. 131, 124101
    (2009), for counts (k, k) of which every state was left.
    """
    counts = np.asarray(counts, dtype=np.float64)
    both, left = counts + counts.T, counts.sum(axis=1)
    x = both / both.sum()
    for _ in range(max_steps):
        weight = left / x.sum(axis=1)
        new = np.where(both > 0, both / (weight[:, None] + weight), 0.0)
        new /= new.sum()
        done = np.abs(new - x).max() < tolerance * new.max()
        x = new
        if done:
            break
    return np.asarray(x / x.sum(axis=1, keepdims=True))


def reversibility_test(counts: np.ndarray) -> tuple[float, int, float]:
    """Test detailed balance by the likelihood ratio.

    Returns
    -------
    Twice the difference of the log-likelihoods, its degrees of freedom (the number of independent
    cycles of changes that were seen; ``(k - 1)(k - 2) / 2`` where every state turns into every
    other), and the probability of at least that much if the chain is reversible (chi²). Without a
    cycle it always is: 0 degrees of freedom, probability 1.

    >>> reversibility_test(np.array([[90, 10, 0], [0, 90, 10], [10, 0, 90]]))[2] < 1e-6
    True
    """
    used = (counts.sum(axis=1) > 0) & (counts.sum(axis=0) > 0)
    counts = np.asarray(counts, dtype=np.float64)[np.ix_(used, used)]
    k = len(counts)
    joined = (counts + counts.T > 0) & ~np.eye(k, dtype=bool)
    pieces, _ = (
        csgraph.connected_components(sparse.csr_matrix(joined.astype(np.int8)), directed=False)
        if k
        else (0, None)
    )
    freedom = int(joined.sum()) // 2 - k + int(pieces)
    if freedom == 0:
        return 0.0, 0, 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        free, reversible = (
            counts / counts.sum(axis=1, keepdims=True),
            reversible_transitions(counts),
        )
        ratio = 2 * np.where(counts > 0, counts * np.log(free / reversible), 0.0).sum()
    return float(max(ratio, 0.0)), freedom, float(special.chdtrc(freedom, max(ratio, 0.0)))


def autocorrelation_time(values: np.ndarray) -> float:
    """Return how many consecutive values count as one: 1 for independent ones, more where they
    resemble their neighbours.

    Integrated autocorrelation with Sokal's window (Sokal, Monte Carlo Methods in Statistical
    Mechanics (1997)).

    Parameters
    ----------
    values
        (n,) equally spaced in time.

    >>> autocorrelation_time(np.array([1.0, -1.0] * 50)) >= 1
    True
    """
    n = len(values)
    away = values - values.mean()
    power = away @ away
    if n < 4 or power <= 0:
        return 1.0
    spectrum = np.fft.rfft(away, 2 * n)
    correlation = np.fft.irfft(spectrum * spectrum.conj())[:n] / power
    time = 2 * np.cumsum(correlation) - 1
    window = np.flatnonzero(np.arange(n) >= 5 * time)
    return float(max(time[window[0] if len(window) else n // 2], 1.0))

"""What a transition matrix implies, and whether a Markov chain is a fair model at all.

>>> P = np.array([[0.9, 0.1], [0.2, 0.8]])
>>> stationary_distribution(P).round(3).tolist()
[0.667, 0.333]
>>> times, _ = set_timescales(P, np.array([0, 0]), 1.0)
>>> times.round(3).tolist()
[2.804]
"""

from __future__ import annotations

import numpy as np
from scipy import sparse, special
from scipy.sparse import csgraph


def connected_sets(counts: np.ndarray) -> np.ndarray:
    """Return the strongly connected components: every state was reached from all others.

    Parameters
    ----------
    counts
        (k, k) pairs, from row to column.

    Returns
    -------
    (k,) number of the set that each state belongs to, in the order of their first states.

    >>> connected_sets(np.array([[5, 1, 0], [2, 5, 0], [0, 0, 9]])).tolist()
    [0, 0, 1]
    """
    _, label = csgraph.connected_components(
        sparse.csr_matrix((counts > 0).astype(np.int8)), directed=True, connection="strong"
    )
    # SciPy numbers the sets in an order of its own; here the one of the first state is 0.
    _, first = np.unique(label, return_index=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[label])


def stationary_distribution(P: np.ndarray) -> np.ndarray:
    """Return the stationary distribution of a chain: the shares that it keeps.

    Parameters
    ----------
    P
        (k, k) transition matrix.

    Returns
    -------
    (k,) shares that add up to 1; NaN where there is no such distribution, or several.
    """
    k = len(P)
    if not np.isfinite(P).all():
        return np.full(k, np.nan)
    values, vectors = np.linalg.eig(P.T)
    ones = np.abs(values - 1) < 1e-9
    if ones.sum() != 1:
        return np.full(k, np.nan)
    share = np.real(vectors[:, ones][:, 0])
    return np.asarray(share / share.sum())


def never_left(P: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Return which connected sets a chain never leaves.

    Parameters
    ----------
    P
        (..., k, k) transition matrices.
    sets
        (k,) as of `connected_sets`.

    Returns
    -------
    (n_sets,) in ascending order of their numbers.
    """
    never = []
    for number in np.unique(sets):
        own = np.flatnonzero(sets == number)
        block = P[..., own[:, None], own]
        known = block[np.isfinite(block).all(axis=(-1, -2))]
        never.append(np.allclose(known.sum(axis=-1), 1.0))
    return np.array(never, dtype=bool)


def set_timescales(
    P: np.ndarray, sets: np.ndarray, lag: float, *, closed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the implied timescales of each connected set by itself, the longest first.

    These are the times over which a chain forgets, ``-lag / ln |eigenvalue|``. A set that is never
    left has one timescale less than states; one that is left for good also has that of its loss.

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

    Returns
    -------
    times
        (..., n) set by set [time]; NaN where a matrix is not known.
    which
        (n,) number of the set that each belongs to.

    >>> P = np.array([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]])
    >>> times, which = set_timescales(P, np.array([0, 0, 1, 2]), 1.0)
    >>> times.round(2).tolist(), which.tolist()
    ([4.48, 1.44], [0, 2])
    """
    times: list[np.ndarray] = [np.zeros((*P.shape[:-2], 0))]
    which: list[int] = []
    if closed is None:
        closed = never_left(P, sets)
    for number, stays in zip(np.unique(sets).tolist(), closed.tolist(), strict=True):
        own = np.flatnonzero(sets == number)
        block = P[..., own[:, None], own]
        known = np.isfinite(block).all(axis=(-1, -2))
        size = np.abs(np.linalg.eigvals(np.where(known[..., None, None], block, 0.0)))
        # The largest eigenvalue of a set that is never left is 1, and stands for no timescale.
        size = np.sort(size, axis=-1)[..., ::-1][..., int(stays) :]
        with np.errstate(divide="ignore"):
            kept = np.where(known[..., None], -lag / np.log(np.clip(size, 0, 1)), np.nan)
        times.append(kept)
        which += [number] * kept.shape[-1]
    return np.concatenate(times, axis=-1), np.array(which, dtype=np.int64)


def sampled_matrices(
    counts: np.ndarray, n: int, rng: np.random.Generator, *, sets: np.ndarray | None = None
) -> np.ndarray:
    """Draw transition matrices from the Dirichlet posterior of counts, with a prior of 1/k each.

    Parameters
    ----------
    counts
        (k, k) pairs, from row to column.
    n
        Number of matrices.
    rng
        Where chance comes from.
    sets
        (k,) as of `connected_sets`: pairs of different sets then have no prior, so that what was
        never seen to be joined stays apart.

    Returns
    -------
    (n, k, k) matrices; NaN in rows without counts.
    """
    k = len(counts)
    allowed = np.ones((k, k), bool)
    if sets is not None:
        allowed = (sets[:, None] == sets) | (counts > 0)
    gammas = rng.standard_gamma(np.where(allowed, counts + 1 / max(k, 1), 0.0), size=(n, k, k))
    P: np.ndarray = gammas / gammas.sum(axis=2, keepdims=True)
    P[:, counts.sum(axis=1) == 0] = np.nan
    return P


def reversible_transitions(
    counts: np.ndarray, *, tolerance: float = 1e-10, max_steps: int = 100_000
) -> np.ndarray:
    """Return the most likely transition matrix with detailed balance, ``pi_i P_ij = pi_j P_ji``.

    Self-consistent iteration of Bowman, Beauchamp, Boxer & Pande, J. Chem. Phys. 131, 124101
    (2009).

    Parameters
    ----------
    counts
        (k, k) pairs, from row to column; every state was left.
    tolerance
        The iteration ends when no entry changes by more than this, relative to the largest.
    max_steps
        Most iterations.

    Returns
    -------
    (k, k) transition matrix.
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

    Parameters
    ----------
    counts
        (k, k) pairs, from row to column.

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
    if k == 0:
        return 0.0, 0, 1.0
    # Independent cycles of a graph: its edges - its nodes + its pieces.
    pieces, _ = csgraph.connected_components(
        sparse.csr_matrix(joined.astype(np.int8)), directed=False
    )
    freedom = int(joined.sum()) // 2 - k + int(pieces)
    if freedom == 0:
        return 0.0, 0, 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        free = counts / counts.sum(axis=1, keepdims=True)
        reversible = reversible_transitions(counts)
        ratio = 2 * np.where(counts > 0, counts * np.log(free / reversible), 0.0).sum()
    return float(max(ratio, 0.0)), freedom, float(special.chdtrc(freedom, max(ratio, 0.0)))

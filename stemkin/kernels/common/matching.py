r"""The assignment problem between two sets of points: cheapest one to one, exact and sparse.

Every pair that is close enough may be matched at the cost of its squared distance; a point of the
first set left alone costs ``max_distance**2`` (Crocker & Grier, J. Colloid Interface Sci. 179, 298
(1996), as in trackpy). So a pair *saves* ``max_distance**2 - distance**2``, and the cheapest
assignment is the matching that saves most. It is found in three steps, each exact:

1. a pair that saves at least as much as the next-best pairs of its two points *together* belongs to
   some best matching; such pairs are taken, all at once, as long as there are any (most points end
   here);
2. what is left falls into connected groups; those with at most `SMALL_SIDE` points on one side are
   solved all at once by dynamic programming over the subsets of that side;
3. larger groups go one by one through the shortest-augmenting-path method (Jonker & Volgenant,
   Computing 38, 325 (1987)), dense or sparse.

Time grows as the number of candidate pairs, except inside a single large group; memory is about 100
bytes per pair.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

SMALL_SIDE = 3
"""Groups with no more points than this on one side are solved together, by enumeration."""

DENSE_PAIRS = 40_000
"""Groups whose full cost matrix has no more entries than this are solved as a dense matrix."""

SLACK = 1e-9
"""Relative width of "equal": pairs exactly `max_distance` apart count as candidates, and of two
equally cheap assignments the one with more pairs is taken."""


def match_points(
    a: np.ndarray, b: np.ndarray, *, max_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match points of `a` with points of `b`, one to one, at the least total cost.

    The cost of a pair is its squared distance; a point of `a` that stays alone costs
    ``max_distance**2``. Ties are broken by the coordinates' order, so the answer does not depend on
    the order of the input.

    Parameters
    ----------
    a, b
        (n, d) and (m, d) coordinates, any unit; usually (y, x).
    max_distance
        Largest distance of a pair, same unit; a pair at exactly this distance may be matched.

    Returns
    -------
    (k,) indices into `a` (ascending) and (k,) indices into `b`: ``a[i]`` is matched with ``b[j]``.

    Raises
    ------
    ValueError
        If the shapes do not fit, a coordinate is not finite, or `max_distance` is not a positive
        number.

    Examples
    --------
    >>> a, b = np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([[0.0, 2.0], [0.0, 9.0]])
    >>> i, j = match_points(a, b, max_distance=2.5)
    >>> i.tolist(), j.tolist()
    ([1], [0])
    """
    a, b = _checked(a, "a"), _checked(b, "b")
    if a.shape[1] != b.shape[1]:
        msg = (
            f"points of a have {a.shape[1]} coordinates and points of b {b.shape[1]}; both must "
            "have the same number"
        )
        raise ValueError(msg)
    if not (np.isfinite(max_distance) and max_distance > 0):
        msg = f"max_distance must be a positive number, but is {max_distance}"
        raise ValueError(msg)
    order_a, order_b = np.lexsort(a.T[::-1]), np.lexsort(b.T[::-1])
    i, j, squared = close_pairs(a[order_a], b[order_b], max_distance)
    limit = max_distance**2
    saving = limit * (1 + 2 * SLACK) - squared + limit * tie_break(i, j)
    taken = best_matching(i, j, saving, n_left=len(a), n_right=len(b))
    i, j = order_a[i[taken]], order_b[j[taken]]
    by_a = np.argsort(i)
    return i[by_a], j[by_a]


def _checked(points: np.ndarray, name: str) -> np.ndarray:
    """Return `points` as (n, d) float64."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2:
        msg = f"{name} must be (n, d) coordinates, but has shape {points.shape}"
        raise ValueError(msg)
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        msg = f"{name} has {bad} points whose coordinates are not finite; remove them first"
        raise ValueError(msg)
    return points


def close_pairs(
    a: np.ndarray, b: np.ndarray, max_distance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find every pair of a point of `a` and one of `b` within `max_distance`.

    Parameters
    ----------
    a, b
        (n, d) and (m, d) coordinates, any unit.
    max_distance
        Largest distance of a pair, same unit.

    Returns
    -------
    (p,) indices into `a`, (p,) indices into `b`, ordered by both, and (p,) squared distances.
    """
    if not len(a) or not len(b):
        none = np.empty(0, np.int64)
        return none, none, np.empty(0)
    reach = max_distance * (1 + SLACK)
    pairs = cKDTree(a).sparse_distance_matrix(cKDTree(b), reach, output_type="ndarray")
    i, j = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64)
    order = np.argsort(i * len(b) + j)
    i, j = i[order], j[order]
    squared = ((a[i] - b[j]) ** 2).sum(axis=1)
    near = squared <= (max_distance * (1 + SLACK / 2)) ** 2
    return i[near], j[near], squared[near]


def tie_break(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return a tiny number for each pair, that makes the best matching unique.

    It mixes the bits of both ranks: a sum of a number per point would cancel in every comparison.

    Parameters
    ----------
    i, j
        (p,) ranks of the two points of each pair.

    Returns
    -------
    (p,) numbers from 0 to `SLACK` / 10.
    """
    mixed = (i.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= (j.astype(np.uint64) + np.uint64(1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) * (SLACK / 10 * 2.0**-53))


def best_matching(
    i: np.ndarray, j: np.ndarray, saving: np.ndarray, *, n_left: int, n_right: int
) -> np.ndarray:
    """Choose pairs that share no point and save most in total.

    Parameters
    ----------
    i, j
        (p,) candidate pairs: left point and right point; no pair twice.
    saving
        (p,) what each pair saves; only positive savings are candidates.
    n_left, n_right
        Numbers of points.

    Returns
    -------
    (k,) indices of the chosen pairs, ascending.

    Examples
    --------
    >>> i, j, gains = np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([5.0, 3.0, 4.0])
    >>> best_matching(i, j, gains, n_left=2, n_right=2).tolist()
    [1, 2]
    """
    taken = np.zeros(len(i), bool)
    open_pairs = np.flatnonzero(saving > 0)
    while len(open_pairs):
        before = len(open_pairs)
        sure, open_pairs = _take_dominant(i, j, saving, open_pairs, n_left, n_right)
        taken[sure] = True
        if len(open_pairs) > 0.9 * before:
            break
    if len(open_pairs):
        taken[open_pairs[_solve_groups(i[open_pairs], j[open_pairs], saving[open_pairs])]] = True
    return np.flatnonzero(taken)


def _take_dominant(
    i: np.ndarray, j: np.ndarray, saving: np.ndarray, pairs: np.ndarray, n_left: int, n_right: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `pairs` that some best matching must hold, and the pairs still open.

    They save no less than the next-best pairs of their two points together.
    """
    i, j, saving = i[pairs], j[pairs], saving[pairs]
    only = (np.bincount(i, minlength=n_left)[i] == 1) & (np.bincount(j, minlength=n_right)[j] == 1)
    sure = [pairs[only]]
    pairs, i, j, saving = (part[~only] for part in (pairs, i, j, saving))
    is_best_of_i, next_of_i = _best_and_next(i, saving, n_left)
    is_best_of_j, next_of_j = _best_and_next(j, saving, n_right)
    clear = is_best_of_i & is_best_of_j & (saving >= next_of_i + next_of_j)
    sure.append(pairs[clear])
    gone_i, gone_j = np.zeros(n_left, bool), np.zeros(n_right, bool)
    gone_i[i[clear]] = True
    gone_j[j[clear]] = True
    return np.concatenate(sure), pairs[~(gone_i[i] | gone_j[j])]


def _best_and_next(
    point: np.ndarray, saving: np.ndarray, n_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Say for each pair whether it alone is its `point`'s best, and what the second-best saves."""
    best, following = np.zeros(n_points), np.zeros(n_points)
    np.maximum.at(best, point, saving)
    is_best = saving == best[point]
    np.maximum.at(following, point[~is_best], saving[~is_best])
    return is_best & (np.bincount(point[is_best], minlength=n_points)[point] == 1), following[point]


def _solve_groups(i: np.ndarray, j: np.ndarray, saving: np.ndarray) -> np.ndarray:
    """Return the indices of the best pairs, group by connected group."""
    (i, n_left), (j, n_right) = _renumbered(i), _renumbered(j)
    graph = coo_array((np.ones(len(i), np.int8), (i, n_left + j)), shape=(n_left + n_right,) * 2)
    _, group = connected_components(graph, directed=False)
    n_groups = int(group.max()) + 1
    local_i, rows = _rank_in_group(group[:n_left], n_groups)
    local_j, columns = _rank_in_group(group[n_left:], n_groups)
    of_pair = group[i]
    order = np.argsort(of_pair, kind="stable")
    n_pairs = np.bincount(of_pair, minlength=n_groups)
    ends = np.cumsum(n_pairs)
    # Within its group each point has a rank; the smaller side becomes the columns, so that subsets
    # of columns are few.
    swap = rows < columns
    r = np.where(swap[of_pair], local_j[j], local_i[i])
    c = np.where(swap[of_pair], local_i[i], local_j[j])
    long, short = np.maximum(rows, columns), np.minimum(rows, columns)
    chosen = [np.empty(0, np.int64)]
    # one point with several partners: the best of them
    stars = np.flatnonzero((short == 1)[of_pair])
    stars = stars[np.lexsort((-saving[stars], of_pair[stars]))]
    chosen.append(stars[np.diff(of_pair[stars], prepend=-1) > 0])
    # (rows, columns) of a group, packed into one number: its columns are the remainder
    shape = long * (SMALL_SIDE + 1) + np.minimum(short, SMALL_SIDE + 1)
    for one in np.unique(shape[(short > 1) & (short <= SMALL_SIDE)]).tolist():
        place = np.cumsum(shape == one) - 1
        pairs = np.flatnonzero((shape == one)[of_pair])
        group_of = place[of_pair[pairs]]
        chosen.append(
            pairs[
                _enumerate(
                    group_of, r[pairs], c[pairs], saving[pairs], *divmod(one, SMALL_SIDE + 1)
                )
            ]
        )
    for group_id in np.flatnonzero(short > SMALL_SIDE):
        pairs = order[ends[group_id] - n_pairs[group_id] : ends[group_id]]
        chosen.append(
            pairs[_solve_large(r[pairs], c[pairs], saving[pairs], long[group_id], short[group_id])]
        )
    return np.concatenate(chosen)


def _renumbered(points: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the numbers of `points` among those that occur, and how many do."""
    there = np.zeros(int(points.max()) + 1, bool)
    there[points] = True
    number = np.cumsum(there)
    return number[points] - 1, int(number[-1])


def _rank_in_group(group: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each member's rank within its group, and the groups' sizes."""
    order = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=n_groups)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
    return rank, size


def _enumerate(
    group: np.ndarray, r: np.ndarray, c: np.ndarray, saving: np.ndarray, n_rows: int, n_columns: int
) -> np.ndarray:
    """Solve many groups of one shape at once, by dynamic programming over sets of columns.

    Row by row, the best value for each set of columns in use; bit c of a set stands for column c.
    """
    n_groups, n_sets = int(group.max()) + 1, 2**n_columns
    value = np.full((n_rows, n_columns, n_groups), -np.inf)
    pair = np.full((n_rows, n_columns, n_groups), -1)
    value[r, c, group] = saving
    pair[r, c, group] = np.arange(len(saving))
    best = np.full((n_sets, n_groups), -np.inf)
    best[0] = 0.0
    used = np.full((n_rows, n_sets, n_groups), -1, np.int8)
    for row in range(n_rows):
        before = best.copy()
        for columns in range(1, n_sets):
            for column in range(n_columns):
                if columns >> column & 1:
                    with_it = before[columns ^ (1 << column)] + value[row, column]
                    better = with_it > best[columns]
                    best[columns] = np.where(better, with_it, best[columns])
                    used[row, columns] = np.where(better, column, used[row, columns])
    # back through the rows: what the best set used in each, and the set that was left before it
    columns_left, everyone = best.argmax(axis=0), np.arange(n_groups)
    chosen = [np.empty(0, np.int64)]
    for row in reversed(range(n_rows)):
        column = used[row, columns_left, everyone].astype(np.int64)
        matched = np.flatnonzero(column >= 0)
        chosen.append(pair[row, column[matched], matched])
        columns_left[matched] ^= 1 << column[matched]
    return np.concatenate(chosen)


def _solve_large(
    r: np.ndarray, c: np.ndarray, saving: np.ndarray, n_rows: int, n_columns: int
) -> np.ndarray:
    """Solve one group by shortest augmenting paths; a column may stay alone, saving nothing."""
    if n_rows * n_columns <= DENSE_PAIRS:
        value = np.zeros((n_rows, n_columns))
        pair = np.full((n_rows, n_columns), -1)
        value[r, c], pair[r, c] = saving, np.arange(len(saving))
        chosen = pair[linear_sum_assignment(value, maximize=True)]
        return np.asarray(chosen[chosen >= 0])
    ceiling = 2 * saving.max()  # the sparse solver wants a perfect matching and no zero costs
    cost = np.concatenate([ceiling - saving, np.full(n_columns, ceiling)])
    alone = np.arange(n_columns)
    table = csr_array(
        (cost, (np.concatenate([c, alone]), np.concatenate([r, n_rows + alone]))),
        shape=(n_columns, n_rows + n_columns),
    )
    table.sort_indices()
    columns, rows = min_weight_full_bipartite_matching(table)
    pair_of = csr_array((np.arange(1, len(r) + 1), (c, r)), shape=(n_columns, n_rows))
    real = rows < n_rows
    return np.asarray(pair_of[columns[real], rows[real]]).ravel() - 1

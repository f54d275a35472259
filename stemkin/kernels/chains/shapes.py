"""The shape of a few atoms as one point, whatever their order, and the kinds of shapes there are.

Atoms z = x + i y about their centre have the power sums M_m = sum z^m, which no order of the atoms
changes and which tell all places (Newton's identities). A triangle that turns by 60 degrees keeps
all its distances; its M_3 changes sign.

>>> up = np.exp(2j * np.pi * (np.arange(3) / 3 + 0.25))
>>> both = np.stack([up, -up[[2, 0, 1]]])
>>> turned = shape_features(np.stack([both.imag, both.real], axis=-1))
>>> np.abs(turned[0] - turned[1]).max().round(2) > 1
np.True_
>>> own = shape_features(np.stack([both.imag, both.real], axis=-1), own_frame=True)
>>> bool(np.allclose(own[0], own[1]))
True
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

MOST_KINDS = 6
APART = 4.0
"""Two kinds are farther from each other than this many standard deviations along the line between
them: the halves of one cloud are 2.7 apart."""
_MOST_ROUNDS = 100


def shape_features(places: np.ndarray, *, own_frame: bool = False) -> np.ndarray:
    """Return shapes as points whose distances are lengths.

    Parameters
    ----------
    places
        (n, atoms, 2) y and x of the atoms of each shape, in any order.
    own_frame
        Whether shapes that differ by a turn or a reflection are the same: then a shape is the
        sorted list of its distances.

    Returns
    -------
    (n, 2 (atoms - 1)) real and imaginary parts of the power sums, each in units of a length;
    in their own frame (n, pairs) distances, the shortest first.
    """
    n, atoms, _ = places.shape
    if own_frame:
        i, j = np.triu_indices(atoms, 1)
        distance = np.linalg.norm(places[:, i] - places[:, j], axis=-1)
        return np.sort(distance, axis=1)
    z = places[..., 1] + 1j * places[..., 0]
    z = z - z.mean(axis=1, keepdims=True)
    # In units of the mean size, a small step of an atom moves every sum by about as much.
    size = float(np.sqrt((np.abs(z) ** 2).sum() / max(z.size, 1))) or 1.0
    found = np.array([(z**m).mean(axis=1) / size ** (m - 1) for m in range(2, atoms + 1)])
    return np.concatenate([found.real, found.imag]).T.reshape(n, 2 * (atoms - 1))


def kinds_of_shapes(features: np.ndarray, n_kinds: int | None = None) -> np.ndarray:
    """Return which kind each shape is of, numbered in the order in which kinds first come.

    Parameters
    ----------
    features
        (n, d) of `shape_features`.
    n_kinds
        How many kinds there are; None: as many as a mixture of equal round Gaussians speaks for, by
        Schwarz's criterion (Ann. Stat. 6, 461 (1978)), where every two of them are `APART`;
        `MOST_KINDS` at most.

    Returns
    -------
    (n,) numbers from 0 on.
    """
    n, d = features.shape
    tried = range(1, min(MOST_KINDS, n) + 1)
    if n_kinds is not None:
        tried = range(min(n_kinds, n), min(n_kinds, n) + 1)
    best, found = np.inf, np.zeros(n, np.int64)
    for k in tried:
        kind, spread = _nearest_centres(features, k)
        share = np.bincount(kind, minlength=k) / max(n, 1)
        told = -2 * n * float((share[share > 0] * np.log(share[share > 0])).sum())
        cost = n * d * np.log(max(spread / max(n * d, 1), 1e-12)) + told + k * (d + 1) * np.log(n)
        if cost < best and (n_kinds is not None or _apart(features, kind)):
            best, found = cost, kind
    order: dict[int, int] = {}
    return np.array([order.setdefault(int(kind), len(order)) for kind in found], np.int64)


def _apart(features: np.ndarray, kind: np.ndarray) -> bool:
    """Tell whether every two kinds are `APART`."""
    names = np.unique(kind)
    for at, i in enumerate(names):
        for j in names[at + 1 :]:
            one, other = features[kind == i], features[kind == j]
            line = other.mean(axis=0) - one.mean(axis=0)
            off = np.concatenate([(own - own.mean(axis=0)) @ line for own in (one, other)])
            if (line @ line) ** 2 < APART**2 * float((off**2).mean()):
                return False
    return True


def _nearest_centres(features: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    """Return the kind of each row by k-means, and the sum of the squares left.

    It begins with rows that are far from each other, so it needs no chance.
    """
    far = [int(cdist(features, features.mean(axis=0)[None]).argmax())]
    while len(far) < k:
        far.append(int(cdist(features, features[far]).min(axis=1).argmax()))
    centres = features[far]
    kind = np.zeros(len(features), np.int64)
    for _ in range(_MOST_ROUNDS):
        before, kind = kind, cdist(features, centres).argmin(axis=1)
        for i in np.unique(kind):
            centres[i] = features[kind == i].mean(axis=0)
        if (kind == before).all():
            break
    return kind, float(((features - centres[kind]) ** 2).sum())

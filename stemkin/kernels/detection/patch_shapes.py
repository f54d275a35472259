"""Shapes on the grid of an observer's patch: columns, what they do when they move, and symmetry.

Places are counted in lattice constants of a perfect honeycomb, so that a shape holds for any
rotation and pixel size.

>>> column_on_grid(np.zeros(2), 0.15)[0].argmax() == len(GRID) // 2
np.True_
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stemkin.kernels.detection.observer import bonded
from stemkin.kernels.detection.patch_grid import GRID, STEPS

WIDE = 2.5
"""Width of the tails of a column's image, over that of its middle."""


@lru_cache(maxsize=1)
def operations() -> np.ndarray:
    """Return (6, P) the orders in which the operations of C3v put the points of `GRID`.

    Rotations by 0, 120 and 240 degrees, each before a reflection that follows it.
    """
    number = {(int(h), int(k)): i for i, (h, k) in enumerate(GRID)}
    orders, turned = [], GRID
    for _ in range(3):
        orders += [
            [number[int(h), int(k)] for h, k in steps] for steps in (turned, turned[:, ::-1])
        ]
        # by 120 degrees a1 becomes a2 - a1, and a2 becomes -a1
        turned = np.stack([-turned[:, 0] - turned[:, 1], turned[:, 0]], axis=1)
    return np.array(orders)


def symmetrised(values: np.ndarray) -> np.ndarray:
    """Return the (P,) mean of values over the six operations of C3v.

    Parameters
    ----------
    values
        (P,) one for each point of `GRID`.
    """
    return np.asarray(values[operations()].mean(axis=0))


def lattice_places(uv: np.ndarray) -> np.ndarray:
    """Return places (m, 2) of lattice coordinates, in lattice constants of a perfect honeycomb.

    Parameters
    ----------
    uv
        (m, 2) in lattice vectors.
    """
    return np.asarray(uv @ np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]]))


def column_on_grid(uv: np.ndarray, sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of a column, and what it gains when it moves.

    Parameters
    ----------
    uv
        (2,) where it stands, in lattice vectors from the middle of the patch.
    sd
        Standard deviation of its image, over the lattice constant.

    Returns
    -------
    The image (P,), and (2, P) what it gains along y and x when it moves by its own width.
    """
    away = lattice_places(GRID / STEPS) - lattice_places(uv[None])[0]
    image = np.exp(-0.5 * (away**2).sum(axis=1) / sd**2)
    return image, (away.T / sd) * image


def moved_outwards(uv: np.ndarray, centre: np.ndarray, sd: float) -> np.ndarray:
    """Return what (P,) a column at `uv` gains when it moves away from `centre`.

    Parameters
    ----------
    uv, centre
        (2,) where it and what it moves away from stand, in lattice vectors.
    sd
        Standard deviation of its image, over the lattice constant.
    """
    outwards = lattice_places((uv - centre)[None])[0]
    return np.asarray(outwards / np.linalg.norm(outwards) @ column_on_grid(uv, sd)[1])


def dip_and_breathing(which: int, sd: float) -> np.ndarray:
    """Return (2, P): an atom less in the middle, and its three neighbours moved outwards.

    Parameters
    ----------
    which
        METAL or CHALCOGEN: what stands in the middle.
    sd
        Standard deviation of a column's image, over the lattice constant.
    """
    middle = np.zeros(2)
    dip, breathing = -column_on_grid(middle, sd)[0], np.zeros(len(GRID))
    for uv in bonded(which):
        breathing += moved_outwards(uv, middle, sd)
    return np.stack([dip, breathing])


def another_column(uv: np.ndarray, sd: float) -> np.ndarray:
    """Return the (4, P) images of what another column at `uv` adds: there, moved, and its tails.

    Parameters
    ----------
    uv
        (2,) where it stands, in lattice vectors from the middle of the patch.
    sd
        Standard deviation of its image, over the lattice constant.
    """
    image, moved = column_on_grid(uv, sd)
    wide, _ = column_on_grid(uv, WIDE * sd)
    return np.stack([image, *moved, wide])


def what_may_stand_around(which: int, sd: float) -> np.ndarray:
    """Return (k, P) images of what defects on the sites around one would add to its patch.

    Bonded columns may be others, and stand elsewhere; those further away may be others.

    Parameters
    ----------
    which
        METAL or CHALCOGEN: what stands in the middle.
    sd
        Standard deviation of a column's image, over the lattice constant.
    """
    images = []
    for uv in bonded(which):
        image, moved = column_on_grid(uv, sd)
        images += [image, *moved]
    same = [[1, 0], [0, 1], [-1, 1], [-1, 0], [0, -1], [1, -1]]
    for step in [*same, *(-2 * bonded(which)).tolist()]:
        images.append(column_on_grid(np.array(step, dtype=float), sd)[0])
    return np.stack(images)

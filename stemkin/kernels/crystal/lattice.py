"""The lattice of a frame: its vectors, its two sublattices, and lattice coordinates of any point.

A point is r = metal + u a1 + v a2, so metal columns have whole-numbered (u, v) and, in a honeycomb
such as WS2 seen from above, chalcogen columns have (1/3, 1/3) more. Points are (y, x) in pixels of
the raw frame.

>>> lattice = honeycomb(10.0)
>>> chalcogen = lattice.metal + 2 * lattice.a1 - lattice.a2 + lattice.bond
>>> u, v, sublattice = lattice_coordinates(lattice, chalcogen)
>>> round(float(u[0]), 3), round(float(v[0]), 3), int(sublattice[0])
(2.333, -0.667, 1)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from stemkin.kernels.common.compiling import compiled

METAL, CHALCOGEN = 0, 1
"""The two sublattices: METAL is the brighter one (W, Mo), CHALCOGEN the dimmer (S2)."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """The lattice of one frame.

    In a honeycomb the vectors are chosen so that a1 and a2 enclose 60 degrees, a2 follows a1 when
    turning from +x to +y, and chalcogen = metal + (a1 + a2) / 3. Three choices remain (the crystal
    has a threefold axis); the one whose a1 points closest to +x is taken. So the vectors carry over
    from frame to frame and from movie to movie.

    Attributes
    ----------
    a1, a2
        (2,) real-space vectors (y, x) [px].
    metal
        (2,) position (y, x) [px] of one column of the brighter sublattice, close to the middle of
        the frame.
    chalcogen
        (2,) position (y, x) [px] of a neighbouring column of the dimmer sublattice.
    quality
        Signal-to-noise of the weakest of the reflections that define the vectors; below about 5 a
        lattice is doubtful.
    is_honeycomb
        False for any other two-dimensional crystal; `chalcogen` is then the second maximum of the
        unit cell.
    scan
        (height, 2) and (width, 2) slow displacements (y, x) [px] of the frame's rows and columns by
        the scan, or None: a lattice point at r is seen at ``r + rows[y] + columns[x]``. The vectors
        and origins are those before it.
    """

    a1: np.ndarray
    a2: np.ndarray
    metal: np.ndarray
    chalcogen: np.ndarray
    quality: float
    is_honeycomb: bool = True
    scan: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    @cached_property
    def reciprocal(self) -> np.ndarray:
        """(2, 2) reciprocal vectors as rows (y, x) [cycles per px]: ``reciprocal @ a1 = 1, 0``."""
        return np.asarray(np.linalg.inv(np.stack([self.a1, self.a2], axis=1)))

    @cached_property
    def bond(self) -> np.ndarray:
        """(2,) step (y, x) [px] from a metal column to the chalcogen column beside it."""
        return np.asarray(self.chalcogen - self.metal)

    @cached_property
    def spacing_px(self) -> float:
        """Lattice constant [px]: the geometric mean of the lengths of a1 and a2."""
        return float(np.sqrt(np.linalg.norm(self.a1) * np.linalg.norm(self.a2)))

    @property
    def angle_deg(self) -> float:
        """Direction of a1, turning from +x to +y [degrees]."""
        return float(np.degrees(np.arctan2(self.a1[0], self.a1[1])))


def honeycomb(
    spacing_px: float, *, angle_deg: float = 0.0, metal: tuple[float, float] = (0.0, 0.0)
) -> Lattice:
    """Return a perfect honeycomb lattice.

    Parameters
    ----------
    spacing_px
        Lattice constant [px].
    angle_deg
        Direction of a1, turning from +x to +y [degrees].
    metal
        (y, x) of one metal column [px].

    Returns
    -------
    The lattice, of infinite quality.

    Examples
    --------
    >>> honeycomb(10.0).a2.round(2).tolist()
    [8.66, 5.0]
    """
    angles = np.radians(angle_deg + np.array([0.0, 60.0]))
    a1, a2 = spacing_px * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    origin = np.asarray(metal, dtype=float)
    return Lattice(a1, a2, origin, origin + (a1 + a2) / 3, quality=np.inf)


def lattice_coordinates(
    lattice: Lattice, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert points to lattice coordinates, and tell the sublattice that each is closest to.

    Parameters
    ----------
    lattice
        The crystal.
    points
        (m, 2) or (2,) positions (y, x) [px].

    Returns
    -------
    u, v
        (m,) coordinates along a1 and a2, counted from `lattice.metal`.
    sublattice
        (m,) int8, METAL or CHALCOGEN.
    """
    points = unbent(lattice, np.atleast_2d(np.asarray(points, dtype=float)))
    uv = (points - lattice.metal) @ lattice.reciprocal.T
    distances = [
        _distance_to_sites(lattice, uv - shift)
        for shift in (np.zeros(2), lattice.reciprocal @ lattice.bond)
    ]
    return uv[:, 0], uv[:, 1], (distances[1] < distances[0]).astype(np.int8)


def nearest_site(lattice: Lattice, points: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
    """Find the site of a given sublattice that is closest to each point.

    Parameters
    ----------
    lattice
        The crystal.
    points
        (m, 2) or (2,) positions (y, x) [px].
    sublattice
        (m,) METAL or CHALCOGEN.

    Returns
    -------
    (m, 2) sites (y, x) [px], where the frame shows them.
    """
    points = np.atleast_2d(np.asarray(points, dtype=float))
    origins = np.stack([lattice.metal, lattice.chalcogen])[np.asarray(sublattice, dtype=int)]
    straight = unbent(lattice, points)
    uv = (straight - origins) @ lattice.reciprocal.T
    return bent(lattice, straight - _offset_from_sites(lattice, uv))


def unbent(lattice: Lattice, points: np.ndarray) -> np.ndarray:
    """Take the scan's distortion away from points of the frame.

    Parameters
    ----------
    lattice
        The crystal, with the displacements by the scan.
    points
        (m, 2) positions (y, x) [px] where the frame shows them.

    Returns
    -------
    (m, 2) positions [px] in the undistorted lattice.
    """
    if lattice.scan is None:
        return points
    displaced: np.ndarray = points - _scan_at(lattice.scan, points)
    return displaced


def bent(lattice: Lattice, points: np.ndarray) -> np.ndarray:
    """Apply the scan's distortion to points of the undistorted lattice; undoes `unbent`.

    Parameters
    ----------
    lattice
        The crystal, with the displacements by the scan.
    points
        (m, 2) positions (y, x) [px] in the undistorted lattice.

    Returns
    -------
    (m, 2) positions [px] where the frame shows them.
    """
    if lattice.scan is None:
        return points
    # displacements are known where points are seen; they change slowly, so two rounds find that
    seen = points
    for _ in range(2):
        seen = points + _scan_at(lattice.scan, seen)
    return seen


def sites(lattice: Lattice, shape: tuple[int, int], sublattice: int) -> np.ndarray:
    """List the sites of one sublattice whose pixel lies within a frame.

    Parameters
    ----------
    lattice
        The crystal.
    shape
        (height, width) of the frame [px].
    sublattice
        METAL or CHALCOGEN.

    Returns
    -------
    (m, 2) positions (y, x) [px].
    """
    return numbered_sites(lattice, shape, sublattice)[1]


def numbered_sites(
    lattice: Lattice, shape: tuple[int, int], sublattice: int
) -> tuple[np.ndarray, np.ndarray]:
    """List the sites of one sublattice within a frame, with the numbers of their cells.

    The metal columns around the chalcogen of cell (u, v) are those of the cells (u, v), (u + 1, v)
    and (u, v + 1).

    Parameters
    ----------
    lattice
        The crystal.
    shape
        (height, width) of the frame [px].
    sublattice
        METAL or CHALCOGEN.

    Returns
    -------
    cells
        (m, 2) whole-numbered u, v.
    points
        (m, 2) positions (y, x) [px].

    Both are kept for who asks next, and cannot be written to.
    """
    return _kept_sites(lattice, (int(shape[0]), int(shape[1])), sublattice)


@lru_cache(maxsize=8)
def _kept_sites(
    lattice: Lattice, shape: tuple[int, int], sublattice: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `numbered_sites` does: each stage of a frame's search asks for the same sites."""
    origin = (lattice.metal, lattice.chalcogen)[sublattice]
    # all cells between the smallest and largest u, v of the corners, and one more around; what the
    # scan moves into the frame from outside is looked for as far as it moves anything
    bottom, right = (n - 0.5 for n in shape)
    corners = np.array([[y, x] for y in (-0.5, bottom) for x in (-0.5, right)])
    uv = (unbent(lattice, corners) - origin) @ lattice.reciprocal.T
    low, high = np.floor(uv.min(axis=0)).astype(int) - 1, np.ceil(uv.max(axis=0)).astype(int) + 1
    rows, columns = lattice.scan or (np.zeros((1, 2)), np.zeros((1, 2)))
    margin = 0.5
    if lattice.scan is not None:
        margin = 1.0 + sum(float(np.abs(moved).max(initial=0.0)) for moved in lattice.scan)
    vectors = np.stack([lattice.a1, lattice.a2])
    found = _sites_within(origin, vectors, low, high, (rows, columns), margin, shape)
    for values in found:
        values.setflags(write=False)
    return found


@compiled
def _sites_within(
    origin: np.ndarray,
    vectors: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    scan: tuple[np.ndarray, np.ndarray],
    margin: float,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells (m, 2) between `low` and `high` (2,) with their places (m, 2) in a frame.

    Cells that are further than `margin` outside without what the scan does are left out first.
    """
    n = (high[0] - low[0] + 1) * (high[1] - low[1] + 1)
    cells, places = np.empty((n, 2), np.int64), np.empty((n, 2))
    rows, columns = scan
    m = 0
    for u in range(low[0], high[0] + 1):
        for v in range(low[1], high[1] + 1):
            y = origin[0] + u * vectors[0, 0] + v * vectors[1, 0]
            x = origin[1] + u * vectors[0, 1] + v * vectors[1, 1]
            if not _is_inside(y, x, shape, margin):
                continue
            # as `bent`: displacements are known where points are seen, and two rounds find that
            seen_y, seen_x = y, x
            for _ in range(2):
                row = min(max(int(np.rint(seen_y)), 0), len(rows) - 1)
                column = min(max(int(np.rint(seen_x)), 0), len(columns) - 1)
                seen_y = y + rows[row, 0] + columns[column, 0]
                seen_x = x + rows[row, 1] + columns[column, 1]
            if _is_inside(seen_y, seen_x, shape, 0.5):
                cells[m, 0], cells[m, 1] = u, v
                places[m, 0], places[m, 1] = seen_y, seen_x
                m += 1
    return cells[:m].copy(), places[:m].copy()


@compiled
def _is_inside(y: float, x: float, shape: tuple[int, int], margin_px: float) -> bool:
    """Tell whether a place lies in a frame, or within a margin of its pixels."""
    low, bottom, right = -margin_px, shape[0] - 1 + margin_px, shape[1] - 1 + margin_px
    return y >= low and y < bottom and x >= low and x < right


def _scan_at(scan: tuple[np.ndarray, np.ndarray], points: np.ndarray) -> np.ndarray:
    """Return the scan's displacement at `points` (m, 2), beyond the frame that of the edge."""
    total = np.zeros_like(points)
    for moved, place in zip(scan, points.T, strict=True):
        total += moved.take(np.rint(place).astype(np.int64), axis=0, mode="clip")
    return total


def _offset_from_sites(lattice: Lattice, uv: np.ndarray) -> np.ndarray:
    """Return the (m, 2) vector [px] from the closest lattice point to each (m, 2) pair `uv`."""
    vectors = np.stack([lattice.a1, lattice.a2])
    return np.asarray(_shortest_offsets(vectors, np.ascontiguousarray(uv, dtype=np.float64)))


@compiled
def _shortest_offsets(vectors: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return what `_offset_from_sites` does, for vectors (2, 2) as rows."""
    offsets = np.full((len(uv), 2), np.nan)
    for i in range(len(uv)):
        u, v = uv[i, 0] - np.rint(uv[i, 0]), uv[i, 1] - np.rint(uv[i, 1])
        least = np.inf
        # in an oblique cell the rounded pair need not be the closest: its eight neighbours are tried
        for du in range(-1, 2):
            for dv in range(-1, 2):
                y = (u - du) * vectors[0, 0] + (v - dv) * vectors[1, 0]
                x = (u - du) * vectors[0, 1] + (v - dv) * vectors[1, 1]
                if y * y + x * x < least:
                    least = y * y + x * x
                    offsets[i, 0], offsets[i, 1] = y, x
    return offsets


def _distance_to_sites(lattice: Lattice, uv: np.ndarray) -> np.ndarray:
    return np.asarray(np.hypot(*_offset_from_sites(lattice, uv).T))

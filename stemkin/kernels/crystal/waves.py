"""The plane waves of a crystal on a frame whose rows and columns were displaced by the scan.

The crystal is a sum of a few plane waves, M(r) = A_0(r) + sum_k Re[A_k(r) exp(2 pi i g_k . (r -
u(r)))], one per reflection of the measured lattice, whose amplitudes A_k vary slowly: so thickness,
background and aberrations are followed, while one missing atom is not. `amplitudes` measures the
A_k on the nodes of a coarse grid, `drawing` draws M.

u(r) is what the scan did to the image: each row and each column is displaced a little, ``u =
rows[y] + columns[x]`` (flyback distortion along x, drift and scan-line jitter along y). It enters
the *model* as phases, so no pixel is resampled.

>>> waves = waves_of(np.array([[0.1, 0.0], [0.05, 0.0866]]), (64, 48))
>>> waves.indices[:2].tolist(), waves.is_background[:2].tolist()
([[0, 0], [0, 1]], [True, False])
>>> [len(places) for places in waves.nodes]
[5, 4]
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from stemkin.kernels.common.compiling import compiled

MAX_ORDER = 3
"""Reflections up to this multiple of the shortest reciprocal vector; beyond, no probe transfers
contrast."""

PITCH = 1.9
"""Distance between nodes over the distance between lattice planes: the windows are twice as
wide."""

TABLES = "column_waves", "row_waves"
"""Tables of cos and sin that `Waves` computes once."""


@dataclass(frozen=True, eq=False)
class Waves:
    """Plane waves on a frame, and the grid of nodes on which their amplitudes are measured.

    Attributes
    ----------
    indices
        (K, 2) whole numbers h, k; the first is (0, 0), the background.
    basis
        (2, 2) reciprocal vectors b1, b2 as rows (y, x) [cycles per px].
    pitch
        Distance between nodes [px]; the first node lies on the frame's upper left corner, the last
        on or beyond the lower right.
    shape
        (height, width) of the frame [px].
    rows, columns
        (height, 2) and (width, 2) displacements (y, x) [px] of the rows and columns by the scan.
    """

    indices: np.ndarray
    basis: np.ndarray
    pitch: int
    shape: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray

    @property
    def frequencies(self) -> np.ndarray:
        """(K, 2) g = h b1 + k b2 (y, x) [cycles per px]."""
        return np.asarray(self.indices @ self.basis)

    @property
    def is_background(self) -> np.ndarray:
        """(K,) True for (0, 0)."""
        return np.asarray((self.indices == 0).all(axis=1))

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """y (ny,) and x (nx,) of the nodes [px]."""
        ny, nx = (-(-n // self.pitch) + 1 for n in self.shape)
        return np.arange(ny) * self.pitch - 0.5, np.arange(nx) * self.pitch - 0.5

    @property
    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        """(ny, height) and (nx, width) Hann windows around the nodes, adding up to 1 everywhere."""
        return _hann_windows(self.shape[0], self.pitch), _hann_windows(self.shape[1], self.pitch)

    @cached_property
    def column_waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Cos and sin (width, K) of ``2 pi (g_x x - g . columns[x])``."""
        return _cos_and_sin(self, 1, self.columns)

    @cached_property
    def row_waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Cos and sin (height, K) of ``2 pi (g_y y - g . rows[y])``."""
        return _cos_and_sin(self, 0, self.rows)

    def only(self, kept: np.ndarray) -> Waves:
        """Return the waves with the numbers `kept`."""
        fewer = replace(self, indices=self.indices[kept])
        for name in TABLES:
            # a table that is known already is cut down, not computed again
            if name in self.__dict__:
                cos, sin = (np.ascontiguousarray(table[:, kept]) for table in self.__dict__[name])
                fewer.__dict__[name] = cos, sin
        return fewer

    def shortest(self, n: int) -> Waves:
        """Return the `n` waves of the shortest reciprocal vectors, without the background."""
        # `waves_of` has ordered them by length
        return self.only(np.flatnonzero(~self.is_background)[:n])

    def numbered(self, indices: np.ndarray) -> Waves:
        """Return the waves of the reflections `indices` (n, 2), of those that the frame shows."""
        wanted = {(int(h), int(k)) for h, k in indices}
        kept = [i for i, (h, k) in enumerate(self.indices) if (int(h), int(k)) in wanted]
        return self.only(np.array(kept, dtype=np.int64))

    def along(self, other: Waves) -> Waves:
        """Return the waves with the basis and the displacements by the scan of `other`."""
        return replace(self, basis=other.basis, rows=other.rows, columns=other.columns)

    def shaken(self, jitter: np.ndarray) -> Waves:
        """Return the waves whose rows are displaced by `jitter` (height, 2) [px] more."""
        other = replace(self, rows=self.rows + jitter)
        if "column_waves" in self.__dict__:
            # rows move, columns do not: their table stays right
            other.__dict__["column_waves"] = self.column_waves
        return other


def waves_of(basis: np.ndarray, shape: tuple[int, int], *, pitch: int | None = None) -> Waves:
    """List the plane waves of a lattice that the frame's pixels can show.

    Parameters
    ----------
    basis
        (2, 2) reciprocal vectors as rows (y, x) [cycles per px].
    shape
        (height, width) [px].
    pitch
        Distance between nodes [px]; `PITCH` lattice planes unless given.

    Returns
    -------
    The waves, ordered by length, nothing displaced by the scan.
    """
    shortest = float(np.linalg.norm(basis, axis=1).min())
    order = np.arange(-MAX_ORDER - 1, MAX_ORDER + 2)
    h, k = (index.ravel() for index in np.meshgrid(order, order, indexing="ij"))
    g = h[:, None] * basis[0] + k[:, None] * basis[1]
    length = np.linalg.norm(g, axis=1)
    # g and -g are one real wave: one half of the plane is kept, and what stays clear of Nyquist
    half = (h > 0) | ((h == 0) & (k >= 0))
    shown = (length <= (MAX_ORDER + 0.2) * shortest) & (np.abs(g) < 0.46).all(axis=1)
    kept = np.flatnonzero(half & shown)
    kept = kept[np.argsort(length[kept], kind="stable")]
    return Waves(
        indices=np.stack([h, k], axis=1)[kept],
        basis=basis,
        pitch=pitch or max(6, round(PITCH / shortest)),
        shape=shape,
        rows=np.zeros((shape[0], 2)),
        columns=np.zeros((shape[1], 2)),
    )


@lru_cache(maxsize=16)
def _hann_windows(n: int, pitch: int) -> np.ndarray:
    nodes = np.arange(-(-n // pitch) + 1) * pitch - 0.5
    away = np.clip((np.arange(n) - nodes[:, None]) / pitch, -1, 1)
    return np.asarray(np.cos(np.pi / 2 * away) ** 2)


def _cos_and_sin(waves: Waves, axis: int, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin (n, K) of 2 pi g . (place - moved) along one axis."""
    place = -moved
    place[:, axis] += np.arange(len(moved))
    turned = _turned(place @ waves.basis.T, np.ascontiguousarray(waves.indices, dtype=np.int64))
    return turned[0], turned[1]


@compiled
def _turned(phases: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return (2, n, K) cos and sin of 2 pi times sums of (n, 2) `phases`, (K, 2) whole times each.

    exp(2 pi i g . r) = w1^h w2^k, with w1, w2 the waves of the basis: two exponentials per place and
    products instead of K exponentials.
    """
    order = np.abs(indices).max() if indices.size else 0
    turned = np.empty((2, len(phases), len(indices)))
    # entry [order + n] holds the n-th power, n < 0 too
    powers = np.ones((2, 2 * order + 1), np.complex128)
    for i in range(len(phases)):
        for a in range(2):
            angle = 2 * np.pi * phases[i, a]
            wave = complex(math.cos(angle), math.sin(angle))
            for n in range(1, order + 1):
                powers[a, order + n] = powers[a, order + n - 1] * wave
                powers[a, order - n] = powers[a, order + n].conjugate()
        for k in range(len(indices)):
            both = powers[0, order + indices[k, 0]] * powers[1, order + indices[k, 1]]
            turned[0, i, k], turned[1, i, k] = both.real, both.imag
    return turned

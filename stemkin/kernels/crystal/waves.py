"""The perfect crystal of a frame, fitted locally: what the frame would show had it no defect.

The crystal is a sum of a few plane waves, M(r) = A_0(r) + sum_k Re[A_k(r) exp(2 pi i g_k . (r -
u(r)))], one per reflection of the measured lattice, whose amplitudes A_k vary slowly: so thickness,
background and aberrations are followed, while one missing atom is not. Amplitudes are measured
through Hann windows around the nodes of a coarse grid (their side lobes are so low that one
reflection does not leak into another) and averaged with a Gaussian over a few unit cells.

u(r) is what the scan did to the image: each row and each column is displaced a little, ``u =
rows[y] + columns[x]`` (flyback distortion along x, drift and scan-line jitter along y). It enters
the *model* as phases, so no pixel is resampled.

Everything that touches pixels is a matrix product of the array-API standard, one frame at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from stemkin.devices import Array, namespace, to_host

MAX_ORDER = 3
"""Reflections up to this multiple of the shortest reciprocal vector; beyond, no probe transfers
contrast."""

PITCH = 1.9
"""Distance between nodes over the distance between lattice planes: the windows are twice as
wide."""


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
        """(ny, height) and (nx, width) Hann windows around the nodes; they add up to 1
        everywhere."""
        return _hann_windows(self.shape[0], self.pitch), _hann_windows(self.shape[1], self.pitch)

    @cached_property
    def column_waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Cos and sin (width, K) of ``2 pi (g_x x - g . columns[x])``."""
        return _phases(self, 1, self.columns)

    @cached_property
    def row_waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Cos and sin (height, K) of ``2 pi (g_y y - g . rows[y])``."""
        return _phases(self, 0, self.rows)

    def only(self, kept: np.ndarray) -> Waves:
        """Return the waves with the numbers `kept`."""
        fewer = replace(self, indices=self.indices[kept])
        for name in ("column_waves", "row_waves"):
            if name in self.__dict__:  # so that nothing is computed twice
                cos, sin = self.__dict__[name]
                fewer.__dict__[name] = (
                    np.ascontiguousarray(cos[:, kept]),
                    np.ascontiguousarray(sin[:, kept]),
                )
        return fewer

    def shaken(self, jitter: np.ndarray) -> Waves:
        """Return the waves whose rows are displaced by `jitter` (height, 2) [px] more."""
        other = replace(self, rows=self.rows + jitter)
        if "column_waves" in self.__dict__:
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
    """
    shortest = float(np.linalg.norm(basis, axis=1).min())
    order = np.arange(-MAX_ORDER - 1, MAX_ORDER + 2)
    h, k = (index.ravel() for index in np.meshgrid(order, order, indexing="ij"))
    g = h[:, None] * basis[0] + k[:, None] * basis[1]
    length = np.linalg.norm(g, axis=1)
    half = (h > 0) | ((h == 0) & (k >= 0))
    kept = np.flatnonzero(
        half & (length <= (MAX_ORDER + 0.2) * shortest) & (np.abs(g) < 0.46).all(axis=1)
    )
    kept = kept[np.argsort(length[kept], kind="stable")]
    still = np.zeros((shape[0], 2)), np.zeros((shape[1], 2))
    return Waves(
        np.stack([h, k], axis=1)[kept],
        basis,
        pitch or max(6, round(PITCH / shortest)),
        shape,
        *still,
    )


def row_sums(frame: Array, waves: Waves) -> Array:
    """Sum ``frame * exp(-2 pi i (g_x x - g . columns[x]))`` over the window of each column of
    nodes, row by row.

    Returns
    -------
    (nx, 2K, height): the K real parts and then the K imaginary parts.
    """
    xp = namespace(frame)
    (height, width), pitch = waves.shape, waves.pitch
    n = len(waves.nodes[1]) - 1
    margin = xp.zeros((height, pitch), dtype=frame.dtype)
    beyond = xp.zeros((height, (n + 1) * pitch - width), dtype=frame.dtype)
    strips = xp.reshape(xp.concat([margin, frame, beyond], axis=1), (height, n + 2, pitch))
    strips = xp.permute_dims(strips, (1, 0, 2))
    columns = xp.concat([strips[:-1, :, :], strips[1:, :, :]], axis=2)
    cos, sin = waves.column_waves
    window = np.sin(np.pi * (np.arange(2 * pitch) + 0.5) / (2 * pitch)) ** 2
    table = np.zeros(((n + 2) * pitch, 2 * len(waves.indices)))
    table[pitch : pitch + width] = np.concatenate([cos, -sin], axis=1)
    by_strip = table.reshape(n + 2, pitch, -1)
    by_node = np.concatenate([by_strip[:-1], by_strip[1:]], axis=1) * window[:, None]
    tables = xp.asarray(np.ascontiguousarray(by_node.transpose(0, 2, 1)), dtype=frame.dtype)
    return xp.matmul(tables, xp.permute_dims(columns, (0, 2, 1)))


def node_sums(rows: Array, waves: Waves) -> np.ndarray:
    """Sum ``frame * exp(-2 pi i g . (r - u))`` over the window of each node.

    Parameters
    ----------
    rows
        As `row_sums` gives them.
    waves
        The same waves; only their `rows` may have changed.

    Returns
    -------
    (ny, nx, K) complex sums, on the host.
    """
    xp = namespace(rows)
    n = len(waves.indices)
    cos, sin = (xp.asarray(np.ascontiguousarray(a.T), dtype=rows.dtype) for a in waves.row_waves)
    real, imag = rows[:, :n, :], rows[:, n:, :]
    turned = xp.concat([real * cos + imag * sin, imag * cos - real * sin], axis=1)
    windows = xp.asarray(np.ascontiguousarray(waves.windows[0].T), dtype=rows.dtype)
    total = to_host(xp.matmul(turned, windows))
    return np.asarray(total[:, :n, :] + 1j * total[:, n:, :]).transpose(2, 0, 1)


def smooth_amplitudes(
    sums: np.ndarray, waves: Waves, *, sd_px: float | np.ndarray, areas: np.ndarray
) -> np.ndarray:
    """Average the nodes' amplitudes with a Gaussian; edges are normalised.

    Parameters
    ----------
    sums
        (ny, nx, K) as `node_sums` gives them.
    waves
        The same waves.
    sd_px
        Standard deviation of the Gaussian [px], for all waves or (K,) for each.
    areas
        (ny, nx) as `node_areas` gives them.

    Returns
    -------
    (ny, nx, K) complex amplitudes A_k such that the model is ``A_0 + sum Re[A_k exp(2 pi i g_k . (r
    - u))]``.
    """
    smooth = np.empty_like(sums)
    each = np.broadcast_to(np.asarray(sd_px, dtype=float), sums.shape[2:])
    for sd in np.unique(each):
        gy, gx = (np.exp(-0.5 * ((c[:, None] - c[None, :]) / sd) ** 2) for c in waves.nodes)
        mine = each == sd
        part = np.tensordot(gy, sums[:, :, mine], axes=1)
        smooth[:, :, mine] = np.matmul(gx, part) / np.maximum(gy @ areas @ gx.T, 1e-3)[:, :, None]
    return np.asarray(np.where(waves.is_background, 1.0, 2.0) * smooth)


def even_scale(
    sums: np.ndarray, areas: np.ndarray, waves: Waves, sds_px: tuple[float, ...]
) -> float:
    """Choose over which length the amplitudes may be averaged: the longest over which they do not
    change.

    Each node's amplitudes are predicted from the nodes around it, those whose windows overlap with
    its own left out (cross-validation); lengths are tried from the longest on, until a shorter one
    predicts worse. In a flat, even crystal the longest is taken.

    Parameters
    ----------
    sums, areas
        (ny, nx, K) and (ny, nx), as `node_sums` and `node_areas` give them.
    waves
        The same waves.
    sds_px
        Standard deviations [px] to choose from.
    """
    flat = np.concatenate([sums.real, sums.imag], axis=2).astype(np.float32)
    areas = areas.astype(np.float32)
    best = (np.inf, sds_px[-1])
    for sd in sorted(set(sds_px), reverse=True):
        error = _unpredicted(flat, areas, waves, sd)
        if error >= best[0]:
            break
        best = (error, sd)
    return best[1]


def _unpredicted(flat: np.ndarray, areas: np.ndarray, waves: Waves, sd_px: float) -> float:
    """Return how much of the nodes' real and imaginary parts (ny, nx, 2K) those further away do not
    predict."""
    gy, gx = (
        np.exp(-0.5 * (np.subtract.outer(c, c) / sd_px) ** 2).astype(np.float32)
        for c in waves.nodes
    )
    around, weight = np.zeros_like(flat), np.zeros_like(areas)
    for sign, fy, fx in ((1, gy, gx), (-1, _overlapping(gy), _overlapping(gx))):
        around += sign * np.matmul(fx, (fy @ flat.reshape(len(fy), -1)).reshape(flat.shape))
        weight += sign * (fy @ areas @ fx)
    known = weight > 1e-2 * weight.max()
    miss = flat - (areas / np.where(known, weight, 1.0))[:, :, None] * around
    return float(((miss**2).sum(axis=2) * known / np.maximum(areas, 1.0)).sum())


def _overlapping(g: np.ndarray) -> np.ndarray:
    """Return of `g` (n, n) what belongs to nodes whose windows overlap: each node and the ones
    beside it."""
    number = np.arange(len(g))
    return np.where(np.abs(np.subtract.outer(number, number)) <= 1, g, np.float32(0))


def node_areas(mask: Array | None, waves: Waves) -> np.ndarray:
    """Return the (ny, nx) sums of `mask` (y, x) over the windows of the nodes, on the host; None is
    a mask of ones."""
    if mask is None:
        return np.outer(*(window.sum(axis=1) for window in waves.windows))
    xp = namespace(mask)
    y, x = (xp.asarray(window, dtype=mask.dtype) for window in waves.windows)
    return to_host(xp.matmul(xp.matmul(y, mask), x.T)).astype(float)


def line_sums(frame: Array, waves: Waves) -> np.ndarray:
    """Sum ``frame * exp(-2 pi i (g_x x - g . columns[x]))`` over each whole row: (height, K)
    complex, on the host."""
    xp = namespace(frame)
    cos, sin = waves.column_waves
    total = to_host(
        xp.matmul(frame, xp.asarray(np.concatenate([cos, -sin], axis=1), dtype=frame.dtype))
    )
    return np.asarray(total[:, : cos.shape[1]] + 1j * total[:, cos.shape[1] :])


def mean_amplitudes(lines: np.ndarray, waves: Waves) -> np.ndarray:
    """Return the (K,) complex amplitudes of the whole frame (defined as for `smooth_amplitudes`)
    from its `line_sums`."""
    cos, sin = waves.row_waves
    total = (lines * (cos - 1j * sin)).sum(axis=0) / (waves.shape[0] * waves.shape[1])
    return np.asarray(np.where(waves.is_background, 1.0, 2.0) * total)


def decoupled(amplitudes: np.ndarray, waves: Waves) -> np.ndarray:
    """Free (K,) mean amplitudes of what one wave leaves in another where the frame holds no whole
    number of their beats.

    That is about one part in pi times the number of lattice planes, and would displace the lattice
    by as much of a period. The overlaps are products of sums over rows and over columns; one step
    of Jacobi's iteration leaves their square.
    """
    phases = [cos + 1j * sin for cos, sin in (waves.row_waves, waves.column_waves)]
    like, unlike = (np.ones((len(amplitudes),) * 2, complex) for _ in range(2))
    for wave in phases:
        like *= np.conj(wave.T) @ wave / len(wave)
        unlike *= np.conj(wave.T @ wave) / len(wave)
    halves = (
        np.where(waves.is_background, 1.0, 0.5) * amplitudes
    )  # M is the sum of halves exp(i) and their conjugates
    turning = np.where(waves.is_background, 0.0, 1.0) * np.conj(halves)
    seen = like @ halves + unlike @ turning
    return np.asarray(np.where(waves.is_background, 1.0, 2.0) * (2 * halves - seen))


def draw_mean(amplitudes: np.ndarray, waves: Waves, like: Array) -> Array:
    """Draw (y, x) the crystal whose amplitudes (K,) are the same everywhere, in the library and
    type of `like`."""
    return _drawn([amplitudes], waves, like)


def draw_mean_and_slopes(
    amplitudes: np.ndarray, waves: Waves, like: Array
) -> tuple[Array, Array, Array]:
    """Draw M as `draw_mean` does, with dM/dy and dM/dx [per px], each (y, x)."""
    rate = 2j * np.pi * waves.frequencies.T
    drawn = _drawn([amplitudes, amplitudes * rate[0], amplitudes * rate[1]], waves, like)
    height = waves.shape[0]
    return drawn[:height, :], drawn[height : 2 * height, :], drawn[2 * height :, :]


def _drawn(several: list[np.ndarray], waves: Waves, like: Array) -> Array:
    """Draw crystals of constant amplitudes (K,) below one another."""
    xp = namespace(like)
    cos, sin = waves.row_waves
    fields = np.concatenate([amplitudes * (cos + 1j * sin) for amplitudes in several])
    rows = np.concatenate([fields.real, -fields.imag], axis=1)
    columns = np.concatenate(waves.column_waves, axis=1).T
    return xp.matmul(
        xp.asarray(rows, dtype=like.dtype),
        xp.asarray(np.ascontiguousarray(columns), dtype=like.dtype),
    )


def draw_local(amplitudes: np.ndarray, waves: Waves, like: Array) -> Array:
    """Draw the crystal whose amplitudes differ from node to node, linear in between.

    Parameters
    ----------
    amplitudes
        (ny, nx, K) as `smooth_amplitudes` gives them.
    waves
        The same waves.
    like
        Any array of the wanted library, type and device.

    Returns
    -------
    (y, x) array.
    """
    xp = namespace(like)
    pitch, (height, width) = waves.pitch, waves.shape
    ny, nx, n = amplitudes.shape
    fields = (
        np.concatenate([amplitudes.real, amplitudes.imag], axis=2)
        .transpose(1, 2, 0)
        .reshape(-1, ny)
    )
    weights = np.maximum(1 - np.abs(np.arange(height) - waves.nodes[0][:, None]) / pitch, 0)
    stretched = xp.matmul(
        xp.asarray(fields, dtype=like.dtype), xp.asarray(weights, dtype=like.dtype)
    )
    stretched = xp.reshape(stretched, (nx, 2 * n, height))
    cos, sin = (xp.asarray(np.ascontiguousarray(a.T), dtype=like.dtype) for a in waves.row_waves)
    real, imag = stretched[:, :n, :], stretched[:, n:, :]
    turned = xp.concat([real * cos - imag * sin, real * sin + imag * cos], axis=1)
    turned = xp.concat([turned[:-1, :, :], turned[1:, :, :]], axis=1)
    drawn = xp.matmul(
        xp.permute_dims(turned, (0, 2, 1)), xp.asarray(_drawing_table(waves), dtype=like.dtype)
    )
    return xp.reshape(xp.permute_dims(drawn, (1, 0, 2)), (height, (nx - 1) * pitch))[:, :width]


def _drawing_table(waves: Waves) -> np.ndarray:
    """Return (nx - 1, 4K, pitch): what the fields at two nodes are multiplied with to give M
    between them."""
    n, pitch, width = len(waves.nodes[1]) - 1, waves.pitch, waves.shape[1]
    value = np.zeros((n * pitch, 2 * len(waves.indices)))
    cos, sin = waves.column_waves
    value[:width] = np.concatenate([cos, -sin], axis=1)
    share = ((np.arange(n * pitch) % pitch + 0.5) / pitch)[:, None]
    table = np.concatenate([(1 - share) * value, share * value], axis=1)
    return np.asarray(table.reshape(n, pitch, -1).transpose(0, 2, 1))


@lru_cache(maxsize=16)
def _hann_windows(n: int, pitch: int) -> np.ndarray:
    nodes = np.arange(-(-n // pitch) + 1) * pitch - 0.5
    return np.asarray(
        np.cos(np.pi / 2 * np.clip((np.arange(n) - nodes[:, None]) / pitch, -1, 1)) ** 2
    )


def _phases(waves: Waves, axis: int, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of 2 pi g . (place - moved), as products of powers of the two waves of the
    basis."""
    place = -moved
    place[:, axis] += np.arange(len(moved))
    both = np.exp(2j * np.pi * (place @ waves.basis.T))
    order = int(np.abs(waves.indices).max(initial=0))
    powers = np.ones((2 * order + 1, *both.shape), dtype=complex)
    for n in range(1, order + 1):
        powers[order + n] = powers[order + n - 1] * both
        powers[order - n] = np.conj(powers[order + n])
    h, k = (waves.indices + order).T
    turned = (powers[h, :, 0] * powers[k, :, 1]).T
    return turned.real, turned.imag

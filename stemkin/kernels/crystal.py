"""The perfect crystal of a frame, fitted locally: what the frame would show had it no defect.

The crystal is a sum of a few plane waves, M(r) = A_0(r) + sum_k Re[A_k(r) exp(2 pi i g_k . r)], one per reflection of
the measured lattice, whose amplitudes A_k vary slowly: so thickness, background, strain and aberrations are followed,
while one missing atom is not. Amplitudes are measured on square tiles and averaged with a Gaussian over a few unit
cells. A scanning probe also displaces each row a little along x (scan-line jitter); that displacement s(y) is measured
by regressing each row's remainder on dM/dx, and put into the *model* as a phase, so that no pixel is resampled.

Everything is matrix products of the array-API standard, one frame at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.fourier import reduce_basis
from stemkin.kernels.lattice import Lattice

MAX_ORDER = 3
"""Reflections up to this multiple of the shortest reciprocal vector; beyond, no probe transfers contrast."""


@dataclass(frozen=True, eq=False)
class Waves:
    """Plane waves on a frame, and the tiles on which their amplitudes are measured.

    Attributes
    ----------
    indices
        (K, 2) whole numbers h, k; the first is (0, 0), the background.
    frequencies
        (K, 2) g = h b1 + k b2 (y, x) [cycles per px].
    tile
        Edge of a tile [px].
    shape
        (height, width) of the frame [px].
    """

    indices: np.ndarray
    frequencies: np.ndarray
    tile: int
    shape: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tiles along y and x; the last ones may reach beyond the frame."""
        return -(-self.shape[0] // self.tile), -(-self.shape[1] // self.tile)


def waves_of(basis: np.ndarray, shape: tuple[int, int], *, tile: int | None = None) -> Waves:
    """List the plane waves of a lattice that the frame's pixels can show.

    Parameters
    ----------
    basis
        (2, 2) reciprocal vectors as rows (y, x) [cycles per px].
    shape
        (height, width) [px].
    tile
        Edge of a tile [px]; about 1.5 lattice planes unless given.
    """
    shortest = float(np.linalg.norm(basis, axis=1).min())
    order = np.arange(-MAX_ORDER - 1, MAX_ORDER + 2)
    h, k = (index.ravel() for index in np.meshgrid(order, order, indexing="ij"))
    g = h[:, None] * basis[0] + k[:, None] * basis[1]
    length = np.linalg.norm(g, axis=1)
    half = (h > 0) | ((h == 0) & (k >= 0))
    kept = np.flatnonzero(half & (length <= (MAX_ORDER + 0.1) * shortest) & (np.abs(g) < 0.46).all(axis=1))
    kept = kept[np.argsort(length[kept], kind="stable")]
    edge = int(np.clip(round(1.5 / shortest), 8, 32)) if tile is None else tile
    return Waves(np.stack([h, k], axis=1)[kept], g[kept], edge, shape)


def row_sums(frame: Array, waves: Waves) -> Array:
    """Sum ``frame * exp(-2 pi i g_x x)`` over each row of each tile.

    Returns
    -------
    (nx, h, 2K): for each column of tiles, each row, the K real parts and then the K imaginary parts; h is a whole number
    of tiles, rows beyond the frame are 0.
    """
    xp = namespace(frame)
    ny, nx = waves.grid
    tile, (height, width) = waves.tile, waves.shape
    padded = frame
    if width < nx * tile:
        padded = xp.concat([padded, xp.zeros((height, nx * tile - width), dtype=frame.dtype)], axis=1)
    if height < ny * tile:
        padded = xp.concat([padded, xp.zeros((ny * tile - height, nx * tile), dtype=frame.dtype)], axis=0)
    columns = xp.permute_dims(xp.reshape(padded, (ny * tile, nx, tile)), (1, 0, 2))
    cos, sin = _tables(waves.frequencies[:, 1], nx * tile)
    table = np.concatenate([cos, -sin], axis=1).reshape(nx, tile, -1)
    return xp.matmul(columns, xp.asarray(table, dtype=frame.dtype))


def tile_sums(rows: Array, waves: Waves, jitter: np.ndarray | None = None) -> np.ndarray:
    """Sum ``frame * exp(-2 pi i g . (r - jitter))`` over each tile.

    Parameters
    ----------
    rows
        As `row_sums` gives them.
    waves
        The same waves.
    jitter
        (height,) displacement of each row along x [px].

    Returns
    -------
    (ny, nx, K) complex sums, on the host.
    """
    xp = namespace(rows)
    ny, nx = waves.grid
    n = len(waves.indices)
    cos, sin = (xp.asarray(a, dtype=rows.dtype) for a in _row_phases(waves, jitter))
    real, imag = rows[:, :, :n], rows[:, :, n:]
    split = (nx, ny, waves.tile, n)
    total_real = xp.sum(xp.reshape(real * cos + imag * sin, split), axis=2)
    total_imag = xp.sum(xp.reshape(imag * cos - real * sin, split), axis=2)
    return np.asarray(to_host(total_real) + 1j * to_host(total_imag)).transpose(1, 0, 2)


def refine_basis(sums: np.ndarray, waves: Waves, *, n_rounds: int = 4) -> tuple[np.ndarray, float]:
    """Refine the reciprocal vectors from how the phases of the tiles' amplitudes turn across the frame.

    Parameters
    ----------
    sums
        (ny, nx, K) as `tile_sums` gives them.
    waves
        The waves with which the sums were made.

    Returns
    -------
    (2, 2) correction to the reciprocal vectors (rows, y, x) [cycles per px], and the coherence: the share (0..1) of the
    first reflections' amplitude that adds up in phase over the whole frame.
    """
    y, x = tile_centres(waves)
    chosen = np.flatnonzero((waves.indices != 0).any(axis=1))[:6]
    h = waves.indices[chosen].astype(float)
    amplitude = sums[:, :, chosen]
    change = np.zeros((2, 2))
    coherence = 0.0
    for _ in range(n_rounds):
        shift = h @ change
        turned = amplitude * np.exp(-2j * np.pi * (y[:, None, None] * shift[:, 0] + x[None, :, None] * shift[:, 1]))
        mean = turned.sum(axis=(0, 1))
        coherence = float(np.abs(mean).sum() / max(np.abs(turned).sum(), 1e-30))
        phase = np.angle(turned * np.conj(mean)) / (2 * np.pi)
        weight = np.abs(turned) ** 2 * np.exp(-((phase / 0.2) ** 2))
        total = weight.sum(axis=(0, 1))
        cy = y[:, None, None] - (weight * y[:, None, None]).sum(axis=(0, 1)) / total
        cx = x[None, :, None] - (weight * x[None, :, None]).sum(axis=(0, 1)) / total
        normal, right = np.zeros((4, 4)), np.zeros(4)
        for i, (hi, ki) in enumerate(h):
            w, p = weight[:, :, i], phase[:, :, i]
            design = np.stack(
                [hi * cy[:, :, i] + 0 * p, hi * cx[:, :, i] + 0 * p, ki * cy[:, :, i] + 0 * p, ki * cx[:, :, i] + 0 * p]
            )
            normal += np.einsum("ayx,byx,yx->ab", design, design, w)
            right += np.einsum("ayx,yx->a", design, w * p)
        change = change + np.linalg.lstsq(normal, right, rcond=1e-10)[0].reshape(2, 2)
    return change, coherence


def with_basis_change(sums: np.ndarray, waves: Waves, change: np.ndarray) -> tuple[np.ndarray, Waves]:
    """Return the sums and waves after the reciprocal vectors moved by a small `change` (2, 2)."""
    shift = waves.indices @ change
    y, x = tile_centres(waves)
    turn = np.exp(-2j * np.pi * (y[:, None, None] * shift[:, 0] + x[None, :, None] * shift[:, 1]))
    return sums * turn, Waves(waves.indices, waves.frequencies + shift, waves.tile, waves.shape)


def tile_centres(waves: Waves) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres y (ny,) and x (nx,) of the tiles [px]."""
    ny, nx = waves.grid
    return (np.arange(ny) + 0.5) * waves.tile - 0.5, (np.arange(nx) + 0.5) * waves.tile - 0.5


def tile_areas(waves: Waves) -> np.ndarray:
    """Return how many pixels of the frame each tile holds, (ny, nx)."""
    inside = [
        np.clip(n - np.arange(tiles) * waves.tile, 0, waves.tile)
        for n, tiles in zip(waves.shape, waves.grid, strict=True)
    ]
    return np.outer(*inside).astype(float)


def smooth_amplitudes(sums: np.ndarray, waves: Waves, *, sd_px: float, areas: np.ndarray | None = None) -> np.ndarray:
    """Average the tiles' amplitudes with a Gaussian of standard deviation `sd_px`; edges are normalised.

    Returns
    -------
    (ny, nx, K) complex amplitudes A_k such that the model is ``A_0 + sum Re[A_k exp(2 pi i g_k . r)]``.
    """
    y, x = tile_centres(waves)
    gy, gx = (np.exp(-0.5 * ((c[:, None] - c[None, :]) / sd_px) ** 2) for c in (y, x))
    areas = tile_areas(waves) if areas is None else areas
    smooth = np.einsum("ij,jkc->ikc", gy, np.einsum("kl,jlc->jkc", gx, sums))
    double = np.where((waves.indices == 0).all(axis=1), 1.0, 2.0)
    return np.asarray(double * smooth / (gy @ areas @ gx.T)[:, :, None])


def render(
    amplitudes: np.ndarray, waves: Waves, like: Array, *, jitter: np.ndarray | None = None
) -> tuple[Array, Array]:
    """Draw the model and its derivative along x.

    Parameters
    ----------
    amplitudes
        (ny, nx, K) as `smooth_amplitudes` gives them.
    waves
        The same waves.
    like
        Any array of the wanted library, type and device.
    jitter
        (height,) displacement of each row along x [px].

    Returns
    -------
    model, slope
        (y, x) arrays: M and dM/dx [per px].
    """
    xp = namespace(like)
    tile, (height, width) = waves.tile, waves.shape
    nx = waves.grid[1]
    across = _along_y(amplitudes, waves)  # (height, nx, K) complex
    cos, sin = _row_phases(waves, jitter)
    turned = across * (cos + 1j * sin)[:height, None, :]
    slope = np.gradient(turned, axis=1) / tile if nx > 1 else np.zeros_like(turned)
    stacked = np.concatenate([turned.real, turned.imag, slope.real, slope.imag], axis=2).transpose(1, 0, 2)
    cos_x, sin_x = _tables(waves.frequencies[:, 1], nx * tile)
    offset = (np.arange(nx * tile) % tile - (tile - 1) / 2)[:, None]
    rate = 2 * np.pi * waves.frequencies[:, 1]
    value = np.concatenate([cos_x, -sin_x, offset * cos_x, -offset * sin_x], axis=1)
    derivative = np.concatenate([-rate * sin_x, -rate * cos_x, -offset * rate * sin_x, -offset * rate * cos_x], axis=1)
    table = (
        np.stack([value, derivative], axis=2).reshape(nx, tile, -1, 2).transpose(0, 2, 3, 1).reshape(nx, -1, 2 * tile)
    )
    drawn = xp.matmul(xp.asarray(stacked, dtype=like.dtype), xp.asarray(table, dtype=like.dtype))
    both = xp.permute_dims(xp.reshape(drawn, (nx, height, 2, tile)), (2, 1, 0, 3))
    both = xp.reshape(both, (2, height, nx * tile))[:, :, :width]
    return both[0], both[1]


def row_jitter(rest: Array, slope: Array, weight: Array, *, limit_px: float) -> np.ndarray:
    """Measure how far each row is displaced along x.

    Parameters
    ----------
    rest
        (y, x) frame minus model.
    slope
        (y, x) dM/dx [per px].
    weight
        (y, x) inverse variance of `rest`, 0 where a pixel is not to be used.
    limit_px
        No row is moved further than this [px].

    Returns
    -------
    (height,) displacements [px], shrunk towards 0 by the share of their scatter that noise explains.
    """
    xp = namespace(rest)
    weighted = slope * weight
    top = to_host(xp.sum(weighted * rest, axis=1)).astype(float)
    bottom = to_host(xp.sum(weighted * slope, axis=1)).astype(float)
    bottom = np.maximum(bottom, 1e-12 + 1e-3 * bottom.max())
    raw, variance = -top / bottom, 1 / bottom
    spread = max(float(np.median(raw**2) / 0.455 - np.median(variance)), 0.0)
    return np.clip(raw * spread / (spread + variance), -limit_px, limit_px)


def lattice_of(basis: np.ndarray, sums: np.ndarray, waves: Waves, *, quality: float) -> Lattice:
    """Return the real-space lattice: canonical vectors (see `Lattice`), and where the unit cell is brightest.

    Parameters
    ----------
    basis
        (2, 2) reciprocal vectors as rows (y, x) [cycles per px].
    sums
        (ny, nx, K) as `tile_sums` gives them, for `waves`.
    quality
        Handed on to the `Lattice`.
    """
    coefficients = sums.sum(axis=(0, 1)) * (waves.indices != 0).any(axis=1)
    a1, a2 = reduce_basis(np.linalg.inv(basis).T)
    a2 = a2 if a1 @ a2 >= 0 else -a2
    a1, a2 = (a1, a2) if a1[1] * a2[0] > a1[0] * a2[1] else (a2, a1)
    steps = np.stack(np.meshgrid(np.arange(24), np.arange(24), indexing="ij"), axis=-1).reshape(-1, 2) / 24
    cell = steps @ np.stack([a1, a2])
    values = _cell_value(coefficients, waves, cell)
    metal = _climb(coefficients, waves, cell[np.argmax(values)])
    middle = (np.array(waves.shape) - 1) / 2
    vectors = np.stack([a1, a2])
    metal = metal + np.round((middle - metal) @ np.linalg.inv(vectors)) @ vectors
    lengths = np.linalg.norm(a1), np.linalg.norm(a2)
    is_honeycomb = bool(
        abs(np.log(lengths[0] / lengths[1])) < 0.1 and 0.38 < a1 @ a2 / (lengths[0] * lengths[1]) < 0.62
    )
    if is_honeycomb:
        plus, minus = _cell_value(coefficients, waves, metal + np.outer([1, -1], (a1 + a2) / 3))
        a1, a2 = (a1, a2) if plus >= minus else (-a1, -a2)
        a1, a2 = max([(a1, a2), (a2 - a1, -a1), (-a2, a1 - a2)], key=lambda pair: float(pair[0][1]))
        return Lattice(a1, a2, metal, metal + (a1 + a2) / 3, quality)
    far = (
        np.array([np.linalg.norm(steps - corner, axis=1) for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]).min(axis=0)
        > 0.3
    )
    second = metal + cell[far][np.argmax(_cell_value(coefficients, waves, metal + cell[far]))]
    return Lattice(a1, a2, metal, second, quality, is_honeycomb=False)


def _cell_value(coefficients: np.ndarray, waves: Waves, points: np.ndarray) -> np.ndarray:
    """Return the mean unit cell at the (m, 2) `points`, up to a factor and a constant."""
    return np.asarray((coefficients * np.exp(2j * np.pi * points @ waves.frequencies.T)).sum(axis=1).real)


def _climb(coefficients: np.ndarray, waves: Waves, point: np.ndarray) -> np.ndarray:
    """Return the maximum of the mean unit cell close to `point`, by Newton's method."""
    g = waves.frequencies
    for _ in range(6):
        wave = coefficients * np.exp(2j * np.pi * (g @ point))
        gradient = -2 * np.pi * (wave.imag[:, None] * g).sum(axis=0)
        hessian = -4 * np.pi**2 * np.einsum("k,ka,kb->ab", wave.real, g, g)
        if np.linalg.eigvalsh(hessian).max() >= 0:
            return point
        point = point - np.linalg.solve(hessian, gradient)
    return point


def _along_y(amplitudes: np.ndarray, waves: Waves) -> np.ndarray:
    """Interpolate (ny, nx, K) linearly between the tiles' centres to every row: (height, nx, K)."""
    height = waves.shape[0]
    centres, _ = tile_centres(waves)
    position = np.clip((np.arange(height) - centres[0]) / waves.tile, 0, len(centres) - 1)
    low = np.minimum(position.astype(int), max(len(centres) - 2, 0))
    high = np.minimum(low + 1, len(centres) - 1)
    share = (position - low)[:, None, None]
    return np.asarray(amplitudes[low] * (1 - share) + amplitudes[high] * share)


def _tables(frequencies: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    phase = 2 * np.pi * np.outer(np.arange(n), frequencies)
    return np.cos(phase), np.sin(phase)


def _row_phases(waves: Waves, jitter: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin (rows, K) of ``2 pi (g_y y - g_x s(y))`` for every row of the tiles."""
    rows = waves.grid[0] * waves.tile
    phase: Any = np.outer(np.arange(rows), waves.frequencies[:, 0])
    if jitter is not None:
        phase[: len(jitter)] -= np.outer(jitter, waves.frequencies[:, 1])
    return np.cos(2 * np.pi * phase), np.sin(2 * np.pi * phase)

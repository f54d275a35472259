"""The perfect crystal of a frame, fitted locally: what the frame would show had it no defect.

The crystal is a sum of a few plane waves, M(r) = A_0(r) + sum_k Re[A_k(r) exp(2 pi i g_k . (r - u(r)))], one per
reflection of the measured lattice, whose amplitudes A_k vary slowly: so thickness, background and aberrations are
followed, while one missing atom is not. Amplitudes are measured on square tiles and averaged with a Gaussian over a few
unit cells.

u(r) is what the scan did to the image: each row and each column is displaced a little, ``u = rows[y] + columns[x]``
(flyback distortion along x, drift and scan-line jitter along y). It enters the *model* as phases, so no pixel is resampled.

Everything that touches pixels is a matrix product of the array-API standard, one frame at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array, namespace, to_host

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
    rows, columns
        (height, 2) and (width, 2) displacements (y, x) [px] of the rows and columns by the scan.
    """

    indices: np.ndarray
    frequencies: np.ndarray
    tile: int
    shape: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray

    @property
    def basis(self) -> np.ndarray:
        """(2, 2) reciprocal vectors as rows (y, x) [cycles per px]."""
        return np.asarray(np.linalg.lstsq(self.indices.astype(float), self.frequencies, rcond=None)[0])

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tiles along y and x; the last ones may reach beyond the frame."""
        return -(-self.shape[0] // self.tile), -(-self.shape[1] // self.tile)

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres y (ny,) and x (nx,) of the tiles [px]."""
        ny, nx = self.grid
        return (np.arange(ny) + 0.5) * self.tile - 0.5, (np.arange(nx) + 0.5) * self.tile - 0.5

    @property
    def areas(self) -> np.ndarray:
        """(ny, nx) how many pixels of the frame each tile holds."""
        inside = [
            np.clip(n - np.arange(tiles) * self.tile, 0, self.tile)
            for n, tiles in zip(self.shape, self.grid, strict=True)
        ]
        return np.outer(*inside).astype(float)

    def only(self, kept: np.ndarray) -> Waves:
        """Return the waves whose numbers are `kept`."""
        return replace(self, indices=self.indices[kept], frequencies=self.frequencies[kept])


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
    kept = np.flatnonzero(half & (length <= (MAX_ORDER + 0.2) * shortest) & (np.abs(g) < 0.46).all(axis=1))
    kept = kept[np.argsort(length[kept], kind="stable")]
    edge = int(np.clip(round(1.5 / shortest), 6, 32)) if tile is None else tile
    still = np.zeros((shape[0], 2)), np.zeros((shape[1], 2))
    return Waves(np.stack([h, k], axis=1)[kept], g[kept], edge, shape, *still)


def row_sums(frame: Array, waves: Waves) -> Array:
    """Sum ``frame * exp(-2 pi i (g_x x - g . columns[x]))`` over each row of each tile.

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
    cos, sin = _column_waves(waves)
    table = np.concatenate([cos, -sin], axis=1).reshape(nx, tile, -1)
    return xp.matmul(columns, xp.asarray(table, dtype=frame.dtype))


def tile_sums(rows: Array, waves: Waves) -> np.ndarray:
    """Sum ``frame * exp(-2 pi i g . (r - u))`` over each tile.

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
    ny, nx = waves.grid
    n = len(waves.indices)
    cos, sin = (xp.asarray(a, dtype=rows.dtype) for a in _row_waves(waves))
    real, imag = rows[:, :, :n], rows[:, :, n:]
    split = (nx, ny, waves.tile, n)
    total_real = xp.sum(xp.reshape(real * cos + imag * sin, split), axis=2)
    total_imag = xp.sum(xp.reshape(imag * cos - real * sin, split), axis=2)
    return np.asarray(to_host(total_real) + 1j * to_host(total_imag)).transpose(1, 0, 2)


def smooth_amplitudes(sums: np.ndarray, waves: Waves, *, sd_px: float | np.ndarray) -> np.ndarray:
    """Average the tiles' amplitudes with a Gaussian; edges are normalised.

    Parameters
    ----------
    sums
        (ny, nx, K) as `tile_sums` gives them.
    waves
        The same waves.
    sd_px
        Standard deviation of the Gaussian [px], for all waves or (K,) for each.

    Returns
    -------
    (ny, nx, K) complex amplitudes A_k such that the model is ``A_0 + sum Re[A_k exp(2 pi i g_k . (r - u))]``.
    """
    smooth = np.empty_like(sums)
    each = np.broadcast_to(np.asarray(sd_px, dtype=float), sums.shape[2:])
    for sd in np.unique(each):
        gy, gx = (np.exp(-0.5 * ((c[:, None] - c[None, :]) / sd) ** 2) for c in waves.centres)
        mine = each == sd
        part = np.tensordot(gy, sums[:, :, mine], axes=1)
        smooth[:, :, mine] = np.matmul(gx, part) / (gy @ waves.areas @ gx.T)[:, :, None]
    double = np.where((waves.indices == 0).all(axis=1), 1.0, 2.0)
    return np.asarray(double * smooth)


def render(amplitudes: np.ndarray, waves: Waves, like: Array) -> tuple[Array, Array]:
    """Draw the model and its derivative along x.

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
    model, slope
        (y, x) arrays: M and dM/dx [per px].
    """
    xp = namespace(like)
    tile, (height, width) = waves.tile, waves.shape
    ny, nx, n = amplitudes.shape
    change = np.gradient(amplitudes, axis=1) / tile if nx > 1 else np.zeros_like(amplitudes)
    fields = np.stack([amplitudes.real, amplitudes.imag, change.real, change.imag], axis=2)
    upsample = xp.asarray(_between_tiles(waves), dtype=like.dtype)
    stretched = xp.matmul(upsample, xp.asarray(fields.reshape(ny, -1), dtype=like.dtype))
    stretched = xp.reshape(stretched, (height, nx, 2, 2, n))
    cos, sin = (xp.asarray(a[:height, None, None, :], dtype=like.dtype) for a in _row_waves(waves))
    real, imag = stretched[:, :, :, 0, :], stretched[:, :, :, 1, :]
    turned = xp.concat([real * cos - imag * sin, real * sin + imag * cos], axis=3)
    turned = xp.permute_dims(xp.reshape(turned, (height, nx, 4 * n)), (1, 0, 2))
    drawn = xp.matmul(turned, xp.asarray(_drawing_table(waves), dtype=like.dtype))
    both = xp.permute_dims(xp.reshape(drawn, (nx, height, 2, tile)), (2, 1, 0, 3))
    both = xp.reshape(both, (2, height, nx * tile))[:, :, :width]
    return both[0, ...], both[1, ...]


def _drawing_table(waves: Waves) -> np.ndarray:
    """Return (nx, 4K, 2 tile): what one row of a tile's fields is multiplied with to give M and dM/dx along it."""
    nx, tile = waves.grid[1], waves.tile
    cos, sin = _column_waves(waves)
    offset = (np.arange(nx * tile) % tile - (tile - 1) / 2)[:, None]
    rate = 2 * np.pi * waves.frequencies[:, 1]
    value = np.concatenate([cos, -sin, offset * cos, -offset * sin], axis=1)
    slope = np.concatenate([-rate * sin, -rate * cos, -offset * rate * sin, -offset * rate * cos], axis=1)
    table = np.stack([value, slope], axis=1).reshape(nx, tile, 2, -1)
    return table.transpose(0, 3, 2, 1).reshape(nx, -1, 2 * tile)


def _between_tiles(waves: Waves) -> np.ndarray:
    """Return the (height, ny) weights that interpolate linearly between the tiles' centres."""
    height, ny = waves.shape[0], waves.grid[0]
    position = np.clip((np.arange(height) - waves.centres[0][0]) / waves.tile, 0, ny - 1)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(ny)), 0)


def _column_waves(waves: Waves) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin (columns, K) of ``2 pi (g_x x - g . columns[x])`` for every column of the tiles."""
    return _phases(waves.grid[1] * waves.tile, waves.frequencies, 1, waves.columns)


def _row_waves(waves: Waves) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin (rows, K) of ``2 pi (g_y y - g . rows[y])`` for every row of the tiles."""
    return _phases(waves.grid[0] * waves.tile, waves.frequencies, 0, waves.rows)


def _phases(n: int, frequencies: np.ndarray, axis: int, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place = np.zeros((n, 2))
    place[:, axis] = np.arange(n)
    place[: len(moved)] -= moved
    phase = 2 * np.pi * (place @ frequencies.T)
    return np.cos(phase), np.sin(phase)

"""A crystal drawn from the amplitudes of its plane waves, the same everywhere or varying slowly.

A wave is a product of a function of the row and one of the column, so a frame is the product of two
small matrices, of the array-API standard, in the library and type of the frame that it is compared
with.

>>> from stemkin.kernels.crystal.waves import waves_of
>>> waves = waves_of(np.array([[0.1, 0.0], [0.0, 0.1]]), (40, 40))
>>> amplitudes = np.where((waves.indices == [1, 0]).all(axis=1), 3.0 + 0j, 0.0)
>>> y, x = np.mgrid[:40, :40]
>>> bool(np.allclose(draw_mean(amplitudes, waves, np.zeros(1)), 3 * np.cos(2 * np.pi * 0.1 * y)))
True
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stemkin.devices import Array, namespace
from stemkin.kernels.crystal.amplitudes import turned_by
from stemkin.kernels.crystal.waves import Waves


def draw_mean(amplitudes: np.ndarray, waves: Waves, like: Array) -> Array:
    """Draw the crystal whose amplitudes are the same everywhere.

    Parameters
    ----------
    amplitudes
        (K,) complex, as `amplitudes.mean_amplitudes` gives them.
    waves
        K plane waves.
    like
        Any array of the wanted library, type and device.

    Returns
    -------
    (y, x) array.
    """
    return _drawn([amplitudes], waves, like)


def draw_mean_and_slopes(
    amplitudes: np.ndarray, waves: Waves, like: Array
) -> tuple[Array, Array, Array]:
    """Draw M as `draw_mean` does, with dM/dy and dM/dx.

    Parameters
    ----------
    amplitudes
        (K,) complex, as `amplitudes.mean_amplitudes` gives them.
    waves
        K plane waves.
    like
        Any array of the wanted library, type and device.

    Returns
    -------
    M, dM/dy and dM/dx [per px], each (y, x).
    """
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
    columns = np.ascontiguousarray(np.concatenate(waves.column_waves, axis=1).T)
    return xp.matmul(xp.asarray(rows, dtype=like.dtype), xp.asarray(columns, dtype=like.dtype))


def draw_local(amplitudes: np.ndarray, waves: Waves, like: Array) -> Array:
    """Draw the crystal whose amplitudes differ from node to node, linear in between.

    Parameters
    ----------
    amplitudes
        (ny, nx, K) complex, as `amplitudes.smooth_amplitudes` gives them.
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
    # First along y: the fields of each column of nodes (K real parts, then K imaginary parts) are
    # interpolated to every row and turned by the waves along y.
    parts = np.concatenate([amplitudes.real, amplitudes.imag], axis=2)
    fields = xp.asarray(parts.transpose(1, 2, 0).reshape(-1, ny), dtype=like.dtype)
    away = np.abs(np.arange(height) - waves.nodes[0][:, None]) / pitch
    weights = xp.asarray(np.maximum(1 - away, 0), dtype=like.dtype)
    stretched = xp.reshape(xp.matmul(fields, weights), (nx, 2 * n, height))
    cos, sin = (xp.asarray(np.ascontiguousarray(a.T), dtype=like.dtype) for a in waves.row_waves)
    turned = turned_by(stretched, cos, sin)
    # Then along x: the strip between nodes j and j + 1 is one product of the fields of both with a
    # table that holds interpolation and waves together; strips come back first, hence the turn.
    table = xp.asarray(_drawing_table(waves), dtype=like.dtype)
    if isinstance(turned, np.ndarray):
        # the fields of two nodes lie behind each other: nothing is copied
        flat = turned.reshape(-1, height)
        both = sliding_window_view(flat, 4 * n, axis=0)[:: 2 * n]
        drawn = np.empty((height, (nx - 1) * pitch), turned.dtype)
        strips = drawn.reshape(height, nx - 1, pitch).transpose(1, 0, 2)
        np.matmul(both, table, out=strips)
        return drawn[:, :width]
    turned = xp.concat([turned[:-1, :, :], turned[1:, :, :]], axis=1)
    drawn = xp.matmul(xp.permute_dims(turned, (0, 2, 1)), table)
    return xp.reshape(xp.permute_dims(drawn, (1, 0, 2)), (height, (nx - 1) * pitch))[:, :width]


def _drawing_table(waves: Waves) -> np.ndarray:
    """Return (nx - 1, 4K, pitch): what the fields at two nodes are multiplied with between them."""
    n, pitch, width = len(waves.nodes[1]) - 1, waves.pitch, waves.shape[1]
    value = np.zeros((n * pitch, 2 * len(waves.indices)))
    cos, sin = waves.column_waves
    value[:width] = np.concatenate([cos, -sin], axis=1)
    # pixel i of a strip lies (i + 1/2) / pitch behind its left node, which is half a pixel before
    share = ((np.arange(n * pitch) % pitch + 0.5) / pitch)[:, None]
    table = np.concatenate([(1 - share) * value, share * value], axis=1)
    return np.asarray(table.reshape(n, pitch, -1).transpose(0, 2, 1))

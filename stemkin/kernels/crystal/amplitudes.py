"""The amplitudes of a crystal's plane waves: around nodes, by lines, of a whole frame.

Amplitudes are measured through Hann windows around the nodes of a coarse grid (their side lobes are
so low that one reflection does not leak into another) and averaged with a Gaussian over a few unit
cells. Everything that touches pixels is a matrix product of the array-API standard, one frame at a
time.

>>> from stemkin.kernels.crystal.waves import waves_of
>>> waves = waves_of(np.array([[0.1, 0.0], [0.0, 0.1]]), (80, 80))
>>> y, x = np.mgrid[:80, :80]
>>> found = mean_amplitudes(line_sums(5 + 3 * np.cos(2 * np.pi * 0.1 * y), waves), waves)
>>> strong = abs(found) > 0.01
>>> waves.indices[strong].tolist(), abs(found[strong]).round(6).tolist()
([[0, 0], [1, 0]], [5.0, 3.0])
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.crystal.waves import Waves


def row_sums(frame: Array, waves: Waves) -> Array:
    """Sum each row under the windows of the columns of nodes, its waves along x turned back.

    The sum is that of ``frame * exp(-2 pi i (g_x x - g . columns[x]))``.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    waves
        K plane waves on a grid of (ny, nx) nodes.

    Returns
    -------
    (nx, 2K, height): the K real parts and then the K imaginary parts.
    """
    xp = namespace(frame)
    (height, width), pitch = waves.shape, waves.pitch
    n = len(waves.nodes[1]) - 1
    cos, sin = waves.column_waves
    window = np.sin(np.pi * (np.arange(2 * pitch) + 0.5) / (2 * pitch)) ** 2
    table = np.zeros(((n + 2) * pitch, 2 * len(waves.indices)))
    table[pitch : pitch + width] = np.concatenate([cos, -sin], axis=1)
    by_strip = table.reshape(n + 2, pitch, -1)
    by_node = np.concatenate([by_strip[:-1], by_strip[1:]], axis=1) * window[:, None]
    tables = xp.asarray(np.ascontiguousarray(by_node.transpose(0, 2, 1)), dtype=frame.dtype)
    # The frame is cut into strips one pitch wide, with an empty strip before and one after, so the
    # window of node j is the strips j and j + 1 beside each other. The same was done to the table
    # of waves, so that one batched product says all sums.
    if isinstance(frame, np.ndarray):
        padded = np.zeros((height, (n + 2) * pitch), frame.dtype)
        padded[:, pitch : pitch + width] = frame
        # windows share their pixels: nothing is copied, and each is a matrix in the padded one
        columns = sliding_window_view(padded, 2 * pitch, axis=1)[:, ::pitch]
        return np.matmul(tables, columns.transpose(1, 2, 0))
    margin = xp.zeros((height, pitch), dtype=frame.dtype)
    beyond = xp.zeros((height, (n + 1) * pitch - width), dtype=frame.dtype)
    strips = xp.reshape(xp.concat([margin, frame, beyond], axis=1), (height, n + 2, pitch))
    strips = xp.permute_dims(strips, (1, 0, 2))
    columns = xp.concat([strips[:-1, :, :], strips[1:, :, :]], axis=2)
    return xp.matmul(tables, xp.permute_dims(columns, (0, 2, 1)))


def node_sums(rows: Array, waves: Waves) -> np.ndarray:
    """Sum ``frame * exp(-2 pi i g . (r - u))`` over the window of each node.

    Parameters
    ----------
    rows
        (nx, 2K, height) as `row_sums` gives them.
    waves
        The same waves; only their `rows` may have changed.

    Returns
    -------
    (ny, nx, K) complex sums, on the host.
    """
    xp = namespace(rows)
    n = len(waves.indices)
    cos, sin = (xp.asarray(np.ascontiguousarray(a.T), dtype=rows.dtype) for a in waves.row_waves)
    turned = turned_by(rows, cos, -sin)
    windows = xp.asarray(np.ascontiguousarray(waves.windows[0].T), dtype=rows.dtype)
    total = to_host(xp.matmul(turned, windows))
    return np.asarray(total[:, :n, :] + 1j * total[:, n:, :]).transpose(2, 0, 1)


def turned_by(parts: Array, cos: Array, sin: Array) -> Array:
    """Multiply complex numbers with the waves of their rows.

    Parameters
    ----------
    parts
        (n, 2K, height): K real parts and then K imaginary parts, any library; of NumPy they are
        overwritten.
    cos, sin
        (K, height) of the waves.

    Returns
    -------
    (n, 2K, height) products.
    """
    if isinstance(parts, np.ndarray):
        _turn_in_place(parts, cos, sin)
        return parts
    n = int(cos.shape[0])
    real, imag = parts[:, :n, :], parts[:, n:, :]
    turned = [real * cos - imag * sin, real * sin + imag * cos]
    return namespace(parts).concat(turned, axis=1)


@compiled
def _turn_in_place(parts: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Do what `turned_by` says to `parts`."""
    n = len(cos)
    for i in range(len(parts)):
        for k in range(n):
            real, imag = parts[i, k], parts[i, n + k]
            for y in range(parts.shape[2]):
                was = real[y]
                real[y] = was * cos[k, y] - imag[y] * sin[k, y]
                imag[y] = was * sin[k, y] + imag[y] * cos[k, y]


def windowed_sums(frame: Array, waves: Waves) -> np.ndarray:
    """Sum a frame over the windows of all nodes: `row_sums`, then `node_sums`.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    waves
        K plane waves on a grid of (ny, nx) nodes.

    Returns
    -------
    (ny, nx, K) complex sums, on the host.
    """
    return node_sums(row_sums(frame, waves), waves)


def node_areas(mask: Array | None, waves: Waves) -> np.ndarray:
    """Sum a mask over the windows of the nodes.

    Parameters
    ----------
    mask
        (y, x) of 0 and 1, any library; None is a mask of ones.
    waves
        Plane waves on a grid of (ny, nx) nodes.

    Returns
    -------
    (ny, nx) sums [px2], on the host.
    """
    if mask is None:
        return np.outer(*(window.sum(axis=1) for window in waves.windows))
    xp = namespace(mask)
    y, x = (xp.asarray(window, dtype=mask.dtype) for window in waves.windows)
    return to_host(xp.matmul(xp.matmul(y, mask), x.T)).astype(float)


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
    return np.asarray(_conjugates_counted(waves) * smooth)


def even_scale(
    sums: np.ndarray, areas: np.ndarray, waves: Waves, sds_px: tuple[float, ...]
) -> float:
    """Choose the longest length over which the amplitudes may be averaged since they do not change.

    Each node's amplitudes are predicted from the nodes around it, those whose windows overlap with
    its own left out (cross-validation); lengths are tried from the longest on, until a shorter one
    predicts worse. In a flat, even crystal the longest is taken.

    Parameters
    ----------
    sums, areas
        (ny, nx, K) and (ny, nx), as `node_sums` and `node_areas` give them.
    waves
        Plane waves on the same nodes.
    sds_px
        Standard deviations [px] to choose from.

    Returns
    -------
    One of `sds_px`.
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
    """Return how much of the nodes' parts (ny, nx, 2K), real or imaginary, others do not tell."""
    gy, gx = (
        np.exp(-0.5 * (np.subtract.outer(c, c) / sd_px) ** 2).astype(np.float32)
        for c in waves.nodes
    )
    around, weight = np.zeros_like(flat), np.zeros_like(areas)
    # all nodes, less the 3 x 3 whose windows overlap with the node's own: both sums factorise into
    # y and x, their difference does not
    for sign, fy, fx in ((1, gy, gx), (-1, _overlapping(gy), _overlapping(gx))):
        around += sign * np.matmul(fx, (fy @ flat.reshape(len(fy), -1)).reshape(flat.shape))
        weight += sign * (fy @ areas @ fx)
    known = weight > 1e-2 * weight.max()
    miss = flat - (areas / np.where(known, weight, 1.0))[:, :, None] * around
    return float(((miss**2).sum(axis=2) * known / np.maximum(areas, 1.0)).sum())


def _overlapping(g: np.ndarray) -> np.ndarray:
    """Return of `g` (n, n) what belongs to nodes whose windows overlap: those beside each."""
    number = np.arange(len(g))
    return np.where(np.abs(np.subtract.outer(number, number)) <= 1, g, np.float32(0))


def line_sums(frame: Array, waves: Waves) -> np.ndarray:
    """Sum ``frame * exp(-2 pi i (g_x x - g . columns[x]))`` over each whole row.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    waves
        K plane waves.

    Returns
    -------
    (height, K) complex sums, on the host.
    """
    xp = namespace(frame)
    cos, sin = waves.column_waves
    table = xp.asarray(np.concatenate([cos, -sin], axis=1), dtype=frame.dtype)
    total = to_host(xp.matmul(frame, table))
    return np.asarray(total[:, : cos.shape[1]] + 1j * total[:, cos.shape[1] :])


def mean_amplitudes(lines: np.ndarray, waves: Waves) -> np.ndarray:
    """Measure the amplitudes of a whole frame, defined as for `smooth_amplitudes`.

    Parameters
    ----------
    lines
        (height, K) as `line_sums` gives them.
    waves
        The same waves; only their `rows` may have changed.

    Returns
    -------
    (K,) complex amplitudes.
    """
    cos, sin = waves.row_waves
    total = (lines * (cos - 1j * sin)).sum(axis=0) / (waves.shape[0] * waves.shape[1])
    return np.asarray(_conjugates_counted(waves) * total)


def decoupled(amplitudes: np.ndarray, waves: Waves) -> np.ndarray:
    """Free mean amplitudes of what waves leave in each other in a frame of no whole periods.

    That is about one part in pi times the number of lattice planes, and would displace the lattice
    by as much of a period. The overlaps are products of sums over rows and over columns; one step
    of Jacobi's iteration leaves their square.

    Parameters
    ----------
    amplitudes
        (K,) as `mean_amplitudes` gives them.
    waves
        The same waves.

    Returns
    -------
    (K,) complex amplitudes.
    """
    phases = [cos + 1j * sin for cos, sin in (waves.row_waves, waves.column_waves)]
    like, unlike = (np.ones((len(amplitudes),) * 2, complex) for _ in range(2))
    for wave in phases:
        like *= np.conj(wave.T) @ wave / len(wave)
        unlike *= np.conj(wave.T @ wave) / len(wave)
    # M is the sum of halves exp(i ...) and their complex conjugates; the background, which is its
    # own conjugate, counts once
    halves = np.where(waves.is_background, 1.0, 0.5) * amplitudes
    turning = np.where(waves.is_background, 0.0, 1.0) * np.conj(halves)
    seen = like @ halves + unlike @ turning
    return np.asarray(_conjugates_counted(waves) * (2 * halves - seen))


def _conjugates_counted(waves: Waves) -> np.ndarray:
    """Return (K,) 2 where a wave stands for g and -g, 1 for the background."""
    return np.where(waves.is_background, 1.0, 2.0)

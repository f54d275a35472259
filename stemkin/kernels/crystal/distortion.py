"""What the scan did to the lattice: mean strain and slow distortion; `jitter` is that of single lines.

The phase of a reflection g turns by -2 pi g . u where the image is displaced by u, so the phases of
a few reflections on a grid of nodes tell u there (geometric phase: Hytch, Snoeck & Kilaas,
Ultramicroscopy 74, 131 (1998)). Neighbouring nodes are compared first, so that a
displacement of many lattice vectors across the frame is followed (no phase is ever unwrapped over
more than one step).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.crystal.waves import Waves

JITTER = 0.15
"""Largest displacement of a single row over the lattice constant."""

WINDOW_SHARE = 9 / 16
"""Hann windows that overlap by half add up to one; the noise of their sum has 16 / 9 of the power
that it would have were they apart."""

CLEAR_COHERENCE = 0.6
"""So coherent no noise becomes by following it."""

FOLLOWED = 6.0
"""So many noise powers for each line of nodes make it worth while to follow lines one by one."""


@dataclass(frozen=True, eq=False)
class Straightened:
    """A frame's waves, freed of what the scan did to them, and how surely they are there.

    Attributes
    ----------
    waves
        With corrected reciprocal vectors, `rows` and `columns`.
    coherence
        The share (0..1) of the reflections' amplitude that adds up in phase over the frame.
    power
        (K,) power of each wave over the whole frame, over what noise alone would give.
    sums
        (ny, nx, K) the sums of the nodes within the frame, turned back into phase.
    local
        (ny, nx, K) the same as they were.
    frequencies
        (K, 2) the reflections (y, x) [cycles per px] with which they were made.
    """

    waves: Waves
    coherence: float
    power: np.ndarray
    sums: np.ndarray
    local: np.ndarray
    frequencies: np.ndarray


def straighten(sums: np.ndarray, waves: Waves, *, max_change: float = np.inf) -> Straightened:
    """Measure the mean lattice and the slow distortion of rows and columns.

    Where the reflections are so weak that single lines of nodes tell little, only the mean lattice
    is measured: following noise from line to line would add up to a random walk.

    Parameters
    ----------
    sums
        (ny, nx, K) as `amplitudes.node_sums` gives them for a few of the shortest reflections,
        without the background; those with little amplitude have little weight.
    waves
        The waves with which they were made, about right.
    max_change
        Lines are not followed where that changes the lattice by a larger share: they then lead
        through holes, from one piece of the crystal to another.

    Returns
    -------
    The corrected waves.
    """
    g = np.ascontiguousarray(waves.frequencies)
    # only nodes whose window lies within the frame
    inner = tuple(_whole(window) for window in waves.windows)
    local = np.ascontiguousarray(sums[np.ix_(*inner)], dtype=np.complex128)
    rows, columns = _followed(local, g)
    turned = local * _turns(g, rows, columns)
    noise = _node_noise(turned)
    even_rows, even_columns = _mean_slopes(local, g)
    even = local * _turns(g, even_rows, even_columns)
    # following has two numbers for each line of nodes; noise alone gains about one noise power each
    gain = ((_total_power(turned) - _total_power(even)) / np.maximum(noise, 1e-30)).sum()
    gain *= WINDOW_SHARE / max(turned[..., 0].size, 1)
    is_sure = _coherence(turned) >= CLEAR_COHERENCE
    is_sure = is_sure or gain >= FOLLOWED * (len(rows) + len(columns))
    straight = _straightened(waves, inner, rows, columns)
    if not is_sure or _change(straight.basis, waves.basis) > max_change:
        turned, noise = even, _node_noise(even)
        straight = _straightened(waves, inner, even_rows, even_columns)
    n_nodes = max(turned[..., 0].size, 1)
    power = _total_power(turned) * WINDOW_SHARE / n_nodes / np.maximum(noise, 1e-30)
    return Straightened(straight, _coherence(turned), power, turned, local, g)


@compiled
def _followed(local: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return displacements (ny, 2), (nx, 2) of the lines of nodes, followed from one to the next.

    The phase of a product with the conjugate of the neighbour's sum is that of one step, and steps
    are added up from the first node on.
    """
    ny, nx, n = local.shape
    rows, columns = np.zeros((ny, 2)), np.zeros((nx, 2))
    products = np.empty(n, np.complex128)
    for i in range(1, ny):
        for k in range(n):
            products[k] = 0
            for j in range(nx):
                products[k] += local[i, j, k] * local[i - 1, j, k].conjugate()
        y, x = _displacement(products, g)
        rows[i, 0], rows[i, 1] = rows[i - 1, 0] + y, rows[i - 1, 1] + x
    for j in range(1, nx):
        for k in range(n):
            products[k] = 0
            for i in range(ny):
                products[k] += local[i, j, k] * local[i, j - 1, k].conjugate()
        y, x = _displacement(products, g)
        columns[j, 0], columns[j, 1] = columns[j - 1, 0] + y, columns[j - 1, 1] + x
    # added steps add up their errors too: every line of nodes is compared with the whole frame
    for _ in range(2):
        _put_right(local, rows, columns, g, 0)
        _put_right(local, rows, columns, g, 1)
    return rows, columns


@compiled
def _put_right(
    local: np.ndarray, rows: np.ndarray, columns: np.ndarray, g: np.ndarray, axis: int
) -> None:
    """Put lines of nodes right, `columns` (axis 0) or `rows` (1), against the phase of them all.

    The sums (ny, nx, K) are added up along `axis`, turned back by what `rows` and `columns` say.
    """
    ny, nx, n = local.shape
    turns = _turns(g, rows, columns)
    moved = columns
    if axis == 1:
        moved = rows
    lines, whole = np.zeros((len(moved), n), np.complex128), np.zeros(n, np.complex128)
    for i in range(ny):
        for j in range(nx):
            own = j
            if axis == 1:
                own = i
            for k in range(n):
                turned = local[i, j, k] * turns[i, j, k]
                lines[own, k] += turned
                whole[k] += turned.conjugate()
    for own in range(len(moved)):
        for k in range(n):
            lines[own, k] *= whole[k]
        y, x = _displacement(lines[own], g)
        moved[own, 0] += y
        moved[own, 1] += x


@compiled
def _mean_slopes(local: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return displacements (ny, 2), (nx, 2) of the lines of nodes that grow evenly: mean strain.

    Nodes ever farther apart are compared, all pairs together, each time with what is known so far.
    """
    ny, nx, n = local.shape
    rows, columns = np.zeros((ny, 2)), np.zeros((nx, 2))
    down, across = np.empty(n, np.complex128), np.empty(n, np.complex128)
    lag = 1
    while lag < max(2, max(ny, nx) // 2):
        turns = _turns(g, rows, columns)
        for k in range(n):
            down[k], across[k] = 0, 0
            for i in range(ny):
                for j in range(nx):
                    turned = local[i, j, k] * turns[i, j, k]
                    if i >= lag:
                        before = local[i - lag, j, k] * turns[i - lag, j, k]
                        down[k] += turned * before.conjugate()
                    if j >= lag:
                        before = local[i, j - lag, k] * turns[i, j - lag, k]
                        across[k] += turned * before.conjugate()
        if lag < ny:
            _grow(rows, _displacement(down, g), lag)
        if lag < nx:
            _grow(columns, _displacement(across, g), lag)
        lag *= 2
    return rows, columns


@compiled
def _grow(moved: np.ndarray, step: tuple[float, float], lag: int) -> None:
    """Let displacements (n, 2) grow by a step over so many lines."""
    for i in range(len(moved)):
        moved[i, 0] += i * (step[0] / lag)
        moved[i, 1] += i * (step[1] / lag)


def _straightened(
    waves: Waves, inner: tuple[np.ndarray, ...], rows: np.ndarray, columns: np.ndarray
) -> Waves:
    """Return the waves freed of the displacements of the lines of the `inner` nodes."""
    y, x = waves.nodes
    rows, columns = _straight_on(y[inner[0]], rows, y), _straight_on(x[inner[1]], columns, x)
    return _split_off_strain(waves, rows, columns)


def _change(basis: np.ndarray, known: np.ndarray) -> float:
    """Return by what share a `basis` (2, 2) differs from a `known` one."""
    return float(np.linalg.norm(basis - known) / np.linalg.norm(known))


def _coherence(turned: np.ndarray) -> float:
    """Return the share of the amplitude of the sums (ny, nx, K) that adds up."""
    return float(np.abs(turned.sum(axis=(0, 1))).sum() / max(np.abs(turned).sum(), 1e-30))


def _total_power(turned: np.ndarray) -> np.ndarray:
    """Return (K,) the power of the sums (ny, nx, K) over all nodes."""
    return np.asarray(np.abs(turned.sum(axis=(0, 1))) ** 2)


def _node_noise(turned: np.ndarray) -> np.ndarray:
    """Return (K,) the power that the sums (ny, nx, K) have beside their mean."""
    return np.asarray((np.abs(turned - turned.mean(axis=(0, 1))) ** 2).mean(axis=(0, 1)))


def _split_off_strain(waves: Waves, rows: np.ndarray, columns: np.ndarray) -> Waves:
    """Put the mean slope of the displacements into the basis, the rest into rows and columns."""
    y, x = waves.nodes
    weight_y, weight_x = (window.sum(axis=1) for window in waves.windows)
    slope_y, rows = _detrend(y, rows, weight_y)
    slope_x, columns = _detrend(x, columns, weight_x)
    # row i holds d u / d r_i, so g . (r - u) turns by -(gradient g) . r: what g loses
    gradient = np.stack([slope_y, slope_x])
    return replace(
        waves,
        basis=waves.basis - waves.basis @ gradient.T,
        rows=waves.rows + _to_pixels(y, rows, waves.shape[0]),
        columns=waves.columns + _to_pixels(x, columns, waves.shape[1]),
    )


def _detrend(c: np.ndarray, u: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope (2,) of `u` (n, 2) along `c` (n,), and `u` without its straight line."""
    if len(c) < 2:
        return np.zeros(2), np.zeros_like(u)
    centre = (weight @ c) / weight.sum()
    mean = (weight @ u) / weight.sum()
    slope = (weight * (c - centre)) @ (u - mean) / (weight @ (c - centre) ** 2)
    return slope, u - mean - np.outer(c - centre, slope)


def _whole(window: np.ndarray) -> np.ndarray:
    """Return the numbers of the nodes whose windows (n, length) lie within the frame.

    All where at most one does: a displacement needs two.
    """
    area = window.sum(axis=1)
    whole = np.flatnonzero(area > 0.95 * area.max())
    if len(whole) > 1:
        return whole
    return np.arange(len(area))


def _straight_on(inner: np.ndarray, u: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Continue `u` (m, 2), known at the nodes `inner`, to all `nodes` (n,) along straight lines."""
    low = np.clip(np.searchsorted(inner, nodes) - 1, 0, len(inner) - 2)
    share = ((nodes - inner[low]) / (inner[low + 1] - inner[low]))[:, None]
    return np.asarray(u[low] * (1 - share) + u[low + 1] * share)


def _to_pixels(nodes: np.ndarray, u: np.ndarray, n: int) -> np.ndarray:
    """Interpolate `u` (nodes, 2) to every pixel (n, 2)."""
    return np.stack([np.interp(np.arange(n), nodes, u[:, axis]) for axis in (0, 1)], axis=1)


@compiled
def _turns(g: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return (ny, nx, K) factors that undo the displacement of the nodes."""
    turns = np.empty((len(rows), len(columns), len(g)), np.complex128)
    across = np.empty((len(columns), len(g)), np.complex128)
    for k in range(len(g)):
        for j in range(len(columns)):
            angle = 2 * np.pi * (columns[j, 0] * g[k, 0] + columns[j, 1] * g[k, 1])
            across[j, k] = complex(math.cos(angle), math.sin(angle))
        for i in range(len(rows)):
            angle = 2 * np.pi * (rows[i, 0] * g[k, 0] + rows[i, 1] * g[k, 1])
            down = complex(math.cos(angle), math.sin(angle))
            for j in range(len(columns)):
                turns[i, j, k] = down * across[j, k]
    return turns


def displacements(products: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Solve for the displacement that explains the phases of reflections, by least squares.

    The phase of a reflection turns by -2 pi g . u; each has the weight of its amplitude.

    Parameters
    ----------
    products
        (..., K) complex amplitudes, over those without displacement.
    g
        (K, 2) reflections (y, x) [cycles per px].

    Returns
    -------
    (..., 2) displacement (y, x) [px].
    """
    lines = np.ascontiguousarray(products, dtype=complex).reshape(-1, len(g))
    moved = _displacements(lines, np.ascontiguousarray(g))
    return np.asarray(moved.reshape(*products.shape[:-1], 2))


@compiled
def _displacements(products: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return the displacements (n, 2) of products (n, K)."""
    moved = np.empty((len(products), 2))
    for i in range(len(products)):
        moved[i, 0], moved[i, 1] = _displacement(products[i], g)
    return moved


@compiled
def _displacement(products: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    """Return the displacement y, x of products (K,)."""
    yy, yx, xx, right_y, right_x = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(g)):
        weight = abs(products[k])
        phase = math.atan2(products[k].imag, products[k].real)
        gy, gx = g[k, 0], g[k, 1]
        yy += weight * gy * gy
        yx += weight * gy * gx
        xx += weight * gx * gx
        right_y -= weight * phase * gy / (2 * np.pi)
        right_x -= weight * phase * gx / (2 * np.pi)
    # reflections in one direction tell one component; the other is then taken as 0
    ridge = 1e-6 * (yy + xx) + 1e-30
    yy, xx = yy + ridge, xx + ridge
    determinant = yy * xx - yx * yx
    y, x = xx * right_y - yx * right_x, yy * right_x - yx * right_y
    return y / determinant, x / determinant

"""What the scan did to the lattice: mean strain, slow distortion of rows and columns, and the
jitter of single lines.

The phase of a reflection g turns by -2 pi g . u where the image is displaced by u, so the phases of
a few reflections on a grid of nodes tell u there. Neighbouring nodes are compared first, so that a
displacement of many lattice vectors across the frame is followed (no phase is ever unwrapped over
more than one step).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.crystal.waves import Waves

JITTER = 0.15
"""Largest displacement of a single row over the lattice constant."""


def straighten(sums: np.ndarray, waves: Waves) -> tuple[Waves, float]:
    """Measure the mean lattice and the slow distortion of rows and columns.

    Parameters
    ----------
    sums
        (ny, nx, K) as `crystal.node_sums` gives them for a few of the shortest reflections, without
        the background; those with little amplitude have little weight.
    waves
        The waves with which they were made, about right.

    Returns
    -------
    waves
        With corrected reciprocal vectors, `rows` and `columns`.
    coherence
        The share (0..1) of the reflections' amplitude that now adds up in phase over the frame.
    """
    g = waves.frequencies
    inner = tuple(_whole(window) for window in waves.windows)
    local = sums[np.ix_(*inner)]
    step_y = _displacement(local[1:] * np.conj(local[:-1]), g, axes=1)
    step_x = _displacement(local[:, 1:] * np.conj(local[:, :-1]), g, axes=0)
    rows = np.concatenate([np.zeros((1, 2)), np.cumsum(step_y, axis=0)])
    columns = np.concatenate([np.zeros((1, 2)), np.cumsum(step_x, axis=0)])
    for _ in range(2):
        turned = local * _turns(g, rows, columns)
        columns = columns + _displacement(turned * np.conj(turned.sum(axis=(0, 1))), g, axes=0)
        turned = local * _turns(g, rows, columns)
        rows = rows + _displacement(turned * np.conj(turned.sum(axis=(0, 1))), g, axes=1)
    turned = local * _turns(g, rows, columns)
    coherence = float(np.abs(turned.sum(axis=(0, 1))).sum() / max(np.abs(turned).sum(), 1e-30))
    y, x = waves.nodes
    rows, columns = _straight_on(y[inner[0]], rows, y), _straight_on(x[inner[1]], columns, x)
    return _split_off_strain(waves, rows, columns), coherence


def row_displacements(
    rest: Array, slopes: Sequence[Array], weight: Array, *, window: np.ndarray, limit_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Measure how far each row is displaced beyond what the model knows, by regressing it on the
    model's derivatives.

    Parameters
    ----------
    rest
        (y, x) frame minus model.
    slopes
        (y, x) dM/dy and dM/dx [per px].
    weight
        (y, x) inverse variance of `rest`.
    window
        (n, height) windows over which rows were averaged when the slow distortion was measured.
    limit_px
        No row is moved further than this along either axis [px].

    Returns
    -------
    moved
        (height, 2) displacements (y, x) [px]. Each is shrunk towards 0 by the share of its scatter
        that noise explains (ridge regression whose prior variance is the measured one), so rows of
        a steady scan stay where they are.
    hidden
        (2,) standard deviation (y, x) [px] of what the slow distortion has taken of displacements
        that differ from row to row: their mean over a window, in which rows between the columns of
        atoms hardly count.
    """
    xp = namespace(rest)
    tops, bottoms = [], {}
    for a, slope in enumerate(slopes):
        weighted = slope * weight
        tops.append(-to_host(xp.vecdot(weighted, rest)).astype(float))
        for b in range(a + 1):
            bottoms[a, b] = to_host(xp.vecdot(weighted, slopes[b])).astype(float)
    hidden = []
    normal = np.array([[bottoms[0, 0], bottoms[1, 0]], [bottoms[1, 0], bottoms[1, 1]]]).transpose(
        2, 0, 1
    )
    for a in (0, 1):
        information = np.maximum(normal[:, a, a], 1e-6 * normal[:, a, a].max() + 1e-12)
        raw = np.clip(tops[a] / information, -limit_px, limit_px)
        spread = float((information**2 * (raw**2 - 1 / information)).sum() / (information**2).sum())
        spread = max(spread, 1e-6 * limit_px**2)
        counts = window * information
        share = (counts**2).sum(axis=1) / np.maximum(counts.sum(axis=1), 1e-30) ** 2
        hidden.append(np.sqrt(spread * float(np.median(share))))
        normal[:, a, a] = information + 1 / spread
    moved = np.linalg.solve(normal, np.stack(tops, axis=1)[:, :, None])[:, :, 0]
    return np.clip(moved, -limit_px, limit_px), np.array(hidden)


def _split_off_strain(waves: Waves, rows: np.ndarray, columns: np.ndarray) -> Waves:
    """Put the mean slope of the displacements into the reciprocal vectors, the rest into `rows` and
    `columns`."""
    y, x = waves.nodes
    weight_y, weight_x = (window.sum(axis=1) for window in waves.windows)
    slope_y, rows = _detrend(y, rows, weight_y)
    slope_x, columns = _detrend(x, columns, weight_x)
    gradient = np.stack([slope_y, slope_x])  # d u / d (y, x)
    fields = _to_pixels(y, rows, waves.shape[0]), _to_pixels(x, columns, waves.shape[1])
    basis = waves.basis - waves.basis @ gradient.T
    return replace(
        waves, basis=basis, rows=waves.rows + fields[0], columns=waves.columns + fields[1]
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
    """Return the numbers of the nodes whose windows (n, length) lie within the frame; all where
    none or one does."""
    area = window.sum(axis=1)
    whole = np.flatnonzero(area > 0.95 * area.max())
    return whole if len(whole) > 1 else np.arange(len(area))


def _straight_on(inner: np.ndarray, u: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Continue `u` (m, 2), known at the nodes `inner`, to all `nodes` (n,) along straight lines."""
    low = np.clip(np.searchsorted(inner, nodes) - 1, 0, len(inner) - 2)
    share = ((nodes - inner[low]) / (inner[low + 1] - inner[low]))[:, None]
    return np.asarray(u[low] * (1 - share) + u[low + 1] * share)


def _to_pixels(nodes: np.ndarray, u: np.ndarray, n: int) -> np.ndarray:
    """Interpolate `u` (nodes, 2) to every pixel (n, 2)."""
    return np.stack([np.interp(np.arange(n), nodes, u[:, axis]) for axis in (0, 1)], axis=1)


def _turns(g: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return (ny, nx, K) factors that undo the displacement of the nodes."""
    return np.asarray(
        np.exp(2j * np.pi * (rows @ g.T)[:, None, :])
        * np.exp(2j * np.pi * (columns @ g.T)[None, :, :])
    )


def _displacement(products: np.ndarray, g: np.ndarray, *, axes: int) -> np.ndarray:
    """Return the displacement (m, 2) [px] that explains the phases of complex `products` (ny, nx,
    K), pooled over `axes`."""
    return displacements(products.sum(axis=axes), g)


def displacements(products: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return the displacement (..., 2) [px] that explains the phases of complex `products` (..., K)
    of reflections `g` (K, 2).

    The phase of a reflection turns by -2 pi g . u; least squares, each with the weight of its
    amplitude.
    """
    weight, phase = np.abs(products), np.angle(products)
    normal = np.einsum("...k,ka,kb->...ab", weight, g, g)
    right = -np.einsum("...k,ka->...a", weight * phase, g) / (2 * np.pi)
    ridge = 1e-6 * np.trace(normal, axis1=-2, axis2=-1)[..., None, None] * np.eye(
        2
    ) + 1e-30 * np.eye(2)
    return np.asarray(np.linalg.solve(normal + ridge, right[..., None])[..., 0])

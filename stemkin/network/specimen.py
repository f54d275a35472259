"""How a movie looks, in a dozen numbers: enough to draw frames of its kind with known defects.

From one frame without its crystal (`residual.remove_crystal`) follow the lattice, the image of a
column and the weights of both kinds of columns (from the reflections), the counting noise (from the
remainder) and the scan-line jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.crystal.grains import draw_grain
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.residual import Remainder
from stemkin.kernels.crystal.waves import Waves
from stemkin.kernels.images.filters import noise_of

WIDTHS = np.arange(0.07, 0.27, 0.01)
"""Standard deviations of the image of a column that are tried, over the lattice constant."""

TAILS = ((0.0, 1.0), (0.06, 2.2), (0.12, 2.2), (0.2, 2.2))
"""Shares of a column's image that lie in a broad tail, and the tail's width over that of the core,
that are tried."""

LEAST_GAIN = 0.05
"""Where the noise hardly grows with the intensity: a gain so small, over variance / mean, that
counts have even noise."""


@dataclass(frozen=True)
class Specimen:
    """What is measured on a frame, in units of counted electrons where it is an intensity.

    Attributes
    ----------
    spacing_px, angle_deg
        Lattice constant and direction of a1.
    is_honeycomb
        Whether the second kind of columns sits in the middle of a triangle of the first.
    vectors, second
        a1, a2 and the step from the first kind of columns to the second, each (y, x) over the
        lattice constant.
    weights
        Volume [counts px2] of the image of one column of either kind.
    probe_px, tail_fraction, tail_px
        Width of a column's image, and share and width of its tail.
    background
        Counts per pixel that no column explains; what read noise there is counts as some of it,
        since it only adds variance.
    jitter_px
        Standard deviations (y, x) of the displacement of single rows.
    """

    spacing_px: float
    angle_deg: float
    is_honeycomb: bool
    vectors: tuple[tuple[float, float], tuple[float, float]]
    second: tuple[float, float]
    weights: tuple[float, float]
    probe_px: float
    tail_fraction: float
    tail_px: float
    background: float
    jitter_px: tuple[float, float]

    @property
    def lattice(self) -> Lattice:
        """The lattice, a column of the first kind at (0, 0)."""
        a1, a2 = self.spacing_px * np.array(self.vectors)
        return Lattice(
            a1, a2, np.zeros(2), self.spacing_px * np.array(self.second), np.inf, self.is_honeycomb
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Specimen:
        """Rebuild a specimen from `as_dict`, also after a trip through JSON."""
        plain: dict[str, Any] = {f.name: _tuples(values[f.name]) for f in fields(cls)}
        return cls(**plain)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def measure(frame: Array, rest: Remainder) -> Specimen:
    """Measure one frame.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    rest
        The same frame without its crystal.

    Raises
    ------
    ValueError
        If the frame has no lattice.
    """
    if not rest.grains:
        msg = "this frame has no lattice, so it tells no specimen; take one that shows the crystal"
        raise ValueError(msg)
    xp = namespace(frame)
    grain = rest.grains[0]
    lattice = grain.lattice
    variance, gain = _noise(rest.rest, draw_grain(frame - xp.mean(frame), grain))
    probe_px, tail, weights = column_image(grain.mean, grain.waves, lattice)
    # Variance is counts * gain**2: so many electrons, each worth `gain` of the frame's unit.
    # Columns alone give `density` per pixel; what is more is background.
    density = sum(weights) / abs(np.linalg.det(np.stack([lattice.a1, lattice.a2])))
    gain = max(gain, LEAST_GAIN * variance / density)
    counts = variance / gain**2
    spacing = lattice.spacing_px
    jitter = np.sqrt(np.maximum(rest.jitter.var(axis=0), 0.0))
    return Specimen(
        spacing_px=spacing,
        angle_deg=lattice.angle_deg,
        is_honeycomb=lattice.is_honeycomb,
        vectors=(_pair(lattice.a1 / spacing), _pair(lattice.a2 / spacing)),
        second=_pair(lattice.bond / spacing),
        weights=_pair(np.array(weights) / gain),
        probe_px=probe_px,
        tail_fraction=tail[0],
        tail_px=tail[1] * probe_px,
        background=max(counts - density / gain, 0.02 * counts),
        jitter_px=_pair(jitter),
    )


def typical(specimens: Sequence[Specimen]) -> Specimen:
    """Return the median of each number over several specimens.

    Angles and vectors are those of the specimen whose lattice constant is in the middle.
    """
    spacings = [s.spacing_px for s in specimens]
    middle = specimens[int(np.argsort(spacings, kind="stable")[(len(spacings) - 1) // 2])]
    values = middle.as_dict()
    for name in ("weights", "probe_px", "tail_fraction", "tail_px", "background", "jitter_px"):
        median = np.median([getattr(s, name) for s in specimens], axis=0)
        values[name] = float(median) if median.ndim == 0 else _pair(median)
    return Specimen.from_dict(values)


def column_image(
    amplitudes: np.ndarray, waves: Waves, lattice: Lattice
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Fit the image of a column to the reflections of the crystal.

    A_g = 2 t(g) / cell (w_1 + w_2 exp(-2 pi i g . second)).

    Parameters
    ----------
    amplitudes
        (n,) complex amplitudes of the crystal's waves, in the frame's unit.
    waves
        Their frequencies (n, 2) [1/px], and which of them are background.
    lattice
        Where columns stand.

    Returns
    -------
    Standard deviation of the core [px]; share of the tail and its width over that of the core; the
    weights (volumes) of the two kinds of columns, in the frame's unit times px2.
    """
    # Phases count from a metal column, so the metal's share of each amplitude is real. For given
    # widths the two weights are linear: real and imaginary parts are rows of one least squares.
    g = waves.frequencies[~waves.is_background]
    seen = amplitudes[~waves.is_background] * np.exp(2j * np.pi * g @ lattice.metal)
    cell = abs(np.linalg.det(np.stack([lattice.a1, lattice.a2])))
    columns = np.stack([np.ones(len(g)), np.exp(-2j * np.pi * g @ lattice.bond)], axis=1)
    g2 = (g**2).sum(axis=1)
    best: tuple[float, float, tuple[float, float], np.ndarray] | None = None
    for sd in WIDTHS * lattice.spacing_px:
        for share, wider in TAILS:
            transfer = (1 - share) * np.exp(-2 * np.pi**2 * sd**2 * g2)
            transfer += share * np.exp(-2 * np.pi**2 * (wider * sd) ** 2 * g2)
            matrix = 2 / cell * transfer[:, None] * columns
            both = np.concatenate([matrix.real, matrix.imag])
            wanted = np.concatenate([seen.real, seen.imag])
            weights = np.linalg.lstsq(both, wanted, rcond=None)[0]
            miss = float(((both @ weights - wanted) ** 2).sum())
            if best is None or miss < best[0]:
                best = (miss, float(sd), (share, wider), weights)
    assert best is not None
    first, second = np.maximum(best[3], [1e-12, 0.0])
    return best[1], best[2], (float(first), float(second))


def _noise(rest: Array, model: Array) -> tuple[float, float]:
    """Return the variance at the frame's mean level, and its growth per unit of intensity.

    `noise_of` asks a tenth of the pixels; here all tenths are asked.
    """
    values = to_host(model)
    row, column = (
        int(i) for i in np.unravel_index(values[:-1, :-4].argmax(), values[:-1, :-4].shape)
    )
    # A start moved by (dy, dx) makes another tenth the one that is asked. (row, column) is the
    # brightest pixel; `at` is the same pixel counted from that start.
    levels, slopes = [], []
    for dy in range(2):
        for dx in range(5):
            part = slice(dy * (row >= dy), None), slice(dx * (column >= dx), None)
            variance, slope = noise_of(rest[part], model[part])
            at = row - part[0].start, column - part[1].start
            levels.append(float(to_host(variance)[at]) - slope * float(values[row, column]))
            slopes.append(slope)
    return float(np.mean(levels)), float(np.mean(slopes))


def _pair(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])

"""What a scanning probe is to record: a crystal as one matrix product, changed columns as stamps.

A perfect crystal is a sum of few plane waves, I(y, x) = sum_G c_G exp(2 pi i (G_y y + G_x x)), and
each plane wave is a product of a function of the row and a function of the column of the scan. So a
whole frame is the product of a (height, m) and a (m, width) matrix, exact to the last reflection
kept, for any rotation, drift, scan-line jitter and row-wise flicker: these only change the row
factors. Columns of atoms that differ from the crystal are added as Gaussians.

The factors are rounded to a grid coarse enough for their product to be free of rounding in double
precision (`on_grid`), so every BLAS, with any number of threads, gives the same bits.

>>> wave = np.array([[0.0, 0.1]])
>>> rows = on_grid(row_factors(wave, np.array([1.0 + 0j]), np.arange(4.0), np.zeros(4)), ROW_BITS)
>>> image = rows @ column_factors(wave, 10)
>>> image.shape, bool(np.allclose(image[0], np.cos(2 * np.pi * 0.1 * np.arange(10)), atol=1e-6))
((4, 10), True)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.crystal.lattice import Lattice

ROW_BITS, COLUMN_BITS = 24, 21
"""Bits kept of the two factors; with up to 2**8 terms their sums stay below the 53 bits of a
double."""

STAMP_CUT = 1e-4
"""A column's image is drawn as far as it is above this fraction of its peak."""

N_CLIMBS = 30
"""Weighted means after which the middle of a probe stands still: each is closer by half and more."""

AT_ONCE = 64
"""Columns drawn at once, so that their images stay in a core's own cache."""


@dataclass(frozen=True)
class Probe:
    """The image of one point: a Gaussian core with a weak, broad tail, of unit volume.

    Aberrations are drawn as lobes: what astigmatism, coma and threefold astigmatism do to a probe
    is a core that stands in several places.

    Attributes
    ----------
    sd_px
        Standard deviation of the core [px].
    tail_fraction
        Share of the volume that lies in the tail, 0 to 1.
    tail_sd_px
        Standard deviation of the tail [px].
    lobes
        (share, dy, dx): which share of the core lies by how much [px] beside the point.
    """

    sd_px: float
    tail_fraction: float = 0.0
    tail_sd_px: float = 1.0
    lobes: tuple[tuple[float, float, float], ...] = ()

    @property
    def core(self) -> Probe:
        """The probe without its tail."""
        return Probe(self.sd_px, lobes=self.lobes)

    @property
    def offset(self) -> np.ndarray:
        """Where the image (y, x) [px] of a point is seen: the middle of the Gaussian that fits best.

        Lobes to one side move the image of every atom alike, which nobody can tell from the atoms
        being there. It is the maximum of the core seen through a filter as wide as itself, to which
        weighted means climb.
        """
        weights, places = np.ones(1), np.zeros((1, 2))
        if self.lobes:
            shares, dy, dx = np.array(self.lobes).T
            weights = np.concatenate([[1.0 - shares.sum()], shares])
            places = np.concatenate([places, np.stack([dy, dx], axis=1)])
        middle = weights @ places
        for _ in range(N_CLIMBS):
            away = ((places - middle) ** 2).sum(axis=1)
            seen = weights * np.exp(-away / (4 * self.sd_px**2))
            middle = seen @ places / seen.sum()
        return np.asarray(middle)

    @property
    def parts(self) -> tuple[tuple[float, float, float, float], ...]:
        """(weight, sd [px], dy [px], dx [px]) of each Gaussian that takes part."""
        whole = 1.0 - self.tail_fraction
        middle = whole * (1.0 - sum(share for share, _, _ in self.lobes))
        parts = [(middle, self.sd_px, 0.0, 0.0)]
        parts += [(whole * share, self.sd_px, dy, dx) for share, dy, dx in self.lobes]
        if self.tail_fraction > 0:
            parts.append((self.tail_fraction, self.tail_sd_px, 0.0, 0.0))
        return tuple(part for part in parts if part[0] != 0)

    def transfer(self, frequencies: np.ndarray) -> np.ndarray:
        """Return the Fourier transform at (m, 2) `frequencies` (y, x) [per px]; 1 at zero."""
        frequency, total = np.hypot(*frequencies.T), np.zeros(len(frequencies), dtype=complex)
        for weight, sd, dy, dx in self.parts:
            turn = np.exp(-2j * np.pi * (frequencies @ np.array([dy, dx])))
            total += weight * np.exp(-2 * (np.pi * sd * frequency) ** 2) * turn
        return total

    def profile(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the intensity per px2 at offsets `y`, `x` [px] from the point."""
        total = np.zeros(np.broadcast(y, x).shape)
        for weight, sd, dy, dx in self.parts:
            r2 = (np.asarray(y) - dy) ** 2 + (np.asarray(x) - dx) ** 2
            total += weight / (2 * np.pi * sd**2) * np.exp(-r2 / (2 * sd**2))
        return total


def crystal_waves(
    lattice: Lattice, weights: tuple[float, float], probe: Probe, *, smallest: float = 1e-6
) -> tuple[np.ndarray, np.ndarray]:
    """List the plane waves of a perfect honeycomb crystal.

    Parameters
    ----------
    lattice
        Vectors and origins [px].
    weights
        Volume of the image of one metal and of one chalcogen column [counts px2].
    probe
        The image of a point.
    smallest
        Reflections weaker than this fraction of the mean are left out.

    Returns
    -------
    frequencies
        (m, 2) G (y, x) [cycles per px], one of each pair G, -G; the first is zero.
    amplitudes
        (m,) complex; I(r) = Re sum_m amplitudes exp(2 pi i G r), the pair's factor 2 included.

    Notes
    -----
    c_G = t(G) / A sum_s w_s exp(-2 pi i G r_s), with A the area of the cell, t the probe's transfer
    and r_s, w_s the place and weight of the two columns (Poisson summation of the periodic sum of
    probe images).
    """
    reciprocal = lattice.reciprocal
    area = abs(np.linalg.det(np.stack([lattice.a1, lattice.a2])))
    n = 12
    h, k = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1), indexing="ij")
    half = (h > 0) | ((h == 0) & (k >= 0))
    hk = np.stack([h[half], k[half]], axis=1)
    frequencies = hk @ reciprocal
    transfer = probe.transfer(frequencies)
    # the background comes first; then by h, then by k
    order = np.lexsort((hk[:, 1], hk[:, 0], (hk != 0).any(axis=1)))
    order = order[np.abs(transfer[order]) > smallest]
    frequencies, transfer = frequencies[order], transfer[order]
    origins = np.stack([lattice.metal, lattice.chalcogen])
    structure = np.exp(-2j * np.pi * frequencies @ origins.T) @ np.asarray(weights)
    pair = np.where((hk[order] == 0).all(axis=1), 1.0, 2.0)
    return frequencies, pair * transfer * structure / area


def row_factors(
    frequencies: np.ndarray, amplitudes: np.ndarray, y: np.ndarray, x0: np.ndarray
) -> np.ndarray:
    """Compute the factors of the rows of a scan: waves at the first pixel of each row.

    Parameters
    ----------
    frequencies, amplitudes
        (m, 2) [cycles per px] and (m,) complex, as from `crystal_waves`.
    y, x0
        (..., height) where each scan row lies on the sample, and where its first pixel does [px].

    Returns
    -------
    (..., height, 2 m), m real parts and then m negated imaginary parts, not yet on a grid.
    """
    phase = 2 * np.pi * (y[..., None] * frequencies[:, 0] + x0[..., None] * frequencies[:, 1])
    waves = amplitudes * np.exp(1j * phase)
    return np.concatenate([waves.real, -waves.imag], axis=-1)


def column_factors(
    frequencies: np.ndarray, width: int, moved: np.ndarray | None = None
) -> np.ndarray:
    """Compute the factors of the columns of a scan, whose pixels are one px apart.

    Parameters
    ----------
    frequencies
        (m, 2) [cycles per px], as from `crystal_waves`.
    width
        Pixels per row.
    moved
        (width, 2) by how much (y, x) [px] the probe is elsewhere in each column, as in `Scan`.

    Returns
    -------
    (2 m, width), m cosines and then m sines, on the grid of `on_grid`.
    """
    phase = 2 * np.pi * frequencies[:, 1, None] * np.arange(width)
    if moved is not None:
        phase = phase + 2 * np.pi * (frequencies @ moved.T)
    return on_grid(np.concatenate([np.cos(phase), np.sin(phase)]), COLUMN_BITS)


def on_grid(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to multiples of 2**-bits of the power of two above the largest magnitude.

    Parameters
    ----------
    values
        Any shape.
    bits
        Bits that are kept of the largest value.

    Returns
    -------
    Same shape.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return values
    step = 2.0 ** (np.ceil(np.log2(largest)) - bits)
    return np.asarray(np.rint(values / step) * step)


@dataclass(frozen=True, eq=False)
class Scan:
    """Where and how strongly one frame was scanned.

    Attributes
    ----------
    row_y, row_x0
        (height,) where each row lies on the sample, and where its first pixel does [px]; rows about
        one px apart.
    beam
        (height,) beam current, relative to its mean.
    moved
        (width, 2) by how much (y, x) [px] the probe is elsewhere in each column, the same in all
        rows; None for nowhere else.
    """

    row_y: np.ndarray
    row_x0: np.ndarray
    beam: np.ndarray
    moved: np.ndarray | None = None


def add_columns(
    image: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    weights: np.ndarray,
    probe: Probe,
    *,
    scan: Scan,
) -> None:
    """Add the images of single columns of atoms to `image`, in place.

    Parameters
    ----------
    image
        (height, width) expected counts.
    y, x
        (m,) places on the sample [px].
    weights
        (m,) volumes [counts px2]; negative where atoms are missing.
    probe
        The image of a point.
    scan
        How the frame was scanned.
    """
    height, width = image.shape
    top, left = float(np.mean(scan.row_y - np.arange(height))), float(np.mean(scan.row_x0))
    for (share, sd, dy, dx), reach in zip(probe.parts, _reaches(probe), strict=True):
        at_y, at_x = y + dy, x + dx
        row, col = np.rint(at_y - top).astype(np.int64), np.rint(at_x - left).astype(np.int64)
        near_y = (row >= -reach) & (row < height + reach)
        near_x = (col >= -reach) & (col < width + reach)
        near = np.flatnonzero(near_y & near_x)
        peak = share / (2 * np.pi * sd**2) * weights
        for start in range(0, len(near), AT_ONCE):
            some = near[start : start + AT_ONCE]
            places = at_y[some], at_x[some], row[some], col[some]
            stamps = _gaussians(*places, peak[some], sd, reach, scan)
            _paste(image, row[some] - reach, col[some] - reach, stamps)


def _reaches(probe: Probe) -> list[int]:
    """Return how far [px] each part of the probe is drawn: to `STAMP_CUT` of the probe's peak."""
    peak = max(share / sd**2 for share, sd, _, _ in probe.parts)
    reaches = []
    for share, sd, _, _ in probe.parts:
        height = share / sd**2 / peak
        radius = sd * np.sqrt(2 * np.log(max(height / STAMP_CUT, 1.0)))
        reaches.append(max(1, int(np.ceil(radius))))
    return reaches


def _gaussians(
    y: np.ndarray,
    x: np.ndarray,
    row: np.ndarray,
    col: np.ndarray,
    peak: np.ndarray,
    sd: float,
    reach: int,
    scan: Scan,
) -> np.ndarray:
    """Return (m, size, size) Gaussians around the pixels `row`, `col`, each row as scanned."""
    window = np.arange(-reach, reach + 1)
    # rows outside the frame are drawn as those of its edge, and then not pasted
    rows = np.clip(row[:, None] + window, 0, len(scan.row_y) - 1)
    dy = ((scan.row_y[rows] - y[:, None]) * (np.sqrt(0.5) / sd))[:, :, None]
    dx = (window + (col - x)[:, None, None] + scan.row_x0[rows][:, :, None]) * (np.sqrt(0.5) / sd)
    if scan.moved is not None:
        columns = np.clip(col[:, None] + window, 0, len(scan.moved) - 1)
        moved = scan.moved[columns] * (np.sqrt(0.5) / sd)
        dy, dx = dy + moved[:, None, :, 0], dx + moved[:, None, :, 1]
    np.multiply(dx, dx, out=dx)
    dx += dy * dy
    stamps = np.exp(np.negative(dx, out=dx), out=dx)
    stamps *= (peak[:, None] * scan.beam[rows])[:, :, None]
    return np.asarray(stamps)


def _paste(image: np.ndarray, top: np.ndarray, left: np.ndarray, stamps: np.ndarray) -> None:
    """Add `stamps` (m, size, size) to `image` with corners at `top`, `left`, as far as inside."""
    height, width = image.shape
    size = stamps.shape[1]
    whole = (top >= 0) & (left >= 0) & (top <= height - size) & (left <= width - size)
    places = zip(top.tolist(), left.tolist(), whole.tolist(), strict=True)
    for (t, f, inside), stamp in zip(places, stamps, strict=True):
        if inside:
            image[t : t + size, f : f + size] += stamp
        else:
            a, b = max(-t, 0), max(-f, 0)
            part = image[t + a : max(t + size, 0), f + b : max(f + size, 0)]
            part += stamp[a : a + part.shape[0], b : b + part.shape[1]]

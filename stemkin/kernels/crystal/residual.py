"""What is left of a frame when the perfect crystal is gone, in units of its own noise.

The crystal of the whole frame is drawn with its mean amplitudes, which fixes the displacement of
every row; then only what differs locally is averaged and added. Where the crystal is broken (holes,
fragments that turned) each grain has a lattice and a mask of its own, and what belongs to none is
compared with its local mean only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.common.medians import median
from stemkin.kernels.crystal import cell
from stemkin.kernels.crystal.division import find_grains, is_broken, one_grain
from stemkin.kernels.crystal.grains import Grain, draw_grain
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, nearest_site
from stemkin.kernels.crystal.lattice_search import Crystal, find_crystal
from stemkin.kernels.crystal.patches import hollow_of
from stemkin.kernels.images.coarse import smooth_from_bins, square_means
from stemkin.kernels.images.filters import (
    Skewness,
    gaussian,
    matched_precision,
    matched_snr,
    weights_of,
)
from stemkin.kernels.images.interpolation import pixels
from stemkin.tables import OK

FILTER_SD = 0.15
"""Standard deviation of the matched filter over the lattice constant where the lattice does not
tell that of the probe."""

FILTER_RANGE = (0.08, 0.2)
"""Smallest and largest standard deviation of the filter over the lattice constant: wider ones see
the neighbours."""

HAZE_SD = 0.8
"""Over the lattice constant: what is left is freed of all that is smoother than this. A missing atom
is five times narrower, and loses a few percent to it."""

FINE_BIN, WIDE_BIN = 0.75, 1.0
"""Least standard deviation of a Gaussian, over the edge of the squares of which it averages means."""

RIM = 0.5
"""Over the lattice constant: how far from the edge of its grain a site is no longer judged."""


@dataclass(frozen=True, eq=False)
class Remainder:
    """A frame without its crystal.

    Attributes
    ----------
    rest
        (y, x) remainder in the frame's own units.
    noise_units
        (y, x) remainder over its standard deviation.
    snr
        (y, x) matched-filter signal-to-noise, signed: dark defects are negative; 0 where no crystal
        is.
    filter_sd_px
        Width of the matched filter [px].
    grains
        The crystals that were removed, the largest first; none where only a smooth background was.
    jitter
        (height, 2) displacement (y, x) of single rows [px]; zeros without a lattice.
    areas
        Shares of the frame that are ordered, disordered and vacuum; NaN without a lattice.
    skew
        Skewness of the noise of `snr`; None where it is not known.
    site_error_px
        Standard deviation, along each axis, of where the lattice says that its sites are [px].
    heights
        Signal-to-noise that a whole column of the brighter and of the dimmer kind has in `snr`;
        None where it is not known.
    status
        What the frame is among those of its movie (`verdicts`), one of `tables.STATUSES`.
    """

    rest: Array
    noise_units: Array
    snr: Array
    filter_sd_px: float
    grains: list[Grain]
    jitter: np.ndarray
    areas: tuple[float, float, float]
    skew: Skewness | None = None
    site_error_px: float = 0.0
    heights: tuple[float, float] | None = None
    status: str = OK

    @property
    def lattice(self) -> Lattice | None:
        """The lattice of the largest grain, or None."""
        return self.grains[0].lattice if self.grains else None


def remove_crystal(frame: Array, *, found: Crystal | None = None) -> Remainder | None:
    """Remove the perfect crystal, scan distortion and jitter included.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    found
        Its lattice, where that is known already; looked for in the frame unless given.

    Returns
    -------
    What is left, or None where the frame has no lattice.
    """
    xp = namespace(frame)
    frame = frame - xp.mean(frame)
    if found is None:
        found = find_crystal(frame)
    if found is None:
        return None
    spacing = found.lattice.spacing_px
    divide = find_grains if is_broken(found) else one_grain
    division = divide(frame, found)
    model, inside = _draw(frame, division.grains, spacing)
    rest = _without_haze(frame - model, spacing)
    weight, gain = weights_of(rest, model)
    sd = _filter_sd(division.grains[0])
    precision = matched_precision(weight, sd)
    snr = matched_snr(rest, weight, sd, precision=precision)
    if inside is not None:
        snr = snr * xp.astype(gaussian(inside, RIM * spacing) > 0.9, frame.dtype)
    # every fifth row and seventh column is enough, and is in step with no lattice for long
    scatter = noise_sd(to_host(snr[::5, ::7]))
    heights, located = _columns(division.grains[0], precision, sd)
    return Remainder(
        rest=rest,
        noise_units=rest * xp.sqrt(weight),
        snr=snr / scatter,
        filter_sd_px=sd,
        grains=division.grains,
        jitter=division.jitter,
        areas=division.areas,
        skew=Skewness(weight, gain, sd),
        site_error_px=float(np.sqrt(located**2 + (division.hidden**2).mean())),
        heights=None if heights is None else (heights[0] / scatter, heights[1] / scatter),
    )


def _without_haze(rest: Array, spacing_px: float) -> Array:
    """Free a remainder (y, x) of what is smooth: contamination, which is not noise.

    It is done before the noise is measured. Pixels are averaged over an atom first and then cut off
    at three standard deviations: there even one bright atom stands out from all noise, and leaves
    no dent around it. Both is done with the means of squares that are narrower than what they are
    averaged over.
    """
    xp = namespace(rest)
    height, width = (int(n) for n in rest.shape)
    atom, wide = FILTER_SD * spacing_px, HAZE_SD * spacing_px
    # squares hold no more than half of a small frame's edge
    fine = max(1, min(int(atom / FINE_BIN), min(height, width) // 2))
    # the variance of a bin is a part of that of the average
    averaged = gaussian(square_means(rest, fine), np.sqrt(atom**2 - (fine**2 - 1) / 12) / fine)
    most = 3 * noise_sd(to_host(averaged[::2, ::3]), least=0.0)
    n = max(1, min(int(wide / WIDE_BIN), min(height, width) // 2) // fine)
    bins = square_means(xp.clip(averaged, -most, most), n)
    return rest - smooth_from_bins(bins, fine * n, (height, width), wide)


def _filter_sd(grain: Grain) -> float:
    """Return the width [px] of the matched filter: that of the probe, within limits."""
    lattice = grain.lattice
    probe = cell.probe_sd(grain.mean, grain.waves, is_honeycomb=lattice.is_honeycomb)
    spacing = lattice.spacing_px
    return float(np.clip(probe or FILTER_SD * spacing, *np.array(FILTER_RANGE) * spacing))


def _columns(
    grain: Grain, precision: Array, sd_px: float
) -> tuple[tuple[float, float] | None, float]:
    """Return what a matched filter sees of whole columns, and how well rows of them are located.

    The first are the signal-to-noise of a METAL and of a CHALCOGEN column of a honeycomb, else
    None. The scan's slow distortion is told by the columns in a row of windows: each metal column
    is located to sqrt(2) s / z, and so is what a window averages, better by the root of their
    number [px].
    """
    waves, lattice = grain.waves, grain.lattice
    # the columns next to 7 x 7 places of the frame are looked at
    places = np.meshgrid(*((np.arange(1, 8) * n / 8) for n in waves.shape), indexing="ij")
    middle = np.stack(places, axis=-1).reshape(-1, 2)
    crystalline = grain.mean * ~waves.is_background
    steps = (np.zeros(2), lattice.bond, hollow_of(lattice) - lattice.metal)
    values = cell.cell_value(crystalline, waves, lattice.metal + np.stack(steps))
    seen = []
    for which, height in zip((METAL, CHALCOGEN), values[:2] - values[2], strict=True):
        columns = nearest_site(lattice, middle, np.full(len(middle), which))
        known = max(median(pixels(precision, columns)), 0.0)
        seen.append(max(float(height), 0.0) * float(np.sqrt(known)))
    n_columns = waves.shape[1] * 2 * waves.pitch / (0.866 * lattice.spacing_px**2)
    located = np.sqrt(2) * sd_px / max(seen[0], 1.0) / np.sqrt(max(n_columns, 1.0))
    if not lattice.is_honeycomb:
        return None, float(located)
    return (seen[0], seen[1]), float(located)


def noise_sd(snr: np.ndarray, *, least: float = 0.5) -> float:
    """Measure the standard deviation of the noise in a map of signal-to-noise, zeros left out.

    It is a little below 1 where a fitted crystal took some of the noise with it, and above 1 where
    the noise of neighbouring pixels is alike (compressed video, interpolated frames). The larger of
    what the median and the 90th percentile of |z| imply for a normal z is taken, since defects
    cover but a few percent of a frame.

    Parameters
    ----------
    snr
        Signed signal-to-noise, any shape.

    Returns
    -------
    Standard deviation, at least 0.5; 1 where fewer than 100 values are not 0.
    """
    values = np.abs(snr[snr != 0])
    if len(values) < 100:
        return 1.0
    ranks = [len(values) // 2, int(0.9 * len(values))]
    middle, high = np.partition(values, ranks)[ranks]
    return max(float(middle) / 0.6745, float(high) / 1.645, least)


def _draw(frame: Array, grains: list[Grain], spacing_px: float) -> tuple[Array, Array | None]:
    """Draw all grains: the model (y, x), and where there is any grain (None: everywhere)."""
    models = [draw_grain(frame, grain) for grain in grains]
    masks = [grain.mask for grain in grains if grain.mask is not None]
    if not masks:
        return models[0], None
    inside = sum(masks)
    outside = 1 - inside
    # outside, the local mean of the pixels that belong to no grain
    level = gaussian(frame * outside, spacing_px, normalised=False)
    level = level / (gaussian(outside, spacing_px, normalised=False) + 1e-6)
    drawn = sum(model * mask for model, mask in zip(models, masks, strict=True))
    return level * outside + drawn, inside


def remove_background(frame: Array, *, filter_sd_px: float) -> Remainder:
    """Remove a smooth background where there is no lattice; the noise is the local scatter.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    filter_sd_px
        Standard deviation of the features to be found [px].

    Returns
    -------
    What is left, without grains.
    """
    xp = namespace(frame)
    frame = frame - xp.mean(frame)
    smooth = gaussian(frame, filter_sd_px)
    wide = min(8.0 * filter_sd_px, min(int(n) for n in frame.shape) / 6)
    # a difference of Gaussians; squares beyond nine variances may be defects, and are cut off
    band = smooth - gaussian(frame, wide)
    power = gaussian(xp.minimum(band**2, 9 * xp.mean(band**2)), 2 * wide)
    snr = band / xp.sqrt(power + 1e-6 * xp.mean(power) + 1e-30)
    rest = frame - gaussian(frame, wide)
    sd = xp.sqrt(gaussian(xp.minimum(rest**2, 9 * xp.mean(rest**2)), 2 * wide) + 1e-30)
    return Remainder(
        rest=rest,
        noise_units=rest / sd,
        snr=snr,
        filter_sd_px=filter_sd_px,
        grains=[],
        jitter=np.zeros((int(frame.shape[0]), 2)),
        areas=(float("nan"),) * 3,
    )


def unsearched(frame: Array, status: str, *, filter_sd_px: float) -> Remainder:
    """Return the remainder of a frame that is not searched: nothing is left of it.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    status
        Why, one of `tables.STATUSES`.
    filter_sd_px
        Standard deviation of the features that would be found [px].

    Returns
    -------
    A remainder of zeros.
    """
    nothing = frame * 0
    return Remainder(
        rest=nothing,
        noise_units=nothing,
        snr=nothing,
        filter_sd_px=filter_sd_px,
        grains=[],
        jitter=np.zeros((int(frame.shape[0]), 2)),
        areas=(float("nan"),) * 3,
        status=status,
    )


def without_jitter(
    y: np.ndarray, x: np.ndarray, jitter: np.ndarray, *, sd_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Free positions of the displacement of the rows that each was seen in.

    A feature of standard deviation `sd_px` is located by the rows around it, each with the weight
    of its intensity there.

    Parameters
    ----------
    y, x
        (m,) positions [px].
    jitter
        (height, 2) displacement (y, x) of each row [px].
    sd_px
        Standard deviation of the features [px].

    Returns
    -------
    y, x (m,) [px].
    """
    moved = rows_moved(y, jitter, sd_px=sd_px)
    return y - moved[:, 0], x - moved[:, 1]


def rows_moved(y: np.ndarray, jitter: np.ndarray, *, sd_px: float) -> np.ndarray:
    """Return by how much the rows around some heights are displaced.

    Parameters
    ----------
    y
        (m,) heights [px].
    jitter
        (height, 2) displacement (y, x) of each row [px].
    sd_px
        Standard deviation of the features that are seen there [px].

    Returns
    -------
    (m, 2) displacements (y, x) [px].
    """
    return np.asarray(_rows_moved(np.asarray(y, dtype=float), jitter, float(sd_px)))


@compiled
def _rows_moved(y: np.ndarray, jitter: np.ndarray, sd_px: float) -> np.ndarray:
    """Do what `rows_moved` says; rows beyond eight standard deviations weigh nothing."""
    moved = np.zeros((len(y), 2))
    for i in range(len(y)):
        first = max(math.floor(y[i] - 8 * sd_px), 0)
        last = min(math.ceil(y[i] + 8 * sd_px) + 1, len(jitter))
        total, down, across = 0.0, 0.0, 0.0
        for row in range(first, last):
            weight = math.exp(-0.5 * ((y[i] - row) / sd_px) ** 2)
            total += weight
            down += weight * jitter[row, 0]
            across += weight * jitter[row, 1]
        moved[i, 0], moved[i, 1] = down / max(total, 1e-30), across / max(total, 1e-30)
    return moved

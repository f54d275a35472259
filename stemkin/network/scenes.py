"""Frames like those of a movie, with defects whose places are known: what a net learns from.

Each scene is a crystal with the measured lattice, column image, dose and jitter
(`specimen.Specimen`), varied a little; columns that lack atoms or hold others, and bright ones;
and, in some, holes, fragments that turned and contamination. Everything follows from the generator
that is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, sites
from stemkin.kernels.crystal.rendering import (
    Probe,
    Scan,
    add_columns,
    column_factors,
    crystal_waves,
    row_factors,
)
from stemkin.kernels.images.shotnoise import poisson_counts
from stemkin.network.specimen import Specimen

DARK, BRIGHT = 0, 1
"""The two channels of labels."""


@dataclass(frozen=True)
class Variety:
    """How much scenes differ from the specimen and from one another.

    Attributes
    ----------
    turned
        Share of scenes whose crystal points anywhere; in the others it points where that of the
        movie does, within `tilt_deg`.
    tilt_deg, zoom, shear
        Standard deviations of the rotation [degrees] and of the relative size and shape of the
        cell.
    dose, contrast, blur
        Standard deviations of the logarithms of the dose, of the weights of the columns and of the
        probe's width.
    jitter
        Largest factor on the scan-line jitter, which also gets a floor of `least_jitter_px`.
    least_jitter_px
        See `jitter`.
    broken, dirty
        Shares of scenes with a hole (half of them with a fragment), and with contamination.
    vacancies, pairs, dopants, complexes, gone, bright
        Chances per column: one of two atoms missing, both; another metal, and a vacancy beside it;
        no metal, and an atom on top.
    """

    turned: float = 0.3
    tilt_deg: float = 1.5
    zoom: float = 0.015
    shear: float = 0.004
    dose: float = 0.25
    contrast: float = 0.08
    blur: float = 0.04
    jitter: float = 1.6
    least_jitter_px: float = 0.01
    broken: float = 0.35
    dirty: float = 0.3
    vacancies: float = 0.045
    pairs: float = 0.004
    dopants: float = 0.02
    complexes: float = 0.4
    gone: float = 0.002
    bright: float = 0.004

    @property
    def perfect(self) -> Variety:
        """The same without any defect, hole or contamination: what noise alone gives."""
        nothing = dict.fromkeys(
            ("broken", "dirty", "vacancies", "pairs", "dopants", "gone", "bright"), 0.0
        )
        return Variety(**{**self.__dict__, **nothing})


@dataclass(frozen=True, eq=False)
class Scene:
    """A frame before chance comes in.

    Attributes
    ----------
    means
        (y, x) expected counts.
    points
        (m, 2) places (y, x) [px] of the defects.
    channel
        (m,) DARK or BRIGHT.
    """

    means: np.ndarray
    points: np.ndarray
    channel: np.ndarray

    def exposed(self, rng: np.random.Generator) -> np.ndarray:
        """Return (y, x) float32 counts: one exposure of the scene."""
        return poisson_counts(self.means, rng).astype(np.float32)


def draw_scene(
    specimen: Specimen, shape: tuple[int, int], variety: Variety, rng: np.random.Generator
) -> Scene:
    """Draw one scene.

    Parameters
    ----------
    specimen
        What frames look like.
    shape
        (height, width) [px].
    variety
        How much scenes differ.
    rng
        Decides everything.
    """
    lattice = _lattice(specimen, shape, variety, rng)
    probe = Probe(
        specimen.probe_px * _spread(variety.blur, rng), specimen.tail_fraction, specimen.tail_px
    )
    dose = _spread(variety.dose, rng)
    weights = tuple(float(w * dose * _spread(variety.contrast, rng)) for w in specimen.weights)
    scan = _scan(specimen, shape[0], variety, rng)
    waves, amplitudes = crystal_waves(lattice, (weights[0], weights[1]), probe)
    amplitudes[0] += specimen.background * dose * _spread(variety.contrast, rng)
    # The perfect crystal is a sum of plane waves: (y, waves) times (waves, x), and the scan moves
    # and brightens whole rows. Columns reach beyond the edge by the width of their images.
    rows = row_factors(waves, amplitudes, scan.row_y, scan.row_x0) * scan.beam[:, None]
    means = rows @ column_factors(waves, shape[1])
    margin = 5 * max(probe.sd_px, probe.tail_sd_px * (probe.tail_fraction > 0))
    metal, second = (_sites_around(lattice, shape, which, margin) for which in (METAL, CHALCOGEN))
    hole = _break(means, (metal, second), weights, lattice, probe, scan, variety, rng)
    change = _change_columns((metal, second), weights, lattice, specimen.is_honeycomb, variety, rng)
    # What lies in a hole is neither changed nor a defect; places outside the frame (from -0.5 to
    # n - 0.5, the edges of pixels) shine in but are not labelled.
    kept = ~hole.holds(change.points)
    _add(means, change.points[kept], change.weights[kept], probe, scan)
    if rng.random() < variety.dirty:
        means += _dirt(shape, lattice.spacing_px, rng) * (means.max() - means.mean())
    judged = kept & change.is_defect
    points, channel = change.points[judged], (change.weights[judged] > 0).astype(np.int64)
    inside = ((points > -0.5) & (points < np.array(shape) - 0.5)).all(axis=1)
    return Scene(np.maximum(means, 0.0), points[inside], channel[inside])


@dataclass(frozen=True, eq=False)
class _Change:
    """Columns to add to a scene.

    (m, 2) places, (m,) volumes, and which of them are defects (the others are neighbours that
    move).
    """

    points: np.ndarray
    weights: np.ndarray
    is_defect: np.ndarray


@dataclass(frozen=True, eq=False)
class _Hole:
    """A round hole, or none (`radius` 0)."""

    centre: np.ndarray
    radius: float

    def holds(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(np.hypot(*(points - self.centre).T) < self.radius)


def _spread(sd: float, rng: np.random.Generator) -> float:
    return float(np.exp(sd * rng.standard_normal()))


def _lattice(
    specimen: Specimen, shape: tuple[int, int], variety: Variety, rng: np.random.Generator
) -> Lattice:
    """Return the specimen's lattice, turned, stretched and moved."""
    if rng.random() < variety.turned:
        turn = 2 * np.pi * rng.random()
    else:
        turn = np.radians(variety.tilt_deg) * rng.standard_normal()
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = _spread(variety.zoom, rng) * np.array([[cos, sin], [-sin, cos]])
    matrix = matrix @ (np.eye(2) + variety.shear * rng.standard_normal((2, 2)))
    plain = specimen.lattice
    a1, a2, second = (matrix @ v for v in (plain.a1, plain.a2, plain.bond))
    metal = np.array(shape) / 2 + rng.random() * a1 + rng.random() * a2
    return Lattice(a1, a2, metal, metal + second, np.inf, plain.is_honeycomb)


def _scan(specimen: Specimen, height: int, variety: Variety, rng: np.random.Generator) -> Scan:
    sd_y, sd_x = (
        max(sd, variety.least_jitter_px) * rng.uniform(0.5, variety.jitter)
        for sd in specimen.jitter_px
    )
    noise = rng.standard_normal((3, height))
    return Scan(
        np.arange(height) + sd_y * noise[0], sd_x * noise[1], np.maximum(1 + 0.003 * noise[2], 0.0)
    )


def _sites_around(
    lattice: Lattice, shape: tuple[int, int], which: int, margin: float
) -> np.ndarray:
    """Return the (m, 2) columns of one kind in the frame and a `margin` around it."""
    wide = (int(shape[0] + 2 * margin), int(shape[1] + 2 * margin))
    # `sites` counts from the corner of a frame, so the lattice moves by the margin and back
    moved = Lattice(
        lattice.a1,
        lattice.a2,
        lattice.metal + margin,
        lattice.chalcogen + margin,
        np.inf,
        lattice.is_honeycomb,
    )
    return sites(moved, wide, which) - margin


def _change_columns(
    columns: tuple[np.ndarray, np.ndarray],
    weights: tuple[float, ...],
    lattice: Lattice,
    honeycomb: bool,
    variety: Variety,
    rng: np.random.Generator,
) -> _Change:
    """Choose the defects: what is missing, exchanged or on top."""
    metal, second = columns
    # One number a column decides: [0, p1) is the first change, [p1, p1 + p2) the second, ..., so no
    # column has two. A vacancy bound to a dopant comes in addition, and wins over a pair.
    u, v = rng.random(len(metal)), rng.random(len(second))
    doped = u < variety.dopants
    gone = ~doped & (u < variety.dopants + variety.gone)
    topped = ~doped & ~gone & (u < variety.dopants + variety.gone + variety.bright)
    single = v < variety.vacancies
    double = ~single & (v < variety.vacancies + variety.pairs)
    bound = _beside(
        metal[doped][rng.random(int(doped.sum())) < variety.complexes],
        second,
        lattice.spacing_px,
        rng,
    )
    single[bound] = True
    n_doped, n_topped = int(doped.sum()), int(topped.sum())
    # a chalcogen column of a honeycomb is taken to hold two atoms, so one that is missing is half of it
    atom = 1.0
    if honeycomb:
        atom = 0.5
    points = [metal[doped], metal[gone], metal[topped], second[single], second[double & ~single]]
    parts = [
        -weights[0] * rng.uniform(0.3, 0.75, n_doped),
        np.full(int(gone.sum()), -weights[0]),
        weights[0] * rng.uniform(0.25, 1.0, n_topped),
        np.full(int(single.sum()), -atom * weights[1]),
        np.full(len(points[4]), -2 * atom * weights[1]),
    ]
    # defects come first, then the neighbours that moved: `is_defect` is the first `n_defects`
    n_defects = sum(len(p) for p in points)
    if honeycomb:
        moved = _breathing(second[single | double], metal, weights[0], lattice.spacing_px, rng)
        points, parts = [*points, moved[0]], [*parts, moved[1]]
    total = np.concatenate(points)
    return _Change(total, np.concatenate(parts), np.arange(len(total)) < n_defects)


def _beside(
    dopants: np.ndarray, second: np.ndarray, spacing: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the numbers of columns of the second kind, one beside each of the `dopants` (m, 2)."""
    if not len(dopants) or not len(second):
        return np.zeros(0, int)
    apart = np.hypot(*(dopants[:, None] - second).transpose(2, 0, 1)) + 0.2 * spacing * rng.random(
        (len(dopants), len(second))
    )
    return np.asarray(apart.argmin(axis=1))


def _breathing(
    vacancies: np.ndarray,
    metal: np.ndarray,
    weight: float,
    spacing: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Move the metal columns around `vacancies` (m, 2) away from them.

    They are taken out where they were, and put in where they are.
    """
    if not len(vacancies):
        return np.zeros((0, 2)), np.zeros(0)
    # pairs (vacancy i, metal j) within 3/4 of a lattice constant: the three bonded neighbours
    steps = metal - vacancies[:, None]
    i, j = np.nonzero(np.hypot(*steps.transpose(2, 0, 1)) < 0.75 * spacing)
    away = steps[i, j] * (0.035 * rng.random())
    points = np.concatenate([metal[j], metal[j] + away])
    return points, np.repeat([-weight, weight], len(i))


def _break(
    means: np.ndarray,
    columns: tuple[np.ndarray, np.ndarray],
    weights: tuple[float, ...],
    lattice: Lattice,
    probe: Probe,
    scan: Scan,
    variety: Variety,
    rng: np.random.Generator,
) -> _Hole:
    """Take the columns of a hole out of `means`, in place.

    Half of the holes get a turned fragment.
    """
    spacing, shape = lattice.spacing_px, np.array(means.shape)
    centre = rng.random(2) * shape
    if rng.random() >= variety.broken:
        return _Hole(centre, 0.0)
    radius = spacing * rng.uniform(1.2, 5.0)
    both = np.concatenate(columns)
    volume = np.repeat(weights, [len(c) for c in columns])
    # a ragged edge: every column has a radius of its own; a fragment keeps off it by half a cell
    away = np.hypot(*(both - centre).T)
    inside = away < radius * (1 + rng.uniform(0.0, 0.15) * rng.standard_normal(len(away)))
    _add(means, both[inside], -volume[inside], probe, scan)
    if rng.random() < 0.5:
        turn, within = np.radians(rng.uniform(-30, 30)), inside & (away < radius - 0.5 * spacing)
        cos, sin = np.cos(turn), np.sin(turn)
        back = (
            centre
            + (both[within] - centre) @ np.array([[cos, -sin], [sin, cos]])
            + 0.1 * spacing * rng.standard_normal(2)
        )
        _add(means, back, volume[within], probe, scan)
    return _Hole(centre, radius)


def _add(
    means: np.ndarray, points: np.ndarray, weights: np.ndarray, probe: Probe, scan: Scan
) -> None:
    add_columns(means, points[:, 0], points[:, 1], weights, probe, scan=scan)


def _dirt(shape: tuple[int, int], spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Return (y, x) contamination between 0 and about 0.3.

    It is a smooth veil, and in it something coarser.
    """
    y, x = (np.linspace(-1, 1, n) for n in shape)
    slow = 1 + np.sin(rng.uniform(0.3, 2) * y + 6.3 * rng.random())[:, None] * np.sin(
        rng.uniform(0.3, 2) * x + 6.3 * rng.random()
    )
    length = spacing * rng.uniform(0.4, 2.0)
    noise = rng.standard_normal(shape)
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    coarse = np.fft.irfft2(
        np.fft.rfft2(noise) * np.exp(-2 * np.pi**2 * length**2 * (fy**2 + fx**2)), s=shape
    )
    coarse /= coarse.std() + 1e-30
    return np.asarray(
        rng.uniform(0.0, 0.12) * slow * np.maximum(1 + rng.uniform(0.0, 0.8) * coarse, 0)
    )

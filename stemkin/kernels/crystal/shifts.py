"""How far the specimen moved from one frame to the next.

The phase of the lattice gives the step to a few hundredths of a pixel, but only up to a lattice
vector; what breaks the lattice's symmetry (defects, contamination, holes) tells which one. So the
remainders of the two frames are correlated, and the correlation is read at the lattice's own
candidates. Without a lattice, the maximum of the correlation itself is the step.

>>> rng = np.random.default_rng(0)
>>> first = rng.normal(size=(64, 64)).astype("float32")
>>> step = frame_step(first, np.roll(first, (3, -5), axis=(0, 1)))
>>> round(step.y, 2), round(step.x, 2), step.quality > 10
(3.0, -5.0, True)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.images.transforms import image_of, spectrum_of_image

CLEAR = 4.0
"""Quality above which a step is not in doubt."""

VOUCHED = 1.0
"""Quality below which nobody can vouch for a step."""

BINNED_PX = 128
"""Frames of this edge or more are correlated at half their resolution."""

CLIP = 2.5
"""Remainders beyond this many standard deviations count as if they were there: one bright atom that
moves must not outvote all that stays."""

UNLIKELY = 1.5
"""By how many standard deviations of the correlation a step must be ahead for each lattice vector
that it is longer, up to two."""

RARE = 8.0
"""The same at most for a step that is far longer than the movie's usual ones."""

LEAST_USUAL = 0.05
"""Over the lattice constant: no movie is taken to be steadier than this."""

USUAL = 1.3
"""Steps longer than the usual one by more than this factor become unlikely."""


@dataclass(frozen=True)
class Step:
    """The move of the specimen's image between two frames.

    Attributes
    ----------
    y, x
        Displacement [px], positive where the image moved towards larger y, x; NaN where it cannot
        be told.
    quality
        By how many standard deviations of the correlation the step is ahead of the next best one;
        below `CLEAR`, a step may be wrong by a lattice vector.
    """

    y: float
    x: float
    quality: float

    @property
    def is_vouched(self) -> bool:
        """Whether the step is known, and likelier than any other."""
        return bool(self.quality >= VOUCHED and np.isfinite(self.y))


UNKNOWN = Step(float("nan"), float("nan"), 0.0)


def frame_step(
    previous: Array,
    current: Array,
    *,
    lattices: tuple[Lattice | None, Lattice | None] = (None, None),
    max_step_px: float | None = None,
    usual_px: float | None = None,
) -> Step:
    """Measure the step between two frames.

    Parameters
    ----------
    previous, current
        (y, x) frames without their crystal or background, in units of noise.
    lattices
        The lattices of the two frames; None where there is none.
    max_step_px
        No longer step is considered; a quarter of the shorter edge unless given.
    usual_px
        How long a step of this movie usually is [px], where it is known to be well below half a
        lattice constant.

    Returns
    -------
    The step, `UNKNOWN` where none is short enough.
    """
    edge = min(int(n) for n in current.shape)
    limit = edge / 4 if max_step_px is None else max_step_px
    pool = 2 if edge >= BINNED_PX else 1
    correlation = _correlate(_pooled(previous, pool), _pooled(current, pool))
    sd = float(np.std(correlation)) or 1.0
    before, after = lattices
    if before is None or after is None or not same_lattice(before, after):
        return _maximum(correlation / sd, pool, limit)
    steps = candidates(before, after, limit)
    against = _unlikeliness(steps, after.spacing_px, usual_px)
    return _best_candidate(correlation / sd, pool, steps, after.spacing_px, against)


def _unlikeliness(steps: np.ndarray, spacing_px: float, usual_px: float | None) -> np.ndarray:
    """Return by how many standard deviations each step (m, 2) must be ahead to be believed."""
    length = np.hypot(*steps.T)
    if usual_px is None:
        # how far a jump goes, nobody knows: where the correlation cannot decide, the shortest
        return np.asarray(np.minimum(UNLIKELY * length / spacing_px, 2 * UNLIKELY))
    excess = length / (USUAL * max(usual_px, LEAST_USUAL * spacing_px))
    return np.asarray(np.minimum(0.5 * excess**2, RARE))


def same_lattice(before: Lattice, after: Lattice) -> bool:
    """Tell whether two lattices have the same vectors within 3 %.

    Parameters
    ----------
    before, after
        Of two frames.

    Returns
    -------
    Whether no vector changed by more.
    """
    change = np.stack([after.a1 - before.a1, after.a2 - before.a2])
    return bool(np.linalg.norm(change, axis=1).max() < 0.03 * before.spacing_px)


def candidates(before: Lattice, after: Lattice, limit_px: float) -> np.ndarray:
    """List the steps that the phases of two lattices allow, shortest first.

    Parameters
    ----------
    before, after
        Of two frames, with the same vectors.
    limit_px
        No longer step is listed [px].

    Returns
    -------
    (m, 2) steps (y, x) [px].
    """
    vectors = np.stack([before.a1 + after.a1, before.a2 + after.a2]) / 2
    # metal columns repeat: their displacement is known up to a lattice vector, which is added
    phase = after.metal - before.metal
    phase = phase - np.round(phase @ np.linalg.inv(vectors)) @ vectors
    reach = int(np.ceil(limit_px / np.linalg.norm(vectors, axis=1).min())) + 1
    n = np.arange(-reach, reach + 1)
    steps = phase + n[:, None, None] * vectors[0] + n[None, :, None] * vectors[1]
    steps = steps.reshape(-1, 2)
    length = np.hypot(*steps.T)
    order = np.argsort(length, kind="stable")
    return np.asarray(steps[order][length[order] <= limit_px])


def _best_candidate(
    correlation: np.ndarray, pool: int, steps: np.ndarray, spacing_px: float, against: np.ndarray
) -> Step:
    """Return the step (m, 2) that the correlation, `pool` pixels a sample, speaks for most."""
    if not len(steps):
        return UNKNOWN
    # the largest value within an eighth of a lattice constant: negative indices go round, as the
    # circular correlation does
    reach = max(1, round(0.12 * spacing_px / pool))
    values = np.full(len(steps), -np.inf)
    nearest = np.round(steps / pool).astype(int)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            values = np.maximum(values, correlation[nearest[:, 0] + dy, nearest[:, 1] + dx])
    values = values - against
    order = np.argsort(-values, kind="stable")
    best = order[0]
    ahead = float(values[best])
    if len(steps) > 1:
        ahead = float(values[best] - values[order[1]])
    return Step(float(steps[best, 0]), float(steps[best, 1]), ahead)


def _maximum(correlation: np.ndarray, pool: int, limit_px: float) -> Step:
    """Return the step at the maximum of the correlation, ahead of what is not beside it."""
    height, width = correlation.shape
    y = np.fft.fftfreq(height, 1 / height)[:, None] * pool
    x = np.fft.fftfreq(width, 1 / width)[None, :] * pool
    near = np.where(np.hypot(y, x) <= limit_px, correlation, -np.inf)
    row, column = np.unravel_index(int(np.argmax(near)), near.shape)
    far = (np.abs(y - y[row]) > 3 * pool) | (np.abs(x - x[0, column]) > 3 * pool)
    ahead = 0.0
    if far.any():
        ahead = float(near[row, column] - near[far].max())
    dy = _vertex(correlation[[row - 1, row, (row + 1) % height], column])
    dx = _vertex(correlation[row, [column - 1, column, (column + 1) % width]])
    return Step(float(y[row, 0] + dy * pool), float(x[0, column] + dx * pool), max(ahead, 0.0))


def _pooled(image: Array, pool: int) -> Array:
    """Return a clipped image (y, x), sums of `pool` x `pool` pixels."""
    if isinstance(image, np.ndarray):
        return _pooled_in_a_loop(np.ascontiguousarray(image), pool)
    xp = namespace(image)
    image = xp.minimum(xp.maximum(image, -CLIP + 0 * image), CLIP + 0 * image)
    if pool == 1:
        return image
    height, width = (pool * (int(n) // pool) for n in image.shape)
    rows = sum(image[i:height:pool, :width] for i in range(pool))
    return sum(rows[:, i::pool] for i in range(pool))


@compiled
def _pooled_in_a_loop(image: np.ndarray, pool: int) -> np.ndarray:
    """Return what `_pooled` does, in one pass over the rows."""
    height, width = image.shape[0] // pool, image.shape[1] // pool
    most = image.dtype.type(CLIP)
    sums = np.zeros((height, width), image.dtype)
    line = np.empty(width * pool, image.dtype)
    for y in range(height):
        line[:] = 0
        for i in range(pool):
            row = image[y * pool + i]
            for x in range(len(line)):
                line[x] += min(max(row[x], -most), most)
        for x in range(width):
            for i in range(pool):
                sums[y, x] += line[x * pool + i]
    return sums


def _correlate(previous: Array, current: Array) -> np.ndarray:
    """Return the circular cross-correlation (y, x), indexed by the displacement of `current`."""
    xp = namespace(previous, current)
    after, before = (spectrum_of_image(image - xp.mean(image)) for image in (current, previous))
    shape = (int(current.shape[0]), int(current.shape[1]))
    return np.asarray(to_host(image_of(after * xp.conj(before), shape)))


def _vertex(values: np.ndarray) -> float:
    """Return where the parabola through three values peaks, counted from the middle one."""
    low, mid, high = (float(v) for v in values)
    bend = low - 2 * mid + high
    if bend >= 0:
        return 0.0
    return float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5))

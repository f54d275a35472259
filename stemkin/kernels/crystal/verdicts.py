"""What a frame is among those of its movie: like them, or blank, torn, doubled, out of focus, zoomed.

A frame by itself cannot say (`images.quality` says what it can): a blank frame with read noise looks
like a dim one, a zoomed one like any other. Here each is compared with the crystal that the movie's
frames share, so the answer depends on the frame and on that, never on its neighbours:

- *blank*: no crystal, and far less contrast than usual;
- *truncated*: the crystal ends at one line of the scan, and beyond is nothing but a dark signal;
- *zoomed*: a crystal of the same shape, larger or smaller;
- *torn*: the crystal jumps between one line and the next;
- *doubled*: some reflections are gone as where two exposures lie over each other;
- *defocused*: the finer reflections are gone;
- *unlike*: the movie's crystal is not there, and nothing of the above explains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stemkin.devices import Array, to_host
from stemkin.kernels.common.medians import median, quantile
from stemkin.kernels.crystal.distortion import displacements
from stemkin.kernels.crystal.lattice_search import (
    Crystal,
    Sought,
    crystal_by_reference,
    find_crystal,
    look_for,
)
from stemkin.kernels.crystal.reference import Reference
from stemkin.tables import BLANK, DEFOCUSED, DOUBLED, OK, TORN, TRUNCATED, UNLIKE, ZOOMED

FAINT = 0.5
"""A frame without a crystal is blank below this share of the usual contrast."""

DARK = 0.25
"""Share of the crystal's usual strength below which a line of nodes shows none."""

SMOOTH_LINES = 3
"""A blanked band begins and ends within so many lines in every strip; a rim is rougher."""

JUMP = 0.12
"""Over the distance of lattice planes: the least jump between two lines that is a tear."""

ODD = 6.0
"""Robust standard deviations from which a jump, or the strength of a reflection, is unusual."""

DIM = 0.7
"""Lines of a blanked band scatter less than this share of what others do."""

N_STRIPS = 5
"""A blanked band has to begin and end at the same lines in so many strips, side by side."""

LEAST_LINES = 10
"""Fewer lines of nodes do not tell a tear from the usual scatter."""

N_PARTS = 3
"""A tear is looked for in so many parts of the frame, side by side."""

SAME_SHAPE = 0.06
"""By so much the lengths and the angle of two nets may differ if they are of one kind."""

WEAK = 0.6
"""Share of its usual strength, beside the others, below which a reflection is missing."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """The `status` of a frame, one of `tables.STATUSES`, and its crystal where it has the movie's."""

    status: str
    crystal: Crystal | None


def judged(frame: Array, reference: Reference, *, contrast: float) -> Verdict:
    """Judge a frame by the crystal of its movie.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    reference
        The crystal that the movie's frames share.
    contrast
        Range of nearly all pixels of the frame, in the movie's own units.

    Returns
    -------
    The verdict; "ok" always comes with a crystal.
    """
    sought = look_for(frame, reference)
    if not sought.is_there:
        return Verdict(_why_not(frame, reference, contrast), None)
    if _ends_at_a_line(frame, sought):
        return Verdict(TRUNCATED, None)
    if _is_torn(sought):
        return Verdict(TORN, None)
    fault = _fault_of_pattern(sought, reference)
    if fault != OK:
        return Verdict(fault, None)
    return Verdict(OK, crystal_by_reference(frame, sought, reference))


def _why_not(frame: Array, reference: Reference, contrast: float) -> str:
    """Say what a frame is that does not show the movie's crystal."""
    if contrast < FAINT * reference.contrast:
        return BLANK
    own = find_crystal(frame)
    if own is not None and _is_same_shape(own.waves.basis, reference.basis):
        return ZOOMED
    return UNLIKE


def _is_same_shape(basis: np.ndarray, known: np.ndarray) -> bool:
    """Tell whether two reduced bases differ by their size and direction only."""
    shapes = []
    for one in (basis, known):
        short, long = np.linalg.norm(one, axis=1)
        shapes.append((long / short, abs(one[0] @ one[1]) / (short * long)))
    seen, wanted = np.array(shapes)
    return bool(np.abs(seen - wanted).max() < SAME_SHAPE)


def _ends_at_a_line(frame: Array, sought: Sought) -> bool:
    """Tell whether a band of lines shows no crystal and little signal, and begins and ends sharply.

    The rim of a hole or of the crystal is rougher than that.
    """
    turned = sought.straight.sums
    mean = turned.mean(axis=(0, 1))
    strength = (turned * np.conj(mean)).real.sum(axis=2).mean(axis=1)
    is_dark = strength < DARK * quantile(strength, 0.8)
    if not (is_dark[1:] & is_dark[:-1]).any():
        return False
    pixels = to_host(frame).astype(float)
    plane = 1 / float(np.linalg.norm(sought.waves.basis, axis=1).min())
    n_lines = max(1, round(plane))
    ends = _ends_of_band(pixels.std(axis=1), n_lines)
    if len(ends) not in (1, 2):
        return False
    # a line of the scan ends everywhere at once; the rim of a crystal does so nowhere
    for part in np.array_split(pixels, N_STRIPS, axis=1):
        own = _ends_of_band(part.std(axis=1), n_lines)
        if len(own) != len(ends) or np.abs(own - ends).max() > SMOOTH_LINES:
            return False
    return True


def _ends_of_band(scatter: np.ndarray, n_lines: int) -> np.ndarray:
    """Return the lines after which a calm band begins or ends; none where no lines are calm.

    Parameters
    ----------
    scatter
        (y,) standard deviation of each line.
    n_lines
        Lines from one lattice plane to the next.
    """
    # rows between the columns of atoms scatter less: the highest within a lattice plane counts; at
    # the last line the plane is mirrored, so that none is half a plane only
    after = np.pad(scatter, (0, n_lines - 1), mode="symmetric")
    high = sliding_window_view(after, n_lines).max(axis=1)
    low, usual = np.percentile(high, [5, 80])
    if low > DIM * usual:
        return np.zeros(0, np.int64)
    # the darkest lines of the crystal still have its noise; most lines around one of the band are
    # as dark as it
    level = low + 0.5 * (float(np.percentile(scatter[high > 0.9 * usual], 5)) - low)
    calm = scatter < max(level, 1.1 * low)
    half = n_lines // 2
    around = sliding_window_view(np.pad(calm, half, mode="edge"), 2 * half + 1)
    calm = around.mean(axis=1) > 0.5
    return np.flatnonzero(np.diff(calm.astype(int)) != 0)


def _is_torn(sought: Sought) -> bool:
    """Tell whether the crystal jumps once, from one line to the next, all along the line."""
    straight = sought.straight
    if len(straight.local) < LEAST_LINES or straight.local.shape[1] < LEAST_LINES:
        return False
    jumps = [
        _jump_of(part, straight.frequencies)
        for part in np.array_split(straight.local, N_PARTS, axis=1)
    ]
    # where holes break the crystal, parts of a line jump by themselves
    lines, steps = np.array([at for at, _ in jumps]), np.array([step for _, step in jumps])
    apart = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    if lines.min() < 0 or np.ptp(lines) > 2:
        return False
    return bool(apart.max() < 0.4 * np.linalg.norm(np.median(steps, axis=0)))


def _jump_of(local: np.ndarray, g: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the line at which sums (ny, nx, K) jump once, -1 if at none, and the jump (y, x)."""
    # windows two nodes apart do not overlap: a jump between them shows in full
    step = displacements((local[2:] * np.conj(local[:-2])).sum(axis=1), g)
    step = step - np.array([median(along) for along in step.T])
    length = np.hypot(*step.T)
    at = int(np.argmax(length))
    others = np.delete(length, np.arange(max(0, at - 2), min(len(length), at + 3)))
    plane = 1 / float(np.linalg.norm(g, axis=1).min())
    usual = 1.4826 * median(others)
    jump = float(length[at])
    if jump > max(JUMP * plane, ODD * usual) and jump > 1.5 * float(others.max()):
        return at, step[at]
    return -1, step[at]


def _fault_of_pattern(sought: Sought, reference: Reference) -> str:
    """Say what a frame is whose reflections are not as strong, beside each other, as usual."""
    pattern = sought.pattern
    usual, spread = reference.pattern, reference.pattern_sd
    if usual is None or spread is None or len(pattern) != len(usual) or len(pattern) < 3:
        return OK
    ratio = pattern / usual
    is_odd = (pattern < usual - ODD * spread) & (ratio < WEAK * ratio.max())
    if not is_odd.any():
        return OK
    g = sought.straight.frequencies
    longest = float((g**2).sum(axis=1).max())
    blurred = np.exp(-np.outer(np.linspace(0, 6, 49), (g**2).sum(axis=1) / longest))
    n = np.arange(24) / 24
    apart = np.stack(np.meshgrid(n, n, indexing="ij"), axis=-1).reshape(-1, 2)
    index = g @ np.linalg.inv(sought.straight.waves.basis)
    doubled = np.abs(np.cos(np.pi * apart @ np.round(index).T))
    if _misfit(doubled, ratio, usual) < _misfit(blurred, ratio, usual):
        return DOUBLED
    return DEFOCUSED


def _misfit(models: np.ndarray, ratio: np.ndarray, weight: np.ndarray) -> float:
    """Return the least mean square by which `models` (m, K), scaled, miss the `ratio` (K,)."""
    scale = (models * ratio * weight).sum(axis=1) / (models**2 * weight).sum(axis=1)
    miss = (ratio - scale[:, None] * models) ** 2 * weight
    return float(miss.sum(axis=1).min())

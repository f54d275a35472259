"""The crystal of a movie, found from many of its frames at once.

Spectra add up whatever the specimen's drift: their noise falls as the root of the number of frames,
so reflections show that no single frame shows. The net that they span is then looked for in every
frame of the sample; the cells of those that show it are laid over each other.

>>> y, x = np.mgrid[:96, :96]
>>> rng = np.random.default_rng(0)
>>> waves = [np.cos(x + i) + np.cos(y) + np.cos(x + i + y) for i in range(4)]
>>> frames = [wave + rng.normal(0, 2, (96, 96)) for wave in waves]
>>> abs(reference_of(frames).basis * 2 * np.pi).round(1).tolist()
[[1.0, 0.0], [0.0, 1.0]]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stemkin.devices import Array, namespace
from stemkin.kernels.crystal import fourier
from stemkin.kernels.crystal.amplitudes import decoupled, mean_amplitudes
from stemkin.kernels.crystal.cell import MeanCell, displacement_in, lattice_of, mean_cell
from stemkin.kernels.crystal.lattice_search import (
    COARSE_PX,
    LARGE_PX,
    MIN_EXPLAINED,
    N_PHASES,
    SURE_CELLS,
    SURE_EDGE_PX,
    Crystal,
    crystal_by_reference,
    halved,
    levelled,
    look_for,
)
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.crystal.superlattice import finer, highest_around, is_supported, tops
from stemkin.kernels.crystal.waves import waves_of

CHANCE = 2e-9
"""Chance with which a frequency of pure noise is taken for a peak of the mean spectrum: that of
`fourier.PEAK_POWER` in one frame."""

LEAST_SHARE = 0.2
"""A movie has a crystal if so large a share of its sample shows it."""

SHORT_STEP = 0.2
"""Over the lattice constant: steps of such a median length are short. Were they long, what is left
of them after whole lattice vectors would have one of 0.37."""

LEAST_SPREAD = 0.03
"""Reflections of a few frames that happen to be alike may still differ by this share."""

LEAST_STEPS = 4
"""Fewer steps do not tell how long they are."""


def reference_of(frames: Sequence[Array], numbers: Sequence[int] = ()) -> Reference | None:
    """Find the crystal that the frames of a movie share.

    Parameters
    ----------
    frames
        (y, x) frames of one shape, a sample of the movie; those that show nothing do no harm.
    numbers
        Their numbers in the movie: steps are told by neighbours.

    Returns
    -------
    The crystal; None where the frames are too small or share none.
    """
    if not len(frames) or min(frames[0].shape) < SURE_EDGE_PX:
        return None
    frames = [frame - namespace(frame).mean(frame) for frame in frames]
    net = _net_at_any_resolution([levelled(frame) for frame in frames])
    if net is None:
        return None
    looks = [look_for(frame, net) for frame in frames]
    there = [i for i, look in enumerate(looks) if look.is_there]
    if len(there) < max(1.0, LEAST_SHARE * len(frames)):
        return None
    crystals = [crystal_by_reference(levelled(frames[i]), looks[i], net) for i in there]
    cell = _laid_over(crystals)
    known = [numbers[i] for i in there if i < len(numbers)]
    patterns = np.array([looks[i].pattern for i in there])
    middle = np.median(patterns, axis=0)
    spread = 1.4826 * np.median(np.abs(patterns - middle), axis=0)
    return replace(
        net,
        cell=cell,
        step_px=_usual_step(crystals, known, cell),
        pattern=middle,
        pattern_sd=np.maximum(spread, LEAST_SPREAD * middle),
    )


def _net_at_any_resolution(frames: Sequence[Array]) -> Reference | None:
    """Find the net of frames at half their resolution where that is enough, else at their own."""
    if min(frames[0].shape) >= LARGE_PX:
        net = _net_of([halved(frame) for frame in frames])
        if net is not None and np.abs(net.strong @ net.basis).max() * COARSE_PX < 2:
            return replace(net, basis=net.basis / 2)
    return _net_of(frames)


def _net_of(frames: Sequence[Array]) -> Reference | None:
    """Find the net that the mean spectrum of frames shows, and its strongest reflections."""
    from scipy.stats import gamma

    shape = (int(frames[0].shape[0]), int(frames[0].shape[1]))
    spectrum = fourier.spectrum_of(frames)
    over = spectrum.over
    least = float(gamma.isf(CHANCE, len(frames))) / len(frames)
    frequencies, power = fourier.peaks_of(spectrum, shape, least=least)
    found = fourier.explain_peaks(frequencies, power - 1, tolerance=1.0 / min(shape))
    if found is None or found[1] < MIN_EXPLAINED or not is_supported(found[0], over, shape):
        return None
    basis = finer(found[0], over, shape)
    if SURE_CELLS / np.linalg.norm(basis[0]) > min(shape):
        return None
    waves = waves_of(basis, shape)
    waves = waves.only(np.flatnonzero(~waves.is_background))
    strength = tops(waves.frequencies, highest_around(over), shape)
    order = np.argsort(-strength, kind="stable")[:N_PHASES]
    return Reference(basis, waves.indices[np.sort(order)])


def _laid_over(crystals: Sequence[Crystal]) -> MeanCell:
    """Lay the cells of crystals over each other, beginning with that of the clearest one."""
    best = max(crystals, key=lambda crystal: crystal.lattice.quality)
    cell = mean_cell(best.lattice, _amplitudes(best), best.waves)
    index = {(int(h), int(k)): i for i, (h, k) in enumerate(best.waves.indices)}
    # the first round compares with one frame's cell, the second with that of all
    for _ in range(2):
        total = np.zeros(len(index), complex)
        for crystal in crystals:
            waves, own = crystal.waves, _amplitudes(crystal)
            back = np.exp(2j * np.pi * waves.indices @ displacement_in(cell, own, waves))
            for (h, k), value in zip(waves.indices, own * back, strict=True):
                if (int(h), int(k)) in index:
                    total[index[int(h), int(k)]] += value
        mean = total / len(crystals)
        lattice = lattice_of(mean, best.waves, quality=best.lattice.quality)
        cell = mean_cell(lattice, mean, best.waves)
    return cell


def _amplitudes(crystal: Crystal) -> np.ndarray:
    """Return the (K,) mean amplitudes of a crystal over its whole frame."""
    return decoupled(mean_amplitudes(crystal.lines, crystal.waves), crystal.waves)


def _usual_step(
    crystals: Sequence[Crystal], numbers: Sequence[int], cell: MeanCell
) -> float | None:
    """Return the median length [px] of the steps between neighbours, None if they are not short."""
    places = [displacement_in(cell, _amplitudes(c), c.waves) for c in crystals]
    lengths, spacing = [], float(np.median([c.lattice.spacing_px for c in crystals]))
    for i in range(1, len(numbers)):
        if numbers[i] == numbers[i - 1] + 1:
            step = places[i] - places[i - 1]
            step = (step - np.round(step)) @ np.linalg.inv(crystals[i].waves.basis).T
            lengths.append(float(np.hypot(*step)))
    if len(lengths) < LEAST_STEPS or np.median(lengths) > SHORT_STEP * spacing:
        return None
    return float(np.median(lengths))

"""Contamination: the carbon that grows on the specimen, haze of any spectrum, adsorbed blobs.

Haze is a sum of plane waves, which take part in the product that draws the crystal; how strong each
one is follows from the frame's number alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stemkin.kernels.crystal.rendering import Probe, Scan, add_columns
from stemkin.simulation.columns import column_weights, probe_of
from stemkin.simulation.settings import Settings

N_WAVES = 48
"""Plane waves of which haze is made."""

FINEST = 4.0
"""The finest haze has waves of its correlation length over this number."""

N_TIMES = 6
"""Waves in time of which the flicker of one wave of haze is made."""


def contamination_waves(settings: Settings, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the waves of full contamination: a background that is nowhere below zero.

    Parameters
    ----------
    settings
        The movie.
    mean
        Mean intensity of the crystal [counts].

    Returns
    -------
    (5, 2) frequencies [per px], the first of them zero, and (5,) amplitudes.
    """
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(9,)))
    field = np.linalg.norm(settings.shape)
    angle, length = rng.random(4) * 2 * np.pi, (0.5 + rng.random(4)) / field
    frequencies = np.concatenate(
        [np.zeros((1, 2)), (length * np.array([np.sin(angle), np.cos(angle)])).T]
    )
    waves = np.concatenate([[1.0], 0.25 * np.exp(2j * np.pi * rng.random(4))])
    return frequencies, 0.5 * settings.instrument.contamination * mean * waves


@lru_cache(maxsize=4)
def haze_waves(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return the waves of haze at full strength, a constant among them that keeps it positive.

    Returns
    -------
    (n, 2) frequencies [per px] and (n,) complex amplitudes [counts]; n = 0 without haze.
    """
    n = settings.nuisances
    if n.haze == 0:
        return np.zeros((0, 2)), np.zeros(0, dtype=complex)
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(12,)))
    probe = probe_of(settings)
    pixel = settings.instrument.pixel_size_nm
    longest = float(np.linalg.norm(settings.shape)) * pixel
    # as many waves in each octave, from the field's size to the finest; each stands for a ring of
    # frequencies whose area goes with f^2
    length = longest * (n.haze_length_nm / FINEST / longest) ** rng.random(N_WAVES)
    angle, f = 2 * np.pi * rng.random(N_WAVES), 1 / length
    directions = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    frequencies = np.concatenate([np.zeros((1, 2)), f[:, None] * directions * pixel])
    # haze is seen through the probe, as everything is
    power = f**2 * (1 + (f * n.haze_length_nm) ** 2) ** -n.haze_slope
    power = power * np.abs(probe.transfer(frequencies[1:])) ** 2
    sd = n.haze * column_weights(settings)[0] * float(probe.profile(np.zeros(1), np.zeros(1))[0])
    amplitudes = sd * np.sqrt(2 * power / power.sum()) * np.exp(2j * np.pi * rng.random(N_WAVES))
    return frequencies, np.concatenate([[2.0 * sd], amplitudes])


def haze_factors(settings: Settings, frame: int, time_s: float) -> np.ndarray:
    """Return the (n,) complex factor of each of `haze_waves` in a frame.

    Parameters
    ----------
    settings, frame
        The movie, and the number of the frame.
    time_s
        Since the area's start [s].

    Returns
    -------
    Growth times flicker times the phase by which it has drifted.
    """
    n, (frequencies, _) = settings.nuisances, haze_waves(settings)
    if not len(frequencies):
        return np.zeros(0, dtype=complex)
    drift = np.array([n.haze_drift_y_nm_per_frame, n.haze_drift_x_nm_per_frame])
    phase = frequencies @ drift * (frame / settings.instrument.pixel_size_nm)
    factors = np.exp(-2j * np.pi * phase)
    if n.haze_flicker > 0:
        rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(13,)))
        shape = (N_TIMES, len(frequencies))
        rate = rng.standard_normal(shape) / n.haze_flicker_frames
        swing = np.cos(frame * rate + 2 * np.pi * rng.random(shape)).sum(axis=0)
        swing[0] = 0.0  # the constant does not flicker, or the haze would fall below zero
        factors = factors * (1 + n.haze_flicker * np.sqrt(2 / N_TIMES) * swing)
    if n.haze_growth_s > 0:
        factors = factors * -np.expm1(-time_s / n.haze_growth_s)
    return np.asarray(factors)


def adsorbates_in(settings: Settings, frame: int) -> np.ndarray:
    """Return where blobs are adsorbed in a frame.

    Each comes and goes, and stands elsewhere whenever it comes.

    Parameters
    ----------
    settings, frame
        The movie, and the number of the frame.

    Returns
    -------
    (k, 4) places y, x on the specimen, standard deviations [px] and volumes [counts px2].
    """
    n = settings.nuisances
    if n.n_adsorbates == 0:
        return np.zeros((0, 4))
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(14,)))
    stay = rng.integers(3, 40, n.n_adsorbates)  # frames there, and as many frames away
    turn, present = np.divmod(frame + rng.integers(0, 80, n.n_adsorbates), 2 * stay)
    size = rng.lognormal(0.0, 0.3, (2, n.n_adsorbates))
    found = np.zeros((n.n_adsorbates, 4))
    for k in range(n.n_adsorbates):
        key = (15, k, int(turn[k]))
        own = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))
        found[k, :2] = own.random(2) * settings.shape
    found[:, 2] = n.adsorbate_sd_nm * size[1] / settings.instrument.pixel_size_nm
    found[:, 3] = n.adsorbate_strength * size[0] * column_weights(settings)[0]
    return found[present < stay]


def add_adsorbates(image: np.ndarray, settings: Settings, frame: int, scan: Scan) -> None:
    """Add the blobs that are adsorbed in a frame to the expected counts, in place.

    Parameters
    ----------
    image
        (y, x) expected counts.
    settings, frame
        The movie, and the number of the frame.
    scan
        How the frame was scanned.
    """
    for blob in adsorbates_in(settings, frame):
        y, x, sd, volume = blob[:, None]
        add_columns(image, y, x, volume, Probe(float(sd[0])), scan=scan)

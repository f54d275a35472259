"""Worlds: movies whose every nuisance is drawn at random from wide, physical ranges.

A method that was fitted to one simulator does well on that one. Worlds differ from each other in
all that a method could be tempted to assume: how and by how much atoms relax around each motif (of
either sign), what a column scatters (from multislice, at several voltages and detector angles), the
probe and its aberrations, contamination of any spectrum that grows, drifts and flickers, the scan,
the detector and its faults, and frames that are bad in several ways. Nothing in stemkin is tuned on
them: they are for `benchmarks/bench_worlds.py`, and a seed that was looked at is spent.

>>> first, again, other = (draw_world(seed) for seed in (1, 1, 2))
>>> first == again, first == other
(True, False)
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from stemkin.materials import Material, material_named
from stemkin.simulation.settings import Settings

WORLD_MATERIALS = ("WS2", "MoS2", "WSe2", "MoSe2")
"""Which a world is made of, unless it is asked for another."""

_STREAM = 77


def draw_world(seed: int, *, material: str | Material | None = None) -> Settings:
    """Draw the settings of a world.

    Parameters
    ----------
    seed
        Equal seeds give equal worlds.
    material
        What it is made of; drawn from `WORLD_MATERIALS` unless given. Everything else stays as the
        seed says.

    Returns
    -------
    The settings, of 100 frames of 512 x 512 px and events of seed 0.

    Raises
    ------
    ValueError
        If `seed` is negative, or the material is not known.
    """
    if seed < 0:
        msg = f"a world has a whole number from 0 on for its seed, not {seed}"
        raise ValueError(msg)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM,)))
    drawn = material_named(str(rng.choice(np.array(WORLD_MATERIALS))))
    if isinstance(material, str):
        material = material_named(material)
    made_of = material or drawn
    # each section has a source of chance of its own, so that one does not depend on the others
    sources = rng.spawn(6)
    optics = _optics(sources[0], made_of)
    instrument = _instrument(sources[1], made_of, optics["cross_sections_nm2"])
    values = optics | instrument | _defects(sources[2]) | _haze(sources[3])
    values |= _scan(sources[4]) | _detector(sources[5])
    return Settings().with_values(material=made_of, **values)


def cross_sections_nm2(
    material: Material, voltage_kv: float, inner_mrad: float
) -> tuple[float, float, float, float]:
    """Return what columns scatter into an annular detector, by multislice.

    The table is made by ``benchmarks/multislice_columns.py``; between its voltages and angles the
    logarithms are interpolated. Two atoms above one another scatter more, or less, than twice one.

    Parameters
    ----------
    material
        Its metal, chalcogen and dopant must be in the table.
    voltage_kv
        60 to 200.
    inner_mrad
        Inner angle of the detector, 50 to 70; the outer one is 150.

    Returns
    -------
    Cross-sections [nm2] of a metal column, a whole chalcogen column, one that lacks an atom, and a
    dopant.

    Raises
    ------
    ValueError
        If the table has no such atoms.
    """
    whole = _scattering(material.chalcogen, voltage_kv, inner_mrad)
    lacking = 0.0
    if material.atoms_per_chalcogen_column == 2:
        whole, lacking = _scattering(f"{material.chalcogen}2", voltage_kv, inner_mrad), whole
    metal, dopant = (
        _scattering(symbol, voltage_kv, inner_mrad) for symbol in (material.metal, material.dopant)
    )
    return metal, whole, lacking, dopant


@lru_cache(maxsize=1)
def _table() -> dict[str, np.ndarray]:
    """Return the table of multislice cross-sections, kept once it was read."""
    with as_file(files("stemkin.simulation") / "data" / "columns.npz") as path:
        return dict(np.load(path, allow_pickle=False))


def _scattering(column: str, voltage_kv: float, inner_mrad: float) -> float:
    """Return the cross-section [nm2] of a column of the table."""
    table = _table()
    names = table["columns"].tolist()
    if column not in names:
        msg = f"no multislice table of {column!r}; it has {names}"
        raise ValueError(msg)
    logs = np.log(table["cross_section_nm2"][names.index(column)])
    at_angle = [np.interp(inner_mrad, table["inner_mrad"], row) for row in logs]
    return float(np.exp(np.interp(np.log(voltage_kv), np.log(table["voltage_kv"]), at_angle)))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is even between two limits."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _seldom(rng: np.random.Generator, share: float, low: float, high: float) -> float:
    """Draw as `_between` does with a probability of `share`, else 0."""
    value, there = _between(rng, low, high), rng.random() < share
    return value if there else 0.0


def _optics(rng: np.random.Generator, material: Material) -> dict[str, Any]:
    """Draw what a column looks like, and how atoms relax."""
    sections = cross_sections_nm2(material, _between(rng, 60, 200), float(rng.uniform(50, 70)))
    probe_sd = float(rng.uniform(0.028, 0.048))
    return {
        "cross_sections_nm2": sections,
        "probe_sd_nm": probe_sd,
        "source_sd_nm": float(rng.uniform(0.01, 0.03)),
        "tail_fraction": float(rng.uniform(0.02, 0.25)),
        "tail_sd_nm": float(rng.uniform(0.07, 0.16)),
        "background_fraction": _between(rng, 2e-4, 6e-3),
        "relaxations_nm": tuple(np.clip(rng.normal(0, 0.006, 3), -0.015, 0.015).tolist()),
        "dopant_off_site_nm": _seldom(rng, 0.5, 0.002, 0.02),
        "lobes": _lobes(rng, probe_sd),
    }


def _lobes(rng: np.random.Generator, sd_nm: float) -> tuple[tuple[float, float, float], ...]:
    """Draw astigmatism (two lobes), coma (one) and threefold astigmatism (three), each weak."""
    lobes = []
    for n_lobes, share, reach in ((2, 0.25, 0.7), (1, 0.12, 1.3), (3, 0.06, 1.4)):
        angle, share = 2 * np.pi * rng.random(), share * rng.random()
        for k in range(n_lobes):
            turn = angle + 2 * np.pi * k / n_lobes
            lobes.append((share, reach * sd_nm * np.sin(turn), reach * sd_nm * np.cos(turn)))
    return tuple((float(share), float(dy), float(dx)) for share, dy, dx in lobes)


def _instrument(
    rng: np.random.Generator, material: Material, sections_nm2: tuple[float, ...]
) -> dict[str, Any]:
    """Draw calibration, dose and stage.

    The dose is such that an ideal observer sees a vacancy at a d' of 3 to 10: a column of which
    the share f goes, and C electrons come, is seen to go at about f sqrt(C) (`images.ideal`).
    """
    frame_time_s, gain = _between(rng, 0.2, 4.0), _between(rng, 2, 60)
    _, whole, lacking, _ = sections_nm2
    share = (whole - lacking) / whole
    electrons = 1.3 * (_between(rng, 3.2, 10) / share) ** 2
    return {
        "pixel_size_nm": material.a_nm / float(rng.uniform(8.5, 13.5)),
        "frame_time_s": frame_time_s,
        "dose_rate_e_per_nm2_s": electrons / whole / frame_time_s,
        "rotation_deg": float(rng.uniform(-60, 60)),
        "gain": gain,
        "offset": float(rng.uniform(0, 2000)),
        "read_noise": gain * float(rng.uniform(0, 0.8)),
        "frame_flicker": float(rng.uniform(0, 0.05)),
        "line_flicker": _between(rng, 3e-4, 1e-2),
        "drift_y_nm_per_frame": float(rng.normal(0, 0.003)),
        "drift_x_nm_per_frame": float(rng.normal(0, 0.003)),
        "wander_nm": _between(rng, 0.01, 0.2),
        "wander_frames": _between(rng, 20, 200),
        "jump_probability": _seldom(rng, 0.3, 0.005, 0.05),
        "jump_nm": _between(rng, 0.03, 0.5),
        "contamination": float(rng.uniform(0, 0.3)),
        "contamination_time_s": frame_time_s * _between(rng, 10, 200),
        "bad_frame_probability": _seldom(rng, 0.5, 0.01, 0.08),
        "mixed_bad_frames": True,
    }


def _defects(rng: np.random.Generator) -> dict[str, Any]:
    """Draw how many defects there are, how they move, and whether the crystal breaks."""
    broken = rng.random() < 0.15
    return {
        "dopant_fraction": _between(rng, 0.004, 0.02),
        "complex_fraction": float(rng.uniform(0.2, 0.7)),
        "vacancy_fraction": _between(rng, 0.004, 0.02),
        "hop_rate_per_s": _between(rng, 0.03, 0.3),
        "rotation_rate_per_s": _between(rng, 0.05, 0.4),
        "detach_rate_per_s": _between(rng, 0.004, 0.03),
        "cross_section_barn": 0.0,
        "adatom_fraction": _seldom(rng, 0.3, 2e-4, 2e-3),
        "n_holes": int(rng.integers(1, 3)) if broken else 0,
        "hole_speed_nm_per_s": _between(rng, 0.02, 0.5),
        "hole_largest_nm": float(rng.uniform(0.5, 1.5)),
    }


def _haze(rng: np.random.Generator) -> dict[str, Any]:
    """Draw contamination: haze and adsorbates."""
    return {
        "haze": _between(rng, 0.002, 0.05),
        "haze_length_nm": _between(rng, 0.4, 2.5),
        "haze_slope": float(rng.uniform(1, 4)),
        "haze_drift_y_nm_per_frame": float(rng.normal(0, 0.01)),
        "haze_drift_x_nm_per_frame": float(rng.normal(0, 0.01)),
        "haze_flicker": _seldom(rng, 0.5, 0.05, 0.5),
        "haze_flicker_frames": _between(rng, 1, 30),
        "n_adsorbates": int(rng.choice([0, 0, 1, 3])),
        "adsorbate_sd_nm": _between(rng, 0.08, 0.5),
        "adsorbate_strength": _between(rng, 0.2, 2.0),
    }


def _scan(rng: np.random.Generator) -> dict[str, Any]:
    """Draw how the scan departs from a grid."""
    return {
        "jitter_x_nm": _between(rng, 5e-4, 0.01),
        "jitter_y_nm": _between(rng, 3e-4, 0.004),
        "jitter_slope": float(rng.uniform(0, 2)),
        "hum_nm": _seldom(rng, 0.5, 0.001, 0.008),
        "hum_rows": _between(rng, 5, 100),
        "shear_x": float(rng.normal(0, 0.01)),
        "shear_y": float(rng.normal(0, 0.01)),
        "flyback_nm": _seldom(rng, 0.5, 0.005, 0.06),
        "flyback_px": _between(rng, 5, 40),
    }


def _detector(rng: np.random.Generator) -> dict[str, Any]:
    """Draw the faults of the detector; one world in five is a compressed 8-bit video."""
    video = rng.random() < 0.2
    return {
        "row_noise": _seldom(rng, 0.5, 1e-3, 2e-2),
        "afterglow": _seldom(rng, 0.4, 0.03, 0.35),
        "excess_noise": _seldom(rng, 0.4, 0.1, 1.0),
        "nonlinearity": _seldom(rng, 0.4, 0.02, 0.2),
        "video_step": _between(rng, 2, 12) if video else 0.0,
        "dtype": "uint8" if video else "uint16",
    }

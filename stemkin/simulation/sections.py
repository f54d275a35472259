"""Sections of a simulation's settings: kinetics of the defects, damage, optics, instrument."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DefectKinetics:
    """Rates of the elementary steps; see `stemkin.simulation.kinetics` for what each one does.

    Attributes
    ----------
    dopant_fraction
        Metal sites that hold a dopant.
    complex_fraction
        Dopants that hold a vacancy at the start.
    vacancy_fraction
        Chalcogen columns that lack one atom at the start.
    hop_rate_per_s
        Hops of a free vacancy, all six directions together.
    rotation_rate_per_s
        Moves of a bound vacancy to one of its dopant's two other columns, both together.
    detach_rate_per_s
        Moves of a bound vacancy to one of its four other neighbours, all together.
    split_rate_per_s
        Moves of one vacancy out of a double vacancy, all directions together.
    cross_section_barn
        Beam creation of a vacancy, per chalcogen atom.
    cross_section_at_dopant
        The same beside a dopant, as a multiple of `cross_section_barn`.
    metal_cross_section_barn
        Beam creation of a metal vacancy, per metal atom.
    healing_rate_per_s, complex_healing_rate_per_s
        Refilling of a free, and of a bound vacancy.
    adatom_fraction
        Metal sites with an adatom on top, at the start and on average.
    adatom_hop_rate_per_s, adatom_desorption_rate_per_s
        Hops of an adatom in all six directions; its loss, balanced by arrivals.
    temperature_K, hop_energy_eV
        The rates of moving (hop, rotation, detach, split) hold at 300 K; at another temperature
        they are exp(-E/k (1/T - 1/300 K)) times as large.
    area_frames
        After so many frames the beam visits a fresh area: what makes any frame of an endless movie
        reachable.
    """

    dopant_fraction: float = 0.012
    complex_fraction: float = 0.4
    vacancy_fraction: float = 0.008
    hop_rate_per_s: float = 0.12
    rotation_rate_per_s: float = 0.2
    detach_rate_per_s: float = 0.012
    split_rate_per_s: float = 0.05
    cross_section_barn: float = 0.6
    cross_section_at_dopant: float = 10.0
    metal_cross_section_barn: float = 0.0
    healing_rate_per_s: float = 0.0044
    complex_healing_rate_per_s: float = 0.0044
    adatom_fraction: float = 0.0
    adatom_hop_rate_per_s: float = 0.2
    adatom_desorption_rate_per_s: float = 0.01
    temperature_K: float = 300.0
    hop_energy_eV: float = 0.6
    area_frames: int = 500


@dataclass(frozen=True)
class Damage:
    """Late changes of the crystal: holes that grow and a fragment that moves.

    Times count from the start of an area.

    Attributes
    ----------
    n_holes
        Holes per field of view.
    hole_start_s
        When the first opens; the others follow at equal intervals.
    hole_speed_nm_per_s
        Growth of the radius.
    hole_largest_nm
        Largest radius.
    fragment_radius_nm
        Radius of the fragment; 0 for none.
    fragment_start_s
        When it begins to move.
    fragment_turn_deg_per_s, fragment_shift_nm_per_s
        How it moves.
    fragment_largest_turn_deg, fragment_largest_shift_nm
        Where it comes to rest.
    """

    n_holes: int = 0
    hole_start_s: float = 0.0
    hole_speed_nm_per_s: float = 0.01
    hole_largest_nm: float = 2.0
    fragment_radius_nm: float = 0.0
    fragment_start_s: float = 0.0
    fragment_turn_deg_per_s: float = 0.1
    fragment_shift_nm_per_s: float = 0.004
    fragment_largest_turn_deg: float = 20.0
    fragment_largest_shift_nm: float = 0.5


@dataclass(frozen=True)
class Optics:
    """How a column of atoms looks.

    Attributes
    ----------
    probe_sd_nm, source_sd_nm
        Standard deviations of probe and source image; they add in quadrature.
    tail_fraction, tail_sd_nm
        Share and width of the probe's tail.
    contrast_exponent
        n of I ~ Z**n.
    cross_section_nm2
        Scattering of one tungsten atom into the annular detector; others follow as (Z / 74)**n.
    background_fraction
        Scattered everywhere, per incident electron.
    relaxation_nm
        How far the three metal neighbours of a vacancy move away from it.
    relaxations_nm
        The same for vacancies, double vacancies and vacancies of complexes, in this order; empty
        where `relaxation_nm` holds for all.
    dopant_off_site_nm
        How far a dopant stands off its site, each in a direction of its own.
    cross_sections_nm2
        Of a metal column, a chalcogen column, the same lacking one atom, and a dopant, in place of
        what `cross_section_nm2` and `contrast_exponent` say; empty for those.
    lobes
        (share, dy [nm], dx [nm]) of what aberrations put beside the probe's core; see
        `kernels.crystal.rendering.Probe`.
    motifs
        Path of an .npz of difference images, or None for columns alone; see
        `stemkin.simulation.difference_images`.
    """

    probe_sd_nm: float = 0.040
    source_sd_nm: float = 0.025
    tail_fraction: float = 0.12
    tail_sd_nm: float = 0.10
    contrast_exponent: float = 1.7
    cross_section_nm2: float = 5.5e-4
    background_fraction: float = 1e-3
    relaxation_nm: float = 0.004
    relaxations_nm: tuple[float, ...] = ()
    dopant_off_site_nm: float = 0.0
    cross_sections_nm2: tuple[float, ...] = ()
    lobes: tuple[tuple[float, float, float], ...] = ()
    motifs: str | None = None

    @property
    def column_sd_nm(self) -> float:
        """Standard deviation [nm] of the image of a column: probe and source in quadrature."""
        return float(np.hypot(self.probe_sd_nm, self.source_sd_nm))


@dataclass(frozen=True)
class Instrument:
    """How the microscope scans and counts.

    Attributes
    ----------
    pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s
        The calibration.
    rotation_deg
        Direction of the lattice vector a1, turning from +x to +y.
    gain, offset, read_noise
        A pixel reads offset + gain * counts + a normal number of this sd, rounded and clipped.
    dtype
        "uint8", "uint16" or "float32".
    jitter_x_nm, jitter_y_nm
        sd of each scan line's displacement.
    frame_flicker, line_flicker
        Relative sd of the beam current from frame to frame, and from line to line.
    drift_y_nm_per_frame, drift_x_nm_per_frame
        Steady drift.
    wander_nm, wander_frames
        sd and correlation time of the slow wandering of the stage.
    jump_probability, jump_nm
        Chance per frame of a sudden displacement, and its sd.
    contamination
        Background of the carbon that grows on the sample, as a multiple of the mean intensity, at
        its strongest.
    contamination_time_s
        How fast it grows: it has come to 63 % after so long.
    blank_frames, saturated_frames, truncated_frames
        Numbers of bad frames; negative numbers count from the end.
    bad_frame_probability
        Chance that any other frame is bad in one of these ways.
    """

    pixel_size_nm: float = 0.03
    frame_time_s: float = 2.25
    dose_rate_e_per_nm2_s: float = 1.6e6
    rotation_deg: float = 0.0
    gain: float = 20.0
    offset: float = 200.0
    read_noise: float = 10.0
    dtype: str = "uint16"
    jitter_x_nm: float = 0.003
    jitter_y_nm: float = 0.001
    frame_flicker: float = 0.01
    line_flicker: float = 0.003
    drift_y_nm_per_frame: float = 0.0015
    drift_x_nm_per_frame: float = -0.001
    wander_nm: float = 0.05
    wander_frames: float = 60.0
    jump_probability: float = 0.0
    jump_nm: float = 0.1
    contamination: float = 0.05
    contamination_time_s: float = 150.0
    blank_frames: tuple[int, ...] = ()
    saturated_frames: tuple[int, ...] = ()
    truncated_frames: tuple[int, ...] = ()
    bad_frame_probability: float = 0.0

"""Named movies: the settings of METHOD.md and their neighbours."""

from __future__ import annotations

from stemkin.simulation.settings import Settings

PRESETS: dict[str, Settings] = {
    "paper": Settings(),
    "low-dose": Settings().with_values(dose_rate_e_per_nm2_s=3e5, cross_section_barn=3.2),
    "starved": Settings(n_frames=2000).with_values(
        dose_rate_e_per_nm2_s=1e5,
        area_frames=2000,
        dopant_fraction=0.01,
        vacancy_fraction=0.018,
        drift_y_nm_per_frame=0.0,
        drift_x_nm_per_frame=0.0,
        wander_nm=0.3,
        wander_frames=2000.0,
    ),
    "rotated": Settings().with_values(rotation_deg=17.3),
    "long": Settings(n_frames=10_000).with_values(
        area_frames=2000,
        cross_section_barn=0.15,
        vacancy_fraction=0.011,
        drift_y_nm_per_frame=0.0,
        drift_x_nm_per_frame=0.0,
        wander_nm=0.3,
        wander_frames=2000.0,
    ),
    "late-stage": Settings().with_values(
        n_holes=2,
        hole_start_s=60.0,
        hole_speed_nm_per_s=0.012,
        hole_largest_nm=2.5,
        fragment_radius_nm=2.2,
        fragment_start_s=110.0,
        contamination=0.15,
        metal_cross_section_barn=0.02,
        adatom_fraction=0.001,
    ),
    "null": Settings().with_values(
        dopant_fraction=0.0, vacancy_fraction=0.0, complex_fraction=0.0, cross_section_barn=0.0
    ),
    "frozen": Settings().with_values(
        hop_rate_per_s=0.0,
        rotation_rate_per_s=0.0,
        detach_rate_per_s=0.0,
        split_rate_per_s=0.0,
        cross_section_barn=0.0,
        healing_rate_per_s=0.0,
        complex_healing_rate_per_s=0.0,
        vacancy_fraction=0.015,
    ),
    "archive": Settings(n_frames=60, shape=(256, 256)),
}
"""``archive`` is one movie here; `simulate_archive` makes many of it, each with its own rotation,
dose and temperature. ``starved`` has a sixteenth of the dose of ``paper``: single frames show hardly
any vacancy."""

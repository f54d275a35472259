"""Refusal of settings that no experiment could have, with the value met and the cure."""

from __future__ import annotations

import math

from stemkin.simulation.settings import SECTIONS, Settings

_FRACTIONS = (
    "complex_fraction",
    "vacancy_fraction",
    "adatom_fraction",
    "tail_fraction",
    "jump_probability",
    "bad_frame_probability",
    "afterglow",
)
_POSITIVE = (
    "frame_time_s",
    "pixel_size_nm",
    "gain",
    "probe_sd_nm",
    "tail_sd_nm",
    "temperature_K",
    "wander_frames",
    "contamination_time_s",
    "a_nm",
    "contrast_exponent",
    "haze_length_nm",
    "haze_flicker_frames",
    "adsorbate_sd_nm",
    "flyback_px",
    "hum_rows",
)
_NOT_NEGATIVE = (
    "hop_rate_per_s",
    "rotation_rate_per_s",
    "detach_rate_per_s",
    "split_rate_per_s",
    "cross_section_barn",
    "cross_section_at_dopant",
    "metal_cross_section_barn",
    "healing_rate_per_s",
    "complex_healing_rate_per_s",
    "adatom_hop_rate_per_s",
    "adatom_desorption_rate_per_s",
    "hop_energy_eV",
    "n_holes",
    "hole_start_s",
    "hole_speed_nm_per_s",
    "hole_largest_nm",
    "fragment_radius_nm",
    "fragment_start_s",
    "source_sd_nm",
    "cross_section_nm2",
    "background_fraction",
    "dose_rate_e_per_nm2_s",
    "read_noise",
    "jitter_x_nm",
    "jitter_y_nm",
    "frame_flicker",
    "line_flicker",
    "wander_nm",
    "jump_nm",
    "contamination",
    "dopant_off_site_nm",
    "haze",
    "haze_slope",
    "haze_flicker",
    "haze_growth_s",
    "n_adsorbates",
    "flyback_nm",
    "jitter_slope",
    "hum_nm",
    "row_noise",
    "excess_noise",
    "nonlinearity",
    "video_step",
)
_LENGTHS = {"relaxations_nm": (0, 3), "cross_sections_nm2": (0, 4)}
"""How many numbers a setting of several may have."""

LARGEST_DOPANT_FRACTION = 0.05
FASTEST_PER_FRAME = 1000.0
"""Steps of one defect per frame beyond which a movie only shows an average of them."""


def check_physical(settings: Settings) -> None:
    """Check that every setting has a value that an experiment could have.

    Raises
    ------
    ValueError
        Naming the first setting that has not.
    """
    values = {
        name: value
        for section in SECTIONS
        for name, value in vars(getattr(settings, section)).items()
    }
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            _refuse(name, value, "use a finite number")
    for name in _FRACTIONS:
        if not 0 <= values[name] <= 1:
            _refuse(name, values[name], "a fraction lies between 0 and 1")
    for name in _POSITIVE:
        if values[name] <= 0:
            _refuse(name, values[name], "it must be above zero")
    for name in _NOT_NEGATIVE:
        if values[name] < 0:
            _refuse(name, values[name], "it cannot be negative")
    for name, allowed in _LENGTHS.items():
        if len(values[name]) not in allowed:
            _refuse(name, values[name], f"give {allowed[1]} numbers, or none")
    _check_rest(settings)


def _check_rest(settings: Settings) -> None:
    k, i = settings.kinetics, settings.instrument
    if not 0 <= k.dopant_fraction <= LARGEST_DOPANT_FRACTION:
        _refuse(
            "dopant_fraction",
            k.dopant_fraction,
            f"dopants keep apart, which works from 0 to {LARGEST_DOPANT_FRACTION}",
        )
    if settings.n_frames < 1:
        _refuse("n_frames", settings.n_frames, "a movie has at least one frame")
    if settings.seed < 0:
        _refuse("seed", settings.seed, "use a whole number from 0 on")
    if k.area_frames < 1:
        _refuse("area_frames", k.area_frames, "an area is looked at for at least one frame")
    if len(settings.shape) != 2 or min(settings.shape) < 1:
        _refuse("shape", settings.shape, "give (height, width) in pixels")
    if i.dtype not in ("uint8", "uint16", "float32"):
        _refuse("dtype", i.dtype, "use uint8, uint16 or float32")
    for name in ("hop_rate_per_s", "rotation_rate_per_s", "detach_rate_per_s", "split_rate_per_s"):
        rate = getattr(k, name)
        if rate * i.frame_time_s > FASTEST_PER_FRAME:
            _refuse(
                name,
                rate,
                f"that is over {FASTEST_PER_FRAME:.0f} steps per frame, which no movie resolves; "
                "use a lower rate",
            )


def _refuse(name: str, value: object, cure: str) -> None:
    msg = f"{name} = {value!r} is not physical: {cure}"
    raise ValueError(msg)

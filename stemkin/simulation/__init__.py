"""Movies whose defects, rates and diffusion are known exactly.

>>> movie = simulate_movie("paper", n_frames=4, shape=(128, 128), seed=1)
>>> movie.shape, movie.pixel_size_nm
((4, 128, 128), 0.03)
>>> truth_of(movie).defects["kind"].unique().tolist()
['V_S', 'Mo_W+V_S', 'Mo_W']

A frame is computed where it is read, from the movie's settings and the frame's number alone, so a movie of a petabyte
costs nothing to make and every chunking gives the same bits.
"""

from __future__ import annotations

from typing import Any

from stemkin.movie import Movie
from stemkin.simulation.checks import check_physical
from stemkin.simulation.crystal import crystal
from stemkin.simulation.material import MATERIALS, Material
from stemkin.simulation.presets import PRESETS
from stemkin.simulation.reader import SimulatedReader
from stemkin.simulation.settings import Damage, Instrument, Kinetics, Optics, Settings
from stemkin.simulation.truth import Truth, truth_of

__all__ = [
    "MATERIALS", "PRESETS", "Damage", "Instrument", "Kinetics", "Material", "Optics", "Settings", "SimulatedReader", "Truth",
    "simulate_movie", "truth_of",
]  # fmt: skip


def simulate_movie(
    preset: str | Settings = "paper",
    *,
    n_frames: int | None = None,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    name: str | None = None,
    **overrides: Any,
) -> Movie:
    """Make a movie with a known answer. Lazy: nothing is computed before frames are read.

    Parameters
    ----------
    preset
        "paper", "low-dose", "rotated", "long", "late-stage", "null", "frozen", "archive", or settings of your own.
    n_frames, shape
        Length and (height, width) in pixels; the preset's where not given.
    seed
        Equal seeds (and settings) give equal bits.
    name
        Of the movie; by default preset and seed.
    **overrides
        Any setting by its name, for instance ``hop_rate_per_s=0.1``; see `Settings`.

    Raises
    ------
    ValueError
        If a preset or setting is unknown or unphysical.
    """
    settings, label = _settings(preset)
    sizes = {"n_frames": n_frames, "shape": shape, "seed": seed}
    settings = settings.with_values(**{k: v for k, v in sizes.items() if v is not None}, **overrides)
    check_physical(settings)
    crystal(settings)
    reader = SimulatedReader(settings, label)
    return Movie(reader, name if name is not None else f"{label}-{seed}", reader.calibration)


def _settings(preset: str | Settings) -> tuple[Settings, str]:
    if isinstance(preset, Settings):
        return preset, "simulated"
    if preset not in PRESETS:
        msg = f"no preset is called {preset!r}; choose from {sorted(PRESETS)}"
        raise ValueError(msg)
    return PRESETS[preset], preset

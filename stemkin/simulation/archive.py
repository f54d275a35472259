"""Making movies with a known answer: one, or an archive of many."""

from __future__ import annotations

from typing import Any

import numpy as np

from stemkin.movie import Movie
from stemkin.simulation.checks import check_physical
from stemkin.simulation.crystal import crystal_of
from stemkin.simulation.presets import PRESETS
from stemkin.simulation.reader import SimulatedReader
from stemkin.simulation.settings import Settings
from stemkin.simulation.worlds import draw_world


def simulate_movie(
    preset: str | Settings = "paper",
    *,
    world: int | None = None,
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
        "paper", "low-dose", "starved", "rotated", "long", "late-stage", "null", "frozen", "archive", or
        settings of your own.
    world
        A number, in place of a preset: material, contrast, probe, relaxations, contamination, scan,
        detector and bad frames are drawn at random by it from wide ranges (`worlds.draw_world`).
    n_frames, shape
        Length and (height, width) in pixels; the preset's where not given.
    seed
        Equal seeds (and settings) give equal bits.
    name
        Of the movie; by default preset and seed.
    **overrides
        Any setting by its name, for instance ``hop_rate_per_s=0.1``; see `Settings`.

    Returns
    -------
    `Movie`; `truth_of` gives its answer.

    Raises
    ------
    ValueError
        If a preset or setting is unknown or unphysical, or both preset and world are given.
    """
    if world is None:
        settings, label = _settings(preset)
    elif preset == "paper":
        material = overrides.pop("material", None)
        settings, label = draw_world(world, material=material), f"world-{world}"
    else:
        msg = f"a movie is made of a preset or of a world, not of {preset!r} and world {world}"
        raise ValueError(msg)
    sizes = {"n_frames": n_frames, "shape": shape, "seed": seed}
    given = {key: value for key, value in sizes.items() if value is not None}
    settings = settings.with_values(**given, **overrides)
    check_physical(settings)
    crystal_of(settings)  # refuses pixels and shapes that show no lattice
    reader = SimulatedReader(settings, label)
    if name is None:
        name = f"{label}-{seed}"
    return Movie(reader, name, reader.calibration)


def simulate_archive(
    preset: str | Settings = "archive",
    *,
    n_movies: int = 3,
    n_frames: int | None = None,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    **overrides: Any,
) -> list[Movie]:
    """Make many movies of one material, each with conditions of its own. Lazy.

    Rotation, dose rate and temperature differ from movie to movie.

    Parameters
    ----------
    preset, n_frames, shape, **overrides
        As in `simulate_movie`; a rotation, dose rate or temperature given here holds for all.
    n_movies
        How many.
    seed
        Equal seeds give equal archives; movie n of an archive does not depend on `n_movies`.

    Returns
    -------
    The movies, in order.

    Raises
    ------
    ValueError
        If `n_movies` is below 1, or a preset or setting is unknown or unphysical.

    Examples
    --------
    >>> [movie.name for movie in simulate_archive(n_movies=3, n_frames=2, shape=(64, 64))]
    ['archive-0-000', 'archive-0-001', 'archive-0-002']
    """
    if n_movies < 1:
        msg = f"an archive of {n_movies} movies cannot be made; use n_movies of at least 1"
        raise ValueError(msg)
    base, label = _settings(preset)
    movies = []
    for n in range(n_movies):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(10, n)))
        dose_rate = base.instrument.dose_rate_e_per_nm2_s
        own = {
            "rotation_deg": float(rng.uniform(-60, 60)),
            "dose_rate_e_per_nm2_s": dose_rate * float(2 ** rng.uniform(-0.5, 0.5)),
            "temperature_K": float(rng.uniform(295, 310)),
        }
        name, movie_seed = f"{label}-{seed}-{n:03d}", int(rng.integers(2**31))
        values = own | overrides
        movies.append(
            simulate_movie(
                base, n_frames=n_frames, shape=shape, seed=movie_seed, name=name, **values
            )
        )
    return movies


def _settings(preset: str | Settings) -> tuple[Settings, str]:
    if isinstance(preset, Settings):
        return preset, "simulated"
    if preset not in PRESETS:
        msg = f"no preset is called {preset!r}; choose from {sorted(PRESETS)}"
        raise ValueError(msg)
    return PRESETS[preset], preset

"""What is true of a simulated movie: tables to compare any result with.

>>> from stemkin.simulation import simulate_movie, truth_of
>>> truth = truth_of(simulate_movie("paper", n_frames=3, shape=(128, 128)))
>>> truth.defects.columns.tolist()
['movie', 'frame', 'kind', 'orientation', 'site', 'particle', 'y', 'x', 'y_nm', 'x_nm']
>>> float(truth.diffusion["D_nm2_per_s"].iloc[0]) == truth.D_nm2_per_s
True
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from stemkin.movie import Movie
from stemkin.simulation import closed_form, counted_rates, truth_tables
from stemkin.simulation.limits import limits_table
from stemkin.simulation.rates import Rates
from stemkin.simulation.reader import SimulatedReader
from stemkin.simulation.settings import Settings

TRUTH, PARAMS = "truth", "params.json"
"""Folder and file that `write_simulation` puts beside the movies."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of one movie; each table is computed when it is first asked for.

    Attributes
    ----------
    movie
        Name of the movie.
    settings
        What it was simulated with.
    """

    movie: str
    settings: Settings

    @property
    def n_frames(self) -> int:
        """Length of the movie."""
        return self.settings.n_frames

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) [px]."""
        return self.settings.shape

    @property
    def pixel_size_nm(self) -> float:
        """Edge of a pixel [nm]."""
        return self.settings.instrument.pixel_size_nm

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of defects, whether they occur or not."""
        return tuple(dict.fromkeys(self.settings.material.kinds))

    @cached_property
    def defects(self) -> pd.DataFrame:
        """Every defect in sight in every frame. Computes once.

        For a movie too long for memory use `defects_between`.
        """
        return self.defects_between(0, self.settings.n_frames)

    def defects_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return the defects of frames `start` to `stop` (excluded). Computes once.

        Returns
        -------
        Rows ordered by frame, y, x: `movie`, `frame`, `kind` (V_S, V_S2, Mo_W, Mo_W+V_S, V_W,
        W_ad), `orientation` (0..2, which of the three neighbouring columns of a dopant holds the
        vacancy; -1 = none), `site` (number of the column, unique on the sample), `particle` (the
        same defect keeps it from frame to frame), `y`, `x` [px, raw frame; the mean over scan-line
        jitter], `y_nm`, `x_nm` [drift-corrected]. A complex lies at its dopant.
        """
        return truth_tables.defects_table(self.movie, self.settings, start, stop)

    def partners_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return where the vacancies of the complexes are. Computes once.

        Returns
        -------
        Rows of frames `start` to `stop` (excluded): `movie`, `frame`, `particle` (of the complex),
        `y`, `x` [px, raw frame].
        """
        return truth_tables.partners_table(self.movie, self.settings, start, stop)

    @cached_property
    def frames(self) -> pd.DataFrame:
        """What is true of each frame. Computes once.

        For a movie too long for memory use `frames_between`.
        """
        return self.frames_between(0, self.settings.n_frames)

    def frames_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return what is true of frames `start` to `stop` (excluded). Computes once.

        Returns
        -------
        Columns `movie`, `frame`, `time_s`, `status`, `shift_y`, `shift_x` [px, cumulative: a
        static point of frame 0 at y is seen at y + shift_y], `n_defects`, `vacuum`, `moved` (area
        fractions of holes and of the moved fragment).
        """
        return truth_tables.frames_table(self.movie, self.settings, start, stop)

    @property
    def drift(self) -> pd.DataFrame:
        """The columns of `frames` that tell the drift."""
        return self.frames[["movie", "frame", "shift_y", "shift_x"]]

    @cached_property
    def sojourns(self) -> pd.DataFrame:
        """Every state of every defect, in and out of sight; see `sojourns_of`. Computes once."""
        n_areas = -(-self.settings.n_frames // self.settings.kinetics.area_frames)
        return pd.concat([self.sojourns_of(area) for area in range(n_areas)], ignore_index=True)

    def sojourns_of(self, area: int) -> pd.DataFrame:
        """Return every state of every defect of one area, with exact times. Computes once.

        Returns
        -------
        Columns `movie`, `area`, `particle` (within the area; in the frames its periodic image is
        told apart too), `kind`, `orientation`, `start_s`, `end_s` (since the movie's start),
        `cause`, `fate` (what began and what ended the state: hop, attach, pair, rotate, detach,
        split, create, heal, ...; "begin" and "end" are those of the area).
        """
        return truth_tables.sojourns_table(self.movie, self.settings, area)

    @property
    def events(self) -> pd.DataFrame:
        """Every change at its exact time; see `truth_tables.events_table`."""
        return truth_tables.events_table(self.sojourns)

    @cached_property
    def exit_rates(self) -> pd.DataFrame:
        """How often each kind became another or ended; see `counted_rates`. Computes once."""
        return counted_rates.counted_exit_rates(self.sojourns)

    @cached_property
    def kind_rates(self) -> pd.DataFrame:
        """Rates [1/s] from kind (rows) to kind (columns) as they came out. Computes once."""
        return counted_rates.counted_kind_rates(self.sojourns, self.kinds)

    def transition_counts(self, lag_frames: int = 1) -> pd.DataFrame:
        """Return what a perfect observer counts: from kind (rows) to kind (columns).

        Counted are pairs of sightings of the same defect, `lag_frames` apart.
        """
        return truth_tables.transition_counts_table(self.defects, self.kinds, lag_frames)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The rate of each elementary step; see `closed_form.rates_table`."""
        return closed_form.rates_table(self.settings)

    @cached_property
    def generator(self) -> pd.DataFrame:
        """The generator Q [1/s] of a dopant's states; see `closed_form.generator`."""
        return closed_form.generator(self.settings)

    def transition_probabilities(self, lag_frames: int = 1) -> pd.DataFrame:
        """Return exp(Q lag) of `generator`: the chance to be in each state `lag_frames` later."""
        from scipy.linalg import expm

        Q = self.generator
        lag_s = lag_frames * self.settings.instrument.frame_time_s
        return pd.DataFrame(expm(Q.to_numpy() * lag_s), Q.index, Q.columns)

    @property
    def D_nm2_per_s(self) -> float:  # noqa: N802 - physics writes D
        """Diffusion coefficient of a free vacancy, hop rate a2 / 4 [nm2/s]."""
        return closed_form.diffusion_coefficient(self.settings)

    @property
    def hop_rate_per_s(self) -> float:
        """Hops of a free vacancy per second."""
        return Rates.of(self.settings).hop

    @cached_property
    def diffusion(self) -> pd.DataFrame:
        """How each kind that moves does so, in closed form and as it came out. Computes once."""
        lone = closed_form.lone_diffusion(self.settings)
        return counted_rates.counted_diffusion(lone, self.sojourns, self.settings.material.a_nm)

    @cached_property
    def limits(self) -> pd.DataFrame:
        """What an ideal observer could reach; see `limits.limits_table`. Computes once."""
        return limits_table(self.settings)


def truth_of(movie: Movie) -> Truth:
    """Return the truth of a simulated movie.

    Parameters
    ----------
    movie
        One that `simulate_movie` made, or that was opened from what `write_simulation` has written.

    Returns
    -------
    `Truth`; its tables are computed when they are asked for.

    Raises
    ------
    ValueError
        If the movie was not simulated.
    """
    reader: Any = movie.reader
    reader = getattr(reader, "reader", reader)  # what stands between a movie and its file
    if isinstance(reader, SimulatedReader):
        return Truth(movie.name, reader.settings)
    path = Path(movie.source)
    written = path.parent / TRUTH / path.name.split(".")[0] / PARAMS
    if written.exists():
        return Truth(movie.name, Settings.from_dict(json.loads(written.read_text())["settings"]))
    msg = (
        f"movie {movie.name!r} comes from {movie.source!r}, not from simulate_movie; its truth is "
        "not known"
    )
    raise ValueError(msg)

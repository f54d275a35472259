"""What is true of a simulated movie: tables to compare any result with.

>>> from stemkin.simulation import simulate_movie, truth_of
>>> truth = truth_of(simulate_movie("paper", n_frames=3, shape=(128, 128)))
>>> truth.defects.columns.tolist()
['movie', 'frame', 'kind', 'orientation', 'site', 'particle', 'y', 'x', 'y_nm', 'x_nm']
>>> float(truth.diffusion["D_nm2_per_s"].iloc[0]) == truth.D_nm2_per_s
True
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.movie import Movie
from stemkin.simulation import closed_form
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.rates import CAUSES, Rates
from stemkin.simulation.reader import SimulatedReader, statuses
from stemkin.simulation.scene import sightings, sojourns
from stemkin.simulation.settings import Settings


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
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of defects, whether they occur or not."""
        return self.settings.material.kinds

    @cached_property
    def defects(self) -> pd.DataFrame:
        """Every defect in sight in every frame; for a movie too long for memory use `defects_between`. Computes once."""
        return self.defects_between(0, self.settings.n_frames)

    def defects_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return the defects of frames `start` to `stop` (excluded), ordered by frame, y, x. Computes once.

        Columns: `movie`, `frame`, `kind` (V_S, V_S2, Mo_W, Mo_W+V_S, V_W, W_ad), `orientation` (0..2, which of the three
        neighbouring columns of a dopant holds the vacancy; -1 = none), `site` (number of the column, unique on the
        sample), `particle` (the same defect keeps it from frame to frame), `y`, `x` [px, raw frame; the mean over
        scan-line jitter], `y_nm`, `x_nm` [drift-corrected]. A complex lies at its dopant.
        """
        seen = sightings(self.settings, start, stop)
        pixel = self.settings.instrument.pixel_size_nm
        columns = {
            "movie": pd.Series(self.movie, index=range(len(seen)), dtype="str"),
            "frame": seen["frame"].astype(np.int32),
            "kind": pd.Series(np.asarray(self.kinds, dtype=object)[seen["kind"]], dtype="str"),
            "orientation": seen["orientation"],
            "site": seen["site"],
            "particle": seen["particle"],
            "y": seen["y"],
            "x": seen["x"],
            "y_nm": seen["sample_y"] * pixel,
            "x_nm": seen["sample_x"] * pixel,
        }
        return pd.DataFrame(columns)

    @cached_property
    def frames(self) -> pd.DataFrame:
        """Per frame: `movie`, `frame`, `time_s`, `status`, `shift_y`, `shift_x` [px, cumulative], `n_defects`. Computes once."""
        n = self.settings.n_frames
        shifts = shifts_px(self.settings, np.arange(n))
        counts = np.bincount(sightings(self.settings, 0, n)["frame"], minlength=n)
        return pd.DataFrame(
            {
                "movie": pd.Series(self.movie, index=range(n), dtype="str"),
                "frame": np.arange(n, dtype=np.int32),
                "time_s": np.arange(n) * self.settings.instrument.frame_time_s,
                "status": pd.Series(statuses(self.settings, 0, n), dtype="str"),
                "shift_y": shifts[:, 0],
                "shift_x": shifts[:, 1],
                "n_defects": counts,
            }
        )

    @property
    def drift(self) -> pd.DataFrame:
        """The columns of `frames` that tell the drift: a static point of frame 0 at y is seen at y + shift_y."""
        return self.frames[["movie", "frame", "shift_y", "shift_x"]]

    @cached_property
    def events(self) -> pd.DataFrame:
        """Every change of a defect at its exact time, in and out of sight: `time_s`, `event`, `particle`, `kind` (after). Computes once."""
        s = self.settings
        parts = []
        for area in range(-(-s.n_frames // s.kinetics.area_frames)):
            rows = sojourns(s, area)
            rows = rows[rows["cause"] > CAUSES.index("end")]
            offset = area * s.kinetics.area_frames * s.instrument.frame_time_s
            parts.append(
                pd.DataFrame(
                    {
                        "time_s": rows["start_s"] + offset,
                        "area": area,
                        "event": pd.Series(np.asarray(CAUSES, dtype=object)[rows["cause"]], dtype="str"),
                        "particle": rows["particle"],
                        "kind": pd.Series(np.asarray(self.kinds, dtype=object)[rows["kind"]], dtype="str"),
                        "orientation": rows["orientation"],
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The rate of each elementary step: `step`, `kind` of what it happens to, `rate_per_s`; see `closed_form.rates_table`."""
        return closed_form.rates_table(self.settings)

    @cached_property
    def generator(self) -> pd.DataFrame:
        """The generator Q [1/s] of a dopant's states (bare, vacancy in column 0, 1, 2); see `closed_form.generator`."""
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

    @property
    def diffusion(self) -> pd.DataFrame:
        """`kind`, `hop_rate_per_s`, `D_nm2_per_s` of every kind that moves."""
        return closed_form.diffusion_table(self.settings)


def truth_of(movie: Movie) -> Truth:
    """Return the truth of a movie that `simulate_movie` made.

    Raises
    ------
    ValueError
        If the movie was not simulated.
    """
    if not isinstance(movie.reader, SimulatedReader):
        msg = f"movie {movie.name!r} comes from {movie.source!r}, not from simulate_movie; its truth is not known"
        raise ValueError(msg)
    return Truth(movie.name, movie.reader.settings)


def experiment_of_truth(truth: Truth) -> tables.Experiment:
    """Return the experiment a perfect observer would have known: calibration and the kinds as classes 0, 1, ..."""
    classes = pd.DataFrame(
        {"class_id": range(len(truth.kinds)), "name": truth.kinds, "n_detections": 0, "mean_patch": None}
    )
    movie = Movie(SimulatedReader(truth.settings), truth.movie, SimulatedReader(truth.settings).calibration)
    movies = tables.conform(pd.DataFrame([movie.table_row()]), "movies")
    return tables.Experiment(movies, None, tables.conform(classes, "classes"))

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

import numpy as np
import pandas as pd

from stemkin.movie import Movie
from stemkin.simulation import closed_form, counted
from stemkin.simulation.columns import turned
from stemkin.simulation.crystal import BOND, BOUND
from stemkin.simulation.damage import area_fractions, is_damaged
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.limits import limits_table
from stemkin.simulation.material import COMPLEX
from stemkin.simulation.rates import CAUSES, Rates
from stemkin.simulation.reader import SimulatedReader, statuses
from stemkin.simulation.scene import area_and_time, sightings, sojourns
from stemkin.simulation.settings import Settings

TRUTH, PARAMS = "truth", "params.json"
"""Folder and file that `write` puts beside the movies."""


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
        """Every defect in sight in every frame; for a movie too long for memory use
        `defects_between`. Computes once."""
        return self.defects_between(0, self.settings.n_frames)

    def defects_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return the defects of frames `start` to `stop` (excluded), ordered by frame, y, x.
        Computes once.

        Columns: `movie`, `frame`, `kind` (V_S, V_S2, Mo_W, Mo_W+V_S, V_W, W_ad), `orientation`
        (0..2, which of the three neighbouring columns of a dopant holds the vacancy; -1 = none),
        `site` (number of the column, unique on the sample), `particle` (the same defect keeps it
        from frame to frame), `y`, `x` [px, raw frame; the mean over scan-line jitter], `y_nm`,
        `x_nm` [drift-corrected]. A complex lies at its dopant.
        """
        seen = sightings(self.settings, start, stop)
        pixel = self.settings.instrument.pixel_size_nm
        columns = {
            "movie": pd.Series(self.movie, index=range(len(seen)), dtype="str"),
            "frame": seen["frame"].astype(np.int32),
            "kind": pd.Series(
                np.asarray(self.settings.material.kinds, dtype=object)[seen["kind"]], dtype="str"
            ),
            "orientation": seen["orientation"],
            "site": seen["site"],
            "particle": seen["particle"],
            "y": seen["y"],
            "x": seen["x"],
            "y_nm": seen["sample_y"] * pixel,
            "x_nm": seen["sample_x"] * pixel,
        }
        return pd.DataFrame(columns)

    def partners_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return where the vacancies of the complexes are: `movie`, `frame`, `particle` (of the
        complex), `y`, `x`. Computes once."""
        seen = sightings(
            self.settings,
            start,
            stop,
            margin_px=self.settings.material.a_nm / self.settings.instrument.pixel_size_nm,
        )
        seen = seen[seen["kind"] == COMPLEX]
        offset = turned(self.settings, BOUND[seen["orientation"]] + BOND, seen["turn"])
        columns = {
            "movie": pd.Series(self.movie, index=range(len(seen)), dtype="str"),
            "frame": seen["frame"].astype(np.int32),
            "particle": seen["particle"],
            "y": seen["y"] + offset[:, 0],
            "x": seen["x"] + offset[:, 1],
        }
        return pd.DataFrame(columns)

    @cached_property
    def frames(self) -> pd.DataFrame:
        """What is true of each frame; for a movie too long for memory use `frames_between`.
        Computes once."""
        return self.frames_between(0, self.settings.n_frames)

    def frames_between(self, start: int, stop: int) -> pd.DataFrame:
        """Return what is true of frames `start` to `stop` (excluded). Computes once.

        Columns: `movie`, `frame`, `time_s`, `status`, `shift_y`, `shift_x` [px, cumulative: a
        static point of frame 0 at y is seen at y + shift_y], `n_defects`, `vacuum`, `moved` (area
        fractions of holes and of the moved fragment).
        """
        s, frames = self.settings, np.arange(start, stop)
        shifts = shifts_px(s, frames)
        broken = np.zeros((len(frames), 2))
        if is_damaged(s):
            broken = np.array(
                [
                    area_fractions(s, *area_and_time(s, k), shift)
                    for k, shift in zip(frames.tolist(), shifts, strict=True)
                ]
            ).reshape(-1, 2)
        columns = {
            "movie": pd.Series(self.movie, index=range(len(frames)), dtype="str"),
            "frame": frames.astype(np.int32),
            "time_s": frames * s.instrument.frame_time_s,
            "status": pd.Series(statuses(s, start, stop), dtype="str"),
            "shift_y": shifts[:, 0],
            "shift_x": shifts[:, 1],
            "n_defects": np.bincount(
                sightings(s, start, stop)["frame"] - start, minlength=len(frames)
            ),
            "vacuum": broken[:, 0],
            "moved": broken[:, 1],
        }
        return pd.DataFrame(columns)

    @property
    def drift(self) -> pd.DataFrame:
        """The columns of `frames` that tell the drift: a static point of frame 0 at y is seen at y
        + shift_y."""
        return self.frames[["movie", "frame", "shift_y", "shift_x"]]

    @cached_property
    def sojourns(self) -> pd.DataFrame:
        """Every state of every defect of the movie, in and out of sight; see `sojourns_of`.
        Computes once."""
        n_areas = -(-self.settings.n_frames // self.settings.kinetics.area_frames)
        return pd.concat([self.sojourns_of(area) for area in range(n_areas)], ignore_index=True)

    def sojourns_of(self, area: int) -> pd.DataFrame:
        """Return every state of every defect of one area, from when to when to the last bit.
        Computes once.

        Columns: `movie`, `area`, `particle` (within the area; in the frames its periodic image is
        told apart too), `kind`, `orientation`, `start_s`, `end_s` (since the movie's start),
        `cause`, `fate` (what began and what ended the state: hop, attach, pair, rotate, detach,
        split, create, heal, ...; "begin" and "end" are those of the area).
        """
        rows, s = sojourns(self.settings, area), self.settings
        start_s = area * s.kinetics.area_frames * s.instrument.frame_time_s
        names = np.asarray(CAUSES, dtype=object)
        columns = {
            "movie": pd.Series(self.movie, index=range(len(rows)), dtype="str"),
            "area": np.full(len(rows), area, np.int32),
            "particle": rows["particle"],
            "kind": pd.Series(
                np.asarray(self.settings.material.kinds, dtype=object)[rows["kind"]], dtype="str"
            ),
            "orientation": rows["orientation"],
            "start_s": rows["start_s"] + start_s,
            "end_s": rows["end_s"] + start_s,
            "cause": pd.Series(names[rows["cause"]], dtype="str"),
            "fate": pd.Series(names[rows["fate"]], dtype="str"),
        }
        return pd.DataFrame(columns)

    @property
    def events(self) -> pd.DataFrame:
        """Every change at its exact time: `movie`, `time_s`, `event`, `particle`, `kind` and
        `orientation` (those before it)."""
        ended = self.sojourns[self.sojourns["fate"] != "end"]
        columns = {"end_s": "time_s", "fate": "event"}
        found = ended.rename(columns=columns)[
            ["movie", "time_s", "event", "particle", "kind", "orientation"]
        ]
        return found.sort_values("time_s", kind="stable", ignore_index=True)

    @cached_property
    def exit_rates(self) -> pd.DataFrame:
        """How often each kind became another or ended; see `counted.exit_rates`. Computes once."""
        return counted.exit_rates(self.sojourns)

    @cached_property
    def kind_rates(self) -> pd.DataFrame:
        """Rates [1/s] from kind (rows) to kind (columns) as they came out; see
        `counted.kind_rates`. Computes once."""
        return counted.kind_rates(self.sojourns, self.kinds)

    def transition_counts(self, lag_frames: int = 1) -> pd.DataFrame:
        """Return what a perfect observer counts: from kind (rows) to kind (columns), of the same
        defect, `lag_frames` apart."""
        before = self.defects[["particle", "frame", "kind"]]
        after = before.assign(frame=before["frame"] - lag_frames)
        pairs = before.merge(after, on=["particle", "frame"], suffixes=("", "_after"))
        counts = pd.crosstab(pairs["kind"], pairs["kind_after"])
        return counts.reindex(index=self.kinds, columns=self.kinds, fill_value=0)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The rate of each elementary step: `step`, `kind` of what it happens to, `rate_per_s`; see
        `closed_form.rates_table`."""
        return closed_form.rates_table(self.settings)

    @cached_property
    def generator(self) -> pd.DataFrame:
        """The generator Q [1/s] of a dopant's states (bare, vacancy in column 0, 1, 2); see
        `closed_form.generator`."""
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
        """How each kind that moves does so: in closed form, and as it came out; see
        `counted.diffusion`. Computes once."""
        return counted.diffusion(
            closed_form.diffusion_table(self.settings), self.sojourns, self.settings.material.a_nm
        )

    @cached_property
    def limits(self) -> pd.DataFrame:
        """What an ideal observer could reach on this movie; see `limits.limits_table`. Computes
        once."""
        return limits_table(self.settings)


def truth_of(movie: Movie) -> Truth:
    """Return the truth of a movie that `simulate_movie` made, or that was opened from what `write`
    has written.

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

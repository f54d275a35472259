"""``stemkin demo``: three small movies whose answer is known, and what stemkin makes of them.

The movies are Mo-doped WS2 at the rates of the published movie: S vacancies hop, and bind to and
leave Mo dopants.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stemkin.diffusion import fit_diffusion
from stemkin.kernels.common.matching import match_points
from stemkin.kinetics import transitions
from stemkin.movie import Movie, movies_table
from stemkin.results.store import Store
from stemkin.simulation import simulate_movie, truth_of
from stemkin.simulation.writing import write_simulation
from stemkin.tables import POOLED, Experiment

N_MOVIES, N_FRAMES, SHAPE, SEED = 3, 60, (384, 384), 7
RADIUS_NM = 0.12
"""A detection belongs to a true defect at most this far away: two thirds of the way to the next
column."""


def demo_movies() -> list[Movie]:
    """Return the movies of the demo. Lazy."""
    return [
        simulate_movie("paper", n_frames=N_FRAMES, shape=SHAPE, seed=SEED + i, name=f"demo-{i + 1}")
        for i in range(N_MOVIES)
    ]


def write_demo_movies(folder: Path) -> Path:
    """Write the movies into `folder` unless they are there, and return it. Computes once."""
    missing = [movie for movie in demo_movies() if not (folder / f"{movie.name}.zarr").exists()]
    if missing:
        write_simulation(missing, folder)
    return folder


def compare_with_truth(folder: Path) -> str:
    """Return, as lines, what the demo found in `folder` beside what is true."""
    store = Store.at(folder / "results")
    classes = store.read_table("classes.parquet", columns=["class_id", "name"])
    names = dict(zip(classes["class_id"], classes["name"], strict=True))
    lines = ["", "found beside the truth", _detections(store, names).to_string(), ""]
    lines += _numbers(store, {name: number for number, name in names.items()})
    return "\n".join(lines)


def _detections(store: Store, names: dict[int, str]) -> pd.DataFrame:
    """Return recall and naming per kind of defect, and how many detections are none."""
    found, false, n_frames = [], 0, 0
    for movie in demo_movies():
        rows = store.read_movie("detections", movie.name)
        true = truth_of(movie).defects
        reach = RADIUS_NM / float(movie.pixel_size_nm or np.nan)
        n_frames += movie.n_frames
        for frame, here in true.groupby("frame"):
            seen = rows[rows["frame"] == frame]
            i, j = match_points(
                seen[["y", "x"]].to_numpy(float),
                here[["y", "x"]].to_numpy(float),
                max_distance=reach,
            )
            false += len(seen) - len(i)
            name = np.full(len(here), "", dtype=object)
            name[j] = seen["class_id"].map(names).fillna("not named").to_numpy()[i]
            found.append(pd.DataFrame({"kind": here["kind"].to_numpy(), "name": name}))
    all_found = pd.concat(found, ignore_index=True)
    hit = all_found["name"] != ""
    right = all_found["name"] == all_found["kind"]
    kinds = all_found["kind"]
    table = pd.DataFrame(
        {
            "true": kinds.groupby(kinds).size(),
            "recall": hit.groupby(kinds).mean(),
            "named right": right[hit].groupby(kinds[hit]).mean(),
        }
    )
    n_hits = int(hit.sum())
    table.loc["precision"] = [n_hits + false, n_hits / max(1, n_hits + false), np.nan]
    table.loc["false per frame"] = [false, false / n_frames, np.nan]
    return table.round(3)


def _numbers(store: Store, class_ids: dict[str, int]) -> list[str]:
    """Return D of the vacancies and the switching of the dopants beside true ones.

    These are what the same code gives on the true tracks, and the true rates.
    """
    movies = demo_movies()
    truth = truth_of(movies[0])
    own = dict.fromkeys(("V_S", "Mo_W", "Mo_W+V_S"), -2) | class_ids
    true_rows = pd.concat([truth_of(movie).defects for movie in movies], ignore_index=True)
    true_tracks = true_rows.assign(class_id=true_rows["kind"].map(own))
    experiment = Experiment(movies_table(movies))
    D = store.read_table("diffusion.parquet")
    lines = []
    for method in D["method"].unique():
        found = D[(D["movie"] == "*") & (D["class_id"] == own["V_S"]) & (D["method"] == method)]
        words = {
            "method": method,
            "by": "pooled",
            "experiment": experiment,
            "hop_length_nm": truth.settings.material.a_nm,
        }
        best = fit_diffusion(true_tracks, class_ids=own["V_S"], **words)
        lines += [
            f"D of V_S, {method}: {_interval(found, 'D_nm2_per_s')} nm2/s; from the true tracks "
            f"{best['D_nm2_per_s'].iloc[0]:.3g}; hop rate a2/4 = {truth.D_nm2_per_s:.3g}"
        ]
    P = store.read_table("transitions.parquet")
    best = transitions(true_tracks, experiment=experiment).table
    for start, end in (("Mo_W", "Mo_W+V_S"), ("Mo_W+V_S", "Mo_W")):
        found, true = (_entry(table, own[start], own[end]) for table in (P, best))
        lines.append(
            f"P({start} -> {end}): {_interval(found, 'probability')} per frame; from the true "
            f"tracks {_interval(true, 'probability')}"
        )
    return lines


def _entry(table: pd.DataFrame, start: int, end: int) -> pd.DataFrame:
    return table[(table["movie"] == POOLED) & (table["from_id"] == start) & (table["to_id"] == end)]


def _interval(rows: pd.DataFrame, column: str) -> str:
    if rows.empty:
        return "not measured"
    row = rows.iloc[0]
    return f"{row[column]:.3g} [{row['low']:.3g}, {row['high']:.3g}]"

"""``stemkin demo``: three small movies whose answer is known, and what stemkin makes of them.

The movies are Mo-doped WS2 at the rates of the published movie: S vacancies hop, and bind to and leave Mo dopants.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stemkin.kernels.matching import match_points
from stemkin.movie import Movie
from stemkin.simulation import simulate_movie, truth_of
from stemkin.simulation.writing import write
from stemkin.store import Store

N_MOVIES, N_FRAMES, SHAPE, SEED = 3, 60, (384, 384), 7
RADIUS_NM = 0.12
"""A detection belongs to a true defect at most this far away: two thirds of the way to the next column."""


def demo_movies() -> list[Movie]:
    """Return the movies of the demo. Lazy."""
    return [
        simulate_movie("paper", n_frames=N_FRAMES, shape=SHAPE, seed=SEED + i, name=f"demo-{i + 1}")
        for i in range(N_MOVIES)
    ]


def write_movies(folder: Path) -> Path:
    """Write the movies into `folder`, unless they are there already, and return it. Computes once."""
    missing = [movie for movie in demo_movies() if not (folder / f"{movie.name}.zarr").exists()]
    if missing:
        write(missing, folder)
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
            i, j = match_points(seen[["y", "x"]].to_numpy(float), here[["y", "x"]].to_numpy(float), max_distance=reach)
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
    """Return D of the vacancies and the switching of the dopants beside their true values."""
    truth = truth_of(demo_movies()[0])
    lines = []
    D = store.read_table("diffusion.parquet")
    for row in D[(D["movie"] == "*") & (D["class_id"] == class_ids.get("V_S", -2))].itertuples():
        lines.append(
            f"D of V_S ({row.method}): {row.D_nm2_per_s:.2e} [{row.low:.2e}, {row.high:.2e}] nm2/s; true {truth.D_nm2_per_s:.2e}"
        )
    P = store.read_table("transitions.parquet")
    P = P[P["movie"] == "*"].set_index(["from_id", "to_id"])
    true = truth.transition_probabilities().to_numpy()
    pairs = [("Mo_W", "Mo_W+V_S", 1 - true[0, 0]), ("Mo_W+V_S", "Mo_W", true[1, 0])]
    for start, end, value in pairs:
        key = class_ids.get(start, -2), class_ids.get(end, -2)
        if key in P.index:
            row = P.loc[key]
            lines.append(
                f"P({start} -> {end}) per frame: {row['probability']:.3f} [{row['low']:.3f}, {row['high']:.3f}]; true {value:.3f}"
            )
    return lines

"""From tracks to the tables that people quote; each is small, whatever the archive's size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.config import RunConfig
from stemkin.diffusion import msd
from stemkin.kinetics import dwell_times, populations, survival
from stemkin.pipeline.gathering import track_files
from stemkin.pipeline.modelling import load_model
from stemkin.pipeline.motion import meetings_of, motion_of
from stemkin.pipeline.nulls import NULL_HOPS, NULLS, null_tables
from stemkin.pipeline.switching import (
    SWITCHING,
    confusion_of,
    material_of,
    numbers_per_frame,
    switching_tables,
)
from stemkin.pipeline.tracks import analysed_movies, movies_of
from stemkin.results.journal import Journal
from stemkin.results.store import Block, Store, fingerprint
from stemkin.rows.files import read_tracks
from stemkin.structures import SITE_COLUMN, crystallography

STAGE_VERSION = 7
"""Raised when the same tracks would give other numbers than before."""
CRYSTAL = ("structure", "modes", "strain")
WRITTEN = (
    "classes",
    "populations",
    "msd",
    "diffusion",
    "dwell_times",
    "survival",
    "meetings",
    *SWITCHING,
    *CRYSTAL,
)
HOPS = ("hop_rates", "gaussianity")
"""Further tables of movies that show a lattice."""


def compute_kinetics(
    store: Store, journal: Journal, config: RunConfig, record: dict[str, Any]
) -> None:
    """Write the small tables of a run. Computes once; they are kept where the tracks and settings
    did not change."""
    movies = sorted(analysed_movies(journal), key=lambda movie: str(movie["movie"]))
    blocks = [block for movie in movies for block in store.blocks("tracks", movie["movie"])]
    parts = [store.block_made_of("tracks", block) for block in blocks]
    hop_length_nm = hop_length_of(journal.content.get("lattice_nm", {}).values())
    settings = (config.kinetics.model_dump(), config.learn.material)
    made_of = fingerprint("kinetics", STAGE_VERSION, parts, hop_length_nm, settings, movies)
    hops, nulls = hop_length_nm is not None, config.kinetics.null_controls
    wanted = WRITTEN + HOPS * hops + NULLS * nulls + NULL_HOPS * (hops and nulls)
    record["reused"] = all(store.made_of(f"{name}.parquet") == made_of for name in wanted)
    if record["reused"]:
        return
    for name in {*HOPS, *NULLS, *NULL_HOPS} - set(wanted):
        store.remove(f"{name}.parquet")
    for name, rows in small_tables(store, movies, config, hop_length_nm).items():
        store.write_table(rows, made_of, f"{name}.parquet")


def hop_length_of(lattices_nm: Iterable[float | None]) -> float | None:
    """Return the lattice constant [nm] that most movies of a run show, None where none shows
    one."""
    seen = [a for a in lattices_nm if a is not None]
    return float(np.median(seen)) if seen else None


def small_tables(
    store: Store, movies: list[dict[str, Any]], config: RunConfig, hop_length_nm: float | None
) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name."""
    import dask.dataframe as dd

    settings, names = config.kinetics, [movie["movie"] for movie in movies]
    model = load_model(store)
    frames = dd.from_map(
        store.read_movie, ["frames"] * len(names), names, meta=tables.empty("frames")
    )
    experiment = tables.Experiment(movies_of(movies), frames, model.classes)
    found_files = {name: track_files(store, name) for name in names}
    files = {name: paths for name, (paths, _) in found_files.items()}
    large = [name for name, (_, is_whole) in found_files.items() if is_whole]
    timed = {m["movie"]: files[m["movie"]] for m in movies if m["frame_time_s"] is not None}
    tracks = read_tracks(timed, experiment, whole=large)
    whole = read_tracks(timed, experiment, columns=tuple(tables.COLUMNS["tracks"]), whole=large)
    found = {
        "populations": populations(_detections(store, names), experiment=experiment),
        "dwell_times": dwell_times(
            tracks, by="movie", experiment=experiment, confidence=settings.confidence
        ),
        "survival": survival(tracks, experiment=experiment, confidence=settings.confidence),
        "msd": msd(tracks, max_lag_frames=settings.max_lag_frames, experiment=experiment),
    }
    found["classes"] = counted(model.classes, found["populations"])
    found |= vars(crystallography(_neighbourhoods(store, names)))
    confusion = confusion_of(model.report, found["classes"])
    found |= switching_tables(whole, experiment, settings, found["classes"], confusion)
    material = material_of(config.learn.material, hop_length_nm)
    every = read_tracks(files, experiment, whole=large)
    found |= numbers_per_frame(every, whole, experiment, settings, material)
    found["meetings"] = meetings_of(every, settings, hop_length_nm)
    motion = motion_of(tracks, experiment, settings, settings.diffusion_methods, hop_length_nm)
    found["diffusion"] = motion.diffusion
    if hop_length_nm is not None:
        found |= {"hop_rates": motion.hop_rates, "gaussianity": motion.gaussianity}
    if settings.null_controls:
        found |= null_tables(
            tracks, whole, experiment, settings, hop_length_nm, found["diffusion"], confusion
        )
    return found


def counted(classes: pd.DataFrame, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the model's classes with the numbers of detections of this run, and patches as lists
    that Parquet can hold."""
    n = numbers.groupby("class_id")["n"].sum()
    rows = classes.assign(
        n_detections=classes["class_id"].map(n).fillna(0).astype(np.int64),
        mean_patch=[
            np.asarray(patch, dtype=np.float64).tolist() for patch in classes["mean_patch"]
        ],
    )
    return tables.conform(rows, "classes")


def _neighbourhoods(store: Store, movies: list[str]) -> Any:
    """Return the columns that crystallography needs, one partition per file. Lazy."""
    import dask.dataframe as dd

    def read(block: Block) -> pd.DataFrame:
        rows = store.read_block("detections", block).reindex(columns=["class_id", SITE_COLUMN])
        return pd.concat(
            [rows, store.read_block("neighbours", block)[list(tables.ATOM_COLUMNS)]], axis=1
        )

    meta = pd.DataFrame(
        {"class_id": pd.Series([], dtype="int16"), SITE_COLUMN: pd.Series([], dtype="float32")}
    )
    meta = pd.concat([meta, tables.empty("neighbours")[list(tables.ATOM_COLUMNS)]], axis=1)
    blocks = [
        block for movie in movies for block in store.blocks("neighbours", movie)
    ]  # earlier versions wrote none
    return dd.from_map(read, blocks, meta=meta) if blocks else dd.from_pandas(meta, npartitions=1)


def _detections(store: Store, movies: list[str]) -> Any:
    """Return the detections of a run, one partition per file, with the columns that counting needs.
    Lazy."""
    import dask.dataframe as dd

    columns = ["movie", "frame", "class_id"]
    meta = tables.empty("detections")[columns]
    blocks = [block for movie in movies for block in store.blocks("detections", movie)]

    def read(block: Block) -> pd.DataFrame:
        return store.read_block("detections", block)[columns]

    return dd.from_map(read, blocks, meta=meta) if blocks else dd.from_pandas(meta, npartitions=1)

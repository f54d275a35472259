"""From tracks to the tables that people quote; each is small, whatever the archive's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.config import Kinetics, RunConfig
from stemkin.controls import immobile, shuffled
from stemkin.diffusion import Motion, measure_motion, msd
from stemkin.journal import Journal
from stemkin.kinetics import dwell_times, populations, transitions
from stemkin.pipeline.modelling import load_model
from stemkin.pipeline.tracks import analysed_movies, movies_of
from stemkin.store import Block, Store, fingerprint
from stemkin.structures import SITE_COLUMN, crystallography
from stemkin.trajectories import read_tracks

STAGE_VERSION = 2
"""Raised when the same tracks would give other numbers than before."""
WRITTEN = ("classes", "populations", "transitions", "dwell_times", "msd", "diffusion", "structure", "modes", "strain")
HOPS = ("hop_rates", "gaussianity")
"""Further tables of movies that show a lattice."""
NULLS = ("null_transitions", "null_diffusion")
"""What the same code says of the same tracks without dynamics: each track's frames in random order (and, for hops, each
particle at rest)."""
NULL_HOPS = ("null_hop_rates",)


def compute_kinetics(store: Store, journal: Journal, config: RunConfig, record: dict[str, Any]) -> None:
    """Write the small tables of a run. Computes once; they are kept where the tracks and settings did not change."""
    movies = analysed_movies(journal)
    blocks = [block for movie in movies for block in store.blocks("tracks", movie["movie"])]
    parts = [store.block_made_of("tracks", block) for block in blocks]
    lattices = [a for a in journal.content.get("lattice_nm", {}).values() if a is not None]
    hop_length_nm = float(np.median(lattices)) if lattices else None
    made_of = fingerprint("kinetics", STAGE_VERSION, parts, hop_length_nm, config.kinetics.model_dump(), movies)
    hops, nulls = hop_length_nm is not None, config.kinetics.null_controls
    wanted = WRITTEN + HOPS * hops + NULLS * nulls + NULL_HOPS * (hops and nulls)
    record["reused"] = all(store.made_of(f"{name}.parquet") == made_of for name in wanted)
    if record["reused"]:
        return
    for name in {*HOPS, *NULLS, *NULL_HOPS} - set(wanted):
        store.remove(f"{name}.parquet")
    for name, rows in small_tables(store, movies, config.kinetics, hop_length_nm).items():
        store.write_table(rows, made_of, f"{name}.parquet")


def small_tables(
    store: Store, movies: list[dict[str, Any]], settings: Kinetics, hop_length_nm: float | None
) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name."""
    import dask.dataframe as dd

    names = [movie["movie"] for movie in movies]
    classes = load_model(store).classes
    frames = dd.from_map(store.read_movie, ["frames"] * len(names), names, meta=tables.empty("frames"))
    experiment = tables.Experiment(movies_of(movies), frames, classes)
    moving = {m["movie"]: store.block_paths("tracks", m["movie"]) for m in movies if m["frame_time_s"] is not None}
    tracks = read_tracks(moving, experiment)
    found = {
        "populations": populations(_detections(store, names), experiment=experiment),
        "transitions": _transitions(tracks, experiment, settings),
        "dwell_times": dwell_times(tracks, by="movie", experiment=experiment, confidence=settings.confidence),
        "msd": msd(tracks, max_lag_frames=settings.max_lag_frames, experiment=experiment),
    }
    found["classes"] = counted(classes, found["populations"])
    found |= vars(crystallography(_neighbourhoods(store, names)))
    motion = _motion(tracks, experiment, settings, settings.diffusion_methods, hop_length_nm)
    found["diffusion"] = motion.diffusion
    if hop_length_nm is not None:
        found |= {"hop_rates": motion.hop_rates, "gaussianity": motion.gaussianity}
    if settings.null_controls:
        found |= _nulls(tracks, experiment, settings, hop_length_nm, found["diffusion"])
    return found


def _nulls(
    tracks: Any, experiment: tables.Experiment, settings: Kinetics, hop_length_nm: float | None, measured: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return the null controls; `measured` tells how well a particle at rest is seen."""
    chance = shuffled(tracks)
    spread = [m for m in ("mle", "cve") if m in settings.diffusion_methods]
    at_random = _motion(chance, experiment, settings, spread, None)
    found = {"null_transitions": _transitions(chance, experiment, settings), "null_diffusion": at_random.diffusion}
    if hop_length_nm is None:
        return found
    sigma_nm = float(measured["sigma_nm"].where(measured["sigma_nm"] > 0).median())
    if not sigma_nm > 0:
        return found | {"null_hop_rates": at_random.hop_rates}  # without a lattice: no rows
    at_rest = _motion(immobile(tracks, sigma_nm=sigma_nm), experiment, settings, ("hop",), hop_length_nm)
    both = pd.concat([found["null_diffusion"], at_rest.diffusion], ignore_index=True)
    return found | {"null_diffusion": both, "null_hop_rates": at_rest.hop_rates}


def _motion(
    tracks: Any,
    experiment: tables.Experiment,
    settings: Kinetics,
    methods: Sequence[Any],
    hop_length_nm: float | None,
) -> Motion:
    """Return D by every method that is asked for; the first row of a class is the one to quote."""
    words: dict[str, Any] = {"experiment": experiment, "confidence": settings.confidence}
    return measure_motion(tracks, methods=methods, hop_length_nm=hop_length_nm, **words)


def _transitions(tracks: Any, experiment: tables.Experiment, settings: Kinetics) -> pd.DataFrame:
    words: dict[str, Any] = {"lag_frames": settings.lag_frames, "confidence": settings.confidence}
    return transitions(tracks, by="movie", experiment=experiment, **words).table


def counted(classes: pd.DataFrame, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the model's classes with the numbers of detections of this run, and patches as lists that Parquet can hold."""
    n = numbers.groupby("class_id")["n"].sum()
    rows = classes.assign(
        n_detections=classes["class_id"].map(n).fillna(0).astype(np.int64),
        mean_patch=[np.asarray(patch, dtype=np.float64).tolist() for patch in classes["mean_patch"]],
    )
    return tables.conform(rows, "classes")


def _neighbourhoods(store: Store, movies: list[str]) -> Any:
    """Return the columns that crystallography needs, one partition per file. Lazy."""
    import dask.dataframe as dd

    def read(block: Block) -> pd.DataFrame:
        rows = store.read_block("detections", block).reindex(columns=["class_id", SITE_COLUMN])
        return pd.concat([rows, store.read_block("neighbours", block)[list(tables.ATOM_COLUMNS)]], axis=1)

    meta = pd.DataFrame({"class_id": pd.Series([], dtype="int16"), SITE_COLUMN: pd.Series([], dtype="float32")})
    meta = pd.concat([meta, tables.empty("neighbours")[list(tables.ATOM_COLUMNS)]], axis=1)
    blocks = [block for movie in movies for block in store.blocks("neighbours", movie)]  # earlier versions wrote none
    return dd.from_map(read, blocks, meta=meta) if blocks else dd.from_pandas(meta, npartitions=1)


def _detections(store: Store, movies: list[str]) -> Any:
    """Return the detections of a run, one partition per file, with the columns that counting needs. Lazy."""
    import dask.dataframe as dd

    columns = ["movie", "frame", "class_id"]
    meta = tables.empty("detections")[columns]
    blocks = [block for movie in movies for block in store.blocks("detections", movie)]

    def read(block: Block) -> pd.DataFrame:
        return store.read_block("detections", block)[columns]

    return dd.from_map(read, blocks, meta=meta) if blocks else dd.from_pandas(meta, npartitions=1)

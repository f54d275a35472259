"""The run's own experiment done again as tables: how right its numbers can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.config import RunConfig
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.linking import LinkSettings
from stemkin.pipeline.confusion import confusion_of
from stemkin.pipeline.model import load_model
from stemkin.pipeline.numbers import hop_length_of
from stemkin.pipeline.tracks import analysed_movies
from stemkin.results.journal import Journal
from stemkin.results.quarantine import standing
from stemkin.results.reading import movies_of
from stemkin.results.store import Store, fingerprint
from stemkin.selfcheck import Asked, RunNumbers, self_check, world_of_run

STAGE_VERSION = 7
"""Raised when the same numbers would be judged otherwise than before."""

RESTS_ON = (
    "diffusion",
    "transitions",
    "abundances",
    "hidden_transitions",
    "name_errors",
    "classes",
)
"""The tables of a run that its world follows from."""


def check_oneself(
    store: Store, journal: Journal, config: RunConfig, record: dict[str, Any]
) -> None:
    """Write the table ``self_check`` of a run. Computes once.

    It is kept where the numbers and settings did not change, and removed where none is wanted. Its
    seed follows from what it is made of, so the same results have the same table.
    """
    n_runs = config.kinetics.self_check_runs
    if n_runs == 0:
        store.remove("self_check.parquet")
        record["reused"] = False
        return
    movies = sorted(analysed_movies(journal), key=lambda movie: str(movie["movie"]))
    parts = [store.made_of(f"{name}.parquet") for name in RESTS_ON]
    made_of = fingerprint("self_check", STAGE_VERSION, parts, config.kinetics.model_dump(), movies)
    record["reused"] = standing(store, "self_check.parquet").get("fingerprint") == made_of
    if record["reused"]:
        return
    hop_length_nm = hop_length_of(journal.content.get("lattice_nm", {}).values())
    numbers = numbers_of_run(store, movies, config, hop_length_nm)
    rows = judged_numbers(numbers, config, n_runs, seed=int(made_of[:8], 16))
    record["n_judged"] = len(rows)
    store.write_table(rows, made_of, "self_check.parquet")


def numbers_of_run(
    store: Store, movies: list[dict[str, Any]], config: RunConfig, hop_length_nm: float | None
) -> RunNumbers:
    """Return what a run found, from its small tables.

    Parameters
    ----------
    store
        Where they are.
    movies
        What ``run.json`` says of each.
    config
        Settings of the run.
    hop_length_nm
        Lattice constant [nm]; None where none was seen.
    """
    found = {name: store.read_table(f"{name}.parquet") for name in RESTS_ON}
    listed = movies_of(movies)
    timed = listed[listed["frame_time_s"].notna() & listed["pixel_size_nm"].notna()]
    confusion = confusion_of(load_model(store).report, found["classes"]).measured
    return RunNumbers(
        found,
        timed.reset_index(drop=True),
        hop_length_nm,
        confusion,
        LinkSettings(**config.link.model_dump()),
        BORDER_PX,
    )


def judged_numbers(
    numbers: RunNumbers, config: RunConfig, n_runs: int, *, seed: int
) -> pd.DataFrame:
    """Return the table ``self_check`` of a run's numbers; without rows where nothing was seen.

    Parameters
    ----------
    numbers
        What the run found.
    config
        Settings of the run.
    n_runs
        How many times its experiment is done.
    seed
        Of all of them.
    """
    described = world_of_run(numbers)
    if described is None:
        return tables.empty("self_check")
    world, ids = described
    settings, hop_length_nm = config.kinetics, numbers.hop_length_nm
    methods = [m for m in settings.diffusion_methods if m != "hop" or hop_length_nm is not None]
    asked = Asked(
        methods=tuple(methods),
        hop_length_nm=hop_length_nm,
        lag_frames=settings.lag_frames,
        confidence=settings.confidence,
        corrected=settings.correct_names,
        numbers=True,
        prior=settings.rate_prior,
    )
    rows = self_check(world, numbers.movies, asked=asked, n_runs=n_runs, seed=seed)
    number_of = np.array([*ids, tables.NOT_NAMED])  # -1, no class, is the last one
    for column in ("class_id", "to_id"):
        rows[column] = number_of[rows[column].to_numpy()].astype(np.int16)
    return rows

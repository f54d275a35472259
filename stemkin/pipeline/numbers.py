"""From tracks to the tables that people quote; each is small, whatever the archive's size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.config import KineticsSection, RunConfig
from stemkin.diffusion.hops import no_hop_rates
from stemkin.diffusion.mobilities import no_mobilities
from stemkin.kinetics import (
    chain_states,
    chapman_kolmogorov,
    implied_timescales,
    populations,
    reversibility,
)
from stemkin.kinetics.changes import Transitions
from stemkin.kinetics.dose import no_cross_sections
from stemkin.kinetics.name_tests import said_of_names
from stemkin.pipeline.confusion import Confusion, confusion_of
from stemkin.pipeline.model import load_model
from stemkin.pipeline.questions import Asking, Questions, at_rest_error_nm
from stemkin.pipeline.tracks import analysed_movies
from stemkin.pipeline.wrong_names import names_tested
from stemkin.results.journal import Journal
from stemkin.results.quarantine import standing_prints
from stemkin.results.reading import detection_rows, movies_of, neighbourhood_rows
from stemkin.results.store import Store, fingerprint
from stemkin.results.track_files import track_files
from stemkin.rows.files import tracks_in_files
from stemkin.rows.passes import answers
from stemkin.structures import SITE_COLUMN, crystallography

STAGE_VERSION = 13
"""Raised when the same tracks would give other numbers than before."""
ALWAYS = (
    *("classes", "populations", "abundances", "creation", "meetings", "dwell_times", "survival"),
    *(
        "msd",
        "diffusion",
        "mobilities",
        "transitions",
        "hidden_transitions",
        "name_errors",
        "beam_transitions",
    ),
    *("orientation_transitions", "orientation_rates"),
    *("chain", "timescales", "chapman_kolmogorov", "reversibility"),
    *("structure", "modes", "strain"),
)
"""Tables that every run has."""
HOPS = ("hop_rates", "gaussianity")
"""Further tables of movies that show a lattice."""
NULLS = (
    *("null_transitions", "null_dwell_times", "null_diffusion"),
    *("null_static_transitions", "null_meetings"),
)
"""Null controls: the same tracks with each one's frames in random order (for hops: with each
particle at rest); and static defects that are misnamed as often as the model misnames, which change
and meet by naming errors alone."""
NULL_HOPS = ("null_hop_rates",)
READ = (
    "movie", "frame", "y", "x", "at_edge", "class_id", "probability", "orientation",
    "particle", "y_nm", "x_nm",
)  # fmt: skip
"""Columns of ``tracks`` that numbers rest on."""


def compute_kinetics(
    store: Store, journal: Journal, config: RunConfig, record: dict[str, Any]
) -> None:
    """Write the small tables of a run. Computes once.

    They are kept where the tracks and settings did not change.
    """
    movies = sorted(analysed_movies(journal), key=lambda movie: str(movie["movie"]))
    blocks = [block for movie in movies for block in store.blocks("tracks", movie["movie"])]
    parts = [store.block_made_of("tracks", block) for block in blocks]
    hop_length_nm = hop_length_of(journal.content.get("lattice_nm", {}).values())
    settings = (config.kinetics.model_dump(exclude={"self_check_runs"}), config.learn.material)
    made_of = fingerprint("kinetics", STAGE_VERSION, parts, hop_length_nm, settings, movies)
    wanted = names_of_tables(config.kinetics, hop_length_nm)
    files = [(f"{name}.parquet",) for name in wanted]
    kept = standing_prints(store, files, made_of, was_done=journal.was_finished)
    record["reused"] = all(one == made_of for one in kept.values())
    record["tables"] = list(wanted)
    if record["reused"]:
        _warn_of_names(journal, store.read_table("name_errors.parquet"))
        return
    for name in {*HOPS, *NULLS, *NULL_HOPS} - set(wanted):
        store.remove(f"{name}.parquet")
    found = small_tables(store, movies, config, hop_length_nm)
    for name, rows in found.items():
        store.write_table(rows, made_of, f"{name}.parquet")
    _warn_of_names(journal, found["name_errors"])


def _warn_of_names(journal: Journal, errors: pd.DataFrame) -> None:
    """Keep what the table ``name_errors`` has to say for the top of the report."""
    for sentence in said_of_names(errors):
        journal.warn(sentence)


def names_of_tables(settings: KineticsSection, hop_length_nm: float | None) -> tuple[str, ...]:
    """Return the names of the small tables of a run.

    Parameters
    ----------
    settings
        Of the run; they ask for null controls or not.
    hop_length_nm
        Lattice constant [nm]; without one there are no tables of hops.
    """
    hops, nulls = hop_length_nm is not None, settings.null_controls
    # A tuple times False is empty.
    return ALWAYS + HOPS * hops + NULLS * nulls + NULL_HOPS * (hops and nulls)


def hop_length_of(lattices_nm: Iterable[float | None]) -> float | None:
    """Return the lattice constant [nm] that most movies of a run show.

    None where none shows one.

    Parameters
    ----------
    lattices_nm
        That of each movie [nm], None where it shows none; their median counts.
    """
    seen = [a for a in lattices_nm if a is not None]
    return float(np.median(seen)) if seen else None


def small_tables(
    store: Store, movies: list[dict[str, Any]], config: RunConfig, hop_length_nm: float | None
) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name.

    Parameters
    ----------
    store
        Where the tracks of the movies are.
    movies
        What ``run.json`` says of each.
    config
        Settings of the run.
    hop_length_nm
        Lattice constant [nm]; without one there are no tables of hops.
    """
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
    numbers = populations(
        detection_rows(store, names, columns=("movie", "frame", "class_id")), experiment=experiment
    )
    classes = with_numbers(model.classes, numbers)
    found = {name: table_without_rows(name) for name in names_of_tables(settings, hop_length_nm)}
    found |= {"populations": numbers, "classes": classes}
    found |= vars(
        crystallography(neighbourhood_rows(store, names, columns=("class_id", SITE_COLUMN)))
    )
    tracks = tracks_in_files(files, experiment, columns=READ, whole=large)
    timed = {m["movie"]: files[m["movie"]] for m in movies if m["frame_time_s"] is not None}
    asking = Asking(tracks, experiment, settings, hop_length_nm, config.learn.material)
    of_timed = tracks
    if len(timed) < len(files):
        asking = replace(asking, timed=list(timed))
        of_timed = tracks_in_files(timed, experiment, columns=READ, whole=large)
    confusion = confusion_of(model.report, classes)
    return found | numbers_of_tracks(tracks, of_timed, asking, classes, confusion)


def numbers_of_tracks(
    tracks: Any, timed: Any, asking: Asking, classes: pd.DataFrame, confusion: Confusion
) -> dict[str, pd.DataFrame]:
    """Return the tables that rest on tracks. Computes once: three passes over the tracks.

    Parameters
    ----------
    tracks
        Rows of whole tracks of all movies.
    timed
        Those of the movies whose frame time is known.
    asking
        What is asked.
    classes
        Table ``classes`` with the numbers of detections of this run.
    confusion
        How often names are wrong.
    """
    with_nulls, asked = asking.settings.null_controls, asking.as_they_are()
    if with_nulls:
        asked |= asking.shuffled() | {"misnaming": asking.of_timed(confusion.question())}
    found = _answered(tracks, asked)
    found |= _of_chain(found.pop("pooled"), found["transitions"], asking)
    chain = found.pop("orientations")
    found |= {"orientation_transitions": chain.transitions, "orientation_rates": chain.rates}
    found |= names_tested(timed, classes, confusion, asking)
    if with_nulls:
        sigma_nm = at_rest_error_nm(found["diffusion"])
        found |= _answered(timed, asking.at_rest(found.pop("misnaming"), sigma_nm))
    if "at_rest" in found:
        both = [found["null_diffusion"], found.pop("at_rest")]
        found["null_diffusion"] = pd.concat(both, ignore_index=True)
    return found


def _answered(tracks: Any, asked: Questions) -> dict[str, Any]:
    """Return name → answer of the questions. Computes once: one pass over the tracks."""
    return dict(zip(asked, answers(tracks, list(asked.values())), strict=True))


def _of_chain(
    pooled: Transitions, own_lag: pd.DataFrame, asking: Asking
) -> dict[str, pd.DataFrame]:
    """Return the transitions of all lags, and the tests of the pooled chain."""
    confidence = asking.settings.confidence
    later = pooled.table[pooled.table["lag_frames"] > asking.settings.lag_frames]
    found = {
        "transitions": pd.concat([own_lag, later], ignore_index=True),
        "chain": chain_states(pooled),
        "chapman_kolmogorov": chapman_kolmogorov(pooled, confidence=confidence),
        "timescales": implied_timescales(pooled, confidence=confidence),
    }
    if not pooled.table.empty:
        found["reversibility"] = reversibility(pooled)
    return found


def table_without_rows(name: str) -> pd.DataFrame:
    """Return the table `name` of a run in which nothing could be asked for it.

    Parameters
    ----------
    name
        One of `names_of_tables`.
    """
    contract = name.removeprefix("null_").removeprefix("static_")
    if contract in tables.COLUMNS:
        return tables.empty(contract)
    if contract == "mobilities":
        return no_mobilities()
    if contract == "hop_rates":
        return no_hop_rates()
    if contract == "beam_transitions":
        return no_cross_sections()
    if contract == "reversibility":
        return pd.DataFrame(columns=["statistic", "degrees_of_freedom", "p_value", "reversible"])
    return pd.DataFrame()


def with_numbers(classes: pd.DataFrame, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the model's classes with the numbers of detections of this run.

    Patches are lists, which Parquet can hold.

    Parameters
    ----------
    classes
        Table ``classes`` of the model.
    numbers
        Columns ``class_id`` and ``n``: numbers of detections, several rows a class allowed.
    """
    n = numbers.groupby("class_id")["n"].sum()
    rows = classes.assign(
        n_detections=classes["class_id"].map(n).fillna(0).astype(np.int64),
        mean_patch=[
            np.asarray(patch, dtype=np.float64).tolist() for patch in classes["mean_patch"]
        ],
    )
    return tables.conform(rows, "classes")

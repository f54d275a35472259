"""From tracks to the tables that people quote; each is small, whatever the archive's size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
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
from stemkin.pipeline.injection import known_efficiencies, print_of_efficiencies
from stemkin.pipeline.kept_sums import Pass, answers_of_movies, forget_sums, split_by_size
from stemkin.pipeline.model import load_model
from stemkin.pipeline.questions import Asking, at_rest_error_nm
from stemkin.pipeline.tracks import analysed_movies
from stemkin.pipeline.wrong_names import names_tested
from stemkin.results.journal import Journal
from stemkin.results.quarantine import standing_prints
from stemkin.results.reading import detection_rows, movies_of, neighbourhood_rows
from stemkin.results.store import Store, fingerprint
from stemkin.results.track_files import track_files
from stemkin.rows.files import tracks_in_files
from stemkin.structures import SITE_COLUMN, crystallography

STAGE_VERSION = 18
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
    told = print_of_efficiencies(store, config)
    made_of = fingerprint("kinetics", STAGE_VERSION, parts, hop_length_nm, settings, movies, told)
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
    record["sums_kept"] = {}
    found = small_tables(store, movies, config, hop_length_nm, record["sums_kept"])
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
    store: Store,
    movies: list[dict[str, Any]],
    config: RunConfig,
    hop_length_nm: float | None,
    counted: dict[str, int] | None = None,
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
    counted
        Gets of how many movies no row was read, pass by pass, as their sums were kept.
    """
    import dask.dataframe as dd

    settings, names = config.kinetics, [movie["movie"] for movie in movies]
    model = load_model(store)
    frames = dd.from_map(
        store.read_movie, ["frames"] * len(names), names, meta=tables.empty("frames")
    )
    experiment = tables.Experiment(movies_of(movies), frames, model.classes)
    numbers = populations(
        detection_rows(store, names, columns=("movie", "frame", "class_id")), experiment=experiment
    )
    classes = with_numbers(model.classes, numbers)
    found = {name: table_without_rows(name) for name in names_of_tables(settings, hop_length_nm)}
    found |= {"populations": numbers, "classes": classes}
    found |= vars(
        crystallography(neighbourhood_rows(store, names, columns=("class_id", SITE_COLUMN)))
    )
    forget_sums(store, movies)
    return found | _Numbers(store, movies, config, hop_length_nm, experiment, classes).found(
        confusion_of(model.report, classes), {} if counted is None else counted
    )


@dataclass(frozen=True, eq=False)
class _Numbers:
    """What the tables rest on that rest on tracks."""

    store: Store
    movies: list[dict[str, Any]]
    config: RunConfig
    hop_length_nm: float | None
    experiment: tables.Experiment
    classes: pd.DataFrame

    def found(self, confusion: Confusion, counted: dict[str, int]) -> dict[str, pd.DataFrame]:
        """Return these tables. Computes once: three passes over tracks that are new.

        Parameters
        ----------
        confusion
            How often names are wrong.
        counted
            Gets of how many movies no row was read, pass by pass.
        """
        timed = [movie for movie in self.movies if movie["frame_time_s"] is not None]
        asking = self._asking(timed)
        ask = Pass(
            self.store,
            "tracks",
            STAGE_VERSION,
            READ,
            self.classes.assign(n_detections=0),
            self.config.kinetics,
            self.hop_length_nm,
            self.config.learn.material,
            confusion,
        )
        found = self._answered(ask, asking, self.movies, counted)
        found |= _of_chain(found.pop("pooled"), found["transitions"], asking)
        chain = found.pop("orientations")
        found |= {"orientation_transitions": chain.transitions, "orientation_rates": chain.rates}
        found |= names_tested(partial(self._rows, timed), self.classes, confusion, asking)
        if self.config.kinetics.null_controls:
            at_rest = (found.pop("misnaming"), at_rest_error_nm(found["diffusion"]))
            ask = replace(ask, name="controls", controls=at_rest)
            found |= self._answered(ask, asking, timed, counted)
        if "at_rest" in found:
            both = [found["null_diffusion"], found.pop("at_rest")]
            found["null_diffusion"] = pd.concat(both, ignore_index=True)
        return found

    def _asking(self, timed: list[dict[str, Any]]) -> Asking:
        """Return what is known before anything is asked."""
        nothing = tables.empty("tracks")[list(READ)]
        words = (self.config.kinetics, self.hop_length_nm, self.config.learn.material)
        told = known_efficiencies(self.store, self.config)
        asking = Asking(nothing, self.experiment, *words, efficiencies=told)
        if len(timed) < len(self.movies):
            return replace(asking, timed=[movie["movie"] for movie in timed])
        return asking

    def _answered(
        self, ask: Pass, asking: Asking, movies: list[dict[str, Any]], counted: dict[str, int]
    ) -> dict[str, Any]:
        """Return name → answer of what a pass asks of some movies."""
        small, files = split_by_size(self.store, movies)
        large = None
        if files:
            large = tracks_in_files(files, self.experiment, columns=READ, whole=list(files))
        found, counted[ask.name] = answers_of_movies(
            ask, asking, small, large, retries=self.config.run.retries
        )
        return found

    def _rows(self, movies: list[dict[str, Any]]) -> Any:
        """Return the tracks of some movies. Lazy."""
        found = {m["movie"]: track_files(self.store, m["movie"]) for m in movies}
        files = {name: paths for name, (paths, _) in found.items()}
        whole = [name for name, (_, is_whole) in found.items() if is_whole]
        return tracks_in_files(files, self.experiment, columns=READ, whole=whole)


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

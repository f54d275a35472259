"""Known defects are put into frames of a run, to see how many of each kind it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from stemkin.config import RunConfig
from stemkin.injection import Injection, efficiencies, injected_rows
from stemkin.movie import Movie
from stemkin.pipeline.crystals import CrystalSummary
from stemkin.pipeline.model import load_model
from stemkin.pipeline.naming import edits_version
from stemkin.results.crystals import read_crystal
from stemkin.results.journal import Journal
from stemkin.results.quarantine import standing
from stemkin.results.store import Store, fingerprint

STAGE_VERSION = 1
"""Raised when other defects would be put in, or other shares would come out."""

INJECTED_FILE, EFFICIENCIES_FILE = "injected.parquet", "efficiencies.parquet"


def put_in_known_defects(
    movies: Sequence[Movie],
    store: Store,
    config: RunConfig,
    model_print: str,
    crystals: Mapping[str, CrystalSummary],
    journal: Journal,
    record: dict[str, Any],
) -> None:
    """Write the tables ``injected`` and ``efficiencies`` of a run. Computes once.

    They are kept where model, classes, movies and settings did not change, and removed where none
    are wanted. Where no kind is seen often enough, that is a warning.

    Parameters
    ----------
    movies
        Whose crystals are known.
    store, config
        The results folder, and the settings of the run.
    model_print
        Fingerprint of the model.
    crystals
        What came of each movie's crystal.
    journal
        Of the run.
    record
        Of the stage.
    """
    if not config.detect.injected_frames or not movies:
        store.remove(INJECTED_FILE)
        store.remove(EFFICIENCIES_FILE)
        record["reused"] = False
        return
    listed = sorted(movies, key=lambda movie: movie.name)
    contents = [(movie.name, crystals[movie.name].content) for movie in listed]
    made_of = fingerprint(
        "injected",
        STAGE_VERSION,
        (model_print, edits_version(store)),
        contents,
        config.detect.model_dump(exclude={"frames_per_block", "device"}),
        config.kinetics.confidence,
    )
    kept = [standing(store, name) for name in (INJECTED_FILE, EFFICIENCIES_FILE)]
    record["reused"] = all(note.get("fingerprint") == made_of for note in kept)
    if record["reused"]:
        return
    known = [partial(read_crystal, store, *words) for words in contents]
    asked = Injection(config.detect.injected_frames)
    try:
        rows = injected_rows(listed, load_model(store), known, asked)
    except ValueError as error:
        store.remove(INJECTED_FILE)
        store.remove(EFFICIENCIES_FILE)
        journal.warn(f"no known defects were put into frames: {error}")
        return
    record["n_injected"] = len(rows)
    shares = efficiencies(rows, confidence=config.kinetics.confidence)
    version = str(edits_version(store))
    store.write_table(rows, made_of, INJECTED_FILE, edits=version)
    store.write_table(shares, made_of, EFFICIENCIES_FILE, edits=version)


def print_of_efficiencies(store: Store, config: RunConfig) -> str | None:
    """Return the fingerprint of the table ``efficiencies`` of a run's own classes; None without one.

    Parameters
    ----------
    store, config
        The results folder, and the settings of the run.
    """
    if not config.detect.injected_frames:
        return None
    note = store.note(EFFICIENCIES_FILE)
    # classes that were edited since are other kinds
    if note.get("edits") != str(edits_version(store)):
        return None
    return note["fingerprint"]


def known_efficiencies(store: Store, config: RunConfig) -> pd.DataFrame | None:
    """Return the table ``efficiencies`` of a run; None where there is none of its classes.

    Parameters
    ----------
    store, config
        The results folder, and the settings of the run.
    """
    if print_of_efficiencies(store, config) is None:
        return None
    return store.read_table(EFFICIENCIES_FILE)

"""The model of a run: given by the user, kept from before, or learned from a sample of movies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from stemkin.blas import one_thread
from stemkin.config import RunConfig
from stemkin.learning import Model, learn, learn_detector, sample_frames
from stemkin.learning.edits import Edits, edited
from stemkin.movie import Movie
from stemkin.pipeline.opening import open_inputs
from stemkin.results.log import warnings_heard
from stemkin.results.store import Store, fingerprint

STAGE_VERSION = 4
"""Raised when the same sample would give another model than before."""
MADE_OF = "made_of.json"
EDITS_FILE = "edits.json"


def settle_model(
    movies: Sequence[Movie],
    store: Store,
    config: RunConfig,
    given: Path | None,
    record: dict[str, Any],
) -> str:
    """Put the run's model into its results folder; return its fingerprint. Computes once.

    `record` gets the warnings that were heard as the model was learned, in an earlier run too.

    Raises
    ------
    ValueError
        If `given` is no model that this version can use.
    """
    if given is not None:
        wanted = fingerprint("given", _content(given))
        Model.load(given)  # refuses a damaged or foreign model before anything is written
    else:
        identities = [(movie.name, movie.reader.identity, movie.calibration) for movie in movies]
        wanted = fingerprint(
            "learn",
            STAGE_VERSION,
            identities,
            config.learn.model_dump(),
            _detector_settings(config),
        )
    kept = store.read_json("model", MADE_OF) if store.exists("model", MADE_OF) else None
    record["reused"] = kept is not None and kept["made_of"] == wanted
    if kept is not None and record["reused"]:
        record["warnings"] = kept.get("warnings", [])
        return str(kept["content"])
    store.remove("model")
    with warnings_heard("stemkin.learning") as warnings:
        if given is not None:
            content = _put(given, store)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                _learned(movies, config).save(scratch)
                content = _put(Path(scratch), store)
    record["warnings"] = warnings
    made_of = {"made_of": wanted, "content": content, "warnings": warnings}
    store.write_json(made_of, "model", MADE_OF)  # last: the model is whole
    return content


def edits_of(store: Store) -> Edits | None:
    """Return how the user edited the classes of a results folder; None where nobody did."""
    edits: Edits | None = store.read_json(EDITS_FILE)
    return edits


def load_model(store: Store, *, edits: Edits | None = None, as_learned: bool = False) -> Model:
    """Return the model of a results folder; one in an object store is fetched first.

    Parameters
    ----------
    store
        The results folder.
    edits
        How its classes are edited; those that the folder keeps unless given.
    as_learned
        Leave the classes as they were learned.
    """
    model = _stored_model(store)
    if as_learned:
        return model
    edits = edits_of(store) if edits is None else edits
    return model if edits is None else edited(model, edits)


def _stored_model(store: Store) -> Model:
    if store.is_local:
        return Model.load(store.path("model"))
    with tempfile.TemporaryDirectory() as scratch:
        for name in store.names("model"):
            (Path(scratch) / name).write_bytes(store.read_bytes("model", name))
        return Model.load(scratch)


@one_thread
def learn_model(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    config: RunConfig | None = None,
) -> Model:
    """Learn a model from `inputs` and save it in the folder `out`. Computes once."""
    config = config or RunConfig()
    model = _learned(open_inputs(inputs, config).movies, config)
    model.save(out)
    return model


def _learned(movies: Iterable[Movie], config: RunConfig) -> Model:
    listed, settings = list(movies), config.learn.model_dump()
    frames = sample_frames(
        [movie.n_frames for movie in listed], config.learn.n_frames, seed=config.learn.seed
    )
    detector = learn_detector(
        listed,
        settings.pop("detector"),
        frames=frames,
        seed=config.learn.seed,
        settings=_detector_settings(config),
    )
    return learn(listed, detector=detector, **settings)


def _detector_settings(config: RunConfig) -> dict[str, Any]:
    return {
        "false_positives_per_frame": config.detect.false_positives_per_frame,
        "device": config.detect.device,
    }


def _put(folder: Path, store: Store) -> str:
    """Copy a model's files into the results folder and return the fingerprint of their content."""
    for file in _files(folder):
        store.write_bytes(file.read_bytes(), "model", file.name)
    return _content(folder)


def _content(folder: Path) -> str:
    return fingerprint(*[(file.name, file.read_bytes().hex()) for file in _files(folder)])


def _files(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and p.name != MADE_OF and not p.name.startswith(".")
    )

"""The model of a run: given by the user, kept from before, or learned from a sample of movies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from stemkin.blas import one_thread
from stemkin.config import RunConfig
from stemkin.errors import DamagedFileError
from stemkin.learning import Model, learn, learn_detector, sample_frames
from stemkin.learning.edits import Edits, edited
from stemkin.movie import Movie
from stemkin.pipeline.opening import open_inputs
from stemkin.results.log import warnings_heard
from stemkin.results.quarantine import GONE, set_aside
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
    made_of_before: str = "",
) -> str:
    """Put the run's model into its results folder; return its fingerprint. Computes once.

    `record` gets the warnings that were heard as the model was learned, in an earlier run too;
    `made_of_before` is what that run said its model was made of.

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
    kept = _kept(store, wanted, made_of_before)
    record["reused"] = kept is not None
    record["made_of"] = wanted
    if kept is not None:
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


def _kept(store: Store, wanted: str, made_of_before: str) -> dict[str, Any] | None:
    """Return what the folder says of its model, if it is whole and made of what is `wanted`.

    Files that are not the model that this folder was made with are set aside. A label that is
    damaged or gone is written again where blocks say that they were searched with these files.
    """
    content = _content_of(_stored_files(store))
    try:
        kept = store.read_json("model", MADE_OF)
    except DamagedFileError as error:
        set_aside(store, error.why, "model", MADE_OF)
        kept = None
    else:
        if kept is None and made_of_before:  # an earlier run had it
            set_aside(store, GONE, "model", MADE_OF)
    # what a model was given or learned from, the model itself or ``run.json`` tells
    is_known = wanted in (made_of_before, fingerprint("given", content))
    if kept is None and content and is_known and _searched_with(store, content):
        kept = {"made_of": wanted, "content": content, "warnings": []}
        store.write_json(kept, "model", MADE_OF)
    if kept is None or kept.get("made_of") != wanted:
        return None
    if kept.get("content") == content:
        return kept
    for name in sorted({"model.json", "arrays.npz", *_stored_files(store)}):
        set_aside(store, CHANGED, "model", name)
    return None


def _searched_with(store: Store, content: str) -> bool:
    """Tell whether blocks were searched with the model of this content."""
    for folder in store.names("steps"):
        for name in store.names("steps", folder)[:1]:
            if store.note("steps", folder, name).get("model") == content:
                return True
    return False


CHANGED = (
    "the model's files are not those that the folder was made with: changed by hand, or damaged"
)


def edits_of(store: Store) -> Edits | None:
    """Return how the user edited the classes of a results folder; None where nobody did."""
    edits: Edits | None = store.read_json(EDITS_FILE)
    return edits


def load_model(
    store: Store,
    *,
    edits: Edits | None = None,
    as_learned: bool = False,
    version: str | None = None,
) -> Model:
    """Return the model of a results folder; one in an object store is fetched first.

    Parameters
    ----------
    store
        The results folder.
    edits
        How its classes are edited; those that the folder keeps unless given.
    as_learned
        Leave the classes as they were learned.
    version
        Fingerprint of its content; by default the one that the folder keeps.

    Raises
    ------
    DamagedFileError
        If the files are not those of this model.
    """
    model = _stored_model(store, version)
    if as_learned:
        return model
    edits = edits_of(store) if edits is None else edits
    return model if edits is None else edited(model, edits)


def version_of_model(store: Store) -> str:
    """Return the fingerprint of the model that the folder keeps; "" where its label is damaged."""
    try:
        return str((store.read_json("model", MADE_OF) or {}).get("content", ""))
    except DamagedFileError:
        return ""


def check_model(store: Store) -> None:
    """Check that the files of the folder's model are those that it was made with.

    Raises
    ------
    DamagedFileError
        If they are not.
    """
    _checked_files(store, None)


def _stored_model(store: Store, version: str | None) -> Model:
    """Return the model in the folder, its files read once and checked before they are used."""
    files = _checked_files(store, version)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        return Model.load(scratch)


def _checked_files(store: Store, version: str | None) -> dict[str, bytes]:
    """Return the files of the folder's model by name, if they are those of this version."""
    files = _stored_files(store)
    if version is None:
        said = store.read_json("model", MADE_OF)
        if said is None:
            raise DamagedFileError("/".join(("model", MADE_OF)), "it is not there")
        version = str(said["content"])
    if _content_of(files) != version:
        raise DamagedFileError("/".join(("model", "model.json")), CHANGED)
    return files


def _stored_files(store: Store) -> dict[str, bytes]:
    """Return the files of the folder's model by name."""
    names = (name for name in store.names("model") if name != MADE_OF)
    return {name: store.read_bytes("model", name) for name in names}


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
    return _content_of({file.name: file.read_bytes() for file in _files(folder)})


def _content_of(files: Mapping[str, bytes]) -> str:
    """Return the fingerprint of a model's files; "" where there are none."""
    if not files:
        return ""
    return fingerprint(*[(name, files[name].hex()) for name in sorted(files)])


def _files(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and p.name != MADE_OF and not p.name.startswith(".")
    )

"""The model of a run: given by the user, kept from before, or learned from a sample of movies."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from stemkin.blas import one_thread
from stemkin.config import RunConfig
from stemkin.errors import DamagedFileError
from stemkin.learning import Model, learn, learn_detector
from stemkin.learning.edits import Edits, edited
from stemkin.learning.strata import frames_to_learn_from
from stemkin.materials import material_named
from stemkin.movie import Movie
from stemkin.pipeline.crystals import is_still
from stemkin.pipeline.opening import open_inputs
from stemkin.results.log import warnings_heard
from stemkin.results.quarantine import GONE, set_aside
from stemkin.results.store import Store, fingerprint
from stemkin.scratch import scratch_folder

log = logging.getLogger(__name__)

STAGE_VERSION = 6
"""Raised when the same sample would give another model than before."""
MADE_OF = "made_of.json"
EDITS_FILE = "edits.json"


def settle_model(
    movies: Sequence[Movie],
    store: Store,
    config: RunConfig,
    given: Path | None,
    record: dict[str, Any],
    before: Mapping[str, Any] | None = None,
    *,
    relearn: bool = False,
) -> str:
    """Put the run's model into its results folder; return its fingerprint. Computes once.

    A model belongs to its results: movies that come, change or go leave it as it is, as long as one
    of those that were searched with it is still there. It is learned again where the user says so,
    by `relearn`, by other settings or by another calibration.

    Parameters
    ----------
    movies, store, config
        What is searched, where, and how.
    given
        Folder of a model of the user's; None learns one.
    record
        Gets what the model was made of, whether it was there before, and the warnings that were
        heard as it was learned, in an earlier run too.
    before
        What the record of the run before said.
    relearn
        Whether to learn again where the movies are others than those that were learned from.

    Raises
    ------
    ValueError
        If `given` is no model that this version can use.
    """
    label = _label_of(movies, config, given)
    kept = _kept(store, label, before or {})
    if kept is not None and not _stays(kept, label, movies, store, given=given, relearn=relearn):
        kept = None
    record["reused"] = kept is not None
    if kept is None:
        if given is not None:
            Model.load(given)  # refuses a damaged or foreign model before anything is written
        store.remove("model")
        with warnings_heard("stemkin.learning") as warnings:
            content = _made(movies, store, config, given)
        kept = {**label, "content": content, "warnings": warnings}
        store.write_json(kept, "model", MADE_OF)  # last: the model is whole
    record |= {key: kept.get(key) for key in LABELLED}
    record["warnings"] = kept.get("warnings", [])
    return str(kept["content"])


LABELLED = ("made_of", "settings", "taught", "content")
"""What the label of a model says of how it was made; ``run.json`` keeps it too."""


def _label_of(movies: Sequence[Movie], config: RunConfig, given: Path | None) -> dict[str, Any]:
    """Return what a model is made of: all of it as a fingerprint, and apart what may change."""
    settings = fingerprint(
        "settings", STAGE_VERSION, config.learn.model_dump(), _detector_settings(config)
    )
    if given is not None:
        wanted = fingerprint("given", _content(given))
        return {"made_of": wanted, "settings": settings, "taught": {}}
    identities = [(movie.name, movie.reader.identity, movie.calibration) for movie in movies]
    wanted = fingerprint("learn", settings, identities)
    taught = {}
    for i, _ in _sampled(movies, config):
        taught[movies[i].name] = fingerprint("calibration", movies[i].calibration)
    return {"made_of": wanted, "settings": settings, "taught": taught}


def _stays(
    kept: Mapping[str, Any],
    label: Mapping[str, Any],
    movies: Sequence[Movie],
    store: Store,
    *,
    given: Path | None,
    relearn: bool,
) -> bool:
    """Tell whether the model that the folder keeps serves for these movies and settings."""
    if kept["made_of"] == label["made_of"]:
        return True
    if given is not None or relearn or kept.get("settings") != label["settings"]:
        return False
    taught = kept.get("taught") or {}
    for movie in movies:
        calibrated = taught.get(movie.name)
        is_other = calibrated != fingerprint("calibration", movie.calibration)
        if calibrated is not None and is_other and is_still(movie, store):
            log.warning("%s is calibrated otherwise: the model is learned again", movie.name)
            return False
    # those that were learned from come first: mostly the first look tells
    for movie in sorted(movies, key=lambda one: one.name not in taught):
        if is_still(movie, store):
            return True
    return False


def _made(movies: Sequence[Movie], store: Store, config: RunConfig, given: Path | None) -> str:
    """Put a model that was given, or is learned now, into the folder; return its fingerprint."""
    if given is not None:
        return _put(given, store)
    with scratch_folder(store.folder) as scratch:
        _learned(movies, config).save(scratch)
        return _put(scratch, store)


def _kept(
    store: Store, label: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return what the folder says of its model, if the model is whole.

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
        if kept is None and before.get("made_of"):  # an earlier run had it
            set_aside(store, GONE, "model", MADE_OF)
    if kept is not None and not _is_own(kept, label, before, store):
        set_aside(store, "it is the label of another model than this folder's", "model", MADE_OF)
        kept = None
    if kept is None and content:
        kept = _label_again(store, label, before, content)
    if kept is None or kept.get("content") == content:
        return kept
    for name in sorted({"model.json", "arrays.npz", *_stored_files(store)}):
        set_aside(store, CHANGED, "model", name)
    return None


def _is_own(
    kept: Mapping[str, Any], label: Mapping[str, Any], before: Mapping[str, Any], store: Store
) -> bool:
    """Tell whether a label is of what is wanted, or of the model with which the folder was made."""
    if kept.get("made_of") == label["made_of"]:
        return True
    if before.get("made_of"):
        return bool(kept.get("made_of") == before["made_of"])
    return _searched_with(store, str(kept.get("content")))


def _label_again(
    store: Store, label: Mapping[str, Any], before: Mapping[str, Any], content: str
) -> dict[str, Any] | None:
    """Write the label of a model again, as ``run.json`` or the model itself tells it."""
    said = None
    if before.get("made_of") and before.get("content") == content:
        said = {key: before.get(key) for key in LABELLED}
    elif label["made_of"] == fingerprint("given", content):
        said = dict(label)
    if said is None or not _searched_with(store, content):
        return None
    kept: dict[str, Any] = {**said, "content": content, "warnings": []}
    store.write_json(kept, "model", MADE_OF)
    return kept


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
    with scratch_folder(store.folder) as scratch:
        for name, content in files.items():
            (scratch / name).write_bytes(content)
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


def _sampled(movies: Sequence[Movie], config: RunConfig) -> list[tuple[int, int]]:
    """Return the (movie, frame) numbers from which a model is learned."""
    return frames_to_learn_from(movies, config.learn.n_frames, seed=config.learn.seed)


def _learned(movies: Iterable[Movie], config: RunConfig) -> Model:
    listed, settings = list(movies), config.learn.model_dump()
    frames = _sampled(listed, config)
    detector = learn_detector(
        listed,
        settings.pop("detector"),
        material=material_named(config.learn.material),
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

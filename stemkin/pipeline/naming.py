"""What the user edits: detections are named again and corrected by hand; no pixel is read.

What the user said is kept as ``edits.json`` in the results folder, beside the model as it was
learned, so that it can be taken back, and so that a run that goes on names new detections in the
same way. What was corrected by hand stands in ``by_hand.json`` (`stemkin.learning.by_hand`); the
blocks that it touches are kept as they were found, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.learning.by_hand import (
    HandEdit,
    check_fits,
    detections_edited,
    hand_edits_of,
    within,
)
from stemkin.learning.edits import Edits, read_edits
from stemkin.model import Model
from stemkin.names import folder_name
from stemkin.pipeline.model import EDITS_FILE, edits_of, load_model
from stemkin.pipeline.tracks import analysed_movies
from stemkin.progress import Watch
from stemkin.results.journal import Journal
from stemkin.results.reading import read_detections
from stemkin.results.store import Block, Store, fingerprint
from stemkin.schedulers.streams import results

AS_LEARNED = ""
"""What names a block whose classes nobody edited."""
AS_FOUND = "found"
"""Tables as they were before corrections by hand: ``detections_found``, ``neighbours_found``."""


@dataclass(frozen=True)
class NamingTask:
    """All that a worker needs to name one block again."""

    block: Block
    store: Store
    version: str


def edits_with_refit(
    store: Store, edits: Edits | str | PathLike[str] | None = None, *, seed: int = 0
) -> Edits:
    """Return edits of a results folder with its classes fitted to all it found. Computes once.

    Through the active scheduler; no pixel is read.

    Parameters
    ----------
    store
        The results folder.
    edits
        What is edited besides, or a file that says so; None: what the folder keeps.
    seed
        Of the starts of new classes.
    """
    from stemkin.learning.refitting import refit_numbers

    if edits is None:
        edits = edits_of(store) or {}
    if not isinstance(edits, Mapping):
        edits = read_edits(edits)
    model = load_model(store, as_learned=True)
    found = refit_numbers(model, read_detections(store.root), seed=seed)
    kept = {name: said for name, said in edits.items() if name != "refit"}
    if not found:
        return kept
    return {"refit": found, **kept}


def settle_edits(store: Store, edits: Edits | None) -> None:
    """Keep `edits` in the results folder for all that follows.

    None leaves what is there, an empty mapping takes it back. What classes were fitted to stays
    under edits by hand: they speak of the classes that this has found.

    Raises
    ------
    ValueError
        If they do not fit the model; then nothing is written.
    """
    kept = edits_of(store)
    if edits and kept and "refit" in kept:
        edits = {"refit": kept["refit"], **edits}
    wanted = kept if edits is None else edits
    if wanted:
        try:
            load_model(store, edits=wanted)
        except ValueError as error:
            cure = (
                "mend the file"
                if edits is not None
                else f"`stemkin classes {store.root} --reset` takes earlier edits back"
            )
            msg = f"the classes cannot be edited so: {error}; {cure}"
            raise ValueError(msg) from None
    if edits is not None and (edits or kept is not None):
        store.write_json(edits, EDITS_FILE)
    by_hand = hand_edits_of(store)
    if by_hand:
        movies = [m["movie"] for m in Journal.read(store).content["movies"]]
        check_fits(by_hand, movies, load_model(store).classes["name"])


def name_again(
    store: Store, journal: Journal, retries: int, record: dict[str, Any], watch: Watch
) -> None:
    """Name every block as the edits say, through the active scheduler. Computes once.

    Blocks named so before are kept.
    """
    edits, version = edits_of(store), edits_version(store)
    by_hand = hand_edits_of(store)
    record.update({"edited": bool(edits), "blocks": 0})
    if by_hand:
        record["by_hand"] = len(by_hand)
    if version is None:
        return
    blocks = [
        block
        for movie in analysed_movies(journal)
        for block in store.blocks("detections", movie["movie"])
    ]
    watch.stage("name", len(blocks))
    missed = 0
    for _, named in results(
        name_block, (NamingTask(block, store, version) for block in blocks), retries=retries
    ):
        watch.advance()
        record["blocks"] += named.redone
        missed += named.missed
    if missed:
        journal.warn(
            f"{missed} of {len(by_hand)} edits by hand found no detection at their place and "
            "were left out"
        )
    if not edits:
        store.remove(EDITS_FILE)  # every block is as it was learned again


def edits_version(store: Store) -> str | None:
    """Return what tells blocks that are named as the edits say from others.

    None where nobody ever edited classes, nor anything by hand.
    """
    edits = edits_of(store)
    if edits:
        return fingerprint("edits", edits)
    if edits is None and not hand_edits_of(store) and not store.names(f"detections_{AS_FOUND}"):
        return None
    return AS_LEARNED


@dataclass(frozen=True)
class NamedBlock:
    """What comes back from a block: whether it was named, and corrections that found nothing."""

    redone: bool
    missed: int


def name_block(task: NamingTask) -> NamedBlock:
    """Name the detections of one block again if need be, and correct them. Computes once."""
    store, block = task.store, task.block
    about = store.block_note("detections", block)
    by_hand = within(hand_edits_of(store), block.movie, block.start, block.stop)
    version = task.version
    if by_hand:
        version = fingerprint("by hand", version, [edit.as_dict() for edit in by_hand])
    if about.get("named", AS_LEARNED) == version:
        return NamedBlock(redone=False, missed=int(about.get("missed", 0)))
    rows, beside = _as_found(store, block, about["fingerprint"])
    model, missed = _model(store, task.version), 0
    note: dict[str, str] = {}
    rows = named_by(rows, beside, model)
    if by_hand:
        numbers = {name: i for i, name in enumerate(model.classes["name"])}
        rows, beside, missed = detections_edited(rows, beside, by_hand, numbers)
        note = {"missed": str(missed), "by_hand": "yes"}
    if by_hand or about.get("by_hand"):
        store.write_block("neighbours", block, beside, about["fingerprint"])
    if version != AS_LEARNED:
        note["named"] = version
    store.write_block("detections", block, rows, about["fingerprint"], **note)
    _keep_as_found(store, block, by_hand)
    return NamedBlock(redone=True, missed=missed)


def _as_found(store: Store, block: Block, made_of: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``detections`` and ``neighbours`` of a block without corrections by hand.

    A block with corrections keeps them beside; before the first correction they are kept now.
    """
    tables_found = []
    for table in ("detections", "neighbours"):
        kept = f"{table}_{AS_FOUND}"
        if store.block_made_of(kept, block) == made_of:
            tables_found.append(store.read_block(kept, block))
            continue
        rows = store.read_block(table, block)
        if within(hand_edits_of(store), block.movie, block.start, block.stop):
            store.write_block(kept, block, rows, made_of)
        tables_found.append(rows)
    rows, beside = tables_found
    return rows, beside


def _keep_as_found(store: Store, block: Block, by_hand: list[HandEdit]) -> None:
    """Remove what was kept of a block that has no corrections any more."""
    if by_hand:
        return
    for table in ("detections", "neighbours"):
        kept = f"{table}_{AS_FOUND}"
        if store.block_made_of(kept, block) is not None:
            store.remove(kept, folder_name(block.movie), block.file_name)


def named_by(rows: pd.DataFrame, beside: pd.DataFrame, model: Model) -> pd.DataFrame:
    """Return ``detections`` with the classes that `model` gives their descriptors.

    Parameters
    ----------
    rows
        ``detections`` of one block.
    beside
        Their ``neighbours``, row by row.
    model
        The model that names them.
    """
    described = rows[tables.descriptor_columns(model.n_descriptors)].to_numpy()
    turn, noise = beside["turn"].to_numpy(), beside["noise"].to_numpy()
    columns = {
        name: rows[name].to_numpy().copy() for name in ("class_id", "probability", "orientation")
    }
    # rows without a level (NaN equals nothing) keep the names they have
    for level in np.unique(noise):
        own = noise == level
        for name, values in model.sort(described[own], turn[own], noise=float(level)).items():
            columns[name][own] = values
    return rows.assign(**columns)


@lru_cache(maxsize=2)
def _model(store: Store, version: str) -> Model:  # noqa: ARG001 - other edits are another model
    return load_model(store)

"""Classes edited by the user: detections are named again from their descriptors; no pixel is read.

What the user said is kept as ``edits.json`` in the results folder, beside the model as it was
learned, so that it can be taken back, and so that a run that goes on names new detections in the
same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.learning.edits import Edits
from stemkin.model import Model
from stemkin.pipeline.model import EDITS_FILE, edits_of, load_model
from stemkin.pipeline.tracks import analysed_movies
from stemkin.progress import Watch
from stemkin.results.journal import Journal
from stemkin.results.store import Block, Store, fingerprint
from stemkin.schedulers.streams import results

AS_LEARNED = ""
"""What names a block whose classes nobody edited."""


@dataclass(frozen=True)
class NamingTask:
    """All that a worker needs to name one block again."""

    block: Block
    store: Store
    version: str


def settle_edits(store: Store, edits: Edits | None) -> None:
    """Keep `edits` in the results folder for all that follows.

    None leaves what is there, an empty mapping takes it back.

    Raises
    ------
    ValueError
        If they do not fit the model; then nothing is written.
    """
    kept = edits_of(store)
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


def name_again(
    store: Store, journal: Journal, retries: int, record: dict[str, Any], watch: Watch
) -> None:
    """Name every block as the edits say, through the active scheduler. Computes once.

    Blocks named so before are kept.
    """
    edits, version = edits_of(store), edits_version(store)
    record.update({"edited": bool(edits), "blocks": 0})
    if version is None:
        return
    blocks = [
        block
        for movie in analysed_movies(journal)
        for block in store.blocks("detections", movie["movie"])
    ]
    watch.stage("name", len(blocks))
    for _, renamed in results(
        name_block, (NamingTask(block, store, version) for block in blocks), retries=retries
    ):
        watch.advance()
        record["blocks"] += renamed
    if not edits:
        store.remove(EDITS_FILE)  # every block is as it was learned again


def edits_version(store: Store) -> str | None:
    """Return what tells blocks that are named as the edits say from others.

    None where nobody ever edited classes.
    """
    edits = edits_of(store)
    return None if edits is None else fingerprint("edits", edits) if edits else AS_LEARNED


def name_block(task: NamingTask) -> int:
    """Name the detections of one block again; return 1 if that was needed. Computes once."""
    store, block = task.store, task.block
    about = store.block_note("detections", block)
    if about.get("named", AS_LEARNED) == task.version:
        return 0
    rows = store.read_block("detections", block)
    beside = store.read_block("neighbours", block)
    rows = named_by(rows, beside, _model(store, task.version))
    note = {"named": task.version} if task.version != AS_LEARNED else {}
    store.write_block("detections", block, rows, about["fingerprint"], **note)
    return 1


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

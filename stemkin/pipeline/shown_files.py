"""Files of a results folder that are looked at, and that no number is made of: are they whole?

Pictures carry their seals, the report's files are listed with their checksums in
``report/seals.json``, and remembered headers are sealed JSON. What only grows while a run goes on
(``log.jsonl``) is not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from stemkin.errors import DamagedFileError
from stemkin.pipeline.gallery import FOLDER as GALLERY
from stemkin.pipeline.gallery import damaged_pictures
from stemkin.pipeline.opening import HEADERS_FILE
from stemkin.report import REPORT_FILE
from stemkin.report.keeping import FOLDER as REPORT_FOLDER
from stemkin.report.keeping import SEALS_FILE
from stemkin.results.quarantine import GONE
from stemkin.results.store import Store

NOT_WRITTEN = "its content is not what was written"


def damaged_to_look_at(store: Store, said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every file to look at that is not what was written, and how that is known.

    Computes once.

    Parameters
    ----------
    store
        The results folder.
    said
        What its ``run.json`` says; nothing where that is damaged.
    """
    stems = {str(stem) for stem in said.get("gallery") or []}
    stems |= {name.removesuffix(".npz") for name in store.names(GALLERY)}
    for name, why in damaged_pictures(store, sorted(stems)):
        yield f"{GALLERY}/{name}", why
    try:
        store.read_json(HEADERS_FILE)
    except DamagedFileError as error:
        yield HEADERS_FILE, error.why
    yield from _damaged_report(store, said)


def _damaged_report(store: Store, said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the files of the report that are not what was written."""
    seals = f"{REPORT_FOLDER}/{SEALS_FILE}"
    try:
        sums = store.read_json(REPORT_FOLDER, SEALS_FILE)
    except DamagedFileError as error:
        yield seals, error.why
        return
    if sums is None:
        if said.get("stages", {}).get("report", {}).get("status") == "done":
            yield seals, GONE
        return
    for place, checksum in sums.items():
        try:
            content = store.read_bytes(*place.split("/"))
        except FileNotFoundError:
            yield place, GONE
            continue
        if hashlib.sha256(content).hexdigest() != checksum:
            yield place, NOT_WRITTEN
    if REPORT_FILE not in sums and store.exists(REPORT_FILE):
        yield REPORT_FILE, NOT_WRITTEN

"""Damaged files of a results folder: each is set aside with a reason, so that it can be made again.

A file that is not what was written (`stemkin.errors.DamagedFileError`) is moved to ``quarantine/``
under its own path, beside it a note that says why and when; nothing is deleted. Whoever finds it
first moves it, on whichever machine; the run reads the notes at its end and tells of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from stemkin.errors import DamagedFileError
from stemkin.names import folder_name
from stemkin.results.store import Block, Store

QUARANTINE = "quarantine"
"""Folder of what was set aside."""
NOTES = "notes"
"""Folder in it with one small file for each."""

log = logging.getLogger(__name__)


def set_aside(store: Store, why: str, *parts: str) -> None:
    """Move a file out of the way and note why; one that is gone is noted only.

    Parameters
    ----------
    store, parts
        The file.
    why
        How it is known that it is not what was written.
    """
    place = "/".join(parts)
    now = datetime.now(UTC)
    stamp = now.strftime("%Y%m%dT%H%M%S.%f")
    # another task may have met it first, or nobody has it any more
    with suppress(FileNotFoundError):
        content = store.read_bytes(*parts)
        store.write_bytes(content, QUARANTINE, stamp, *parts)
        store.remove(*parts)
    note = {"file": place, "why": why, "when": now.isoformat(timespec="seconds")}
    store.write_json(note, QUARANTINE, NOTES, f"{stamp}-{folder_name(place)}.json")
    log.warning("%s is damaged (%s); it is set aside and made again", place, why)


def standing(store: Store, *parts: str) -> dict[str, str]:
    """Return what a table's file says of itself if it is whole; a damaged one is set aside.

    Every byte of it is checked.

    Returns
    -------
    The note with its fingerprint; nothing where there is no whole file (any more).
    """
    try:
        return store.whole_note(*parts)
    except DamagedFileError as error:
        set_aside(store, error.why, *parts)
        return {}


def standing_prints(
    store: Store, files: Iterable[tuple[str, ...]], wanted: str, *, was_done: bool
) -> dict[tuple[str, ...], str | None]:
    """Return the fingerprint of each of some files that belong together, None for one not whole.

    What is damaged is set aside. Where an earlier run had done all of them, so are those that are
    gone, and those that were made of something else while others were made of what is wanted.

    Parameters
    ----------
    store, files
        Which files.
    wanted
        Their fingerprint, if nothing has changed.
    was_done
        Whether an earlier run came to its end: a run that was killed leaves some files undone.
    """
    found: dict[tuple[str, ...], str | None] = {}
    gone = []
    for file in files:
        try:
            found[file] = store.whole_note(*file).get("fingerprint")
            gone += [file] * (found[file] is None)
        except DamagedFileError as error:
            set_aside(store, error.why, *file)
            found[file] = None
    if was_done and wanted in found.values():
        for file in gone:
            set_aside(store, GONE, *file)
        for file, made_of in found.items():
            if made_of not in (None, wanted):
                set_aside(store, "it was made of something else", *file)
    return found


GONE = "it is not there"


def file_of(table: str, block: Block) -> tuple[str, str, str]:
    """Return where the file of a block stands."""
    return table, folder_name(block.movie), block.file_name


def set_aside_since(store: Store, names: frozenset[str]) -> list[dict[str, Any]]:
    """Return what was set aside since the notes were `names_of_notes`: file, why and when."""
    found = []
    for name in store.names(QUARANTINE, NOTES):
        if name in names:
            continue
        with suppress(DamagedFileError):  # a note that rotted itself is passed over
            found.append(store.read_json(QUARANTINE, NOTES, name) or {})
    return found


def names_of_notes(store: Store) -> frozenset[str]:
    """Return the names of the notes that there are."""
    return frozenset(store.names(QUARANTINE, NOTES))

"""A results folder checked: every file against its checksum, and against what should be there.

    for part in folder: read every byte, compare with its seal, the report and pictures too
    for block in movie: all its files there, made of the same, its maps what the block made

What is wrong is named. Where it is to be mended, it is set aside, and what needs no pixel is made
again at once; for the rest the command is named that reads pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from stemkin.blas import one_thread
from stemkin.errors import DONE, INCOMPLETE, DamagedFileError
from stemkin.names import folder_name
from stemkin.pipeline import AFTER_PIXELS, maps, resume
from stemkin.pipeline.block_search import MAP_SUM
from stemkin.pipeline.kept_sums import FOLDER as SUMS
from stemkin.pipeline.model import check_model, version_of_model
from stemkin.pipeline.shown_files import damaged_to_look_at
from stemkin.pipeline.site_kinetics import OF_MOVIES, TRACES_SUM, traces_place
from stemkin.results.dependence import needs_pixels
from stemkin.results.journal import Journal
from stemkin.results.lock import locked
from stemkin.results.quarantine import GONE, set_aside
from stemkin.results.store import (
    BLOCK_TABLES,
    MOVIE_TABLES,
    PIXEL_TABLES,
    RUN_FILE,
    SIGNALS,
    THUMBNAILS,
    Block,
    FolderError,
    Store,
)
from stemkin.results.track_files import WHOLE
from stemkin.schedulers.streams import results as results_of

SHOWN = 20
"""So many damaged files are written out."""
TABLES = (*BLOCK_TABLES, WHOLE, *MOVIE_TABLES, OF_MOVIES, SUMS)
"""Folders that hold a folder of Parquet files for each movie."""
OTHERWISE_MADE = "it was made of something else"


@dataclass(frozen=True)
class FileDamage:
    """A file that is not what it should be: its path within the folder, and how that is known."""

    file: str
    why: str

    @property
    def needs_pixels(self) -> bool:
        """Whether it can be made again from the movies alone."""
        return needs_pixels(self.file)


@dataclass(frozen=True)
class CheckOutcome:
    """What a check of a results folder found.

    Attributes
    ----------
    folder
        The results folder.
    n_files
        How many files were read.
    damages
        What is wrong.
    left
        What of it is still to be made again.
    command
        What makes it again.
    """

    folder: str
    n_files: int
    damages: list[FileDamage] = field(default_factory=list)
    left: list[FileDamage] = field(default_factory=list)
    command: str = ""

    @property
    def exit_code(self) -> int:
        """0 where all is whole, or was made again; else 3."""
        return INCOMPLETE if self.left else DONE

    def describe(self) -> str:
        """Return the lines that ``stemkin check`` prints."""
        lines = [f"damaged: {one.file} ({one.why})" for one in self.damages[:SHOWN]]
        if len(self.damages) > SHOWN:
            lines.append(f"damaged: and {len(self.damages) - SHOWN:,} more")
        if not self.damages:
            lines.append(f"{self.folder}: {self.n_files:,} files, all of them whole")
        elif not self.left:
            lines.append(f"{self.folder}: mended; what was damaged lies in quarantine/")
        else:
            lines.append(
                f"{self.folder}: {len(self.left):,} of {self.n_files:,} files are to be made again; "
                f"{self.command} does that"
            )
        return "\n".join(lines)


@one_thread
def check_results(results: str | PathLike[str], *, mend: bool = False) -> CheckOutcome:
    """Check every file of a results folder, and mend what can be mended. Computes once.

    Every byte is read and compared with its checksum; what is missing, or was made of something
    else than its neighbours, is found too. The folders of tables go through the active scheduler.

    Parameters
    ----------
    results
        Path or URL of the results folder.
    mend
        Whether to set damaged files aside and to make again what needs no pixel.

    Returns
    -------
    What is wrong, what of it is left, and the command that makes it again.

    Raises
    ------
    FolderError
        If it is no results folder, or, where it is to be mended, a run is writing there. A
        ValueError.
    """
    store = Store.at(results)
    n_files, damages = _damages(store)
    command = f"`stemkin check {store.root} --mend`"
    if not damages:
        return CheckOutcome(store.root, n_files)
    if not mend:
        return CheckOutcome(store.root, n_files, damages, damages, command)
    command = _command(store)
    with locked(store):
        for one in damages:
            if one.file != RUN_FILE:  # whoever runs again sets it aside, and writes another one
                set_aside(store, one.why, *one.file.split("/"))
    left = [one for one in damages if one.needs_pixels]
    if not left:
        resume(store.root, stages=_stages_done(store))
        left = _damages(store)[1]
    return CheckOutcome(store.root, n_files, damages, left, command)


def _command(store: Store) -> str:
    """Return the command that made the folder, as far as its ``run.json`` can be read."""
    try:
        return Journal.read(store).command()
    except FolderError:
        return f"`stemkin run INPUT -o {store.root}`"


def _stages_done(store: Store) -> list[str]:
    """Return the stages after the pixels that the run of the folder has done."""
    done = Journal.read(store).content["stages"]
    return [stage for stage in AFTER_PIXELS if stage in done] or ["link"]


def _damages(store: Store) -> tuple[int, list[FileDamage]]:
    """Return how many files were looked at, and what is wrong with which."""
    names = store.names()
    if RUN_FILE not in names and not {*BLOCK_TABLES} & set(names):
        Journal.read(store)  # refuses what is no results folder
    found = [*_of_json(store), *_of_model(store)]
    found += [FileDamage(*one) for one in damaged_to_look_at(store, _said(store))]
    model = version_of_model(store)
    files = [(name,) for name in names if name.endswith(".parquet")]
    folders = [(table, movie) for table in TABLES for movie in store.names(table)]
    tasks = [FilesTask(store, tuple(files)), *(FilesTask(store, (), one, model) for one in folders)]
    n_files = len(found)
    prints: dict[tuple[str, ...], str] = {}
    for _, one in results_of(check_files, tasks):
        n_files += one.n_files
        found += one.damages
        prints |= one.prints
    found += _of_run(store, prints, {one.file for one in found})
    return n_files, sorted(found, key=lambda one: one.file)


def _said(store: Store) -> dict[str, Any]:
    """Return what ``run.json`` says; nothing where that is damaged."""
    try:
        return Journal.read(store).content
    except FolderError:
        return {}


@dataclass(frozen=True)
class FilesTask:
    """Files of tables that a worker checks: some, or all in a `folder`, searched with a `model`."""

    store: Store
    files: tuple[tuple[str, ...], ...]
    folder: tuple[str, ...] = ()
    model: str = ""


@dataclass(frozen=True)
class FilesChecked:
    """What comes back: what is damaged, and the fingerprints of the others."""

    n_files: int
    damages: list[FileDamage]
    prints: dict[tuple[str, ...], str]


def check_files(task: FilesTask) -> FilesChecked:
    """Read every byte of some tables' files, and the maps of their blocks. Computes once."""
    store, files = task.store, list(task.files)
    if task.folder:
        files += [(*task.folder, name) for name in store.names(*task.folder)]
    damages, prints = [], {}
    for file in files:
        try:
            note = store.whole_note(*file)
        except DamagedFileError as error:
            damages.append(FileDamage("/".join(file), error.why))
            continue
        prints[file] = note.get("fingerprint", "")
        if file[0] == "steps":
            if task.model and note.get("model") != task.model:
                damages.append(FileDamage("/".join(file), "it was searched with another model"))
            damages += _of_maps(store, file[2], note)
        if TRACES_SUM in note and note[TRACES_SUM] != store.checksum_of_folder(
            *traces_place(note["movie"])
        ):
            damages.append(
                FileDamage("/".join(traces_place(note["movie"])), "it is not what was written")
            )
    return FilesChecked(len(files), damages, prints)


def _of_maps(store: Store, file: str, note: dict[str, str]) -> list[FileDamage]:
    """Return the chunk of a block's maps, if it is not what the block made."""
    start, stop = (int(edge) for edge in file.removesuffix(".parquet").split("-"))
    block = Block(note.get("movie", ""), start, stop)
    if maps.standing_checksum(store, block) == note.get(MAP_SUM):
        return []
    return [FileDamage("/".join(maps.chunk_of(store, block)), maps.NOT_ITS_MAP)]


def _of_json(store: Store) -> Iterator[FileDamage]:
    """Yield the small files that are damaged."""
    wanted = [(RUN_FILE,), ("edits.json",), ("model", "made_of.json")]
    wanted += [("crystals", name) for name in store.names("crystals")]
    for file in wanted:
        try:
            said = store.read_json(*file)
        except DamagedFileError as error:
            yield FileDamage("/".join(file), error.why)
        else:
            if said is None and file != ("edits.json",):
                yield FileDamage("/".join(file), GONE)


def _of_model(store: Store) -> Iterator[FileDamage]:
    """Yield the model, if its files are not those that the folder was made with."""
    try:
        check_model(store)
    except DamagedFileError as error:
        if not error.place.endswith("made_of.json"):  # told already
            yield FileDamage(error.place, error.why)


def _of_run(
    store: Store, prints: dict[tuple[str, ...], str], known: set[str]
) -> Iterable[FileDamage]:
    """Return what is missing by what ``run.json`` says, or was made of something else."""
    content = _said(store)
    if not content:
        return []
    found = []
    for movie in content["movies"]:
        if isinstance(movie, dict) and movie.get("status") == "ok":
            found += _of_movie(store, movie, content, prints)
    wanted = [
        (f"{name}.parquet",) for name in content["stages"].get("kinetics", {}).get("tables", [])
    ]
    found += _unequal(wanted, prints)
    return [one for one in found if one.file not in known]


def _of_movie(
    store: Store, movie: dict[str, Any], content: dict[str, Any], prints: dict[tuple[str, ...], str]
) -> list[FileDamage]:
    """Return what is missing of a movie, or was made of something else than the rest of it."""
    name, folder = str(movie["movie"]), folder_name(str(movie["movie"]))
    failed = {
        Block(name, one["start"], one["stop"]).file_name
        for one in content["blocks"].get("failed") or []
        if one["movie"] == name
    }
    if "detect" not in content["stages"]:
        return []
    # of a block that failed there are frames, all of them gaps, but no rows
    edges = _edges(
        {file[2] for file in prints if file[1:2] == (folder,) and len(file) == 3} | failed, movie
    )
    searched = [one for one in edges if one not in failed]
    found = []
    # pictures and signals are kept of some movies only
    kept = [t for t in (THUMBNAILS, SIGNALS) if any(file[:2] == (t, folder) for file in prints)]
    for block in searched:
        found += _unequal([(table, folder, block) for table in (*PIXEL_TABLES, *kept)], prints)
    if not store.exists("crystals", f"{folder}.json"):
        found.append(FileDamage(f"crystals/{folder}.json", GONE))
    stages = content["stages"]
    if stages.get("phases", {}).get("status") == "done":
        found += _unequal([("regions", folder, block) for block in searched], prints)
    if stages.get("link", {}).get("status") == "done":
        linked = [(table, folder, block) for table in ("frames", "tracks") for block in edges]
        found += _unequal(linked, prints)
    return found


def _edges(names: set[str], movie: dict[str, Any]) -> list[str]:
    """Return the names of the files of a movie's blocks, also of those that are lost.

    Whatever lies between two that are there, or before the end, is one block more.
    """
    blocks = sorted(
        tuple(int(edge) for edge in name.removesuffix(".parquet").split("-"))
        for name in names
        if name.removesuffix(".parquet").replace("-", "").isdigit()
    )
    found, at = [], 0
    for start, stop in [*blocks, (int(movie["n_frames"]), int(movie["n_frames"]))]:
        if start > at:
            found.append(Block("", at, start).file_name)
        if stop > start:
            found.append(Block("", start, stop).file_name)
        at = max(at, stop)
    return found


def _unequal(
    files: Sequence[tuple[str, ...]], prints: dict[tuple[str, ...], str]
) -> list[FileDamage]:
    """Return which of some files that belong together are lost, or made of something else."""
    there = [prints[file] for file in files if file in prints]
    # what most of them were made of is what they should be made of; of as many, the last one
    usual = max(there, key=lambda one: (there.count(one), there[::-1].index(one) == 0), default="")
    lost = [FileDamage("/".join(file), GONE) for file in files if file not in prints]
    return lost + [
        FileDamage("/".join(file), OTHERWISE_MADE)
        for file in files
        if file in prints and prints[file] != usual
    ]

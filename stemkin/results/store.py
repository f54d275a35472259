"""The results folder: what its files are called, and how a good one is told from a stale one.

Files appear whole or not at all (a temporary file is renamed; an object store gets one PUT). Each
Parquet file carries the *fingerprint* of what made it: the input's identity, the model, the
settings and the version of the stage. A file whose fingerprint is the wanted one need not be made
again, and that is all there is to resuming a run.

A results folder is a path, or any URL that fsspec knows (``s3://bucket/results``).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from stemkin import tables
from stemkin.errors import (
    DamagedFileError,
    StoppedError,
    UnwritableError,
    is_of_the_network,
    reaching,
    reason,
)
from stemkin.names import folder_name
from stemkin.rows.parquet import note_in, note_of_whole, rows_of, sealed_bytes
from stemkin.seals import sealed_json, unsealed_json

RUN_FILE = "run.json"
LOCK_FILE = ".lock"
PIXEL_TABLES = ("detections", "neighbours", "breaks", "steps")
"""What the pixel pass writes for each block of frames, `steps` last: the frames as measured, before
their shifts are summed; `breaks` are the regions before they are followed."""
IS_THERE = ("PreconditionFailed", "At least one of the pre-conditions")
"""How an object store says that a file exists already; s3fs hands on its words alone."""
THUMBNAILS = "thumbnails"
"""Table of small pictures of some frames, of the first movies alone; the pixel pass writes it too."""
SIGNALS = "signals"
"""Table of the signals of all sites in each frame's own numbers; the pixel pass writes it where asked."""
BLOCK_TABLES = (*PIXEL_TABLES, THUMBNAILS, SIGNALS, "frames", "tracks", "regions")
"""Tables with one file per block of frames."""
MOVIE_TABLES = ("sites", "dopants", "lattice_correlation", "expected_populations")
"""Tables with one file per movie, named like the table."""
SITE_TRACES = "site_traces"
"""Folder of the traces of sites: one Zarr array (t, site) for each movie."""


class FolderError(ValueError):
    """A results folder that cannot be used; its message is one sentence."""


@dataclass(frozen=True)
class Block:
    """Frames `start` to `stop` (excluded) of the movie called `movie`."""

    movie: str
    start: int
    stop: int

    @property
    def file_name(self) -> str:
        """Name that sorts as the frames do."""
        return f"{self.start:09d}-{self.stop:09d}.parquet"


def fingerprint(*parts: Any) -> str:
    """Return a short hash of `parts` (anything JSON can say), the same on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Store:
    """A results folder at `root` (path or URL); picklable, so that workers write their own rows."""

    root: str

    @classmethod
    def at(cls, root: str | os.PathLike[str]) -> Store:
        """Return the store at `root`; a path is made absolute, as workers may stand elsewhere."""
        text = os.fspath(root)
        if "://" in text:
            return cls(text.rstrip("/"))
        return cls(str(Path(text).absolute()))

    @cached_property
    def _fs(self) -> Any:
        import fsspec

        options: dict[str, Any] = {}
        if not self.is_local:
            # Other processes write here, and a file that they made must be seen.
            options["use_listings_cache"] = False
        return fsspec.core.url_to_fs(self.root, **options)[0]

    @property
    def is_local(self) -> bool:
        """Tell whether this is a folder of the machine's own file system."""
        return "://" not in self.root

    @property
    def folder(self) -> Path | None:
        """Return the folder on the machine's own file system; None in an object store."""
        if not self.is_local:
            return None
        return Path(self.root)

    def path(self, *parts: str) -> str:
        """Return the path or URL of a file in the folder."""
        return "/".join([self.root, *parts])

    # --- bytes ------------------------------------------------------------------------------------

    def exists(self, *parts: str) -> bool:
        """Tell whether there is such a file or folder."""
        with reaching(self.root):
            return bool(self._fs.exists(self.path(*parts)))

    def read_bytes(self, *parts: str) -> bytes:
        """Return a file's content."""
        with reaching(self.root):
            # Asked for the whole, s3fs makes two requests; from the first byte on it makes one.
            return bytes(self._fs.cat_file(self.path(*parts), start=0))

    def read_ranges(
        self, files: Sequence[tuple[str, ...]], starts: list[int], stops: list[int]
    ) -> list[bytes]:
        """Return bytes `starts` to `stops` (excluded) of each of the `files`, asked for at once."""
        paths = [self.path(*file) for file in files]
        with reaching(self.root):
            return list(self._fs.cat_ranges(paths, starts, stops, on_error="raise"))

    def write_bytes(self, content: bytes, *parts: str) -> None:
        """Write a file so that it appears whole or not at all.

        Raises
        ------
        UnwritableError
            If it cannot be written: no space, no permission, no connection.
        """
        with self.writing(*parts):
            if self.is_local:
                _replace(Path(self.path(*parts)), content)
            else:
                self._fs.pipe_file(self.path(*parts), content)

    @contextmanager
    def writing(self, *parts: str) -> Iterator[None]:
        """Turn what fails for want of space, permission or connection into what stops the run.

        Raises
        ------
        UnwritableError
            In the place of that error.
        """
        try:
            yield
        except StoppedError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not is_of_the_network(error):
                raise
            msg = (
                f"{self.path(*parts)} cannot be written ({reason(error)}); what is done is kept: "
                "make room or mend access, and the same command goes on"
            )
            raise UnwritableError(msg) from error

    def create_bytes(self, content: bytes, *parts: str) -> None:
        """Write a file of an object store only where there is none, as far as the store can tell.

        Raises
        ------
        FileExistsError
            If there is one.
        """
        try:
            self._fs.pipe_file(self.path(*parts), content, mode="create")
        except FileExistsError:
            raise
        except Exception as error:
            if not any(words in str(error) for words in IS_THERE):
                with self.writing(*parts):
                    raise
            msg = f"{self.path(*parts)} appeared this moment"
            raise FileExistsError(msg) from error

    def names(self, *parts: str) -> list[str]:
        """Return the names in a folder, sorted; none where there is no such folder."""
        try:
            with reaching(self.root):
                found = self._fs.ls(self.path(*parts), detail=False)
        except FileNotFoundError:
            return []
        names = sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)
        return [n for n in names if not n.startswith(".")]

    def checksum_of_folder(self, *parts: str) -> str:
        """Return the SHA-256 of all files below a folder, by name and content; one at a time."""
        found = hashlib.sha256()
        if self.exists(*parts):
            with reaching(self.root):
                paths = sorted(self._fs.find(self.path(*parts)))
                top = len(self._fs._strip_protocol(self.path(*parts)))
                for path in paths:
                    content = hashlib.sha256(self._fs.cat_file(path)).hexdigest()
                    found.update(f"{path[top:]} {content}\n".encode())
        return found.hexdigest()

    def sweep(self, *parts: str) -> None:
        """Remove what killed writers have left unfinished in a folder of the own file system."""
        if self.is_local:
            with self.writing(*parts):
                for left in Path(self.path(*parts)).glob(".*.part"):
                    left.unlink(missing_ok=True)

    def remove(self, *parts: str) -> None:
        """Remove a file or folder, if it is there."""
        if self.exists(*parts):
            with self.writing(*parts):
                self._fs.rm(self.path(*parts), recursive=True)

    # --- JSON -------------------------------------------------------------------------------------

    def read_json(self, *parts: str) -> dict[str, Any] | None:
        """Return what a sealed JSON file says, None where there is no such file.

        Raises
        ------
        DamagedFileError
            If it is not what was written.
        """
        try:
            content = self.read_bytes(*parts)
        except FileNotFoundError:
            return None
        return unsealed_json(content, "/".join(parts))

    def write_json(self, content: Mapping[str, Any], *parts: str) -> None:
        """Write a sealed JSON file (`stemkin.seals`)."""
        self.write_bytes(sealed_json(content), *parts)

    # --- tables -----------------------------------------------------------------------------------

    def write_table(self, rows: pd.DataFrame, made_of: str, *parts: str, **note: str) -> None:
        """Write a table with its fingerprint and a `note`; equal rows give equal bytes."""
        about = {"fingerprint": made_of, "n_rows": len(rows), **note}
        self.write_bytes(sealed_bytes(rows, place="/".join(parts), note=about), *parts)

    def read_table(self, *parts: str, columns: Iterable[str] | None = None) -> pd.DataFrame:
        """Return a table, every byte of its file checked.

        Raises
        ------
        DamagedFileError
            If the file is not what was written there, or gone.
        """
        wanted = list(columns) if columns is not None else None
        return rows_of(self._there(*parts), place="/".join(parts), columns=wanted)

    def whole_note(self, *parts: str) -> dict[str, str]:
        """Return what a table's file says of itself, every byte of the file checked.

        Nothing where there is no file.

        Raises
        ------
        DamagedFileError
            If the file is not what was written there.
        """
        try:
            content = self.read_bytes(*parts)
        except FileNotFoundError:
            return {}
        return note_of_whole(content, place="/".join(parts))

    def made_of(self, *parts: str) -> str | None:
        """Return the fingerprint in a table's file; None if there is no such whole file."""
        return self.note(*parts).get("fingerprint")

    def note(self, *parts: str) -> dict[str, str]:
        """Return what a table's file says of itself; nothing if its end is not what was written.

        A glance: of the file only the footer is read.
        """
        try:
            with reaching(self.root), self._fs.open(self.path(*parts), "rb") as file:
                return note_in(file, place="/".join(parts))
        except (FileNotFoundError, DamagedFileError):
            return {}

    def _there(self, *parts: str) -> bytes:
        """Return the content of a file that has to be there."""
        try:
            return self.read_bytes(*parts)
        except FileNotFoundError:
            raise DamagedFileError("/".join(parts), "it is not there") from None

    # --- blocks of frames -------------------------------------------------------------------------

    def write_block(
        self, table: str, block: Block, rows: pd.DataFrame, made_of: str, **note: str
    ) -> None:
        """Write the rows of `block` into the folder of `table`; see `write_table`."""
        self.write_table(rows, made_of, table, folder_name(block.movie), block.file_name, **note)

    def read_block(self, table: str, block: Block) -> pd.DataFrame:
        """Return the rows of `block`."""
        return self.read_table(table, folder_name(block.movie), block.file_name)

    def block_made_of(self, table: str, block: Block) -> str | None:
        """Return the fingerprint of a block's file, None where there is no whole one."""
        return self.made_of(table, folder_name(block.movie), block.file_name)

    def block_note(self, table: str, block: Block) -> dict[str, str]:
        """Return what a block's file says of itself, nothing where there is no whole one."""
        return self.note(table, folder_name(block.movie), block.file_name)

    def block_paths(self, table: str, movie: str) -> list[str]:
        """Return the files of `movie` in the folder of `table`, in the order of their frames."""
        return [
            self.path(table, folder_name(movie), name)
            for name in self.names(table, folder_name(movie))
        ]

    def blocks(self, table: str, movie: str) -> list[Block]:
        """Return the blocks of `movie` with a file of `table`, in the order of their frames."""
        edges = [
            name.removesuffix(".parquet").split("-")
            for name in self.names(table, folder_name(movie))
        ]
        return [Block(movie, int(start), int(stop)) for start, stop in edges]

    def keep_only(self, table: str, movie: str, blocks: Iterable[Block]) -> int:
        """Remove files of `movie` that are none of `blocks`, and return how many there were.

        Another block size has left them.
        """
        self.sweep(table, folder_name(movie))
        wanted = {block.file_name for block in blocks}
        stale = [name for name in self.names(table, folder_name(movie)) if name not in wanted]
        for name in stale:
            self.remove(table, folder_name(movie), name)
        return len(stale)

    def read_movie(self, table: str, movie: str) -> pd.DataFrame:
        """Return all rows of one movie: for small tables (`frames`, `steps`), or for a look."""
        parts = [
            self.read_table(table, folder_name(movie), name)
            for name in self.names(table, folder_name(movie))
        ]
        parts = [part for part in parts if len(part)]
        if parts:
            return pd.concat(parts, ignore_index=True)
        return tables.empty("frames" if table == "steps" else table)


def _replace(target: Path, content: bytes) -> None:
    """Put `content` in the place of the file `target` in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

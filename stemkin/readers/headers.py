"""What headers said, remembered: thousands of movies open again without one of them being read.

A reader is plain values (a shape, a type, offsets), so it is kept as JSON and built again; what is
kept is trusted only while the file has the size and time that it had then. Reading such a file runs
nothing but the constructors named in `KINDS`.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan
from stemkin.readers.base import Calibration, FileReader, Options
from stemkin.readers.files import identity_of, is_folder, is_url, local
from stemkin.readers.hdf5 import Hdf5Reader
from stemkin.readers.npy import NpzReader
from stemkin.readers.raw import MappedReader, RawReader
from stemkin.readers.registry import open_reader
from stemkin.readers.rosetta import RosettaReader
from stemkin.readers.ser import SerReader
from stemkin.readers.tiff import TiffReader
from stemkin.readers.tiff_folder import TiffFolderReader
from stemkin.readers.video import VideoReader
from stemkin.readers.zarr_blocks import Layout
from stemkin.readers.zarr_store import ZarrReader

VERSION = 1
"""Raised when a reader's fields or their meaning change."""

KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        RawReader, MappedReader, NpzReader, TiffReader, TiffFolderReader, Hdf5Reader, ZarrReader, SerReader, VideoReader, RosettaReader,
        AxisPlan, Calibration, Options, Layout,
    )
}  # fmt: skip


@dataclass
class Headers:
    """Readers by source and options, each with the mark that its file had."""

    known: dict[str, tuple[str, FileReader]] = field(default_factory=dict)
    changed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, source: str, options: Options) -> FileReader:
        """Return the reader of `source`, as remembered while the file is unchanged, else opened
        now.

        Raises
        ------
        OSError, MovieError
            As `open_reader`.
        """
        key = json.dumps([source, options.dataset, options.channel])
        mark = mark_of(source)
        with self._lock:
            before = self.known.get(key)
        if before is not None and mark is not None and before[0] == mark:
            return before[1]
        reader = open_reader(source, options)
        if mark is not None:
            with self._lock:
                self.known[key] = (mark, reader)
                self.changed = True
        return reader

    @classmethod
    def load(cls, path: str) -> Headers:
        """Return what the file at `path` remembers; nothing if it is not there, of another version,
        or broken."""
        try:
            with open(path, encoding="utf-8") as file:
                said = json.load(file)
            if said["version"] != VERSION:
                return cls()
            return cls(
                {
                    key: (mark, plain_to_value(reader))
                    for key, (mark, reader) in said["readers"].items()
                }
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()

    def content(self) -> bytes:
        """Return what is remembered, as `load` reads it."""
        readers = {
            key: (mark, value_to_plain(reader))
            for key, (mark, reader) in sorted(self.known.items())
        }
        return json.dumps({"version": VERSION, "readers": readers}).encode()

    def save(self, path: str) -> None:
        """Write what is remembered, whole or not at all, if it has changed."""
        if not self.changed:
            return
        part = f"{path}.{os.getpid()}.part"
        try:
            with open(part, "wb") as file:
                file.write(self.content())
            os.replace(part, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise


def mark_of(source: str) -> str | None:
    """Return what changes when a movie's header may have: cheap, one or two looks at the file
    system. None if there is nothing."""
    try:
        if is_url(source):
            return identity_of(
                f"{source.rstrip('/')}/zarr.json"
                if source.rstrip("/").endswith(".zarr")
                else source
            )
        if is_folder(source):
            inside = [
                f"{local(source)}/{name}"
                for name in ("zarr.json", ".zarray", ".zattrs", "0/zarr.json", "0/.zarray")
            ]
            return "\n".join(
                [
                    identity_of(source),
                    *(identity_of(path) for path in inside if os.path.exists(path)),
                ]
            )
        return identity_of(source)
    except OSError:
        return None


def value_to_plain(value: Any) -> Any:
    """Turn a reader, or a value in it, into what JSON can say."""
    if isinstance(value, np.dtype):
        return {"dtype": value.str}
    if isinstance(value, np.ndarray):
        return {
            "array": base64.b64encode(np.ascontiguousarray(value).tobytes()).decode(),
            "of": value.dtype.str,
            "shape": value.shape,
        }
    if type(value).__name__ in KINDS:
        return {
            "kind": type(value).__name__,
            **{f.name: value_to_plain(getattr(value, f.name)) for f in fields(value)},
        }
    if isinstance(value, (tuple, list)):
        return {"tuple": [value_to_plain(one) for one in value]}
    if hasattr(value, "items"):
        return {"mapping": {str(key): value_to_plain(one) for key, one in value.items()}}
    return value.item() if isinstance(value, np.generic) else value


def plain_to_value(plain: Any) -> Any:
    """Build again what `value_to_plain` took apart."""
    if not isinstance(plain, dict):
        return plain
    if "kind" in plain:
        return KINDS[plain["kind"]](
            **{key: plain_to_value(value) for key, value in plain.items() if key != "kind"}
        )
    if "tuple" in plain:
        return tuple(plain_to_value(one) for one in plain["tuple"])
    if "mapping" in plain:
        return {key: plain_to_value(one) for key, one in plain["mapping"].items()}
    if "dtype" in plain:
        return np.dtype(plain["dtype"])
    return (
        np.frombuffer(base64.b64decode(plain["array"]), plain["of"]).reshape(plain["shape"]).copy()
    )

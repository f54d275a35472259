"""Which sources lie in a folder, match a glob or begin with a URL."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from stemkin.readers.base import Calibration, Options
from stemkin.readers.files import (
    exists,
    filesystem,
    forget_listings,
    is_folder,
    is_url,
    local,
    missing,
)
from stemkin.readers.registry import formats, stem_of
from stemkin.readers.tiff_folder import is_sequence
from stemkin.readers.zarr_store import is_zarr_folder

MANIFESTS = (".csv", ".toml")
UNFINISHED = ".zarr.part"
"""What ``stemkin convert`` has not finished."""
RESULTS_MARK = "run.json"
"""A folder with this file holds results, not movies."""


@dataclass(frozen=True)
class Source:
    """One movie to be opened: where it is, what the archive calls that place, and what a manifest
    says of it."""

    path: str
    label: str
    name: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    options: Options = field(default_factory=Options)


def searched_suffixes() -> tuple[str, ...]:
    """Return what a folder is searched for; an EMI file has no frames of its own, its SER has."""
    return tuple(suffix for one in formats() if one.name != "EMI" for suffix in one.suffixes)


def is_manifest(source: str) -> bool:
    """Tell whether `source` is a manifest, by its suffix."""
    return source.lower().endswith(MANIFESTS) and not is_pattern(source)


def is_pattern(source: str) -> bool:
    """Tell whether `source` is a glob: it has wildcards, and no file is called exactly so."""
    return any(c in source for c in "*?[") and (is_url(source) or not os.path.exists(local(source)))


def natural(text: str) -> list[Any]:
    """Return a sort key by which ``stack10`` follows ``stack9``.

    >>> sorted(["a10", "a9", "A1"], key=natural)
    ['A1', 'a9', 'a10']
    """
    parts = re.split(r"(\d+)", text)
    return [(int(p), "") if p.isdecimal() else (0, p.lower()) for p in parts] + [(0, text)]


def expand(source: str) -> list[Source]:
    """Return the movies that `source` (file, folder, glob, URL) stands for, in natural order;
    perhaps none.

    Raises
    ------
    FileNotFoundError
        If it is no glob and not there.
    """
    forget_listings(source)
    if is_pattern(source):
        root = _before_wildcards(source)
        found = [path for path in _glob(source) if _is_movie(path)]
        return _sorted(found, root)
    if is_url(source) and source.rstrip("/").lower().endswith(searched_suffixes()):
        return [Source(source, source.rstrip("/").rsplit("/", 1)[-1])]
    if not exists(source):
        raise missing(source)
    if not is_folder(source) or is_one_movie(source):
        return [Source(source, os.path.basename(source.rstrip("/\\")))]
    return _sorted(_movies_below(source), source)


def is_one_movie(folder: str) -> bool:
    """Tell whether a folder is a movie itself: a Zarr store, or the numbered TIFF files of one."""
    return (
        folder.rstrip("/").lower().endswith(".zarr")
        or is_zarr_folder(folder)
        or is_sequence(folder)
    )


def _sorted(paths: list[str], root: str) -> list[Source]:
    root = _as_listed(root).rstrip("/\\")
    sources = [
        Source(path, path[len(root) :].lstrip("/\\") if path.startswith(root) else path)
        for path in paths
    ]
    return sorted(sources, key=lambda one: (natural(_short_name(one.label)), one.label))


def _movies_below(folder: str) -> list[str]:
    """Return the movies in a folder and its subfolders; hidden ones and results of earlier runs are
    passed over."""
    found, to_look = [], [folder]
    while to_look:
        inside = _inside(to_look.pop())
        if any(path.endswith("/" + RESULTS_MARK) for path, _ in inside):
            continue
        for path, is_dir in inside:
            name = path.rsplit("/", 1)[-1]
            if name.startswith(".") or name.endswith(UNFINISHED):
                continue
            if is_dir and not is_one_movie(path):
                to_look.append(path)
            elif is_dir or name.lower().endswith(searched_suffixes()):
                found.append(path)
    return found


def _as_listed(url: str) -> str:
    """Return a URL in the form that its file system lists it in."""
    if not is_url(url):
        return url
    fs = filesystem(url)
    return str(fs.unstrip_protocol(fs._strip_protocol(url)))


def _inside(folder: str) -> list[tuple[str, bool]]:
    """Return (path, whether it is a folder) of everything directly in `folder`."""
    if is_url(folder):
        fs = filesystem(folder)
        listed = fs.ls(folder, detail=True)
        return [
            (fs.unstrip_protocol(one["name"]).rstrip("/"), one["type"] == "directory")
            for one in listed
        ]
    with os.scandir(local(folder)) as entries:
        return [(entry.path.replace(os.sep, "/"), entry.is_dir()) for entry in entries]


def _glob(pattern: str) -> list[str]:
    if is_url(pattern):
        fs = filesystem(pattern)
        return [fs.unstrip_protocol(path) for path in fs.glob(pattern)]
    return glob.glob(local(pattern), recursive=True)


def _is_movie(path: str) -> bool:
    name = path.rstrip("/").rsplit("/", 1)[-1].lower()
    return not name.startswith(".") and name.endswith(searched_suffixes())


def _before_wildcards(pattern: str) -> str:
    kept = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return kept.rpartition("/")[0]


def named(sources: list[Source]) -> list[Source]:
    """Give every source a name of its own that depends on its path alone, where the paths allow
    it."""
    names = [source.name or _short_name(source.label) for source in sources]
    shared = {name for name, n in Counter(names).items() if n > 1}
    names = [
        source.label if name in shared and not source.name else name
        for source, name in zip(sources, names, strict=True)
    ]
    shared = {name for name, n in Counter(names).items() if n > 1}
    names = [
        source.path if name in shared and not source.name else name
        for source, name in zip(sources, names, strict=True)
    ]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        msg = (
            f"{len(twice)} movie names are not unique, such as {twice[0]!r}; give each movie a "
            "name of its own in the manifest"
        )
        raise ValueError(msg)
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def _short_name(label: str) -> str:
    folder, _, _ = label.rstrip("/").rpartition("/")
    return f"{folder}/{stem_of(label)}" if folder else stem_of(label)

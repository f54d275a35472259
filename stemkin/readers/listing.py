"""Listing of the movies in a folder, by a glob or below a URL."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from stemkin.errors import is_of_the_network
from stemkin.names import readable
from stemkin.readers.base import Calibration, Options
from stemkin.readers.folders import Problem, Walk, matching
from stemkin.readers.place import Place, RemotePlace, forget_listings, place_of
from stemkin.readers.registry import formats, stem_of
from stemkin.readers.sequence import PICTURES, TIMED_FOLDER, sequences
from stemkin.readers.zarr_store import is_zarr_folder

MANIFESTS = (".csv", ".toml")
UNFINISHED = ".zarr.part"
"""What ``stemkin convert`` has not finished."""
MAX_KINDS = 6
MAX_COUNTED = 10_000
"""So many kinds of files are named where none is a movie, after so many files were looked at."""
RESULTS_MARK = "run.json"
"""A folder with this file holds results, not movies."""


@dataclass(frozen=True)
class Listed:
    """One movie to be opened, and what a manifest says of it.

    Attributes
    ----------
    place
        Where it is.
    label
        What the archive calls that place: the path below its folder.
    name
        Of the movie; None until `named` has found one.
    calibration, options
        Of the manifest, before arguments.
    is_elsewhere
        Whether a manifest names a URL of another store or server than its own.
    """

    place: Place
    label: str
    name: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    options: Options = field(default_factory=Options)
    is_elsewhere: bool = False


NOT_SEARCHED = (".emi", *PICTURES)
"""An EMI file has no frames of its own, its SER has; a picture in a folder is mostly a figure."""


def searched_suffixes() -> tuple[str, ...]:
    """Return what a folder is searched for."""
    known = (suffix for one in formats() for suffix in one.suffixes)
    return tuple(suffix for suffix in known if suffix not in NOT_SEARCHED)


def is_manifest(place: Place) -> bool:
    """Tell whether `place` is a manifest, by its suffix."""
    return place.source.lower().endswith(MANIFESTS) and not is_pattern(place)


def is_pattern(place: Place) -> bool:
    """Tell whether `place` is a glob: it has wildcards, and no file is called exactly so."""
    if not any(sign in place.source for sign in "*?["):
        return False
    return place.is_remote or not place.exists()


def natural(text: str) -> list[Any]:
    """Return a key for natural sorting, by which ``stack10`` follows ``stack9``.

    >>> sorted(["a10", "a9", "A1"], key=natural)
    ['A1', 'a9', 'a10']
    """
    # text stands as (0, text), a number as (number, ""); what only differs in its case is sorted by
    # the text itself, which comes last
    key: list[tuple[int, str]] = []
    for part in re.split(r"(\d+)", text):
        if part.isdecimal():
            key.append((int(part), ""))
        else:
            key.append((0, part.lower()))
    return [*key, (0, text)]


def expand(place: Place) -> tuple[list[Listed], list[Problem]]:
    """Return the movies that a file, folder, glob or URL stands for, in natural order.

    What looks like a movie or a folder of movies and is none that could be opened (a pipe, a link
    that points up, a folder that nobody may read) comes beside them, each with its reason.

    Raises
    ------
    FileNotFoundError
        If it is no glob and not there.
    """
    forget_listings(place)
    if is_pattern(place):
        matched, problems = _matches(place)
        found = [path for path in matched if _is_movie(path)]
        return _sorted(found, place_of(_before_wildcards(place.source))), problems
    if place.is_remote and place.ends_with(*searched_suffixes()):
        return [Listed(place, _base(str(place)))], []
    if not place.exists():
        raise place.missing()
    if not place.is_folder() or _is_store(place):
        return [Listed(place, _base(str(place)))], []
    found, problems = _movies_below(place)
    return _sorted(found, place), problems


def why_nothing(place: Place) -> str:
    """Return why a folder or a pattern stands for no movie."""
    if not place.exists() or not place.is_folder():
        return f"the pattern {place} matches no file of a format that stemkin reads"
    pictures = [name for name in place.names() if name.lower().endswith(PICTURES)]
    if pictures:
        return (
            f"the folder {place} holds {len(pictures)} pictures ({pictures[0]}, ...), which are "
            "frames only if all are numbered: frame_0001.png, frame_0002.png, ..."
        )
    kinds = _kinds_below(place)
    if not kinds:
        return f"the folder {place} holds no files"
    counted = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(MAX_KINDS))
    return f"the folder {place} holds no file of a format that stemkin reads, but {counted}"


def _kinds_below(folder: Place) -> Counter[str]:
    """Return how many files of each kind lie in a folder and its subfolders, by their suffix."""
    kinds: Counter[str] = Counter()
    walk = Walk(folder)
    for _, entries in walk:
        for entry in entries:
            if entry.is_folder:
                walk.enter(entry)
            else:
                suffix = os.path.splitext(readable(entry.path))[1].lower()
                kinds[suffix or "without a suffix"] += 1
        if kinds.total() >= MAX_COUNTED:
            break
    return kinds


def _is_store(folder: Place) -> bool:
    """Tell whether a folder is a movie as a whole, whatever lies in it."""
    return folder.ends_with(".zarr") or is_zarr_folder(folder)


def _sorted(paths: list[str], root: Place) -> list[Listed]:
    """Return the movies at `paths` in the natural order of what they are called below `root`."""
    # object stores list paths in a form of their own, so the root is brought into the same form
    # before it is cut off
    above = _as_listed(root).rstrip("/\\")
    found = []
    for path in paths:
        label = path
        if path.startswith(above):  # the root itself may be the movie, as files of a frame each
            label = path[len(above) :].lstrip("/\\") or _base(path)
        found.append(Listed(place_of(path), readable(label)))
    return sorted(found, key=lambda one: (natural(_short_name(one.label)), one.label))


def _movies_below(folder: Place) -> tuple[list[str], list[Problem]]:
    """Return the movies in a folder and its subfolders, but hidden ones and earlier results."""
    # a folder with results of an earlier run is not entered, nor are the files and folders that
    # make one movie together
    found = []
    walk = Walk(folder)
    for place, entries in walk:
        if any(entry.name == RESULTS_MARK for entry in entries):
            continue
        joined = _joined(place, walk)
        if joined:
            found.append(_as_listed(place).rstrip("/"))
        members = {name for by_number in joined.values() for name in by_number.values()}
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.endswith(UNFINISHED) or name in members:
                continue
            if joined and entry.is_folder and TIMED_FOLDER.match(name):
                continue
            is_store = entry.is_folder and _is_store(place_of(entry.path))
            if entry.is_folder and not is_store:
                walk.enter(entry)
            elif is_store or name.lower().endswith(searched_suffixes()):
                if entry.strange:
                    walk.refuse(entry)
                else:
                    found.append(entry.path)
    return found, walk.problems


def _joined(folder: Place, walk: Walk) -> dict[str, dict[int, str]]:
    """Return the movies that numbered files in a folder make; none where that cannot be told."""
    try:
        return sequences(folder)
    except OSError as error:
        if is_of_the_network(error):
            raise
        why = error.strerror or str(error)
        walk.problems.append((str(folder), f"the files in {folder} cannot be read: {why}"))
        return {}


def _base(source: str) -> str:
    return os.path.basename(source.rstrip("/\\"))


def _as_listed(place: Place) -> str:
    """Return a URL in the form that its file system lists it in."""
    if not isinstance(place, RemotePlace):
        return place.source
    filesystem = place.filesystem
    return str(filesystem.unstrip_protocol(filesystem._strip_protocol(place.source)))


def _matches(pattern: Place) -> tuple[list[str], list[Problem]]:
    """Return what matches a glob, and what does but is strange."""
    if isinstance(pattern, RemotePlace):
        filesystem = pattern.filesystem
        return [filesystem.unstrip_protocol(path) for path in filesystem.glob(pattern.source)], []
    if "**" in pattern.path.split("/"):  # links may go round in circles, and glob with them
        return matching(pattern.path, _before_wildcards(pattern.path))
    return glob.glob(pattern.path), []


def _is_movie(path: str) -> bool:
    """Tell whether what matches a glob is a movie; who asks for pictures gets them."""
    name = path.rstrip("/").rsplit("/", 1)[-1].lower()
    return not name.startswith(".") and name.endswith((*searched_suffixes(), *PICTURES))


def _before_wildcards(pattern: str) -> str:
    kept = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return kept.rpartition("/")[0]


def named(listed: list[Listed]) -> list[Listed]:
    """Give every movie a name of its own, which depends on its path alone where paths allow it.

    Raises
    ------
    ValueError
        If two have the same name in a manifest, or are the same.
    """
    names = [one.name or _short_name(one.label) for one in listed]
    # what is called alike by its short name is called by its label, and if need be by its path;
    # bytes that are no text are spelled out, so that even paths may read alike
    labels = [one.label for one in listed]
    paths = [str(one.place) for one in listed]
    for longer in (labels, paths, [_told_apart(one.place) for one in listed]):
        shared = _more_than_once(names)
        for i, one in enumerate(listed):
            if names[i] in shared and not one.name:
                names[i] = longer[i]
    twice = _more_than_once(names)
    if twice:
        msg = (
            f"{len(twice)} movie names are not unique, such as {twice[0]!r}; give each movie a "
            "name of its own in the manifest"
        )
        raise ValueError(msg)
    return [replace(one, name=name) for one, name in zip(listed, names, strict=True)]


def _told_apart(place: Place) -> str:
    """Return a path, with a checksum where bytes in it are no text."""
    if str(place) == place.source:
        return place.source
    exact = hashlib.sha256(place.source.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{place} ({exact})"


def _more_than_once(names: list[str]) -> list[str]:
    return [name for name, n in Counter(names).items() if n > 1]


def _short_name(label: str) -> str:
    folder, _, _ = label.rstrip("/").rpartition("/")
    if not folder:
        return stem_of(label)
    return f"{folder}/{stem_of(label)}"

"""Folders of movies as they are found: walked once each, whatever links to what.

On disks of laboratories lie links that point up or in circles, pipes, sockets, names that are no
text, and folders that nobody may read. Each of them costs itself: it is told with its reason, and
the walk goes on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from stemkin.errors import is_of_the_network
from stemkin.names import readable
from stemkin.readers.place import Place, RemotePlace, place_of, strange_kind

LONGEST_SHOWN = 300
"""Characters of a path that are repeated; of a longer one the beginning and the end are."""

Problem = tuple[str, str]
"""A place and why it is no movie."""


@dataclass(frozen=True)
class Entry:
    """What lies in a folder.

    Attributes
    ----------
    path
        Path or URL, with slashes.
    is_folder
        Whether it is a folder, or a link to one.
    is_link
        Whether it is a link.
    strange
        What it is if it is neither file nor folder (``"a pipe"``), or why nobody can tell.
    """

    path: str
    is_folder: bool
    is_link: bool = False
    strange: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass
class Walk:
    """The folders at and below `root`, each once: entered are those that the caller says.

    Attributes
    ----------
    root
        Where it begins.
    problems
        What could not be entered, and why.
    """

    root: Place
    problems: list[Problem] = field(default_factory=list)
    _folders: list[str] = field(default_factory=list)
    _links: list[str] = field(default_factory=list)
    _seen: dict[tuple[int, int], str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Place, list[Entry]]]:
        """Yield folders and what lies in them.

        Raises
        ------
        OSError
            If the root cannot be listed, or a store does not answer.
        """
        self._is_new(self.root.path)
        yield self.root, inside(self.root)
        # folders come before links to folders, so that a movie has the name of its own place and
        # not that of a link; a link is followed only to where nobody was, and never up
        while self._folders or self._links:
            if self._folders:
                path = self._folders.pop()
            else:
                path = self._links.pop(0)
                if self._leads_up(path):
                    self._refuse(path, "is a link to a folder above it")
                    continue
            place = place_of(path)
            if not place.is_remote and not self._is_new(path):
                continue
            try:
                entries = inside(place)
            except OSError as error:
                if is_of_the_network(error):
                    raise
                self._refuse(path, f"cannot be listed: {error.strerror or error}")
                continue
            yield place, entries

    def enter(self, folder: Entry) -> None:
        """Have a folder among what was yielded walked, too."""
        if folder.is_link:
            self._links.append(folder.path)
        else:
            self._folders.append(folder.path)

    def refuse(self, entry: Entry) -> None:
        """Note what is neither file nor folder."""
        self._refuse(entry.path, f"is {entry.strange}")

    def _refuse(self, path: str, why: str) -> None:
        shown = readable(path)
        if len(shown) > LONGEST_SHOWN:
            shown = f"{shown[: LONGEST_SHOWN // 2]}...{shown[-LONGEST_SHOWN // 2 :]}"
        self.problems.append((shown, f"{shown} {why}"))

    def _leads_up(self, path: str) -> bool:
        """Tell whether a link leads to a folder that holds the root."""
        target = os.path.realpath(path)
        return os.path.commonpath([target, os.path.realpath(self.root.path)]) == target

    def _is_new(self, path: str) -> bool:
        """Tell whether a folder was not walked before, and note that it is now."""
        if self.root.is_remote:
            return True
        try:
            status = os.stat(path)
        except OSError:
            return True  # listing it says why
        who = status.st_dev, status.st_ino
        if status.st_ino and who in self._seen:
            self._refuse(path, f"is the folder {self._seen[who]}, which is searched already")
            return False
        self._seen[who] = readable(path)
        return True


def inside(folder: Place) -> list[Entry]:
    """Return everything directly in a folder, hidden things too.

    Raises
    ------
    OSError
        If it cannot be listed.
    """
    if isinstance(folder, RemotePlace):
        listed = folder.filesystem.ls(folder.source, detail=True)
        whole = folder.filesystem.unstrip_protocol
        return [Entry(whole(one["name"]).rstrip("/"), one["type"] == "directory") for one in listed]
    with os.scandir(folder.path) as entries:
        return [_entry(one) for one in entries]


def _entry(one: os.DirEntry[str]) -> Entry:
    """Return what an entry of a folder is; only links and strange things cost a look at the disk."""
    path = one.path.replace(os.sep, "/")
    try:
        if one.is_dir():
            return Entry(path, True, one.is_symlink())
        if one.is_file():
            return Entry(path, False, one.is_symlink())
        return Entry(path, False, one.is_symlink(), strange_kind(one.path))
    except FileNotFoundError:
        return Entry(path, False, True, "a link to nothing")
    except OSError as error:
        return Entry(path, False, True, f"out of reach: {error.strerror or error}")


def matching(pattern: str, root: str) -> tuple[list[str], list[Problem]]:
    """Return what matches a glob with ``**`` below a folder, each thing once, and what is strange.

    Parameters
    ----------
    pattern
        Path with wildcards; ``**`` stands for any number of folders.
    root
        Folder before the first wildcard.
    """
    wanted = _expression(pattern)
    walk = Walk(place_of(root or "."))
    found = []
    for _, entries in walk:
        for entry in entries:
            path = entry.path
            if not root:
                path = path.removeprefix("./")
            if entry.name.startswith("."):
                continue
            matches = wanted.fullmatch(path) is not None
            if matches and entry.strange:
                walk.refuse(entry)
            elif matches:
                found.append(path)
            if entry.is_folder and not (matches and entry.name.endswith(".zarr")):
                walk.enter(entry)
    return sorted(found), walk.problems


WILDCARDS = re.compile(r"\*|\?|\[!?\]?[^]]*\]")


def _expression(pattern: str) -> re.Pattern[str]:
    """Return a glob as a regular expression in which no wildcard but ``**`` passes a slash.

    >>> wanted = _expression("a/**/*.t[!x]f")
    >>> [wanted.fullmatch(path) is not None for path in ("a/b.tif", "a/c/d/b.tif", "a/b.txf")]
    [True, True, False]
    """
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
            continue
        at, said = 0, ""
        for one in WILDCARDS.finditer(part):
            said += re.escape(part[at : one.start()]) + _one_wildcard(one.group())
            at = one.end()
        parts.append(said + re.escape(part[at:]) + "/")
    return re.compile("".join(parts).removesuffix("/"))


def _one_wildcard(sign: str) -> str:
    """Return one wildcard of a glob as a regular expression."""
    if sign == "*":
        return "[^/]*"
    if sign == "?":
        return "[^/]"
    inside_brackets = sign[1:-1].replace("\\", "\\\\")
    if inside_brackets.startswith("!"):
        return f"[^{inside_brackets[1:]}]"
    return f"[{inside_brackets}]"

"""Choice among several images of a file: the only one, or the one that the user names.

What a file itself calls a preview is no candidate. Of the others the only stack is taken before
single images, and a note says what is left out; where that does not decide, the user is asked.

>>> film, survey = Candidate("1", (7, 24, 40), "film"), Candidate("2", (64, 64), "survey")
>>> chosen([film, survey], "a.dm4", Options()).note
"dataset '1' (7 x 24 x 40 film) is read, and '2' (64 x 64 survey) left out"
>>> chosen([film, film], "a.dm4", Options())
Traceback (most recent call last):
...
stemkin.readers.errors.MovieError: a.dm4 holds 2 images that can be movies; choose one with
dataset=: '1' (7 x 24 x 40 film), '1' (7 x 24 x 40 film)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stemkin.readers.base import Options
from stemkin.readers.errors import MovieError
from stemkin.readers.place import Place

MAX_LISTED = 8
"""So many candidates are listed in a sentence."""


@dataclass(frozen=True)
class Candidate:
    """An image or a stack in a file that can be a movie.

    Attributes
    ----------
    name
        What `Options.dataset` takes.
    shape
        As the file stores it; more than two lengths over 1 make a stack.
    title
        What the file calls it, which `Options.dataset` takes as well; empty where it has no name.
    what
        Whatever the reader needs of it.
    """

    name: str
    shape: tuple[int, ...]
    title: str = ""
    what: Any = None

    @property
    def is_stack(self) -> bool:
        """Tell whether it holds more than one image."""
        return sum(n > 1 for n in self.shape) > 2

    def described(self) -> str:
        """Return its name, shape and title, as a message lists it."""
        lengths = " x ".join(str(n) for n in self.shape)
        return f"{self.name!r} ({lengths} {self.title}".rstrip() + ")"


@dataclass(frozen=True)
class Chosen:
    """The candidate that is read, and a note where the user should know of others."""

    candidate: Candidate
    note: str = ""


def chosen(candidates: Sequence[Candidate], source: str | Place, options: Options) -> Chosen:
    """Return the candidate that the user names, or the only one.

    Parameters
    ----------
    candidates
        What can be a movie, previews left out; at least one.
    source, options
        For messages; ``options.dataset`` names one.

    Raises
    ------
    MovieError
        If several can be meant and none is named, or the one that is named is not there.
    """
    if options.dataset is not None:
        return Chosen(_named(options.dataset, candidates, source))
    if len(candidates) == 1:
        return Chosen(candidates[0])
    stacks = [one for one in candidates if one.is_stack]
    if len(stacks) == 1:
        others = _listed([one for one in candidates if one is not stacks[0]])
        return Chosen(stacks[0], f"dataset {stacks[0].described()} is read, and {others} left out")
    msg = (
        f"{source} holds {len(candidates)} images that can be movies; choose one with dataset=: "
        f"{_listed(candidates)}"
    )
    raise MovieError(msg)


def _named(name: str, candidates: Sequence[Candidate], source: str | Place) -> Candidate:
    """Return the candidate of that name, or the only one of that title."""
    found = [one for one in candidates if one.name == name]
    titled = [one for one in candidates if one.title == name]
    if not found and len(titled) == 1:
        found = titled
    if len(found) == 1:
        return found[0]
    msg = f"{source} holds no dataset {name!r}; it can be one of {_listed(candidates)}"
    raise MovieError(msg)


def _listed(candidates: Sequence[Candidate]) -> str:
    named = ", ".join(one.described() for one in candidates[:MAX_LISTED])
    if len(candidates) > MAX_LISTED:
        named += f" and {len(candidates) - MAX_LISTED} more"
    return named

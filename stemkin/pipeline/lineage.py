"""Whether a movie is the one that its results were made of: the same, or the same and longer.

A movie that is still being recorded has another size at every look, and its first frames stay. What
was searched of it stays good as long as it is known by a few of its frames; then it keeps the
*identity* under which its first blocks were searched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from stemkin.movie import Movie
from stemkin.readers.errors import ChangedMovieError, is_damage
from stemkin.readers.wrappers import PartReader, WrappingReader
from stemkin.results.store import fingerprint

KNOWN_BY = 3
"""By so many frames a longer movie is known: the first and the last of a sample, one between."""


def look_of(
    movie: Movie, identity: str, *, numbers: Sequence[int], left_out: Collection[int] = ()
) -> dict[str, Any]:
    """Return what a movie is known by, as JSON can say it.

    Parameters
    ----------
    movie
        A few of its frames are read.
    identity
        Under which it is searched.
    numbers
        Frames of its sample.
    left_out
        Those of them that nobody can read.
    """
    good = [number for number in numbers if number not in left_out]
    chosen = np.linspace(0, len(good) - 1, min(KNOWN_BY, len(good))).astype(int).tolist()
    return {
        "identity": identity,
        "now": fingerprint("identity", movie.reader.identity),
        "n_frames": movie.n_frames,
        "part": is_part(movie),
        "kind": [*movie.shape[1:], str(movie.reader.dtype)],
        "sums": {str(good[i]): _sum(movie, good[i]) for i in chosen},
    }


def identity_of(movie: Movie, look: Mapping[str, Any] | None) -> str | None:
    """Return the identity under which a movie was searched, None where it is another one.

    Parameters
    ----------
    movie
        As it is now.
    look
        What `look_of` said of it before; None for nothing.
    """
    if not look:
        return None
    if look["now"] == fingerprint("identity", movie.reader.identity):
        return str(look["identity"])
    same_kind = look["kind"] == [*movie.shape[1:], str(movie.reader.dtype)]
    # the first frames of a file may turn out to have been all of them
    least = look["n_frames"] + 1 - bool(look["part"])
    if not same_kind or movie.n_frames < least or not look["sums"]:
        return None
    for number, known in look["sums"].items():
        if _sum(movie, int(number)) != known:
            return None
    return str(look["identity"])


def is_part(movie: Movie) -> bool:
    """Tell whether a movie is a part of a longer one."""
    reader = movie.reader
    while isinstance(reader, WrappingReader):
        if isinstance(reader, PartReader):
            return True
        reader = reader.inner
    return False


def _sum(movie: Movie, number: int) -> str:
    """Return the checksum of a frame; "" where the file cannot give it back."""
    try:
        pixels = np.ascontiguousarray(movie.reader.read(number, number + 1))
    except Exception as error:
        if not is_damage(error) or isinstance(error, ChangedMovieError):
            raise
        return ""
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:24]

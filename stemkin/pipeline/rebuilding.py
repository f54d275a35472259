"""A ``run.json`` that is damaged or gone, made again from the rows that are whole.

It says to which inputs a folder belongs, and how movies were cut into blocks. Both are told by the
files of blocks: each carries what it was made of and the frames that it holds. So it is never a
reason to search pixels again.
"""

from __future__ import annotations

from collections.abc import Sequence

from stemkin.errors import DamagedFileError
from stemkin.movie import Movie
from stemkin.names import folder_name
from stemkin.pipeline.blocks import frame_mib
from stemkin.results.quarantine import set_aside
from stemkin.results.store import RUN_FILE, FolderError, Store


def settle_journal(store: Store, movies: Sequence[Movie], inputs: Sequence[str]) -> None:
    """Write a ``run.json`` for rows of `movies` whose own one is damaged or gone; else do nothing.

    Parameters
    ----------
    store
        The results folder, locked by this run.
    movies, inputs
        What the run was given.

    Raises
    ------
    FolderError
        If the folder holds the rows of other movies.
    """
    why = _why_not_whole(store)
    searched = [movie for movie in movies if store.blocks("steps", movie.name)]
    if why is None or (why == MISSING and not searched):
        return
    others = set(store.names("steps")) - {folder_name(movie.name) for movie in movies}
    if others and not searched:
        msg = (
            f"{store.path(RUN_FILE)} is damaged ({why}), and its tables are of other movies "
            f"({sorted(others)[0]}); choose another folder with -o, or start over with --fresh"
        )
        raise FolderError(msg)
    set_aside(store, why, RUN_FILE)
    store.write_json({"inputs": list(inputs), "blocks": {"mib": cut_of(store, searched)}}, RUN_FILE)


MISSING = "it is not there"


def _why_not_whole(store: Store) -> str | None:
    """Return what is wrong with ``run.json``, None where it is whole."""
    try:
        if store.read_json(RUN_FILE) is None:
            return MISSING
    except DamagedFileError as error:
        return error.why
    return None


def cut_of(store: Store, movies: Sequence[Movie]) -> float | None:
    """Return the size of blocks [MiB] by which movies were cut into the files that there are.

    Parameters
    ----------
    store, movies
        The results folder, and the movies with files of blocks in it.

    Returns
    -------
    A size that cuts all of them so again; None where there is no such file.
    """
    least = 0.0
    for movie in movies:
        longest = max(block.stop - block.start for block in store.blocks("steps", movie.name))
        # A block holds as many frames as fit, and one storage chunk where not even that fits: of a
        # movie with the shortest possible blocks nothing follows.
        if longest > movie.reader.frames_per_chunk:
            least = max(least, longest * frame_mib(movie))
    if least == 0.0:
        return min((frame_mib(movie) for movie in movies), default=None)
    # half a frame of the smallest kind more, so that no rounding cuts a frame off
    return least + 0.5 * min(frame_mib(movie) for movie in movies)

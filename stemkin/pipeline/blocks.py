"""Blocks of frames: the same cut on every machine and after every restart.

So equal runs write equal files.

A block aims at `stemkin.movie.BLOCK_MIB`. An archive that would give only a few such blocks is cut
finer, so that all cores have work; how fine follows from the archive alone, never from who
computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stemkin.config import DetectSection
from stemkin.movie import BLOCK_MIB, Movie

BLOCKS_WANTED = 16
"""An archive is cut into at least so many blocks, if it is long enough."""
LEAST_FRAMES = 16
"""But no block is made shorter than this for their sake: each one looks once more at the frame
before it (6 % of 16)."""


def frame_mib(movie: Movie) -> float:
    """Return the size of one frame as stored in memory [MiB]."""
    _, height, width = movie.shape
    return height * width * movie.reader.dtype.itemsize / 2**20


def block_mib(movies: Iterable[Movie]) -> float:
    """Return how large the blocks of an archive should be [MiB]."""
    total, least = 0.0, 0.0
    for movie in movies:
        total += movie.n_frames * frame_mib(movie)
        least = max(least, LEAST_FRAMES * frame_mib(movie))
    # enough blocks for every worker, none larger than a task should hold; short movies make few
    return min(float(BLOCK_MIB), max(total / BLOCKS_WANTED, least))


def edges_of(movie: Movie, detect: DetectSection, mib: float) -> list[tuple[int, int]]:
    """Return (start, stop) of every block of a movie.

    Parameters
    ----------
    movie
        What is cut.
    detect
        Its ``frames_per_block`` counts more than `mib` where it is set.
    mib
        Size of a block's frames [MiB].
    """
    return movie.block_edges(frames_per_block=detect.frames_per_block, block_mib=mib)


def settled_mib(movies: Sequence[Movie], blocks: dict[str, Any]) -> float:
    """Return the block size of a run [MiB], from ``run.json`` or else `block_mib`, kept there."""
    # a run that goes on keeps its cut, also where movies were added: rounded as JSON keeps it
    blocks["mib"] = blocks["mib"] or round(block_mib(movies), 6)
    return float(blocks["mib"])

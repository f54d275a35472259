"""A movie too large for one task: linked block by block, in parallel, to the same tracks and the
same bytes.

    count ──▶ steps of all blocks: two histograms ──▶ link ──▶ seams, ends and starts ──▶ name ──▶
    gather whole tracks

Each arrow is one number of tasks through the window of `stemkin.schedulers.streams`; a task holds
one block and a few frames beside it. What comes back is small: of each block the names in its last
frame. Where gaps are closed, its ends and starts wait in the store and are read block by block; of
each closed gap two names are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.linking.sightings import Looks
from stemkin.kernels.linking.tips import Tips
from stemkin.linking import (
    AFTER,
    BEFORE,
    ID_STRIDE,
    Clock,
    Names,
    Settings,
    StepCounts,
    StepModel,
    Summary,
    block_tracks,
    count_block,
    fit_steps,
    join_links,
    link_block,
    prepare,
)
from stemkin.names import folder_name
from stemkin.pipeline.gathering import WHOLE, gather, parts_of, scatter
from stemkin.results.store import Block, Store
from stemkin.rows.files import ROWS_PER_PARTITION
from stemkin.schedulers.streams import results

LINKS = "links"
"""Folder of the names that blocks give their tracks before they are joined; removed when the movie
is done."""

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class LargeMovie:
    """What is known of a movie once its drift is summed.

    Attributes
    ----------
    store, movie, blocks
        Where its detections are: files that hold some, in the order of time.
    every
        Those files, and blocks that could not be searched.
    frames
        Its table ``frames``.
    lattice_nm
        Its lattice constant [nm], None where it shows none.
    settings
        Of the linker.
    made_of
        Fingerprint of what will be written.
    """

    store: Store
    movie: dict[str, Any]
    blocks: tuple[Block, ...]
    every: tuple[Block, ...]
    frames: pd.DataFrame
    lattice_nm: float | None
    settings: Settings
    made_of: str

    @property
    def n_parts(self) -> int:
        """Number of shares into which its tracks are gathered."""
        seen = self.frames.loc[self.frames["status"] == tables.OK, "n_detections"]
        return max(1, -(-int(seen.sum()) // ROWS_PER_PARTITION))

    def pieces(self) -> Iterator[Piece]:
        """Yield what a worker must know of each block. Lazy."""
        size, lattice = self.movie["pixel_size_nm"], self.lattice_nm
        clock = Clock.of(
            self.movie["movie"], pixel_size_nm=size, frames=self.frames, lattice_nm=lattice
        )
        frame = self.frames["frame"].to_numpy()
        seen = (self.frames["status"] == tables.OK).to_numpy() & (
            self.frames["n_detections"] > 0
        ).to_numpy()
        occupied, starts = frame[seen], np.array([block.start for block in self.blocks])
        for block in self.every:
            first, last = np.searchsorted(occupied, [block.start, block.stop])
            beside = np.concatenate(
                [occupied[max(first - BEFORE, 0) : first], occupied[last : last + AFTER]]
            )
            halo = np.unique(np.searchsorted(starts, beside, side="right") - 1).tolist()
            ends = np.append(beside, [block.start, block.stop - 1])
            yield Piece(
                store=self.store,
                block=block,
                searched=block.start in starts,
                like=self.blocks[0],
                halo=tuple(self.blocks[k] for k in halo if self.blocks[k] != block),
                beside=beside,
                clock=clock.between(int(ends.min()), int(ends.max())),
                settings=self.settings,
                frames=self.frames[slice(*np.searchsorted(frame, [block.start, block.stop]))],
                made_of=self.made_of,
            )


@dataclass(frozen=True, eq=False)
class Piece:
    """All that a worker needs of one block of a large movie.

    Attributes
    ----------
    searched
        Whether there is a file of detections.
    like
        A block whose file has the columns.
    halo, beside
        Blocks that hold the occupied frames `beside` it.
    frames
        Its rows of the table ``frames``.
    """

    store: Store
    block: Block
    searched: bool
    like: Block
    halo: tuple[Block, ...]
    beside: np.ndarray
    clock: Clock
    settings: Settings
    frames: pd.DataFrame
    made_of: str

    @property
    def file(self) -> tuple[str, str, str]:
        """Where the names of its tracks wait for the other blocks."""
        return LINKS, folder_name(self.block.movie), self.block.file_name

    @property
    def tips_file(self) -> tuple[str, str, str]:
        """Where the ends and starts of its tracks wait until gaps are closed."""
        return LINKS, folder_name(self.block.movie), f"{self.block.file_name}.tips"

    @property
    def records(self) -> tuple[str, str, str]:
        """Where the rows of its tracks wait to be gathered."""
        return LINKS, folder_name(self.block.movie), f"{self.block.file_name}.records"

    def own(self) -> pd.DataFrame:
        """Return the block's prepared detections."""
        rows = self.store.read_block("detections", self.block if self.searched else self.like)
        return prepare(rows if self.searched else rows.iloc[:0], self.clock)

    def rows(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return the prepared detections of the block, and those of the frames before and after
        it."""
        own = self.own()
        before, after = [own.iloc[:0]], [own.iloc[:0]]
        for block in self.halo:
            rows = self.store.read_block("detections", block)
            part = prepare(rows[rows["frame"].isin(self.beside).to_numpy()], self.clock)
            (before if block.start < self.block.start else after).append(part)
        return own, pd.concat(before, ignore_index=True), pd.concat(after, ignore_index=True)


def link_large(movie: LargeMovie, *, retries: int) -> tuple[int, int]:
    """Link a movie block by block and write its frames, tracks and whole tracks. Computes once,
    through the active scheduler.

    Returns
    -------
    Numbers of tracks and of rows.
    """
    movie.store.remove(LINKS)
    movie.store.remove(WHOLE, folder_name(movie.movie["movie"]))
    pieces = list(movie.pieces())
    counts: list[StepCounts] = [result for _, result in _done(count_piece, pieces, retries)]
    model = fit_steps(counts, pieces[0].clock, movie.settings)
    linked: dict[int, Summary] = dict(_done(partial(link_piece, model=model), pieces, retries))
    summaries = [linked[k] for k in range(len(pieces))]
    names = join_links(summaries, model, movie.settings, lambda k: read_tips(pieces[k]))
    named = dict(
        _done(
            partial(name_piece, n_parts=movie.n_parts),
            list(zip(pieces, names, strict=True)),
            retries,
        )
    )
    counts_of_parts = np.array([named[k][1] for k in range(len(pieces))])
    records = tuple(piece.records for piece in pieces)
    parts = parts_of(movie.store, movie.movie["movie"], records, counts_of_parts, movie.made_of)
    n_rows = sum(n for _, n in _done(gather, parts, retries))
    movie.store.remove(LINKS)
    return sum(begun for begun, _ in named.values()), n_rows


def _done(
    function: Callable[[Any], Result], items: list[Any], retries: int
) -> Iterator[tuple[int, Result]]:
    """Yield number and result of every item; raise what the first that fails ended in."""
    number = {id(item): k for k, item in enumerate(items)}
    for item, result in results(function, items, retries=retries):
        yield number[id(item)], result


def count_piece(piece: Piece) -> StepCounts:
    """Count the steps of a block."""
    return count_block(*piece.rows(), piece.clock, piece.settings)


def link_piece(piece: Piece, *, model: StepModel) -> Summary:
    """Link a block, keep the names of its tracks, and their tips, in the store; return what else
    the other blocks must know."""
    by_odds = model if piece.settings.cost == "likelihood" else None
    links = link_block(*piece.rows(), piece.clock, piece.settings, by_odds)
    piece.store.write_table(pd.DataFrame({"name": links.names}), piece.made_of, *piece.file)
    tips = links.summary.tips
    columns = {
        "is_end": tips.is_end,
        "name": tips.name,
        "ordinal": tips.ordinal,
        "frame": tips.frame,
    }
    places = {"y_nm": tips.point_nm[:, 0], "x_nm": tips.point_nm[:, 1]}
    looks = {"class_id": tips.looks.class_id, "brightness_nm": tips.looks.brightness_nm}
    piece.store.write_table(pd.DataFrame(columns | places | looks), piece.made_of, *piece.tips_file)
    return replace(links.summary, tips=tips.take(slice(0, 0)))


def read_tips(piece: Piece) -> Tips:
    """Return the ends and starts that `link_piece` left."""
    rows = piece.store.read_table(*piece.tips_file)
    is_end, name, ordinal, frame = (
        rows[c].to_numpy() for c in ("is_end", "name", "ordinal", "frame")
    )
    looks = Looks(
        rows["class_id"].to_numpy(),
        rows["brightness_nm"].to_numpy(),
        piece.settings.class_penalty_nm,
    )
    return Tips(is_end, name, ordinal, frame, rows[["y_nm", "x_nm"]].to_numpy(), looks)


def name_piece(item: tuple[Piece, Names], *, n_parts: int) -> tuple[int, np.ndarray]:
    """Write a block's frames and tracks; return how many tracks begin in it, and its number of rows
    in each part."""
    piece, names = item
    own = piece.store.read_table(*piece.file)["name"].to_numpy()
    tracks = block_tracks(piece.own(), own, names)
    piece.store.write_block("frames", piece.block, piece.frames, piece.made_of)
    piece.store.write_block("tracks", piece.block, tracks, piece.made_of)
    begins = tracks["particle"].to_numpy() // ID_STRIDE == tracks["frame"].to_numpy()
    return int(begins.sum()), scatter(tracks, n_parts, piece.store, *piece.records)

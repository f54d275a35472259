"""A movie too large for one task: its blocks, links and tracks wait in files of the store.

The order is the one of `stemkin.linking.order`, carried out by a stream of tasks: a task holds one
block and a few frames beside it. What comes back is small: of each block the names in its last
frame. Where gaps are closed, its ends and starts wait in the store and are read block by block; of
each closed gap two names are held. The tracks, and their bytes, are those of a movie that is linked
at once. At the end the rows are gathered once more, by track (`stemkin.pipeline.whole_tracks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.linking.block_names import ID_STRIDE, Seam
from stemkin.kernels.linking.endpoints import Endpoints
from stemkin.kernels.linking.sightings import Looks
from stemkin.linking.blocks import BlockLinks
from stemkin.linking.clock import Clock
from stemkin.linking.executors import Stream
from stemkin.linking.halos import AFTER, BEFORE
from stemkin.linking.order import link_in_order
from stemkin.linking.positions import drift_corrected
from stemkin.linking.settings import LinkSettings
from stemkin.names import folder_name
from stemkin.pipeline.whole_tracks import gather_part, parts_of, scatter
from stemkin.results.store import Block, Store
from stemkin.results.track_files import WHOLE
from stemkin.rows.files import partitions_for
from stemkin.schedulers.streams import results

LINKS = "links"
"""Folder of what blocks keep until they are joined; removed when the movie is done."""


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
    settings: LinkSettings
    made_of: str

    def filed_blocks(self) -> Iterator[FiledBlock]:
        """Yield every block with what a worker must know to link it. Lazy."""
        clock = Clock.of(
            self.movie["movie"],
            pixel_size_nm=self.movie["pixel_size_nm"],
            frames=self.frames,
            lattice_nm=self.lattice_nm,
        )
        frame = self.frames["frame"].to_numpy()
        n_detections = self.frames["n_detections"].to_numpy()
        is_occupied = (self.frames["status"] == tables.OK).to_numpy() & (n_detections > 0)
        occupied, starts = frame[is_occupied], np.array([block.start for block in self.blocks])
        n_parts = partitions_for(int(n_detections[is_occupied].sum()))
        for block in self.every:
            # `occupied` is ascending: rows `first` to `last` lie in the block, a few before and
            # after them are its halo, and a halo may lie several blocks away
            first, last = np.searchsorted(occupied, [block.start, block.stop])
            before, after = occupied[max(first - BEFORE, 0) : first], occupied[last : last + AFTER]
            beside = np.concatenate([before, after])
            # `starts` is ascending too: the block of a frame is the last that starts no later. The
            # clock must reach from the first frame of all these to the last.
            halo = np.unique(np.searchsorted(starts, beside, side="right") - 1).tolist()
            ends = np.append(beside, [block.start, block.stop - 1])
            yield FiledBlock(
                store=self.store,
                block=block,
                searched=block.start in starts,
                like=self.blocks[0],
                halo=tuple(self.blocks[k] for k in halo if self.blocks[k] != block),
                beside=beside,
                clock=clock.between(int(ends.min()), int(ends.max())),
                class_penalty_nm=self.settings.class_penalty_nm,
                frames=self.frames[slice(*np.searchsorted(frame, [block.start, block.stop]))],
                n_parts=n_parts,
                made_of=self.made_of,
            )


@dataclass(frozen=True, eq=False)
class FiledBlock:
    """A block whose rows, links and tracks lie in the store: all that a worker needs of it.

    Attributes
    ----------
    store, block
        Where its files are, and which frames they hold.
    searched
        Whether there is a file of detections.
    like
        A block whose file has the columns.
    halo, beside
        Blocks that hold the occupied frames `beside` it.
    clock
        The movie's clock around these frames.
    class_penalty_nm
        Of the linker's settings.
    frames
        Its rows of the table ``frames``.
    n_parts
        Number of shares into which the movie's tracks are gathered.
    made_of
        Fingerprint of what will be written.
    """

    store: Store
    block: Block
    searched: bool
    like: Block
    halo: tuple[Block, ...]
    beside: np.ndarray
    clock: Clock
    class_penalty_nm: float
    frames: pd.DataFrame
    n_parts: int
    made_of: str

    @property
    def records_file(self) -> tuple[str, str, str]:
        """Where the rows of its tracks wait to be gathered."""
        return self._file("records")

    def _file(self, what: str) -> tuple[str, str, str]:
        """Return where `what` of this block waits for the other blocks."""
        return LINKS, folder_name(self.block.movie), f"{self.block.file_name}.{what}"

    def own(self) -> pd.DataFrame:
        """Return the block's rows, in nanometres."""
        if self.searched:
            return drift_corrected(self.store.read_block("detections", self.block), self.clock)
        # a block that could not be searched has no file: no rows, but the same columns as others
        nothing = self.store.read_block("detections", self.like).iloc[:0]
        return drift_corrected(nothing, self.clock)

    def rows(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return the block's rows and its halos, in nanometres."""
        own = self.own()
        before, after = [own.iloc[:0]], [own.iloc[:0]]
        for block in self.halo:
            rows = self.store.read_block("detections", block)
            # another block lies wholly before this one or wholly after it
            part = drift_corrected(rows[rows["frame"].isin(self.beside).to_numpy()], self.clock)
            side = before if block.start < self.block.start else after
            side.append(part)
        return own, pd.concat(before, ignore_index=True), pd.concat(after, ignore_index=True)

    def keep(self, links: BlockLinks) -> FiledLinks:
        """Write the names of the block's tracks, and their endpoints; return where they are."""
        store, summary = self.store, links.summary
        names_file, endpoints_file = self._file("names"), self._file("endpoints")
        store.write_table(pd.DataFrame({"name": links.names}), self.made_of, *names_file)
        store.write_table(_endpoints_table(summary.endpoints), self.made_of, *endpoints_file)
        filed = FiledSummary(
            store, endpoints_file, self.class_penalty_nm, summary.seam, summary.last_frame
        )
        return FiledLinks(store, names_file, filed)

    def finish(self, tracks: pd.DataFrame) -> tuple[int, np.ndarray]:
        """Write the block's frames and tracks.

        Returns
        -------
        How many tracks begin in it, and what is told of its rows in each part (`scatter`).
        """
        self.store.write_block("frames", self.block, self.frames, self.made_of)
        self.store.write_block("tracks", self.block, tracks, self.made_of)
        # a track is called first_frame * ID_STRIDE + rank, so its first row tells itself
        begins = tracks["particle"].to_numpy() // ID_STRIDE == tracks["frame"].to_numpy()
        return int(begins.sum()), scatter(tracks, self.n_parts, self.store, *self.records_file)


@dataclass(frozen=True, eq=False)
class FiledSummary:
    """What the other blocks must know of a block (`stemkin.linking.names.Summary`).

    Its endpoints are read from the store when asked for.
    """

    store: Store
    endpoints_file: tuple[str, str, str]
    class_penalty_nm: float
    seam: Seam
    last_frame: int

    @property
    def endpoints(self) -> Endpoints:
        """Where tracks begin and end in the block."""
        return _endpoints_of(self.store.read_table(*self.endpoints_file), self.class_penalty_nm)


@dataclass(frozen=True, eq=False)
class FiledLinks:
    """The links of a block (`stemkin.linking.blocks.Links`).

    The names of its rows' tracks are read from the store when asked for.
    """

    store: Store
    names_file: tuple[str, str, str]
    summary: FiledSummary

    @property
    def names(self) -> np.ndarray:
        """(n,) name of each row's track, before the blocks are joined."""
        return self.store.read_table(*self.names_file)["name"].to_numpy()


def _endpoints_table(endpoints: Endpoints) -> pd.DataFrame:
    """Return endpoints as a table."""
    return pd.DataFrame(
        {
            "is_end": endpoints.is_end,
            "name": endpoints.name,
            "ordinal": endpoints.ordinal,
            "frame": endpoints.frame,
            "y_nm": endpoints.point_nm[:, 0],
            "x_nm": endpoints.point_nm[:, 1],
            "class_id": endpoints.looks.class_id,
            "brightness_nm": endpoints.looks.brightness_nm,
        }
    )


def _endpoints_of(rows: pd.DataFrame, class_penalty_nm: float) -> Endpoints:
    """Return the endpoints in a table."""
    return Endpoints(
        is_end=rows["is_end"].to_numpy(),
        name=rows["name"].to_numpy(),
        ordinal=rows["ordinal"].to_numpy(),
        frame=rows["frame"].to_numpy(),
        point_nm=rows[["y_nm", "x_nm"]].to_numpy(),
        looks=Looks(
            rows["class_id"].to_numpy(), rows["brightness_nm"].to_numpy(), class_penalty_nm
        ),
    )


def link_large(movie: LargeMovie, *, retries: int) -> tuple[int, int]:
    """Link a movie block by block and write its frames, tracks and whole tracks. Computes once.

    Parameters
    ----------
    movie
        What is known of it.
    retries
        How often a task that fails is tried again.

    Returns
    -------
    Numbers of tracks and of rows.
    """
    name = movie.movie["movie"]
    # What an earlier, stopped attempt left need not belong together. One movie is linked at a time,
    # so the folder of links is this movie's alone.
    movie.store.remove(LINKS)
    movie.store.remove(WHOLE, folder_name(name))
    blocks = list(movie.filed_blocks())
    finished = link_in_order(Stream(retries), [{name: block} for block in blocks], movie.settings)
    begun, per_part = zip(*(of_block[name] for of_block in finished), strict=True)
    records = tuple(block.records_file for block in blocks)
    parts = parts_of(movie.store, name, records, np.array(per_part), movie.made_of)
    n_rows = sum(n for _, n in results(gather_part, parts, retries=retries))
    movie.store.remove(LINKS)
    return sum(begun), n_rows

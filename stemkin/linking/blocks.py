"""Linking one block of a movie's detections: what a worker does with one file.

    previous = last_frame(prepare(rows of the block before, clock))         # the halo: one frame
    block    = prepare(rows of this block, clock)
    links    = link_block(block, previous, clock=clock, settings=settings)  # heavy; every block by itself
    names    = join_links([links.seam for every block in order])            # a few numbers per block
    tracks   = block_tracks(block, links, names[k])                         # the block's rows of the table `tracks`

Each pair of frames is assigned by itself, so the blocks may be cut anywhere between frames. A block of n rows takes about
250 n bytes while it is linked; joining takes 8 bytes per row of each block's last frame.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.linking import links
from stemkin.kernels.seams import Seam, join, name_tracks, settle

logger = logging.getLogger(__name__)

MAX_STEP_LATTICES = 1.3
"""The default of `max_step_nm`, in lattice constants: a hop to a neighbouring site and its localisation error, but not the
next-nearest site (1.73 lattice constants away in a triangular lattice)."""


@dataclass(frozen=True)
class Settings:
    """What makes a link.

    Attributes
    ----------
    max_step_nm
        Largest step between neighbouring frames [nm].
    max_blind_frames
        A track ends where more frames than this in a row are bad.
    class_penalty_nm
        A pair of different classes counts as this much farther apart, in quadrature [nm].
    brightness_penalty_nm
        Likewise for each factor e between the scores.
    """

    max_step_nm: float
    max_blind_frames: int = 5
    class_penalty_nm: float = 0.0
    brightness_penalty_nm: float = 0.0

    def __post_init__(self) -> None:
        """Check every number."""
        if not (np.isfinite(self.max_step_nm) and self.max_step_nm > 0):
            msg = f"max_step_nm must be a positive number of nanometres, but is {self.max_step_nm}"
            raise ValueError(msg)
        for name in ("max_blind_frames", "class_penalty_nm", "brightness_penalty_nm"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                msg = f"{name} must not be negative, but is {getattr(self, name)}"
                raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Clock:
    """Which frames of a movie are good, and where the specimen was in each.

    Attributes
    ----------
    movie
        Its name.
    pixel_size_nm
        Edge of a pixel [nm].
    good
        (k,) numbers of the good frames, ascending; None: every frame is good.
    shift_px
        (k, 2) cumulative shift (y, x) of each good frame [px]; None: no drift.
    """

    movie: str
    pixel_size_nm: float
    good: np.ndarray | None = None
    shift_px: np.ndarray | None = None

    @classmethod
    def of(cls, movie: str, *, pixel_size_nm: float, frames: pd.DataFrame | None = None) -> Clock:
        """Return the clock of `movie`, from its rows of the table `frames` where there is one.

        Raises
        ------
        ValueError
            If the pixel size is not known, a good frame has no shift, or a frame is listed twice.
        """
        if not (np.isfinite(pixel_size_nm) and pixel_size_nm > 0):
            msg = (
                f"movie {movie!r} needs a pixel size to be linked in nanometres, but it is {pixel_size_nm}; "
                "give it when the movie is opened: open_movie(path, pixel_size_nm=...)"
            )
            raise ValueError(msg)
        if frames is None:
            logger.info("movie %r: no table of frames, so no drift is corrected and every frame counts as good", movie)
            return cls(movie, float(pixel_size_nm))
        tables.check_columns(frames, "frames", needed=("movie", "frame", "status", "shift_y", "shift_x"))
        frames = frames[frames["movie"] == movie].sort_values("frame")
        if frames["frame"].duplicated().any():
            msg = f"movie {movie!r}: frame {frames.loc[frames['frame'].duplicated(), 'frame'].iloc[0]} is listed twice in the table of frames"
            raise ValueError(msg)
        good = frames[frames["status"] == tables.OK]
        shift = good[["shift_y", "shift_x"]].to_numpy(np.float64)
        if not np.isfinite(shift).all():
            bad = good["frame"].to_numpy()[~np.isfinite(shift).all(axis=1)]
            msg = f"movie {movie!r}: good frame {bad[0]} has no shift in the table of frames; put 0 where there is no drift"
            raise ValueError(msg)
        return cls(movie, float(pixel_size_nm), good["frame"].to_numpy(np.int64), shift)

    def ordinal(self, frame: np.ndarray) -> np.ndarray:
        """Return the number (n,) of each frame among the good frames; -1 for a frame that is not good."""
        if self.good is None:
            return frame.astype(np.int64)
        if not len(self.good):
            return np.full(len(frame), -1)
        place = np.searchsorted(self.good, frame).clip(max=len(self.good) - 1)
        return np.where(self.good[place] == frame, place, -1)

    def frame(self, ordinal: np.ndarray) -> np.ndarray:
        """Return the frame number (n,) of each good frame; ordinals before the first one give a far past."""
        if self.good is None:
            return ordinal
        return np.where(ordinal < 0, -(2**40), self.good[ordinal.clip(min=0)])


@dataclass(frozen=True, eq=False)
class BlockLinks:
    """The tracks of one block, before the blocks are joined.

    Attributes
    ----------
    names
        (n,) name of each row's track; negative where it came in from before the block (see `stemkin.kernels.seams`).
    seam
        What the next block must know.
    """

    names: np.ndarray
    seam: Seam


def prepare(rows: pd.DataFrame, clock: Clock) -> pd.DataFrame:
    """Return the good frames' rows of one movie, sorted by frame, y, x, with `y_nm`, `x_nm` and `ordinal`.

    Parameters
    ----------
    rows
        Rows of the table ``detections``, all of the clock's movie.
    clock
        The movie's good frames and shifts.

    Raises
    ------
    ValueError
        If a coordinate is not finite.
    """
    position = rows[["y", "x"]].to_numpy(np.float64)
    if not np.isfinite(position).all():
        bad = int((~np.isfinite(position)).any(axis=1).sum())
        msg = f"movie {clock.movie!r}: {bad} detections have no finite y, x; drop them first: rows.dropna(subset=['y', 'x'])"
        raise ValueError(msg)
    ordinal = clock.ordinal(rows["frame"].to_numpy())
    order = _order(rows, position)
    kept = order[ordinal[order] >= 0]
    if len(kept) < len(rows):
        logger.warning("movie %r: %d detections lie in bad frames and are left out", clock.movie, len(rows) - len(kept))
    position, ordinal = position[kept], ordinal[kept]
    if clock.shift_px is not None:
        position -= clock.shift_px[ordinal]
    position *= clock.pixel_size_nm
    rows = (
        rows.reset_index(drop=True)
        if np.array_equal(kept, np.arange(len(rows)))
        else rows.iloc[kept].reset_index(drop=True)
    )
    return rows.assign(y_nm=position[:, 0], x_nm=position[:, 1], ordinal=ordinal)


def _order(rows: pd.DataFrame, position: np.ndarray) -> np.ndarray:
    """Return the order frame, y, x; detections at the same place are told apart by their other columns."""
    frame = rows["frame"].to_numpy()
    ahead, behind = (slice(None, -1), slice(1, None))
    y, x = position.T
    sooner = (frame[ahead] < frame[behind]) | (
        (frame[ahead] == frame[behind]) & ((y[ahead] < y[behind]) | ((y[ahead] == y[behind]) & (x[ahead] < x[behind])))
    )
    if sooner.all():
        return np.arange(len(rows))
    extra = [rows[c].to_numpy() for c in ("orientation", "class_id", "score") if c in rows.columns]
    return np.lexsort((*extra, x, y, frame))


def last_frame(prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last occupied frame: the halo of the next block. An empty block gives no rows."""
    frame = prepared["frame"].to_numpy()
    return prepared.iloc[np.searchsorted(frame, frame[-1]) :] if len(frame) else prepared


def link_block(block: pd.DataFrame, previous: pd.DataFrame, *, clock: Clock, settings: Settings) -> BlockLinks:
    """Link the frames of a block among each other and to the last occupied frame before it. Computes once.

    Parameters
    ----------
    block
        Rows of whole frames, from `prepare`.
    previous
        `last_frame` of the nearest block before that has any rows; no rows at the start of a movie.
    clock, settings
        As for every block of the movie.

    Raises
    ------
    ValueError
        If `previous` does not lie before the block.
    """
    if len(block) and len(previous) and previous["frame"].iloc[0] >= block["frame"].iloc[0]:
        now, then = block["frame"].iloc[0], previous["frame"].iloc[0]
        what = f"frame {now} is cut in two" if now == then else f"frame {now} comes after frame {then}"
        msg = f"movie {clock.movie!r}: {what}; partitions must hold whole frames in the order of time, as detect() returns them"
        raise ValueError(msg)
    both = [previous, block]
    frame, ordinal, y_nm, x_nm = (
        np.concatenate([part[c].to_numpy() for part in both]) for c in ("frame", "ordinal", "y_nm", "x_nm")
    )
    apart = frame - clock.frame(ordinal - 1)
    reach = np.where(apart <= settings.max_blind_frames + 1, settings.max_step_nm * np.sqrt(apart), 0.0)
    before = links(ordinal, np.stack([y_nm, x_nm], axis=1), reach_nm=reach, penalty_nm2=_marks(both, settings))
    return BlockLinks(*name_tracks(before, frame, n_previous=len(previous)))


def _marks(parts: Sequence[pd.DataFrame], settings: Settings) -> np.ndarray | None:
    """Return the marks (n, k) [nm] whose differences make a pair dearer; None where only distance counts."""
    marks = []
    if settings.class_penalty_nm:
        class_id = np.concatenate([part["class_id"].to_numpy() for part in parts])
        one_hot = class_id[:, None] == np.unique(class_id)
        marks.append(one_hot * (settings.class_penalty_nm / np.sqrt(2)))
    if settings.brightness_penalty_nm:
        score = np.concatenate([part["score"].to_numpy(np.float64) for part in parts])
        marks.append(settings.brightness_penalty_nm * np.log(np.maximum(score, 1e-3))[:, None])
    return np.concatenate(marks, axis=1) if marks else None


def join_links(seams: Sequence[Seam]) -> list[np.ndarray]:
    """Return, for each block of a movie in the order of time, the names of the tracks that come in. Computes once."""
    return join(seams)


def block_tracks(block: pd.DataFrame, links: BlockLinks, incoming: np.ndarray) -> pd.DataFrame:
    """Return the block's rows of the table ``tracks``, sorted as the block is. Computes once."""
    return tables.conform(block.assign(particle=settle(links.names, incoming)), "tracks")

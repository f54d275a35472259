"""Which frames of a movie are good, where the specimen was in each, and what a pixel measures."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.linking.settings import MAX_STEP_LATTICES, LinkSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Clock:
    """Which frames of a movie are good, where the specimen was in each, and what a pixel measures.

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
    lattice_nm
        Lattice constant [nm]; None where it is not known.
    stretch
        (k,) stretch of each good frame: nothing goes on from one to the next, since places cannot
        be compared; None: all are one.
    n_before
        Good frames of the movie before the first of `good`.
    """

    movie: str
    pixel_size_nm: float
    good: np.ndarray | None = None
    shift_px: np.ndarray | None = None
    lattice_nm: float | None = None
    stretch: np.ndarray | None = None
    n_before: int = 0

    @classmethod
    def of(
        cls,
        movie: str,
        *,
        pixel_size_nm: float,
        frames: pd.DataFrame | None = None,
        lattice_nm: float | None = None,
    ) -> Clock:
        """Return the clock of `movie`.

        Parameters
        ----------
        movie
            Its name.
        pixel_size_nm
            Edge of a pixel [nm].
        frames
            Table ``frames``, of this movie or of more; a column ``lattice_px`` tells the lattice
            constant.
        lattice_nm
            Lattice constant [nm], where it is known otherwise.

        Raises
        ------
        ValueError
            If the pixel size is not known, a good frame has no shift, or a frame is listed twice.
        """
        if not (np.isfinite(pixel_size_nm) and pixel_size_nm > 0):
            msg = (
                f"movie {movie!r} needs a pixel size to be linked in nanometres, but it is "
                f"{pixel_size_nm}; "
                "give it when the movie is opened: open_movie(path, pixel_size_nm=...)"
            )
            raise ValueError(msg)
        if frames is None:
            logger.info(
                "movie %r: no table of frames, so no drift is corrected and every frame counts as "
                "good",
                movie,
            )
            return cls(movie, float(pixel_size_nm), lattice_nm=lattice_nm)
        good = _good_frames(movie, frames)
        if lattice_nm is None and "lattice_px" in frames:
            of_movie = frames["movie"].astype(str) == str(movie)
            lattice_nm = shown_lattice_nm(frames[of_movie], float(pixel_size_nm))
        shift = good[["shift_y", "shift_x"]].to_numpy(np.float64)
        stretch = None
        if "stretch" in good:
            stretch = good["stretch"].to_numpy(np.int64)
        number = good["frame"].to_numpy(np.int64)
        return cls(movie, float(pixel_size_nm), number, shift, lattice_nm, stretch)

    def between(self, first: int, last: int) -> Clock:
        """Return the clock around the frames `first` to `last` (included).

        It holds these good frames and the two before them, which `since` asks for; ordinals stay
        those of the whole movie.
        """
        if self.good is None:
            return self
        start, stop = np.searchsorted(self.good, [first, last + 1])
        start = max(int(start) - 2, 0)
        shift_px, stretch = self.shift_px, self.stretch
        if shift_px is not None:
            shift_px = shift_px[start:stop]
        if stretch is not None:
            stretch = stretch[start:stop]
        return replace(
            self,
            good=self.good[start:stop],
            shift_px=shift_px,
            stretch=stretch,
            n_before=self.n_before + start,
        )

    def shift_at(self, ordinal: np.ndarray) -> np.ndarray | None:
        """Return the shift (n, 2) of the good frames `ordinal` (n,) [px]; None: no drift."""
        return None if self.shift_px is None else self.shift_px[ordinal - self.n_before]

    def ordinal(self, frame: np.ndarray) -> np.ndarray:
        """Return the number (n,) of each frame among the good frames, -1 if it is not good."""
        if self.good is None:
            return frame.astype(np.int64)
        if not len(self.good):
            return np.full(len(frame), -1)
        place = np.searchsorted(self.good, frame).clip(max=len(self.good) - 1)
        return np.where(self.good[place] == frame, place + self.n_before, -1)

    def since(self, ordinal: np.ndarray, frame: np.ndarray, n_apart: int) -> np.ndarray:
        """Return the frame times (n,) since the good frame `n_apart` before each.

        Very many (2**40) where there is none. `ordinal` (n,) are those of the good frames `frame`.
        """
        if self.good is None:
            return np.full(len(frame), float(n_apart))
        # `good` begins with good frame number `n_before`; where no frame lies so far back the
        # clipped look-up is thrown away by the last line
        then = (ordinal - n_apart - self.n_before).clip(min=0)
        goes_on = ordinal >= n_apart
        if self.stretch is not None:
            goes_on &= self.stretch[then] == self.stretch[ordinal - self.n_before]
        return np.where(goes_on, frame - self.good[then], 2.0**40)

    def apart(self, ordinal: np.ndarray) -> np.ndarray:
        """Return frame times (n,) to be added to those of the good frames `ordinal` (n,).

        With them no gap is short enough to be closed from one stretch to another.
        """
        if self.stretch is None:
            return np.zeros(len(ordinal), np.int64)
        return np.asarray(self.stretch[ordinal - self.n_before] * 2**40)

    def spacing_nm(self, settings: LinkSettings) -> float | None:
        """Return the distance of the sites that are linked [nm]; None where any step is a step.

        Raises
        ------
        ValueError
            If sites are asked for and the lattice is not known.
        """
        if not settings.lattice:
            return None
        if self.lattice_nm is not None and self.lattice_nm > 0:
            return self.lattice_nm
        msg = (
            f"movie {self.movie!r} shows no lattice whose sites could be linked; pass "
            "lattice=False, or give the lattice constant "
            "as a column lattice_nm of the movies"
        )
        raise ValueError(msg)

    def step_limit_nm(self, max_step_nm: float | None = None) -> float:
        """Return `max_step_nm`, or `MAX_STEP_LATTICES` lattice constants.

        Raises
        ------
        ValueError
            If neither is known.
        """
        if max_step_nm is not None:
            return max_step_nm
        if self.lattice_nm is not None and self.lattice_nm > 0:
            return MAX_STEP_LATTICES * self.lattice_nm
        msg = (
            f"how far a defect of movie {self.movie!r} may step between frames is not known, since "
            "no lattice was found; pass "
            f"max_step_nm=, about {MAX_STEP_LATTICES} lattice constants (0.69 nm for WS2)"
        )
        raise ValueError(msg)


def shown_lattice_nm(frames: pd.DataFrame, pixel_size_nm: float) -> float | None:
    """Return the lattice constant [nm] of a movie; None where half of the frames show none.

    Parameters
    ----------
    frames
        Rows of all frames of the movie; ``lattice_px`` is NaN in those without a lattice.
    pixel_size_nm
        Edge of a pixel [nm].
    """
    shown = frames["lattice_px"].fillna(0.0)
    # a frame without a lattice counts as 0; with half of them the median would lie between 0 and
    # the constant
    if 2 * int((shown > 0).sum()) <= len(shown):
        return None
    return float(np.median(shown)) * pixel_size_nm


def _good_frames(movie: str, frames: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the good frames of `movie`, in order, each once and with its shift."""
    tables.check_columns(
        frames, "frames", needed=("movie", "frame", "status", "shift_y", "shift_x")
    )
    own = frames[(frames["movie"] == movie).to_numpy()].sort_values("frame")
    twice = own["frame"].duplicated()
    if twice.any():
        msg = (
            f"movie {movie!r}: frame {own.loc[twice, 'frame'].iloc[0]} is listed twice in the "
            "table of frames; keep one row of it"
        )
        raise ValueError(msg)
    good = own[(own["status"] == tables.OK).to_numpy()]
    lost = good[["shift_y", "shift_x"]].isna().any(axis=1)
    if lost.any():
        msg = (
            f"movie {movie!r}: good frame {good.loc[lost, 'frame'].iloc[0]} has no shift in the "
            "table of frames; put 0 where there is no drift"
        )
        raise ValueError(msg)
    return good

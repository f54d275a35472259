"""What a verb of this room looks at: which classes, in which fields, with which errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from stemkin.kernels.motion.borders import Room
from stemkin.kernels.motion.walks import blur_coefficient
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import Grouping
from stemkin.rows.tracks import Trajectories
from stemkin.vocabulary import chosen_classes

ClassOf = Literal["rows", "track", "all"]
CLASS_OF: tuple[ClassOf, ...] = ("rows", "track", "all")

AWAY_NM = 1.0
"""Some three hops on the lattices of layered crystals: from farther inside a defect that is not
seen for a frame or two was missed, and had not left."""


@dataclass(frozen=True)
class Fields:
    """Where defects can be seen in the frames of each movie.

    A field is (border_px, height_px, width_px, pixel_size_nm).

    Attributes
    ----------
    usual
        Of most movies.
    others
        Movie → that of the others.
    """

    usual: tuple[float, ...]
    others: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, calibrations: Calibrations, border_px: float | None) -> Fields | None:
        """Return the fields of the movies; None where the border or a frame's size is not known."""
        needed = ("movie", "height_px", "width_px", "pixel_size_nm")
        movies = calibrations.movies
        if border_px is None or not set(needed) <= set(movies.columns):
            return None
        columns = [movies[c].tolist() for c in needed]
        each = {
            str(movie): (float(border_px), float(h), float(w), float(p))
            for movie, h, w, p in zip(*columns, strict=True)
        }
        if not each:
            return None
        usual = Counter(each.values()).most_common(1)[0][0]
        return cls(usual, {movie: own for movie, own in each.items() if own != usual})

    def share_seen(self, distance_nm: float) -> float:
        """Return what share of the places at a distance from those in the field lie in it too.

        Parameters
        ----------
        distance_nm
            Much less than the field.
        """
        border, height, width, pixel = self.usual
        edges = (np.array([height, width]) - 1 - 2 * border) * pixel
        # along an edge a place so far away in any direction is 2 / pi of it away on average
        return float(np.prod(np.clip(1 - 2 / np.pi * distance_nm / edges, 0.5, 1.0)))

    def room(self, tracks: Trajectories) -> Room:
        """Return the fields in which the `tracks` lie."""
        border, height, width, pixel = self._of(tracks)
        size = (np.stack([height, width]) - 1 - 2 * border) * pixel
        if len(tracks.movies) != 1:
            size = size[:, tracks.movie[tracks.track]]
        return Room(np.maximum(size, 1e-9).astype(np.float32))

    def _of(self, tracks: Trajectories) -> np.ndarray:
        """Return border, height, width [px] and pixel [nm] (4, n_movies) of the movies met."""
        each = [self.others.get(movie, self.usual) for movie in tracks.movies]
        return np.asarray(np.array(each, dtype=np.float64).reshape(-1, 4).T)

    def maybe_away(self, rows: pd.DataFrame, tracks: Trajectories) -> tuple[np.ndarray, np.ndarray]:
        """Return which rows lie where a defect may have been out of sight, and how wide that is.

        Parameters
        ----------
        rows
            With the places ``y`` and ``x`` in the frames [px]; without them nothing is known.
        tracks
            Of these rows.

        Returns
        -------
        near
            (n,) whether a row lies so near the border.
        width_nm
            (n_movies,) how near that is: `AWAY_NM`, or a fiftieth of a larger field; at most a
            quarter of it.
        """
        border, height, width, pixel = self._of(tracks)
        edge_nm = (np.minimum(height, width) - 1 - 2 * border) * pixel
        width_nm = np.minimum(np.maximum(AWAY_NM, edge_nm / 50), np.maximum(edge_nm, 0) / 4)
        if not {"y", "x"} <= set(rows.columns):
            return np.zeros(len(tracks.track), dtype=bool), width_nm
        movie = tracks.movie[tracks.track]
        from_edge = np.full(len(movie), np.inf)
        for column, length in (("y", height), ("x", width)):
            place = rows[column].to_numpy(np.float64)[tracks.row]
            from_edge = np.fmin(from_edge, np.fmin(place, length[movie] - 1 - place))
        return (from_edge - border[movie]) * pixel[movie] < width_nm[movie], width_nm


@dataclass(frozen=True)
class Choice:
    """What a verb of this room looks at; small, since it travels with every task.

    Attributes
    ----------
    class_of
        ``"rows"``: a displacement counts for a class when the particle had it all the way;
        ``"track"``: a whole track counts for the class that it has most often; ``"all"``: classes
        are not told apart.
    class_ids
        These classes only; None: all.
    fields
        Where defects can be seen; None: everywhere.
    pixel_nm
        Movie → size of a pixel, where the stated errors of the places are asked for; None: they are
        not.
    grouping
        How rows are told apart; a displacement counts for a group that it begins and ends in.
    blur
        Movie → motion-blur coefficient, "" for all others; 0 where nothing is said.
    """

    class_of: ClassOf = "rows"
    class_ids: tuple[int, ...] | None = None
    fields: Fields | None = None
    pixel_nm: Mapping[str, float] | None = None
    grouping: Grouping = field(default_factory=Grouping)
    blur: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tracks: Any,
        calibrations: Calibrations,
        *,
        class_name: str | None = None,
        class_names: Iterable[str] | None = None,
        class_ids: int | Iterable[int] | None = None,
        class_of: ClassOf = "rows",
        border_px: float | None = None,
        errors: bool = False,
        grouping: Grouping | None = None,
        exposure_fraction: float | None = None,
    ) -> Choice:
        """Return what the words of a verb say of `tracks` of movies so calibrated.

        Raises
        ------
        ValueError
            If classes are chosen by more than one keyword, no class has that name, `border_px` is
            negative, or `errors` of places are asked for and there are none.
        """
        if class_of not in CLASS_OF:
            msg = f"class_of must be one of {CLASS_OF}, but it is {class_of!r}"
            raise ValueError(msg)
        if border_px is not None and not border_px >= 0:
            msg = (
                "border_px must be a number of pixels, 0 or more, or None for no correction, but "
                f"it is {border_px}"
            )
            raise ValueError(msg)
        pixel_nm = None
        if errors:
            pixel_nm = _pixel_sizes(tracks, calibrations)
        chosen = chosen_classes(
            calibrations.experiment,
            class_name=class_name,
            class_names=class_names,
            class_ids=class_ids,
        )
        of_rows = (grouping or Grouping()).of_rows()
        fields = Fields.of(calibrations, border_px)
        blur = _blur_coefficients(calibrations, exposure_fraction)
        return cls(class_of, chosen, fields, pixel_nm, of_rows, blur)


def _blur_coefficients(known: Calibrations, exposure_fraction: float | None) -> dict[str, float]:
    """Return movie → blur coefficient, of the movies that are exposed for a while."""
    if exposure_fraction is not None:
        return {"": blur_coefficient(float(exposure_fraction))}
    stated = known.stated("exposure_fraction")
    return {movie: blur_coefficient(f) for movie, f in sorted(stated.items()) if f > 0}


def _pixel_sizes(tracks: Any, known: Calibrations) -> dict[str, float]:
    """Return movie → size of a pixel [nm].

    Raises
    ------
    ValueError
        If the `tracks` state no errors of places, or no size is known.
    """
    if "position_error" not in tracks.columns:
        msg = (
            f"sigma_nm='position_error' needs the column 'position_error' in the tracks, but they "
            f"have {list(tracks.columns)}; give a number of nanometres, or None to fit it"
        )
        raise ValueError(msg)
    sizes = known.stated("pixel_size_nm")
    if not sizes:
        msg = (
            "sigma_nm='position_error' is stated in pixels, and their size is not known; pass "
            "experiment=... with pixel_size_nm"
        )
        raise ValueError(msg)
    return sizes

"""The contract: which columns each table has, in which unit and type.

Every stage takes one of these tables and gives another, so two stages need to know nothing of each
other but what stands here. Units are in the names; bare ``y``, ``x`` are pixels of the raw frame
and pixel (0, 0) has its *centre* at (0.0, 0.0). ``position_error`` [px] is the standard deviation
of a detection's place along each axis, and ``at_edge`` says that part of its image lies beyond the
frame. A class is a small number everywhere (``class_id``, -1 = not named); its name lives in
``classes``.

>>> list(empty("populations").columns)
['movie', 'frame', 'time_s', 'class_id', 'n']
>>> empty("detections", n_descriptors=2).columns[-2:].tolist()
['d00', 'd01']

Tables that come from stemkin's own verbs also know the *experiment* behind them (`Experiment`:
calibration, frames, class names), so that ``link(detections)`` needs no second argument. The
knowledge stays with the collection that the verb returned; a filtered copy is a plain Dask
DataFrame, to be passed on with ``experiment=detections.experiment``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

ATOM_COLUMNS = tuple(f"a{i}{what}" for i in range(10) for what in "yxh")
"""Of the ten atoms around a detection: moment along y and x, change of height
(`kernels.classes.neighbours.atoms_around`)."""

_TRANSITIONS = {
    "movie": "str",
    "lag_frames": "int32",
    "from_id": "int16",
    "to_id": "int16",
    "count": "int64",
    "probability": "float64",
    "low": "float64",
    "high": "float64",
    "rate_per_s": "float64",
    "rate_low": "float64",
    "rate_high": "float64",
    "basis": "str",
}
"""Columns of counted changes of class, as seen or with names corrected."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "movies": {
        "movie": "str",
        "n_frames": "int64",
        "height_px": "int32",
        "width_px": "int32",
        "pixel_size_nm": "float64",
        "frame_time_s": "float64",
        "dose_rate_e_per_nm2_s": "float64",
        "exposure_fraction": "float64",
        "source": "str",
    },
    "detections": {
        "movie": "str",
        "frame": "int32",
        "y": "float32",
        "x": "float32",
        "score": "float32",
        "position_error": "float32",
        "at_edge": "bool",
        "class_id": "int16",
        "probability": "float32",
        "orientation": "int8",
    },
    "tracks": {
        "movie": "str",
        "frame": "int32",
        "y": "float32",
        "x": "float32",
        "score": "float32",
        "position_error": "float32",
        "at_edge": "bool",
        "class_id": "int16",
        "probability": "float32",
        "orientation": "int8",
        "particle": "int64",
        "y_nm": "float64",
        "x_nm": "float64",
    },
    "frames": {
        "movie": "str",
        "frame": "int32",
        "time_s": "float64",
        "status": "str",
        "shift_y": "float64",
        "shift_x": "float64",
        "shift_quality": "float32",
        "stretch": "int32",
        "n_detections": "int32",
        "ordered": "float32",
        "disordered": "float32",
        "vacuum": "float32",
        "lattice_px": "float64",
        "expected_false": "float32",
    },
    "classes": {
        "class_id": "int16",
        "name": "str",
        "n_detections": "int64",
        "mean_patch": "object",
        "match_score": "float32",
        "runner_up": "str",
        "runner_up_score": "float32",
    },
    "thumbnails": {
        "movie": "str",
        "frame": "int32",
        "height_px": "int32",
        "width_px": "int32",
        "black": "float64",
        "white": "float64",
        "jpeg": "object",
    },
    "signals": {
        "movie": "str",
        "frame": "int32",
        "a1_y": "float64",
        "a1_x": "float64",
        "a2_y": "float64",
        "a2_x": "float64",
        "metal_y": "float64",
        "metal_x": "float64",
        "chalcogen_y": "float64",
        "chalcogen_x": "float64",
        "other_share": "float64",
        "metal_u": "object",
        "metal_v": "object",
        "metal_signal": "object",
        "chalcogen_u": "object",
        "chalcogen_v": "object",
        "chalcogen_signal": "object",
    },
    "sites": {
        "movie": "str",
        "site": "int32",
        "sublattice": "str",
        "u": "int32",
        "v": "int32",
        "y_nm": "float64",
        "x_nm": "float64",
        "n_neighbours": "int8",
        "beside_dopant": "bool",
        "in_hole": "bool",
        "n_in_view": "int64",
        "n_seen": "int64",
    },
    "dopants": {
        "movie": "str",
        "dopant": "int32",
        "u": "int32",
        "v": "int32",
        "site_0": "int32",
        "site_1": "int32",
        "site_2": "int32",
    },
    "neighbours": {
        "movie": "str",
        "frame": "int32",
        "turn": "int8",
        "noise": "float32",
        **dict.fromkeys(ATOM_COLUMNS, "float32"),
    },
    "structure": {
        "class_id": "int16",
        "site": "str",
        "n": "int64",
        "atom": "int8",
        "column": "str",
        "y_a": "float64",
        "x_a": "float64",
        "height": "float64",
        "dy_a": "float64",
        "dx_a": "float64",
        "error_y_a": "float64",
        "error_x_a": "float64",
        "covariance_yx_a2": "float64",
    },
    "modes": {
        "class_id": "int16",
        "site": "str",
        "mode": "int8",
        "variance_a2": "float64",
        "share": "float64",
        "over_noise": "float64",
        "noise_edge": "float64",
        "atom": "int8",
        "dy": "float64",
        "dx": "float64",
    },
    "strain": {
        "class_id": "int16",
        "site": "str",
        "n": "int64",
        "e_yy": "float64",
        "e_xx": "float64",
        "e_xy": "float64",
        "rotation_rad": "float64",
        "e_yy_error": "float64",
        "e_xx_error": "float64",
        "e_xy_error": "float64",
        "rotation_rad_error": "float64",
        "breathing_a": "float64",
        "breathing_error_a": "float64",
    },
    "regions": {
        "movie": "str",
        "frame": "int32",
        "time_s": "float64",
        "kind": "str",
        "y": "float32",
        "x": "float32",
        "area_px": "float32",
        "area_nm2": "float64",
        "turn_deg": "float32",
        "region": "int64",
    },
    "phases": {
        "movie": "str",
        "region": "int64",
        "kind": "str",
        "n_frames": "int32",
        "first_frame": "int32",
        "last_frame": "int32",
        "first_time_s": "float64",
        "last_time_s": "float64",
        "largest_px": "float32",
        "largest_nm2": "float64",
        "last_px": "float32",
        "last_nm2": "float64",
        "last_turn_deg": "float32",
    },
    "populations": {
        "movie": "str",
        "frame": "int32",
        "time_s": "float64",
        "class_id": "int16",
        "n": "int32",
    },
    "transitions": _TRANSITIONS,
    "hidden_transitions": {
        **_TRANSITIONS,
        "errors": "str",
        "recommended": "bool",
    },
    "complexes": {
        "movie": "str",
        "frame": "int32",
        "particle": "int64",
        "n_atoms": "int16",
        "class_id": "int16",
        "y_nm": "float64",
        "x_nm": "float64",
    },
    "orientation_transitions": {
        "movie": "str",
        "complex": "str",
        "symmetric": "bool",
        "from_state": "str",
        "to_state": "str",
        "count": "int64",
        "probability": "float64",
        "low": "float64",
        "high": "float64",
        "rate_per_s": "float64",
        "rate_low": "float64",
        "rate_high": "float64",
        "basis": "str",
    },
    "orientation_rates": {
        "movie": "str",
        "complex": "str",
        "quantity": "str",
        "n_events": "int64",
        "time_at_risk_s": "float64",
        "rate_per_s": "float64",
        "low": "float64",
        "high": "float64",
        "p_value": "float64",
    },
    "name_errors": {
        "movie": "str",
        "n_tracks": "int64",
        "n_names": "int64",
        "wrong_share": "float64",
        "kept": "float64",
        "kept_low": "float64",
        "kept_high": "float64",
        "wrong_frames": "float64",
        "false_changes": "float64",
        "statistic": "float64",
        "p_value": "float64",
        "recommended": "str",
    },
    "meetings": {
        "movie": "str",
        "frame": "int32",
        "event": "str",
        "particle": "int64",
        "from_id": "int16",
        "to_id": "int16",
        "other": "int64",
        "other_id": "int16",
        "y_nm": "float64",
        "x_nm": "float64",
        "distance_nm": "float64",
    },
    "dwell_times": {
        "movie": "str",
        "class_id": "int16",
        "n_exits": "int64",
        "time_at_risk_s": "float64",
        "exit_rate_per_s": "float64",
        "low": "float64",
        "high": "float64",
        "mean_dwell_s": "float64",
        "n_censored": "int64",
        "n_left_censored": "int64",
    },
    "survival": {
        "movie": "str",
        "class_id": "int16",
        "time_s": "float64",
        "n_at_risk": "int64",
        "n_exits": "int64",
        "survival": "float64",
        "low": "float64",
        "high": "float64",
    },
    "abundances": {
        "movie": "str",
        "class_id": "int16",
        "n_frames": "int64",
        "n_detections": "int64",
        "n_tracks": "int64",
        "mean_number": "float64",
        "low": "float64",
        "high": "float64",
        "false_per_frame": "float64",
        "efficiency": "float64",
        "efficiency_low": "float64",
        "efficiency_high": "float64",
        "missed_again": "float64",
        "corrected_number": "float64",
        "corrected_low": "float64",
        "corrected_high": "float64",
        "density_per_nm2": "float64",
    },
    "injected": {
        "movie": "str",
        "frame": "int32",
        "y": "float64",
        "x": "float64",
        "class_id": "int16",
        "orientation": "int8",
        "found": "bool",
        "found_class_id": "int16",
        "found_y": "float64",
        "found_x": "float64",
        "position_error": "float32",
        "signal": "float32",
        "depth_error": "float32",
        "least_signal": "float32",
        "edge_nm": "float64",
        "neighbour_nm": "float64",
        "surplus": "float32",
    },
    "efficiencies": {
        "class_id": "int16",
        "by": "str",
        "from": "float64",
        "to": "float64",
        "n_injected": "int64",
        "n_found": "int64",
        "efficiency": "float64",
        "low": "float64",
        "high": "float64",
        "named": "float64",
        "named_low": "float64",
        "named_high": "float64",
        "depth": "float64",
    },
    "creation": {
        "movie": "str",
        "n_created": "int64",
        "n_at_dopants": "int64",
        "n_healed": "int64",
        "n_cancelled": "float64",
        "n_sites": "float64",
        "dose_e_per_nm2": "float64",
        "rate_per_site_s": "float64",
        "rate_low": "float64",
        "rate_high": "float64",
        "cross_section_barn": "float64",
        "low": "float64",
        "high": "float64",
    },
    "msd": {
        "movie": "str",
        "class_id": "int16",
        "lag_frames": "int32",
        "lag_s": "float64",
        "msd_nm2": "float64",
        "n": "int64",
        "n_independent": "float64",
        "std_error": "float64",
    },
    "diffusion": {
        "movie": "str",
        "class_id": "int16",
        "method": "str",
        "D_nm2_per_s": "float64",
        "low": "float64",
        "high": "float64",
        "sigma_nm": "float64",
        "alpha": "float64",
        "n_tracks": "int64",
        "n_displacements": "int64",
        "blocked": "float64",
        "unit": "str",
        "assumes": "str",
        "violated": "str",
        "recommended": "bool",
    },
    "lattice_correlation": {
        "movie": "str",
        "lag_frames": "int32",
        "lag_s": "float64",
        "du": "int16",
        "dv": "int16",
        "distance_a": "float64",
        "correlation": "float64",
        "n_pairs": "int64",
    },
    "hopping": {
        "movie": "str",
        "D_nm2_per_s": "float64",
        "low": "float64",
        "high": "float64",
        "hop_rate_per_s": "float64",
        "hop_low": "float64",
        "hop_high": "float64",
        "n_mobile": "float64",
        "n_low": "float64",
        "n_high": "float64",
        "static_share": "float64",
        "loss_rate_per_s": "float64",
        "depth": "float64",
        "chi2": "float64",
        "freedom": "int32",
        "n_frames": "int64",
        "n_sites": "int64",
        "max_lag_frames": "int32",
        "basis": "str",
    },
    "dopant_transitions": {
        "movie": "str",
        "from_state": "str",
        "to_state": "str",
        "count": "float64",
        "probability": "float64",
        "low": "float64",
        "high": "float64",
        "rate_per_s": "float64",
    },
    "dopant_rates": {
        "movie": "str",
        "quantity": "str",
        "n_events": "float64",
        "time_at_risk_s": "float64",
        "rate_per_s": "float64",
        "low": "float64",
        "high": "float64",
        "depth": "float64",
    },
    "expected_populations": {
        "movie": "str",
        "frame": "int32",
        "time_s": "float64",
        "n": "float64",
        "low": "float64",
        "high": "float64",
    },
    "both_answers": {
        "movie": "str",
        "tracked": "float64",
        "tracked_low": "float64",
        "tracked_high": "float64",
        "correlated": "float64",
        "correlated_low": "float64",
        "correlated_high": "float64",
        "depth": "float64",
        "leads": "str",
        "verdict": "str",
    },
    "self_check": {
        "quantity": "str",
        "class_id": "int16",
        "to_id": "int16",
        "method": "str",
        "truth": "float64",
        "mean_estimate": "float64",
        "bias": "float64",
        "bias_error": "float64",
        "half_width": "float64",
        "coverage": "float64",
        "coverage_low": "float64",
        "coverage_high": "float64",
        "n_runs": "int64",
        "n_asked": "int64",
        "share": "float64",
    },
}
"""Columns and dtypes of every table, in order. ``detections`` and ``tracks`` may end in descriptors
``d00..``."""

UNKNOWN: Mapping[str, Any] = {
    "position_error": np.nan,
    "at_edge": False,
    "match_score": np.nan,
    "runner_up": "",
    "runner_up_score": np.nan,
    "false_per_frame": np.nan,
    "basis": "",
    "errors": "independent",
    "recommended": True,
    "stretch": 0,
    "lattice_px": np.nan,
    "expected_false": np.nan,
    "exposure_fraction": np.nan,
    "blocked": 0.0,
    "unit": "",
    "assumes": "",
    "violated": "",
}
"""Columns of any table that rows from elsewhere may lack, and what then stands there."""

POOLED = "*"
"""The ``movie`` of a row that pools every movie."""

NOT_NAMED = -1
"""The ``class_id`` of a detection that no class explains, and the ``orientation`` of one that has
none."""

OK, BLANK, SATURATED, TRUNCATED, CORRUPT = "ok", "blank", "saturated", "truncated", "corrupt"
TORN, DOUBLED, DEFOCUSED, ZOOMED, UNLIKE = "torn", "doubled", "defocused", "zoomed", "unlike"
STATUSES = (
    OK, BLANK, SATURATED, TRUNCATED, CORRUPT, TORN, DOUBLED, DEFOCUSED, ZOOMED, UNLIKE,
)  # fmt: skip
"""What ``frames.status`` may say. Only ``ok`` frames are searched for defects; the others are gaps
in time. A frame by itself tells the first five (`kernels.images.quality`), the crystal of its movie
the others (`kernels.crystal.verdicts`)."""

DETECTION = np.dtype([("frame", "i4"), ("y", "f4"), ("x", "f4"), ("score", "f4")])
"""What a detector returns for a block, at least: one record per defect, ordered by frame, y, x."""

LOCATED = np.dtype([*DETECTION.descr, ("position_error", "f4"), ("at_edge", "?")])
"""The same from a detector that also knows how well it located each defect [px], and which ones the
frame's edge cuts."""

EDGE_PX = 6.0
"""A defect closer to the edge than this is cut by it, where neither its detector nor a lattice
tells how large it is."""


def located(records: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a detector returned as records of `LOCATED`.

    Parameters
    ----------
    records
        (m,) records with the fields of `DETECTION` or of `LOCATED`.
    shape
        (height, width) of the frames [px].

    Returns
    -------
    (m,) records. A ``position_error`` that was not told is NaN; ``at_edge`` is then what lies
    within `EDGE_PX`.

    Examples
    --------
    >>> rows = np.array([(0, 3.0, 50.0, 9.0), (0, 40.0, 50.0, 9.0)], DETECTION)
    >>> located(rows, (64, 64))[["position_error", "at_edge"]].tolist()
    [(nan, True), (nan, False)]

    Raises
    ------
    ValueError
        If a field of `DETECTION` is missing.
    """
    given = np.asarray(records)
    known = given.dtype.names or ()
    missing = [name for name in DETECTION.names or () if name not in known]
    if missing:
        msg = (
            f"a detector must return records with the fields {DETECTION.names}, but {missing} are "
            "missing; see stemkin.tables.DETECTION"
        )
        raise ValueError(msg)
    rows = np.empty(len(given), LOCATED)
    for name in LOCATED.names or ():
        rows[name] = given[name] if name in known else UNKNOWN.get(name)
    if "at_edge" not in known:
        rows["at_edge"] = is_at_edge(rows["y"], rows["x"], shape, EDGE_PX)
    return rows


def is_at_edge(y: np.ndarray, x: np.ndarray, shape: tuple[int, ...], edge_px: Any) -> np.ndarray:
    """Tell which places lie closer than `edge_px` to the edge of a frame.

    Parameters
    ----------
    y, x
        (m,) places [px].
    shape
        (height, width) of the frame [px]; its edge is half a pixel outside the outermost centres.
    edge_px
        A distance [px], or one for each place.
    """
    room = np.minimum(np.minimum(y, shape[0] - 1 - y), np.minimum(x, shape[1] - 1 - x)) + 0.5
    return np.asarray(room < edge_px)


def descriptor_columns(n_descriptors: int) -> list[str]:
    """Return the names ``d00, d01, ...`` of `n_descriptors` descriptors."""
    return [f"d{i:02d}" for i in range(n_descriptors)]


def dtypes(name: str, *, n_descriptors: int = 0) -> dict[str, str]:
    """Return column → dtype of the table `name`, in order."""
    return {**COLUMNS[name], **dict.fromkeys(descriptor_columns(n_descriptors), "float32")}


def empty(name: str, *, n_descriptors: int = 0) -> pd.DataFrame:
    """Return the table `name` without rows: every column is there, with its dtype."""
    return _without_rows(name, n_descriptors).copy()


@cache
def _without_rows(name: str, n_descriptors: int) -> pd.DataFrame:
    """Return a table without rows, which is made once: a run asks for some thirty of them."""
    return pd.DataFrame(
        {c: pd.Series([], dtype=t) for c, t in dtypes(name, n_descriptors=n_descriptors).items()}
    )


def conform(rows: pd.DataFrame | Mapping[str, Any], name: str) -> pd.DataFrame:
    """Return rows with exactly the columns, order and dtypes of a table.

    Descriptors are kept, and what `UNKNOWN` lists is filled in where it is missing.

    Parameters
    ----------
    rows
        A table, or its columns by name.
    name
        Of the table in `COLUMNS`.

    Raises
    ------
    ValueError
        If a column of the contract is missing.
    """
    if not isinstance(rows, pd.DataFrame):
        order = [c for c in COLUMNS[name] if c in rows]
        rows = pd.DataFrame(
            {c: _typed(rows[c], COLUMNS[name].get(c)) for c in dict.fromkeys([*order, *rows])}
        )
        if rows.dtypes.to_dict() == COLUMNS[name]:
            return rows
    check_columns(rows, name)
    types = dict(COLUMNS[name])
    if name in ("detections", "tracks"):
        types |= dict.fromkeys(filter(is_descriptor, rows.columns), "float32")
    unknown = {c: value for c, value in UNKNOWN.items() if c in types and c not in rows.columns}
    if unknown:
        rows = rows.assign(**unknown)
    rows = rows[list(types)]
    other = {c: t for (c, t), dtype in zip(types.items(), rows.dtypes, strict=True) if dtype != t}
    if other:
        rows = rows.astype(other)
    return rows.reset_index(drop=True)


def _typed(values: Any, dtype: str | None) -> Any:
    """Return `values` (n,) with `dtype` where they are numbers of that kind, or words.

    Column by column this costs a fifth of what a table's `astype` does.
    """
    if dtype == "str" and isinstance(values, list):
        return pd.array(values, dtype="str")
    if not isinstance(values, np.ndarray) or dtype in (None, "str"):
        return values
    if values.dtype.kind != np.dtype(dtype).kind:
        return values
    return values.astype(dtype)


def region_rows(
    found: Sequence[tuple[int, Any]],
    movie: str,
    pixel_size_nm: float | None,
    frame_time_s: float | None,
) -> pd.DataFrame:
    """Return rows of the table ``regions``; they are not followed yet, so ``region`` is -1.

    Parameters
    ----------
    found
        Pairs of a frame's number and a `kernels.crystal.regions.Region`.
    movie, pixel_size_nm, frame_time_s
        Name and calibration of the movie; areas and times are NaN where it is not known.
    """
    if not found:
        return empty("regions")
    pixel_nm2, time_s = np.nan, frame_time_s or np.nan
    if pixel_size_nm is not None:
        pixel_nm2 = pixel_size_nm**2
    rows = []
    for frame, region in found:
        known = {"movie": movie, "frame": frame, "time_s": frame * time_s, **vars(region)}
        rows.append(known | {"area_nm2": region.area_px * pixel_nm2, "region": -1})
    return conform(pd.DataFrame(rows), "regions")


def is_descriptor(column: str) -> bool:
    """Tell whether `column` is one of ``d00, d01, ...``."""
    return len(column) == 3 and column[0] == "d" and column[1:].isdigit()


def check_columns(rows: Any, name: str, *, needed: tuple[str, ...] | None = None) -> None:
    """Check that a table has its columns.

    Parameters
    ----------
    rows
        pandas or Dask.
    name
        Of the table in `COLUMNS`: all of its columns but those in `UNKNOWN` are needed.
    needed
        Only these are.

    Raises
    ------
    ValueError
        Naming the missing columns and those that were met.
    """
    if needed is None:
        needed = tuple(c for c in COLUMNS[name] if c not in UNKNOWN)
    missing = [c for c in needed if c not in rows.columns]
    if missing:
        msg = (
            f"a {name} table needs the columns {missing}, but this one has {list(rows.columns)}; "
            "see stemkin.tables.COLUMNS"
        )
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Experiment:
    """What is known of the movies behind a table.

    Attributes
    ----------
    movies
        pandas table ``movies``: one row per movie with its calibration.
    frames
        Table ``frames`` (pandas, or Dask with one partition per movie), or None where no frame was
        looked at.
    classes
        pandas table ``classes``; empty where nothing was named.
    """

    movies: pd.DataFrame
    frames: Any = None
    classes: pd.DataFrame | None = None

    def of_movie(self, movie: str) -> pd.Series:
        """Return the row of `movies` that belongs to `movie`.

        Raises
        ------
        ValueError
            If there is no such movie.
        """
        rows = self.movies[self.movies["movie"] == movie]
        if rows.empty:
            msg = (
                f"no calibration is known for movie {movie!r}; known are "
                f"{self.movies['movie'].tolist()[:5]}"
            )
            raise ValueError(msg)
        return rows.iloc[0]

    def class_id(self, name: str) -> int:
        """Return the number of the class called `name`.

        Raises
        ------
        ValueError
            If no class has that name.
        """
        classes = self.classes
        if classes is None:
            classes = empty("classes")
        ids = classes.loc[classes["name"] == name, "class_id"]
        if ids.empty:
            msg = f"no class is called {name!r}; the classes are {classes['name'].tolist()}"
            raise ValueError(msg)
        return int(ids.iloc[0])

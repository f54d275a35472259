"""Several tracked atoms as one: groups that stay together, and the shapes that they take.

A trimer of silicon atoms that flips between two orientations is three tracks in which nothing
happens but small steps. Taken together it is a two-state system: tracks that stay within reach of
each other are a *complex*, the places of its atoms about their centre are its shape, and shapes
turn into each other like any classes.

    rows of whole tracks ── of a movie ──▶ bonds ──▶ groups ──▶ shapes ── of all ──▶ kinds ──▶ transitions

>>> turns = np.array([0, 0, 60, 60, 60, 0])
>>> angle = np.radians(turns[:, None] + [90, 210, 330])
>>> rows = pd.DataFrame({"frame": np.repeat(np.arange(6), 3), "particle": [1, 2, 3] * 6})
>>> rows = rows.assign(y_nm=0.15 * np.sin(angle).ravel(), x_nm=0.15 * np.cos(angle).ravel())
>>> complexes(rows, reach_nm=0.4, n_shapes=2).transitions.counts.to_numpy().tolist()
[[1, 1], [1, 2]]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse, spatial
from scipy.sparse import csgraph

from stemkin.kernels.chains.shapes import kinds_of_shapes, shape_features
from stemkin.kinetics.changes import Transitions, transitions
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping
from stemkin.rows.passes import Question, Sums, verb
from stemkin.rows.tracks import Trajectories, known_experiment
from stemkin.tables import Experiment, check_columns, conform

TOGETHER = 0.5
"""Two atoms belong together where they are within reach of each other in more than this share of
the frames in which both are seen, and in `LEAST_FRAMES` at least."""
LEAST_FRAMES = 3
MOST_SHAPES = 2_000_000
"""More shapes than this are not sorted into kinds in one place."""


@dataclass(frozen=True, eq=False)
class Complexes:
    """Groups of tracked atoms, and what becomes of their shapes.

    Attributes
    ----------
    table
        Table ``complexes``: one row per complex and frame; `particle` is that of its first atom,
        `class_id` its kind of shape.
    shapes
        Columns `class_id`, `n`, `atom`, `y_nm`, `x_nm`, `spread_nm`: mean places of the atoms of
        each kind of shape about their centre, and how far single ones are off.
    transitions
        Of the kinds of shapes.
    """

    table: pd.DataFrame
    shapes: pd.DataFrame
    transitions: Transitions


@verb
def complexes(
    tracks: Any,
    *,
    reach_nm: float,
    n_atoms: int = 3,
    n_shapes: int | None = None,
    own_frame: bool = False,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[Complexes]:
    """Follow groups of atoms that stay together, and count how their shapes change. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` with `y_nm`, `x_nm` (pandas or Dask). A task holds the tracks of one movie.
    reach_nm
        Neighbours in a complex are no farther from each other than this [nm].
    n_atoms
        Atoms of a complex; groups of other sizes are left alone.
    n_shapes
        Kinds of shapes; None: as many as the shapes themselves speak for.
    own_frame
        Whether shapes that differ by a turn are the same one. By default they are not: the frame of
        the picture, which the lattice shares, is theirs.
    by
        As in `transitions`, but for columns of the rows: a complex has several.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves. Without any, rates
        are NaN.
    confidence
        Of all intervals.

    Returns
    -------
    Complexes
        Kinds of shapes are numbered in the order in which they first come, by movie and frame. A
        frame in which one of the atoms is missing is a gap.

    Raises
    ------
    ValueError
        If a column or place is missing, a particle is twice in one frame, the reach is no positive
        number, or a complex has fewer than 2 atoms.

    Notes
    -----
    Atoms belong together where they are within reach of each other in more than half of the frames
    in which both were seen, and in 3 at least; complexes are the connected sets of such pairs.
    """
    if not (np.isfinite(reach_nm) and reach_nm > 0):
        msg = f"reach_nm must be a positive number of nanometres, but is {reach_nm}"
        raise ValueError(msg)
    if n_atoms < 2 or (n_shapes is not None and n_shapes < 1):
        msg = (
            "a complex has 2 atoms or more and one kind of shape or more, but n_atoms is "
            f"{n_atoms} and n_shapes {n_shapes}"
        )
        raise ValueError(msg)
    check_columns(tracks, "tracks", needed=("frame", "particle", "y_nm", "x_nm"))
    known = known_experiment(tracks, experiment)
    Grouping.of(by, tracks, Calibrations.of(tracks, experiment, frame_time_s))  # refuses at once

    def finished(sums: Sums) -> Complexes:
        parts = [rows.rows for rows in sums.values() if len(rows.rows)]
        rows = _no_shapes(n_atoms)
        if parts:
            rows = pd.concat(parts, ignore_index=True)
        rows = rows.sort_values(["movie", "frame", "particle"], ignore_index=True)
        if len(rows) > MOST_SHAPES:
            msg = (
                f"there are {len(rows)} shapes, more than {MOST_SHAPES}; ask movie by movie, or "
                "with a smaller reach_nm"
            )
            raise ValueError(msg)
        places = rows[_place_columns(n_atoms)].to_numpy().reshape(len(rows), n_atoms, 2)
        kind = kinds_of_shapes(shape_features(places, own_frame=own_frame), n_shapes)
        rows = rows.assign(class_id=kind)
        table = conform(rows.drop(columns=_place_columns(n_atoms)), "complexes")
        numbers = sorted(set(kind.tolist()))
        classes = pd.DataFrame({"class_id": numbers, "name": [f"shape {i}" for i in numbers]})
        about = Experiment(pd.DataFrame({"movie": []}), None, classes)
        if known is not None:
            about = replace(known, classes=classes)
        words: Any = {"by": by, "frame_time_s": frame_time_s, "confidence": confidence}
        if known is None:
            changes = transitions(table, class_ids=numbers, **words)
        else:
            changes = transitions(table, experiment=about, class_ids=numbers, **words)
        return Complexes(table, _mean_shapes(places, kind), changes)

    settle = partial(_shapes_of_movies, reach_nm=reach_nm, n_atoms=n_atoms)
    return Question(_places_of, finished, settle=settle)


@dataclass(frozen=True, eq=False)
class _Listed:
    """Rows whose sum is all of them."""

    rows: pd.DataFrame

    def __add__(self, other: _Listed) -> _Listed:
        return _Listed(pd.concat([self.rows, other.rows], ignore_index=True))


def _places_of(rows: pd.DataFrame) -> Sums:
    """Return "places" → movie, frame, particle and place of the `rows`. Computes once."""
    tracks = Trajectories.of(rows, need=("y_nm", "x_nm"))
    places = pd.DataFrame(
        {
            "movie": np.array(tracks.movies, dtype=object)[tracks.movie[tracks.track]],
            "frame": tracks.frame,
            "particle": tracks.particle[tracks.track],
            "y_nm": tracks.y_nm,
            "x_nm": tracks.x_nm,
        }
    )
    if not np.isfinite(places[["y_nm", "x_nm"]].to_numpy()).all():
        wrong = int((~np.isfinite(places[["y_nm", "x_nm"]])).any(axis=1).sum())
        msg = f"every row needs a place, but it is no number in {wrong} rows; drop these"
        raise ValueError(msg)
    return {"places": _Listed(places)}


def _shapes_of_movies(sums: Sums, *, reach_nm: float, n_atoms: int) -> Sums:
    """Return "shapes" → the complexes of whole movies, frame by frame."""
    if not sums:
        return {}
    found = [_no_shapes(n_atoms)]
    for movie, rows in sums["places"].rows.groupby("movie", sort=True):
        ordered = rows.sort_values(["frame", "particle"], ignore_index=True)
        found += [own.assign(movie=str(movie)) for own in _shapes(ordered, reach_nm, n_atoms)]
    return {"shapes": _Listed(pd.concat(found, ignore_index=True))}


def _place_columns(n_atoms: int) -> list[str]:
    return [f"atom{i}_{axis}" for i in range(n_atoms) for axis in ("y_nm", "x_nm")]


def _no_shapes(n_atoms: int) -> pd.DataFrame:
    numbers = ["frame", "particle", "n_atoms"]
    columns = {"movie": pd.Series([], dtype="str")}
    columns |= {name: pd.Series([], dtype="int64") for name in numbers}
    places = ["y_nm", "x_nm", *_place_columns(n_atoms)]
    return pd.DataFrame(columns | {name: pd.Series([], dtype="float64") for name in places})


def _shapes(rows: pd.DataFrame, reach_nm: float, n_atoms: int) -> list[pd.DataFrame]:
    """Return the complexes of one movie, each with the frames in which all its atoms were seen."""
    particles, code = np.unique(rows["particle"].to_numpy(), return_inverse=True)
    frame, place = rows["frame"].to_numpy(), rows[["y_nm", "x_nm"]].to_numpy()
    found = []
    for group in _groups(frame, code, place, reach_nm, len(particles)):
        if len(group) != n_atoms:
            continue
        own = np.flatnonzero(np.isin(code, group))
        # rows stand by frame and particle: a frame with all atoms is a run of that many rows
        frames, first, there = np.unique(frame[own], return_index=True, return_counts=True)
        whole = there == n_atoms
        if whole.sum() < LEAST_FRAMES:
            continue
        at = own[first[whole][:, None] + np.arange(n_atoms)]
        centre = place[at].mean(axis=1)
        about = (place[at] - centre[:, None]).reshape(len(at), 2 * n_atoms)
        table = {"frame": frames[whole], "particle": particles[group[0]], "n_atoms": n_atoms}
        table |= {"y_nm": centre[:, 0], "x_nm": centre[:, 1]}
        table |= dict(zip(_place_columns(n_atoms), about.T, strict=True))
        found.append(pd.DataFrame(table))
    return found


def _groups(
    frame: np.ndarray, code: np.ndarray, place: np.ndarray, reach_nm: float, n: int
) -> list[np.ndarray]:
    """Return the connected sets of tracks that stay within reach of each other.

    Parameters
    ----------
    frame, code, place
        (m,) frames, (m,) tracks 0 to `n` - 1 and (m, 2) places [nm].
    """
    # Frames are laid side by side, farther apart than the reach, so that one search does for all.
    apart = np.column_stack([frame * (4.0 * reach_nm), place])
    pairs = spatial.cKDTree(apart).query_pairs(reach_nm, output_type="ndarray")
    if not len(pairs):
        return []
    two = np.sort(code[pairs], axis=1)
    bonds, near = np.unique(two[:, 0] * n + two[:, 1], return_counts=True)
    a, b = bonds // n, bonds % n
    both = _frames_with_both(frame, code, a, b)
    kept = (near >= LEAST_FRAMES) & (near > TOGETHER * both)
    graph = sparse.csr_matrix((np.ones(kept.sum()), (a[kept], b[kept])), shape=(n, n))
    _, label = csgraph.connected_components(graph, directed=False)
    return [np.flatnonzero(label == i) for i in np.unique(label[np.append(a[kept], b[kept])])]


def _frames_with_both(
    frame: np.ndarray, code: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Return in how many frames both tracks of each pair were seen."""
    seen: dict[int, np.ndarray] = {}
    for track in np.unique(np.append(a, b)).tolist():
        seen[track] = frame[code == track]
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    return np.array([len(np.intersect1d(seen[i], seen[j], True)) for i, j in pairs])


def _mean_shapes(places: np.ndarray, kind: np.ndarray) -> pd.DataFrame:
    """Return the mean places of the atoms of each kind of shape.

    Parameters
    ----------
    places
        (n, atoms, 2) about their centre [nm].
    kind
        (n,) kinds.
    """
    rows = []
    for i in sorted(set(kind.tolist())):
        own = places[kind == i]
        # Atoms are matched with those of the first shape, whatever order their tracks have.
        first = own[0]
        for atom in range(len(first)):
            distance = np.linalg.norm(own - first[atom], axis=-1)
            nearest = own[np.arange(len(own)), distance.argmin(axis=1)]
            mean = nearest.mean(axis=0)
            spread = float(np.sqrt(((nearest - mean) ** 2).mean()))
            numbers = {"class_id": i, "n": len(own), "atom": atom, "spread_nm": spread}
            rows.append(numbers | {"y_nm": mean[0], "x_nm": mean[1]})
    columns = ["class_id", "n", "atom", "y_nm", "x_nm", "spread_nm"]
    return pd.DataFrame(rows, columns=columns)

"""How many defects of each kind are found: known ones are put into recorded frames and searched for.

What the linker saw of gaps tells how often a defect is missed that was seen before and after; it
says nothing of those that are never seen. Here defects with the image that their kind has in the
movie itself are drawn into its frames, at sites where nothing was found, and the frames are searched
again with the same model. The share that is found is the *efficiency*; it depends on haze, on the
edge and on neighbours, so the places are told with each.

    injected = sk.inject(movie, model)
    found = sk.efficiencies(injected)
    sk.abundances(tracks, efficiency=dict(zip(found["class_id"], found["efficiency"])))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection.naming import named_columns
from stemkin.detection.survey import Survey
from stemkin.kernels.common.intervals import share_interval
from stemkin.kernels.crystal.lattice import (
    CHALCOGEN,
    METAL,
    Lattice,
    bent,
    lattice_coordinates,
    nearest_site,
    sites,
)
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.detection.defect_images import (
    column_height,
    depth_beyond,
    drawn_images,
    images_around,
    mean_image,
    with_drawn,
)
from stemkin.kernels.detection.sites import SeenSites
from stemkin.kernels.images.filters import gaussian
from stemkin.kernels.images.interpolation import pixels as read_pixels
from stemkin.learning.draws import sample_frames
from stemkin.learning.sampled import frame_pixels
from stemkin.movie import Movie, Movies, each_movie
from stemkin.references import reference_crystal
from stemkin.vocabulary import checked

AT_SITE = 0.25
"""Over the lattice constant: a detection no further from a site is a defect on it."""

ALONE = 2.0
"""Over the lattice constant: the images of kinds are those of defects with no other so near."""

BESIDE = 0.8
"""Over the lattice constant: none is put so near to what was found; the two would be another kind."""

APART = 4.0
"""Over the lattice constant: the distance between any two that are put into a frame."""

LEAST_EXAMPLES = 8
"""Lone defects of a kind, and of each of its orientations, from which its image is known."""

MOST_EXAMPLES = 100
"""Of a kind in one frame: more are not kept."""

PLACES = ("edge_nm", "neighbour_nm", "surplus")
"""Columns that tell where a defect was put."""

N_PILOTS = 4
"""Frames that tell first how deep the images come out, as they are drawn."""

Kind = tuple[int, int]
"""A class and an orientation."""


class DefectImage(NamedTuple):
    """What a class in an orientation looks like.

    Attributes
    ----------
    sublattice
        At which sites it is, METAL or CHALCOGEN.
    values
        (P,) its image, in heights of a column.
    depth, depth_error
        Mean signal of such defects, and its standard error, in standard deviations of the noise.
    least
        Signal from which they are found.
    """

    sublattice: int
    values: np.ndarray
    depth: float
    depth_error: float
    least: float


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame (y, x) and what was found in it."""

    pixels: np.ndarray
    rest: np.ndarray
    lattice: Lattice
    rows: pd.DataFrame
    signals: _Signals | None


def inject(
    movies: Movies,
    model: Any,
    *,
    n_frames: int = 16,
    n_per_frame: int | None = None,
    class_ids: Iterable[int] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Put known defects into recorded frames and search for them. Computes once.

    Parameters
    ----------
    movies
        A movie, an archive or any iterable of movies.
    model
        The `Model` that found their defects. What it finds in the sampled frames tells what a kind
        looks like, and how deep it is: signals of those found are a tail where many are missed.
    n_frames
        Frames to put defects into, drawn by the seed from all movies and times.
    n_per_frame
        Defects for each; by default as many as lie four lattice constants apart, half of them.
    class_ids
        Kinds to put in; by default all of which eight lone ones are seen at sites.
    seed
        Decides frames and places; the same seed gives the same rows, however movies are chunked.

    Returns
    -------
    Table ``injected``, a row for each: where it was put [px], its `class_id` and `orientation`,
    whether it was `found` (a detection within a quarter of the lattice constant), and as what. Its
    place is told by the distances to the frame's edge and to the nearest defect found before [nm],
    and by how much brighter its surroundings are than the frame, in heights of a column.

    Raises
    ------
    ValueError
        If there is no movie, the model names nothing, no kind has enough lone defects, or a number
        is less than 1.
    """
    listed = list(each_movie(movies))
    if not listed:
        msg = "there is no movie to put defects into; check what was opened"
        raise ValueError(msg)
    if not hasattr(model, "describe"):
        msg = f"{type(model).__name__} names no kinds; learn a model of them: sk.learn(movies)"
        raise ValueError(msg)
    for name, value in (("n_frames", n_frames), ("n_per_frame", n_per_frame)):
        if value is not None and value < 1:
            msg = f"{name} is a whole number of 1 or more, but it is {value!r}"
            raise ValueError(msg)
    crystals = [partial(reference_crystal, movie) for movie in listed]
    asked = Injection(
        n_frames, n_per_frame, None if class_ids is None else frozenset(class_ids), seed
    )
    return injected_rows(listed, model, crystals, asked)


@dataclass(frozen=True)
class Injection:
    """How many defects are put where; as the keywords of `inject`."""

    n_frames: int = 16
    n_per_frame: int | None = None
    class_ids: frozenset[int] | None = None
    seed: int = 0


@one_thread
def injected_rows(
    movies: Sequence[Movie],
    model: Any,
    crystals: Sequence[Callable[[], Reference | None]],
    asked: Injection,
) -> pd.DataFrame:
    """Do what `inject` does for movies whose crystals are known. Computes once.

    Parameters
    ----------
    movies, model
        As for `inject`.
    crystals
        What gives the crystal of each of the movies; called in tasks.
    asked
        How many, and where.

    Returns
    -------
    Table ``injected``.

    Raises
    ------
    ValueError
        If no kind has enough lone defects.
    """
    from dask import compute, delayed

    frames = sample_frames([movie.n_frames for movie in movies], asked.n_frames, seed=asked.seed)
    known = {i: delayed(crystals[i])() for i, _ in frames}
    looks = [delayed(partial(_examples, movies[i], frame, model))(known[i]) for i, frame in frames]
    shown = [one for one in compute(*looks) if one is not None]
    images = images_of_kinds(shown, asked.class_ids)
    if not images:
        msg = (
            f"no kind has {LEAST_EXAMPLES} lone defects at sites in {len(frames)} frames, so it is "
            "not known what they look like; give more frames (n_frames)"
        )
        raise ValueError(msg)

    def put(images: Mapping[Kind, DefectImage], number: int) -> Any:
        i, frame = frames[number]
        seed = (asked.seed, number)
        return delayed(partial(_put_in, movies[i], frame, model, images, asked.n_per_frame, seed))(
            known[i]
        )

    every = range(len(frames))
    trial = compute(*[put(images, number) for number in every[:: max(1, len(every) // N_PILOTS)]])
    deepened = as_deep(images, pd.concat(trial, ignore_index=True))
    done = compute(*[put(deepened, number) for number in every])
    return tables.conform(pd.concat(done, ignore_index=True), "injected")


@one_thread
def _searched(
    pixels: np.ndarray, movie: Movie, frame: int, model: Any, crystal: Reference | None
) -> _Frame | None:
    """Search and name one frame (1, y, x) as a run does; None where it is not fit or has no lattice."""
    if not np.isfinite(pixels).all() or pixels.min() == pixels.max():
        return None
    detector, words = model.detector, {}
    if hasattr(detector, "reference"):
        detector = replace(detector, reference=crystal)
    if hasattr(detector, "judged_sites"):
        words = {"with_sites": True}
    survey: Survey = detector.survey(pixels, first_frame=frame, **words)
    lattice = survey.lattices[0]
    if survey.extra.get("status", [tables.OK])[0] != tables.OK or lattice is None:
        return None
    records = tables.located(survey.records, pixels.shape[1:])
    named = named_columns(
        model, pixels, np.array([0]), records, survey, frame, movie, neighbours=False
    )
    rows = pd.DataFrame({name: records[name] for name in tables.LOCATED.names or ()})
    rows = rows.assign(class_id=named["class_id"], orientation=named["orientation"])
    rows = rows[named.get("keep", np.ones(len(rows), bool))].reset_index(drop=True)
    seen = survey.extra.get("sites", [None])[0]
    return _Frame(pixels[0], survey.extra["rest"][0], lattice, rows, _Signals.of(seen))


@dataclass(frozen=True, eq=False)
class _Signals:
    """The signals of all sites of a frame, and their places, for METAL and CHALCOGEN."""

    trees: tuple[cKDTree, cKDTree]
    values: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, seen: SeenSites | None) -> _Signals | None:
        """Return the signals of sites; None where nobody judged them."""
        if seen is None:
            return None
        lattice, vectors = seen.lattice, np.stack([seen.lattice.a1, seen.lattice.a2])
        trees = []
        for origin, cells in zip((lattice.metal, lattice.chalcogen), seen.cells, strict=True):
            trees.append(cKDTree(bent(lattice, origin + cells @ vectors)))
        return cls((trees[0], trees[1]), seen.signals)

    def at(self, points: np.ndarray, sublattice: np.ndarray, reach_px: float) -> np.ndarray:
        """Return the (m,) signals at the sites next to points (m, 2); NaN where none is judged."""
        told = np.full(len(points), np.nan)
        for which in (METAL, CHALCOGEN):
            own = np.flatnonzero(sublattice == which)
            far, number = self.trees[which].query(points[own])
            near = far < reach_px
            told[own[near]] = self.values[which][number[near]]
        return told


class _Example(NamedTuple):
    """One lone defect: what it was named, where it is, its (P,) image in column heights."""

    kind: Kind
    sublattice: int
    score: float
    least: float
    image: np.ndarray


@one_thread
def _examples(
    movie: Movie, frame: int, model: Any, crystal: Reference | None
) -> list[_Example] | None:
    """Return the lone defects at sites of one frame; None where it is not searched."""
    seen = _searched(frame_pixels(movie, frame), movie, frame, model, crystal)
    if seen is None:
        return None
    rows, spacing_px = seen.rows, seen.lattice.spacing_px
    points = rows[["y", "x"]].to_numpy(float)
    if not len(points):
        return []
    which = lattice_coordinates(seen.lattice, points)[2]
    at = nearest_site(seen.lattice, points, which)
    on_site = np.hypot(*(points - at).T) < AT_SITE * spacing_px
    nearest = np.full(len(points), np.inf)
    if len(points) > 1:
        nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    # what is found at sites is found from some signal on: the least of them is close to it
    score = rows["score"].to_numpy(float)
    least = [score[on_site & (which == own)].min(initial=np.inf) for own in (METAL, CHALCOGEN)]
    lone = on_site & (nearest > ALONE * spacing_px) & (rows["class_id"] >= 0).to_numpy()
    chosen = np.flatnonzero(lone & ~rows["at_edge"].to_numpy())[:MOST_EXAMPLES]
    height = column_height(seen.pixels - seen.rest, seen.lattice)
    images = images_around(seen.rest, at[chosen], seen.lattice) / height
    kinds = rows.loc[chosen, ["class_id", "orientation"]].to_numpy().tolist()
    examples = [
        _Example((kind[0], kind[1]), int(which[i]), score[i], least[which[i]], image)
        for kind, i, image in zip(kinds, chosen, images, strict=True)
    ]
    return [one for one in examples if np.isfinite(one.image).all()]


def images_of_kinds(
    shown: Sequence[Sequence[_Example]], class_ids: Iterable[int] | None = None
) -> dict[Kind, DefectImage]:
    """Return what each kind looks like of which there are enough examples.

    Parameters
    ----------
    shown
        The examples of each frame.
    class_ids
        Kinds that are wanted; None for all.
    """
    wanted = None if class_ids is None else set(class_ids)
    every = [one for examples in shown for one in examples]
    images = {}
    for kind in sorted({one.kind for one in every}):
        if wanted is not None and kind[0] not in wanted:
            continue
        # a kind is on the sublattice on which most of it is
        own = [one for one in every if one.kind == kind]
        which = int(np.median([one.sublattice for one in own]))
        own = [one for one in own if one.sublattice == which]
        if len(own) < LEAST_EXAMPLES:
            continue
        least = min(one.least for one in own)
        depth = depth_beyond(np.array([one.score for one in own]), least)
        image = mean_image(np.stack([one.image for one in own]))
        images[kind] = DefectImage(which, image, *depth, least)
    return images


def as_deep(images: Mapping[Kind, DefectImage], trial: pd.DataFrame) -> dict[Kind, DefectImage]:
    """Return images as deep as the defects of their kinds are.

    A mean of those that were found is too deep where many are missed, and what was drawn loses a
    little to interpolation, and to the haze that is taken away around it.

    Parameters
    ----------
    images
        Of each kind.
    trial
        Rows of ``injected``: defects that were drawn with these images.
    """
    deep = {}
    for kind, image in images.items():
        own = trial[(trial["class_id"] == kind[0]) & (trial["orientation"] == kind[1])]
        signals = own["signal"].abs().dropna()
        scale = 1.0
        if len(signals) >= LEAST_EXAMPLES:
            scale = float(np.clip(image.depth / signals.mean(), 0.3, 3.0))
        deep[kind] = image._replace(values=image.values * scale)
    return deep


@one_thread
def _put_in(
    movie: Movie,
    frame: int,
    model: Any,
    images: Mapping[Kind, DefectImage],
    n_per_frame: int | None,
    seed: tuple[int, int],
    crystal: Reference | None,
) -> pd.DataFrame:
    """Put defects into one frame, search it again and return the rows of ``injected``."""
    pixels = frame_pixels(movie, frame)
    before = _searched(pixels, movie, frame, model, crystal)
    rows = pd.DataFrame()
    if before is not None:
        rows = _drawn_places(before, images, n_per_frame, np.random.default_rng(seed))
    if not len(rows):
        return tables.empty("injected")
    points, lattice = rows[["y", "x"]].to_numpy(), before.lattice
    kinds = list(zip(rows["class_id"].tolist(), rows["orientation"].tolist(), strict=True))
    height = column_height(before.pixels - before.rest, lattice)
    values = np.stack([images[kind].values for kind in kinds]) * height
    drawn = drawn_images(values, points, lattice, before.pixels.shape)
    changed = with_drawn(before.pixels, before.rest, drawn)
    after = _searched(changed[None], movie, frame, model, crystal)
    near_px = AT_SITE * lattice.spacing_px
    rows = rows.assign(**_sighting(after, points, rows["sublattice"].to_numpy(), near_px))
    rows = rows.assign(movie=movie.name, frame=frame)
    rows["depth_error"] = [images[kind].depth_error for kind in kinds]
    rows["least_signal"] = [images[kind].least for kind in kinds]
    pixel_size_nm = movie.pixel_size_nm or float("nan")
    for name in ("edge", "neighbour"):
        rows[f"{name}_nm"] = rows[f"{name}_px"] * pixel_size_nm
    return tables.conform(rows[list(tables.COLUMNS["injected"])], "injected")


def _drawn_places(
    seen: _Frame,
    images: Mapping[Kind, DefectImage],
    n_per_frame: int | None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw kinds, and for each a free site of its sublattice far from all others that are drawn."""
    shape = (int(seen.pixels.shape[0]), int(seen.pixels.shape[1]))
    spacing_px, kinds = seen.lattice.spacing_px, list(images)
    n = n_per_frame or max(1, round(0.5 * shape[0] * shape[1] / (APART * spacing_px) ** 2))
    found = seen.rows[["y", "x"]].to_numpy(float)
    free, taken, drawn = [], np.empty((0, 2)), []
    for which in (METAL, CHALCOGEN):
        places = rng.permutation(sites(seen.lattice, shape, which))
        far = _distance(places, found)
        kept = far > BESIDE * spacing_px
        free.append(list(zip(places[kept], far[kept], strict=True)))
    level = gaussian(seen.pixels - seen.pixels.mean(), spacing_px)
    height = column_height(seen.pixels - seen.rest, seen.lattice)
    for i in rng.permutation(n):
        kind = kinds[int(i) % len(kinds)]
        which = images[kind].sublattice
        while free[which]:
            place, neighbour_px = free[which].pop()
            if _distance(place[None], taken)[0] > APART * spacing_px:
                taken = np.vstack([taken, place])
                drawn.append((*place, *kind, which, neighbour_px))
                break
    rows = pd.DataFrame(
        drawn, columns=["y", "x", "class_id", "orientation", "sublattice", "neighbour_px"]
    )
    edge = np.minimum(taken, np.array(shape) - 1 - taken).min(axis=1, initial=np.inf)
    return rows.assign(edge_px=edge, surplus=read_pixels(level, taken) / height)


def _distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far (m,) points are from the next of the others (n, 2); infinity without any."""
    if not len(others):
        return np.full(len(points), np.inf)
    return np.asarray(cKDTree(others).query(points)[0])


def _sighting(
    after: _Frame | None, points: np.ndarray, sublattice: np.ndarray, near_px: float
) -> dict[str, np.ndarray]:
    """Return what a frame shows of the defects that were put at `points` (m, 2)."""
    n = len(points)
    told: dict[str, np.ndarray] = {
        "found": np.zeros(n, bool),
        "found_class_id": np.full(n, tables.NOT_NAMED),
        "found_y": np.full(n, np.nan),
        "found_x": np.full(n, np.nan),
        "position_error": np.full(n, np.nan),
        "signal": np.full(n, np.nan),
    }
    if after is None:
        return told
    if after.signals is not None:
        told["signal"] = after.signals.at(points, sublattice, near_px)
    if len(after.rows):
        places = after.rows[["y", "x"]].to_numpy(float)
        far, number = cKDTree(places).query(points)
        told["found"] = far < near_px
        seen = after.rows.iloc[number[told["found"]]]
        for name, column in (
            ("found_class_id", "class_id"),
            ("found_y", "y"),
            ("found_x", "x"),
            ("position_error", "position_error"),
        ):
            told[name][told["found"]] = seen[column]
    return told


@checked
def efficiencies(
    injected: pd.DataFrame, *, by: str | None = None, n_bins: int = 3, confidence: float = 0.95
) -> pd.DataFrame:
    """Return which share of the defects that were put in was found, by kind. Computes once.

    Parameters
    ----------
    injected
        Table ``injected``.
    by
        A column of places, ``"neighbour_nm"``, ``"edge_nm"`` or ``"surplus"``: shares of the rows
        with the smallest values, and so on, too.
    n_bins
        In how many equal parts the rows are divided by that column.
    confidence
        Of the intervals.

    Returns
    -------
    Table ``efficiencies``: `efficiency` with `low`, `high`, and of those that were found the share
    that was named as it should be; `depth` is the mean signal of all of them, in standard deviations
    of the noise. `from` and `to` bound the part, over the whole range without `by`.

    Raises
    ------
    ValueError
        If `by` is no column of places, or there are less than one part.
    """
    tables.check_columns(injected, "injected")
    if by is not None and by not in PLACES:
        msg = f"defects that were put in are told apart by {list(PLACES)}, not by {by!r}"
        raise ValueError(msg)
    if n_bins < 1:
        msg = f"rows are divided in 1 part or more, not in {n_bins}"
        raise ValueError(msg)
    values, parts = np.zeros(len(injected)), np.zeros(len(injected), int)
    if by is not None:
        values = injected[by].to_numpy()
        parts = (pd.Series(values).rank(method="first", pct=True) * n_bins).to_numpy()
        parts = np.minimum(np.ceil(parts).astype(int), n_bins) - 1
    rows = []
    for (class_id, part), own in injected.groupby(["class_id", parts]):
        here = values[parts == part]
        bounds = {"from": np.nan, "to": np.nan}
        if by is not None:
            bounds = {"from": here.min(), "to": here.max()}
        shares = _shares(own, int(class_id), confidence)
        rows.append({"class_id": class_id, "by": by or "", **bounds, **shares})
    if not rows:
        return tables.empty("efficiencies")
    return tables.conform(pd.DataFrame(rows), "efficiencies")


def _shares(own: pd.DataFrame, class_id: int, confidence: float) -> dict[str, float]:
    """Return the columns of ``efficiencies`` for defects of one kind."""
    n, found = len(own), int(own["found"].sum())
    named = int((own["found"] & (own["found_class_id"] == class_id)).sum())
    share, signal = found / n, own["signal"].abs()
    # were all of them a little deeper, those close to the threshold would decide
    on_edge = ((signal - own["least_signal"]).abs() < 0.5).mean()
    of_depth = float(on_edge * own["depth_error"].mean())
    of_count = max(share * (1 - share), 0.5 / n) / n
    if np.isfinite(of_depth):
        # as if so many fewer had been put in as the depth is not known
        n_told = n * of_count / (of_count + of_depth**2)
    else:
        n_told = float(n)
    low, high = share_interval(np.array(share * n_told), np.array(n_told), confidence=confidence)
    named_low, named_high = share_interval(np.array(named), np.array(found), confidence=confidence)
    return {
        "n_injected": n,
        "n_found": found,
        "efficiency": share,
        "low": float(low),
        "high": float(high),
        "named": named / found if found else float("nan"),
        "named_low": float(named_low),
        "named_high": float(named_high),
        "depth": float(signal.mean()),
    }

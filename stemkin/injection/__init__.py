"""How many defects of each kind are found: known ones are put into recorded frames and searched for.

What the linker saw of gaps tells how often a defect is missed that was seen before and after; it
says nothing of those that are never seen. Here defects with the image that their kind has in the
movie itself are drawn into its frames, at sites where nothing was found, and the frames are searched
again with the same model. The share that is found is the *efficiency*; it depends on haze, on the
edge and on neighbours, so the places are told with each.

    injected = sk.inject(movie, model)
    found = sk.efficiencies(injected)
    sk.abundances(tracks, efficiency=found)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.injection.kinds import (
    LEAST_EXAMPLES,
    DefectImage,
    Kind,
    as_deep,
    examples_in,
    images_of_kinds,
)
from stemkin.injection.placing import put_into_frame
from stemkin.injection.shares import PLACES, efficiencies
from stemkin.kernels.crystal.reference import Reference
from stemkin.learning.draws import sample_frames
from stemkin.movie import Movie, Movies, each_movie
from stemkin.references import reference_crystal

__all__ = ["PLACES", "Injection", "efficiencies", "inject", "injected_rows"]

N_PILOTS = 4
"""Frames that tell first how deep the images come out, as they are drawn."""


@one_thread
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
    wanted = None
    if class_ids is not None:
        wanted = frozenset(class_ids)
    asked = Injection(n_frames, n_per_frame, wanted, seed)
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
    looks = [
        delayed(partial(examples_in, movies[i], frame, model))(known[i]) for i, frame in frames
    ]
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
        rows = partial(put_into_frame, movies[i], frame, model, images, asked.n_per_frame, seed)
        return delayed(rows)(known[i])

    every = range(len(frames))
    trial = compute(*[put(images, number) for number in every[:: max(1, len(every) // N_PILOTS)]])
    deepened = as_deep(images, pd.concat(trial, ignore_index=True))
    done = compute(*[put(deepened, number) for number in every])
    return tables.conform(pd.concat(done, ignore_index=True), "injected")

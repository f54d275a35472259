"""What each kind of defect looks like in a movie, and how deep it is, from those that were found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stemkin.blas import one_thread
from stemkin.injection.frames import recorded_frame
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, lattice_coordinates, nearest_site
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.detection.defect_images import depth_beyond, images_around, mean_image
from stemkin.movie import Movie

AT_SITE = 0.25
"""Over the lattice constant: a detection no further from a site is a defect on it."""

ALONE = 2.0
"""Over the lattice constant: the images of kinds are those of defects with no other so near."""

LEAST_EXAMPLES = 8
"""Lone defects of a kind, and of each of its orientations, from which its image is known."""

MOST_EXAMPLES = 100
"""Of a kind in one frame: more are not kept."""

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


class Example(NamedTuple):
    """One lone defect: what it was named, where it is, its (P,) image in column heights."""

    kind: Kind
    sublattice: int
    score: float
    least: float
    image: np.ndarray


@one_thread
def examples_in(
    movie: Movie, frame: int, model: Any, crystal: Reference | None
) -> list[Example] | None:
    """Return the lone defects at sites of one frame; None where it is not searched."""
    seen = recorded_frame(movie, frame, model, crystal)
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
        nearest = np.asarray(cKDTree(points).query(points, k=2)[0])[:, 1]
    # what is found at sites is found from some signal on: the least of them is close to it
    score = rows["score"].to_numpy(float)
    least = [score[on_site & (which == own)].min(initial=np.inf) for own in (METAL, CHALCOGEN)]
    lone = on_site & (nearest > ALONE * spacing_px) & (rows["class_id"] >= 0).to_numpy()
    chosen = np.flatnonzero(lone & ~rows["at_edge"].to_numpy())[:MOST_EXAMPLES]
    images = images_around(seen.rest, at[chosen], seen.lattice) / seen.height
    kinds = rows.loc[chosen, ["class_id", "orientation"]].to_numpy().tolist()
    examples = [
        Example((kind[0], kind[1]), int(which[i]), score[i], least[which[i]], image)
        for kind, i, image in zip(kinds, chosen, images, strict=True)
    ]
    return [one for one in examples if np.isfinite(one.image).all()]


def images_of_kinds(
    shown: Sequence[Sequence[Example]], class_ids: Iterable[int] | None = None
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

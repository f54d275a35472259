"""Defects are drawn at free sites of a recorded frame, which is then searched again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.injection.frames import SearchedFrame, recorded_frame, searched_frame
from stemkin.injection.kinds import AT_SITE, DefectImage, Kind
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, sites
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.detection.defect_images import drawn_images, with_drawn
from stemkin.kernels.images.filters import gaussian
from stemkin.kernels.images.interpolation import pixels as read_pixels
from stemkin.movie import Movie

BESIDE = 0.8
"""Over the lattice constant: none is put so near to what was found; the two would be another kind."""

APART = 4.0
"""Over the lattice constant: the distance between any two that are put into a frame."""


@one_thread
def put_into_frame(
    movie: Movie,
    frame: int,
    model: Any,
    images: Mapping[Kind, DefectImage],
    n_per_frame: int | None,
    seed: tuple[int, int],
    crystal: Reference | None,
) -> pd.DataFrame:
    """Put defects into one frame, search it again and return the rows of ``injected``."""
    before = recorded_frame(movie, frame, model, crystal)
    if before is None:
        return tables.empty("injected")
    rows = _drawn_places(before, images, n_per_frame, np.random.default_rng(seed))
    if rows.empty:
        return tables.empty("injected")
    points, lattice = rows[["y", "x"]].to_numpy(), before.lattice
    kinds = list(zip(rows["class_id"].tolist(), rows["orientation"].tolist(), strict=True))
    values = np.stack([images[kind].values for kind in kinds]) * before.height
    drawn = drawn_images(values, points, lattice, before.pixels.shape)
    changed = with_drawn(before.pixels, before.rest, drawn)
    after = searched_frame(changed[None], movie, model, crystal)
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
    seen: SearchedFrame,
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
    return rows.assign(edge_px=edge, surplus=read_pixels(level, taken) / seen.height)


def _distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far (m,) points are from the next of the others (n, 2); infinity without any."""
    if not len(others):
        return np.full(len(points), np.inf)
    return np.asarray(cKDTree(others).query(points)[0])


def _sighting(
    after: SearchedFrame | None, points: np.ndarray, sublattice: np.ndarray, near_px: float
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
        found = np.asarray(far < near_px)
        told["found"] = found
        seen = after.rows.iloc[np.asarray(number)[found]]
        for name, column in (
            ("found_class_id", "class_id"),
            ("found_y", "y"),
            ("found_x", "x"),
            ("position_error", "position_error"),
        ):
            told[name][found] = seen[column]
    return told

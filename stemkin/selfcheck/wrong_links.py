"""How often links take one defect for another: tracks with a known answer are linked again.

Links from site to site alone (`LinkSettings.lattice`) go wrong less often than is found here, where
no lattice is seen.

>>> movies = pd.DataFrame(
...     {"movie": ["m"], "n_frames": 30, "height_px": 300, "width_px": 300}
... ).assign(pixel_size_nm=0.03, frame_time_s=1.0)
>>> still = TrackWorld((0.3,), hop_length_nm=0.3153, sigma_nm=0.01)
>>> moving = TrackWorld((0.3,), hop_rates_per_s=(1.0,), hop_length_nm=0.3153, sigma_nm=0.01)
>>> settings = LinkSettings(max_step_nm=0.7)
>>> wrong_links(still, movies, settings) < 0.01 < wrong_links(moving, movies, settings)
True
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stemkin.linking import MAX_STEP_LATTICES, LinkSettings, link
from stemkin.selfcheck.replicas import rows_expected
from stemkin.simulation.track_tables import MISTAKEN, simulate_tracks
from stemkin.simulation.track_worlds import TrackWorld
from stemkin.tables import Experiment

MOST_ROWS = 20_000
"""Of the first movie, so many are linked again: a tenth of a second."""

PLACES = ["frame", "y", "x"]
"""What a row is known by before it is linked."""


def wrong_links(world: TrackWorld, movies: pd.DataFrame, settings: LinkSettings) -> float:
    """Return the chance per frame that two neighbours are taken for each other. Computes once.

    Neighbours lie within `MISTAKEN` lattice constants, as in `TrackWorld.wrong_links`.

    Parameters
    ----------
    world
        What defects do, and how they are seen.
    movies
        Table ``movies``; the first one is simulated, or its beginning.
    settings
        What makes a link.

    Returns
    -------
    A chance from 0 to 1; 0 where no two defects come near each other.

    Raises
    ------
    ValueError
        If a movie has no calibration.
    """
    rows, experiment = _some_tracks(world, movies)
    near = _neighbours(rows, MISTAKEN * world.hop_length_nm)
    if near == 0:
        return 0.0
    again = link(
        rows.drop(columns="particle"),
        experiment=experiment,
        max_step_nm=settings.max_step_nm or MAX_STEP_LATTICES * world.hop_length_nm,
        max_gap_frames=settings.max_gap_frames,
    ).compute(scheduler="synchronous")
    return min(1.0, _exchanges(rows, again) / near)


def _some_tracks(world: TrackWorld, movies: pd.DataFrame) -> tuple[pd.DataFrame, Experiment]:
    """Simulate the first movie, or as many of its frames as have about `MOST_ROWS`."""
    first = movies.iloc[:1]
    most = max(
        2, int(MOST_ROWS / max(1.0, rows_expected(world, first)) * first["n_frames"].iloc[0])
    )
    tracks = simulate_tracks(world, first.assign(n_frames=first["n_frames"].clip(upper=most)))
    rows = tracks.rows.sort_values(PLACES, ignore_index=True)
    return rows, tracks.experiment


def _neighbours(rows: pd.DataFrame, reach_nm: float) -> int:
    """Count the pairs that lie within `reach_nm` of each other, frame by frame."""
    # frames lie farther apart than any two defects that count
    points = rows[["y_nm", "x_nm"]].to_numpy(float)
    points = np.column_stack([points, rows["frame"].to_numpy(float) * 10 * reach_nm])
    tree = cKDTree(points)
    return int(tree.count_neighbors(tree, reach_nm) - len(points)) // 2


def _exchanges(rows: pd.DataFrame, again: pd.DataFrame) -> float:
    """Return how often two defects were taken for each other: two wrong links each.

    What is seen once is no defect that could be mistaken for another: it was there by chance.
    """
    true = rows["particle"].to_numpy()
    again = again.sort_values(PLACES, ignore_index=True).assign(true=true)
    again = again[pd.Series(true).duplicated(keep=False).to_numpy()]
    again = again.sort_values(["particle", "frame"])
    same_track = again["particle"].eq(again["particle"].shift())
    return float((same_track & again["true"].ne(again["true"].shift())).sum()) / 2

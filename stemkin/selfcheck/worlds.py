"""The world that a run's own numbers describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kinetics import abundances
from stemkin.linking import LinkSettings
from stemkin.selfcheck.replicas import areas_seen, rows_expected
from stemkin.selfcheck.wrong_links import wrong_links
from stemkin.simulation.track_tables import simulate_tracks
from stemkin.simulation.track_worlds import TrackWorld
from stemkin.tables import NOT_NAMED, POOLED

MOST_MEMORY = 0.95
"""Misses of a simulated world go on no longer than this."""
CALIBRATION_REPLICAS = 4
"""So many replicas without losses tell how many tracks end for other reasons."""


@dataclass(frozen=True)
class RunNumbers:
    """What a run found, as far as its world follows from it.

    Attributes
    ----------
    tables
        Name → table: ``diffusion``, ``transitions``, ``abundances``; and ``hidden_transitions``,
        ``name_errors`` where names were corrected.
    movies
        Table ``movies`` of those with a calibration.
    hop_length_nm
        Lattice constant; None where none was seen.
    confusion
        (n, n) chance that class i (row) is named j, for all classes of the model; None where it was
        not measured.
    link
        What made the tracks.
    border_px
        Of the detector.
    """

    tables: Mapping[str, pd.DataFrame]
    movies: pd.DataFrame
    hop_length_nm: float | None = None
    confusion: np.ndarray | None = None
    link: LinkSettings = field(default_factory=partial(LinkSettings, None))
    border_px: float = 0.0

    def pooled(self, name: str) -> pd.DataFrame:
        """Return the rows of a table that pool every movie; none where there is no such table."""
        rows = self.tables.get(name)
        if rows is None:
            rows = pd.DataFrame({"movie": pd.Series([], dtype="str")})
        return rows[rows["movie"] == POOLED]


def world_of_run(run: RunNumbers) -> tuple[TrackWorld, list[int]] | None:
    """Return the world that a run's numbers describe, and the numbers of its classes.

    Computes once: a few replicas tell how many tracks end because their defect is lost.

    Returns
    -------
    None where no class was seen often enough to have a density, or in no area.
    """
    seen = run.pooled("abundances")
    seen = seen[(seen["class_id"] != NOT_NAMED) & (seen["mean_number"] > 0)]
    ids = sorted(int(i) for i in seen["class_id"])
    if not ids or not len(run.movies):
        return None
    seen = seen.set_index("class_id").loc[ids]
    area_nm2 = _mean_area_nm2(run)
    if not area_nm2 > 0:
        return None
    number = seen["corrected_number"].fillna(seen["mean_number"]).to_numpy(float)
    motion, sigma_nm = _motion(run, ids)
    motion = _without_drift(motion, run)
    world = TrackWorld(
        densities_per_nm2=_numbers(number / area_nm2),
        rates_per_s=_rates(run, ids),
        sigma_nm=sigma_nm,
        efficiency=_numbers(seen["efficiency"].fillna(1.0).clip(0.05, 1.0)),
        false_per_nm2=_numbers(seen["false_per_frame"].fillna(0.0) / area_nm2),
        confusion=_confusion(run, ids),
        naming_memory=_naming_memory(run),
        missing_memory=_missing_memory(seen),
        exposure=_exposure(run),
        max_gap_frames=run.link.max_gap_frames,
        border_px=run.border_px,
        **motion,
    )
    if rows_expected(world, run.movies) < 1:
        return None
    world = replace(world, wrong_links=wrong_links(world, run.movies, run.link))
    return _with_losses(world, run, seen), ids


def _mean_area_nm2(run: RunNumbers) -> float:
    """Return the mean area [nm²] in which defects are seen."""
    frames = run.movies["n_frames"].to_numpy(float)
    return float(areas_seen(run.movies, run.border_px) @ frames / frames.sum())


def _motion(run: RunNumbers, ids: Sequence[int]) -> tuple[dict[str, Any], float]:
    """Return how the classes move, in words of `TrackWorld`, and the error of their places [nm].

    A class moves whose D is above 0 by its interval; by hops where hops were
    quoted.
    """
    rows = run.pooled("diffusion")
    hops, D, errors = np.zeros(len(ids)), np.zeros(len(ids)), []
    for place, class_id in enumerate(ids):
        own = rows[rows["class_id"] == class_id] if len(rows) else rows
        own = own[np.isfinite(own["D_nm2_per_s"])] if len(own) else own
        if own.empty:
            continue
        best = _quoted(own)
        if np.isfinite(best["sigma_nm"]) and best["sigma_nm"] > 0:
            errors.append(float(best["sigma_nm"]))
        if not (best["low"] > 0 and best["D_nm2_per_s"] > 0):
            continue
        if best["method"] == "hop" and run.hop_length_nm is not None:
            hops[place] = 4 * float(best["D_nm2_per_s"]) / run.hop_length_nm**2
        else:
            D[place] = float(best["D_nm2_per_s"])
    words: dict[str, Any] = {"hop_rates_per_s": _numbers(hops), "D_nm2_per_s": _numbers(D)}
    if run.hop_length_nm is not None:
        words["hop_length_nm"] = run.hop_length_nm
    if not errors:
        errors = [float(run.movies["pixel_size_nm"].median())]
    return words, float(np.median(errors))


def _without_drift(motion: Mapping[str, Any], run: RunNumbers) -> dict[str, Any]:
    """Return how classes move, with what all of them share as a drift of the movie.

    In a crystal in which some classes hop, others stand on their sites: where none of them rests,
    the slowest tells how far all of them wander together, a drift that was not taken out.
    """
    D, hops = (np.array(motion[name]) for name in ("D_nm2_per_s", "hop_rates_per_s"))
    standing = (D > 0) & (hops == 0)
    if run.hop_length_nm is None or not standing.any() or not ((D > 0) | (hops > 0)).all():
        return dict(motion)
    shared = float(D[standing].min())
    if not (hops > 0).any() or run.hop_length_nm**2 / 4 * float(hops[hops > 0].min()) < shared:
        return dict(motion)
    step_nm = float(np.sqrt(2 * shared * run.movies["frame_time_s"].mean()))
    left = _numbers(np.maximum(D - shared, 0.0))
    return {**motion, "D_nm2_per_s": left, "drift_step_nm": step_nm}


def _quoted(own: pd.DataFrame) -> pd.Series:
    """Return the row of ``diffusion`` of a class that the run recommends, or else that of hops."""
    for wanted in (own.get("recommended"), own["method"] == "hop"):
        if wanted is not None and wanted.astype(bool).any():
            return own[wanted.astype(bool)].iloc[0]
    return own.iloc[0]


def _exposure(run: RunNumbers) -> float:
    """Return the share of the frame time that frames integrate over, 0 where it is not known."""
    given = run.movies.get("exposure_fraction")
    if given is None or given.isna().all():
        return 0.0
    return float(given.fillna(0.0).mean())


def _rates(run: RunNumbers, ids: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Return the rates from class to class, with naming errors taken out where the run did so."""
    rates = np.zeros((len(ids), len(ids)))
    place = {class_id: i for i, class_id in enumerate(ids)}
    for name in ("transitions", "hidden_transitions"):
        rows = run.pooled(name)
        if rows.empty:
            continue
        rows = rows[rows["lag_frames"] == rows["lag_frames"].min()]
        for i, j, rate in zip(rows["from_id"], rows["to_id"], rows["rate_per_s"], strict=True):
            if i != j and i in place and j in place and np.isfinite(rate):
                rates[place[i], place[j]] = max(0.0, float(rate))
    return tuple(_numbers(row) for row in rates)


def _confusion(run: RunNumbers, ids: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Return how often names are wrong among the classes that were seen.

    Where the model did not measure it, as often as the run's own tracks say (``name_errors``),
    each wrong name as likely as the next.
    """
    k = len(ids)
    if k < 2:
        return ()
    if run.confusion is not None and max(ids) < len(run.confusion):
        own = run.confusion[np.ix_(ids, ids)]
        return tuple(_numbers(row) for row in own / own.sum(axis=1, keepdims=True))
    tested = run.pooled("name_errors")
    if tested.empty or not tested["wrong_share"].iloc[0] > 0:
        return ()
    wrong = min(float(tested["wrong_share"].iloc[0]), 0.5)
    even = np.full((k, k), wrong / (k - 1))
    np.fill_diagonal(even, 1 - wrong)
    return tuple(_numbers(row) for row in even)


def _naming_memory(run: RunNumbers) -> float:
    """Return the chance that a wrong name is kept in the next frame, where that was found."""
    tested = run.pooled("name_errors")
    if tested.empty or not tested["kept_low"].iloc[0] > 0:
        return 0.0
    return float(np.clip(tested["kept"].iloc[0], 0.0, 1.0))


def _missing_memory(seen: pd.DataFrame) -> float:
    """Return the chance that a defect is seen or missed as before, by how often it is missed again.

    That is its mean over the classes, as often as each of them was missed.
    """
    if "missed_again" not in seen.columns:
        return 0.0
    missed = (1 - seen["efficiency"]) * seen["mean_number"]
    known = seen["missed_again"].notna() & (missed > 0)
    if not known.any():
        return 0.0
    # P(missed | missed) = m + (1 - m) (1 - e)
    seen, missed = seen[known], missed[known]
    memory = (seen["missed_again"] - (1 - seen["efficiency"])) / seen["efficiency"]
    return float(np.clip((memory * missed).sum() / missed.sum(), 0.0, MOST_MEMORY))


def _with_losses(world: TrackWorld, run: RunNumbers, seen: pd.DataFrame) -> TrackWorld:
    """Return the world in which as many tracks end as in the run.

    Tracks end at borders, at gaps, by changes of name and at the movie's end: what the world
    without losses has. The others that the run has are defects lost on the way.
    """
    few = run.movies.iloc[:CALIBRATION_REPLICAS]
    n_replicas = -(-CALIBRATION_REPLICAS // len(few))
    tracks = simulate_tracks(world, few, n_replicas=n_replicas, seed=0)
    without = abundances(tracks.rows, by="pooled", experiment=tracks.experiment)
    scale = run.movies["n_frames"].sum() / (few["n_frames"].sum() * n_replicas)
    more = float(seen["n_tracks"].sum() - without["n_tracks"].sum() * scale)
    time_s = float((run.movies["n_frames"] * run.movies["frame_time_s"]).sum())
    at_risk_s = float(seen["mean_number"].sum()) * time_s
    if more <= 0 or at_risk_s <= 0:
        return world
    slowest = 1 / float(run.movies["frame_time_s"].max())
    rate = min(more / at_risk_s, slowest)
    return replace(world, loss_rates_per_s=(rate,) * world.n_classes)


def _numbers(values: object) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(values, dtype=float))

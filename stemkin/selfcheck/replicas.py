"""The experiment done again and again as tables, and the estimators asked each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import pandas as pd

from stemkin.blas import on_one_thread
from stemkin.diffusion import fit_diffusion
from stemkin.kernels.chains.generator import Prior
from stemkin.kinetics import abundances, hidden_transitions, transitions
from stemkin.kinetics.hidden_states import Errors
from stemkin.rows.passes import answers
from stemkin.selfcheck.verdicts import judged_estimates
from stemkin.simulation.track_tables import SimulatedTracks, simulate_tracks
from stemkin.simulation.track_worlds import TrackWorld
from stemkin.tables import empty

ROWS_OF_A_TASK = 60_000
"""A task simulates as many replicas as have about so many rows together: some seconds, some ten
MiB."""
MOST_ROWS = 1_000_000
"""Of all replicas together. A larger experiment is done less often, down to `FEWEST_RUNS`; of one
that is larger still each replica holds a part, as `share` says."""
FEWEST_RUNS = 60
"""Coverage is then known to about 3 %."""
CORRECTED_EVERY = 40
"""Names are corrected in one replica of so many: each costs as much as some ten others."""
FEWEST_CHANGES = 3.0
"""A change of class that the whole experiment holds less often than this is not judged."""


@dataclass(frozen=True)
class Asked:
    """What is asked of each replica, in the words of the verbs.

    Attributes
    ----------
    methods
        By which D is estimated; none: D is not asked for.
    hop_length_nm
        What the estimators are told; None where no lattice is known.
    lag_frames, confidence
        Of the transitions, and of all intervals.
    corrected
        Whether names are corrected as well, with the confusion of the world.
    numbers
        Whether mean numbers per frame are asked for.
    prior
        Of the rates.
    """

    methods: tuple[Any, ...] = ("auto",)
    hop_length_nm: float | None = None
    lag_frames: int = 1
    confidence: float = 0.95
    corrected: bool = False
    numbers: bool = False
    prior: Prior = "none"


def self_check(
    world: TrackWorld,
    movies: pd.DataFrame,
    *,
    asked: Asked | None = None,
    n_runs: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Return bias and coverage of every number of an experiment, by doing it again. Computes once.

    Parameters
    ----------
    world
        What defects do, and how they are seen.
    movies
        Table ``movies`` of the experiment.
    asked
        What is estimated; by default D as `fit_diffusion` does, and transitions.
    n_runs
        How many times the experiment is done; one of many rows less often, down to `FEWEST_RUNS`.
    seed
        Equal seeds give equal tables, to the bit, on every scheduler.

    Returns
    -------
    Table ``self_check``. Quantities are ``diffusion`` of the classes that move, ``probability`` and
    ``rate`` of the changes that the experiment holds at least `FEWEST_CHANGES` times,
    ``corrected_rate`` of the same with naming errors taken out, ``number`` per frame.

    Raises
    ------
    ValueError
        If a movie has no calibration, or `n_runs` is negative.

    Notes
    -----
    A parametric bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 6).
    Replicas are simulated and judged in tasks of about a second, on whichever scheduler is active.
    """
    if n_runs < 0:
        msg = f"n_runs must be a number from 0 on, but is {n_runs}"
        raise ValueError(msg)
    asked = asked or Asked()
    n_runs = _affordable(rows_expected(world, movies), n_runs)
    kept, share = _part_of(world, movies, n_runs)
    each = max(1.0, rows_expected(world, kept))
    if n_runs == 0 or not len(kept):
        return empty("self_check")
    per_task = max(1, int(ROWS_OF_A_TASK / each))
    parts = []
    for number, n in enumerate(_pieces(n_runs, per_task)):
        parts.append(dask.delayed(on_one_thread)(_estimates, world, kept, asked, n, (seed, number)))
    n_asked = dict.fromkeys(("diffusion", "probability", "rate", "number"), n_runs)
    if asked.corrected and world.confusion and world.n_classes > 1:
        n_asked["corrected_rate"] = -(-n_runs // CORRECTED_EVERY)
        for number in range(n_asked["corrected_rate"]):
            task = dask.delayed(on_one_thread)(_corrected, world, kept, asked, (seed, number, 1))
            parts.append(task)
    estimates = pd.concat(dask.compute(*parts), ignore_index=True)
    truths = _truths(world, kept, asked, share)
    return judged_estimates(estimates, truths, n_asked=n_asked, share=share)


def rows_expected(world: TrackWorld, movies: pd.DataFrame) -> float:
    """Return about how many rows the tracks of `movies` have."""
    seen = world.per_class("densities_per_nm2") * world.per_class("efficiency", 1.0)
    return float((seen.sum() + world.per_class("false_per_nm2").sum()) * _watched(world, movies))


def _watched(world: TrackWorld, movies: pd.DataFrame) -> float:
    """Return over how much area [nm²] times frames the `movies` watch."""
    return float((areas_seen(movies, world.border_px) * movies["n_frames"].to_numpy(float)).sum())


def areas_seen(movies: pd.DataFrame, border_px: float) -> np.ndarray:
    """Return the (n,) areas [nm²] in which defects are seen; 0 where the border takes all."""
    edges = [movies[c].to_numpy(float) - 1 - 2 * border_px for c in ("height_px", "width_px")]
    pixel = movies["pixel_size_nm"].to_numpy(float)
    return np.asarray(np.clip(edges[0], 0, None) * np.clip(edges[1], 0, None) * pixel**2)


def _affordable(rows: float, n_runs: int) -> int:
    """Return how often an experiment of so many rows is done, where `n_runs` times are asked."""
    return max(min(n_runs, FEWEST_RUNS), min(n_runs, int(MOST_ROWS / max(1.0, rows))))


def _part_of(world: TrackWorld, movies: pd.DataFrame, n_runs: int) -> tuple[pd.DataFrame, float]:
    """Return the movies that each replica holds, shortened if need be, and their share of all.

    Movies at even distances are kept as long as one is left, then the first frames of that one.
    """
    whole = rows_expected(world, movies)
    allowed = MOST_ROWS / max(1, n_runs)
    if whole <= allowed:
        return movies, 1.0
    n = max(1, int(len(movies) * allowed / whole))
    kept = movies.iloc[np.linspace(0, len(movies) - 1, n).round().astype(int)]
    own = rows_expected(world, kept)
    if own > 2 * allowed:
        frames = np.maximum(2, (kept["n_frames"] * allowed / own).astype(int))
        kept = kept.assign(n_frames=frames)
    return kept.reset_index(drop=True), rows_expected(world, kept) / whole


def _pieces(n: int, each: int) -> list[int]:
    """Return `n` in pieces of at most `each`."""
    return [min(each, n - start) for start in range(0, n, each)]


def _moving(world: TrackWorld) -> list[int]:
    """Return the classes that move."""
    return [int(i) for i in np.flatnonzero(world.diffusion_nm2_per_s > 0)]


def _truths(
    world: TrackWorld, movies: pd.DataFrame, asked: Asked, share: float
) -> dict[tuple[Any, ...], float]:
    """Return (quantity, class, other class) → what was put in, of all that is judged."""
    D = world.diffusion_nm2_per_s
    truths: dict[tuple[Any, ...], float] = {("diffusion", i, -1): D[i] for i in _moving(world)}
    Q, times = world.generator, movies["frame_time_s"].to_numpy(float)
    seconds = _watched(world, movies.assign(n_frames=movies["n_frames"] * times)) / share
    P = world.probabilities(asked.lag_frames * times[0])
    often = Q * world.per_class("densities_per_nm2")[:, None] * seconds >= FEWEST_CHANGES
    for i, j in zip(*np.nonzero(often & ~np.eye(world.n_classes, dtype=bool)), strict=True):
        change = (int(i), int(j))
        truths["rate", *change] = truths["corrected_rate", *change] = float(Q[i, j])
        if (times == times[0]).all():
            truths["probability", *change] = float(P[i, j])
    if asked.numbers:
        for i, number in enumerate(_mean_numbers(world, movies)):
            truths["number", i, -1] = float(number)
    return truths


def _mean_numbers(world: TrackWorld, movies: pd.DataFrame) -> np.ndarray:
    """Return the (k,) mean numbers per frame of the defects in the fields of the `movies`.

    A world need not be in balance: classes grow and shrink as their rates say.
    """
    first = world.per_class("densities_per_nm2")
    seen, n_frames = np.zeros(world.n_classes), movies["n_frames"].to_numpy(float)
    columns = zip(
        areas_seen(movies, world.border_px), movies["frame_time_s"], n_frames, strict=True
    )
    for area, tau, frames in columns:
        P, lost = world.probabilities(tau), -np.expm1(-world.per_class("loss_rates_per_s") * tau)
        density = first
        for _ in range(int(frames)):
            seen = seen + area * density
            # who is lost comes anew, in the classes of the beginning
            anew = (density * lost).sum() * first / max(first.sum(), 1e-300)
            density = (density * (1 - lost)) @ P + anew
    return np.asarray(seen / n_frames.sum())


def _estimates(
    world: TrackWorld, movies: pd.DataFrame, asked: Asked, n: int, seed: Sequence[int]
) -> pd.DataFrame:
    """Return what `n` replicas of the experiment say, all but corrected names."""
    tracks = simulate_tracks(world, movies, n_replicas=n, seed=tuple(seed))
    words: dict[str, Any] = {"experiment": tracks.experiment, "by": "replica"}
    words["confidence"] = asked.confidence
    changing: dict[str, Any] = {"lag_frames": asked.lag_frames, "prior": asked.prior}
    questions: list[Any] = [transitions.question(tracks.rows, **changing, **words)]
    moving = _moving(world)
    if moving and asked.methods:
        question = fit_diffusion.question(
            tracks.rows,
            method=list(asked.methods),
            hop_length_nm=asked.hop_length_nm,
            class_ids=moving,
            border_px=world.border_px,
            **words,
        )
        questions.append(question)
    if asked.numbers:
        questions.append(abundances.question(tracks.rows, **words))
    changes, *others = answers(tracks.rows, questions)
    parts = [*_of_changes(changes.table, ("probability", "rate"), "counted")]
    for table in others:
        if "method" in table.columns:
            if tuple(asked.methods) == ("auto",):
                table = table.assign(method="auto")  # whichever each replica chose
            parts.append(_rows(table, "diffusion", ("D_nm2_per_s", "low", "high")))
        else:
            parts.append(_rows(_best_numbers(table), "number", ("number", "low", "high")))
    return pd.concat(parts, ignore_index=True)


def _best_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``abundances`` with the corrected `number`, or that as seen where no gap tells it."""
    known = table["corrected_number"].notna()
    columns: dict[str, Any] = {"method": "tracks"}
    columns["number"] = table["corrected_number"].fillna(table["mean_number"])
    for end in ("low", "high"):
        columns[end] = table[f"corrected_{end}"].where(known, table[end])
    return table.assign(**columns)


def _corrected(
    world: TrackWorld, movies: pd.DataFrame, asked: Asked, seed: Sequence[int]
) -> pd.DataFrame:
    """Return the rates of one replica with naming errors taken out."""
    # a test of whether wrong names last takes several times as long as the fit that it decides on
    errors: Errors = "independent"
    if world.naming_memory > 0:
        errors = "lasting"
    tracks: SimulatedTracks = simulate_tracks(world, movies, seed=tuple(seed))
    found = hidden_transitions(
        tracks.rows,
        confusion=np.array(world.confusion),
        class_ids=list(range(world.n_classes)),
        errors=errors,
        experiment=tracks.experiment,
        confidence=asked.confidence,
    )
    (rates,) = _of_changes(found.table, ("corrected_rate",), "hidden")
    return rates


def _of_changes(table: pd.DataFrame, quantities: Sequence[str], method: str) -> list[pd.DataFrame]:
    """Return the estimates of ``transitions`` between different classes, by quantity."""
    rows = table[table["from_id"] != table["to_id"]].rename(columns={"from_id": "class_id"})
    rows = rows.assign(method=method)
    parts = []
    for quantity in quantities:
        columns = ("rate_per_s", "rate_low", "rate_high")
        if quantity == "probability":
            columns = ("probability", "low", "high")
        parts.append(_rows(rows, quantity, columns))
    return parts


def _rows(table: pd.DataFrame, quantity: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the estimates of one quantity; `columns` are value, low and high."""
    to_id: Any = -1
    if "to_id" in table.columns:
        to_id = table["to_id"].to_numpy()
    estimate, low, high = (table[c].to_numpy(float) for c in columns)
    return pd.DataFrame(
        {
            "quantity": quantity,
            "class_id": table["class_id"].to_numpy(),
            "to_id": to_id,
            "method": table["method"].to_numpy(),
            "estimate": estimate,
            "low": low,
            "high": high,
        }
    )

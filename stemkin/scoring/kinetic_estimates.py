"""Diffusion coefficients, transitions and rates of leaving beside their true values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stemkin.kernels.chains.generator import fit_generator
from stemkin.scoring.truths import Comparison, counting_error, mean_of, simulated, truths_of


def diffusion_estimates(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[Comparison]:
    """Return the rows of ``diffusion`` beside D in closed form, and D from the true hops."""
    rows = []
    for row in found.to_dict("records"):
        kind = names.get(int(row["class_id"]))
        if kind is None:
            continue
        some = truths_of(truths, row["movie"])
        true = mean_of([_diffusion_of(one, kind, "D_nm2_per_s") for one in some])
        counted = mean_of([_diffusion_of(one, kind, "D_counted_nm2_per_s") for one in some])
        n_hops = sum(_diffusion_of(one, kind, "n_hops") for one in some)
        estimate = Comparison(
            quantity="D_nm2_per_s",
            movie=row["movie"],
            what=f"{kind} ({row['method']})",
            true=true,
            found=row["D_nm2_per_s"],
            low=row["low"],
            high=row["high"],
            counted=counted,
            limit=counting_error(true, n_hops),
        )
        rows.append(estimate)
    return rows


def _diffusion_of(truth: Any, kind: str, column: str) -> float:
    """Return a number of the true diffusion of a kind; what does not hop has D = 0."""
    own = truth.diffusion.loc[truth.diffusion["kind"] == kind, column]
    return float(next(iter(own), 0.0))


class TrueRates(NamedTuple):
    """Rates from kind to kind [1/s] in some movies.

    Attributes
    ----------
    kinds
        (k,) names of rows and columns.
    seen
        (k, k) the generator that makes the counts of a perfect observer of the same frames most
        likely.
    everywhere
        (k, k) rates of all that was simulated, in sight or not. They are another truth: how fast a
        dopant takes up a vacancy depends on how many there are around it.
    n_changes
        (k,) changes that the frames show, by the kind before them.
    """

    kinds: list[str]
    seen: np.ndarray
    everywhere: np.ndarray
    n_changes: np.ndarray


def true_rates(truths: list[Any]) -> TrueRates:
    """Return the rates from kind to kind in several movies together; of no kind without a truth."""
    some = simulated(truths)
    if not some:
        return TrueRates([], np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0))
    counts = np.stack([one.transition_counts(1).to_numpy(float) for one in some])
    fit = fit_generator(counts, np.array([one.settings.instrument.frame_time_s for one in some]))
    everywhere = np.mean([one.kind_rates.to_numpy(float) for one in some], axis=0)
    # of each movie's counts all but the diagonal, where nothing has changed
    n_changes = counts.sum(axis=(0, 2)) - np.einsum("mii->i", counts)
    return TrueRates(list(some[0].kinds), fit.rates, everywhere, n_changes)


def true_counts(truths: list[Any], lag_frames: int) -> pd.DataFrame | None:
    """Return the transitions that a perfect observer counts in several movies together."""
    tables = [one.transition_counts(lag_frames) for one in truths]
    if not tables:
        return None
    together: pd.DataFrame = reduce(lambda a, b: a.add(b, fill_value=0), tables)
    return together


def transition_estimates(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[Comparison]:
    """Return probabilities of ``transitions``, and rates at the shortest lag, beside true ones.

    Classes that are named like no true kind are left out.
    """

    @cache
    def counts_of(movie: str, lag_frames: int) -> pd.DataFrame | None:
        return true_counts(truths_of(truths, movie), lag_frames)

    @cache
    def rates_of(movie: str) -> TrueRates:
        return true_rates(truths_of(truths, movie))

    rows: list[Comparison] = []
    for row in found.to_dict("records"):
        start, end = (names.get(int(row[name])) for name in ("from_id", "to_id"))
        counts = counts_of(row["movie"], int(row["lag_frames"]))
        if counts is None or start not in counts.index or end not in counts.columns:
            continue
        if counts.loc[start].sum() == 0:
            continue
        rows.append(_probability_estimate(row, counts, str(start), str(end)))
        rates = rates_of(row["movie"])
        if start != end and int(row["lag_frames"]) == 1 and rates.kinds:
            rows.append(_rate_estimate(row, rates, str(start), str(end)))
    return rows


def _probability_estimate(
    row: dict[Any, Any], counts: pd.DataFrame, start: str, end: str
) -> Comparison:
    own = counts.loc[start].to_numpy(dtype=float)
    n, true = float(own.sum()), float(own[counts.columns.get_loc(end)] / own.sum())
    return Comparison(
        quantity="probability",
        movie=row["movie"],
        what=f"{start} → {end} (lag {row['lag_frames']})",
        true=true,
        found=row["probability"],
        low=row["low"],
        high=row["high"],
        limit=np.sqrt(true * (1 - true) / n),
    )


def _rate_estimate(row: dict[Any, Any], rates: TrueRates, start: str, end: str) -> Comparison:
    at = rates.kinds.index(start), rates.kinds.index(end)
    return Comparison(
        quantity="rate_per_s",
        movie=row["movie"],
        what=f"{start} → {end}",
        true=rates.seen[at],
        found=row["rate_per_s"],
        low=row["rate_low"],
        high=row["rate_high"],
        counted=rates.everywhere[at],
    )


def dwell_time_estimates(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[Comparison]:
    """Return the rates of leaving for another kind beside the true ones.

    What ends (heals, is taken up) leaves no track to count it in, and does not count here either.
    """
    rates_of = cache(lambda movie: true_rates(truths_of(truths, movie)))
    rows: list[Comparison] = []
    for row in found.to_dict("records"):
        kind, rates = names.get(int(row["class_id"])), rates_of(row["movie"])
        if kind not in rates.kinds:
            continue
        i = rates.kinds.index(kind)
        true = -rates.seen[i, i]
        if np.isnan(true):
            continue
        estimate = Comparison(
            quantity="exit_rate_per_s",
            movie=row["movie"],
            what=kind,
            true=true,
            found=row["exit_rate_per_s"],
            low=row["low"],
            high=row["high"],
            counted=np.nansum(rates.everywhere[i]),
            limit=counting_error(true, rates.n_changes[i]),
        )
        rows.append(estimate)
    return rows

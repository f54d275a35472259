"""How D is estimated: each method says what a track adds, and what follows from the total."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from stemkin.diffusion.segments import Segments, unit_sums
from stemkin.kernels.common.exact import N_SLICES, total
from stemkin.kernels.common.hashing import mixed
from stemkin.kernels.common.intervals import variance_interval
from stemkin.kernels.motion import brownian, evidence, hops, known_errors, likelihood
from stemkin.kernels.motion.assumptions import (
    N_COVARIANCE,
    ONE_MOBILITY,
    Covariances,
    covariance_numbers,
)
from stemkin.kernels.motion.covariance import (
    N_SUMS,
    covariance_estimate,
    covariance_interval,
    covariance_sums,
)
from stemkin.kernels.motion.displacement import (
    line_through,
    optimal_lags,
    power_law,
    squared_displacements,
)

Method = Literal["auto", "mle", "cve", "ols", "hop"]
Sigma = float | Literal["position_error"] | None
"""A localisation error [nm]; that of each place by itself, as the tracks state it; or one that is
fitted (None)."""

MAX_LAG = 20
"""Longest lag that least squares looks at."""

N_PARTS = 20
"""Parts of the tracks that are left out in turn, where an error has no formula (jackknife)."""


@dataclass(frozen=True)
class Estimate:
    """One D with its interval, in nm²/s, and the localisation variance in nm².

    `gain` is that of `stemkin.kernels.motion.hops.HopRate`, for hops. `unit` is what the interval
    takes for independent: each "step", or each "track". `is_stated` tells whether the localisation
    error was told, not fitted; `lattice` is the one of hops.
    """

    D: float
    low: float
    high: float
    s2: float
    n_tracks: int
    n_displacements: int
    alpha: float = np.nan
    gain: float = np.inf
    unit: str = "step"
    is_stated: bool = False
    lattice: str = ""

    def reaching(self, other: Estimate) -> Estimate:
        """Return this estimate with an interval that holds that of `other` as well."""
        low, high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        return replace(self, low=float(low), high=float(high))


@dataclass(frozen=True)
class Estimator:
    """A method: from segments to sums, from sums to a number.

    Attributes
    ----------
    add
        Returns the exact sums (n_groups, ...) that segments add, given the (n_units,) group of each
        unit.
    solve
        Returns the estimate from the sums of a group, the frame time [s] and the confidence.
    """

    add: Callable[[Segments, np.ndarray, int], np.ndarray]
    solve: Callable[[np.ndarray, float, float], Estimate]


def estimator(
    method: Method, hop_length_nm: float | None = None, sigma_nm: Sigma = None
) -> Estimator:
    """Return the estimator of `method`; with `sigma_nm` the localisation error of "mle" is known.

    Raises
    ------
    ValueError
        If there is no such method, it needs a hop length that is not given, or `sigma_nm` is not
        positive.
    """
    as_stated = sigma_nm == "position_error"
    if sigma_nm is not None and not as_stated and not _is_length(sigma_nm):
        msg = (
            "sigma_nm must be a positive number of nanometres, 'position_error', or None where it "
            f"is to be fitted, but it is {sigma_nm!r}"
        )
        raise ValueError(msg)
    if method == "hop":
        if hop_length_nm is None or not hop_length_nm > 0:
            msg = (
                "method 'hop' needs the distance between neighbouring sites, but hop_length_nm is "
                f"{hop_length_nm}; for WS2 it is 0.3153"
            )
            raise ValueError(msg)
        length = float(hop_length_nm)
        return Estimator(_HopAdder(length), _HopSolver(length))
    if method == "mle" and as_stated:
        return Estimator(add_stated, solve_stated)
    known_s2 = None
    if sigma_nm is not None and not isinstance(sigma_nm, str):
        known_s2 = sigma_nm**2
    estimators = {
        "mle": Estimator(add_likelihood, partial(solve_likelihood, s2=known_s2)),
        "cve": Estimator(add_covariance, solve_covariance),
        "ols": Estimator(add_squares, solve_squares),
    }
    if method not in estimators:
        msg = f"method must be one of 'auto', 'mle', 'cve', 'ols', 'hop', but it is {method!r}"
        raise ValueError(msg)
    return estimators[method]


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value)) and value > 0


# --- exact likelihood ---------------------------------------------------------------------------


def add_likelihood(segments: Segments, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Return (n_groups, N_NUMBERS, 4) sums of `likelihood_numbers`."""

    def each(part: Segments) -> np.ndarray:
        return likelihood.likelihood_numbers(part.walks)

    return unit_sums(segments, group, n_groups, each, n_numbers=likelihood.N_NUMBERS)


def solve_likelihood(
    sums: np.ndarray, frame_time_s: float, confidence: float, *, s2: float | None = None
) -> Estimate:
    """Return D at the maximum of the likelihood, where `s2` [nm²] is known or fitted too."""
    pooled = evidence.Evidence(total(sums), frame_time_s)
    fit = brownian.most_likely(pooled, confidence=confidence, s2=s2)
    unit = unit_of(pooled.n_units)
    n_units, n, is_stated = round(pooled.n_units), round(pooled.n), s2 is not None
    return Estimate(fit.D, fit.low, fit.high, fit.s2, n_units, n, unit=unit, is_stated=is_stated)


def unit_of(n_units: float) -> str:
    """Return what an interval takes for independent that rests on tracks where they are many."""
    return "track" if n_units >= evidence.MANY_UNITS else "step"


def add_stated(segments: Segments, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Return (n_groups, n, 4) sums of `stated_numbers`, then of `likelihood_numbers`."""

    def each(part: Segments) -> np.ndarray:
        own = known_errors.stated_numbers(part.walks, variance=np.asarray(part.variance))
        return np.concatenate([own, likelihood.likelihood_numbers(part.walks)], axis=1)

    return unit_sums(
        segments, group, n_groups, each, n_numbers=known_errors.N_NUMBERS + likelihood.N_NUMBERS
    )


def solve_stated(sums: np.ndarray, frame_time_s: float, confidence: float) -> Estimate:
    """Return D with the errors that places state; with a fitted one where some state none."""
    own = total(sums[: known_errors.N_NUMBERS])
    if own[3] > 0:
        return solve_likelihood(sums[known_errors.N_NUMBERS :], frame_time_s, confidence)
    fit = known_errors.most_likely_stated(own, frame_time_s, confidence=confidence)
    n_units, n = round(float(own[1])), round(float(own[2]))
    ends, unit = (fit.low, fit.high), unit_of(n_units)
    return Estimate(fit.D, *ends, fit.s2, n_units, n, unit=unit, is_stated=True)


# --- covariance estimator -----------------------------------------------------------------------


def add_covariance(segments: Segments, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Return (n_groups, N_COVARIANCE, 4) sums of `covariance_numbers`."""

    def each(part: Segments) -> np.ndarray:
        return covariance_numbers(covariance_sums(part.walks))

    return unit_sums(segments, group, n_groups, each, n_numbers=N_COVARIANCE)


def solve_covariance(sums: np.ndarray, frame_time_s: float, confidence: float) -> Estimate:
    """Return D of the covariance estimator; where tracks are many their spread is its error."""
    numbers = total(sums)
    own, pooled = numbers[:N_SUMS], Covariances(numbers)
    Dt, s2 = covariance_estimate(own)
    n, squared, n_pairs, product = own[:4]
    units = pooled.n_units
    between = 0.0
    if units > 1 and np.isfinite(Dt):
        # The error of a ratio of sums by its derivatives in them (delta method).
        slope = np.array(
            [-squared / n**2 / 4, 1 / n / 4, -product / n_pairs**2 / 2, 1 / n_pairs / 2]
        )
        between = pooled.variance_of(slope)
    # Few tracks that differ in mobility tell their mean no better than their spread says.
    if units >= evidence.MANY_UNITS or ONE_MOBILITY in pooled.violated():
        low, high = variance_interval(
            Dt, float(np.sqrt(between)), confidence=confidence, freedom=units - 1
        )
    else:
        low, high = covariance_interval(own, between=between, n_units=units, confidence=confidence)
    t = frame_time_s
    n = round(float(own[6]))
    return Estimate(Dt / t, low / t, high / t, s2, round(units), n, unit=unit_of(units))


# --- least squares of the MSD -------------------------------------------------------------------


def add_squares(segments: Segments, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Return (n_groups, N_PARTS, 2 MAX_LAG + 2, 4) sums of what least squares need.

    For each part of the particles: n and squares of each lag, number of units and of their rows.
    """
    part_of = (mixed(segments.particle) % np.uint64(N_PARTS)).astype(np.int64)

    def each(part: Segments) -> np.ndarray:
        n, squared, _ = squared_displacements(part.walks, max_lag=MAX_LAG)
        length = np.bincount(part.unit, minlength=part.n_units) * (n[:, 0] > 0)
        return np.column_stack([n, squared, n[:, 0] > 0, length])

    sums = unit_sums(
        segments, group * N_PARTS + part_of, n_groups * N_PARTS, each, n_numbers=2 * MAX_LAG + 2
    )
    return sums.reshape(n_groups, N_PARTS, 2 * MAX_LAG + 2, N_SLICES)


def solve_squares(sums: np.ndarray, frame_time_s: float, confidence: float) -> Estimate:
    """Return D from a line through the optimal number of MSD points, and the anomalous exponent."""
    parts = total(sums)
    whole = parts.sum(axis=0)
    units, n_steps = round(float(whole[-2])), round(float(whole[0]))
    D, s2 = _line(whole)
    used = parts[parts[:, -2] > 0]
    if len(used) < N_PARTS // 2 or not np.isfinite(D):
        return Estimate(D / frame_time_s, np.nan, np.nan, s2, units, n_steps, exponent(whole))
    left_out = np.array([_line(whole - part)[0] for part in used])
    k = len(used)
    error = float(np.sqrt((k - 1) / k * ((left_out - left_out.mean()) ** 2).sum()))
    low, high = variance_interval(D, error, confidence=confidence, freedom=k - 1)
    t = frame_time_s
    alpha = exponent(whole)
    return Estimate(D / t, low / t, high / t, s2, units, n_steps, alpha, unit="track")


def _line(numbers: np.ndarray) -> tuple[float, float]:
    """Return D t and s² from one total of `add_squares`."""
    n, squared, units = numbers[:MAX_LAG], numbers[MAX_LAG:-2], numbers[-2]
    usable = int((np.cumsum(n <= 0) == 0).sum())
    if usable < 2:
        return np.nan, np.nan
    msd = squared[:usable] / n[:usable]
    n_lags, D, s2 = 2, np.nan, np.nan
    for _ in range(10):
        slope, intercept = line_through(msd, n_lags)
        D, s2 = slope / 4, intercept / 4
        x = np.inf
        if D > 0:
            x = max(s2, 0.0) / D
        wanted = min(optimal_lags(x, float(numbers[-1] / units)), usable)
        if wanted == n_lags:
            break
        n_lags = wanted
    return D, s2


def exponent(numbers: np.ndarray) -> float:
    """Return the anomalous exponent from one total of `add_squares`.

    From the lags up to a quarter of the mean length of a track.
    """
    n, squared, units = numbers[:MAX_LAG], numbers[MAX_LAG:-2], numbers[-2]
    usable = int((np.cumsum(n <= 0) == 0).sum())
    if units <= 0 or usable < 4:
        return np.nan
    k = min(max(4, int(numbers[-1] / units / 4)), usable)
    msd = squared[:k] / n[:k]
    if not (msd > 0).all():
        return np.nan
    return power_law(msd, n[:k] / np.arange(1, k + 1) / msd**2)[0]


# --- hops ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _HopAdder:
    length_nm: float

    def __call__(self, segments: Segments, group: np.ndarray, n_groups: int) -> np.ndarray:
        return hops.hop_numbers(segments.walks, group, n_groups=n_groups, hop_length=self.length_nm)


@dataclass(frozen=True)
class _HopSolver:
    length_nm: float

    def __call__(self, sums: np.ndarray, frame_time_s: float, confidence: float) -> Estimate:
        fit = hops.most_likely_rate(sums, confidence=confidence)
        return hop_estimate(fit, self.length_nm, frame_time_s)


def hop_estimate(fit: hops.HopRate, hop_length_nm: float, frame_time_s: float) -> Estimate:
    """Return D = a² Gamma / 4 of a hop rate, a being the hop length."""
    scale = hop_length_nm**2 / 4 / frame_time_s
    unit = "step"
    if fit.at_random > 1:
        unit = "track"
    return Estimate(
        fit.rate * scale,
        fit.low * scale,
        fit.high * scale,
        (fit.s * hop_length_nm) ** 2,
        fit.n_units,
        fit.n,
        gain=fit.gain,
        unit=unit,
        lattice=fit.lattice,
    )

r"""Comparison between movies: does D differ with dose or temperature, and by which energy?

Every movie has its own D with its own error, and movies differ by more than that (thickness,
strain, drift). So the error of a group is taken from the spread *between* its movies, in the
logarithm of D,

    ln D_k = mu + b_k + e_k,        b_k ~ N(0, tau²), e_k ~ N(0, s_k²),

with s_k from the interval of movie k and tau² from the scatter (DerSimonian & Laird, Control. Clin.
Trials 7, 177 (1986)). With temperatures, ``ln D = ln D0 - E / kT`` is fitted likewise, which gives
the activation energy E and the attempt D0.

>>> T = {"a": 300.0, "b": 330.0, "c": 370.0, "d": 420.0}
>>> D = [float(np.exp(3 - 0.5 / (BOLTZMANN_EV_PER_K * t))) for t in T.values()]
>>> rows = pd.DataFrame({"movie": list(T), "class_id": 0, "method": "mle", "D_nm2_per_s": D})
>>> found = arrhenius(rows.assign(low=rows["D_nm2_per_s"] * 0.9, high=rows["D_nm2_per_s"] * 1.11), temperature_k=T)
>>> found["E_ev"].round(6).tolist()
[0.5]
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.blas import one_thread
from stemkin.tables import POOLED, check_columns
from stemkin.vocabulary import checked

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""CODATA 2018."""

KEYS = ["class_id", "method"]


@one_thread
@checked
def compare_diffusion(
    diffusion: pd.DataFrame, groups: Mapping[str, Hashable], *, confidence: float = 0.95
) -> pd.DataFrame:
    """Return D of groups of movies, and how it differs from that of the first group. Computes once.

    Parameters
    ----------
    diffusion
        Table ``diffusion`` with rows of single movies; rows "*" and movies that are in no group are
        left out.
    groups
        Movie → group: a dose, a temperature, a name. Groups are sorted.
    confidence
        Of the intervals in `diffusion`, and of those that are returned.

    Returns
    -------
    Per class, method and group: `n_movies`, `D_nm2_per_s`, `low`, `high`, `scatter` (tau: sd of ln
    D between movies beyond their own errors); and against the first group `ratio`, `ratio_low`,
    `ratio_high` and `p_value` (that they are equal; two-sided). With a single movie in a group its
    own error stands for the group's.

    Raises
    ------
    ValueError
        If a column is missing, or no movie of the table is in a group.
    """
    rows = _of_movies(diffusion, confidence)
    known = rows[rows["movie"].isin(list(groups))].assign(
        group=lambda r: r["movie"].map(dict(groups))
    )
    if known.empty:
        msg = (
            f"no movie of the table is in a group; it has {rows['movie'].unique().tolist()[:5]}, "
            f"groups are of {list(groups)[:5]}"
        )
        raise ValueError(msg)
    found = []
    for (class_id, method), own in known.groupby(KEYS, sort=True):
        first: tuple[float, float, float] | None = None
        for group, part in own.groupby("group", sort=True):
            mean, error, freedom, tau = _pooled(part["ln_D"].to_numpy(), part["error"].to_numpy())
            first = first or (mean, error, freedom)
            low, high = _interval(mean, error, freedom, confidence)
            row = {
                "class_id": class_id,
                "method": method,
                "group": group,
                "n_movies": len(part),
                "D_nm2_per_s": np.exp(mean),
                "low": np.exp(low),
                "high": np.exp(high),
                "scatter": tau,
            }
            ratio = _against(mean - first[0], error, first[1], freedom, first[2], confidence)
            found.append(row | ratio)
    return pd.DataFrame(found)


@one_thread
@checked
def arrhenius(
    diffusion: pd.DataFrame, *, temperature_k: Mapping[str, float], confidence: float = 0.95
) -> pd.DataFrame:
    """Fit ``D = D0 exp(-E / kT)`` to the movies of a table. Computes once.

    Parameters
    ----------
    diffusion
        Table ``diffusion`` with rows of single movies.
    temperature_k
        Movie → temperature [K]; movies without one are left out.
    confidence
        Of the intervals in `diffusion`, and of those that are returned.

    Returns
    -------
    Per class and method: `n_movies`, `E_ev` with `E_low`, `E_high`; `D0_nm2_per_s` with `D0_low`,
    `D0_high`; `scatter` (sd of ln D around the line beyond the movies' own errors) and `p_value` of
    the line (chi² of the movies' own errors). NaN with fewer than three movies, or one temperature.

    Raises
    ------
    ValueError
        If a column is missing, or a temperature is not positive.
    """
    if bad := {movie: t for movie, t in temperature_k.items() if not t > 0}:
        msg = (
            f"temperatures are in kelvin and above 0, but of {next(iter(bad))!r} it is "
            f"{next(iter(bad.values()))}"
        )
        raise ValueError(msg)
    rows = _of_movies(diffusion, confidence)
    rows = rows[rows["movie"].isin(list(temperature_k))]
    found = []
    for (class_id, method), own in rows.groupby(KEYS, sort=True):
        kT = BOLTZMANN_EV_PER_K * own["movie"].map(dict(temperature_k)).to_numpy(float)
        fit = _line(-1 / kT, own["ln_D"].to_numpy(), own["error"].to_numpy(), confidence)
        found.append({"class_id": class_id, "method": method, "n_movies": len(own), **fit})
    columns = [
        *KEYS,
        "n_movies",
        "E_ev",
        "E_low",
        "E_high",
        "D0_nm2_per_s",
        "D0_low",
        "D0_high",
        "scatter",
        "p_value",
    ]
    return pd.DataFrame(found, columns=columns)


def _of_movies(diffusion: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the rows of single movies whose D is positive, with `ln_D` and its `error`."""
    check_columns(
        diffusion, "diffusion", needed=("movie", "class_id", "method", "D_nm2_per_s", "low", "high")
    )
    D, low, high = (diffusion[c].to_numpy(float) for c in ("D_nm2_per_s", "low", "high"))
    usable = (
        (diffusion["movie"] != POOLED).to_numpy()
        & (D > 0)
        & np.isfinite(low)
        & np.isfinite(high)
        & (high > low)
    )
    D, low, high = D[usable], low[usable], high[usable]
    reach = -special.ndtri((1 - confidence) / 2)
    # where the interval holds 0, only its upper end tells the error
    down = np.log(D / np.maximum(low, D * 1e-3))
    error = np.where(low > 0, (np.log(high / D) + down) / 2, np.log(high / D)) / reach
    return pd.DataFrame(diffusion[usable]).assign(ln_D=np.log(D), error=np.maximum(error, 1e-9))


def _pooled(values: np.ndarray, errors: np.ndarray) -> tuple[float, float, float, float]:
    """Return mean, its error, the degrees of freedom of that, and tau."""
    mean, tau = _with_scatter(np.ones((len(values), 1)), values, errors)
    weight = 1 / (errors**2 + tau**2)
    if len(values) == 1:
        return float(mean[0]), float(errors[0]), np.inf, 0.0
    # the spread of the movies around their mean says how well it is known (Hartung & Knapp, Stat.
    # Med. 20, 3875 (2001))
    spread = float((weight * (values - mean[0]) ** 2).sum() / (len(values) - 1))
    return float(mean[0]), float(np.sqrt(spread / weight.sum())), float(len(values) - 1), tau


def _with_scatter(
    design: np.ndarray, values: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the weighted least-squares solution, and tau by the method of moments."""
    weight = 1 / errors**2
    freedom = len(values) - design.shape[1]
    normal = design.T @ (weight[:, None] * design)
    rest = values - design @ np.linalg.solve(normal, design.T @ (weight * values))
    excess = float((weight * rest**2).sum()) - freedom
    inner = float(
        weight.sum() - np.trace(np.linalg.solve(normal, design.T @ (weight[:, None] ** 2 * design)))
    )
    tau = 0.0
    if freedom > 0 and inner > 0:
        tau = float(np.sqrt(max(excess / inner, 0.0)))
    weight = 1 / (errors**2 + tau**2)
    return np.linalg.solve(design.T @ (weight[:, None] * design), design.T @ (weight * values)), tau


def _line(x: np.ndarray, y: np.ndarray, errors: np.ndarray, confidence: float) -> dict[str, float]:
    """Return slope E and intercept ln D0 with their intervals."""
    if len(x) < 3 or np.ptp(x) < 1e-12:
        return {}
    centre = x.mean()  # temperatures span little: the intercept is far outside
    design = np.stack([np.ones(len(x)), x - centre], axis=1)
    (level, slope), tau = _with_scatter(design, y, errors)
    weight = 1 / (errors**2 + tau**2)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    rest = y - design @ np.array([level, slope])
    freedom = len(x) - 2
    inverse = inverse * float((weight * rest**2).sum() / freedom)
    plain = y - design @ np.linalg.solve(
        design.T @ (design / errors[:, None] ** 2), design.T @ (y / errors**2)
    )
    at_zero = np.array([1.0, -centre])
    low, high = _interval(slope, float(np.sqrt(inverse[1, 1])), freedom, confidence)
    ln_D0 = level - slope * centre
    ln_low, ln_high = _interval(
        ln_D0, float(np.sqrt(at_zero @ inverse @ at_zero)), freedom, confidence
    )
    return {
        "E_ev": float(slope),
        "E_low": low,
        "E_high": high,
        "D0_nm2_per_s": float(np.exp(ln_D0)),
        "D0_low": float(np.exp(ln_low)),
        "D0_high": float(np.exp(ln_high)),
        "scatter": tau,
        "p_value": float(special.chdtrc(freedom, float((plain**2 / errors**2).sum()))),
    }


def _interval(value: float, error: float, freedom: float, confidence: float) -> tuple[float, float]:
    """Return the interval of a value by Student's t; with infinite `freedom` by the normal law."""
    tail = (1 - confidence) / 2
    reach = _student_reach(tail, freedom)
    return float(value - reach * error), float(value + reach * error)


def _student_reach(tail: float, freedom: float) -> float:
    """Return how many errors away a probability `tail` lies beyond, on either side."""
    if np.isinf(freedom):
        return float(-special.ndtri(tail))
    return float(-special.stdtrit(freedom, tail))


def _student_tail(z: float, freedom: float) -> float:
    """Return the probability that lies beyond `z` errors, on one side."""
    if np.isinf(freedom):
        return float(special.ndtr(-z))
    return float(special.stdtr(freedom, -z))


def _against(
    difference: float,
    error: float,
    first_error: float,
    freedom: float,
    first_freedom: float,
    confidence: float,
) -> dict[str, Any]:
    """Return the ratio to the first group with its interval, and the p-value (Welch's test)."""
    if difference == 0.0:
        return {"ratio": 1.0, "ratio_low": np.nan, "ratio_high": np.nan, "p_value": np.nan}
    both = float(np.hypot(error, first_error))
    together = np.inf
    if np.isfinite([freedom, first_freedom]).any():
        together = both**4 / (error**4 / freedom + first_error**4 / first_freedom)
    low, high = _interval(difference, both, together, confidence)
    z = abs(difference) / both
    p = 2 * _student_tail(z, together)
    return {
        "ratio": float(np.exp(difference)),
        "ratio_low": float(np.exp(low)),
        "ratio_high": float(np.exp(high)),
        "p_value": p,
    }

"""The diffusion coefficient, by several methods, with its interval."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from stemkin.diffusion.methods import Estimate, Method, Recipe, recipe
from stemkin.diffusion.stays import ClassOf, chosen_classes, stays_of
from stemkin.kernels.displacement import excess_kurtosis
from stemkin.kernels.exact import total
from stemkin.kernels.intervals import variance_interval
from stemkin.tables import POOLED, Experiment, conform, empty
from stemkin.trajectories import Sums, frame_times, sum_over

By = Literal["pooled", "movie"]

FEWEST_DISPLACEMENTS = 3
"""Fewer cannot tell D from the localisation error, and any interval would be without end."""

NOT_GAUSSIAN = 0.01
"""Below this probability displacements are not taken for Gaussian."""


def fit_diffusion(
    tracks: Any,
    *,
    class_name: str | None = None,
    class_id: int | None = None,
    method: Method = "mle",
    hop_length_nm: float | None = None,
    class_of: ClassOf = "rows",
    by: By = "movie",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the diffusion coefficient of each class, with its interval. Computes once: one pass over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas, or Dask whose partitions hold whole tracks).
    class_name, class_id
        One class only; by default all.
    method
        ``"mle"``: exact Gaussian likelihood of whole tracks, gaps and localisation error included; as good as can be for
        Brownian motion, and its interval stays honest for other motion.
        ``"hop"``: hops to the six neighbours on a triangular lattice, ``D = a² Gamma / 4``; as good as can be where
        motion is hops, meaningless where it is not.
        ``"cve"``: covariance estimator; in closed form, unbiased, may be negative where nothing moves.
        ``"ols"``: straight line through the optimal number of MSD points; for comparison, and for `alpha`.
        ``"auto"``: per class "hop" where displacements are not Gaussian and `hop_length_nm` is given, else "mle".
    hop_length_nm
        Distance between neighbouring sites, for "hop".
    class_of
        ``"rows"``: a displacement counts for a class when the particle had it all the way; ``"track"``: a whole track
        counts for the class that it has most often; ``"all"``: classes are not told apart (class_id -1).
    by
        ``"movie"`` for each movie and all together ("*"); ``"pooled"`` for "*" only.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    confidence
        Of the interval. It rests on the spread between tracks, with fewer than 20 tracks on that between steps.

    Returns
    -------
    Table ``diffusion``. `alpha` is the anomalous exponent where the method tells it ("ols"), NaN elsewhere. Movies with
    one frame time are pooled track by track; movies with different ones as a mean weighted by the inverse variance.

    Particles that leave the field take their long steps with them: in a small field D is biased low, roughly by the
    share of steps that cross its border. No correction is made.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, a frame time or the hop length is not known.
    """
    words: dict[str, Any] = {
        "class_of": class_of, "by": by, "experiment": experiment, "frame_time_s": frame_time_s, "confidence": confidence,
        "class_ids": chosen_classes(tracks, experiment, class_name, class_id),
    }  # fmt: skip
    if method != "auto":
        return _fit(tracks, method, recipe(method, hop_length_nm), **words)
    brownian = _fit(tracks, "mle", recipe("mle"), **words)
    if hop_length_nm is None or brownian.empty:
        return brownian
    hopping = _fit(tracks, "hop", recipe("hop", hop_length_nm), **words)
    shape = gaussianity(tracks, class_of=class_of, by=by, experiment=experiment, frame_time_s=frame_time_s)
    odd = pd.MultiIndex.from_frame(shape.loc[~shape["gaussian"].astype(bool), ["movie", "class_id"]])
    spread, hopped = (pd.MultiIndex.from_frame(rows[["movie", "class_id"]]) for rows in (brownian, hopping))
    by_hops = spread.isin(odd) & spread.isin(hopped)
    rows = pd.concat([brownian[~by_hops], hopping[hopped.isin(spread[by_hops])]])
    return conform(rows.sort_values(["movie", "class_id"], kind="stable"), "diffusion")


def gaussianity(
    tracks: Any,
    *,
    class_of: ClassOf = "rows",
    by: By = "movie",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
) -> pd.DataFrame:
    """Test whether displacements of one frame are Gaussian, as Brownian motion has them. Computes once.

    Parameters
    ----------
    tracks, class_of, by, experiment, frame_time_s
        As for `fit_diffusion`.

    Returns
    -------
    Columns `movie`, `class_id`, `n` displacements, `excess` (``<d⁴>/2<d²>² - 1``: 0 if Gaussian, about 1/(2 Gamma t) for
    hops), `std_error` (of a Gaussian's), `p_value` (one-sided) and `gaussian`. Tracks that move with different D also
    have an excess.
    """
    time_of = frame_times(tracks, experiment, frame_time_s)
    add = recipe("cve").add
    sums = sum_over(tracks, partial(add_estimate, add=add, class_of=class_of, class_ids=None))
    pooled: dict[int, np.ndarray] = {}
    rows = []
    for (movie, number), vector in sorted(sums.items()):
        time_of(movie)
        if by == "movie":
            rows.append(_shape(movie, number, total(vector)))
        pooled[number] = pooled[number] + vector if number in pooled else vector
    rows += [_shape(POOLED, number, total(vector)) for number, vector in pooled.items()]
    columns = ["movie", "class_id", "n", "excess", "std_error", "p_value", "gaussian"]
    return pd.DataFrame(rows, columns=columns).sort_values(["movie", "class_id"], ignore_index=True)


def _shape(movie: str, class_id: int, numbers: np.ndarray) -> dict[str, Any]:
    excess, error = excess_kurtosis(numbers[:6])
    p = float(special.ndtr(-excess / error)) if error > 0 else np.nan
    return {
        "movie": movie, "class_id": class_id, "n": round(float(numbers[0])), "excess": excess, "std_error": error,
        "p_value": p, "gaussian": not p < NOT_GAUSSIAN,
    }  # fmt: skip


def add_estimate(rows: pd.DataFrame, *, add: Any, class_of: ClassOf, class_ids: tuple[int, ...] | None) -> Sums:
    """Return movie, class → what the `rows` of whole tracks add to an estimate. Computes once."""
    stays = stays_of(rows, class_of=class_of, class_ids=class_ids)
    keys, group = stays.groups()
    sums = add(stays, group, len(keys))
    return {key: sums[i] for i, key in enumerate(keys)}


def _fit(
    tracks: Any,
    method: str,
    how: Recipe,
    *,
    class_ids: tuple[int, ...] | None,
    class_of: ClassOf,
    by: By,
    experiment: Experiment | None,
    frame_time_s: float | None,
    confidence: float,
) -> pd.DataFrame:
    time_of = frame_times(tracks, experiment, frame_time_s)
    sums = sum_over(tracks, partial(add_estimate, add=how.add, class_of=class_of, class_ids=class_ids))
    rows = []
    pooled: dict[int, dict[float, np.ndarray]] = {}
    for (movie, number), vector in sorted(sums.items()):
        seconds = time_of(movie)
        if by == "movie":
            rows.append(_row(movie, number, method, how.solve(vector, seconds, confidence)))
        own = pooled.setdefault(number, {})
        own[seconds] = own[seconds] + vector if seconds in own else vector
    for number, parts in sorted(pooled.items()):
        estimates = [how.solve(vector, seconds, confidence) for seconds, vector in parts.items()]
        rows.append(_row(POOLED, number, method, merged(estimates, confidence)))
    return conform(pd.DataFrame(rows), "diffusion") if rows else empty("diffusion")


def merged(estimates: list[Estimate], confidence: float) -> Estimate:
    """Return the mean of independent estimates, weighted by their inverse variance (from the width of the intervals)."""
    known = [e for e in estimates if np.isfinite([e.D, e.low, e.high]).all()]
    if len(estimates) == 1 or not known:
        return estimates[0]
    width = 2 * -special.ndtri((1 - confidence) / 2)
    errors = np.array([max((e.high - e.low) / width, 1e-300) for e in known])
    weight = errors**-2 / (errors**-2).sum()
    D, s2 = (float(weight @ [getattr(e, name) for e in known]) for name in ("D", "s2"))
    low, high = variance_interval(D, float((errors**-2).sum() ** -0.5), confidence=confidence)
    n_tracks, n = (sum(getattr(e, name) for e in estimates) for name in ("n_tracks", "n_displacements"))
    return Estimate(D, low, high, s2, n_tracks, n)


def _row(movie: str, class_id: int, method: str, e: Estimate) -> dict[str, Any]:
    if e.n_displacements < FEWEST_DISPLACEMENTS:
        nothing = float("nan")
        e = Estimate(nothing, nothing, nothing, nothing, e.n_tracks, e.n_displacements)
    sigma = np.nan if np.isnan(e.s2) else np.sqrt(max(e.s2, 0.0))
    return {
        "movie": movie, "class_id": class_id, "method": method, "D_nm2_per_s": e.D, "low": e.low, "high": e.high,
        "sigma_nm": sigma, "alpha": e.alpha, "n_tracks": e.n_tracks, "n_displacements": e.n_displacements,
    }  # fmt: skip

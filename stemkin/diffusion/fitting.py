"""The diffusion coefficient, by several methods, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.blas import one_thread
from stemkin.diffusion.choice import By, Choice, ClassOf, check_words
from stemkin.diffusion.methods import Estimate, Method, Recipe, Sigma, recipe
from stemkin.diffusion.stays import stays_of
from stemkin.kernels.common.exact import total
from stemkin.kernels.common.intervals import variance_interval
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.kernels.motion.covariance import excess_kurtosis
from stemkin.rows.tracks import Sums, frame_times, sum_over
from stemkin.tables import POOLED, Experiment, conform, empty

FEWEST_DISPLACEMENTS = 3
"""Fewer cannot tell D from the localisation error, and any interval would be without end."""

NOT_GAUSSIAN = 0.01
"""Below this probability displacements are not taken for Gaussian."""


@one_thread
def fit_diffusion(
    tracks: Any,
    *,
    class_name: str | None = None,
    class_id: int | None = None,
    method: Method | Sequence[Method] = "mle",
    hop_length_nm: float | None = None,
    sigma_nm: Sigma = None,
    class_of: ClassOf = "rows",
    by: By = "movie",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the diffusion coefficient of each class, with its interval. Computes once: one pass
    over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas, or Dask whose partitions hold whole tracks).
    class_name, class_id
        One class only; by default all.
    method
        One, or several (then each class has a row for each).
        ``"mle"``: exact Gaussian likelihood of whole tracks, gaps and localisation error included;
        as good as can be for Brownian motion, and its interval stays honest for other motion.
        ``"hop"``: hops to the six neighbours on a triangular lattice, ``D = a² Gamma / 4``; as good
        as can be where motion is hops, meaningless where it is not. ``"cve"``: covariance
        estimator; in closed form, unbiased, may be negative where nothing moves. ``"ols"``:
        straight line through the optimal number of MSD points; for comparison, and for `alpha`.
        ``"auto"``: per class "hop" where displacements are not Gaussian and `hop_length_nm` is
        given, else "mle".
    hop_length_nm
        Distance between neighbouring sites, for "hop".
    sigma_nm
        Localisation error per axis, for "mle": None where it is to be fitted; a number where it is
        known (for instance from defects that do not move), by which single short tracks say up to
        1.4 times as much; or ``"position_error"``, each place with the error that the tracks state
        in that column (a class in which a place states none is fitted as with None). Stated errors
        know nothing of drift that is left, and are taken at their word: errors that are 10 % too
        small make D 16 % too large at sqrt(D t)/s = 0.5, 4 % at 2. That is why they are used only
        where asked for.
    class_of
        ``"rows"``: a displacement counts for a class when the particle had it all the way;
        ``"track"``: a whole track counts for the class that it has most often; ``"all"``: classes
        are not told apart (class_id -1).
    by
        ``"movie"`` for each movie and all together ("*"); ``"pooled"`` for "*" only.
    border_px
        Particles closer than this to the edge of a frame are not seen. Where the frames' size is
        known (from the experiment, with columns ``y``, ``x`` in the tracks), each step counts for
        the steps of its length that left the field unseen (`stemkin.kernels.motion.borders`):
        without that D is low, by 3.5 % for hops of 0.3 nm in a field of 11.5 nm. None: no
        correction.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    confidence
        Of the interval. It rests on the spread between tracks; with fewer than 20 tracks "mle"
        takes the profile of the likelihood, widened by steps that are not Gaussian, and "cve" every
        D that its estimate does not contradict. "hop" has the interval of a count of hops, "ols"
        that of a jackknife over tracks (NaN with fewer than about 10). From a single track of 10 or
        30 steps "mle" is low by up to 23 % or 10 % where s is much less than a step (s² >= 0 leaves
        it one side only), which its interval knows.

    Returns
    -------
    Table ``diffusion``. `alpha` is the anomalous exponent where the method tells it ("ols"), NaN
    elsewhere. Movies with one frame time are pooled track by track; movies with different ones as a
    mean weighted by the inverse variance.

    What is measured is the motion *within* a class. A hop into a trap, by which a defect becomes
    another, is a transition
    and no step: D lies below a² Gamma / 4 of a lone defect by the share of such hops.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, a frame time or the hop length is
        not known.
    """
    methods: tuple[Method, ...] = (method,) if isinstance(method, str) else tuple(method)
    needed = recipes_for(methods, hop_length_nm, sigma_nm)
    words: dict[str, Any] = {
        "class_name": class_name,
        "class_id": class_id,
        "class_of": class_of,
        "border_px": border_px,
        "errors": sigma_nm == "position_error",
    }
    asked = Asked(
        frame_times(tracks, experiment, frame_time_s), by, confidence, hop_length_nm, sigma_nm
    )
    sums = collected(tracks, needed, Choice.of(tracks, experiment, **words))
    return diffusion_table(sums, methods, asked)


@dataclass(frozen=True)
class Asked:
    """What the tables of one pass over the tracks are to say.

    Attributes
    ----------
    time_of
        Tells the frame time of a movie [s].
    by
        ``"movie"`` for each movie and all together; ``"pooled"`` for all together only.
    confidence
        Of the intervals.
    hop_length_nm
        Distance between neighbouring sites; None where there is no lattice.
    sigma_nm
        Localisation error per axis; None where it is fitted.
    """

    time_of: Callable[[str], float]
    by: By
    confidence: float = 0.95
    hop_length_nm: float | None = None
    sigma_nm: Sigma = None

    def __post_init__(self) -> None:
        """Refuse a grouping or a confidence that there is not."""
        check_words(by=self.by, confidence=self.confidence)

    def groups(self, sums: Sums, name: str) -> Iterator[tuple[str, int, dict[float, np.ndarray]]]:
        """Yield movie ("*" last), class, and frame time → total of what the recipe `name` added,
        sorted."""
        pooled: dict[int, dict[float, np.ndarray]] = {}
        for (_, movie, number), vector in sorted(
            (key, v) for key, v in sums.items() if key[0] == name
        ):
            seconds = self.time_of(movie)
            if self.by == "movie":
                yield movie, number, {seconds: vector}
            own = pooled.setdefault(number, {})
            own[seconds] = own[seconds] + vector if seconds in own else vector
        for number, parts in sorted(pooled.items()):
            yield POOLED, number, parts


def recipes_for(
    methods: Sequence[Method], hop_length_nm: float | None, sigma_nm: Sigma = None
) -> dict[str, Recipe]:
    """Return by name the recipes that the `methods` rest on."""
    names: list[Method] = []
    for method in methods:
        lattice: list[Method] = ["hop", "cve"] if hop_length_nm is not None else []
        names += ["mle", *lattice] if method == "auto" else [method]
    return {name: recipe(name, hop_length_nm, sigma_nm) for name in dict.fromkeys(names)}


def collected(tracks: Any, recipes: Mapping[str, Recipe], choice: Choice) -> Sums:
    """Return recipe, movie, class → what the tracks add. Computes once: one pass over the tracks
    for all recipes."""
    return sum_over(tracks, partial(add_estimates, recipes=dict(recipes), choice=choice))


def add_estimates(rows: pd.DataFrame, *, recipes: Mapping[str, Recipe], choice: Choice) -> Sums:
    """Return recipe, movie, class → what the `rows` of whole tracks add. Computes once."""
    stays = stays_of(rows, choice)
    keys, group = stays.groups()
    found: Sums = {}
    for name, how in recipes.items():
        sums = how.add(stays, group, len(keys))
        found |= {(name, *key): sums[i] for i, key in enumerate(keys)}
    return found


def diffusion_table(sums: Sums, methods: Sequence[Method], asked: Asked) -> pd.DataFrame:
    """Return the table ``diffusion`` of what `collected` returned; for each class in the order of
    `methods`."""
    parts = [
        _fits(sums, method, asked) if method != "auto" else _fits_of_choice(sums, asked)
        for method in methods
    ]
    filled = [part for part in parts if len(part)]
    if not filled:
        return empty("diffusion")
    rows = pd.concat(filled).drop_duplicates(["movie", "class_id", "method"])
    return conform(rows.sort_values(["movie", "class_id"], kind="stable"), "diffusion")


def _fits_of_choice(sums: Sums, asked: Asked) -> pd.DataFrame:
    """Return for each class the row of "hop" where its displacements are not Gaussian, else that of
    "mle"."""
    brownian = _fits(sums, "mle", asked)
    if asked.hop_length_nm is None or brownian.empty:
        return brownian
    hopping, shape = _fits(sums, "hop", asked), gaussianity_table(sums, asked)
    odd = pd.MultiIndex.from_frame(
        shape.loc[~shape["gaussian"].astype(bool), ["movie", "class_id"]]
    )
    spread, hopped = (
        pd.MultiIndex.from_frame(rows[["movie", "class_id"]]) for rows in (brownian, hopping)
    )
    by_hops = spread.isin(odd) & spread.isin(hopped)
    return pd.concat([brownian[~by_hops], hopping[hopped.isin(spread[by_hops])]])


def _fits(sums: Sums, method: Method, asked: Asked) -> pd.DataFrame:
    how = recipe(method, asked.hop_length_nm, asked.sigma_nm)
    rows = []
    for movie, number, parts in asked.groups(sums, method):
        estimates = [
            how.solve(vector, seconds, asked.confidence) for seconds, vector in parts.items()
        ]
        rows.append(_row(movie, number, method, merged(estimates, asked.confidence)))
    return conform(pd.DataFrame(rows), "diffusion") if rows else empty("diffusion")


@one_thread
def gaussianity(
    tracks: Any,
    *,
    class_of: ClassOf = "rows",
    by: By = "movie",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
) -> pd.DataFrame:
    """Test whether displacements of one frame are Gaussian, as Brownian motion has them. Computes
    once.

    Parameters
    ----------
    tracks, class_of, by, experiment, frame_time_s
        As for `fit_diffusion`.

    Returns
    -------
    Columns `movie`, `class_id`, `n` displacements, `excess` (``<d⁴>/2<d²>² - 1``: 0 if Gaussian,
    about 1/(2 Gamma t) for hops), `std_error` (of a Gaussian's), `p_value` (one-sided) and
    `gaussian`. Tracks that move with different D also have an excess.
    """
    asked = Asked(frame_times(tracks, experiment, frame_time_s), by)
    choice = Choice.of(tracks, experiment, class_of=class_of)
    return gaussianity_table(collected(tracks, {"cve": recipe("cve")}, choice), asked)


def gaussianity_table(sums: Sums, asked: Asked) -> pd.DataFrame:
    """Return the table of `gaussianity` of what `collected` returned for the recipe "cve"."""
    groups = asked.groups(sums, "cve")
    rows = [
        _shape(movie, number, total(np.sum(list(parts.values()), axis=0)))
        for movie, number, parts in groups
    ]
    columns = ["movie", "class_id", "n", "excess", "std_error", "p_value", "gaussian"]
    return pd.DataFrame(rows, columns=columns).sort_values(["movie", "class_id"], ignore_index=True)


def _shape(movie: str, class_id: int, numbers: np.ndarray) -> dict[str, Any]:
    excess, error = excess_kurtosis(numbers)
    p = float(special.ndtr(-excess / error)) if error > 0 else np.nan
    return {
        "movie": movie, "class_id": class_id, "n": round(float(numbers[6])), "excess": excess, "std_error": error,
        "p_value": p, "gaussian": not p < NOT_GAUSSIAN,
    }  # fmt: skip


def merged(estimates: list[Estimate], confidence: float) -> Estimate:
    """Return the mean of independent estimates, weighted by their inverse variance (from the width
    of the intervals)."""
    known = [e for e in estimates if np.isfinite([e.D, e.low, e.high]).all()]
    if len(estimates) == 1 or not known:
        return estimates[0]
    width = 2 * -special.ndtri((1 - confidence) / 2)
    errors = np.array([max((e.high - e.low) / width, 1e-300) for e in known])
    weight = errors**-2 / (errors**-2).sum()
    D, s2 = (float(weight @ [getattr(e, name) for e in known]) for name in ("D", "s2"))
    low, high = variance_interval(D, float((errors**-2).sum() ** -0.5), confidence=confidence)
    n_tracks, n = (
        sum(getattr(e, name) for e in estimates) for name in ("n_tracks", "n_displacements")
    )
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

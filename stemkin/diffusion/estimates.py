"""The diffusion coefficient, by several methods, with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.diffusion.choice import Choice, ClassOf
from stemkin.diffusion.methods import Estimate, Estimator, Method, Sigma, estimator
from stemkin.diffusion.normality import shapes
from stemkin.diffusion.pooling import Pooling, added_by
from stemkin.kernels.common.intervals import variance_interval
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import Experiment

FEWEST_DISPLACEMENTS = 3
"""Fewer cannot tell D from the localisation error, and any interval would be without end."""


@verb
def fit_diffusion(
    tracks: Any,
    *,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    method: Method | Sequence[Method] = "mle",
    hop_length_nm: float | None = None,
    sigma_nm: Sigma = None,
    class_of: ClassOf = "rows",
    by: By = "pooled",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return the diffusion coefficient of each class, with its interval. Computes once: one pass.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    class_name, class_names, class_ids
        One class, several, or their numbers; by default all.
    method
        One, or several (then each class has a row for each).
        ``"mle"``: exact Gaussian likelihood of whole tracks, gaps and localisation error included;
        as good as can be for Brownian motion, and its interval stays honest for other motion.
        ``"hop"``: hops to the neighbouring sites of a lattice (triangular, honeycomb or square, as
        the data say), ``D = a² Gamma / 4``; as good as can be where motion is hops, meaningless
        where it is not. ``"cve"``: covariance
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
        ``"pooled"`` for all movies together ("*"); ``"movie"`` for each movie as well; `Bins` of
        time or dose, or any column of the rows or of the movies (a temperature); or several of
        these. A displacement counts for a group that it begins and ends in.
    border_px
        Particles closer than this to the edge of a frame are not seen. Where the frames' size is
        known (from the experiment), each step counts for its like that left the field unseen
        (`stemkin.kernels.motion.borders`): without that D is low, by 3.5 % for hops of 0.3 nm in a field of 11.5 nm. None: no
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
    another, is a transition and no step: D lies below a² Gamma / 4 of a lone defect by the share of
    such hops.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, a frame time or the hop length is
        not known.
    """
    if isinstance(method, str):
        method = (method,)
    methods: tuple[Method, ...] = tuple(method)
    estimators = estimators_for(methods, hop_length_nm, sigma_nm)
    known = Calibrations.of(tracks, experiment, frame_time_s)
    pooling = Pooling.of(by, tracks, known)
    choice = Choice.of(
        tracks,
        known,
        class_name=class_name,
        class_names=class_names,
        class_ids=class_ids,
        class_of=class_of,
        border_px=border_px,
        errors=sigma_nm == "position_error",
        grouping=pooling.grouping,
    )

    def table(*sums: Sums) -> pd.DataFrame:
        found = Fits(estimators, dict(zip(estimators, sums, strict=True)), pooling, confidence)
        return found.table(methods)

    return Question(tuple(added_by(how.add, choice) for how in estimators.values()), table)


def estimators_for(
    methods: Sequence[Method], hop_length_nm: float | None, sigma_nm: Sigma = None
) -> dict[str, Estimator]:
    """Return by name the estimators that the `methods` rest on; see `fit_diffusion`."""
    names: list[Method] = []
    for method in methods:
        if method != "auto":
            names.append(method)
        elif hop_length_nm is None:
            names.append("mle")
        else:
            names += ["mle", "hop", "cve"]
    return {name: estimator(name, hop_length_nm, sigma_nm) for name in dict.fromkeys(names)}


@dataclass(frozen=True)
class Fits:
    """What the estimators say of the sums over all tracks.

    Attributes
    ----------
    estimators
        By name.
    sums
        Name of an estimator → movie, class → what it added.
    pooling
        How movies come together.
    confidence
        Of the intervals.
    """

    estimators: Mapping[str, Estimator]
    sums: Mapping[str, Sums]
    pooling: Pooling
    confidence: float

    def table(self, methods: Sequence[Method]) -> pd.DataFrame:
        """Return the table ``diffusion``; for each class in the order of `methods`."""
        parts = [self._of(method) for method in methods]
        filled = [part for part in parts if len(part)]
        if not filled:
            return self.pooling.grouping.table([], "diffusion")
        rows = pd.concat(filled).drop_duplicates([*self.keys, "method"])
        return rows.sort_values(self.keys, kind="stable", ignore_index=True)

    @property
    def keys(self) -> list[str]:
        """Columns that say what a row is about, but for its method."""
        return ["movie", *self.pooling.grouping.columns, "class_id"]

    def _of(self, method: Method) -> pd.DataFrame:
        """Return the rows of one method."""
        if method == "auto":
            return self._of_choice()
        rows = []
        for group, number, parts in self.pooling.groups(self.sums[method]):
            estimates = [
                self.estimators[method].solve(vector, seconds, self.confidence)
                for seconds, vector in parts.items()
            ]
            rows.append((group, _row(number, method, merged(estimates, self.confidence))))
        return self.pooling.grouping.table(rows, "diffusion")

    def _of_choice(self) -> pd.DataFrame:
        """Return for each class "hop" where displacements are not Gaussian, else "mle"."""
        brownian = self._of("mle")
        if "hop" not in self.estimators or brownian.empty:
            return brownian
        hopping, shape = self._of("hop"), shapes(self.sums["cve"], self.pooling)
        odd = self._about(shape[~shape["gaussian"]])
        spread, hopped = self._about(brownian), self._about(hopping)
        by_hops = spread.isin(odd) & spread.isin(hopped)
        return pd.concat([brownian[~by_hops], hopping[hopped.isin(spread[by_hops])]])

    def _about(self, rows: pd.DataFrame) -> pd.MultiIndex:
        """Return group and class of each row."""
        return pd.MultiIndex.from_frame(rows[self.keys])


def merged(estimates: list[Estimate], confidence: float) -> Estimate:
    """Return the mean of independent estimates, weighted by their inverse variance.

    The variance is read off the width of the intervals. One without a width, of tracks in which
    nothing ever moved, counts as the surest of the others.
    """
    known = [e for e in estimates if np.isfinite([e.D, e.low, e.high]).all()]
    if len(estimates) == 1 or not known:
        return estimates[0]
    width = 2 * -special.ndtri((1 - confidence) / 2)
    errors = np.array([(e.high - e.low) / width for e in known])
    if not errors.any():
        return replace(known[0], **_numbers(estimates))
    errors[errors == 0] = errors[errors > 0].min()
    weight = errors**-2 / (errors**-2).sum()
    D, s2 = float(weight @ [e.D for e in known]), float(weight @ [e.s2 for e in known])
    low, high = variance_interval(D, float((errors**-2).sum() ** -0.5), confidence=confidence)
    return Estimate(D, low, high, s2, **_numbers(estimates))


def _numbers(estimates: list[Estimate]) -> dict[str, int]:
    """Return how many tracks and displacements there are in all estimates together."""
    return {
        "n_tracks": sum(e.n_tracks for e in estimates),
        "n_displacements": sum(e.n_displacements for e in estimates),
    }


def _row(class_id: int, method: str, e: Estimate) -> dict[str, Any]:
    if e.n_displacements < FEWEST_DISPLACEMENTS:
        nothing = float("nan")
        e = Estimate(nothing, nothing, nothing, nothing, e.n_tracks, e.n_displacements)
    sigma = np.nan
    if not np.isnan(e.s2):
        sigma = np.sqrt(max(e.s2, 0.0))
    return {
        "class_id": class_id,
        "method": method,
        "D_nm2_per_s": e.D,
        "low": e.low,
        "high": e.high,
        "sigma_nm": sigma,
        "alpha": e.alpha,
        "n_tracks": e.n_tracks,
        "n_displacements": e.n_displacements,
    }

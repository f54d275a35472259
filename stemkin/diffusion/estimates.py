"""The diffusion coefficient, by several methods, with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.diffusion.assumptions import MethodChoice, weighed
from stemkin.diffusion.choice import Choice, ClassOf, Fields
from stemkin.diffusion.crowding import (
    NOT_LOOKED,
    Blocked,
    Crowd,
    add_looks,
    blocked_share,
    lattice_shown,
    looks_of,
    share_seen,
)
from stemkin.diffusion.methods import Estimate, Estimator, Method, Sigma, estimator
from stemkin.diffusion.movies import BetweenMovies, Movies
from stemkin.diffusion.pooling import Pooling, added_by
from stemkin.kernels.common.intervals import variance_interval
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Key
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import POOLED, Experiment

FEWEST_DISPLACEMENTS = 3
"""Fewer cannot tell D from the localisation error, and any interval would be without end."""


@verb
def fit_diffusion(
    tracks: Any,
    *,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    method: Method | Sequence[Method] = "auto",
    hop_length_nm: float | None = None,
    sigma_nm: Sigma = None,
    class_of: ClassOf = "rows",
    by: By = "pooled",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    exposure_fraction: float | None = None,
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
        ``"auto"``: for each class the method whose assumptions the displacements do not contradict:
        "hop" where they lie on the lattice and do not go back and forth, else "mle", else "cve".
        Or one that is asked for, or several (then each class has a row for each).
        ``"mle"``: exact Gaussian likelihood of whole tracks, gaps, localisation error and blur
        included; as good as can be for Brownian motion, and its interval stays honest for other
        motion. ``"hop"``: hops to the neighbouring sites of a lattice (triangular, honeycomb or
        square, as the data say), ``D = a² Gamma / 4``; as good as can be where motion is hops,
        meaningless where it is not. ``"cve"``: covariance estimator; in closed form, unbiased
        whatever the blur and the mixture, may be negative where nothing moves. ``"ols"``: straight
        line through the optimal number of MSD points; for comparison, and for `alpha`.
    hop_length_nm
        Distance between neighbouring sites; None: the lattice constant that the experiment knows
        (a column ``lattice_nm`` of its movies, or that of the model that found the defects), and
        without one there are no hops.
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
    exposure_fraction
        Part of the frame time during which each frame is exposed, 0 to 1, of all movies: 1 for a
        camera that never closes, 0 for a scanned probe. None: what the experiment knows (a column
        ``exposure_fraction`` of its movies), and 0 where it knows nothing; where the covariances
        then show blur, `violated` says so.
    confidence
        Of the interval. It rests on the spread between tracks; with fewer than 20 tracks "mle"
        takes the profile of the likelihood, widened by steps that are not Gaussian, and "cve" every
        D that its estimate does not contradict. "hop" has the interval of a count of hops, "ols"
        that of a jackknife over tracks (NaN with fewer than about 10). From a single track of 10 or
        30 steps "mle" is low by up to 23 % or 10 % where s is much less than a step (s² >= 0 leaves
        it one side only), which its interval knows.

    Returns
    -------
    Table ``diffusion``. `recommended` marks the row of the method that ``"auto"`` would choose, from
    all movies together, if it has a D; `assumes` says what a method takes for granted and `violated` which of that
    the displacements contradict (`stemkin.kernels.motion.assumptions`); where mobilities differ (``one
    mobility`` is violated), D is their mean, and `mobilities` tells of each population. `unit` is what the interval takes for independent. `alpha` is the anomalous exponent where the method tells it ("ols"), NaN
    elsewhere. Movies with one frame time are pooled track by track; movies with different ones as a
    mean weighted by the inverse variance.

    D is that of a lone defect: on a lattice, hops into traps and onto taken sites (a track that
    ends, or does not move) are made up for by `blocked`, the share of the neighbouring sites that
    were taken (`stemkin.kernels.motion.crowding`). Where hops are given up on little (2.5 to 3.5
    standard errors), the interval of the recommended method reaches over that of hops too.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, a frame time or the hop length is
        not known.

    References
    ----------
    Berglund, Phys. Rev. E 82, 011917 (2010); Vestergaard, Blainey & Flyvbjerg, Phys. Rev. E 89,
    022726 (2014); Michalet & Berglund, Phys. Rev. E 85, 061916 (2012).
    """
    if isinstance(method, str):
        method = (method,)
    methods: tuple[Method, ...] = tuple(method)
    known = Calibrations.of(tracks, experiment, frame_time_s)
    if hop_length_nm is None:
        hop_length_nm = known_lattice_nm(known)
    estimators = estimators_for(methods, hop_length_nm, sigma_nm)
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
        exposure_fraction=exposure_fraction,
    )

    adders: list[Any] = [added_by(how.add, choice) for how in estimators.values()]
    looks_around = hop_length_nm is not None and class_of == "rows"
    if looks_around:
        adders.append(add_looks)

    def table(*sums: Sums) -> pd.DataFrame:
        of_method = dict(zip(estimators, sums, strict=False))
        fits = Fits(estimators, of_method, pooling, confidence)
        if looks_around:
            fits = replace(fits, looks=sums[-1], hop_length_nm=hop_length_nm, fields=choice.fields)
        return fits.table(methods)

    return Question(tuple(adders), table)


def known_lattice_nm(known: Calibrations) -> float | None:
    """Return the lattice constant [nm] of most movies; None where none is known.

    What was seen in the movies (``lattice_nm``) counts before what their model was learned of.
    """
    for column in ("lattice_nm", "learned_lattice_nm"):
        each = [a for a in known.stated(column).values() if a > 0]
        if each:
            return float(np.median(each))
    return None


def estimators_for(
    methods: Sequence[Method], hop_length_nm: float | None, sigma_nm: Sigma = None
) -> dict[str, Estimator]:
    """Return by name the estimators that the `methods` rest on; see `fit_diffusion`.

    Every method is judged by the covariances, and beside hops where there is a lattice.
    """
    names: list[Method] = ["cve"]
    if hop_length_nm is not None:
        names.append("hop")
    if "auto" in methods:
        names.append("mle")
    names += [method for method in methods if method != "auto"]
    return {name: estimator(name, hop_length_nm, sigma_nm) for name in dict.fromkeys(names)}


Place = tuple[Key, int]
"""Group and class of a row."""


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
    looks
        Movie → what stands beside each other in some frames; empty where that does not count.
    hop_length_nm
        Distance between neighbouring sites, where it is known.
    fields
        Where defects can be seen; None: everywhere.
    """

    estimators: Mapping[str, Estimator]
    sums: Mapping[str, Sums]
    pooling: Pooling
    confidence: float
    looks: Mapping[str, Crowd] = field(default_factory=dict)
    hop_length_nm: float | None = None
    fields: Fields | None = None

    def table(self, methods: Sequence[Method]) -> pd.DataFrame:
        """Return the table ``diffusion``; for each class in the order of `methods`."""
        found = {name: self._estimates(name) for name in self.estimators}
        rows = []
        for group, number, by_time in self.pooling.groups(self.sums["cve"]):
            verdict = self._verdict(found, ((POOLED, *group[1:]), number))
            chosen, between = {"auto": verdict.chosen}, self._movies.between(group, number)
            if between.copies > 1:
                verdict = verdict.with_copies()
            blocked, hops_per_d = self._blocked(found, group, number), 0.0
            if self.hop_length_nm is not None:
                hops_per_d = 4 * float(np.mean(list(by_time))) / self.hop_length_nm**2
            alone = {}
            for name, parts in found.items():
                own = merged(parts[group, number], self.confidence)
                if name == "hop" and between.variance > 0:
                    own = self._movies.mean(own, self.estimators[name].solve, group, number)
                alone[name] = self._alone(own, between, blocked, hops_per_d)
            for method in dict.fromkeys(chosen.get(m, m) for m in methods):
                own = alone[method]
                if method == verdict.chosen and verdict.nearly:
                    own = own.reaching(alone[verdict.nearly])
                said: dict[str, Any] = dict(verdict.columns(method))
                row = _row(number, method, own)
                said["recommended"] = method == verdict.chosen and not np.isnan(row["D_nm2_per_s"])
                said["blocked"] = blocked.share
                rows.append((group, row | said))
        return self.pooling.grouping.table(rows, "diffusion")

    def _alone(
        self, own: Estimate, between: BetweenMovies, blocked: Blocked, hops_per_d: float
    ) -> Estimate:
        """Return what a method says of a lone defect, from its estimate of all that are seen."""
        z = -float(special.ndtri((1 - self.confidence) / 2))
        own = between.widened(own, self.confidence)
        return blocked.freed(own, z, hops_per_d=hops_per_d)

    def _blocked(
        self, found: Mapping[str, Mapping[Place, list[Estimate]]], group: Key, number: int
    ) -> Blocked:
        """Return the share of directions that are taken, where steps lie on a lattice."""
        hopping = found.get("hop", {}).get((group, number), [])
        lattice = lattice_shown(hopping)
        if self.hop_length_nm is None or lattice is None:
            return NOT_LOOKED
        looks = looks_of(dict(self.looks), self.sums["cve"], group, number)
        seen = share_seen(self.fields, self.hop_length_nm)
        return blocked_share(looks, number, self.hop_length_nm, lattice, seen=seen)

    @cached_property
    def _movies(self) -> Movies:
        """The sums of each movie by itself."""
        pooling = self.pooling
        return Movies(self.sums["cve"], self.sums.get("hop", {}), pooling.time_of, self.confidence)

    def _estimates(self, method: str) -> dict[Place, list[Estimate]]:
        """Return group and class → what a method says of them, for each frame time."""
        solve = self.estimators[method].solve
        return {
            (group, number): [solve(v, seconds, self.confidence) for seconds, v in parts.items()]
            for group, number, parts in self.pooling.groups(self.sums[method])
        }

    def _verdict(
        self, found: Mapping[str, Mapping[Place, list[Estimate]]], place: Place
    ) -> MethodChoice:
        """Return what speaks against the methods in one group and class."""
        hopping = found.get("hop", {}).get(place, [])
        spreading = found.get("mle", {}).get(place, [])
        return weighed(self._covariances[place], hopping, spreading)

    @cached_property
    def _covariances(self) -> dict[Place, list[np.ndarray]]:
        return {
            (group, number): list(parts.values())
            for group, number, parts in self.pooling.groups(self.sums["cve"])
        }


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


def _numbers(estimates: list[Estimate]) -> dict[str, Any]:
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
        "unit": e.unit,
    }

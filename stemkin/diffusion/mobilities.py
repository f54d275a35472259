"""Whether defects of one class are equally mobile, or fast ones and slow ones, or some at rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special

from stemkin.diffusion.choice import Choice, ClassOf
from stemkin.diffusion.crowding import lattice_shown
from stemkin.diffusion.estimates import known_lattice_nm
from stemkin.diffusion.methods import add_covariance, estimator, hop_estimate
from stemkin.diffusion.pooling import Pooling, added_by
from stemkin.diffusion.segments import Segments
from stemkin.kernels.common.exact import total
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.kernels.motion import mixtures
from stemkin.kernels.motion.assumptions import Covariances
from stemkin.kernels.motion.hop_shells import FASTEST, Lattice, shell_probabilities
from stemkin.kernels.motion.hops import most_likely_rate
from stemkin.kernels.motion.mixtures import BrownianTracks, HopTracks, Populations, best_mixture
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import Experiment

COLUMNS = {
    "movie": "str",
    "class_id": "int16",
    "model": "str",
    "population": "int64",
    "share": "float64",
    "share_low": "float64",
    "share_high": "float64",
    "D_nm2_per_s": "float64",
    "low": "float64",
    "high": "float64",
    "bic_gain": "float64",
    "p_value": "float64",
    "method": "str",
    "n_tracks": "int64",
    "n_displacements": "int64",
}
"""Columns of the table that `mobilities` returns."""


@verb
def mobilities(
    tracks: Any,
    *,
    hop_length_nm: float | None = None,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    class_of: ClassOf = "rows",
    by: By = "pooled",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    exposure_fraction: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return the populations of each class that differ in mobility. Computes once: one pass.

    This is the mixture to quote where `fit_diffusion` says ``violated: one mobility``: its D is the
    mean of the populations.

    Parameters
    ----------
    tracks, class_name, class_names, class_ids, class_of, by, border_px, experiment
        As for `fit_diffusion`.
    hop_length_nm, frame_time_s, exposure_fraction, confidence
        As for `fit_diffusion`.

    Returns
    -------
    Columns as in `COLUMNS`: a row for each population of the `model` that Schwarz's criterion
    prefers (``"one mobility"``, ``"mobile and at rest"``, ``"two mobilities"``), the fastest first.
    `share` is of the steps that were watched; `bic_gain` by how much the criterion is lower than
    that of one mobility, `p_value` of the likelihood ratio that one is enough; `method` whether
    steps were told apart as hops ("hop") or by their length ("mle"). Of movies with several frame
    times those with the most displacements are told of. D is that of the tracks, without
    `blocked`.

    Raises
    ------
    ValueError
        As `fit_diffusion`.

    References
    ----------
    Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977); Schwarz, Ann. Stat. 6, 461 (1978).
    """
    known = Calibrations.of(tracks, experiment, frame_time_s)
    if hop_length_nm is None:
        hop_length_nm = known_lattice_nm(known)
    pooling = Pooling.of(by, tracks, known)
    choice = Choice.of(
        tracks,
        known,
        class_name=class_name,
        class_names=class_names,
        class_ids=class_ids,
        class_of=class_of,
        border_px=border_px,
        grouping=pooling.grouping,
        exposure_fraction=exposure_fraction,
    )
    adders: list[Any] = [added_by(add_covariance, choice), added_by(add_lengths, choice)]
    if hop_length_nm is not None:
        hopping = estimator("hop", hop_length_nm)
        adders += [
            added_by(hopping.add, choice),
            added_by(partial(add_moves, hop_length_nm=hop_length_nm), choice),
        ]

    def table(*sums: Sums) -> pd.DataFrame:
        told = _Told(hop_length_nm, confidence)
        rows = []
        for parts in zip(*(pooling.groups(own) for own in sums), strict=True):
            group, number, of_times = parts[0]
            counted = {s: Covariances(total(v)).numbers[0] for s, v in of_times.items()}
            seconds = max(counted, key=lambda s: (counted[s], -s))
            rows += [
                (group, {"class_id": number, **row})
                for row in told.rows([own[2][seconds] for own in parts], seconds)
            ]
        return pooling.table(rows, COLUMNS)

    return Question(tuple(adders), table)


def no_mobilities() -> pd.DataFrame:
    """Return the table of `mobilities` without a row."""
    return pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)


@dataclass(frozen=True, eq=False)
class Tally:
    """How many tracks have each number of steps and each value.

    Attributes
    ----------
    key
        (n,) steps * `mixtures.N_VALUES` + value, ascending.
    count
        (n,) tracks.
    """

    key: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, key: np.ndarray) -> Tally:
        """Return the tally of the (m,) keys of single tracks."""
        return cls(*np.unique(key, return_counts=True))

    def __add__(self, other: Tally) -> Tally:
        """Return the tally of the tracks of both."""
        both = np.concatenate([self.key, other.key])
        key, where = np.unique(both, return_inverse=True)
        counts = np.bincount(where, weights=np.concatenate([self.count, other.count]))
        return Tally(key, counts.astype(np.int64))

    @property
    def steps(self) -> np.ndarray:
        """(n,) steps."""
        return self.key // mixtures.N_VALUES

    @property
    def value(self) -> np.ndarray:
        """(n,) values."""
        return self.key % mixtures.N_VALUES


def add_lengths(segments: Segments, group: np.ndarray, n_groups: int) -> list[Tally]:
    """Return of each group the tally of the mean squared steps of its tracks, by their logarithm."""
    square, steps = _steps_of(segments)
    mean = square / np.maximum(steps, 1)
    value = np.floor((np.log(np.maximum(mean, 1e-30)) - LEAST) * mixtures.BINS_PER_E)
    return _tallied(steps, np.clip(value, 0, mixtures.N_VALUES - 1), group, n_groups)


LEAST = float(np.log(1e-12))
"""Of the logarithm of a mean squared step [nm²]; the last bin ends at 6e15 nm²."""


def add_moves(
    segments: Segments, group: np.ndarray, n_groups: int, *, hop_length_nm: float
) -> list[Tally]:
    """Return of each group the tally of the steps of its tracks that led to another site."""
    moved, steps = _steps_of(segments, farther_nm=hop_length_nm / 2)
    short = np.minimum(steps, mixtures.LONGEST) / np.maximum(steps, 1)
    return _tallied(steps, np.rint(moved * short), group, n_groups)


def _steps_of(segments: Segments, farther_nm: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return of each track the sum of squared steps over one frame, or how many lead farther."""
    walks = segments.walks
    pair = np.flatnonzero(walks.linked & (np.diff(walks.frame) == 1))
    square = (walks.y[pair + 1] - walks.y[pair]) ** 2 + (walks.x[pair + 1] - walks.x[pair]) ** 2
    if farther_nm is not None:
        square = (square > farther_nm**2).astype(np.float64)
    owner = walks.unit[pair]
    return (
        np.bincount(owner, weights=square, minlength=walks.n_units),
        np.bincount(owner, minlength=walks.n_units),
    )


def _tallied(steps: np.ndarray, value: np.ndarray, group: np.ndarray, n_groups: int) -> list[Tally]:
    key = np.minimum(steps, mixtures.LONGEST) * mixtures.N_VALUES + value.astype(np.int64)
    return [Tally.of(key[(group == g) & (steps > 0)]) for g in range(n_groups)]


@dataclass(frozen=True)
class _Told:
    """What was told: the lattice constant, and how sure intervals are to be."""

    hop_length_nm: float | None
    confidence: float

    def rows(self, sums: list[Any], seconds: float) -> list[dict[str, Any]]:
        """Return a row for each population, from the sums of one group and class."""
        covariances, lengths = Covariances(total(sums[0])), sums[1]
        about: dict[str, Any] = {
            "n_tracks": int(lengths.count.sum()),
            "n_displacements": int(lengths.count @ lengths.steps),
        }
        if not len(lengths.key) or not covariances.is_known:
            return []
        lattice = None
        if self.hop_length_nm is not None:
            fit = most_likely_rate(sums[2], confidence=self.confidence)
            lattice = lattice_shown([hop_estimate(fit, self.hop_length_nm, seconds)])
        if lattice is not None and self.hop_length_nm is not None:
            moves = sums[3]
            # a defect at rest seems to have moved where two errors of place add up to half a hop
            false = float(np.exp(-1 / 16 / max(fit.s, 1e-3) ** 2))
            steps, moved, count = (v.astype(float) for v in (moves.steps, moves.value, moves.count))
            found = best_mixture(HopTracks(steps, moved, count, max(false, 1e-6)))
            scale = self.hop_length_nm**2 / 4 / seconds
            D = partial(_hops_of, lattice=lattice, scale=scale, rest=max(false, 1e-6))
            return self._populations(found, D, about | {"method": "hop"})
        s2 = max(covariances.localisation_variance(), 0.0)
        mean = np.exp(LEAST + (lengths.value + 0.5) / mixtures.BINS_PER_E)
        steps, count = lengths.steps.astype(float), lengths.count.astype(float)
        found = best_mixture(BrownianTracks(steps, mean, count, s2))
        seen = 4 * seconds * (1 - 2 * covariances.blur)
        spread = partial(_spread_of, rest=4 * s2, seen=seen)
        z = self._z
        rows = self._populations(found, spread, about | {"method": "mle"})
        for row, level, error in zip(rows, found.level, self._errors(found), strict=True):
            # what is taken for the error of place may be wrong as well
            both = z * np.hypot(level * error, 4 * covariances.error_of_c1()) / seen
            row["low"], row["high"] = max(row["D_nm2_per_s"] - both, 0), row["D_nm2_per_s"] + both
        return rows

    @property
    def _z(self) -> float:
        return -float(special.ndtri((1 - self.confidence) / 2))

    @staticmethod
    def _errors(found: Populations) -> np.ndarray:
        """Return the (k,) standard errors of the logarithms of the levels."""
        return np.asarray(np.sqrt(np.diag(found.covariance))[: len(found.level)])

    def _populations(
        self, found: Populations, D: Any, about: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return a row for each population; `D` tells that of a level [nm²/s]."""
        z, errors, ends = self._z, self._errors(found), np.ones(2)
        if len(found.level) > 1:
            reach = np.array([-z, z]) * np.sqrt(found.covariance[-1, -1])
            ends = special.expit(special.logit(np.clip(found.share[0], 1e-9, 1 - 1e-9)) + reach)
        rows = []
        for i, level in enumerate(found.level):
            low, high = ends
            if i == 1:
                low, high = 1 - ends[::-1]
            row = {"model": found.model, "population": i, "share": found.share[i]}
            row |= {"share_low": low, "share_high": high, "D_nm2_per_s": D(level)}
            row |= {
                "low": D(level * np.exp(-z * errors[i])),
                "high": D(level * np.exp(z * errors[i])),
            }
            rows.append(row | {"bic_gain": found.gain, "p_value": found.p_value} | about)
        return rows


def _spread_of(level: float, *, rest: float, seen: float) -> float:
    """Return D of defects whose mean squared step is `level`, of which `rest` is error of place."""
    return max(level - rest, 0.0) / seen


def _hops_of(level: float, *, lattice: Lattice, scale: float, rest: float) -> float:
    """Return D of defects that leave their site in a share `level` of the frames."""
    wanted = max(level - rest, 0.0) / (1 - rest)

    def missing(log_rate: float) -> float:
        home = shell_probabilities(np.array(np.exp(log_rate)), lattice, 1)
        return 1 - float(home[..., 0]) - wanted

    if wanted <= 1e-9:
        return 0.0
    if missing(np.log(FASTEST)) <= 0:
        return np.inf
    return scale * float(np.exp(optimize.brentq(missing, np.log(1e-10), np.log(FASTEST))))

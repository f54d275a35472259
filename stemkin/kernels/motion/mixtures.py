r"""Two mobilities: tracks of one class of which some move faster than others, or do not move at all.

Each track says how many steps it has and how far they lead. On a lattice that is in how many of its
n steps it left its site, m; of Brownian motion the mean squared step T. Given the mobility,

    hops       m is binomial, with P(moved) = 1 - P(back home | hops per frame)
    Brownian   T is gamma distributed, of mean 4 D t + 4 s² and shape n / (1 + 2 rho²),

rho = -s² / (2 D t + 2 s²) being the correlation of neighbouring steps. One mobility, one beside
defects at rest, and two are compared by Schwarz's criterion, each fitted by expectation and
maximisation (several starts); intervals come from the curvature of the likelihood.

Sources: Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977); McLachlan & Peel, Finite Mixture
Models (2000), ch. 2 and 6; Schwarz, Ann. Stat. 6, 461 (1978).

>>> n, m = np.full(40, 30.0), np.repeat([0.0, 15.0], 20)
>>> found = best_mixture(HopTracks(n, m, np.ones(40), false=1e-6))
>>> found.model, np.round(found.level, 2).tolist(), np.round(found.share, 2).tolist()
('mobile and at rest', [0.5, 0.0], [0.5, 0.5])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy import special

Model = Literal["one mobility", "mobile and at rest", "two mobilities"]

LONGEST = 512
"""Steps of a track that are told apart; a longer one counts as one of so many, as mobile as it is."""
BINS_PER_E = 16
"""Mean squared steps are counted in bins of a sixteenth of e."""
N_VALUES = 1024
MOST_TURNS = 150
CLOSE = 1e-5
"""A climb ends where a turn gains less log-likelihood than this."""
SPLITS = (0.5, 0.85)
"""Two mobilities begin as those of the tracks above and below these quantiles."""


class Tracks(Protocol):
    """What tracks say of their mobility; a *level* is what EM finds: P(moved), or 4 D t + 4 s²."""

    @property
    def count(self) -> np.ndarray:
        """(n,) how many such tracks there are."""
        ...

    @property
    def steps(self) -> np.ndarray:
        """(n,) steps of each track."""
        ...

    @property
    def rest(self) -> float:
        """The level of a defect at rest."""
        ...

    def log_chance(self, level: float) -> np.ndarray:
        """Return the (n,) log-likelihoods of the tracks at a level."""
        ...

    def level_of(self, weight: np.ndarray) -> float:
        """Return the most likely level of tracks that count as often as (n,) `weight` says."""
        ...

    def own_levels(self) -> np.ndarray:
        """Return the (n,) level of each track alone."""
        ...


@dataclass(frozen=True, eq=False)
class HopTracks:
    """Tracks on a lattice.

    Attributes
    ----------
    steps, moved
        (n,) steps over one frame, and those that left the site.
    count
        (n,) how many such tracks there are.
    false
        Chance that a defect at rest seems to have left its site.
    """

    steps: np.ndarray
    moved: np.ndarray
    count: np.ndarray
    false: float

    @property
    def rest(self) -> float:
        """The level of a defect at rest."""
        return self.false

    def log_chance(self, level: float) -> np.ndarray:
        """Return the (n,) log-likelihoods of the tracks at a level, P(moved)."""
        p = float(np.clip(level, self.false, 1 - 1e-12))
        return np.asarray(self.moved * np.log(p) + (self.steps - self.moved) * np.log1p(-p))

    def level_of(self, weight: np.ndarray) -> float:
        """Return the most likely P(moved) of tracks that count as often as (n,) `weight` says."""
        return float(weight @ self.moved / max(float(weight @ self.steps), 1e-300))

    def own_levels(self) -> np.ndarray:
        """Return the (n,) share of each track's steps that left the site."""
        return np.asarray(self.moved / self.steps)


@dataclass(frozen=True, eq=False)
class BrownianTracks:
    """Tracks of Brownian motion.

    Attributes
    ----------
    steps, mean_square
        (n,) steps over one frame, and their mean square [length²].
    count
        (n,) how many such tracks there are.
    s2
        Squared localisation error per axis [length²].
    """

    steps: np.ndarray
    mean_square: np.ndarray
    count: np.ndarray
    s2: float

    @property
    def rest(self) -> float:
        """The level of a defect at rest."""
        return 4 * self.s2

    def _shape(self, level: float) -> np.ndarray:
        """Return the (n,) shape of the gamma distribution of each mean square."""
        correlation = min(2 * self.s2 / max(level, 1e-300), 0.5)
        return np.asarray(self.steps / (1 + 2 * correlation**2 * (1 - 1 / self.steps)))

    def log_chance(self, level: float) -> np.ndarray:
        """Return the (n,) log-likelihoods of the tracks at a level, 4 D t + 4 s²."""
        shape, scaled = self._shape(level), self.mean_square / max(level, 1e-300)
        return np.asarray(
            special.xlogy(shape, shape * scaled) - shape * scaled - special.gammaln(shape)
        )

    def level_of(self, weight: np.ndarray) -> float:
        """Return the most likely level of tracks that count as often as (n,) `weight` says."""
        total = weight @ self.steps
        return float(weight @ (self.steps * self.mean_square) / max(float(total), 1e-300))

    def own_levels(self) -> np.ndarray:
        """Return the (n,) mean square of each track."""
        return self.mean_square


@dataclass(frozen=True, eq=False)
class Populations:
    """Populations of one class, the fastest first.

    Attributes
    ----------
    model
        Which of the three.
    share, level
        (k,) of the steps that were watched, and level (`Tracks`) of each population.
    covariance
        (2k - 1, 2k - 1) of ln level of each and, last, of the logit of the first one's share; 0 for
        a level that is that of rest.
    gain
        By how much Schwarz's criterion is lower than that of one mobility.
    p_value
        That one mobility is enough, by the likelihood ratio.
    """

    model: Model
    share: np.ndarray
    level: np.ndarray
    covariance: np.ndarray
    gain: float
    p_value: float


def best_mixture(tracks: Tracks) -> Populations:
    """Return the populations by which the tracks are told best.

    Parameters
    ----------
    tracks
        At least one, with a step.
    """
    n = float(tracks.count.sum())
    alone = np.array([tracks.level_of(tracks.count)])
    whole = _log_likelihood(tracks, np.ones(1), alone)
    best = Populations(
        "one mobility", np.ones(1), alone, _covariance(tracks, np.ones(1), alone), 0, 1
    )
    for model, n_more in (("mobile and at rest", 1), ("two mobilities", 2)):
        rests = model == "mobile and at rest"
        if rests and not tracks.rest > 0:
            continue
        share, level, reached = _climbed(tracks, rests=rests)
        gained = max(reached - whole, 0.0)
        if 2 * gained - n_more * np.log(max(n, 2.0)) <= best.gain:
            continue
        best = Populations(
            model,  # type: ignore[arg-type]
            _of_steps(tracks, share, level),
            level,
            _covariance(tracks, share, level, rests=rests),
            2 * gained - n_more * float(np.log(n)),
            float(special.chdtrc(n_more, 2 * gained)),
        )
    return best


def _joint(tracks: Tracks, share: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the (k, n) logarithms of share times chance."""
    return np.stack(
        [np.log(max(p, 1e-300)) + tracks.log_chance(v) for p, v in zip(share, level, strict=True)]
    )


def _log_likelihood(tracks: Tracks, share: np.ndarray, level: np.ndarray) -> float:
    return float(tracks.count @ np.logaddexp.reduce(_joint(tracks, share, level), axis=0))


def _belonging(tracks: Tracks, share: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the (k, n) chances that a track is of each population."""
    joint = _joint(tracks, share, level)
    return np.asarray(np.exp(joint - np.logaddexp.reduce(joint, axis=0)))


def _of_steps(tracks: Tracks, share: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the (k,) shares of the steps, where `share` is that of the tracks."""
    steps = _belonging(tracks, share, level) @ (tracks.count * tracks.steps)
    return np.asarray(steps / steps.sum())


def _climbed(tracks: Tracks, *, rests: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Return shares of the tracks, levels and log-likelihood of the best of several climbs."""
    own = tracks.own_levels()
    order = np.argsort(own, kind="stable")
    below = np.cumsum(tracks.count[order]) / tracks.count.sum()
    found = []
    for split in SPLITS:
        slow = np.zeros(len(own), bool)
        slow[order[below <= split]] = True
        if slow.all() or not slow.any():
            continue
        level = np.array(
            [tracks.level_of(tracks.count * ~slow), tracks.level_of(tracks.count * slow)]
        )
        share = np.array([1 - split, split])
        found.append(_climb(tracks, share, level, rests=rests))
    if not found:
        level = np.array([tracks.level_of(tracks.count)] * 2)
        found.append(_climb(tracks, np.array([0.5, 0.5]), level, rests=rests))
    return max(found, key=lambda one: one[2])


def _climb(
    tracks: Tracks, share: np.ndarray, level: np.ndarray, *, rests: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return shares, levels and log-likelihood where expectation and maximisation lead."""
    reached = -np.inf
    level = np.maximum(level, tracks.rest)
    if rests:
        level[1] = tracks.rest
    for _ in range(MOST_TURNS):
        joint = _joint(tracks, share, level)
        together = np.logaddexp.reduce(joint, axis=0)
        before, reached = reached, float(tracks.count @ together)
        if reached - before < CLOSE:
            break
        weight = np.exp(joint - together) * tracks.count
        share = weight.sum(axis=1) / tracks.count.sum()
        level = np.maximum([tracks.level_of(own) for own in weight], tracks.rest)
        if rests:
            level[1] = tracks.rest
    return share, level, reached


def _covariance(
    tracks: Tracks, share: np.ndarray, level: np.ndarray, *, rests: bool = False
) -> np.ndarray:
    """Return the covariance of (ln level ..., logit of the first share), by the curvature."""
    k = len(level)
    free = [i for i in range(2 * k - 1) if not (rests and i == 1)]
    start = np.log(np.maximum(level, 1e-300))
    if k > 1:
        start = np.append(start, special.logit(np.clip(share[0], 1e-9, 1 - 1e-9)))

    def value(shift: np.ndarray) -> float:
        at = start + shift
        shares = np.ones(1)
        if k > 1:
            first = float(special.expit(at[-1]))
            shares = np.array([first, 1 - first])
        return _log_likelihood(tracks, shares, np.exp(at[:k]))

    h, bend = 1e-3, np.zeros((2 * k - 1, 2 * k - 1))
    e = np.eye(2 * k - 1) * h
    for i in free:
        for j in free:
            ends = value(e[i] + e[j]), value(e[i] - e[j]), value(e[j] - e[i]), value(-e[i] - e[j])
            bend[i, j] = -(ends[0] - ends[1] - ends[2] + ends[3]) / (4 * h * h)
    found = np.zeros_like(bend)
    found[np.ix_(free, free)] = np.linalg.pinv(bend[np.ix_(free, free)], hermitian=True)
    return np.where(np.eye(2 * k - 1) > 0, np.maximum(found, 0.0), found)

r"""The likelihood of a link: how far defects step, how often they are lost and new ones begin.

Two detections of neighbouring frames a distance d apart are either one defect, or a defect that was
lost and another that was found. The odds of the first against the second are

    log odds = log f(d) + log(p / (1 - p)) - log(births)                                  (1)

with f the density of steps [1/nm2], p the chance that a detection is continued in the next frame
(the defect survives *and* is found), and `births` the density of detections that continue nothing
[1/(frame nm2)]. All three are counted in the
data: the tracks of a first linking by distance give the numbers, from which the pairs expected by
chance are taken away. Linking then maximises the sum of (1), the likelihood of all links together.
The steps of atoms are far from a normal distribution (they rest, or they hop by a lattice vector),
which is why counting them is worth it.

Counts are integers and extremes, so they add up to the same model for every chunking.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

N_BINS = 64
"""Bins of the step length, from 0 to the reach."""

EDGES = np.arange(N_BINS + 1) / N_BINS
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2
RINGS = EDGES[1:] ** 2 - EDGES[:-1] ** 2
"""Edges, middles and areas (in units of the whole disc) of the bins."""

PRIOR_STEPS = 20.0
"""Weight, in steps, of the prior: a normal distribution whose sd is 0.4 reaches, as good as squared
distances."""


@dataclass(frozen=True, eq=False)
class StepCounts:
    """What the links of some frames say of steps, losses and births; two of them add up.

    Attributes
    ----------
    steps
        (`N_BINS`,) links by length, in units of their reach.
    returns
        (`N_BINS`,) ends and starts of tracks with one good frame between them, by distance in units
        of their reach.
    n_ended, n_begun
        Detections not continued in the next good frame, and those that continue nothing.
    n_before_two
        Ends with a good frame two frames later, in which they could come back.
    n_pairs
        Pairs of neighbouring good frames, from the first occupied one to the last.
    low_nm, high_nm
        (2,) extremes of the positions.
    """

    steps: np.ndarray
    returns: np.ndarray
    n_ended: int
    n_begun: int
    n_before_two: int
    n_pairs: int
    low_nm: np.ndarray
    high_nm: np.ndarray

    def __add__(self, other: StepCounts) -> StepCounts:
        """Return the counts of both."""
        return StepCounts(
            self.steps + other.steps,
            self.returns + other.returns,
            self.n_ended + other.n_ended,
            self.n_begun + other.n_begun,
            self.n_before_two + other.n_before_two,
            self.n_pairs + other.n_pairs,
            np.minimum(self.low_nm, other.low_nm),
            np.maximum(self.high_nm, other.high_nm),
        )


NO_STEPS = StepCounts(
    np.zeros(N_BINS, np.int64),
    np.zeros(N_BINS, np.int64),
    0,
    0,
    0,
    0,
    np.full(2, np.inf),
    np.full(2, -np.inf),
)
"""What nothing says."""


def by_length(squared: np.ndarray, reach: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Count distances by their length, in units of the reach.

    Parameters
    ----------
    squared
        (p,) squared distances [nm2].
    reach
        (p,) reach of each [nm].
    weight
        (p,) how often each counts.

    Returns
    -------
    (`N_BINS`,) int64 counts.
    """
    bins = (np.sqrt(squared) / reach * N_BINS).astype(np.int64).clip(max=N_BINS - 1)
    return np.bincount(bins, weights=weight, minlength=N_BINS).astype(np.int64)


@dataclass(frozen=True, eq=False)
class StepModel:
    """The log odds of links, as `StepCounts` tell them.

    Attributes
    ----------
    counts
        What was counted in links by distance.
    reach_nm
        Largest step between neighbouring frames [nm].
    spacing_nm
        Distance of neighbouring sites [nm], where only steps from site to site are steps.
    """

    counts: StepCounts
    reach_nm: float
    spacing_nm: float | None = None

    @cached_property
    def area_nm2(self) -> float:
        """Area in which detections lie [nm2]."""
        extent = np.maximum(self.counts.high_nm - self.counts.low_nm, 0.0) + 2 * self.reach_nm
        return float(extent.prod()) if np.isfinite(extent).all() else 100 * self.reach_nm**2

    @cached_property
    def room_nm2(self) -> float:
        """Area times pairs of frames: where detections may begin [frame nm2]."""
        return max(self.counts.n_pairs, 1) * self.area_nm2

    @cached_property
    def n_by_chance(self) -> float:
        """Links between a lost defect and another that was found, as many as chance makes.

        With e detections that end and b that begin, all told, chance brings e b / A of them within
        reach, where A is the number of discs of that radius in all frames; what is seen to end and
        to begin is less by as much.
        """
        c = self.counts
        half = (self.room_nm2 / (np.pi * self.reach_nm**2) - c.n_ended - c.n_begun) / 2
        root = half**2 - float(c.n_ended) * c.n_begun
        found = half - np.sqrt(root) if half > 0 and root > 0 else np.inf
        return float(min(found, 0.5 * c.steps.sum()))

    @cached_property
    def density(self) -> np.ndarray:
        """Probability (`N_BINS`,) of a step per unit of area.

        In units of the reach: f(d) = density / reach**2.
        """
        prior = np.exp(-(EDGES[:-1] ** 2) / 0.32) - np.exp(-(EDGES[1:] ** 2) / 0.32)
        steps = self.counts.steps
        smooth = np.convolve(
            np.concatenate([steps[:1], steps, steps[-1:]]), [0.25, 0.5, 0.25], mode="valid"
        )
        true = (
            np.maximum(smooth - self.n_by_chance * RINGS, 0.0) + PRIOR_STEPS * prior / prior.sum()
        )
        return np.asarray(true / true.sum() / (np.pi * RINGS))

    @cached_property
    def p_continued(self) -> float:
        """Chance that a detection is continued in the next good frame."""
        n = self.counts.steps.sum() - self.n_by_chance
        return float((n + 1) / (self.counts.steps.sum() + self.counts.n_ended + 2))

    @cached_property
    def births_per_nm2(self) -> float:
        """Detections per frame and nm2 that continue nothing in the frame before."""
        return float((self.counts.n_begun + self.n_by_chance + 1) / self.room_nm2)

    @cached_property
    def share_found_again(self) -> float:
        """Share of lost detections that are found again after one missed frame.

        The distances between ends and starts are a mixture of steps across two frames and of pairs
        by chance, whose number per area is even; its weights are found by expectation-maximisation.
        """
        pairs, n_ends = self.counts.returns.astype(np.float64), self.counts.n_before_two + 1.0
        again = (
            np.pi
            * RINGS
            * 2
            * self.reach_nm**2
            * self.density_per_nm2(2 * MIDDLES**2 * self.reach_nm**2, np.full(N_BINS, 2.0))
        )
        share, chance = 0.2, pairs.sum() / n_ends + 1e-3
        for _ in range(50):
            of_return = share * again / (share * again + chance * RINGS)
            share = min((float((pairs * of_return).sum()) + 0.1) / n_ends, 0.95)
            chance = (float((pairs * (1 - of_return)).sum()) + 1e-3) / n_ends
        return share

    @cached_property
    def new_per_nm2(self) -> float:
        """Detections per frame and nm2 that continue nothing in the last two frames."""
        return self.births_per_nm2 * max(
            1 - self.share_found_again * self.counts.n_before_two / (self.counts.n_begun + 1), 0.05
        )

    def density_per_nm2(self, squared_nm2: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Return f of steps across `apart` frame times [1/nm2].

        Across g frame times, half of the defects are taken to have made one step and half to have
        spread by sqrt(g).
        """
        squared = squared_nm2 / self.reach_nm**2
        density = np.exp(self._log_density(squared))
        later = np.flatnonzero(apart > 1)
        if len(later):
            spread = np.exp(self._log_density(squared[later] / apart[later])) / apart[later]
            density[later] = (density[later] + spread) / 2
        return np.asarray(density / self.reach_nm**2)

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """The logarithm of the density at `MIDDLES`, and by how much the next one differs."""
        value = np.log(self.density)
        return value, np.append(np.diff(value), 0.0)

    def _log_density(self, squared: np.ndarray) -> np.ndarray:
        """Return the log density at squared distances in units of the reach; -inf beyond it.

        Interpolated between the middles of the bins, and flat before the first and after the last.
        """
        value, rise = self._table
        place = np.maximum(np.sqrt(squared) * N_BINS - 0.5, 0.0)
        below = np.minimum(place.astype(np.int64), N_BINS - 1)
        inside = value[below] + rise[below] * (place - below)
        return np.asarray(np.where(squared <= 1 + 1e-6, inside, -np.inf))

    def log_odds(self, squared_nm2: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Return the log odds (1) that detections of neighbouring good frames are one defect."""
        p = self.p_continued
        odds = self._log_density(squared_nm2 / self.reach_nm**2) - 2 * np.log(self.reach_nm)
        later = np.flatnonzero(apart > 1)
        if len(later):
            with np.errstate(divide="ignore"):
                odds[later] = np.log(self.density_per_nm2(squared_nm2[later], apart[later]))
        return np.asarray(odds + (np.log(p / (1 - p)) - np.log(self.births_per_nm2)))

    def log_lost(self, density: np.ndarray) -> np.ndarray:
        """Return how much likelier a detection was lost, given steps to starts two frames later.

        `density` (n,): the sum of f2 over those starts [1/nm2].
        """
        share = self.share_found_again
        return np.asarray(np.log(1 - share + share * density / self.new_per_nm2))

    def log_found(self, density: np.ndarray) -> np.ndarray:
        """Return how much likelier a detection continues nothing, given the ends two frames ago.

        `density` (n,): the sum of f2 over the steps from those ends [1/nm2].
        """
        share = self.share_found_again
        return np.asarray(
            np.log((self.new_per_nm2 + share / (1 - share) * density) / self.births_per_nm2)
        )

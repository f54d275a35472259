r"""How far defects step, how often they are missed and how often new ones begin: what makes a link likely.

Two detections of neighbouring frames a distance d apart are either one defect, or a defect that was lost and another that
was found. The odds of the first against the second are

    log odds = log f(d) + log(p / (1 - p)) - log(births)                                                  (1)

with f the density of steps [1/nm2], p the chance that a detection is continued in the next frame (the defect survives
*and* is found), and `births` the density of detections that continue nothing [1/(frame nm2)]. All three are counted in the
data: the tracks of a first linking by distance give the numbers, from which the pairs expected by chance are taken away.
Linking then maximises the sum of (1), the likelihood of all links together. The steps of atoms are far from a normal
distribution (they rest, or they hop by a lattice vector), which is why counting them is worth it.

Counts are integers and extremes, so they add up to the same model for every chunking.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

N_BINS = 64
"""Bins of the step length, from 0 to the reach."""

PRIOR_STEPS = 20.0
"""Weight, in steps, of the prior: a normal distribution whose sd is 0.4 reaches, as good as squared distances."""


@dataclass(frozen=True, eq=False)
class StepCounts:
    """What the links of some frames say of steps, losses and births; two of them add up.

    Attributes
    ----------
    steps
        (`N_BINS`,) links by length, in units of their reach.
    n_ended, n_begun
        Detections not continued in the next good frame, and those that continue nothing.
    n_pairs
        Pairs of neighbouring good frames.
    low_nm, high_nm
        (2,) extremes of the positions.
    """

    steps: np.ndarray
    n_ended: int
    n_begun: int
    n_pairs: int
    low_nm: np.ndarray
    high_nm: np.ndarray

    def __add__(self, other: StepCounts) -> StepCounts:
        """Return the counts of both."""
        return StepCounts(
            self.steps + other.steps,
            self.n_ended + other.n_ended,
            self.n_begun + other.n_begun,
            self.n_pairs + other.n_pairs,
            np.minimum(self.low_nm, other.low_nm),
            np.maximum(self.high_nm, other.high_nm),
        )


NO_STEPS = StepCounts(np.zeros(N_BINS, np.int64), 0, 0, 0, np.full(2, np.inf), np.full(2, -np.inf))
"""What nothing says."""


def count_steps(
    ordinal: np.ndarray, points_nm: np.ndarray, before: np.ndarray, reach_nm: np.ndarray, *, n_previous: int = 0
) -> StepCounts:
    """Count the steps into every frame of a block but those of its halo.

    Parameters
    ----------
    ordinal, points_nm, reach_nm
        (n,), (n, 2), (n,): as in `stemkin.kernels.linking.links`.
    before
        (n,) row that each row continues, -1 for none.
    n_previous
        So many of the first rows are the halo; the steps into that frame were counted with the block before.
    """
    if not len(ordinal):
        return NO_STEPS
    later = np.flatnonzero(before >= 0)
    later = later[later >= n_previous]
    length = np.sqrt(((points_nm[later] - points_nm[before[later]]) ** 2).sum(axis=1)) / reach_nm[later]
    steps = np.bincount((length * N_BINS).astype(np.int64).clip(max=N_BINS - 1), minlength=N_BINS)
    occupied, first = np.unique(ordinal, return_index=True)
    follows = np.zeros(len(occupied), bool)  # frames whose neighbour before is occupied too, and within reach
    follows[1:] = (np.diff(occupied) == 1) & (reach_nm[first[1:]] > 0)
    size = np.diff(np.r_[first, len(ordinal)])
    n_into, n_from = size[follows].sum(), size[np.flatnonzero(follows) - 1].sum()
    low, high = points_nm.min(axis=0), points_nm.max(axis=0)
    n_links = int(steps.sum())
    return StepCounts(steps, int(n_from) - n_links, int(n_into) - n_links, int(follows.sum()), low, high)


@dataclass(frozen=True, eq=False)
class StepModel:
    """The log odds of links, as `StepCounts` tell them.

    Attributes
    ----------
    counts
        What was counted.
    reach_nm
        Largest step between neighbouring frames [nm].
    """

    counts: StepCounts
    reach_nm: float

    @cached_property
    def area_nm2(self) -> float:
        """Area in which detections lie [nm2]."""
        extent = np.maximum(self.counts.high_nm - self.counts.low_nm, 0.0) + 2 * self.reach_nm
        return float(extent.prod()) if np.isfinite(extent).all() else 100 * self.reach_nm**2

    @cached_property
    def n_by_chance(self) -> float:
        """Links between a lost defect and another that was found, as many as chance makes.

        With e detections that end and b that begin, all told, chance brings e b / A of them within reach, where A is
        the number of discs of that radius in all frames; what is seen to end and to begin is less by as much.
        """
        c = self.counts
        discs = max(c.n_pairs, 1) * self.area_nm2 / (np.pi * self.reach_nm**2)
        half = (discs - c.n_ended - c.n_begun) / 2
        root = half**2 - float(c.n_ended) * c.n_begun
        found = half - np.sqrt(root) if half > 0 and root > 0 else np.inf
        return float(min(found, 0.5 * c.steps.sum()))

    @cached_property
    def density(self) -> np.ndarray:
        """(`N_BINS`,) probability of a step per unit of area, in units of the reach: f(d) = density / reach**2."""
        edges = np.arange(N_BINS + 1) / N_BINS
        ring = edges[1:] ** 2 - edges[:-1] ** 2
        prior = np.exp(-(edges[:-1] ** 2) / 0.32) - np.exp(-(edges[1:] ** 2) / 0.32)
        steps = self.counts.steps
        smooth = np.convolve(np.concatenate([steps[:1], steps, steps[-1:]]), [0.25, 0.5, 0.25], mode="valid")
        true = np.maximum(smooth - self.n_by_chance * ring, 0.0) + PRIOR_STEPS * prior / prior.sum()
        return np.asarray(true / true.sum() / (np.pi * ring))

    @cached_property
    def p_continued(self) -> float:
        """Chance that a detection is continued in the next good frame."""
        n = self.counts.steps.sum() - self.n_by_chance
        return float((n + 1) / (self.counts.steps.sum() + self.counts.n_ended + 2))

    @cached_property
    def births_per_nm2(self) -> float:
        """Detections per frame and nm2 that continue nothing."""
        return float((self.counts.n_begun + self.n_by_chance + 1) / max(self.counts.n_pairs, 1) / self.area_nm2)

    def log_density(self, squared_nm2: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Return log f of steps across `apart` frame times [log 1/nm2]; minus infinity beyond the reach.

        Across g frame times, half of the defects are taken to have made one step and half to have spread by sqrt(g).
        """
        squared = squared_nm2 / self.reach_nm**2
        density = self._at(squared)
        later = np.flatnonzero(apart > 1)
        if len(later):
            spread = self._at(squared[later] / apart[later]) / apart[later]
            density[later] = (density[later] + spread) / 2
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(density) - 2 * np.log(self.reach_nm))

    def _at(self, squared: np.ndarray) -> np.ndarray:
        """Return the density at squared distances in units of the reach; 0 beyond it."""
        middle = (np.arange(N_BINS) + 0.5) / N_BINS
        inside = np.exp(np.interp(np.sqrt(squared), middle, np.log(self.density)))
        return np.asarray(np.where(squared <= 1 + 1e-6, inside, 0.0))

    def log_odds(self, squared_nm2: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Return the log odds (1) that two detections of neighbouring good frames are one defect."""
        p = self.p_continued
        return np.asarray(self.log_density(squared_nm2, apart) + np.log(p / (1 - p)) - np.log(self.births_per_nm2))

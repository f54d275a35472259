"""Detections as a linker sees them: where, when, how they look, and which may be one defect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from stemkin.kernels.linking.block_names import ranks
from stemkin.kernels.linking.candidates import Pairs, near_pairs


@dataclass(frozen=True, eq=False)
class Looks:
    """How detections look, as far as it counts.

    Attributes
    ----------
    class_id
        (n,) their classes.
    brightness_nm
        (n,) logarithm of their scores, times the distance that a factor e counts as [nm].
    class_penalty_nm
        What a difference of class counts as [nm].
    """

    class_id: np.ndarray
    brightness_nm: np.ndarray
    class_penalty_nm: float = 0.0

    @cached_property
    def all_alike(self) -> bool:
        """Tell whether nothing differs that counts."""
        return not self.class_penalty_nm and not self.brightness_nm.any()

    def squared_nm2(self, i: np.ndarray, j: np.ndarray) -> np.ndarray | float:
        """Return what the looks of the pairs `i`, `j` add to their squared distances [nm2]."""
        if self.all_alike:
            return 0.0
        other = self.class_penalty_nm**2 * (self.class_id[i] != self.class_id[j])
        return np.asarray(other + (self.brightness_nm[i] - self.brightness_nm[j]) ** 2)

    def take(self, rows: np.ndarray | slice) -> Looks:
        """Return the looks of `rows`."""
        return Looks(self.class_id[rows], self.brightness_nm[rows], self.class_penalty_nm)


@dataclass(frozen=True, eq=False)
class Sightings:
    """Detections of consecutive frames.

    Attributes
    ----------
    ordinal
        (n,) frame of each row, counted among the good frames; ascending.
    frame
        (n,) its number in the movie.
    point_nm
        (n, 2) drift-corrected positions (y, x) [nm].
    since_last, since_second
        (n,) frame times since the last good frame before each row's, and since the one before that.
    looks
        How they look; what differs adds to a pair's squared distance. None: only distance counts.
    longest
        Frame times after which nothing is continued.
    spacing_nm
        Distance of neighbouring sites: only steps that are lattice vectors, as far as their length
        tells, are candidates; None: all steps are.
    """

    ordinal: np.ndarray
    frame: np.ndarray
    point_nm: np.ndarray
    since_last: np.ndarray
    since_second: np.ndarray
    looks: Looks
    longest: float = np.inf
    spacing_nm: float | None = None

    def reach_nm(self, max_step_nm: float, n_apart: int = 1) -> np.ndarray:
        """Return the largest distance (n,) from `n_apart` (1 or 2) good frames before [nm].

        It widens as the root of the time between, and is 0 where nothing goes on.
        """
        since = {1: self.since_last, 2: self.since_second}[n_apart]
        return np.where(since <= self.longest + n_apart - 1, max_step_nm * np.sqrt(since), 0.0)

    def pairs(self, reach_nm: np.ndarray, n_apart: int = 1) -> Pairs:
        """Return the candidate pairs; what differs in looks adds to their squared distances."""
        pairs = near_pairs(self.ordinal, self.point_nm, reach_nm, n_apart=n_apart)
        if self.spacing_nm is not None:
            kept = np.flatnonzero(from_site_to_site(pairs.squared, self.spacing_nm))
            pairs = Pairs(pairs.earlier[kept], pairs.later[kept], pairs.squared[kept])
        return replace(
            pairs, squared=pairs.squared + self.looks.squared_nm2(pairs.earlier, pairs.later)
        )

    def take(self, rows: np.ndarray | slice) -> Sightings:
        """Return the sightings of `rows`, which are ascending."""
        return replace(
            self,
            ordinal=self.ordinal[rows],
            frame=self.frame[rows],
            point_nm=self.point_nm[rows],
            since_last=self.since_last[rows],
            since_second=self.since_second[rows],
            looks=self.looks.take(rows),
        )

    @cached_property
    def rank(self) -> np.ndarray:
        """(n,) rank of each row within its frame."""
        return ranks(self.ordinal)


SITE_TOLERANCE = 0.3
"""How far the length of a step may be from that of a lattice vector, in lattice constants. A step
from a chalcogen site to a metal site (0.58) is none, and neither is half a step."""


def from_site_to_site(squared: np.ndarray, spacing: float) -> np.ndarray:
    """Tell which steps may lead from site to site of a triangular lattice.

    Parameters
    ----------
    squared
        (p,) squared lengths of the steps [nm2].
    spacing
        Distance of neighbouring sites [nm].

    Returns
    -------
    (p,) whether the length is a lattice vector's, within `SITE_TOLERANCE` spacings.

    Examples
    --------
    >>> from_site_to_site(np.array([0.1, 0.577, 1.0, 1.4, 1.75]) ** 2, 1.0).tolist()
    [True, False, True, False, True]
    """
    length = np.sqrt(squared) / spacing
    # lengths of the lattice vectors u a + v b, u, v >= 0: sqrt(u² + u v + v²), which covers all
    # directions by symmetry; u and v up to two more than the longest step leave one shell beyond it
    u = np.arange(int(length.max(initial=0.0)) + 3)
    shells = np.unique(np.sqrt(u[:, None] ** 2 + u[:, None] * u + u**2))
    place = np.searchsorted(shells, length)
    nearest = np.minimum(
        np.abs(shells[place] - length), np.abs(length - shells[np.maximum(place - 1, 0)])
    )
    return np.asarray(nearest <= SITE_TOLERANCE)


def goes_on(links: np.ndarray) -> np.ndarray:
    """Return whether each row is continued.

    Parameters
    ----------
    links
        (n,) row that each row continues, -1 where a track begins.

    Returns
    -------
    (n,) bool.
    """
    on = np.zeros(len(links), bool)
    on[links[links >= 0]] = True
    return on

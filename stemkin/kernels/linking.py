r"""From frame to frame: which detection continues which, for a whole block of frames at once.

By *distance*: for each pair of neighbouring frames the squared distances, with the squared reach for each detection that
is not continued, add up to the least (Crocker & Grier, J. Colloid Interface Sci. 179, 298 (1996)). A pair of frames that lie
g frame times apart (bad ones between them) may be sqrt(g) as far apart as neighbours: the spread of a random walk.

By *likelihood*: the log odds of all links of a pair of frames add up to the most. The odds that detection i of one frame is
detection j of the next, against i being lost and j being another (`stemkin.kernels.steps`), are

    f(d_ij) p / ((1 - p) A_i births B_j)                                                                      (1)

and the two factors A and B ask the frames beside: a detection that comes back one frame later was only missed, and its
neighbour's should not be taken for it. With r the share of lost detections that are found again in the frame after,

    A_i = 1 - r + r sum_k f2(d_ik) / births,    k: begins a track two frames after i                          (2)
    B_j = 1 + r / (1 - r) sum_k f2(d_kj) / births,    k: ends a track two frames before j

where f2 is the density of steps across two frames. Who ends and who begins is taken from a first answer without the sums,
and the answer is then improved `N_ROUNDS` times, where the sums say something new: only the groups of candidates that they
touch are matched anew. So a link depends on the `CONTEXT` frames around it and on no others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from stemkin.kernels.candidates import Grid, Pairs, near_pairs, windows
from stemkin.kernels.matching import SLACK, best_matching, tie_break
from stemkin.kernels.seams import ranks
from stemkin.kernels.steps import NO_STEPS, StepCounts, StepModel, by_length

N_ROUNDS = 2
"""How often the links are chosen anew, knowing who ended and who began before."""

STRETCH, ENOUGH_ROWS = 16, 256
"""Frames that are counted together, and rows per frame of which more are not needed to know how defects step."""

CONTEXT = (N_ROUNDS + 1, N_ROUNDS)
"""Good frames before and after a frame that a link into it may depend on; at least two on either side."""


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
        Distance of neighbouring sites: only steps that are lattice vectors, as far as their length tells, are candidates;
        None: all steps are.
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
        """Return the largest distance (n,) from the frame `n_apart` good frames before [nm]; 0 where nothing goes on."""
        since = self.since_last if n_apart == 1 else self.since_second
        return np.where(since <= self.longest + n_apart - 1, max_step_nm * np.sqrt(since), 0.0)

    def pairs(self, reach_nm: np.ndarray, n_apart: int = 1) -> Pairs:
        """Return the candidate pairs; what differs in looks adds to their squared distances."""
        pairs = near_pairs(self.ordinal, self.point_nm, reach_nm, n_apart=n_apart)
        if self.spacing_nm is not None:
            kept = np.flatnonzero(from_site_to_site(pairs.squared, self.spacing_nm))
            pairs = Pairs(pairs.earlier[kept], pairs.later[kept], pairs.squared[kept])
        return replace(pairs, squared=pairs.squared + self.looks.squared_nm2(pairs.earlier, pairs.later))

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
"""How far the length of a step may be from that of a lattice vector, in lattice constants. A step from a chalcogen site to a
metal site (0.58) is none, and neither is half a step."""


def from_site_to_site(squared: np.ndarray, spacing: float) -> np.ndarray:
    """Tell which steps, given their squared lengths (p,), may lead from site to site of a triangular lattice.

    >>> from_site_to_site(np.array([0.1, 0.577, 1.0, 1.4, 1.75]) ** 2, 1.0).tolist()
    [True, False, True, False, True]
    """
    length = np.sqrt(squared) / spacing
    u = np.arange(int(length.max(initial=0.0)) + 3)
    shells = np.unique(np.sqrt(u[:, None] ** 2 + u[:, None] * u + u**2))
    place = np.searchsorted(shells, length)
    nearest = np.minimum(np.abs(shells[place] - length), np.abs(length - shells[np.maximum(place - 1, 0)]))
    return np.asarray(nearest <= SITE_TOLERANCE)


def links_by_distance(seen: Sightings, max_step_nm: float) -> np.ndarray:
    """Say which row of the frame before each row continues, at the least total squared distance.

    Returns
    -------
    (n,) row in the frame before, -1 where a track begins.

    Examples
    --------
    >>> frame, points = np.array([0, 0, 1, 2]), np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 0.1], [0.0, 0.2]])
    >>> seen = Sightings(frame, frame, points, np.ones(4), np.full(4, 2.0), Looks(np.zeros(4), np.zeros(4)))
    >>> links_by_distance(seen, 0.4).tolist()
    [-1, -1, 0, 2]
    """

    def of_window(part: Sightings) -> np.ndarray:
        reach = part.reach_nm(max_step_nm)
        pairs = part.pairs(reach)
        limit = reach[pairs.later] ** 2
        unique = tie_break(part.rank[pairs.earlier], part.rank[pairs.later])
        return _best(pairs, limit * (1 + 2 * SLACK + unique) - pairs.squared, len(reach))

    return _by_windows(seen, of_window, before=1, after=0)


def links_by_likelihood(seen: Sightings, model: StepModel) -> np.ndarray:
    """Say which row of the frame before each row continues, so that all links together are most likely (eq. 1).

    Returns
    -------
    (n,) row in the frame before, -1 where a track begins. As for a whole movie in those frames that have `CONTEXT` frames
    around them, or the movie's ends.
    """

    def of_window(part: Sightings) -> np.ndarray:
        n = len(part.ordinal)
        pairs = part.pairs(part.reach_nm(model.reach_nm))
        i, j = pairs.earlier, pairs.later
        plain = model.log_odds(pairs.squared, part.since_last[j]) + tie_break(part.rank[i], part.rank[j])
        rivals = _Rivals(part, model)
        lost, found = rivals.nobody
        odds = plain - lost[i] - found[j]
        links = _best(pairs, odds, n)
        for _ in range(N_ROUNDS):
            before, (lost, found) = (lost, found), rivals.log_odds(links)
            again = _touched(pairs, (lost != before[0]) | (found != before[1]))
            i, j = pairs.earlier[again], pairs.later[again]
            links[j] = -1
            chosen = Pairs(i, j, pairs.squared[again])
            better = _best(chosen, plain[again] - lost[i] - found[j], n)
            links = np.where(better >= 0, better, links)
        return links

    return _by_windows(seen, of_window, before=CONTEXT[0], after=CONTEXT[1])


class _Rivals:
    """What the frames beside say against the links of a window."""

    def __init__(self, seen: Sightings, model: StepModel) -> None:
        """Sort the rows of `seen`; the odds are those of `model`."""
        self._seen, self._model = seen, model
        self._reach = seen.reach_nm(model.reach_nm, 2)
        self._grid = Grid(seen.ordinal, seen.point_nm, float(self._reach.max(initial=0.0)))

    @property
    def nobody(self) -> tuple[np.ndarray, np.ndarray]:
        """The logarithms (n,) of A and B where nobody ends or begins nearby."""
        none = np.zeros(len(self._reach))
        return self._model.log_lost(none), self._model.log_found(none)

    def log_odds(self, links: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithms (n,) of A and B of eqs. 1 and 2, when the tracks are those of `links`."""
        begins = np.flatnonzero((links < 0) & (self._reach > 0))
        start, row, squared = self._grid.near(begins, self._reach[begins], -2)
        lost = np.bincount(row, self._density(row, start, squared), minlength=len(links))
        # seen from an end, the reach is that of the frame two good frames later: the largest in the window is enough to look
        ends = np.flatnonzero(~_goes_on(links))
        end, row, squared = self._grid.near(ends, np.full(len(ends), self._reach.max(initial=0.0)), 2)
        found = np.bincount(row, self._density(end, row, squared), minlength=len(links))
        return self._model.log_lost(lost), self._model.log_found(found)

    def _density(self, earlier: np.ndarray, later: np.ndarray, squared: np.ndarray) -> np.ndarray:
        """Return the density of steps from `earlier` to `later` rows, 0 where the time between is too long."""
        squared = squared + self._seen.looks.squared_nm2(earlier, later)
        density = self._model.density_per_nm2(squared, self._seen.since_second[later])
        return np.where(self._reach[later] > 0, density, 0.0)


def counted_frames(ordinal: np.ndarray) -> np.ndarray:
    """Return for how many frames each row's frame is counted: 1 where all are, k where one stretch in k is, 0 in the others.

    A crowded frame says as much as many sparse ones: of all stretches of `STRETCH` frames so many are counted that there
    are about `ENOUGH_ROWS` rows per frame of the movie. It follows from a frame's number and its rows alone.

    Parameters
    ----------
    ordinal
        (n,) frame of each row, counted among the good frames; ascending, whole frames.

    Examples
    --------
    >>> counted_frames(np.repeat([0, STRETCH, 2 * STRETCH], [1, 500, 500]))[[0, 1, 501]].tolist()
    [1, 0, 2]
    """
    starts, size = _frames(ordinal)
    one_in = 2 ** np.ceil(np.log2(np.maximum(size / ENOUGH_ROWS, 1))).astype(np.int64)
    return np.repeat(np.where(ordinal[starts] // STRETCH % one_in == 0, one_in, 0), size)


def count_steps(seen: Sightings, max_step_nm: float, own: slice) -> StepCounts:
    """Count steps, losses, births and returns in links by distance.

    Parameters
    ----------
    seen
        Rows of a block and, where there are any, of two occupied frames before and after it.
    max_step_nm
        Largest step between neighbouring frames [nm].
    own
        The block's rows; the counts of all blocks of a movie add up to those of the movie.
    """
    weight = counted_frames(seen.ordinal)
    weight[: own.start] = weight[own.stop :] = 0
    if not weight.any():
        return NO_STEPS
    first, last = int(seen.ordinal[0]), int(seen.ordinal[-1])
    starts, _ = _frames(seen.ordinal)
    n_pairs = int(weight[starts] @ np.diff(seen.ordinal[starts], prepend=first))
    if not weight[own].all():  # a frame asks for the links into itself, the frame before and the frame after
        counted = np.unique(seen.ordinal[weight > 0])
        rows = np.flatnonzero(np.isin(seen.ordinal, np.concatenate([counted + k for k in (-2, -1, 0, 1)])))
        seen, weight = seen.take(rows), weight[rows]
    ordinal, point, reach = seen.ordinal, seen.point_nm, seen.reach_nm(max_step_nm)
    links = links_by_distance(seen, max_step_nm)
    later = np.flatnonzero((links >= 0) & (weight > 0))
    steps = by_length(((point[later] - point[links[later]]) ** 2).sum(axis=1), reach[later], weight[later])
    goes_on, reach_two = _goes_on(links), seen.reach_nm(max_step_nm, 2)
    begins = (links < 0) & (weight > 0)
    tips = np.flatnonzero(~goes_on | begins)
    reach_two = np.where(begins & (reach_two > 0), reach_two, 0.0)[tips]
    pairs = near_pairs(ordinal[tips], point[tips], reach_two, n_apart=2)
    again = ~goes_on[tips[pairs.earlier]]
    start = pairs.later[again]
    own_points = [axis[weight > 0] for axis in point.T]
    return StepCounts(
        steps=steps,
        returns=by_length(pairs.squared[again], reach_two[start], weight[tips[start]]),
        n_ended=int(weight[~goes_on & (ordinal < last)].sum()),
        n_begun=int(weight[begins & (ordinal > first)].sum()),
        n_before_two=int(weight[~goes_on & (ordinal + 2 <= last)].sum()),
        n_pairs=n_pairs,
        low_nm=np.array([axis.min() for axis in own_points]),
        high_nm=np.array([axis.max() for axis in own_points]),
    )


def _frames(ordinal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each frame's rows begin, and how many they are; `ordinal` (n,) is ascending."""
    starts = np.flatnonzero(np.r_[True, ordinal[1:] != ordinal[:-1]][: len(ordinal)])
    return starts, np.diff(np.append(starts, len(ordinal)))


def _touched(pairs: Pairs, changed: np.ndarray) -> np.ndarray:
    """Return which pairs hang together with a row that `changed` (n,), through rows that they share."""
    touched = changed[pairs.earlier] | changed[pairs.later]
    n_before = -1
    while n_before < (n_touched := int(np.count_nonzero(touched))):
        earlier, later = np.zeros_like(changed), np.zeros_like(changed)
        earlier[pairs.earlier[touched]] = later[pairs.later[touched]] = True
        touched = earlier[pairs.earlier] | later[pairs.later]
        n_before = n_touched
    return np.flatnonzero(touched)


def _goes_on(links: np.ndarray) -> np.ndarray:
    """Return whether each row (n,) is continued."""
    goes_on = np.zeros(len(links), bool)
    goes_on[links[links >= 0]] = True
    return goes_on


def _best(pairs: Pairs, saving: np.ndarray, n: int) -> np.ndarray:
    """Return the row (n,) that each row continues in the best choice of `pairs`."""
    taken = best_matching(pairs.earlier, pairs.later, saving, n_left=n, n_right=n)
    links = np.full(n, -1, np.int64)
    links[pairs.later[taken]] = pairs.earlier[taken]
    return links


def _by_windows(
    seen: Sightings, of_window: Callable[[Sightings], np.ndarray], *, before: int, after: int
) -> np.ndarray:
    """Link a few frames at a time, each window with so many frames before and after; memory stays that of a window."""
    links = np.full(len(seen.ordinal), -1, np.int64)
    for window in windows(seen.ordinal, before=before, after=after):
        found = of_window(seen.take(slice(window.start, window.stop)))[
            window.first - window.start : window.last - window.start
        ]
        links[window.first : window.last] = np.where(found >= 0, found + window.start, -1)
    return links

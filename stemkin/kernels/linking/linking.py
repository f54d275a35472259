r"""From frame to frame: which detection continues which, for a whole block of frames at once.

By *distance*: for each pair of neighbouring frames the squared distances, with the squared reach
for each detection that is not continued, add up to the least (Crocker & Grier, J. Colloid Interface
Sci. 179, 298 (1996)). A pair of frames that lie g frame times apart (bad ones between them) may be
sqrt(g) as far apart as neighbours: the spread of a random walk.

By *likelihood*: the log odds of all links of a pair of frames add up to the most. The odds that
detection i of one frame is detection j of the next, against i being lost and j being another
(`stemkin.kernels.linking.steps`), are

    f(d_ij) p / ((1 - p) A_i births B_j)                                                  (1)

and the two factors A and B ask the frames beside: a detection that comes back one frame later was
only missed, and its neighbour's should not be taken for it. With r the share of lost detections
that are found again in the frame after,

    A_i = 1 - r + r sum_k f2(d_ik) / births,    k: begins a track two frames after i      (2)
    B_j = 1 + r / (1 - r) sum_k f2(d_kj) / births,    k: ends a track two frames before j

where f2 is the density of steps across two frames. Who ends and who begins is taken from a first
answer without the sums, and the answer is then improved `N_ROUNDS` times, where the sums say
something new: only the groups of candidates that they touch are matched anew. So a link depends on
the `CONTEXT` frames around it and on no others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stemkin.kernels.common.matching import SLACK, best_matching, tie_break
from stemkin.kernels.linking.candidates import NeighbourGrid, Pairs, windows
from stemkin.kernels.linking.sightings import Sightings, goes_on
from stemkin.kernels.linking.steps import StepModel

N_ROUNDS = 2
"""How often the links are chosen anew, knowing who ended and who began before."""

CONTEXT = (N_ROUNDS + 1, N_ROUNDS)
"""Good frames before and after a frame that a link into it may depend on; at least two on either
side."""


def links_by_distance(seen: Sightings, max_step_nm: float) -> np.ndarray:
    """Assign each row to the one it continues, at the least total squared distance.

    Parameters
    ----------
    seen
        (n) detections of consecutive frames.
    max_step_nm
        Largest step between neighbouring frames [nm].

    Returns
    -------
    (n,) row in the frame before, -1 where a track begins.

    Examples
    --------
    >>> from stemkin.kernels.linking.sightings import Looks
    >>> frame = np.array([0, 0, 1, 2])
    >>> points = np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 0.1], [0.0, 0.2]])
    >>> looks = Looks(np.zeros(4), np.zeros(4))
    >>> seen = Sightings(frame, frame, points, np.ones(4), np.full(4, 2.0), looks)
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
    """Assign each row to the one it continues, so that all links are most likely (eq. 1).

    Parameters
    ----------
    seen
        (n) detections of consecutive frames.
    model
        Odds of steps.

    Returns
    -------
    (n,) row in the frame before, -1 where a track begins. As for a whole movie in those frames that
    have `CONTEXT` frames around them, or the movie's ends.
    """

    def of_window(part: Sightings) -> np.ndarray:
        n = len(part.ordinal)
        pairs = part.pairs(part.reach_nm(model.reach_nm))
        i, j = pairs.earlier, pairs.later
        plain = model.log_odds(pairs.squared, part.since_last[j]) + tie_break(
            part.rank[i], part.rank[j]
        )
        rivals = _Rivals(part, model)
        lost, found = rivals.nobody
        odds = plain - lost[i] - found[j]
        links = _best(pairs, odds, n)
        for _ in range(N_ROUNDS):
            before, (lost, found) = (lost, found), rivals.log_odds(links)
            # Only groups of candidates in which some odds changed are matched anew: every pair of
            # such a group is in `again`, so the other rows' links stay valid beside the new ones.
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
        self._grid = NeighbourGrid(seen.ordinal, seen.point_nm, float(self._reach.max(initial=0.0)))

    @property
    def nobody(self) -> tuple[np.ndarray, np.ndarray]:
        """The logarithms (n,) of A and B where nobody ends or begins nearby."""
        none = np.zeros(len(self._reach))
        return self._model.log_lost(none), self._model.log_found(none)

    def log_odds(self, links: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithms (n,) of A and B of eqs. 1 and 2 for the tracks of `links`."""
        begins = np.flatnonzero((links < 0) & (self._reach > 0))
        start, row, squared = self._grid.near(begins, self._reach[begins], -2)
        lost = np.bincount(row, self._density(row, start, squared), minlength=len(links))
        # seen from an end, the reach is that of the frame two good frames later: the largest in the
        # window is enough to look, and `_density` is 0 where the reach is none
        ends = np.flatnonzero(~goes_on(links))
        end, row, squared = self._grid.near(
            ends, np.full(len(ends), self._reach.max(initial=0.0)), 2
        )
        found = np.bincount(row, self._density(end, row, squared), minlength=len(links))
        return self._model.log_lost(lost), self._model.log_found(found)

    def _density(self, earlier: np.ndarray, later: np.ndarray, squared: np.ndarray) -> np.ndarray:
        """Return the density of steps from `earlier` to `later` rows.

        It is 0 where the time between is too long.
        """
        squared = squared + self._seen.looks.squared_nm2(earlier, later)
        density = self._model.density_per_nm2(squared, self._seen.since_second[later])
        return np.where(self._reach[later] > 0, density, 0.0)


def _touched(pairs: Pairs, changed: np.ndarray) -> np.ndarray:
    """Return which pairs hang together with a row that `changed` (n,), through shared rows."""
    touched = changed[pairs.earlier] | changed[pairs.later]
    n_before = -1
    while n_before < (n_touched := int(np.count_nonzero(touched))):
        earlier, later = np.zeros_like(changed), np.zeros_like(changed)
        earlier[pairs.earlier[touched]] = later[pairs.later[touched]] = True
        touched = earlier[pairs.earlier] | later[pairs.later]
        n_before = n_touched
    return np.flatnonzero(touched)


def _best(pairs: Pairs, saving: np.ndarray, n: int) -> np.ndarray:
    """Return the row (n,) that each row continues in the best choice of `pairs`."""
    taken = best_matching(pairs.earlier, pairs.later, saving, n_left=n, n_right=n)
    links = np.full(n, -1, np.int64)
    links[pairs.later[taken]] = pairs.earlier[taken]
    return links


def _by_windows(
    seen: Sightings, of_window: Callable[[Sightings], np.ndarray], *, before: int, after: int
) -> np.ndarray:
    """Link a few frames at a time, each window with so many frames before and after."""
    links = np.full(len(seen.ordinal), -1, np.int64)
    for window in windows(seen.ordinal, before=before, after=after):
        # rows of the window count from its start; only those that it answers for are kept
        found = of_window(seen.take(slice(window.start, window.stop)))
        found = found[window.first - window.start : window.last - window.start]
        links[window.first : window.last] = np.where(found >= 0, found + window.start, -1)
    return links

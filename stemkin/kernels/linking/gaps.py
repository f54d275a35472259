r"""Closing gaps: which track that ended goes on as which track that began a few frames later.

A second assignment, between the ends and the starts of all tracks of a movie (Jaqaman et al., Nat.
Methods 5, 695 (2008)). An end and a start with m good frames between them, g frame times and a
distance d apart, are one track with the log odds

    log f_g(d) + log(q_m / (1 - q_1 - q_2 - ...)) - log(births)                           (1)

f_g is the density of steps across g frame times (`stemkin.kernels.linking.steps`; the reach widens
as sqrt(g)), q_m the share of ends that come back after m missed frames, and `births` the density of
starts that continue nothing [1/(frame nm2)]. The shares and the births are those under which the
ends and starts are most likely. The odds of all closed gaps together are the largest possible.

The endpoints pass by twice in windows of time, once for the shares and once to be matched. What is
held is a window, the connected groups of candidates that reach beyond it, and the names of closed
gaps (16 bytes each); the answer is that of one window.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stemkin.kernels.common.matching import best_matching, tie_break
from stemkin.kernels.linking.candidates import near_pairs
from stemkin.kernels.linking.endpoints import Endpoints
from stemkin.kernels.linking.sightings import from_site_to_site
from stemkin.kernels.linking.steps import StepModel

N_ROUNDS = 30
"""Rounds of expectation-maximisation for the shares of ends that come back."""

MOST_ENDS = 1_000_000
"""Where there are more ends, every second (fourth, ...) one tells the shares."""


@dataclass(frozen=True, eq=False)
class Gaps:
    """Candidates: an end, and a start that may go on from it.

    Attributes
    ----------
    end, start
        (p,) number of the endpoint, in the order of time.
    first, then
        (p,) name of the track that ends, and of the one that starts.
    ordinal
        (p,) good frame of the end.
    density
        (p,) f_g(d) [1/nm2].
    missed
        (p,) good frames between the two, less one.
    """

    end: np.ndarray
    start: np.ndarray
    first: np.ndarray
    then: np.ndarray
    ordinal: np.ndarray
    density: np.ndarray
    missed: np.ndarray

    def take(self, rows: np.ndarray) -> Gaps:
        """Return the candidates `rows`."""
        return Gaps(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def concatenated(parts: Sequence[Gaps]) -> Gaps:
        """Return the candidates of all `parts`, which must not be none."""
        return Gaps(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(Gaps)
            )
        )


@dataclass(frozen=True)
class Shares:
    """Of ends, and of starts.

    Attributes
    ----------
    of_missed
        q_1, q_2, ...: share of ends that come back after so many missed frames.
    births_per_nm2
        Density of starts that continue nothing [1/(frame nm2)].
    """

    of_missed: np.ndarray
    births_per_nm2: float

    def log_odds(self, gaps: Gaps) -> np.ndarray:
        """Return the log odds (1) of every candidate."""
        with np.errstate(divide="ignore"):
            likely = np.log(self.of_missed[gaps.missed] * gaps.density)
        return np.asarray(likely - np.log(self.births_per_nm2 * (1 - self.of_missed.sum())))


def close_gaps(
    windows: Callable[[], Iterable[Endpoints]],
    *,
    model: StepModel,
    max_gap_frames: int,
    max_blind_frames: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the ends and starts that are one track, as an assignment problem.

    Parameters
    ----------
    windows
        Gives the endpoints of all tracks of a movie, as
        `stemkin.kernels.linking.endpoints.in_windows` cuts them; called twice where they are
        several.
    model
        How far defects step, and how often new ones begin.
    max_gap_frames
        Good frames that a defect may be missed in a row.
    max_blind_frames
        Bad frames that a gap may hold besides.

    Returns
    -------
    (k,) names of tracks that end and (k,) names of the tracks that go on from them.
    """
    candidates = partial(
        _candidates, model=model, max_gap_frames=max_gap_frames, max_blind_frames=max_blind_frames
    )
    # One window is held and looked at twice; where there is a second one, all are made anew for
    # the second pass.
    found = candidates(windows())
    ahead = list(itertools.islice(found, 2))
    shares = _shares(itertools.chain(ahead, found), model)
    second_pass: Iterable[tuple[Endpoints, Gaps, int]] = ahead
    if len(ahead) == 2:
        second_pass = candidates(windows())
    names = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    waiting: list[Gaps] = []
    for _, gaps, last_ordinal in second_pass:
        # An end within `max_gap_frames` of the window's last frame may have a start in the next
        # window: its whole group of candidates waits, the other groups are complete.
        likely = Gaps.concatenated([*waiting, gaps.take(shares.log_odds(gaps) > 0)])
        may_grow = _whole_groups(likely, likely.ordinal >= last_ordinal - max_gap_frames)
        names.append(_best(likely.take(~may_grow), shares))
        waiting = [likely.take(may_grow)]
    names += [_best(gaps, shares) for gaps in waiting]
    first, then = (np.concatenate(column) for column in zip(*names, strict=True))
    return first, then


def _candidates(
    windows: Iterable[Endpoints], *, model: StepModel, max_gap_frames: int, max_blind_frames: int
) -> Iterator[tuple[Endpoints, Gaps, int]]:
    """Yield each window, the candidates whose starts lie in it, and its last ordinal."""
    # `number` counts the endpoints of the whole movie in the order of time, so that one that is
    # kept for the next window has the same number there.
    behind: list[Endpoints] = []
    number = np.empty(0, np.int64)
    n_before = 0
    for window in windows:
        endpoints = Endpoints.concatenated([*behind, window])
        number = np.concatenate([number, np.arange(n_before, n_before + len(window))])
        is_new = number >= n_before
        n_before += len(window)
        last = int(endpoints.ordinal[-1])
        most = min(max_gap_frames, last - int(endpoints.ordinal[0]) - 1)
        found = [
            _near(endpoints, number, is_new, model, m, max_blind_frames)
            for m in range(1, max(most, 1) + 1)
        ]
        yield window, Gaps.concatenated(found), last
        kept = np.flatnonzero(endpoints.is_end & (endpoints.ordinal >= last - max_gap_frames))
        behind, number = [endpoints.take(kept)], number[kept]


def _near(
    endpoints: Endpoints,
    number: np.ndarray,
    is_new: np.ndarray,
    model: StepModel,
    n_missed: int,
    max_blind_frames: int,
) -> Gaps:
    """Return the candidates with `n_missed` good frames between them whose starts are new."""
    # The longest wait that is allowed sets the reach of the search; each pair is then held to its
    # own.
    widest = model.reach_nm * np.sqrt(n_missed + 1 + max_blind_frames)
    reach = np.where(is_new & ~endpoints.is_end, widest, 0.0)
    pairs = near_pairs(endpoints.ordinal, endpoints.point_nm, reach, n_apart=n_missed + 1)
    chosen = endpoints.is_end[pairs.earlier]
    if model.spacing_nm is not None:
        chosen &= from_site_to_site(pairs.squared, model.spacing_nm)
    end, start, squared = pairs.earlier[chosen], pairs.later[chosen], pairs.squared[chosen]
    squared = squared + endpoints.looks.squared_nm2(end, start)
    apart = (endpoints.frame[start] - endpoints.frame[end]).astype(np.float64)
    near = (apart <= n_missed + 1 + max_blind_frames) & (squared <= model.reach_nm**2 * apart)
    end, start = end[near], start[near]
    density = model.density_per_nm2(squared[near], apart[near])
    missed = np.full(len(end), n_missed - 1, np.int64)
    return Gaps(
        number[end],
        number[start],
        endpoints.name[end],
        endpoints.name[start],
        endpoints.ordinal[end],
        density,
        missed,
    )


def _shares(candidates: Iterable[tuple[Endpoints, Gaps, int]], model: StepModel) -> Shares:
    """Return the shares and births by expectation-maximisation over all ends, or an even sample."""
    # Ends are numbered through the movie; those whose number is a multiple of `every` are asked.
    # When they become too many, every second one is let go: no matter how windows were cut, the
    # same ones are left.
    every, n_before, n_starts = 1, 0, 0
    asked = [np.empty(0, np.int64)]
    kept: list[Gaps] = []
    for endpoints, gaps, _ in candidates:
        ends = n_before + np.flatnonzero(endpoints.is_end)
        n_before += len(endpoints)
        n_starts += len(endpoints) - len(ends)
        asked.append(ends[ends % every == 0])
        kept.append(gaps.take(gaps.end % every == 0))
        while sum(map(len, asked)) > MOST_ENDS:
            every *= 2
            asked = [ends[ends % every == 0] for ends in asked]
            kept = [part.take(part.end % every == 0) for part in kept]
    if not kept or not n_starts:
        return Shares(np.zeros(0), 1.0)
    every_end, all_gaps = np.concatenate(asked), Gaps.concatenated(kept)
    return _most_likely(
        np.searchsorted(every_end, all_gaps.end), all_gaps, len(every_end), n_starts, every, model
    )


def _most_likely(
    end: np.ndarray, gaps: Gaps, n_ends: int, n_starts: int, every: int, model: StepModel
) -> Shares:
    """Return the shares under which the ends are most likely.

    Parameters
    ----------
    end
        (p,) end of each of the candidates `gaps`, counted among the ends that are asked.
    n_ends, n_starts
        Ends that are asked, and all starts.
    every
        One in so many ends is asked.
    model
        Tells how many frames of which area the starts lie in.
    """
    n_shares = int(gaps.missed.max(initial=0)) + 1
    share = np.full(n_shares, 0.2 / n_shares)
    births = n_starts / model.room_nm2
    for _ in range(N_ROUNDS):
        weight = share[gaps.missed] * gaps.density / births
        total = 1 - share.sum() + np.bincount(end, weight, minlength=1)
        belongs = weight / total[end]
        share = (np.bincount(gaps.missed, belongs, minlength=n_shares) + 0.1) / (n_ends + 1)
        share *= min(1.0, 0.99 / share.sum())
        births = max(n_starts - every * belongs.sum(), 0.05 * n_starts) / model.room_nm2
    return Shares(share, births)


def _whole_groups(gaps: Gaps, chosen: np.ndarray) -> np.ndarray:
    """Return `chosen` (p,), with all that shares an endpoint with one of them, or with theirs."""
    if not chosen.any():
        return chosen
    endpoints, place = np.unique(np.concatenate([gaps.end, gaps.start]), return_inverse=True)
    end, start = np.split(place, 2)
    graph = coo_array(
        (np.ones(len(end), np.int8), (end, start)), shape=(len(endpoints), len(endpoints))
    )
    group = connected_components(graph, directed=False)[1][end]
    return np.isin(group, group[chosen])


def _best(gaps: Gaps, shares: Shares) -> tuple[np.ndarray, np.ndarray]:
    """Return the names (first, then) of the candidates of largest odds, no endpoint twice."""
    saving = shares.log_odds(gaps) + tie_break(gaps.end, gaps.start)
    (ends, end), (starts, start) = (
        np.unique(endpoints, return_inverse=True) for endpoints in (gaps.end, gaps.start)
    )
    taken = best_matching(end, start, saving, n_left=len(ends), n_right=len(starts))
    return gaps.first[taken], gaps.then[taken]


def one_name(first: np.ndarray, then: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Name all parts of a track whose gaps are closed after its first part.

    Parameters
    ----------
    first, then
        (k,) names; track `then` goes on where track `first` ended.

    Returns
    -------
    (k,) names that change, ascending, and what they change into.

    Examples
    --------
    >>> one_name(np.array([3, 8]), np.array([8, 20]))
    (array([ 8, 20]), array([3, 3]))
    """
    # Each name is in `then` once at most: it goes on from one track. So old → new is a forest of
    # chains, and each turn doubles how far along its chain every name looks back.
    order = np.argsort(then)
    old, new = then[order], first[order]
    while True:
        following = replaced(new, old, new)
        if np.array_equal(following, new):
            return old, new
        new = following


def replaced(names: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Replace names that changed.

    Parameters
    ----------
    names
        (n,) names of tracks.
    old, new
        (k,) names that change, ascending, and what they change into.

    Returns
    -------
    (n,) `names`, with each of `old` replaced by its `new`.
    """
    if not len(old):
        return names
    place = np.searchsorted(old, names).clip(max=len(old) - 1)
    return np.where(old[place] == names, new[place], names)

r"""Closing gaps: which track that ended goes on as which track that began a few frames later.

A second assignment, between the ends and the starts of all tracks of a movie (Jaqaman et al., Nat. Methods 5, 695 (2008)).
An end and a start with m good frames between them, g frame times and a distance d apart, are one track with the log odds

    log f_g(d) + log(q_m / (1 - q_1 - q_2 - ...)) - log(births)                                           (1)

f_g is the density of steps across g frame times (`stemkin.kernels.steps`; the reach widens as sqrt(g)), q_m the share of ends
that come back after m missed frames, and `births` the density of starts that continue nothing [1/(frame nm2)]. The shares
and the births are those under which all the ends and starts are most likely. The odds of all closed gaps together are the
largest possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.candidates import near_pairs
from stemkin.kernels.matching import best_matching, tie_break
from stemkin.kernels.sightings import Looks, from_site_to_site
from stemkin.kernels.steps import StepModel

N_ROUNDS = 30
"""Rounds of expectation-maximisation for the shares of ends that come back."""


@dataclass(frozen=True, eq=False)
class Tips:
    """First or last detections of tracks.

    Attributes
    ----------
    name
        (n,) the tracks' names.
    ordinal, frame
        (n,) number among the good frames, and in the movie.
    point_nm
        (n, 2) drift-corrected position (y, x) [nm].
    looks
        How they look.
    """

    name: np.ndarray
    ordinal: np.ndarray
    frame: np.ndarray
    point_nm: np.ndarray
    looks: Looks

    def __len__(self) -> int:
        """Return the number of tips."""
        return len(self.name)

    def take(self, rows: np.ndarray) -> Tips:
        """Return the tips `rows`."""
        return Tips(self.name[rows], self.ordinal[rows], self.frame[rows], self.point_nm[rows], self.looks.take(rows))

    @staticmethod
    def concatenated(parts: Sequence[Tips]) -> Tips:
        """Return the tips of all `parts`, which must not be none."""
        return Tips(
            np.concatenate([p.name for p in parts]),
            np.concatenate([p.ordinal for p in parts]),
            np.concatenate([p.frame for p in parts]),
            np.concatenate([p.point_nm for p in parts]),
            Looks(
                np.concatenate([p.looks.class_id for p in parts]),
                np.concatenate([p.looks.brightness_nm for p in parts]),
                parts[0].looks.class_penalty_nm,
            ),
        )


def close_gaps(
    ends: Tips, starts: Tips, *, model: StepModel, max_gap_frames: int, max_blind_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the ends and starts that are one track.

    Parameters
    ----------
    ends, starts
        Of all tracks of a movie, in any order.
    model
        How far defects step, and how often new ones begin.
    max_gap_frames
        Good frames that a defect may be missed in a row.
    max_blind_frames
        Bad frames that a gap may hold besides.

    Returns
    -------
    (k,) rows of `ends` and (k,) rows of `starts` that belong together.
    """
    none = np.empty(0, np.int64)
    if not len(ends) or not len(starts) or max_gap_frames < 1:
        return none, none
    max_gap_frames = min(max_gap_frames, int(starts.ordinal.max() - ends.ordinal.min()))
    if max_gap_frames < 1:
        return none, none
    both = Tips.concatenated([ends, starts])
    order = np.lexsort((both.name, both.point_nm[:, 1], both.point_nm[:, 0], both.ordinal))
    tips, is_end = both.take(order), order < len(ends)
    found = [_candidates(tips, is_end, model, m, max_blind_frames) for m in range(1, max_gap_frames + 1)]
    left, right, squared, apart = (np.concatenate(column) for column in zip(*found, strict=True))
    missed = np.repeat(np.arange(max_gap_frames), [len(f[0]) for f in found])
    odds = _log_odds(left, model.density_per_nm2(squared, apart), missed, len(ends), len(starts), model)
    saving = odds + tie_break(left, right)
    taken = best_matching(left, right, saving, n_left=len(tips), n_right=len(tips))
    return order[left[taken]], order[right[taken]] - len(ends)


def _log_odds(
    end: np.ndarray, density: np.ndarray, missed: np.ndarray, n_ends: int, n_starts: int, model: StepModel
) -> np.ndarray:
    """Return the log odds (1) of every pair; the shares of ends that come back are found by expectation-maximisation.

    Parameters
    ----------
    end, density, missed
        (p,) the pair's end, its f_g(d) [1/nm2], and the number of frames missed, less one.
    n_ends, n_starts
        How many there are.
    model
        Tells how many frames of which area the starts lie in.
    """
    n_shares = int(missed.max(initial=0)) + 1
    share = np.full(n_shares, 0.2 / n_shares)
    births = n_starts / model.room_nm2
    for _ in range(N_ROUNDS):
        weight = share[missed] * density / births
        total = 1 - share.sum() + np.bincount(end, weight, minlength=1)
        belongs = weight / total[end]
        share = (np.bincount(missed, belongs, minlength=n_shares) + 0.1) / (n_ends + 1)
        share *= min(1.0, 0.99 / share.sum())
        births = max(n_starts - belongs.sum(), 0.05 * n_starts) / model.room_nm2
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(share[missed] * density) - np.log(births * (1 - share.sum())))


def _candidates(
    tips: Tips, is_end: np.ndarray, model: StepModel, n_missed: int, max_blind_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs with `n_missed` good frames between them: end, start, squared distance [nm2], frame times."""
    # The longest wait that is allowed sets the reach of the search; each pair is then held to its own.
    widest = model.reach_nm * np.sqrt(n_missed + 1 + max_blind_frames)
    reach = np.where(is_end, 0.0, widest)
    pairs = near_pairs(tips.ordinal, tips.point_nm, reach, n_apart=n_missed + 1)
    chosen = is_end[pairs.earlier]
    if model.spacing_nm is not None:
        chosen &= from_site_to_site(pairs.squared, model.spacing_nm)
    earlier, later, squared = pairs.earlier[chosen], pairs.later[chosen], pairs.squared[chosen]
    squared = squared + tips.looks.squared_nm2(earlier, later)
    apart = (tips.frame[later] - tips.frame[earlier]).astype(np.float64)
    near = (apart <= n_missed + 1 + max_blind_frames) & (squared <= model.reach_nm**2 * apart)
    return earlier[near], later[near], squared[near], apart[near]


def one_name(first: np.ndarray, then: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say how tracks are called once their gaps are closed: all parts of a track by the name of its first.

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
    order = np.argsort(then)
    old, new = then[order], first[order]
    while True:
        following = renamed(new, old, new)
        if np.array_equal(following, new):
            return old, new
        new = following


def renamed(names: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return `names` with each of `old` (ascending) replaced by its `new`."""
    if not len(old):
        return names
    place = np.searchsorted(old, names).clip(max=len(old) - 1)
    return np.where(old[place] == names, new[place], names)

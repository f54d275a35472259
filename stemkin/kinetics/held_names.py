"""The names along whole tracks, as the fits behind wrong names hold them in the workers' memory."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin.kernels.chains.counting import run_starts
from stemkin.kernels.common.exact import slices
from stemkin.kinetics.baum_welch import Emissions
from stemkin.kinetics.counts import in_states
from stemkin.rows.groups import Grouping, Key
from stemkin.rows.passes import Sums
from stemkin.rows.tracks import Trajectories, surely_named


def names_along_tracks(
    rows: pd.DataFrame,
    *,
    grouping: Grouping,
    states: tuple[int, ...] | None,
    with_probability: bool,
) -> dict[Key, Emissions]:
    """Return group → the names along whole tracks, without what is needed no more. Computes once.

    A track that passes from one group into another is cut there, and the row behind the cut ends
    the first piece as well: a change belongs to the group of its earlier row.
    """
    need = ["class_id"]
    if with_probability:
        need.append("probability")
    rows = surely_named(rows)
    tracks = Trajectories.of(rows, need=tuple(need))
    kept = tracks.keep(in_states(tracks.class_id, states))
    sure = None
    if with_probability:
        sure = rows["probability"].to_numpy(np.float64)[kept.row]
    if sure is not None and ((sure < 0) | (sure > 1)).any():
        msg = (
            "the column 'probability' says how sure a name is, from 0 to 1, but it holds "
            f"{sure[(sure < 0) | (sure > 1)][0]}; give confusion=... instead"
        )
        raise ValueError(msg)
    n = len(kept.track)
    if n == 0:
        return {}
    movie = kept.movie[kept.track]
    keys, code = grouping.codes(kept.movies, movie, kept.frame, rows.iloc[kept.row])
    begin = np.flatnonzero(run_starts(kept.track, code))
    end = np.append(begin[1:], n)
    goes_on = np.append(kept.track[end[:-1]] == kept.track[end[:-1] - 1], False)
    found: dict[Key, Emissions] = {}
    for group, own in grouping.groups(keys):
        pieces = np.isin(code[begin], [keys.index(key) for key in own])
        # The pieces of this group, copied one behind the other: piece j takes the rows from `begin`
        # on, one more than its own where the track goes on, and fills `edges[j]` to `edges[j + 1]`.
        length = (end - begin + goes_on)[pieces]
        edges = np.append(0, np.cumsum(length))
        row = np.arange(edges[-1]) + np.repeat(begin[pieces] - edges[:-1], length)
        first = np.zeros(len(row), bool)
        first[edges[:-1]] = True
        step = np.where(first, 0, np.diff(kept.frame[row], prepend=0))
        pairs, gap = np.unique(
            np.stack([movie[row], step], axis=1)[~first], axis=0, return_inverse=True
        )
        position = np.zeros(len(row), dtype=np.int32)
        position[~first] = gap.ravel()
        gaps = [(kept.movies[m], int(g)) for m, g in pairs]
        own_sure = sure
        if sure is not None:
            own_sure = sure[row]
        found[group] = Emissions(
            edges, kept.class_id[row].astype(np.int32), own_sure, position, gaps
        )
    return found


def contents_of(names: dict[Key, Emissions]) -> Sums:
    """Return how often each class is named in each group, how surely, and which gaps occur.

    Under ("changes", group) how often a name differs from the one before in its track; under ("state", group, class) the rows, under ("sure", group, class) the exact sum of their
    probabilities, under ("tracks", group) the pieces of tracks, under ("gap", group, movie, frames)
    nothing but the key.
    """
    sums: Sums = {}
    for group, own in names.items():
        sums["tracks", group] = len(own.edges) - 1
        differs = np.diff(own.name, prepend=own.name[:1]) != 0
        differs[own.edges[:-1]] = False  # the first row of a piece has none before it
        sums["changes", group] = int(differs.sum())
        if own.sure is not None:
            sure = slices(np.nan_to_num(own.sure, nan=1.0))
            sums |= {
                ("sure", group, int(i)): sure[own.name == i].sum(axis=0)
                for i in np.unique(own.name)
            }
        sums |= {
            ("state", group, int(i)): int(n)
            for i, n in zip(*np.unique(own.name, return_counts=True), strict=True)
        }
        sums |= {("gap", group, *gap): np.zeros(0) for gap in own.gaps}
    return sums

"""Dopants of a movie, by what their columns show all the time.

The median of each column through time follows from how often it shows which signal: one pass over
the traces, whose memory does not grow with the length of the movie.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin.blas import on_one_thread, one_thread
from stemkin.rows.trees import as_tree
from stemkin.traces import METAL_SITES, SiteTraces

BESIDE = ((0, 0), (-1, 0), (0, -1))
"""Steps (u, v) from the cell of a metal column to those of the chalcogen columns around it."""

DARK, LEAST_DARK = 8.0, 1.0
"""The median signal of a dopant lies so many robust standard deviations below those of other metal
columns, and so far below 0."""

BIN, N_BINS = 0.05, 1600
"""Signals are counted in so many bins of this width about 0; what lies beyond is in the last ones."""

FRAMES_AT_ONCE = 128
"""Frames whose signals one task counts: tasks begin at multiples of it."""


@one_thread
def dopants_of(traces: SiteTraces) -> tuple[SiteTraces, pd.DataFrame]:
    """Find the dopants of a movie by what their columns show all the time. Computes once.

    Parameters
    ----------
    traces
        What `site_traces` gave.

    Returns
    -------
    traces
        The same, with `beside_dopant` in the table of sites.
    dopants
        One row per dopant: `dopant`, its cell `u`, `v`, and the numbers `site_0`, `site_1`,
        `site_2` of the sites beside it, for `dopant_chains`.

    Raises
    ------
    ValueError
        If there are no metal sites among the traces, or none is ever judged.
    """
    is_metal = (traces.sites["sublattice"] == METAL_SITES).to_numpy()
    if not is_metal.any():
        msg = (
            f"the traces of movie {traces.movie!r} hold no metal sites, which show the dopants; "
            "take the traces of all sites (`stemkin run --sites`)"
        )
        raise ValueError(msg)
    numbers = np.flatnonzero(is_metal)
    middle = medians_in_time(traces, numbers)
    if np.isnan(middle).all():
        msg = (
            f"no metal site of movie {traces.movie!r} is judged in any frame; look at the status of "
            "its frames, and at their drift"
        )
        raise ValueError(msg)
    usual = np.nanmedian(middle)
    spread = 1.4826 * np.nanmedian(np.abs(middle - usual))
    dark = middle < min(usual - DARK * spread, -LEAST_DARK)
    cells = traces.cells
    site_of = {tuple(cells[i].tolist()): i for i in np.flatnonzero(~is_metal).tolist()}
    rows: list[tuple[int, ...]] = []
    is_beside = np.zeros(traces.n_sites, dtype=bool)
    for u, v in cells[numbers[dark]].tolist():
        beside = [site_of.get((u + du, v + dv), -1) for du, dv in BESIDE]
        # one at the rim is no row, as some of its sites are out of sight; the others are beside it
        is_beside[[site for site in beside if site >= 0]] = True
        if min(beside) >= 0:
            rows.append((len(rows), u, v, *beside))
    names = ["dopant", "u", "v", "site_0", "site_1", "site_2"]
    dopants = pd.DataFrame(np.array(rows, dtype=np.int64).reshape(-1, 6), columns=names)
    return replace(traces, sites=traces.sites.assign(beside_dopant=is_beside)), dopants


def medians_in_time(traces: SiteTraces, numbers: np.ndarray) -> np.ndarray:
    """Return the median signal (m,) of some sites. Computes once: one pass over the traces.

    Parameters
    ----------
    traces
        Traces of a movie.
    numbers
        (m,) which sites.

    Returns
    -------
    Medians, known within a small part of `BIN`; NaN where a site is never judged.
    """
    from dask import compute, delayed

    count = delayed(on_one_thread)
    own = traces.values[:, numbers]
    parts = []
    for start in range(0, traces.n_frames, FRAMES_AT_ONCE):
        piece = own[start : start + FRAMES_AT_ONCE].rechunk(-1)
        parts.append(count(_counted, piece.to_delayed(optimize_graph=False).ravel()[0]))
    (counts,) = compute(as_tree(parts, _summed))
    n = counts.sum(axis=1)
    before = np.cumsum(counts, axis=1) - counts
    at = (before <= n[:, None] / 2).sum(axis=1) - 1
    rows = np.arange(len(counts))
    # values lie evenly within the bin of the middle one
    within = (n / 2 - before[rows, at]) / np.maximum(counts[rows, at], 1)
    return np.asarray(np.where(n > 0, (at + within - N_BINS // 2) * BIN, np.nan))


def _counted(values: np.ndarray) -> np.ndarray:
    """Return (m, N_BINS) how often each of the m columns of `values` lies in each bin."""
    known = np.isfinite(values)
    at = np.floor(np.where(known, values, 0.0) / BIN).astype(np.int64) + N_BINS // 2
    at = np.clip(at, 0, N_BINS - 1) + N_BINS * np.arange(values.shape[1])
    found = np.bincount(at[known], minlength=N_BINS * values.shape[1])
    return found.reshape(values.shape[1], N_BINS).astype(np.int32)


def _summed(parts: list[Any]) -> Any:
    return sum(parts[1:], start=parts[0])

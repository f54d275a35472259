"""How the signals of sites go together in space and time: sums over blocks of frames.

>>> from stemkin.simulation import simulate_traces
>>> world = simulate_traces(n_frames=40, shape=(12, 12), vacancy_fraction=0.1, depth=8.0)
>>> found = lattice_correlation(world.traces, max_lag_frames=2)
>>> found.table.query("du == 0 and dv == 0")["lag_frames"].tolist()
[0, 1, 2]

Blocks are cut at the same frames however the array is chunked, and their sums are exact
(`kernels/common/exact.py`), so that every chunking, scheduler and worker gives the same bits. A task
holds one block and the frames that its longest lag reaches into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin.blas import on_one_thread, one_thread
from stemkin.kernels.common.exact import slices, total
from stemkin.kernels.motion import trace_correlation
from stemkin.kernels.motion.lattice_walks import StepShells
from stemkin.kernels.motion.sharpening import Sharpened
from stemkin.rows.trees import as_tree
from stemkin.tables import conform
from stemkin.traces import CHALCOGEN_SITES, SiteTraces
from stemkin.vocabulary import check_frames

BLOCK_FRAMES = 128
"""Frames whose pairs are summed by one task: blocks begin at multiples of it."""

USUAL_LAG = 64
"""Longest lag in frames unless asked for; vacancies should have moved on by then."""

REACH = 4.0
"""Longest step between two sites, in lattice constants."""


@dataclass(frozen=True, eq=False)
class LatticeCorrelation:
    """Correlations of the traces of a movie, and what is needed to read them.

    Attributes
    ----------
    steps
        (k, 2) steps (u, v) between two sites.
    sums, counts
        (max_lag + 1, k) sums of products of signals, and numbers of pairs, for lags 0, 1, ...
    sharp
        As `sums`, of signals sharpened for the depth (`kernels.motion.sharpening`), of which hop
        rates are read; None where the depth is not known.
    moments
        (6,) sums of `kernels.motion.trace_correlation.same_site_moments`.
    n_frames, n_sites
        Frames that show sites, and sites that were used.
    movie, frame_time_s, lattice_nm, depth
        As of the traces.
    """

    steps: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    sharp: np.ndarray | None
    moments: np.ndarray
    n_frames: int
    n_sites: int
    movie: str
    frame_time_s: float | None
    lattice_nm: float | None
    depth: float | None

    @property
    def max_lag_frames(self) -> int:
        """Longest lag."""
        return len(self.sums) - 1

    @property
    def table(self) -> pd.DataFrame:
        """Table ``lattice_correlation``: one row per lag and step."""
        lags = np.repeat(np.arange(len(self.sums)), len(self.steps))
        du, dv = np.tile(self.steps, (len(self.sums), 1)).T
        counts = self.counts.ravel()
        mean = np.where(counts > 0, self.sums.ravel() / np.maximum(counts, 1), np.nan)
        rows = {
            "movie": self.movie,
            "lag_frames": lags,
            "lag_s": lags * (self.frame_time_s or np.nan),
            "du": du,
            "dv": dv,
            "distance_a": np.sqrt(du * du + dv * dv + du * dv),
            "correlation": mean,
            "n_pairs": counts,
        }
        return conform(pd.DataFrame(rows), "lattice_correlation")


@one_thread
def lattice_correlation(
    traces: SiteTraces,
    *,
    max_lag_frames: int | None = None,
    reach: float = REACH,
    use: np.ndarray | None = None,
) -> LatticeCorrelation:
    """Correlate the traces of sites in space and time. Computes once: one pass over the traces.

    Parameters
    ----------
    traces
        Traces of a movie; sites beside dopants, in holes and of other sublattices are left out.
    max_lag_frames
        Longest lag; by default 64 frames or half the movie. Vacancies should have moved on by then.
    reach
        Longest step between two sites, in lattice constants.
    use
        (site,) which sites to use, in place of the usual ones.

    Returns
    -------
    The correlations; ``.table`` shows them, `hopping` reads them.

    Raises
    ------
    ValueError
        If the traces are none, no site is left, or the movie is shorter than the lags.

    Notes
    -----
    Image correlation spectroscopy (Petersen et al., Biophys. J. 65, 1135 (1993)) on a lattice; the
    van Hove function (van Hove, Phys. Rev. 95, 249 (1954)) of what hops.
    """
    _check(traces, max_lag_frames, reach)
    chosen = sites_to_use(traces, use)
    max_lag = max_lag_frames or max(1, min(USUAL_LAG, traces.n_frames // 2))
    if traces.n_frames <= max_lag:
        msg = (
            f"movie {traces.movie!r} has {traces.n_frames} frames, too few for lags up to {max_lag}; "
            "ask for max_lag_frames of less than its length, half of it at best"
        )
        raise ValueError(msg)
    steps = StepShells.within(reach).steps
    parts = _blocks(traces, chosen, steps, max_lag)
    (found,) = _computed(as_tree(parts, _added))
    counts = found["counts"]
    if counts[0, 0] == 0:
        msg = (
            f"no site of movie {traces.movie!r} is judged in any frame; look at the status of its "
            "frames, or at the mask of sites"
        )
        raise ValueError(msg)
    return LatticeCorrelation(
        steps,
        total(found["sums"]),
        counts,
        total(found["sharp"]) if traces.depth is not None else None,
        total(found["moments"]),
        int(found["n_frames"]),
        len(chosen),
        traces.movie,
        traces.frame_time_s,
        traces.lattice_nm,
        traces.depth,
    )


def _check(traces: Any, max_lag_frames: Any, reach: Any) -> None:
    check_traces(traces, stretches=True)
    check_frames(max_lag_frames, name="max_lag_frames", least=1)
    if not (isinstance(reach, int | float) and 3 <= reach <= 8):
        msg = f"reach must be between 3 and 8 lattice constants, but it is {reach!r}"
        raise ValueError(msg)


def check_traces(traces: Any, *, stretches: bool = False) -> None:
    """Refuse what are no traces of sites.

    Parameters
    ----------
    traces
        What is looked at.
    stretches
        Whether sites must keep their numbers from frame to frame, and there must be two frames.

    Raises
    ------
    ValueError
        If they are none, two sites share a cell, or time is of the essence and there is none.
    """
    if not isinstance(traces, SiteTraces):
        msg = (
            f"traces must be those of sites, but they are a {type(traces).__name__}; make them "
            "with site_traces(movie, model) or SiteTraces.of(array, sites)"
        )
        raise ValueError(msg)
    own = traces.sites[["sublattice", "u", "v"]]
    if own.duplicated().any():
        u, v = own[own.duplicated()].iloc[0][["u", "v"]].tolist()
        msg = (
            f"two sites of movie {traces.movie!r} share the cell ({u}, {v}): crystals of several "
            "orientations, or grains; correlate one lattice at a time"
        )
        raise ValueError(msg)
    if stretches and traces.n_frames < 2:
        msg = f"movie {traces.movie!r} has {traces.n_frames} frame; correlations in time need two"
        raise ValueError(msg)
    if stretches and len(traces.stretches) > 1:
        msg = (
            f"the sites of movie {traces.movie!r} keep their numbers in stretches that begin at "
            f"frames {list(traces.stretches)}; correlate one at a time: traces.stretch(0)"
        )
        raise ValueError(msg)


def sites_to_use(traces: SiteTraces, use: np.ndarray | None) -> np.ndarray:
    """Return the numbers of the sites that are correlated, ascending."""
    if use is None:
        chosen = (traces.sites["sublattice"] == CHALCOGEN_SITES).to_numpy()
        chosen = chosen & ~traces.column("beside_dopant") & ~traces.column("in_hole")
    else:
        chosen = np.asarray(use)
        if chosen.dtype != bool or chosen.shape != (traces.n_sites,):
            msg = (
                f"use must be {traces.n_sites} truth values, one per site, but it is "
                f"{chosen.dtype} of shape {chosen.shape}"
            )
            raise ValueError(msg)
    if not chosen.any():
        msg = (
            f"all {traces.n_sites} sites of movie {traces.movie!r} are masked (beside dopants, in "
            "holes or of another sublattice); give use=... to choose some"
        )
        raise ValueError(msg)
    return np.flatnonzero(chosen)


def _blocks(traces: SiteTraces, chosen: np.ndarray, steps: np.ndarray, max_lag: int) -> list[Any]:
    """Return one delayed dictionary of sums per block of `BLOCK_FRAMES` frames."""
    from dask import delayed

    values = traces.values
    if len(chosen) < traces.n_sites:
        values = values[:, chosen]
    summed = delayed(on_one_thread)
    cells = traces.cells[chosen]
    parts = []
    for start in range(0, traces.n_frames, BLOCK_FRAMES):
        # a pair belongs to the block of its first frame, and its second lies up to max_lag later
        piece = values[start : start + BLOCK_FRAMES + max_lag].rechunk(-1)
        lazy = piece.to_delayed(optimize_graph=False).ravel()[0]
        n_own = min(BLOCK_FRAMES, traces.n_frames - start)
        parts.append(summed(_sums, lazy, cells, steps, n_own, max_lag, traces.depth))
    return parts


def _sums(
    values: np.ndarray,
    cells: np.ndarray,
    steps: np.ndarray,
    n_own: int,
    max_lag: int,
    depth: float | None,
) -> dict[str, Any]:
    """Return what one block adds, as slices that add exactly."""
    sums, counts = trace_correlation.block_sums(
        values, cells, steps, n_own=BLOCK_FRAMES, max_lag=max_lag
    )
    # beyond the end of the movie there is nothing, whatever the block's length
    moments = trace_correlation.same_site_moments(values, n_own=n_own)
    sharp = {}
    if depth is not None:
        told = Sharpened.of(depth).of_signals(values)
        own, _ = trace_correlation.block_sums(
            told, cells, steps, n_own=BLOCK_FRAMES, max_lag=max_lag
        )
        sharp["sharp"] = slices(own)
    return sharp | {
        "sums": slices(sums),
        "counts": counts,
        "moments": slices(moments),
        "n_frames": int(np.isfinite(values[:n_own]).any(axis=1).sum()),
    }


def _added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of several blocks together."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def _computed(*lazy: Any) -> tuple[Any, ...]:
    import dask

    return tuple(dask.compute(*lazy))

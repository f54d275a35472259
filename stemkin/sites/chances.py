"""Who is where at middling dose: the chance of a vacancy at every site in every frame.

>>> from stemkin.simulation import simulate_traces
>>> world = simulate_traces(n_frames=20, shape=(12, 12), depth=4.0, seed=1, vacancy_fraction=0.05)
>>> found = occupancy(world.traces)
>>> chances = found.chances.compute()
>>> bool(chances[world.occupancy > 0].mean() > 0.9), bool(chances[world.occupancy == 0].mean() < 0.01)
(True, True)

Blocks are cut at the same frames however the array is chunked, and each is looked at with some frames
before and after it, so that every chunking and scheduler gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin import tables
from stemkin.blas import on_one_thread, one_thread
from stemkin.kernels.motion.occupancy import (
    SiteChances,
    SiteNet,
    WalkerLook,
    chances_of_sites,
    refined_look,
)
from stemkin.sites.correlation import check_traces, sites_to_use
from stemkin.traces import SiteTraces
from stemkin.vocabulary import check_confidence

BLOCK_FRAMES, HALO_FRAMES = 64, 24
"""Frames whose chances one task finds, and how many before and after them have their say."""

LEARN_FRAMES, LEARN_BLOCKS, ROUNDS = 48, 2, 4
"""Rates are learned from so many frames in so many places, in so many rounds."""

FIRST_HOPS, FIRST_DENSITY, FIRST_DEPTH = 0.2, 0.015, 3.0
"""Hops per frame, vacancies per site and depth to begin with, where nothing is stated."""


LEAST_DEPTH = 2.0
"""Chances at a smaller depth hardly differ from the density, and what is counted by them follows what
was believed of it: at a depth of 1, D of tracks of likely vacancies is a quarter of the true one."""


@dataclass(frozen=True, eq=False)
class Occupancy:
    """Chances of vacancies at sites.

    Attributes
    ----------
    chances
        (t, site) float32 Dask array: the chance of a vacancy given all frames; NaN for sites that
        are not followed.
    look
        Depth of a vacancy, hops per frame and vacancies per site, as learned.
    traces
        What it was found from.
    """

    chances: Any
    look: WalkerLook
    traces: SiteTraces

    @property
    def hop_rate_per_s(self) -> float:
        """Hops of a vacancy per second; NaN where it is not known, or too faint (`LEAST_DEPTH`)."""
        if self.look.depth < LEAST_DEPTH:
            return float("nan")
        return self.look.hops / (self.traces.frame_time_s or np.nan)

    def populations(self, *, confidence: float = 0.95) -> pd.DataFrame:
        """Return the table ``expected_populations``: vacancies in each frame. Computes once.

        Parameters
        ----------
        confidence
            Of the intervals, which hold the chances alone; sites are taken to be independent.

        Raises
        ------
        ValueError
            If vacancies are too faint (`LEAST_DEPTH`).
        """
        import dask
        import dask.array as da

        check_confidence(confidence)
        self._check_depth()
        known = da.nan_to_num(self.chances.astype(np.float64))
        n, variance = dask.compute(known.sum(axis=1), (known * (1 - known)).sum(axis=1))
        margin = -special.ndtri((1 - confidence) / 2) * np.sqrt(variance)
        rows = {
            "movie": self.traces.movie,
            "frame": np.arange(len(n)),
            "time_s": np.arange(len(n)) * (self.traces.frame_time_s or np.nan),
            "n": n,
            "low": np.maximum(n - margin, 0.0),
            "high": n + margin,
        }
        return tables.conform(pd.DataFrame(rows), "expected_populations")

    def _check_depth(self) -> None:
        """Refuse to count what frames say next to nothing of."""
        if self.look.depth >= LEAST_DEPTH:
            return
        msg = (
            f"vacancies of movie {self.traces.movie!r} stand {self.look.depth:.1f} times the noise of a "
            f"frame deep, and below {LEAST_DEPTH:.0f} chances of sites are not counted, as they hardly "
            "differ from the density; read D and the number of vacancies with "
            "hopping(lattice_correlation(traces))"
        )
        raise ValueError(msg)

    def detections(self, pixel_size_nm: float, *, least: float = 0.5) -> pd.DataFrame:
        """Return vacancies that are likely there, as the table ``detections``. Computes once.

        Parameters
        ----------
        pixel_size_nm
            Of the movie: places are in its pixels, the drift taken out.
        least
            Chance from which a vacancy counts.

        Returns
        -------
        One row per vacancy and frame: place of its site, `probability`, and as `score` the signal.

        Raises
        ------
        ValueError
            If the sites have no places, `least` is no chance, or vacancies are too faint
            (`LEAST_DEPTH`).
        """
        self._check_depth()
        missing = {"y_nm", "x_nm"} - set(self.traces.sites.columns)
        if missing:
            msg = (
                f"the sites of movie {self.traces.movie!r} need the columns {sorted(missing)}, "
                "their places"
            )
            raise ValueError(msg)
        if not 0 < least < 1:
            msg = f"least must be a chance between 0 and 1, but it is {least!r}"
            raise ValueError(msg)
        import dask

        parts = [
            dask.delayed(on_one_thread)(_likely, chances, values, least)
            for chances, values in zip(
                self.chances.to_delayed().ravel(),
                self.traces.values.rechunk(self.chances.chunks).to_delayed().ravel(),
                strict=True,
            )
        ]
        starts = np.cumsum([0, *self.chances.chunks[0][:-1]])
        found = [
            np.array([frame + start, site, chance, signal])
            for start, (frame, site, chance, signal) in zip(
                starts, dask.compute(*parts), strict=True
            )
        ]
        frame, site, chance, signal = np.concatenate(found, axis=1)
        places = self.traces.sites[["y_nm", "x_nm"]].to_numpy()[site.astype(np.int64)]
        rows = {
            "movie": self.traces.movie,
            "frame": frame.astype(np.int32),
            "y": places[:, 0] / pixel_size_nm,
            "x": places[:, 1] / pixel_size_nm,
            "score": np.abs(signal),
            "class_id": 0,
            "probability": chance,
            "orientation": -1,
        }
        ordered = pd.DataFrame(rows).sort_values(["frame", "y", "x"], kind="stable")
        return tables.conform(ordered, "detections")


@one_thread
def occupancy(
    traces: SiteTraces, *, hops_per_frame: float | None = None, use: np.ndarray | None = None
) -> Occupancy:
    """Find the chance of a vacancy at every site in every frame. Lazy, once rates are learned.

    Parameters
    ----------
    traces
        Traces of a movie; sites beside dopants, in holes and of other sublattices are left out.
    hops_per_frame
        How often a vacancy hops from frame to frame, for instance from `hopping`; learned unless
        given.
    use
        (site,) which sites to follow, in place of the usual ones.

    Returns
    -------
    The chances, and what they say of vacancies.

    Raises
    ------
    ValueError
        If the traces are none, have one frame or several stretches, or no site is left.

    Notes
    -----
    Belief propagation on the net of all paths (`kernels.motion.occupancy`), rates by expectation and
    maximisation on some frames. A site holds one vacancy at most here; pairs on a column of two
    atoms count as one. **Trap**: below a depth of 2 (`LEAST_DEPTH`) chances are hardly more than the
    density, and nothing is counted by them; read rates from correlations (`hopping`) there.
    """
    check_traces(traces, stretches=True)
    if hops_per_frame is not None and not 0 < hops_per_frame <= 1:
        msg = (
            f"hops_per_frame must be above 0 and at most 1, but it is {hops_per_frame!r}; beyond one "
            "hop a frame nobody can say which vacancy is which"
        )
        raise ValueError(msg)
    chosen = sites_to_use(traces, use)
    net = SiteNet.of(traces.cells[chosen])
    look = _learned(traces, chosen, net, hops_per_frame)
    return Occupancy(_chances(traces, chosen, net, look), look, traces)


def _learned(
    traces: SiteTraces, chosen: np.ndarray, net: SiteNet, hops_per_frame: float | None
) -> WalkerLook:
    """Return the look of vacancies that some frames make most likely."""
    import dask

    look = WalkerLook(traces.depth or FIRST_DEPTH, hops_per_frame or FIRST_HOPS, FIRST_DENSITY)
    last = max(traces.n_frames - LEARN_FRAMES, 0)
    starts = np.unique(np.linspace(0, last, LEARN_BLOCKS + 1)[1:].round().astype(int)).tolist()
    some = dask.compute(*(traces.values[at : at + LEARN_FRAMES, chosen] for at in starts))
    if not any(np.isfinite(block).any() for block in some):
        msg = (
            f"no site of movie {traces.movie!r} is judged in the frames from {starts} on; look at the "
            "status of its frames"
        )
        raise ValueError(msg)
    for _ in range(ROUNDS):
        found = [chances_of_sites(block, net, look) for block in some]
        together = SiteChances(
            np.concatenate([one.chances for one in found]),
            np.sum([one.steps for one in found], axis=0),
            np.sum([one.falls for one in found], axis=0),
        )
        hops = look.hops
        look = refined_look(look, together, net, deeper=traces.depth is None)
        if hops_per_frame is not None:
            look = WalkerLook(look.depth, hops_per_frame, look.density)
        elif abs(np.log(look.hops / hops)) < 0.01:
            break
    return look


def _chances(traces: SiteTraces, chosen: np.ndarray, net: SiteNet, look: WalkerLook) -> Any:
    """Return the lazy (t, site) float32 chances, in blocks of `BLOCK_FRAMES`."""
    import dask.array as da
    from dask import delayed

    find = delayed(on_one_thread)
    parts = []
    for start in range(0, traces.n_frames, BLOCK_FRAMES):
        stop, first = min(start + BLOCK_FRAMES, traces.n_frames), max(start - HALO_FRAMES, 0)
        piece = traces.values[first : stop + HALO_FRAMES].rechunk(-1)
        lazy = piece.to_delayed(optimize_graph=False).ravel()[0]
        own = find(_own_chances, lazy, chosen, net, look, start - first, stop - first)
        shape = (stop - start, traces.n_sites)
        parts.append(
            da.from_delayed(own, shape, dtype=np.float32, meta=np.empty((0, 0), np.float32))
        )
    return da.concatenate(parts, axis=0)


def _own_chances(
    values: np.ndarray, chosen: np.ndarray, net: SiteNet, look: WalkerLook, start: int, stop: int
) -> np.ndarray:
    """Return the chances of the frames `start` to `stop` of a block with its surroundings."""
    found = np.full((stop - start, values.shape[1]), np.nan, dtype=np.float32)
    found[:, chosen] = chances_of_sites(values[:, chosen], net, look).chances[start:stop]
    return found


def _likely(chances: np.ndarray, values: np.ndarray, least: float) -> tuple[np.ndarray, ...]:
    """Return frame, site, chance and signal of what is likely there in a block."""
    frame, site = np.nonzero(np.nan_to_num(chances) >= least)
    return frame, site, chances[frame, site], np.nan_to_num(values[frame, site])

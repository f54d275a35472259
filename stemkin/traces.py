"""The signals of the sites of a crystal through time: an array (t, site) beside a table of sites.

>>> sites = pd.DataFrame({"u": [0, 1], "v": [0, 0]})
>>> traces = SiteTraces.of(np.zeros((3, 2)), sites, movie="m", frame_time_s=2.0, lattice_nm=0.3)
>>> traces.n_frames, traces.n_sites, len(traces.cells)
(3, 2, 2)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

CHALCOGEN_SITES, METAL_SITES = "chalcogen", "metal"
"""Words of the column `sublattice` of a table of sites."""


@dataclass(frozen=True, eq=False)
class SiteTraces:
    """Signals of every site in every frame, and which sites these are.

    Attributes
    ----------
    values
        (t, site) float32 Dask array: signal over noise, dark defects negative; NaN where a site is
        not judged.
    sites
        One row per column of `values`: `u`, `v` (cell), `sublattice`, and what else is known
        (`y_nm`, `x_nm`, `beside_dopant`, ...).
    movie
        Name of the movie.
    frame_time_s
        Time between frames; None where it is not known.
    lattice_nm
        Distance of neighbouring sites; None where it is not known.
    depth
        By how much the signal falls where a vacancy is, in units of the noise; None where it is
        not known.
    stretches
        First frames of the stretches in which sites keep their numbers, 0 first.
    """

    values: Any
    sites: pd.DataFrame
    movie: str
    frame_time_s: float | None
    lattice_nm: float | None
    depth: float | None = None
    stretches: tuple[int, ...] = (0,)

    @classmethod
    def of(
        cls,
        values: Any,
        sites: pd.DataFrame,
        *,
        movie: str = "movie",
        frame_time_s: float | None = None,
        lattice_nm: float | None = None,
        depth: float | None = None,
    ) -> SiteTraces:
        """Return traces of an array (t, site), NumPy's or Dask's.

        Raises
        ------
        ValueError
            If the array is not (t, site), or the table has not one row per site with `u`, `v`.
        """
        import dask.array as da

        if getattr(values, "ndim", 0) != 2:
            msg = f"traces are an array (t, site), but this one has shape {np.shape(values)}"
            raise ValueError(msg)
        missing = [name for name in ("u", "v") if name not in sites.columns]
        if missing or len(sites) != values.shape[1]:
            msg = (
                f"a table of {len(sites)} sites with columns {list(sites.columns)} does not fit "
                f"{values.shape[1]} traces; give one row per trace, with whole-numbered u and v"
            )
            raise ValueError(msg)
        sites = sites.reset_index(drop=True)
        if "sublattice" not in sites.columns:
            sites = sites.assign(sublattice=CHALCOGEN_SITES)
        lazy = da.asarray(values)
        return cls(lazy, sites, movie, frame_time_s, lattice_nm, depth)

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return int(self.values.shape[0])

    @property
    def n_sites(self) -> int:
        """How many sites there are."""
        return int(self.values.shape[1])

    @property
    def cells(self) -> np.ndarray:
        """(site, 2) whole-numbered cells (u, v)."""
        return self.sites[["u", "v"]].to_numpy(np.int64)

    def stretch(self, number: int) -> SiteTraces:
        """Return the frames of one stretch, in which sites keep their numbers. Lazy.

        Raises
        ------
        ValueError
            If there is no stretch of that number.
        """
        if not 0 <= number < len(self.stretches):
            msg = (
                f"movie {self.movie!r} has {len(self.stretches)} stretches, numbered from 0; there "
                f"is none of number {number}"
            )
            raise ValueError(msg)
        edges = (*self.stretches, self.n_frames)
        own = self.values[edges[number] : edges[number + 1]]
        return replace(self, values=own, stretches=(0,))

    def column(self, name: str) -> np.ndarray:
        """Return a column of truth values of the table of sites; all False where it has none."""
        if name not in self.sites.columns:
            return np.zeros(self.n_sites, dtype=bool)
        return self.sites[name].to_numpy(bool)

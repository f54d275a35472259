"""How many directions are taken around the defects of each class, from a few frames of each movie.

Which defects stand beside each other is told by a frame as a whole, and a partition holds only some
of its tracks. So each partition hands on the places in the `N_FRAMES` of its frames that come first
in an order that has nothing to do with time; of several partitions the first of all of them are
kept. These are the same frames for every partitioning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import pandas as pd
from scipy import special

from stemkin.diffusion.choice import Fields
from stemkin.diffusion.methods import Estimate
from stemkin.diffusion.segments import check_positions
from stemkin.kernels.common.hashing import mixed
from stemkin.kernels.motion.crowding import (
    DIRECTIONS,
    RINGS,
    WITHIN,
    Taken,
    share_of_returns,
    taken_directions,
)
from stemkin.kernels.motion.hop_shells import Lattice
from stemkin.kernels.motion.hops import TELLING
from stemkin.rows.groups import Key
from stemkin.rows.passes import Sums
from stemkin.rows.tracks import Trajectories
from stemkin.tables import POOLED

N_FRAMES = 32
"""Frames of a movie in which neighbours are looked at: 100 kB of places."""
ALIKE_FRAMES = 4.0
"""So many of these frames show about the same neighbours as one alone."""


@dataclass(frozen=True, eq=False)
class Crowd:
    """Places of all defects in some frames of a movie.

    Attributes
    ----------
    frame, class_id, y_nm, x_nm
        (n,) rows, in the order of these columns.
    """

    frame: np.ndarray
    class_id: np.ndarray
    y_nm: np.ndarray
    x_nm: np.ndarray
    _kept: dict[tuple[float, str], Taken] = field(default_factory=dict, init=False)

    def __add__(self, other: Crowd) -> Crowd:
        """Return the first frames of both."""
        both = {c: np.concatenate([getattr(one, c) for one in (self, other)]) for c in COLUMNS}
        return Crowd(**both).first()

    def taken(self, hop_length_nm: float, lattice: Lattice) -> Taken:
        """Return what `taken_directions` says of all frames; kept, for the next class.

        Parameters
        ----------
        hop_length_nm, lattice
            Distance between neighbouring sites, and which lattice they make.
        """
        asked = hop_length_nm, lattice
        if asked not in self._kept:
            self._kept[asked] = taken_directions(
                self.y_nm,
                self.x_nm,
                hop_length=hop_length_nm,
                lattice=lattice,
                frame=self.frame,
                kind=self.class_id,
            )
        return self._kept[asked]

    def first(self) -> Crowd:
        """Return the rows of the `N_FRAMES` frames that come first."""
        met = np.unique(self.frame)
        chosen = met[np.argsort(mixed(met), kind="stable")[:N_FRAMES]]
        kept = np.flatnonzero(np.isin(self.frame, chosen))
        # one order, however the rows were cut: the last key of lexsort is the first to sort by
        order = np.lexsort([getattr(self, column)[kept] for column in COLUMNS[::-1]])
        return Crowd(*(getattr(self, column)[kept[order]] for column in COLUMNS))


COLUMNS = ("frame", "class_id", "y_nm", "x_nm")


def add_looks(rows: pd.DataFrame) -> Sums:
    """Return movie → the places in some of its frames; rows without a place are left out."""
    check_positions(rows)
    tracks = Trajectories.of(rows, need=("y_nm", "x_nm"))
    finite = np.isfinite(tracks.y_nm) & np.isfinite(tracks.x_nm)
    tracks = tracks.keep(finite)
    owner = tracks.movie[tracks.track]
    found = {}
    for i, movie in enumerate(tracks.movies):
        own = owner == i
        found[movie] = Crowd(*(getattr(tracks, column)[own] for column in COLUMNS)).first()
    return found


@dataclass(frozen=True)
class Blocked:
    """The share of directions that are taken around the defects of a class.

    Attributes
    ----------
    share, error
        And its standard error; 0 where nothing stands beside them.
    is_shown
        Whether so many stand beside each other that some would have been seen on one site, if they
        did not exclude each other.
    alike
        The share that is taken by defects of the same class.
    lattice
        On which they stand.
    """

    share: float = 0.0
    error: float = 0.0
    is_shown: bool = True
    alike: float = 0.0
    lattice: Lattice = "triangular"

    def freed(
        self, estimate: Estimate, confidence_z: float, *, hops_per_d: float = 0.0
    ) -> Estimate:
        """Return the estimate for a defect alone.

        Where it is not shown that defects exclude each other, the interval reaches down to where it
        would if they did not.

        Parameters
        ----------
        estimate
            Of the tracks.
        confidence_z
            Standard errors that its interval reaches on either side.
        hops_per_d
            Hops per frame of a D of 1, 4 t / a² [s/nm²]; 0: so few that none leads back.
        """
        times = 1 / (1 - self.share)
        if self.alike > 0 and np.isfinite(estimate.D) and estimate.D > 0:
            hops = estimate.D * hops_per_d
            times /= 1 - share_of_returns(self.alike, hops, self.lattice)
        D, low, high = (times * v for v in (estimate.D, estimate.low, estimate.high))
        more = confidence_z * self.error * times
        if low > 0 and np.isfinite(high):  # both parts of the error, of ln D
            low, high = (
                D * np.exp(s * np.hypot(np.log(v / D), more)) for s, v in ((-1, low), (1, high))
            )
        if not self.is_shown:
            low = min(low, estimate.low)
        return replace(estimate, D=D, low=low, high=high)


NOT_LOOKED = Blocked()
SHARED = 0.05
"""Pairs on one site over pairs beside each other, above which defects do not exclude each other
(where they know nothing of each other it is 1/6 and more)."""
TOO_FEW = 0.05
"""So few pairs on one site must be this unlikely by chance, or nothing is shown."""
MOST = 0.6
"""So crowded that the rest says nothing of a defect alone: then D stays that of the tracks."""


def lattice_shown(hopping: Iterable[Estimate]) -> Lattice | None:
    """Return the lattice on which steps lie, by what "hop" says of them; None where on none."""
    shown = [e.lattice for e in hopping if e.gain > TELLING and e.lattice]
    if not shown:
        return None
    return cast("Lattice", shown[0])


def looks_of(looks: Sums, sums: Sums, group: Key, number: int) -> list[Crowd]:
    """Return what was looked at in the movies of a group that hold a class.

    Parameters
    ----------
    looks
        Movie → `Crowd`.
    sums
        Key, class → what was summed.
    group, number
        Which ones; a group of all movies is called "*".
    """
    movies = {
        key[0]
        for key, n in sums
        if n == number and key[1:] == group[1:] and group[0] in (POOLED, key[0])
    }
    return [looks[movie] for movie in sorted(movies) if movie in looks]


def share_seen(fields: Fields | None, hop_length_nm: float) -> float:
    """Return what share of the neighbouring sites lie in the field; 1 where it is not known."""
    if fields is None:
        return 1.0
    return fields.share_seen(hop_length_nm)


def blocked_share(
    looks: Iterable[Crowd],
    class_id: int,
    hop_length_nm: float,
    lattice: Lattice = "triangular",
    *,
    seen: float = 1.0,
) -> Blocked:
    """Return the share of directions that are taken around the defects of a class.

    Parameters
    ----------
    looks
        Of all movies together.
    class_id
        The class.
    hop_length_nm
        The distance between neighbouring sites.
    lattice
        Which one the sites make.
    seen
        Share of the neighbouring sites that lie in the field.
    """
    taken, n, n_beside, n_within, n_alike = [], [], 0, 0, 0
    for one in looks:
        around = one.taken(hop_length_nm, lattice)
        n_beside, n_within = n_beside + around.n_beside, n_within + around.n_within
        own = one.class_id == class_id
        frames, of_frame = np.unique(one.frame[own], return_inverse=True)
        directions = around.directions[own]
        taken += np.bincount(of_frame, weights=directions, minlength=len(frames)).tolist()
        n += np.bincount(of_frame, minlength=len(frames)).tolist()
        n_alike += int(around.alike[own].sum())
    if not n or not sum(taken) or n_within > SHARED * n_beside:
        return NOT_LOOKED
    count, looked = np.array(taken, float), seen * DIRECTIONS[lattice] * np.array(n, float)
    share = float(count.sum() / looked.sum())
    if share > MOST:
        return NOT_LOOKED
    repeated = max(1.0, min(ALIKE_FRAMES, len(n)))
    error = float(np.sqrt(((count - share * looked) ** 2).sum() * repeated) / looked.sum())
    # places that have nothing to do with each other lie on one site and beside it as the areas say
    rings = RINGS[lattice]
    on_one_site = WITHIN**2 / (rings[-1][1] ** 2 - rings[0][0] ** 2) * n_beside
    by_chance = special.pdtr(n_within / repeated, on_one_site / repeated)
    alike = float(n_alike / looked.sum())
    return Blocked(share, error, bool(by_chance < TOO_FEW), alike, lattice)

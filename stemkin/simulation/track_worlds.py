"""What defects of a simulated table of tracks do, and how they are seen.

>>> world = TrackWorld(densities_per_nm2=(0.1, 0.1), hop_rates_per_s=(1.0, 0.0), hop_length_nm=0.3)
>>> world.diffusion_nm2_per_s.round(4).tolist()
[0.0225, 0.0]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import linalg

LatticeKind = Literal["triangular", "honeycomb", "square"]

DIRECTIONS: dict[str, tuple[float, ...]] = {
    "triangular": (0, 60, 120, 180, 240, 300),
    "square": (0, 90, 180, 270),
    "honeycomb": (0, 120, 240),
}
"""Angles [deg] of the steps to neighbouring sites; on a honeycomb every second step is turned by
180 degrees."""


@dataclass(frozen=True)
class TrackWorld:
    """What defects do and how they are seen; one number for each class where there are several.

    Attributes
    ----------
    densities_per_nm2
        Defects of each class, on average and at the start.
    rates_per_s
        (k, k) rates from class (row) to class; the diagonal is not looked at. Empty: none changes.
    hop_rates_per_s
        Hops to any neighbouring site; empty: none.
    D_nm2_per_s
        Brownian motion, beside the hops; empty: none.
    hop_length_nm, lattice
        Distance between neighbouring sites, and what lattice they make.
    loss_rates_per_s
        Rates at which defects vanish; each is made good by a new one anywhere. Empty: none.
    sigma_nm
        Error of place along each axis.
    shift_error_nm
        Error of place that all defects of a frame share (a frame's shift is not exactly known).
    exposure
        Share of the frame time over which a place is averaged: 0 for a scanned image, 1 for a
        camera.
    efficiency
        Chance that a defect in sight is found; empty: 1.
    false_per_nm2
        Rows of each class that are no defects, per frame and nm²; empty: none.
    confusion
        (k, k) chance that class (row) is named as another; empty: names are right.
    naming_memory
        Chance that the next frame repeats a name, right or wrong, instead of looking again.
    missing_memory
        Chance that a defect in sight is seen or missed as in the frame before, instead of being
        looked at again.
    regular_hops
        Whether each frame has as many hops as its rate says, rounded, and not a Poisson number.
    excluding
        Whether defects stand on the sites of one lattice, none where another one stands: a hop onto
        a taken site is not made.
    movie_spread
        Sd between movies of the logarithm of all mobilities, whose mean stays.
    drift_step_nm
        Sd along each axis of the steps of a drift that all defects of a movie share.
    wrong_links
        Chance per frame that two defects within 1.5 lattice constants of each other are taken one
        for the other from then on.
    longest_frames
        A track ends after so many frames, and its defect has another name; 0: it goes on.
    max_gap_frames
        A track goes on over so many frames in which its defect is not seen.
    border_px
        Defects closer than this to the edge of a frame are not seen.
    """

    densities_per_nm2: tuple[float, ...]
    rates_per_s: tuple[tuple[float, ...], ...] = ()
    hop_rates_per_s: tuple[float, ...] = ()
    D_nm2_per_s: tuple[float, ...] = ()
    hop_length_nm: float = 0.3153
    lattice: LatticeKind = "triangular"
    loss_rates_per_s: tuple[float, ...] = ()
    sigma_nm: float = 0.02
    shift_error_nm: float = 0.0
    exposure: float = 0.0
    efficiency: tuple[float, ...] = ()
    false_per_nm2: tuple[float, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()
    naming_memory: float = 0.0
    missing_memory: float = 0.0
    regular_hops: bool = False
    excluding: bool = False
    movie_spread: float = 0.0
    drift_step_nm: float = 0.0
    wrong_links: float = 0.0
    longest_frames: int = 0
    max_gap_frames: int = 1
    border_px: float = 0.0

    def __post_init__(self) -> None:
        """Check that every class has its numbers, and that they can be.

        Raises
        ------
        ValueError
            Naming the first setting that cannot be.
        """
        k = self.n_classes
        if k == 0:
            msg = "a world of tracks needs at least one class, but has none: give one of densities_per_nm2"
            raise ValueError(msg)
        for name in _PER_CLASS:
            values = getattr(self, name)
            if values and (len(values) != k or not np.all(np.asarray(values) >= 0)):
                msg = f"{name} needs {k} numbers from 0 on, one for each class, but is {values}"
                raise ValueError(msg)
        for name in ("rates_per_s", "confusion"):
            values = getattr(self, name)
            if values and np.shape(values) != (k, k):
                msg = f"{name} needs {k} rows of {k} numbers, but has the shape {np.shape(values)}"
                raise ValueError(msg)
        for name in ("exposure", "naming_memory", "missing_memory", "wrong_links"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} lies between 0 and 1, but is {getattr(self, name)}"
                raise ValueError(msg)
        for name in ("movie_spread", "drift_step_nm", "longest_frames"):
            if not getattr(self, name) >= 0:
                msg = f"{name} must be a number from 0 on, but is {getattr(self, name)}"
                raise ValueError(msg)
        if self.excluding and (self.exposure > 0 or any(self.D_nm2_per_s)):
            msg = (
                "defects that exclude each other stand on sites and hop in frames of an instant, "
                f"but exposure is {self.exposure} and D_nm2_per_s {self.D_nm2_per_s}; set both to 0"
            )
            raise ValueError(msg)
        if self.lattice not in DIRECTIONS:
            msg = f"lattice must be one of {sorted(DIRECTIONS)}, but is {self.lattice!r}"
            raise ValueError(msg)

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.densities_per_nm2)

    @property
    def generator(self) -> np.ndarray:
        """(k, k) rates [1/s] from class (row) to class; rows add up to 0."""
        if not self.rates_per_s:
            return np.zeros((self.n_classes, self.n_classes))
        Q = np.array(self.rates_per_s, dtype=float)
        np.fill_diagonal(Q, 0.0)
        np.fill_diagonal(Q, -Q.sum(axis=1))
        return Q

    def probabilities(self, time_s: float) -> np.ndarray:
        """Return the (k, k) chance that a defect of one class (row) is of another `time_s` later.

        It is asked of defects that are still there.
        """
        return np.asarray(linalg.expm(self.generator * time_s))

    @property
    def diffusion_nm2_per_s(self) -> np.ndarray:
        """(k,) D of each class: hop rate a² / 4, and Brownian motion."""
        hops = self.hop_length_nm**2 / 4 * self.per_class("hop_rates_per_s")
        return np.asarray(hops + self.per_class("D_nm2_per_s"))

    def per_class(self, name: str, otherwise: float = 0.0) -> np.ndarray:
        """Return the (k,) numbers of a setting, `otherwise` where it is empty."""
        values = getattr(self, name)
        if not values:
            return np.full(self.n_classes, otherwise)
        return np.array(values, dtype=float)


_PER_CLASS = (
    "densities_per_nm2",
    "hop_rates_per_s",
    "D_nm2_per_s",
    "loss_rates_per_s",
    "efficiency",
    "false_per_nm2",
)

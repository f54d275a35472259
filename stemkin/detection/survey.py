"""What a detector knows of a block of frames once it has searched them, for the stages after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stemkin.blas import one_thread
from stemkin.devices import to_host
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.residual import Remainder
from stemkin.kernels.detection.sites import SeenSites
from stemkin.tables import OK

AREAS = ("ordered", "disordered", "vacuum")
"""Shares of a frame, by name."""

Piece = tuple[Lattice, np.ndarray | None]
"""A piece of crystal: its lattice, and the mask (y, x) of its pixels (None for all)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Survey:
    """What a detector knows of a block of frames once it has searched them.

    Attributes
    ----------
    records
        (m,) records of `tables.DETECTION` or `tables.LOCATED`, ordered by frame, y, x.
    lattices
        One per frame; None where no lattice was found.
    residuals
        (n, y, x) float32: what is left of each frame without its crystal, in units of its own
        noise.
    extra
        Further by-products by name, one entry per frame; ``"rest"`` is the residual in the frame's
        own units, ``"crystals"`` lists the pieces of crystal, each a lattice and the mask (y, x) of
        its pixels (None for all), ``"status"`` says what the frame is among those of its movie;
        ``"expected_false"`` how many of the records of a frame noise alone explains (NaN where that
        is not known); ``"sites"``, where asked for, lists the `SeenSites` of each frame, None where
        it has none.
    """

    records: np.ndarray
    lattices: list[Lattice | None]
    residuals: np.ndarray
    extra: Mapping[str, Any] = field(default_factory=dict)


class ByProducts:
    """What is kept of frames, one after another, once they are searched; becomes a `Survey`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Make room for frames of `shape` (n, y, x)."""
        self._residuals, self._rests = np.zeros((2, *shape), dtype=np.float32)
        self._lattices: list[Lattice | None] = []
        self._crystals: list[list[Piece]] = []
        self._status: list[str] = []
        self._areas = np.full((shape[0], 3), np.nan, dtype=np.float32)
        self._sites: list[SeenSites | None] = []
        self._expected_false = np.full(shape[0], np.nan, dtype=np.float32)

    def keep(
        self, rest: Remainder, sites: SeenSites | None = None, *, expected_false: float = np.nan
    ) -> None:
        """Keep what belongs to the next frame, and how many of its defects may be false."""
        self._sites.append(sites)
        # lattices grow by one a frame; the arrays have room for all from the start
        i = len(self._lattices)
        self._lattices.append(rest.lattice)
        self._crystals.append(crystals_of(rest))
        self._status.append(rest.status)
        self._residuals[i] = to_host(rest.noise_units)
        self._rests[i] = to_host(rest.rest)
        self._areas[i] = rest.areas
        self._expected_false[i] = expected_false

    @one_thread
    def survey(self, records: np.ndarray, *, first_frame: int) -> Survey:
        """Return the survey with the `records` found; frames without a lattice are said once."""
        n_without = sum(
            lattice is None and status == OK
            for lattice, status in zip(self._lattices, self._status, strict=True)
        )
        if n_without:
            logger.info(
                "no lattice in %d of %d frames from frame %d on: blobs above the local background "
                "are sought there instead",
                n_without,
                len(self._lattices),
                first_frame,
            )
        areas = dict(zip(AREAS, self._areas.T, strict=True))
        extra = {
            "rest": self._rests,
            "crystals": self._crystals,
            "status": self._status,
            "expected_false": self._expected_false,
            "sites": self._sites,
            **areas,
        }
        return Survey(records, self._lattices, self._residuals, extra)


def crystals_of(rest: Remainder) -> list[Piece]:
    """List the pieces of crystal of a frame, their masks on the host.

    Parameters
    ----------
    rest
        The frame without its crystal.
    """
    pieces: list[Piece] = []
    for grain in rest.grains:
        mask = None
        if grain.mask is not None:
            mask = to_host(grain.mask) > 0
        pieces.append((grain.lattice, mask))
    return pieces

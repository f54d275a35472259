"""What frames show of the sites of their crystals, as rows of the table ``signals`` and back.

A row is one frame in its own numbers: its lattice, and the cells and signals of its sites. So it
depends on nothing but the frame; which site is which in the next one is found when the drift is
known (`stemkin.sites`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.detection.sites import SeenSites

POINTS = ("a1", "a2", "metal", "chalcogen")
"""Vectors and origins of a lattice that are columns, each with `_y` and `_x` [px]."""

NAMES = {METAL: "metal", CHALCOGEN: "chalcogen"}

LATTICE_COLUMNS = tuple(f"{point}_{axis}" for point in POINTS for axis in "yx")
"""Columns of ``signals`` that tell a frame's lattice; NaN where it shows none."""

BYTES_PER_SITE, HELD_PER_SITE = 1.4, 8
"""Of two whole numbers and a signal: in the file, where the numbers compress to next to nothing and
a signal to its entropy (about 9 bits and a dictionary), and in memory."""


def site_rows(movie: str, first_frame: int, seen: Sequence[SeenSites | None]) -> pd.DataFrame:
    """Return rows of the table ``signals``, one for each frame from `first_frame` on."""
    rows = [_row(one) for one in seen]
    frames = np.arange(first_frame, first_frame + len(seen))
    columns: dict[str, Any] = {"movie": [movie] * len(rows), "frame": frames}
    for name in tables.COLUMNS["signals"]:
        if name not in columns:
            columns[name] = [row[name] for row in rows]
    return tables.conform(pd.DataFrame(columns), "signals")


def _row(seen: SeenSites | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(LATTICE_COLUMNS, np.nan)
    row["other_share"] = 0.0
    cells, signals = (np.zeros((0, 2), np.int16),) * 2, (np.zeros(0, np.float32),) * 2
    if seen is not None:
        for point in POINTS:
            row[f"{point}_y"], row[f"{point}_x"] = getattr(seen.lattice, point)
        row["other_share"] = seen.other_share
        cells, signals = seen.cells, seen.signals
    for which, name in NAMES.items():
        row[f"{name}_u"], row[f"{name}_v"] = np.ascontiguousarray(cells[which].T)
        row[f"{name}_signal"] = signals[which]
    return row


def seen_in(row: Mapping[str, Any]) -> SeenSites | None:
    """Return what a row of ``signals`` holds; None where the frame shows no site."""
    lattice = lattice_in(row)
    if lattice is None:
        return None
    cells = [np.stack([row[f"{name}_u"], row[f"{name}_v"]], axis=1) for name in NAMES.values()]
    signals = [np.asarray(row[f"{name}_signal"], np.float32) for name in NAMES.values()]
    other_share = float(row["other_share"])
    return SeenSites(lattice, (cells[0], cells[1]), (signals[0], signals[1]), other_share)


def lattice_in(row: Mapping[str, Any]) -> Lattice | None:
    """Return the lattice of a row of ``signals``, without the scan's own displacements."""
    if np.isnan(row["a1_y"]):
        return None
    a1, a2, metal, chalcogen = (
        np.array([row[f"{point}_y"], row[f"{point}_x"]], dtype=np.float64) for point in POINTS
    )
    return Lattice(a1, a2, metal, chalcogen, quality=np.inf)

"""All that one pass over the tracks says of motion: what a run writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stemkin.blas import one_thread
from stemkin.diffusion.choice import By, Choice, ClassOf
from stemkin.diffusion.fitting import (
    Asked,
    collected,
    diffusion_table,
    gaussianity_table,
    recipes_for,
)
from stemkin.diffusion.hopping import hop_table
from stemkin.diffusion.methods import Method, recipe
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.rows.tracks import frame_times
from stemkin.tables import Experiment


@dataclass(frozen=True, eq=False)
class Motion:
    """The tables of `fit_diffusion`, `gaussianity` and `hop_rates` (without rows where there is no
    lattice)."""

    diffusion: pd.DataFrame
    gaussianity: pd.DataFrame
    hop_rates: pd.DataFrame


@one_thread
def measure_motion(
    tracks: Any,
    *,
    methods: Sequence[Method] = ("auto", "mle", "cve"),
    hop_length_nm: float | None = None,
    class_of: ClassOf = "rows",
    by: By = "movie",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Motion:
    """Return what `fit_diffusion` by several methods, `gaussianity` and `hop_rates` say. Computes
    once: one pass over the tracks.

    Parameters
    ----------
    tracks, hop_length_nm, class_of, by, border_px, experiment, frame_time_s, confidence
        As for `fit_diffusion`.
    methods
        Those of `fit_diffusion`; "hop" is left out where no `hop_length_nm` is given.
    """
    if hop_length_nm is None:
        methods = [method for method in methods if method != "hop"]
    needed = recipes_for(methods, hop_length_nm) | {"cve": recipe("cve")}
    if hop_length_nm is not None:
        needed["hop"] = recipe("hop", hop_length_nm)
    asked = Asked(frame_times(tracks, experiment, frame_time_s), by, confidence, hop_length_nm)
    sums = collected(
        tracks, needed, Choice.of(tracks, experiment, class_of=class_of, border_px=border_px)
    )
    return Motion(
        diffusion_table(sums, methods, asked),
        gaussianity_table(sums, asked),
        hop_table(sums, asked),
    )

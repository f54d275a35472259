"""How often defects hop from site to site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.diffusion.assumptions import weighed
from stemkin.diffusion.choice import Choice, ClassOf
from stemkin.diffusion.crowding import (
    NOT_LOOKED,
    add_looks,
    blocked_share,
    lattice_shown,
    looks_of,
    share_seen,
)
from stemkin.diffusion.methods import Estimate, add_covariance, estimator, hop_estimate
from stemkin.diffusion.movies import Movies
from stemkin.diffusion.pooling import Pooling, added_by
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.kernels.motion.hops import most_likely_rate
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import Experiment

COLUMNS = {
    "movie": "str",
    "class_id": "int16",
    "hop_rate_per_s": "float64",
    "low": "float64",
    "high": "float64",
    "n_hops": "float64",
    "D_nm2_per_s": "float64",
    "sigma_nm": "float64",
    "n_tracks": "int64",
    "n_displacements": "int64",
    "blocked": "float64",
    "assumes": "str",
    "violated": "str",
}
"""Columns of the table that `hop_rates` returns."""


@verb
def hop_rates(
    tracks: Any,
    *,
    hop_length_nm: float,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    class_of: ClassOf = "rows",
    by: By = "pooled",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return how often defects of each class hop to a neighbouring site. Computes once: one pass.

    Parameters
    ----------
    tracks, class_name, class_names, class_ids, class_of, by, border_px, experiment
        As for `fit_diffusion`.
    frame_time_s, confidence
        As for `fit_diffusion`.
    hop_length_nm
        Distance between neighbouring sites: 0.3153 for the sulphur sites of WS2 (triangular), 0.142
        for the bonds of graphene (honeycomb). Whether the lattice is triangular, honeycomb or
        square follows from steps of several hops.

    Returns
    -------
    Columns as in `COLUMNS`. `n_hops` is the number of hops that the interval is worth: the relative
    error of the rate is ``1/sqrt(n_hops)``. It is less than the number of hops made where several
    fall into one frame, since some of those lead back; and where tracks differ more than chance
    allows. Where movies differ by more than their tracks tell, the rate of all together is the mean
    over movies, and its interval theirs (`unit` "movie" in `fit_diffusion`). `blocked` is made up for as in `fit_diffusion`. `assumes` and `violated` are those of "hop" in `fit_diffusion`: where they say "one
    mobility", defects hop at unequal rates, of which this is the mean.

    Raises
    ------
    ValueError
        As `fit_diffusion`.
    """
    hopping = estimator("hop", hop_length_nm)
    known = Calibrations.of(tracks, experiment, frame_time_s)
    pooling = Pooling.of(by, tracks, known)
    choice = Choice.of(
        tracks,
        known,
        class_name=class_name,
        class_names=class_names,
        class_ids=class_ids,
        class_of=class_of,
        border_px=border_px,
        grouping=pooling.grouping,
    )

    def table(sums: Sums, covariances: Sums, looks: Sums) -> pd.DataFrame:
        rows, movies = [], Movies(covariances, sums, pooling.time_of, confidence)
        both = zip(pooling.totals(sums), pooling.totals(covariances), strict=True)
        for (group, number, seconds, vector), (*_, beside) in both:
            fit = most_likely_rate(vector, confidence=confidence)
            own = estimate = hop_estimate(fit, hop_length_nm, seconds)
            between = movies.between(group, number)
            if between.variance > 0:
                own = movies.mean(own, hopping.solve, group, number)
            own = between.widened(own, confidence)
            blocked = NOT_LOOKED
            lattice = lattice_shown([estimate])
            if class_of == "rows" and lattice is not None:
                seen = looks_of(looks, sums, group, number)
                near = share_seen(choice.fields, hop_length_nm)
                blocked = blocked_share(seen, number, hop_length_nm, lattice, seen=near)
            z = -float(special.ndtri((1 - confidence) / 2))
            alone = blocked.freed(own, z, hops_per_d=4 * seconds / hop_length_nm**2)
            said: dict[str, Any] = dict(weighed([beside], [estimate], []).columns("hop"))
            said["blocked"] = blocked.share
            rows.append((group, _row(number, alone, fit.n_hops, hop_length_nm) | said))
        return pooling.table(rows, COLUMNS)

    adders = (added_by(hopping.add, choice), added_by(add_covariance, choice), add_looks)
    return Question(adders, table)


def no_hop_rates() -> pd.DataFrame:
    """Return the table of `hop_rates` without a row."""
    return pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)


def _row(class_id: int, found: Estimate, n_hops: float, a: float) -> dict[str, Any]:
    """Return what is said of a class; rates are its D over a² / 4."""
    return {
        "class_id": class_id,
        "hop_rate_per_s": found.D * 4 / a**2,
        "low": found.low * 4 / a**2,
        "high": found.high * 4 / a**2,
        "n_hops": n_hops,
        "D_nm2_per_s": found.D,
        "sigma_nm": np.sqrt(found.s2),
        "n_tracks": found.n_tracks,
        "n_displacements": found.n_displacements,
    }

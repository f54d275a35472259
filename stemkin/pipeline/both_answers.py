"""The two answers to how fast vacancies move, side by side: tracked, and read from correlations.

The tracked one needs vacancies that are seen in single frames; the correlated one needs frames
enough, and assumes that all vacancies hop alike. Which of them leads follows from how far a vacancy
stands over the noise of one frame.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.materials import VACANCY, Material, material_named

LEADS_BELOW = 4.0
"""Below this depth of a vacancy, in units of the noise of one frame, the correlated answer leads: a
frame then misses two vacancies in five or more, and tracks are pieces."""

TRACKED, CORRELATED = "tracked", "correlated"


def both_answers(
    diffusion: pd.DataFrame, hopping: pd.DataFrame, classes: pd.DataFrame, material: str
) -> pd.DataFrame:
    """Return the table ``both_answers``: D of the vacancies of each movie, tracked and correlated.

    Parameters
    ----------
    diffusion, hopping, classes
        Tables of a run; of ``diffusion`` the recommended rows count.
    material
        Name of the crystal, after which its vacancies are called.
    """
    rows = []
    tracked = _of_vacancies(diffusion, classes, material)
    for _, own in hopping.iterrows():
        found = tracked[tracked["movie"] == own["movie"]]
        D, low, high = np.nan, np.nan, np.nan
        if len(found):
            D, low, high = found.iloc[0][["D_nm2_per_s", "low", "high"]].astype(float)
        leads = TRACKED
        if own["depth"] < LEADS_BELOW or (np.isnan(D) and np.isfinite(own["D_nm2_per_s"])):
            leads = CORRELATED
        rows.append(
            {
                "movie": own["movie"],
                "tracked": D,
                "tracked_low": low,
                "tracked_high": high,
                "correlated": own["D_nm2_per_s"],
                "correlated_low": own["low"],
                "correlated_high": own["high"],
                "depth": own["depth"],
                "leads": leads,
                "verdict": verdict((D, low, high), tuple(own[["D_nm2_per_s", "low", "high"]])),
            }
        )
    if not rows:
        return tables.empty("both_answers")
    return tables.conform(pd.DataFrame(rows), "both_answers")


def _of_vacancies(diffusion: pd.DataFrame, classes: pd.DataFrame, material: str) -> pd.DataFrame:
    """Return the recommended rows of the class of single vacancies; none where there is no such."""
    try:
        crystal: Material = material_named(material)
    except ValueError:
        return diffusion[:0]
    own = classes.loc[classes["name"] == crystal.kinds[VACANCY], "class_id"]
    is_own = diffusion["class_id"].isin(own) & diffusion["recommended"].astype(bool)
    return diffusion[is_own & diffusion["D_nm2_per_s"].notna()]


def verdict(tracked: tuple[float, ...], correlated: tuple[float, ...]) -> str:
    """Say whether two values (value, low, high) agree within their intervals.

    Parameters
    ----------
    tracked, correlated
        Each with its interval.

    Returns
    -------
    ``"agree"``, ``"disagree"``, or ``"one is not known"``.

    Examples
    --------
    >>> verdict((1.0, 0.9, 1.1), (1.1, 0.9, 1.3)), verdict((1.0, 0.9, 1.1), (2.0, 1.5, 2.6))
    ('agree', 'disagree')
    """
    if not (np.isfinite(tracked[0]) and np.isfinite(correlated[0])):
        return "one is not known"
    smaller, larger = sorted([tracked, correlated])
    # the distance of two values is as uncertain as both are, towards each other
    margin = np.hypot(smaller[2] - smaller[0], larger[0] - larger[1])
    if not np.isfinite(margin) or larger[0] - smaller[0] <= margin:
        return "agree"
    return "disagree"

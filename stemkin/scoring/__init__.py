"""How right a result is: any table beside a known truth, and beside the physical limit.

>>> import numpy as np
>>> from stemkin.simulation import simulate_movie, truth_of
>>> truth = truth_of(simulate_movie("paper", n_frames=5, shape=(128, 128), seed=3))
>>> perfect = truth.defects.assign(class_id=0)
>>> score(perfect, truth).detection.loc["all", ["recall", "precision", "rmse_nm"]].tolist()
[1.0, 1.0, 0.0]

**Detections and tracks** are matched with the true defects frame by frame, one to one, at the least
total squared distance and never farther than `radius_nm`. Recall, precision, F1 and localisation
error follow per kind, beside what an ideal observer could reach (`limits` of the truth); classes
are mapped to kinds so that most agree. The vacancy of a complex of dopant and vacancy is part of
one true defect, which lies at the dopant: a second detection on it is neither right nor wrong, and
counts as ``partner``. Frames that are not ``ok`` are left out.

**Tracks** are judged by HOTA at that radius (Luiten et al., Int. J. Comput. Vis. 129, 548 (2021)),
identity switches, and links: of the steps of the true defects whose both ends were found, how many
were linked; of the found links, how many are wrong, which is what falsifies kinetics.

**Estimates** (``diffusion``, ``transitions``, ``dwell_times``, ``populations``, ``abundances``,
``creation``, ``frames``) are put beside their true values, with the relative error and whether the
interval holds the truth.

A truth is what `stemkin.simulation.truth_of` returns, or `Labels` of your own (for detections and
tracks).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.rows.table import experiment_of
from stemkin.scoring.detections import confusion_table, detection_table, mapping_of
from stemkin.scoring.estimates import estimates_table
from stemkin.scoring.labels import Labels
from stemkin.scoring.matches import Matches, match_movie
from stemkin.scoring.tracks import association_table
from stemkin.tables import NOT_NAMED
from stemkin.vocabulary import check_table

__all__ = ["Labels", "Score", "score"]


@dataclass(frozen=True, eq=False)
class Score:
    """How right a result is; a table that does not apply is empty.

    Attributes
    ----------
    detection
        One row per kind and ``all``: `n_true`, `n_matched`, `recall`, `recall_low`, `recall_high`
        (95 %), `best_recall` (ideal observer, one false positive per frame), `n_found`,
        `precision`, `f1`, `rmse_nm` (per axis), `bias_y_nm`, `bias_x_nm`, `bound_nm` (Cramer-Rao).
        `n_found`, `precision` and `f1` of a kind count the detections that were given its name.
    confusion
        True kinds (and ``false``) by found classes (and ``missed``).
    association
        One row per kind and ``all``: `hota`, `det_a`, `ass_a`, `switches`, `n_links`,
        `links_found`, `links_wrong`, ...
    estimates
        `quantity`, `movie`, `what`, `true` (D: closed form for a lone defect; transitions and rates
        of leaving: as a perfect observer counts them in these movies), `found`, `low`, `high`,
        `counted` (D from the hops, rates from the changes that happened, in sight or not), `limit`
        (the standard error of a perfect observer: sqrt(P (1 - P) / n) of probabilities, rate /
        sqrt(events) of rates and D), `relative_error` and `inside` (the interval holds the truth)
        of `found` against `true`.
    mapping
        Class → kind, as used.
    ari
        Adjusted Rand index of classes against kinds, over matched detections; NaN where nothing was
        named.
    """

    detection: pd.DataFrame = field(default_factory=pd.DataFrame)
    confusion: pd.DataFrame = field(default_factory=pd.DataFrame)
    association: pd.DataFrame = field(default_factory=pd.DataFrame)
    estimates: pd.DataFrame = field(default_factory=pd.DataFrame)
    mapping: Mapping[int, str] = field(default_factory=dict)
    ari: float = float("nan")

    def __str__(self) -> str:
        """Return the tables as text."""
        parts = []
        for name in ("detection", "confusion", "association", "estimates"):
            table = getattr(self, name)
            if len(table):
                parts.append(f"{name}\n{table.round(4).to_string()}")
        if len(self.confusion):
            parts.append(f"adjusted Rand index {self.ari:.3f}")
        return "\n\n".join(parts)


@one_thread
def score(
    found: Any,
    truth: Any,
    *,
    radius_nm: float = 0.12,
    classes: Mapping[int, str] | None = None,
    frames: tuple[int, int] | None = None,
    edge_nm: float = 0.0,
) -> Score:
    """Compare a table with the truth. Computes once.

    Parameters
    ----------
    found
        Detections or tracks (pandas, Dask or `Rows`), or one of the tables ``diffusion``,
        ``transitions``, ``dwell_times``, ``populations``, ``frames``.
    truth
        The truth of one movie, or those of several: `Truth` or `Labels`.
    radius_nm
        How far a detection may be from a true defect: by default two thirds of the way to the next
        column of WS2.
    classes
        Class → kind. By default the classes' names where they are names of kinds, else the mapping
        under which most matched detections agree.
    frames
        (start, stop): only these were looked at.
    edge_nm
        Defects and detections closer than this to the frame's edge are left out.

    Returns
    -------
    `Score`.

    Raises
    ------
    ValueError
        If the table is none of these, or its movies are not those of the truth.
    """
    check_table(found)
    truths = _by_movie(truth)
    names = _known_names(found, classes, truths)
    table = found
    if hasattr(found, "compute"):
        table = found.compute()
    if not {"y", "x"} <= set(table.columns):
        known = names or {}
        return Score(estimates=estimates_table(table, truths, known), mapping=known)
    _check_movies(table, truths)
    parts = []
    for movie, one in truths.items():
        rows = _of_movie(table, movie)
        parts.append(match_movie(rows, one, radius_nm=radius_nm, frames=frames, edge_nm=edge_nm))
    matches = Matches.joined(parts)
    kinds = next(iter(truths.values())).kinds
    mapping = names
    if mapping is None:
        mapping = mapping_of(matches, kinds)
    association = pd.DataFrame()
    if "particle" in table.columns:
        association = association_table(matches, kinds)
    return Score(
        detection=detection_table(matches, kinds, mapping, _limits(truths)),
        confusion=confusion_table(matches, kinds, mapping),
        association=association,
        mapping=mapping,
        ari=_adjusted_rand(matches),
    )


def _by_movie(truth: Any) -> dict[str, Any]:
    """Return the truth of one movie, or those of several, by the movies' names."""
    if not isinstance(truth, Iterable):
        truth = [truth]
    return {one.movie: one for one in truth}


def _limits(truths: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return what an ideal observer reaches in these movies, None where no truth knows it."""
    known = [one.limits for one in truths.values() if hasattr(one, "limits")]
    if not known:
        return None
    together: pd.DataFrame = pd.concat(known)
    return together


def _known_names(
    found: Any, classes: Mapping[int, str] | None, truths: Mapping[str, Any]
) -> Mapping[int, str] | None:
    """Return class → kind as far as it is known before anything is matched, else None."""
    if classes is not None:
        return classes
    try:
        table = experiment_of(found).classes
    except ValueError:
        return None
    if table is None or table.empty:
        return None
    kinds = {kind for one in truths.values() for kind in one.kinds}
    names = {int(i): str(n) for i, n in zip(table["class_id"], table["name"], strict=True)}
    return {class_id: name for class_id, name in names.items() if name in kinds} or None


def _of_movie(table: pd.DataFrame, movie: str) -> pd.DataFrame:
    if "movie" not in table.columns:
        return table
    return table[table["movie"] == movie]


def _check_movies(table: pd.DataFrame, truths: Mapping[str, Any]) -> None:
    if "movie" not in table.columns:
        return
    unknown = sorted(set(table["movie"].unique()) - set(truths))
    if unknown:
        msg = (
            f"rows of the movies {unknown[:5]} have no truth here; the truth is of "
            f"{sorted(truths)[:5]}"
        )
        raise ValueError(msg)


def _adjusted_rand(matches: Matches) -> float:
    """Return the adjusted Rand index of class against kind over matched, named detections.

    Counted are pairs of detections that share class and kind, beside what chance would give (Hubert
    & Arabie, J. Classif. 2, 193 (1985)).
    """
    named = matches.class_id != NOT_NAMED
    if not named.any():
        return float("nan")
    _, kind = np.unique(matches.kind[named], return_inverse=True)
    _, found = np.unique(matches.class_id[named], return_inverse=True)
    table = np.zeros((kind.max() + 1, found.max() + 1))
    np.add.at(table, (kind, found), 1)
    both, by_class, by_kind, every = (
        (n * (n - 1) / 2).sum() for n in (table, table.sum(axis=0), table.sum(axis=1), table.sum())
    )
    expected = by_class * by_kind / max(every, 1)
    best = (by_class + by_kind) / 2
    if best == expected:
        return 1.0
    return float((both - expected) / (best - expected))

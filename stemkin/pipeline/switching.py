"""What becomes of defects in a run: transitions, the same behind wrong names, tests of the chain;
numbers and creation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin.config import KineticsSection
from stemkin.kernels.classes.motifs import MATERIALS, Elements
from stemkin.kinetics import (
    Transitions,
    abundances,
    beam_cross_sections,
    chain_states,
    chapman_kolmogorov,
    creation,
    hidden_transitions,
    implied_timescales,
    reversibility,
    transitions,
)
from stemkin.kinetics.creation import vacancies_in
from stemkin.linking import MAX_STEP_LATTICES
from stemkin.rows.tracks import sum_over
from stemkin.tables import NOT_NAMED, Experiment, empty

SWITCHING = (
    "transitions", "hidden_transitions", "beam_transitions", "chain", "timescales", "chapman_kolmogorov", "reversibility",
    "abundances", "creation",
)  # fmt: skip
MULTIPLES = (1, 2, 3, 5)
"""Lags at which the chain is tested, in units of the run's own lag."""
LEAST_SEEN = 20
"""Classes with fewer detections in the whole run say nothing of rates: for the correction of names
their rows are not looked at."""
PRIOR_ROWS = 0.5
"""Rows that are added to each entry of a confusion matrix."""


@dataclass(frozen=True)
class Confusion:
    """How often names are wrong: the matrix measured with the model, or None where only the
    classifier itself says so.

    Attributes
    ----------
    measured
        (k, k) from the model's record, for classes 0 to k - 1.
    n_classes
        Number of classes of the model.
    """

    measured: np.ndarray | None
    n_classes: int

    def for_all(self, tracks: Any) -> np.ndarray | None:
        """Return a (k, k) matrix: the measured one, or what the probabilities of the names say;
        None below two classes."""
        if self.measured is not None or self.n_classes < 2:
            return self.measured
        sums = sum_over(tracks, _sureness)
        matrix = np.eye(self.n_classes)
        for i in range(self.n_classes):
            sure, n = sums.get((i,), np.array([0, 0]))
            if n:
                matrix[i] = (1 - sure / n / 2**20) / (self.n_classes - 1)
                matrix[i, i] = sure / n / 2**20
        return matrix


def _sureness(rows: pd.DataFrame) -> dict[tuple[Any, ...], Any]:
    """Return class → (sum of the probabilities in units of 2^-20, rows): whole numbers, which add
    in any order."""
    named = rows[rows["class_id"] != NOT_NAMED]
    units = np.rint(named["probability"].fillna(1.0).clip(0, 1) * 2**20).astype(np.int64)
    both = units.groupby(named["class_id"]).agg(["sum", "size"])
    return {(int(i),): np.array([total, n]) for i, total, n in both.itertuples()}


def confusion_of(report: Mapping[str, Any], classes: pd.DataFrame) -> Confusion:
    """Return the confusion that a model's record holds, if it speaks of every class that was seen
    (see `learning.with_confusion`)."""
    names, n = classes["name"].tolist(), len(classes)
    record = report.get("confusion")
    if not isinstance(record, Mapping) or n < 2:
        return Confusion(None, n)
    counts = pd.DataFrame(record["counts"], record["true"], record["found"]).reindex(
        columns=names, fill_value=0
    )
    seen = classes.loc[classes["n_detections"] > 0, "name"]
    if not set(seen) <= set(counts.index[counts.sum(axis=1) > 0]):
        return Confusion(None, n)
    own = counts.reindex(index=names, fill_value=0).to_numpy(float) + PRIOR_ROWS / n
    return Confusion(own / own.sum(axis=1, keepdims=True), n)


def transition_table(
    tracks: Any, experiment: Experiment, settings: KineticsSection
) -> pd.DataFrame:
    """Return the transitions of every movie, and pooled, at the run's lag."""
    words: dict[str, Any] = {"lag_frames": settings.lag_frames, "confidence": settings.confidence}
    return transitions(tracks, by="movie", experiment=experiment, **words).table


def switching_tables(
    tracks: Any,
    experiment: Experiment,
    settings: KineticsSection,
    classes: pd.DataFrame,
    confusion: Confusion,
) -> dict[str, pd.DataFrame]:
    """Return everything that is said about changes of class, by table."""
    words: dict[str, Any] = {"experiment": experiment, "confidence": settings.confidence}
    pooled = transitions(tracks, lag_frames=[m * settings.lag_frames for m in MULTIPLES], **words)
    later = pooled.table[pooled.table["lag_frames"] > settings.lag_frames]
    each = transition_table(tracks, experiment, settings)
    found = {
        "transitions": pd.concat([each, later], ignore_index=True),
        **_judged(pooled, experiment, settings),
    }
    found["hidden_transitions"] = _hidden(tracks, classes, confusion, settings, words)
    known = experiment.movies[experiment.movies["frame_time_s"].notna()]
    dosed = len(known) and known["dose_rate_e_per_nm2_s"].notna().all()
    found["beam_transitions"] = (
        beam_cross_sections(tracks, **words) if dosed else _no_cross_sections()
    )
    return found


def _no_cross_sections() -> pd.DataFrame:
    columns = empty("transitions").drop(columns=["lag_frames", "probability", "low", "high"])
    return columns.rename(
        columns={"rate_per_s": "cross_section_barn", "rate_low": "low", "rate_high": "high"}
    )


def _hidden(
    tracks: Any,
    classes: pd.DataFrame,
    confusion: Confusion,
    settings: KineticsSection,
    words: dict[str, Any],
) -> pd.DataFrame:
    """Return the transitions of the classes that were seen often enough, with the naming errors
    taken out."""
    seen = classes.loc[classes["n_detections"] >= LEAST_SEEN, "class_id"].astype(int).tolist()
    if not settings.correct_names or len(seen) < 2:
        return empty("transitions")
    errors = None
    if confusion.measured is not None:
        errors = confusion.measured[np.ix_(seen, seen)]
        errors = errors / errors.sum(axis=1, keepdims=True)
    return hidden_transitions(tracks, confusion=errors, class_ids=seen, **words).table


def _judged(
    pooled: Transitions, experiment: Experiment, settings: KineticsSection
) -> dict[str, pd.DataFrame]:
    """Return the tests of the pooled chain."""
    times = experiment.movies["frame_time_s"].dropna().unique()
    judged = {
        "chain": chain_states(pooled),
        "chapman_kolmogorov": chapman_kolmogorov(pooled, confidence=settings.confidence),
    }
    nothing = pooled.table.empty
    one_time = float(times[0]) if len(times) == 1 and not nothing else np.nan
    judged["timescales"] = implied_timescales(
        pooled, frame_time_s=one_time, confidence=settings.confidence
    )
    columns = ["statistic", "degrees_of_freedom", "p_value", "reversible"]
    judged["reversibility"] = pd.DataFrame(
        [] if nothing else [reversibility(pooled)], columns=columns
    )
    return judged


def material_of(name: str, hop_length_nm: float | None) -> tuple[Elements, float] | None:
    """Return the crystal of a run and its lattice constant [nm], None where no lattice was seen."""
    return (
        (MATERIALS[name], hop_length_nm)
        if name in MATERIALS and hop_length_nm is not None
        else None
    )


def numbers_per_frame(
    every: Any,
    timed: Any,
    experiment: Experiment,
    settings: KineticsSection,
    material: tuple[Elements, float] | None,
) -> dict[str, pd.DataFrame]:
    """Return the mean numbers of defects, of `every` movie's tracks, and what the beam made, of the
    `timed` movies'."""
    words: dict[str, Any] = {
        "by": "movie",
        "experiment": experiment,
        "confidence": settings.confidence,
    }
    found = {"abundances": abundances(every, **words), "creation": empty("creation")}
    if material is not None:
        elements, a_nm = material
        names = (
            zip(experiment.classes["class_id"], experiment.classes["name"], strict=True)
            if experiment.classes is not None
            else ()
        )
        lacks = {int(i): vacancies_in(str(name), elements.chalcogen) for i, name in names}
        sites = elements.per_column * 2 / (np.sqrt(3) * a_nm**2)
        words |= {"atoms_per_column": elements.per_column, "vacancies": lacks}
        if any(lacks.values()):
            found["creation"] = creation(
                timed, sites_per_nm2=sites, reach_nm=MAX_STEP_LATTICES * a_nm, **words
            )
    return found

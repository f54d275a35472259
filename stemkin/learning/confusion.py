"""How often are classes confused? A model is measured on a movie whose defects are known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.images.missing import without_missing
from stemkin.model import Model
from stemkin.movie import Movie


@one_thread
def with_confusion(
    model: Model, movie: Movie, truth: pd.DataFrame, *, max_distance_px: float
) -> Model:
    """Measure how often a model confuses classes, on a movie of known defects. Computes once.

    Parameters
    ----------
    model
        A learned model.
    movie
        The movie; only the frames that `truth` speaks of are looked at.
    truth
        `frame`, `y`, `x` [px] and `kind` of every defect, for instance ``truth_of(movie).defects``.
    max_distance_px
        How far a detection may lie from the defect that it is.

    Returns
    -------
    The model with two more entries in its `report`: ``confusion`` (``true``: kinds; ``found``:
    names of the classes, "-" for not named and "missed"; ``counts``: one row per kind) and
    ``calibration_error``, the mean difference between the probability of a name and how often it
    was right, over ten bins weighted by size.
    """
    from dask import compute, delayed

    numbers = [int(number) for number in np.unique(truth["frame"])]
    tasks = []
    for n in numbers:
        there = truth[truth["frame"] == n]
        # dask would look for tasks inside of whatever it is handed openly
        compared = partial(_compared, model, movie, n, there, max_distance_px)
        tasks.append(delayed(compared)())
    pairs = pd.concat(compute(*tasks))
    kinds = sorted(truth["kind"].unique())
    names = [*model.classes["name"], "-", "missed"]
    counts = pd.crosstab(pairs["kind"], pairs["name"]).reindex(
        index=kinds, columns=names, fill_value=0
    )
    called = pairs[~pairs["name"].isin(["-", "missed"])]
    # in each tenth of the probability: how much was promised less how much was right, in detections
    bins = np.minimum((called["probability"] * 10).astype(int), 9)
    excess = called["probability"] - (called["kind"] == called["name"])
    gaps = excess.groupby(bins).sum().abs().sum()
    found = {"true": kinds, "found": names, "counts": counts.to_numpy().tolist()}
    error = float("nan")
    if len(called):
        error = float(gaps / len(called))
    return replace(model, report={**model.report, "confusion": found, "calibration_error": error})


@one_thread
def _compared(
    model: Model, movie: Movie, frame: int, truth: pd.DataFrame, max_distance_px: float
) -> pd.DataFrame:
    """Return `kind`, `name` and `probability` of every true defect of one frame."""
    pixels, _ = without_missing(movie.reader.read(frame, frame + 1))
    records = np.asarray(model.detector(pixels, first_frame=frame))
    named = model.describe(pixels, records, first_frame=frame)
    records, class_id = records[named["keep"]], named["class_id"][named["keep"]]
    found = np.stack([records["y"], records["x"]], axis=1).astype(float)
    i, j = match_points(found, truth[["y", "x"]].to_numpy(float), max_distance=max_distance_px)
    # "-" stands last, where class -1 finds it
    names = np.array([*model.classes["name"], "-"], dtype=object)
    name, probability = np.full(len(truth), "missed", dtype=object), np.zeros(len(truth))
    name[j], probability[j] = names[class_id[i]], named["probability"][named["keep"]][i]
    return pd.DataFrame(
        {"kind": truth["kind"].to_numpy(), "name": name, "probability": probability}
    )

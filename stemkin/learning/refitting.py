"""Classes refined on all detections of an archive, by the mixture that climbs over them in parallel.

A model names what it saw in a sample of some hundred frames. A run finds a million times as many
detections: what was rare in the sample is not, and what the sample did not hold may be a class of
its own. From where the sample left it the mixture climbs over all of them, one pass through the
active scheduler per step; what no class explains is sorted into further ones by k-means (dask-ml)
and a mixture, and has a class where it is more than a few.

    model = sk.refit(model, results.detections)      # stemkin classes RESULTS --refit
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.kernels.classes import densities
from stemkin.kernels.classes.mixture import Mixture
from stemkin.kernels.classes.naming import MIN_UNKNOWN
from stemkin.learning.by_motif import MAX_UNKNOWN
from stemkin.model import (
    PRIOR_ROWS,
    REGULARISATION,
    Model,
    class_row,
    scaled,
    without_measured,
)

logger = logging.getLogger(__name__)

LEAST_ROWS = 15.0
"""A component that explains fewer detections stays as it was learned."""

LEAST_SHARE = 1e-3
"""A new class holds at least this share of all detections."""

NUMBERS = ("weights", "means", "covariances")
"""What is kept of a mixture that was fitted again."""


@one_thread
def refit(model: Model, detections: Any, *, seed: int = 0) -> Model:
    """Return the model with its classes fitted to all detections. Computes once.

    Some ten passes over the rows, through the active scheduler; chunks, workers and order of
    completion do not change a bit.

    Parameters
    ----------
    model
        That described the detections.
    detections
        Table ``detections`` (pandas or Dask) with its descriptors ``d00``..., as `detect` and runs
        give it.
    seed
        Of the starts of new classes.

    Returns
    -------
    A model whose classes of before keep numbers and names; new ones are called ``class N``.

    Raises
    ------
    ValueError
        If descriptors are missing, or are not those of this model.
    """
    return refitted(model, refit_numbers(model, detections, seed=seed))


def refit_numbers(model: Model, detections: Any, *, seed: int = 0) -> dict[str, Any]:
    """Return what `refitted` needs, as numbers that JSON can keep. Computes once.

    Parameters are those of `refit`; the mixture of a model without classes stays as it is.
    """
    mixture = model.taxonomy.mixture
    if mixture is None:
        return {}
    _check_descriptors(model, detections)
    explained, rest = _rows_of(model, detections)
    climbed, n_rows = mixture, len(explained)
    if n_rows:
        climbed = _climbed(explained, mixture)
    new = _new_components(rest, n_rows + len(rest), mixture, seed)
    found = _together(climbed, new, n_rows, len(rest))
    n_known = len(model.classes)
    ids = [*model.taxonomy.class_ids.tolist(), *(n_known + np.arange(len(new))).tolist()]
    counts = np.bincount(np.asarray(ids) + 1, weights=found.weights, minlength=n_known + 1)[1:]
    logger.info("%d detections were sorted again; %d new classes", n_rows + len(rest), len(new))
    return {
        **{name: getattr(found, name).tolist() for name in NUMBERS},
        "class_ids": [int(i) for i in ids],
        "n_detections": [round(float(n) * (n_rows + len(rest))) for n in counts],
    }


def refitted(model: Model, told: Mapping[str, Any]) -> Model:
    """Return the model with the mixture that `refit_numbers` told. Computes once.

    Parameters
    ----------
    model
        As it was when the numbers were told.
    told
        What `refit_numbers` returned; a model stays as it is where that is nothing.

    Raises
    ------
    ValueError
        If they are not numbers of this model.
    """
    mixture = model.taxonomy.mixture
    if not told or mixture is None:
        return model
    try:
        weights, means, covariances = (np.array(told[name], float) for name in NUMBERS)
        ids = np.array(told["class_ids"], np.int16)
        n_detections = [int(n) for n in told["n_detections"]]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the classes that were fitted again cannot be read ({error}); fit them once more"
        raise ValueError(msg) from None
    k, known = len(mixture.weights), len(model.classes)
    fits = len(weights) == len(means) == len(covariances) == len(ids) >= k
    fits = fits and means.shape[1:] == mixture.means.shape[1:]
    fits = fits and covariances.shape[1:] == mixture.covariances.shape[1:]
    if not fits or (ids[:k] != model.taxonomy.class_ids).any():
        msg = (
            f"the classes were fitted again for another model (of {len(ids)} components, not {k}); "
            "fit them once more"
        )
        raise ValueError(msg)
    n_new = len(n_detections) - known
    grown = Mixture(weights, means, covariances, mixture.covariance)
    told_of = {"refitted": {"n_detections": sum(n_detections), "n_new": n_new}}
    return replace(
        model,
        taxonomy=replace(model.taxonomy, mixture=grown, class_ids=ids),
        classes=_with_new(model, grown, ids, n_detections),
        oriented=np.append(model.oriented, np.zeros(n_new, bool)),
        report=without_measured(model.report) | told_of,
    )


def _check_descriptors(model: Model, detections: Any) -> None:
    """Refuse rows without the descriptors of the model."""
    wanted = tables.descriptor_columns(model.n_descriptors)
    missing = [name for name in wanted if name not in detections.columns]
    if missing:
        msg = (
            f"the detections have no column {missing[0]!r}, a descriptor that this model sorts by; "
            "detect with this model, or open the results that it is from"
        )
        raise ValueError(msg)


def _rows_of(model: Model, detections: Any) -> tuple[Any, Any]:
    """Return the scaled descriptors of the rows that the model explains, and of the others."""
    columns = tables.descriptor_columns(model.n_descriptors)
    pick = partial(_picked, model=model)
    if isinstance(detections, pd.DataFrame):
        known = detections[columns]
        return _in_rows(pick(known, explained=True)), _in_rows(pick(known, explained=False))
    # how many rows each part has of either kind is counted in one pass over them
    counts = detections[columns].map_partitions(_counted, model=model, meta=_NO_COUNTS).compute()
    meta = pd.DataFrame(np.empty((0, int((model.scale > 0).all(axis=0).sum()))))
    parts = []
    for which, lengths in zip((True, False), counts.to_numpy().T.tolist(), strict=True):
        part = detections[columns].map_partitions(pick, explained=which, meta=meta)
        parts.append(part.to_dask_array(lengths=lengths).map_blocks(_in_rows))
    near, far = parts
    return near, far


_NO_COUNTS = pd.DataFrame({"near": pd.Series(dtype="int64"), "far": pd.Series(dtype="int64")})


@one_thread
def _counted(rows: pd.DataFrame, *, model: Model) -> pd.DataFrame:
    """Return how many rows of one part the model explains, and how many it does not."""
    _, near = _looked_at(rows, model)
    return pd.DataFrame({"near": [int(near.sum())], "far": [int((~near).sum())]})


@one_thread
def _in_rows(values: Any) -> np.ndarray:
    """Return (n, d) values row after row: the bits of products depend on how they lie in memory."""
    return np.ascontiguousarray(values)


@one_thread
def _picked(rows: pd.DataFrame, *, model: Model, explained: bool) -> pd.DataFrame:
    """Return the scaled descriptors of one part, of rows that are known."""
    values, near = _looked_at(rows, model)
    return pd.DataFrame(values[near == explained])


def _looked_at(rows: pd.DataFrame, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return the scaled descriptors of rows that are known, and which of them are explained."""
    mixture = model.taxonomy.mixture
    assert mixture is not None
    values = scaled(rows.to_numpy(), model.scale)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return values, np.zeros(0, bool)
    _, distances = densities.posterior_and_distances(values, mixture)
    return values, distances.min(axis=1) <= model.taxonomy.outlier_limit


def _climbed(rows: Any, mixture: Mixture) -> Mixture:
    """Return a mixture that has climbed over the rows (n, d), but for what explains hardly any."""
    from stemkin.learning.gaussian_mixture import (
        GaussianMixture,
        laid_out,
        mixture_sums,
        starting_at,
    )

    seen = mixture_sums(laid_out(rows), mixture).n >= LEAST_ROWS
    if mixture.covariance == "tied" or not seen.any():
        return mixture
    weights = mixture.weights[seen]
    known = replace(
        mixture,
        weights=weights / weights.sum(),
        means=mixture.means[seen],
        covariances=mixture.covariances[seen],
    )
    fit = GaussianMixture(
        int(seen.sum()),
        covariance_type=mixture.covariance,
        reg_covar=REGULARISATION,
        prior_rows=PRIOR_ROWS,
        **starting_at(known),
    ).fit(rows)
    means, covariances = mixture.means.copy(), mixture.covariances.copy()
    means[seen], covariances[seen] = fit.means_, fit.covariances_
    # the share of what is hardly seen is that of half a detection each, as in learning
    shares = np.full(len(mixture.weights), 0.5 / len(rows))
    shares[seen] = fit.weights_ * (1 - shares[~seen].sum())
    return Mixture(shares, means, covariances, mixture.covariance)


_Component = tuple[float, np.ndarray, np.ndarray]
"""Share of the rows that nothing explained, mean (d,), and covariance."""


def _new_components(rest: Any, n_rows: int, mixture: Mixture, seed: int) -> list[_Component]:
    """Return the components that what is not explained has, those that are more than a few."""
    from stemkin.learning.clustering import cluster

    least = max(MIN_UNKNOWN, LEAST_SHARE * n_rows)
    if len(rest) < least or mixture.covariance == "tied":
        return []
    found = cluster(
        rest,
        max_classes=MAX_UNKNOWN,
        covariance=mixture.covariance,
        regularisation=REGULARISATION,
        prior_rows=PRIOR_ROWS,
        seed=seed,
    ).mixture
    if found is None:
        return []
    order = np.argsort(-found.weights, kind="stable")
    kept = [i for i in order.tolist() if found.weights[i] * len(rest) >= least]
    return [(float(found.weights[i]), found.means[i], found.covariances[i]) for i in kept]


def _together(mixture: Mixture, new: list[_Component], n_rows: int, n_rest: int) -> Mixture:
    """Return a mixture of the components of before and the new ones, each with its rows' share."""
    if not new:
        return mixture
    weights, means, covariances = zip(*new, strict=True)
    shares = np.concatenate([mixture.weights * n_rows, np.array(weights) * n_rest])
    return Mixture(
        shares / shares.sum(),
        np.concatenate([mixture.means, means]),
        np.concatenate([mixture.covariances, covariances]),
        mixture.covariance,
    )


def _with_new(
    model: Model, mixture: Mixture, ids: np.ndarray, n_detections: list[int]
) -> pd.DataFrame:
    """Return the table ``classes`` with a row for each new class, pictured by the sample."""
    rows: list[dict[Any, Any]] = model.classes.to_dict("records")
    for row, n in zip(rows, n_detections, strict=False):
        row["n_detections"] = n
    pictures, given = np.empty((0, 0, 0)), np.empty(0, int)
    if model.sample is not None:
        pictures = np.asarray(model.sample.pictures, float)
        values = scaled(model.sample.rows[: len(pictures)], model.scale)
        taxonomy = replace(model.taxonomy, mixture=mixture, class_ids=ids)
        given = taxonomy.assign(values)[0]
    for i in range(len(rows), len(n_detections)):
        own = pictures[given == i]
        patch = np.zeros(pictures.shape[1:])
        if len(own):
            patch = own.mean(axis=0)
        rows.append(class_row(i, f"class {i}", n_detections[i], patch))
    columns = {key: [row[key] for row in rows] for key in tables.COLUMNS["classes"]}
    return tables.conform(columns, "classes")

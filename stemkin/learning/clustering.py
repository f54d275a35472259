"""Classes from descriptors: principal components, k-means and a Gaussian mixture, NumPy or Dask.

The bits are the same either way.

    taxonomy = cluster(descriptors, n_classes=5)         # descriptors (n, k): NumPy or a Dask array
    class_id, probability = taxonomy.assign(more_descriptors)

Nothing here depends on how the rows are chunked: they are laid out in leaves of a fixed size before
anything is summed (see `gaussian_mixture`). This is the only file that imports dask-ml.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from stemkin.blas import one_thread
from stemkin.kernels.classes import mixture as kernel
from stemkin.kernels.classes.mixture import Covariance
from stemkin.kernels.classes.taxonomy import Taxonomy, nothing
from stemkin.learning.gaussian_mixture import (
    NOT_FINITE,
    GaussianMixture,
    as_leaves,
    laid_out,
    sample_rows,
    starting_at,
)
from stemkin.schedulers.workers import workers_on_one_thread

logger = logging.getLogger(__name__)

MOVED = 1e-4
"""K-means has settled when the centres have moved by less: sum of squares."""


@one_thread
def cluster(
    descriptors: Any,
    *,
    n_classes: int | None = None,
    max_classes: int = 8,
    covariance: Covariance | None = None,
    start_labels: np.ndarray | None = None,
    n_init: int = 4,
    regularisation: float | None = None,
    prior_rows: float = 0.0,
    outlier_probability: float = 1e-4,
    seed: int = 0,
) -> Taxonomy:
    """Sort rows of descriptors into classes. Computes once: some dozens of passes over the rows.

    Parameters
    ----------
    descriptors
        (n, k) NumPy or Dask array, free of NaN.
    n_classes
        How many; None takes the number with the lowest Bayesian information criterion, up to
        `max_classes`.
    max_classes
        Most classes that are tried where `n_classes` is None.
    covariance
        ``"full"``, ``"tied"`` or ``"diag"``; None lets the criterion choose between full and diag.
    start_labels
        (n,) first guess of the classes, 0, 1, ... and -1 for rows without one. Fits then start from
        it, with the remaining rows sorted into further classes by k-means, instead of from k-means
        alone.
    n_init
        Seeded starts where there is no first guess; the most likely wins.
    regularisation
        Added to every variance; 1e-4 of the mean variance of a descriptor unless given.
    prior_rows
        As if each class had shown so many more rows of variance 1: for descriptors in units of
        their own noise.
    outlier_probability
        Share of a Gaussian class that may be mistaken for outliers: it sets the distance beyond
        which a row is unexplained.
    seed
        Of the sample and of the starts.

    Returns
    -------
    A `Taxonomy` whose classes are numbered by falling size, with what was tried in ``selection``.
    With fewer distinct rows than classes, fewer classes; with fewer than two rows, the taxonomy
    that names nothing. Both are logged.
    """
    rows = sample_rows(laid_out(descriptors), seed=seed)
    if not np.isfinite(rows).all():
        raise ValueError(NOT_FINITE)
    if len(rows) < 2:
        logger.warning(
            "%d detections are too few to learn classes from; nothing will be named", len(rows)
        )
        return nothing()
    known = 0
    if start_labels is not None:
        known = int(start_labels.max(initial=-1)) + 1
    # a class needs two rows that differ; what is asked beyond that is cut down
    distinct = min(len(np.unique(rows, axis=0)), len(rows) // 2)
    asked: Sequence[int] = range(max(1, known), max(known, max_classes) + 1)
    if n_classes is not None:
        asked = [n_classes]
    counts = sorted({max(1, min(k, distinct)) for k in asked})
    if n_classes is not None and counts[-1] < n_classes:
        logger.warning(
            "%d distinct detections support %d classes, not %d", distinct, counts[-1], n_classes
        )
    if regularisation is None:
        regularisation = 1e-4 * (float(rows.var(axis=0).mean()) or 1.0)
    kinds: tuple[Covariance, ...] = ("full", "diag")
    if covariance is not None:
        kinds = (covariance,)
    fits: list[tuple[float, GaussianMixture]] = []
    for kind in kinds:
        for k in counts:
            fit = GaussianMixture(
                k,
                covariance_type=kind,
                n_init=n_init,
                reg_covar=regularisation,
                prior_rows=prior_rows,
                random_state=seed,
            )
            if start_labels is not None and k >= known:
                table = np.asarray(descriptors)
                start = _start_from(table, start_labels, k, kind, regularisation, seed)
                fit.set_params(**start)
            fits.append((fit.fit(descriptors).bic(descriptors), fit))
    _, best = min(fits, key=lambda pair: pair[0])
    # order[i] is the component of class i, and its argsort the class of each component
    order = np.argsort(-best.weights_, kind="stable")
    limit = float(stats.chi2.isf(outlier_probability, descriptors.shape[1]))
    tried = [
        {"n_classes": fit.n_components, "covariance": fit.covariance_type, "bic": bic}
        for bic, fit in fits
    ]
    return Taxonomy(best.mixture_, np.argsort(order).astype(np.int16), limit, tuple(tried))


@one_thread
def held_out(
    descriptors: Any, counts: Sequence[int], *, covariance: Covariance = "full", seed: int = 0
) -> pd.DataFrame:
    """Fit to every second row and see how likely the others are. Computes once.

    Parameters
    ----------
    descriptors
        (n, k) NumPy or Dask array, free of NaN.
    counts
        Numbers of classes to try.
    covariance
        ``"full"``, ``"tied"`` or ``"diag"``.
    seed
        Of the starts.

    Returns
    -------
    One row per number of classes in `counts`: ``n_classes``, ``bic`` (lowest is preferred) on the
    rows of the fit, ``held_out`` (highest is preferred), the mean log-likelihood of a row that was
    not seen.
    """
    seen, unseen = descriptors[0::2], descriptors[1::2]
    rows = []
    for k in counts:
        fit = GaussianMixture(k, covariance_type=covariance, n_init=4, random_state=seed).fit(seen)
        rows.append({"n_classes": k, "bic": fit.bic(seen), "held_out": fit.score(unseen)})
    return pd.DataFrame(rows, columns=["n_classes", "bic", "held_out"])


def _start_from(
    rows: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    covariance: Covariance,
    regularisation: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Return the settings of a first guess; k-means sorts unlabelled rows into further classes."""
    labels = np.asarray(labels).copy()
    rest = np.flatnonzero(labels < 0)
    known = int(labels.max(initial=-1)) + 1
    n_more = min(n_classes - known, len(rest))
    if n_more > 0:
        labels[rest] = known + kmeans(rows[rest], n_more, seed=seed)[1]
    start = kernel.mixture_of_labels(
        rows, labels, n_classes, covariance=covariance, regularisation=regularisation
    )
    return starting_at(start)


@one_thread
def kmeans(
    rows: Any, n_clusters: int, *, seed: int = 0, max_iter: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Find k-means clusters of rows from one seeded k-means++ start. Computes once.

    One leaf of rows is scikit-learn's work, more are dask-ml's: on 3,000 rows in memory that is 70
    times faster, and the same labels. (dask-ml's own k-means|| start is 20 times slower at equal
    quality, and its ``init="k-means++"`` does not work.)

    Parameters
    ----------
    rows
        (n, d) NumPy or Dask array.
    n_clusters
        How many, k.
    seed
        Of the sample of rows on which the start is made.
    max_iter
        Steps of Lloyd's algorithm at most.

    Returns
    -------
    (k, d) centres and the (n,) label of each row.
    """
    from sklearn.cluster import kmeans_plusplus

    rows = as_leaves(rows)
    start = kmeans_plusplus(sample_rows(rows, seed=seed), n_clusters, random_state=seed)[0]
    start = np.ascontiguousarray(start)
    if rows.numblocks[0] == 1:
        return _kmeans_in_memory(np.asarray(rows), start, max_iter)
    from dask_ml.cluster import KMeans

    with _quiet():
        fit = KMeans(n_clusters, init=start, max_iter=max_iter, random_state=seed).fit(rows)
        return np.asarray(fit.cluster_centers_), np.asarray(fit.labels_.compute())


def _kmeans_in_memory(
    rows: np.ndarray, start: np.ndarray, max_iter: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (k, d) and labels (n,) that scikit-learn finds from `start` (k, d)."""
    from sklearn.cluster import KMeans

    # scikit-learn multiplies its tolerance by the mean variance of a column; dask-ml does not
    tolerance = MOVED / (float(rows.var(axis=0).mean()) or 1.0)
    fit = KMeans(len(start), init=start, n_init=1, max_iter=max_iter, tol=tolerance).fit(rows)
    return np.asarray(fit.cluster_centers_), np.asarray(fit.labels_)


@one_thread
def principal_components(rows: Any, n_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the principal components of rows by singular values (Pearson 1901). Computes once.

    One leaf of rows is scikit-learn's work, more are dask-ml's; bits and signs are the same.

    Parameters
    ----------
    rows
        (n, d) NumPy or Dask array.
    n_components
        How many, k; fewer where there are fewer rows or columns.

    Returns
    -------
    Mean (d,), components (k, d) and explained variances (k,).
    """
    rows = as_leaves(rows)
    k = min(n_components, *rows.shape)
    if rows.numblocks[0] == 1:
        from sklearn.decomposition import PCA as InMemoryPCA  # noqa: N811

        fit = InMemoryPCA(k, svd_solver="full").fit(np.asarray(rows))
        components = np.asarray(fit.components_)
        if rows.shape[0] > rows.shape[1]:
            # a component's sign is free: here, as in dask, its numbers have a sum above zero
            components = components * (2.0 * (components.sum(axis=1, keepdims=True) >= 0) - 1.0)
        return np.asarray(fit.mean_), components, np.asarray(fit.explained_variance_)
    from dask_ml.decomposition import PCA

    with _quiet():
        fit = PCA(k, svd_solver="full").fit(rows)
    return np.asarray(fit.mean_), np.asarray(fit.components_), np.asarray(fit.explained_variance_)


@one_thread
@contextmanager
def _quiet() -> Iterator[None]:
    """Silence dask-ml's warnings and bound the workers that its tasks run on.

    dask-ml 2025.1 warns under today's dask and scikit-learn; its results were checked.
    """
    with warnings.catch_warnings(), workers_on_one_thread(), one_thread:
        warnings.simplefilter("ignore")
        yield

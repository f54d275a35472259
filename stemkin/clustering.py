"""Classes from descriptors: principal components, k-means and a Gaussian mixture, on NumPy or Dask, the same bits either way.

    taxonomy = cluster(descriptors, n_classes=5)            # descriptors (n, k): NumPy or a Dask array
    class_id, probability = taxonomy.assign(more_descriptors)

`GaussianMixture` follows scikit-learn's conventions and equals it on the same start. Nothing here depends on how the
rows are chunked: they are laid out in leaves of a fixed size before anything is summed (see `kernels.mixture`).
This is the only file that imports dask-ml.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, DensityMixin

from stemkin.kernels import mixture as kernel
from stemkin.kernels.mixture import COVARIANCES, LEAF_ROWS, Covariance, Mixture, Sums
from stemkin.kernels.taxonomy import Taxonomy, nothing

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 50_000
"""Rows of the seeded sample on which starts are made."""

_TASK_LEAVES = 4
"""Leaves per task: 32 MiB at 16 descriptors, about half a second of work. A power of two."""


class GaussianMixture(DensityMixin, BaseEstimator):
    """Gaussian mixture by expectation-maximisation over blocks of rows; NumPy or Dask, larger than memory if need be.

    Parameters
    ----------
    n_components
        Number of Gaussians.
    covariance_type
        ``"full"``, ``"tied"`` (one shape for all) or ``"diag"``.
    tol
        Stop when the mean log-likelihood of a row gains less.
    reg_covar
        Added to every variance.
    max_iter, n_init, random_state
        As in scikit-learn. Starts are k-means on a seeded sample of `SAMPLE_ROWS` rows.
    weights_init, means_init, precisions_init
        As in scikit-learn; all three together are the start and leave nothing to chance.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_cholesky_, converged_, n_iter_, lower_bound_
        As in scikit-learn.
    mixture_
        The same as a `kernels.mixture.Mixture`.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: Covariance = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: int | None = None,
    ) -> None:
        """Keep the settings; nothing is checked before `fit`, as scikit-learn asks."""
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> GaussianMixture:  # noqa: ARG002
        """Fit to the rows `X` (n, d). Computes at once, one pass over the rows per step.

        Raises
        ------
        ValueError
            If there are fewer rows than components, or a row is not finite.
        """
        X = laid_out(X)
        if self.covariance_type not in COVARIANCES:
            msg = f"covariance_type must be one of {list(COVARIANCES)}, not {self.covariance_type!r}"
            raise ValueError(msg)
        if X.shape[0] < self.n_components:
            msg = (
                f"{self.n_components} components need at least as many rows, but there are {X.shape[0]}; ask for fewer"
            )
            raise ValueError(msg)
        given = all(v is not None for v in (self.weights_init, self.means_init, self.precisions_init))
        starts = [self._given_start()] if given else [self._start(X, i) for i in range(self.n_init)]
        fits = [self._climb(X, start) for start in starts]
        best = max(fits, key=lambda fit: fit[1])
        self.mixture_, self.lower_bound_, self.n_iter_, self.converged_ = best
        self.weights_, self.means_ = self.mixture_.weights, self.mixture_.means
        self.covariances_, self.precisions_cholesky_ = self.mixture_.covariances, self.mixture_.precisions_cholesky
        if not self.converged_:
            logger.warning("the mixture of %d had not settled after %d steps", self.n_components, self.max_iter)
        return self

    def fit_predict(self, X: Any, y: Any = None) -> Any:
        """Fit to `X` and return the most probable component of each row."""
        return self.fit(X, y).predict(X)

    def predict(self, X: Any) -> Any:
        """Return the most probable component of each row; lazy if `X` is a Dask array."""
        return _by_rows(X, lambda rows: kernel.log_densities(rows, self.mixture_).argmax(axis=1), np.int64)

    def predict_proba(self, X: Any) -> Any:
        """Return the (n, n_components) probabilities; lazy if `X` is a Dask array."""
        return _by_rows(X, lambda rows: kernel.posterior(rows, self.mixture_)[1], np.float64, width=self.n_components)

    def score_samples(self, X: Any) -> Any:
        """Return log p of each row; lazy if `X` is a Dask array."""
        return _by_rows(X, lambda rows: kernel.posterior(rows, self.mixture_)[0], np.float64)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: ARG002
        """Return the mean log p of a row. Computes at once."""
        sums = total(laid_out(X), self.mixture_)
        return sums.log_likelihood / sums.n_rows

    def bic(self, X: Any) -> float:
        """Return the Bayesian information criterion on `X`; lower is better. Computes at once."""
        sums = total(laid_out(X), self.mixture_)
        return kernel.bic(sums.log_likelihood, sums.n_rows, self.mixture_)

    def _given_start(self) -> Mixture:
        precisions = np.asarray(self.precisions_init, dtype=float)
        covariances = 1 / precisions if self.covariance_type == "diag" else np.linalg.inv(precisions)
        return Mixture(np.asarray(self.weights_init, float), np.asarray(self.means_init, float), covariances, self.covariance_type)  # fmt: skip

    def _start(self, X: Any, number: int) -> Mixture:
        rows = sample_rows(X, seed=self.random_state or 0)
        seed = np.random.SeedSequence([self.random_state or 0, number]).generate_state(1)[0]
        labels = kmeans(rows, self.n_components, seed=int(seed % 2**31))[1]
        return kernel.mixture_of_labels(
            rows, labels, self.n_components, covariance=self.covariance_type, regularisation=self.reg_covar
        )

    def _climb(self, X: Any, mixture: Mixture) -> tuple[Mixture, float, int, bool]:
        reached, step, converged = -np.inf, 0, False
        for step in range(1, self.max_iter + 1):  # noqa: B007
            sums = total(X, mixture)
            mixture = kernel.next_mixture(sums, mixture, regularisation=self.reg_covar)
            gain, reached = sums.log_likelihood / sums.n_rows - reached, sums.log_likelihood / sums.n_rows
            if not np.isfinite(reached):
                msg = "the rows hold NaN or infinity; leave such rows out, for instance rows[np.isfinite(rows).all(axis=1)]"
                raise ValueError(msg)
            if abs(gain) < self.tol:
                converged = True
                break
        return mixture, reached, step, converged


def cluster(
    descriptors: Any,
    *,
    n_classes: int | None = None,
    max_classes: int = 8,
    covariance: Covariance = "full",
    n_init: int = 4,
    regularisation: float = 1e-4,
    outlier_probability: float = 1e-4,
    seed: int = 0,
) -> Taxonomy:
    """Sort rows of descriptors into classes. Computes once: some dozens of passes over the rows.

    Parameters
    ----------
    descriptors
        (n, k) NumPy or Dask array. Rows with NaN are left out (NumPy) or refused (Dask).
    n_classes
        How many; None takes the number with the lowest Bayesian information criterion, up to `max_classes`.
    covariance
        ``"full"``, ``"tied"`` or ``"diag"``.
    n_init
        Seeded starts; the most likely wins.
    regularisation
        Added to every variance, as a fraction of the mean variance of a descriptor.
    outlier_probability
        Share of a Gaussian class that may be mistaken for outliers: it sets the distance beyond which a row is unexplained.
    seed
        Of the sample and of the starts.

    Returns
    -------
    A `Taxonomy` whose classes are numbered by falling size. With fewer distinct rows than classes, fewer classes; with
    fewer than two rows, the taxonomy that names nothing. Both are logged.
    """
    if isinstance(descriptors, np.ndarray):
        descriptors = descriptors[np.isfinite(descriptors).all(axis=1)]
    rows = sample_rows(laid_out(descriptors), seed=seed)
    distinct = len(np.unique(rows, axis=0))
    if len(rows) < 2:
        logger.warning("%d detections are too few to learn classes from; nothing will be named", len(rows))
        return nothing()
    scale = float(rows.var(axis=0).mean()) or 1.0
    counts = range(1, max_classes + 1) if n_classes is None else [n_classes]
    counts = sorted({max(1, min(k, distinct, len(rows) // 2)) for k in counts})
    if n_classes is not None and counts[-1] < n_classes:
        logger.warning("%d distinct detections support %d classes, not %d", distinct, counts[-1], n_classes)
    fits = [
        GaussianMixture(
            k, covariance_type=covariance, n_init=n_init, reg_covar=regularisation * scale, random_state=seed
        ).fit(descriptors)
        for k in counts
    ]
    best = min(fits, key=lambda fit: fit.bic(descriptors)) if len(fits) > 1 else fits[0]
    order = np.argsort(-best.weights_, kind="stable")
    limit = float(stats.chi2.isf(outlier_probability, descriptors.shape[1]))
    return Taxonomy(best.mixture_, np.argsort(order).astype(np.int16), limit)


def kmeans(rows: Any, n_clusters: int, *, seed: int = 0, max_iter: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return the (k, d) centres and the (n,) labels of dask-ml's `KMeans`, started from a k-means++ on a seeded sample. Computes once.

    (dask-ml's own k-means|| start is 20 times slower at equal quality, and its ``init="k-means++"`` does not work.)
    """
    from dask_ml.cluster import KMeans
    from sklearn.cluster import kmeans_plusplus

    rows = as_leaves(rows)
    start = kmeans_plusplus(sample_rows(rows, seed=seed), n_clusters, random_state=seed)[0]
    with _quiet():
        fit = KMeans(n_clusters, init=np.ascontiguousarray(start), max_iter=max_iter, random_state=seed).fit(rows)
        return np.asarray(fit.cluster_centers_), np.asarray(fit.labels_.compute())


def principal_components(rows: Any, n_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean (d,), components (k, d) and explained variances (k,) by dask-ml's `PCA`. Computes once.

    k is `n_components`, or fewer where there are fewer rows or columns.
    """
    from dask_ml.decomposition import PCA

    rows = as_leaves(rows)
    k = min(n_components, *rows.shape)
    if rows.shape[0] <= rows.shape[1]:  # dask-ml's tall-and-skinny decomposition needs more rows than columns
        from sklearn.decomposition import PCA as SmallPCA  # noqa: N811

        fit = SmallPCA(k, svd_solver="full").fit(np.asarray(rows))
    else:
        with _quiet():
            fit = PCA(k, svd_solver="full").fit(rows)
    return np.asarray(fit.mean_), np.asarray(fit.components_), np.asarray(fit.explained_variance_)


def ward(means: np.ndarray) -> np.ndarray:
    """Return the linkage matrix of Ward's hierarchical view on class means (k, d), as `scipy.cluster.hierarchy` draws it."""
    from scipy.cluster.hierarchy import linkage

    return np.asarray(linkage(means, "ward"))


def total(rows: Any, mixture: Mixture) -> Sums:
    """Return the sums of one step over all `rows` (as `laid_out` gives them). Computes once."""
    if isinstance(rows, np.ndarray):
        return Sums.unpack(kernel.step_sums(rows, mixture), mixture)
    parts = rows.map_blocks(_task_sums, mixture=mixture, dtype=float, chunks=(1, 1), meta=np.empty((0, 0)))
    return Sums.unpack(kernel.tree_sum(list(np.asarray(parts.compute()))), mixture)


def laid_out(rows: Any) -> Any:
    """Return `rows` (n, d) as NumPy, or as a Dask array in tasks of whole leaves.

    Raises
    ------
    ValueError
        If `rows` is not two-dimensional, or a Dask array whose chunk sizes are not known.
    """
    if rows.ndim != 2:
        msg = f"descriptors are a table (rows, descriptors), but this array has {rows.ndim} dimensions"
        raise ValueError(msg)
    return np.asarray(rows) if isinstance(rows, np.ndarray) else as_leaves(rows, leaves=_TASK_LEAVES)


def as_leaves(rows: Any, *, leaves: int = 1) -> Any:
    """Return `rows` as a Dask array cut every `leaves` x `LEAF_ROWS` rows. Lazy."""
    import dask.array as da

    if isinstance(rows, np.ndarray):
        return da.from_array(rows, chunks=(LEAF_ROWS * leaves, -1))
    if np.isnan(rows.shape[0]):
        msg = "the chunk sizes of these descriptors are not known; call .compute_chunk_sizes() on the Dask array first"
        raise ValueError(msg)
    return rows.rechunk({0: LEAF_ROWS * leaves, 1: -1})


def sample_rows(rows: Any, *, seed: int, n_rows: int = SAMPLE_ROWS) -> np.ndarray:
    """Return at most `n_rows` of the `rows`, drawn by row number and in order: the same for every chunking. Computes once."""
    if rows.shape[0] > n_rows:
        chosen = np.random.default_rng(seed).choice(rows.shape[0], n_rows, replace=False)
        rows = rows[np.sort(chosen)]
    return np.asarray(rows, dtype=np.float64)


def _task_sums(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    return kernel.step_sums(rows, mixture)[None]


def _by_rows(rows: Any, function: Callable[[np.ndarray], np.ndarray], dtype: Any, *, width: int | None = None) -> Any:
    """Apply `function` to the rows, leaf by leaf, so that the answer does not depend on the chunks."""
    if isinstance(rows, np.ndarray):
        leaves = [function(rows[i : i + LEAF_ROWS]) for i in range(0, max(len(rows), 1), LEAF_ROWS)]
        return np.concatenate(leaves)
    rows = as_leaves(rows)
    if width is None:
        return rows.map_blocks(function, dtype=dtype, drop_axis=1, meta=np.empty(0, dtype))
    return rows.map_blocks(function, dtype=dtype, chunks=(rows.chunks[0], (width,)), meta=np.empty((0, 0), dtype))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what dask-ml 2025.1 warns of under today's dask and scikit-learn; its results were checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

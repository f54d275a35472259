"""A Gaussian mixture for tables larger than memory, in scikit-learn's conventions.

    fit = GaussianMixture(6).fit(descriptors)          # (n, k): NumPy or a Dask array
    fit.predict_proba(descriptors)                     # lazy if they are

Each step of expectation-maximisation is one pass over the blocks of rows, whose sums are added as a
tree (see `kernels.classes.mixture_steps`): the answer equals scikit-learn's on the same start, and
is the same to the bit for every chunking.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin

from stemkin.blas import on_one_thread, one_thread
from stemkin.kernels.classes import densities, mixture_steps
from stemkin.kernels.classes import mixture as kernel
from stemkin.kernels.classes.mixture import COVARIANCES, Covariance, Mixture
from stemkin.kernels.classes.mixture_steps import LEAF_ROWS, Sums

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 50_000
"""Rows of the seeded sample on which starts are made."""

TASK_LEAVES = 4
"""Leaves per task: 32 MiB at 16 descriptors, about half a second of work. A power of two, see
`mixture_steps.tree_sum`."""

NOT_FINITE = (
    "the rows hold NaN or infinity; leave such rows out, for instance "
    "rows[np.isfinite(rows).all(axis=1)]"
)


class GaussianMixture(DensityMixin, BaseEstimator):
    """Gaussian mixture by expectation-maximisation over blocks of rows, larger than memory.

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
    prior_rows
        As if each component had shown so many more rows of variance 1; 0 is plain maximum
        likelihood.
    weights_init, means_init, precisions_init
        As in scikit-learn; all three together are the start and leave nothing to chance.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_cholesky_, converged_, n_iter_, lower_bound_
        As in scikit-learn.
    mixture_
        The same as a `kernels.classes.mixture.Mixture`.
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
        prior_rows: float = 0.0,
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
        self.prior_rows = prior_rows
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state

    @one_thread
    def fit(self, X: Any, y: Any = None) -> GaussianMixture:  # noqa: ARG002
        """Fit to the rows `X` (n, d). Computes at once, one pass over the rows per step.

        Raises
        ------
        ValueError
            If there are fewer rows than components, or a row is not finite.
        """
        X = laid_out(X)
        if self.covariance_type not in COVARIANCES:
            msg = (
                f"covariance_type must be one of {list(COVARIANCES)}, not {self.covariance_type!r}"
            )
            raise ValueError(msg)
        if X.shape[0] < self.n_components:
            msg = (
                f"{self.n_components} components need at least as many rows, but there are "
                f"{X.shape[0]}; ask for fewer"
            )
            raise ValueError(msg)
        settings = (self.weights_init, self.means_init, self.precisions_init)
        if all(setting is not None for setting in settings):
            starts = [self._given_start()]
        else:
            starts = [self._start(X, i) for i in range(self.n_init)]
        fits = [self._climb(X, start) for start in starts]
        # of equally likely ends the first start's is taken
        best = max(fits, key=lambda fit: fit[1])
        self.mixture_, self.lower_bound_, self.n_iter_, self.converged_ = best
        self.weights_, self.means_ = self.mixture_.weights, self.mixture_.means
        self.covariances_ = self.mixture_.covariances
        self.precisions_cholesky_ = self.mixture_.precisions_cholesky
        if not self.converged_:
            logger.warning(
                "the mixture of %d had not settled after %d steps", self.n_components, self.max_iter
            )
        return self

    def fit_predict(self, X: Any, y: Any = None) -> Any:
        """Fit to `X` and return the most probable component of each row."""
        return self.fit(X, y).predict(X)

    @one_thread
    def predict(self, X: Any) -> Any:
        """Return the most probable component of each row; lazy if `X` is a Dask array."""
        return by_leaves(
            X, lambda rows: densities.log_densities(rows, self.mixture_).argmax(axis=1), np.int64
        )

    @one_thread
    def predict_proba(self, X: Any) -> Any:
        """Return the (n, n_components) probabilities; lazy if `X` is a Dask array."""
        return by_leaves(
            X,
            lambda rows: densities.posterior(rows, self.mixture_)[1],
            np.float64,
            width=self.n_components,
        )

    @one_thread
    def score_samples(self, X: Any) -> Any:
        """Return log p of each row; lazy if `X` is a Dask array."""
        return by_leaves(X, lambda rows: densities.posterior(rows, self.mixture_)[0], np.float64)

    @one_thread
    def score(self, X: Any, y: Any = None) -> float:  # noqa: ARG002
        """Return the mean log p of a row. Computes at once."""
        sums = mixture_sums(laid_out(X), self.mixture_)
        return sums.log_likelihood / sums.n_rows

    @one_thread
    def bic(self, X: Any) -> float:
        """Return the Bayesian information criterion on `X`; lower is better. Computes at once."""
        sums = mixture_sums(laid_out(X), self.mixture_)
        return kernel.bic(sums.log_likelihood, sums.n_rows, self.mixture_)

    def _given_start(self) -> Mixture:
        """Return the mixture that the caller gave by weights, means and precisions."""
        weights = np.asarray(self.weights_init, dtype=float)
        means = np.asarray(self.means_init, dtype=float)
        precisions = np.asarray(self.precisions_init, dtype=float)
        if self.covariance_type == "diag":
            covariances = 1 / precisions
        else:
            covariances = np.linalg.inv(precisions)
        return Mixture(weights, means, covariances, self.covariance_type)

    def _start(self, X: Any, number: int) -> Mixture:
        """Return the mixture of k-means clusters on a seeded sample: start `number` of `n_init`."""
        from sklearn.cluster import KMeans

        rows = sample_rows(X, seed=self.random_state or 0)
        seed = np.random.SeedSequence([self.random_state or 0, number]).generate_state(1)[0]
        with one_thread:  # once more, as scikit-learn may have brought its OpenMP just now
            labels = KMeans(
                self.n_components, n_init=1, random_state=int(seed % 2**31)
            ).fit_predict(rows)
        return kernel.mixture_of_labels(
            rows,
            labels,
            self.n_components,
            covariance=self.covariance_type,
            regularisation=self.reg_covar,
        )

    def _climb(self, X: Any, mixture: Mixture) -> tuple[Mixture, float, int, bool]:
        """Climb from `mixture`: return where it ends, the bound, the steps, whether it settled."""
        reached, step, converged = -np.inf, 0, False
        for step in range(1, self.max_iter + 1):  # noqa: B007
            sums = mixture_sums(X, mixture)
            mixture = mixture_steps.next_mixture(
                sums, mixture, regularisation=self.reg_covar, prior_rows=self.prior_rows
            )
            # the bound is that of the mixture a step starts from: one step behind what is returned
            before, reached = reached, sums.log_likelihood / sums.n_rows
            if not np.isfinite(reached):
                raise ValueError(NOT_FINITE)
            if abs(reached - before) < self.tol:
                converged = True
                break
        return mixture, reached, step, converged


def starting_at(mixture: Mixture) -> dict[str, Any]:
    """Return the settings of a `GaussianMixture` that climbs from a mixture.

    Parameters
    ----------
    mixture
        Where it starts.
    """
    # scikit-learn's settings take the precision W W^T, not the whitening matrix W itself
    factor = mixture.precisions_cholesky
    if mixture.covariance == "diag":
        precisions = factor**2
    else:
        precisions = factor @ np.swapaxes(factor, -1, -2)
    return {
        "weights_init": mixture.weights,
        "means_init": mixture.means,
        "precisions_init": precisions,
    }


def mixture_sums(rows: Any, mixture: Mixture) -> Sums:
    """Add up one step of expectation-maximisation over all rows. Computes once.

    Parameters
    ----------
    rows
        (n, d) as `laid_out` gives them.
    mixture
        Where the step starts.

    Returns
    -------
    The sums over all rows.
    """
    if isinstance(rows, np.ndarray):
        return Sums.unpack(mixture_steps.step_sums(rows, mixture), mixture)
    parts = rows.map_blocks(
        _task_sums, mixture=mixture, dtype=float, chunks=(1, 1), meta=np.empty((0, 0))
    )
    # tasks hold a power of two of whole leaves, so their sums are branches of one tree
    return Sums.unpack(mixture_steps.tree_sum(list(np.asarray(parts.compute()))), mixture)


@one_thread
def _task_sums(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Return the packed sums (1, p) of the rows of one task."""
    return mixture_steps.step_sums(rows, mixture)[None]


def laid_out(rows: Any) -> Any:
    """Lay rows out as NumPy, or as a Dask array in tasks of whole leaves.

    Parameters
    ----------
    rows
        (n, d) NumPy or Dask array.

    Returns
    -------
    The same rows.

    Raises
    ------
    ValueError
        If `rows` is not two-dimensional, or a Dask array whose chunk sizes are not known.
    """
    if rows.ndim != 2:
        msg = (
            f"descriptors are a table (rows, descriptors), but this array has {rows.ndim} "
            "dimensions"
        )
        raise ValueError(msg)
    if isinstance(rows, np.ndarray):
        return np.asarray(rows)
    return as_leaves(rows, leaves=TASK_LEAVES)


def as_leaves(rows: Any, *, leaves: int = 1) -> Any:
    """Cut rows into a Dask array of whole leaves. Lazy.

    Parameters
    ----------
    rows
        (n, d) NumPy or Dask array.
    leaves
        Leaves of `LEAF_ROWS` rows per chunk.

    Returns
    -------
    (n, d) Dask array.

    Raises
    ------
    ValueError
        If the chunk sizes of a Dask array are not known.
    """
    import dask.array as da

    if isinstance(rows, np.ndarray):
        return da.from_array(rows, chunks=(LEAF_ROWS * leaves, -1))
    if np.isnan(rows.shape[0]):
        msg = (
            "the chunk sizes of these descriptors are not known; call .compute_chunk_sizes() on "
            "the Dask array first"
        )
        raise ValueError(msg)
    return rows.rechunk({0: LEAF_ROWS * leaves, 1: -1})


def sample_rows(rows: Any, *, seed: int, n_rows: int = SAMPLE_ROWS) -> np.ndarray:
    """Draw rows by their number, in order: the same for every chunking. Computes once.

    Parameters
    ----------
    rows
        (n, d) NumPy or Dask array.
    seed
        Decides which.
    n_rows
        How many at most; all where there are no more.

    Returns
    -------
    (m, d) float64.
    """
    # row numbers do not know of chunks, and sorted ones read each chunk once
    if rows.shape[0] > n_rows:
        chosen = np.random.default_rng(seed).choice(rows.shape[0], n_rows, replace=False)
        rows = rows[np.sort(chosen)]
    return np.asarray(rows, dtype=np.float64)


def by_leaves(
    rows: Any, function: Callable[[np.ndarray], np.ndarray], dtype: Any, *, width: int | None = None
) -> Any:
    """Apply a function leaf by leaf, so that the answer does not depend on chunks. Lazy for Dask.

    Parameters
    ----------
    rows
        (n, d) NumPy or Dask array.
    function
        From a leaf (m, d) to (m,), or to (m, width).
    dtype
        Of what it returns.
    width
        Columns that it returns; None for one number per row.

    Returns
    -------
    (n,) or (n, width) NumPy or Dask array, as `rows` is.
    """
    # matrix products round by the shape of their operands: every leaf has the same one but the last
    if isinstance(rows, np.ndarray):
        starts = range(0, max(len(rows), 1), LEAF_ROWS)
        leaves = [on_one_thread(function, rows[i : i + LEAF_ROWS]) for i in starts]
        return np.concatenate(leaves)
    rows = as_leaves(rows)
    if width is None:
        shape: dict[str, Any] = {"drop_axis": 1, "meta": np.empty(0, dtype)}
    else:
        shape = {"chunks": (rows.chunks[0], (width,)), "meta": np.empty((0, 0), dtype)}
    return rows.map_blocks(partial(on_one_thread, function), dtype=dtype, **shape)

"""A mixture of Gaussians: its parameters, how it starts from labels, and what it costs.

>>> rows = np.array([[0.0], [0.2], [4.0], [4.4]])
>>> labels, shape = np.array([0, 0, 1, 1]), {"covariance": "diag", "regularisation": 1e-6}
>>> start = mixture_of_labels(rows, labels, 2, **shape)
>>> [round(float(m), 3) for m in start.means[:, 0]]
[0.1, 4.2]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Covariance = Literal["full", "tied", "diag"]
COVARIANCES: tuple[Covariance, ...] = ("full", "tied", "diag")


@dataclass(frozen=True, eq=False)
class Mixture:
    """The parameters of a mixture of k Gaussians in d dimensions.

    Attributes
    ----------
    weights
        (k,) shares, adding up to one.
    means
        (k, d).
    covariances
        (k, d, d) for "full", (d, d) for "tied", (k, d) variances for "diag".
    covariance
        Which of the three.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    covariance: Covariance = "full"

    @property
    def n_components(self) -> int:
        """Number of components k."""
        return len(self.weights)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        k, d = self.means.shape
        # a symmetric matrix has d (d + 1) / 2 free numbers, and k shares that add up to one k - 1
        one = d * (d + 1) // 2
        spread = {"full": k * one, "tied": one, "diag": k * d}[self.covariance]
        return int(spread + k * d + k - 1)

    @property
    def precisions_cholesky(self) -> np.ndarray:
        """Whitening matrices W with W W^T = covariance^-1, shaped like `covariances`.

        Raises
        ------
        ValueError
            If a covariance is not positive definite.
        """
        if self.covariance == "diag":
            if (self.covariances <= 0).any():
                raise ValueError(_SINGULAR)
            return np.asarray(1.0 / np.sqrt(self.covariances))
        # covariance = L L^T, so W = L^-T, copied into rows as later products read it
        try:
            lower = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError as error:
            raise ValueError(_SINGULAR) from error
        return np.ascontiguousarray(np.swapaxes(np.linalg.inv(lower), -1, -2))


_SINGULAR = (
    "a component has no spread in some direction (too few or identical rows, or descriptors that "
    "repeat each other); "
    "use fewer classes, fewer descriptors or a larger regularisation"
)


def mixture_of_labels(
    rows: np.ndarray,
    labels: np.ndarray,
    n_components: int,
    *,
    covariance: Covariance,
    regularisation: float,
) -> Mixture:
    """Compute the mixture whose component k is the mean and spread of the rows labelled k.

    Labels outside 0..n_components-1 are left out. A component without rows keeps weight ~0 and the
    spread of all rows.

    Parameters
    ----------
    rows
        (n, d) descriptors.
    labels
        (n,) component of each row.
    n_components
        Number of components k.
    covariance
        Shape of the covariances: "full", "tied" or "diag".
    regularisation
        Added to every variance, in squared units of the rows.

    Returns
    -------
    A mixture of `n_components`, its weights the shares of the labels.
    """
    rows = np.asarray(rows, dtype=np.float64)
    d = rows.shape[1]
    groups = [rows[labels == k] for k in range(n_components)]
    n = np.array([len(group) for group in groups]) + 10 * np.finfo(float).eps
    # a component without rows takes the place and the spread of all rows, at next to no weight
    shown = [group if len(group) else rows for group in groups]
    means = np.stack([group.mean(axis=0) for group in shown])
    scatters = np.stack([_scatter(group) for group in shown])
    if covariance == "tied":
        pooled = (n[:, None, None] * scatters).sum(axis=0) / n.sum()
        covariances = pooled + regularisation * np.eye(d)
    elif covariance == "diag":
        covariances = np.einsum("kii->ki", scatters) + regularisation
    else:
        covariances = scatters + regularisation * np.eye(d)
    return Mixture(n / n.sum(), means, covariances, covariance)


def bic(log_likelihood: float, n_rows: int, mixture: Mixture) -> float:
    """Compute the Bayesian information criterion of a mixture; the lowest is preferred.

    Parameters
    ----------
    log_likelihood
        Sum over all rows of log p(x).
    n_rows
        Number of rows n.
    mixture
        Whose free parameters p are counted.

    Returns
    -------
    -2 log L + p log n (Schwarz, Ann. Stat. 6, 461 (1978)).
    """
    return float(-2 * log_likelihood + mixture.n_parameters * np.log(n_rows))


def _scatter(rows: np.ndarray) -> np.ndarray:
    """Return the (d, d) covariance of `rows` (n, d), divided by n."""
    away = rows - rows.mean(axis=0)
    return np.asarray(away.T @ away / len(rows))

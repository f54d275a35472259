"""How likely rows are under a mixture of Gaussians, and to which component each belongs.

>>> two = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [4.0]]), np.ones((2, 1)), "diag")
>>> posterior(np.array([[0.2], [4.4]]), two)[1].argmax(axis=1).tolist()
[0, 1]
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.classes.mixture import Mixture


def log_densities(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Compute the logarithm of weight times density of every component at rows.

    Parameters
    ----------
    rows
        (n, d) descriptors, in the units that the mixture was fitted in.
    mixture
        Of k components in d dimensions.

    Returns
    -------
    (n, k) natural logarithms; -inf for a component without weight.
    """
    return Whitener(mixture).log_densities(np.asarray(rows, dtype=np.float64))[0]


def posterior(rows: np.ndarray, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Compute the log-likelihood of rows and their probabilities of belonging to each component.

    Parameters
    ----------
    rows
        (n, d) descriptors, in the units that the mixture was fitted in.
    mixture
        Of k components in d dimensions.

    Returns
    -------
    (n,) log-likelihood of each row and its (n, k) probabilities, each row adding up to one.
    """
    return normalised_densities(log_densities(rows, mixture))


def posterior_and_distances(rows: np.ndarray, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Compute the component probabilities of rows and their squared Mahalanobis distances.

    Parameters
    ----------
    rows
        (n, d) descriptors, in the units that the mixture was fitted in.
    mixture
        Of k components in d dimensions.

    Returns
    -------
    (n, k) probabilities, and (n, k) squared distances from the means in units of each component's
    own
    spread.
    """
    whitener = Whitener(mixture)
    log_density, _ = whitener.log_densities(np.asarray(rows, dtype=np.float64))
    # log density = constant - distance / 2; without weight both are -inf: infinitely far
    with np.errstate(invalid="ignore"):
        distances = np.nan_to_num(2 * (whitener.constant - log_density), nan=np.inf)
    return normalised_densities(log_density)[1], distances


class Whitener:
    """A mixture prepared for many rows: one matrix product whitens them for all its components."""

    def __init__(self, mixture: Mixture) -> None:
        """Prepare a mixture of k components in d dimensions."""
        k, d = mixture.means.shape
        self.kind, self.shape = mixture.covariance, (k, d)
        # rows and means are taken from the middle of the means: large offsets cancel before they
        # are multiplied, not after
        self.centre = mixture.means.mean(axis=0)
        self.means = mixture.means - self.centre
        self.matrix = mixture.precisions_cholesky
        # the whitening matrices are triangular (or diagonal): the product of the diagonal is their
        # determinant, one over the square root of the covariance's
        diagonal = self.matrix
        if self.kind != "diag":
            diagonal = np.diagonal(self.matrix, axis1=-2, axis2=-1)
        log_det = np.broadcast_to(np.log(diagonal).sum(axis=-1), (k,))
        with np.errstate(divide="ignore"):
            self.constant = np.log(mixture.weights) + log_det - 0.5 * d * np.log(2 * np.pi)
        # (k, d, d) become (d, k d): one product whitens a row for all components at once, and the
        # means are whitened here, once, to be subtracted afterwards
        if self.kind == "full":
            self.side_by_side = np.ascontiguousarray(
                self.matrix.transpose(1, 0, 2).reshape(d, k * d)
            )
            self.offset = np.einsum("kd,kde->ke", self.means, self.matrix)
        elif self.kind == "tied":
            self.offset = self.means @ self.matrix

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, k, d) whitened distances of `rows` (n, d) from each mean."""
        rows = rows - self.centre
        if self.kind == "full":
            return np.asarray(
                (rows @ self.side_by_side).reshape(len(rows), *self.shape) - self.offset
            )
        if self.kind == "tied":
            return np.asarray((rows @ self.matrix)[:, None, :] - self.offset)
        return np.asarray((rows[:, None, :] - self.means) * self.matrix)

    def log_densities(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, k) logarithms of weight times density at `rows` (n, d), and whitened rows."""
        whitened = self.whiten(rows)
        return self.constant - 0.5 * np.einsum("nkd,nkd->nk", whitened, whitened), whitened


def normalised_densities(log_density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide the densities of a row by their sum (Bayes' theorem), in logarithms.

    Parameters
    ----------
    log_density
        (n, k), as `log_densities` gives them.

    Returns
    -------
    (n,) log-likelihood of each row and its (n, k) probabilities.
    """
    # the largest term of a row is taken out of the sum, so that none overflows and one is 1
    peak = log_density.max(axis=1, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    weight = np.exp(log_density - peak)
    total = weight.sum(axis=1, keepdims=True)
    return (peak + np.log(total))[:, 0], weight / total

"""What an ideal observer could reach: detection and localisation limits of counted images.

An observer who knows the two expected images that it has to tell apart, mu0 and mu1, and looks at
Poisson counts (plus read noise of known variance), separates them by d' standard deviations, d'^2 =
sum (mu1 - mu0)^2 / (mu0 + read variance) (the matched filter; Barrett & Myers, Foundations of Image
Science (2004), ch. 13). No unbiased estimate of parameters p of the image has a covariance below
the inverse of F_ij = sum (dmu/dp_i)(dmu/dp_j) / (mu + read variance) (Cramer-Rao).

>>> flat = np.full((5, 5), 4.0); spot = flat.copy(); spot[2, 2] += 6
>>> float(detectability(flat, spot))
3.0
"""

from __future__ import annotations

import numpy as np


def detectability(mean0: np.ndarray, mean1: np.ndarray, *, read_variance: float = 0.0) -> float:
    """Compute d', by how many standard deviations an ideal observer tells two images apart.

    Parameters
    ----------
    mean0, mean1
        (y, x) expected counts.
    read_variance
        Variance of the read noise [counts2].

    Returns
    -------
    d'.
    """
    variance = mean0 + read_variance
    seen = variance > 0
    return float(np.sqrt(np.sum((mean1 - mean0)[seen] ** 2 / variance[seen])))


def cramer_rao_sd(
    gradients: np.ndarray, mean: np.ndarray, *, read_variance: float = 0.0
) -> np.ndarray:
    """Compute the Cramer-Rao bounds of parameters of an image, all unknown at once.

    Parameters
    ----------
    gradients
        (k, y, x) derivatives of the expected counts by each parameter.
    mean
        (y, x) expected counts.
    read_variance
        Variance of the read noise [counts2].

    Returns
    -------
    (k,) smallest standard deviations of unbiased estimates.
    """
    variance = mean + read_variance
    seen = variance > 0
    g = gradients[:, seen]
    information = (g / variance[seen]) @ g.T
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(information))))


def best_recall(d_prime: float, *, n_sites: int, false_positives: float = 1.0) -> float:
    """Compute the recall of an ideal observer at a number of false positives.

    Parameters
    ----------
    d_prime
        By how many standard deviations a defect differs from none, as from `detectability`.
    n_sites
        Places at which a defect may be.
    false_positives
        Allowed among them, on average.

    Returns
    -------
    Share of the defects that are found.

    Examples
    --------
    >>> round(best_recall(5.0, n_sites=2700), 2)
    0.95
    """
    from scipy.special import ndtr, ndtri

    threshold = -ndtri(min(1.0, false_positives / n_sites))
    return float(ndtr(d_prime - threshold))

"""A Gaussian mixture fitted by sums: expectation-maximisation whose steps add up over blocks of
rows in any split.

One step of expectation-maximisation needs only sums over rows: how much of each component (n),
where (sum of r x) and how spread (sum of r x x^T). They are taken here in *whitened* coordinates y
= W_k^T (x - m_k) of the component as it stands, so the update subtracts small numbers and never
large ones:

    m_k' = m_k + W_k^-T <y>,      S_k' = W_k^-T (<y y^T> - <y><y>^T) W_k^-1.

Sums of floating-point numbers depend on their order, so the order is fixed: leaves of `LEAF_ROWS`
rows counted from row 0, added as a binary tree (`tree_sum`). Any split of the rows at whole leaves,
in powers of two, gives the same bits.

>>> rows = np.array([[0.0], [0.2], [4.0], [4.4]])
>>> start = mixture_of_labels(rows, np.array([0, 0, 1, 1]), 2, covariance="diag", regularisation=1e-6)
>>> [round(float(m), 3) for m in start.means[:, 0]]
[0.1, 4.2]
>>> posterior(rows, start)[1].argmax(axis=1).tolist()
[0, 0, 1, 1]

Source: Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977); conventions of scikit-learn's
`GaussianMixture`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Covariance = Literal["full", "tied", "diag"]
COVARIANCES: tuple[Covariance, ...] = ("full", "tied", "diag")

LEAF_ROWS = 65_536
"""Rows whose sums are taken in one go; the unit in which rows may be split without changing a bit
of the answer."""

_STRIP_ROWS = 2_048
"""Rows worked on at a time within a leaf, so that the whitened copies stay in the processor's
cache."""


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
        spread = {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d}[
            self.covariance
        ]
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


@dataclass(frozen=True, eq=False)
class Sums:
    """What a block of rows adds to a step: see the module's docstring. All are plain sums over
    rows.

    Attributes
    ----------
    n
        (k,) rows per component.
    first
        (k, d) sum of r y.
    second
        (k, d, d), or (d, d) for "tied", or (k, d) for "diag": sum of r y y^T.
    log_likelihood
        Sum over rows of log p(x).
    n_rows
        Rows that were added.
    """

    n: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_likelihood: float
    n_rows: int

    def packed(self) -> np.ndarray:
        """Return all sums as one (p,) vector, to be added to other such vectors."""
        return np.concatenate(
            [self.n, self.first.ravel(), self.second.ravel(), [self.log_likelihood, self.n_rows]]
        )

    @classmethod
    def unpack(cls, packed: np.ndarray, mixture: Mixture) -> Sums:
        """Return the sums that `packed` holds for `mixture`."""
        k, d = mixture.means.shape
        n, first, second, rest = np.split(packed, [k, k + k * d, len(packed) - 2])
        return cls(
            n,
            first.reshape(k, d),
            second.reshape(mixture.covariances.shape),
            float(rest[0]),
            round(rest[1]),
        )


def log_densities(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Return the (n, k) logarithms of weight times density of every component at `rows` (n, d)."""
    return _Whitener(mixture).log_densities(np.asarray(rows, dtype=np.float64))[0]


def posterior(rows: np.ndarray, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n,) log-likelihood of each of the `rows` (n, d) and its (n, k) probabilities of
    belonging to each component."""
    return _normalised(log_densities(rows, mixture))


def posterior_and_distances(rows: np.ndarray, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, k) probabilities of `rows` (n, d), and their squared distances from the means
    in units of each component's own spread."""
    whitener = _Whitener(mixture)
    log_density, _ = whitener.log_densities(np.asarray(rows, dtype=np.float64))
    with np.errstate(invalid="ignore"):  # a component without weight is infinitely far
        distances = np.nan_to_num(2 * (whitener.constant - log_density), nan=np.inf)
    return _normalised(log_density)[1], distances


def step_sums(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Return the packed `Sums` (p,) that `rows` (n, d) add to one step from `mixture`.

    The leaves are counted from the first of `rows`; to split a data set, cut it at ``LEAF_ROWS *
    2**j`` rows.
    """
    whitener = _Whitener(mixture)
    leaves = [
        _leaf_sums(rows[start : start + LEAF_ROWS], whitener)
        for start in range(0, max(len(rows), 1), LEAF_ROWS)
    ]
    return tree_sum(leaves)


def tree_sum(parts: list[np.ndarray]) -> np.ndarray:
    """Add `parts` as a binary tree over their positions.

    A run of 2**j parts that starts at a multiple of 2**j is a branch of that tree: it may be added
    beforehand, on another machine, without changing a bit.

    Examples
    --------
    >>> parts = [np.array([0.1 * i]) for i in range(7)]
    >>> bool(tree_sum(parts) == tree_sum([tree_sum(parts[:4]), tree_sum(parts[4:])]))
    True
    """
    while len(parts) > 1:
        pairs = [a + b for a, b in zip(parts[0::2], parts[1::2], strict=False)]
        parts = pairs + parts[len(pairs) * 2 :]
    return parts[0]


def next_mixture(
    sums: Sums,
    mixture: Mixture,
    *,
    regularisation: float = 1e-6,
    prior_rows: float = 0.0,
) -> Mixture:
    """Return the mixture that maximises the likelihood (or the posterior) given the
    responsibilities behind `sums`.

    Parameters
    ----------
    sums
        Of all rows, taken at `mixture`.
    mixture
        Where the step starts.
    regularisation
        Added to every variance, in squared units of the rows.
    prior_rows
        As if each component had shown so many more rows of variance 1, the noise of a row: keeps
        small components from closing in on a few rows.
    """
    n = sums.n + 10 * np.finfo(float).eps
    mean_y = sums.first / n[:, None]
    if mixture.covariance == "diag":
        unwhiten = np.sqrt(mixture.covariances)
        shift = mean_y * unwhiten
        spread = (sums.second / n[:, None] - mean_y**2) * mixture.covariances
        covariances = _with_prior(spread, n[:, None], 1.0, prior_rows) + regularisation
    else:
        lower = np.linalg.cholesky(mixture.covariances)  # W^-T
        shift = (
            np.einsum("...ij,kj->ki", lower, mean_y)
            if lower.ndim == 2
            else np.einsum("kij,kj->ki", lower, mean_y)
        )
        outer = mean_y[:, :, None] * mean_y[:, None, :]
        if mixture.covariance == "tied":
            spread = (sums.second - (n[:, None, None] * outer).sum(axis=0)) / n.sum()
        else:
            spread = sums.second / n[:, None, None] - outer
        covariances = lower @ spread @ np.swapaxes(lower, -1, -2)
        covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
        unit = np.eye(covariances.shape[-1])
        rows = n.sum() if mixture.covariance == "tied" else n[:, None, None]
        covariances = _with_prior(covariances, rows, unit, prior_rows) + regularisation * unit
    return Mixture(n / n.sum(), mixture.means + shift, covariances, mixture.covariance)


def mixture_of_labels(
    rows: np.ndarray,
    labels: np.ndarray,
    n_components: int,
    *,
    covariance: Covariance,
    regularisation: float,
) -> Mixture:
    """Return the mixture whose component k is the mean and spread of the `rows` (n, d) with
    ``labels == k``.

    Labels outside 0..n_components-1 are left out. A component without rows keeps weight ~0 and the
    spread of all rows.
    """
    rows = np.asarray(rows, dtype=np.float64)
    d = rows.shape[1]
    groups = [rows[labels == k] for k in range(n_components)]
    n = np.array([len(group) for group in groups]) + 10 * np.finfo(float).eps
    means = np.stack([group.mean(axis=0) if len(group) else rows.mean(axis=0) for group in groups])
    scatters = np.stack([_scatter(group if len(group) else rows) for group in groups])
    if covariance == "tied":
        covariances = (n[:, None, None] * scatters).sum(axis=0) / n.sum() + regularisation * np.eye(
            d
        )
    elif covariance == "diag":
        covariances = np.einsum("kii->ki", scatters) + regularisation
    else:
        covariances = scatters + regularisation * np.eye(d)
    return Mixture(n / n.sum(), means, covariances, covariance)


def bic(log_likelihood: float, n_rows: int, mixture: Mixture) -> float:
    """Return the Bayesian information criterion (Schwarz, Ann. Stat. 6, 461 (1978)); the lowest is
    preferred."""
    return float(-2 * log_likelihood + mixture.n_parameters * np.log(n_rows))


class _Whitener:
    """A mixture prepared for many rows: whitening matrices side by side, so that one product serves
    all components."""

    def __init__(self, mixture: Mixture) -> None:
        k, d = mixture.means.shape
        self.kind, self.shape = mixture.covariance, (k, d)
        self.centre = mixture.means.mean(axis=0)
        self.means = mixture.means - self.centre
        self.matrix = mixture.precisions_cholesky
        diagonal = (
            self.matrix if self.kind == "diag" else np.diagonal(self.matrix, axis1=-2, axis2=-1)
        )
        log_det = np.broadcast_to(np.log(diagonal).sum(axis=-1), (k,))
        with np.errstate(divide="ignore"):
            self.constant = np.log(mixture.weights) + log_det - 0.5 * d * np.log(2 * np.pi)
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
        whitened = self.whiten(rows)
        return self.constant - 0.5 * np.einsum("nkd,nkd->nk", whitened, whitened), whitened


def _leaf_sums(rows: np.ndarray, whitener: _Whitener) -> np.ndarray:
    total: np.ndarray | None = None
    for start in range(0, max(len(rows), 1), _STRIP_ROWS):
        strip = _strip_sums(
            np.asarray(rows[start : start + _STRIP_ROWS], dtype=np.float64), whitener
        )
        total = strip if total is None else total + strip
    assert total is not None
    return total


def _strip_sums(rows: np.ndarray, whitener: _Whitener) -> np.ndarray:
    log_density, whitened = whitener.log_densities(rows)
    log_likelihood, r = _normalised(log_density)
    first = np.einsum("nk,nkd->kd", r, whitened)
    if whitener.kind == "diag":
        second = np.einsum("nk,nkd,nkd->kd", r, whitened, whitened)
    else:
        whitened *= np.sqrt(r)[:, :, None]
        if whitener.kind == "tied":
            flat = whitened.reshape(-1, whitener.shape[1])
            second = flat.T @ flat
        else:
            second = np.stack([y.T @ y for y in np.ascontiguousarray(whitened.transpose(1, 0, 2))])
    return Sums(r.sum(axis=0), first, second, float(log_likelihood.sum()), len(rows)).packed()


def _normalised(log_density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    peak = log_density.max(axis=1, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    weight = np.exp(log_density - peak)
    total = weight.sum(axis=1, keepdims=True)
    return (peak + np.log(total))[:, 0], weight / total


def _with_prior(
    spread: np.ndarray,
    n: np.ndarray | float,
    unit: np.ndarray | float,
    prior_rows: float,
) -> np.ndarray:
    if prior_rows == 0:
        return spread
    return np.asarray((spread * n + prior_rows * unit) / (n + prior_rows))


def _scatter(rows: np.ndarray) -> np.ndarray:
    away = rows - rows.mean(axis=0)
    return np.asarray(away.T @ away / len(rows))

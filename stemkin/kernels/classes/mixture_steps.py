"""Expectation-maximisation of a Gaussian mixture by sums that add up over any split of the rows.

One step of expectation-maximisation needs only sums over rows: how much of each component (n),
where (sum of r x) and how spread (sum of r x x^T). They are taken here in *whitened* coordinates y
= W_k^T (x - m_k) of the component as it stands, so the update subtracts small numbers and never
large ones:

    m_k' = m_k + W_k^-T <y>,      S_k' = W_k^-T (<y y^T> - <y><y>^T) W_k^-1.

Sums of floating-point numbers depend on their order, so the order is fixed: leaves of `LEAF_ROWS`
rows counted from row 0, added as a binary tree (`tree_sum`). Any split of the rows at whole leaves,
in powers of two, gives the same bits.

Source: Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977); conventions of scikit-learn's
`GaussianMixture`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.classes.densities import Whitener, normalised_densities
from stemkin.kernels.classes.mixture import Mixture

LEAF_ROWS = 65_536
"""Rows whose sums are taken in one go; the unit in which rows may be split without changing a bit
of the answer."""

_STRIP_ROWS = 2_048
"""Rows worked on at a time within a leaf, so that the whitened copies stay in the processor's
cache."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What a block of rows adds to a step: plain sums over rows, see the module's docstring.

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
        # the cuts leave (k,), (k d,), whatever the covariances hold, and two single numbers
        n, first, second, rest = np.split(packed, [k, k + k * d, len(packed) - 2])
        return cls(
            n,
            first.reshape(k, d),
            second.reshape(mixture.covariances.shape),
            float(rest[0]),
            round(rest[1]),
        )


def step_sums(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Add up what rows contribute to one step of expectation-maximisation.

    The leaves are counted from the first of `rows`; to split a data set, cut it at ``LEAF_ROWS *
    2**j`` rows.

    Parameters
    ----------
    rows
        (n, d) descriptors.
    mixture
        Where the step starts.

    Returns
    -------
    (p,) the packed `Sums`.
    """
    whitener = Whitener(mixture)
    leaves = [
        _leaf_sums(rows[start : start + LEAF_ROWS], whitener)
        for start in range(0, max(len(rows), 1), LEAF_ROWS)
    ]
    return tree_sum(leaves)


def tree_sum(parts: list[np.ndarray]) -> np.ndarray:
    """Add `parts` as a binary tree over their positions.

    A run of 2**j parts that starts at a multiple of 2**j is a branch of that tree: it may be added
    beforehand, on another machine, without changing a bit.

    Parameters
    ----------
    parts
        Arrays of one shape, at least one.

    Returns
    -------
    Their sum, the same to the bit however whole branches were added beforehand.

    Examples
    --------
    >>> parts = [np.array([0.1 * i]) for i in range(7)]
    >>> bool(tree_sum(parts) == tree_sum([tree_sum(parts[:4]), tree_sum(parts[4:])]))
    True
    """
    # one level of the tree a turn: neighbours add up in pairs, an odd last part moves up alone
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
    """Compute the mixture that maximises likelihood, or posterior, given the responsibilities.

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

    Returns
    -------
    The next mixture, with the same kind of covariance.
    """
    # an empty component is kept from dividing by zero, as in scikit-learn
    n = sums.n + 10 * np.finfo(float).eps
    mean_y = sums.first / n[:, None]
    if mixture.covariance == "diag":
        unwhiten = np.sqrt(mixture.covariances)
        shift = mean_y * unwhiten
        spread = (sums.second / n[:, None] - mean_y**2) * mixture.covariances
        covariances = _with_prior(spread, n[:, None], 1.0, prior_rows) + regularisation
    else:
        # the factor L of the covariance is W^-T: it turns whitened sums back into the rows' units
        lower = np.linalg.cholesky(mixture.covariances)
        if mixture.covariance == "tied":
            shift = np.einsum("...ij,kj->ki", lower, mean_y)
        else:
            shift = np.einsum("kij,kj->ki", lower, mean_y)
        outer = mean_y[:, :, None] * mean_y[:, None, :]
        if mixture.covariance == "tied":
            rows: np.ndarray | float = n.sum()
            spread = (sums.second - (n[:, None, None] * outer).sum(axis=0)) / rows
        else:
            rows = n[:, None, None]
            spread = sums.second / rows - outer
        covariances = lower @ spread @ np.swapaxes(lower, -1, -2)
        # L S L^T is symmetric but for rounding: the mean with its transpose is so to the bit
        covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
        unit = np.eye(covariances.shape[-1])
        covariances = _with_prior(covariances, rows, unit, prior_rows) + regularisation * unit
    return Mixture(n / n.sum(), mixture.means + shift, covariances, mixture.covariance)


def _leaf_sums(rows: np.ndarray, whitener: Whitener) -> np.ndarray:
    """Return the packed sums (p,) of one leaf of `rows` (n, d), added strip by strip."""
    # strips are added one after the other, from the first: this order is part of the answer's bits;
    # no rows at all are one empty strip, whose sums are zero
    starts = range(0, max(len(rows), 1), _STRIP_ROWS)
    strips = (np.asarray(rows[i : i + _STRIP_ROWS], dtype=np.float64) for i in starts)
    total = _strip_sums(next(strips), whitener)
    for strip in strips:
        total = total + _strip_sums(strip, whitener)
    return total


def _strip_sums(rows: np.ndarray, whitener: Whitener) -> np.ndarray:
    """Return the packed sums (p,) of one strip of `rows` (n, d)."""
    log_density, whitened = whitener.log_densities(rows)
    log_likelihood, r = normalised_densities(log_density)
    first = np.einsum("nk,nkd->kd", r, whitened)
    if whitener.kind == "diag":
        second = np.einsum("nk,nkd,nkd->kd", r, whitened, whitened)
    else:
        # r y y^T = (sqrt(r) y) (sqrt(r) y)^T: a plain product of matrices, symmetric by itself
        whitened *= np.sqrt(r)[:, :, None]
        if whitener.kind == "tied":
            flat = whitened.reshape(-1, whitener.shape[1])
            second = flat.T @ flat
        else:
            second = np.stack([y.T @ y for y in np.ascontiguousarray(whitened.transpose(1, 0, 2))])
    return Sums(r.sum(axis=0), first, second, float(log_likelihood.sum()), len(rows)).packed()


def _with_prior(
    spread: np.ndarray,
    n: np.ndarray | float,
    unit: np.ndarray | float,
    prior_rows: float,
) -> np.ndarray:
    """Return the `spread` of `n` rows together with `prior_rows` more whose spread is `unit`."""
    if prior_rows == 0:
        return spread
    return np.asarray((spread * n + prior_rows * unit) / (n + prior_rows))

"""A taxonomy: which class a row of descriptors belongs to, how surely, and when none explains it.

>>> from stemkin.kernels.classes.mixture import Mixture
>>> two = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [10.0]]), np.ones((2, 1, 1)))
>>> taxonomy = Taxonomy(two, np.array([0, 1]), outlier_limit=25.0)
>>> taxonomy.assign(np.array([[0.5], [9.0], [100.0], [np.nan]]))[0].tolist()
[0, 1, -1, -1]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemkin.kernels.classes import densities
from stemkin.kernels.classes.mixture import Mixture

UNEXPLAINED = -1
"""The class of a row that no class explains; as in ``tables.NOT_NAMED``."""


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A mixture whose components are classes.

    Attributes
    ----------
    mixture
        Of k components, or None: then nothing is ever named.
    class_ids
        (k,) the class of each component; several components may share one, and `UNEXPLAINED` marks
        a component that stands for no class.
    outlier_limit
        Largest squared Mahalanobis distance from the closest component at which a row still belongs
        to a class.
    selection
        What was tried to find the number of classes: ``n_classes``, ``covariance``, ``bic`` each.
    """

    mixture: Mixture | None
    class_ids: np.ndarray
    outlier_limit: float = np.inf
    selection: tuple[dict[str, Any], ...] = ()

    @property
    def classes(self) -> np.ndarray:
        """The class numbers in use, in order."""
        return np.unique(self.class_ids[self.class_ids != UNEXPLAINED])

    def components_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the (n,) most probable component of the `rows` (n, d)."""
        assert self.mixture is not None
        return np.asarray(densities.log_densities(rows, self.mixture).argmax(axis=1))

    def probabilities(self, rows: np.ndarray, *, noise: float = 1.0) -> np.ndarray:
        """Return the (n, c) probabilities of the `rows` (n, d) for each of `classes`.

        Outliers and NaN rows are all zero.

        Parameters
        ----------
        rows
            Descriptors, in the units that the mixture was fitted in.
        noise
            How much wider than in the sample each class is spread here (1 = the same).
        """
        rows = np.asarray(rows, dtype=np.float64)
        classes = self.classes
        found = np.zeros((len(rows), len(classes)))
        known = np.isfinite(rows).all(axis=1)
        if self.mixture is None or not known.any():
            return found
        widened = self.mixture
        if noise != 1.0:
            widened = replace(widened, covariances=widened.covariances * noise**2)
        per_component, distances = densities.posterior_and_distances(rows[known], widened)
        # (k, c) with a one where a component is part of a class: a product adds their probabilities
        per_class = (self.class_ids[:, None] == classes[None, :]).astype(float)
        explained = distances.min(axis=1) <= self.outlier_limit
        found[known] = np.where(explained[:, None], per_component @ per_class, 0.0)
        return found

    def assign(self, rows: np.ndarray, *, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the (n,) int16 most probable class of `rows` (n, d) and its (n,) probability.

        Rows that no class explains, or that more probably belong to no class, get `UNEXPLAINED` and
        probability 0.
        """
        found = self.probabilities(rows, noise=noise)
        if found.shape[1] == 0:
            return np.full(len(found), UNEXPLAINED, np.int16), np.zeros(len(found), np.float32)
        best = found.argmax(axis=1)
        probability = np.take_along_axis(found, best[:, None], axis=1)[:, 0]
        # what the classes leave of 1 belongs to components that stand for none, or to an outlier
        explained = probability > 1 - found.sum(axis=1)
        named = np.where(explained, self.classes[best], UNEXPLAINED)
        return named.astype(np.int16), np.where(explained, probability, 0.0).astype(np.float32)


def nothing() -> Taxonomy:
    """Return the taxonomy that names nothing.

    Returns
    -------
    A taxonomy without mixture and classes.
    """
    return Taxonomy(None, np.empty(0, np.int16))

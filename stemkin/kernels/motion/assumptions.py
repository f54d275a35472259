"""What the displacements themselves say against what an estimator of D assumes.

Every estimator takes something for granted, and each of these can be seen to be false in sums that
the covariance estimator needs anyway:

    independent steps   <d_i d_(i+2)> = 0: no drift, no way home
    no blur             the localisation variance that follows, 2 R D t - c1, is not negative
    one mobility        squared steps differ between tracks no more than between steps

A word is used where it is both sure (`SURE` standard errors) and large enough to matter (`MATTERS`).

Sources: Vestergaard, Blainey & Flyvbjerg, Phys. Rev. E 89, 022726 (2014), sec. IV (covariances as a
test of the model); Michalet & Berglund, Phys. Rev. E 85, 061916 (2012) (blur); Dean & Lawless, J.
Am. Stat. Assoc. 84, 467 (1989) (overdispersion between units).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.motion.covariance import N_SUMS, covariance_estimate
from stemkin.kernels.motion.evidence import MANY_UNITS

INDEPENDENT = "independent steps"
NO_BLUR = "no blur"
ONE_MOBILITY = "one mobility"
ON_LATTICE = "steps on the lattice"
AS_STATED = "errors as stated"

SURE = 3.5
"""Standard errors: a true assumption is doubted in one of 2,000 tables."""
MATTERS = 0.02
"""Part of <d²> that an offence must reach."""
UNEQUAL = 1.3
"""Times more that tracks must vary than by chance."""
FEWEST_UNITS = 5
"""Fewer tracks say nothing of how tracks differ."""

PRODUCTS = np.triu_indices(4)
N_COVARIANCE = N_SUMS + 1 + len(PRODUCTS[0]) + 3
"""Length of what `covariance_numbers` returns per unit."""


def covariance_numbers(own: np.ndarray) -> np.ndarray:
    """Return what a unit adds to the covariance estimator, to its error and to these tests.

    Parameters
    ----------
    own
        (n_units, N_SUMS) of `covariance_sums`.

    Returns
    -------
    (n_units, N_COVARIANCE): `own`, whether there is anything, the 10 products of the first four,
    and the products of the sum and number of d_i · d_i+2.
    """
    skipping, times = own[:, 8], own[:, 4]
    return np.column_stack(
        [
            own,
            own[:, 0] > 0,
            own[:, PRODUCTS[0]] * own[:, PRODUCTS[1]],
            skipping**2,
            skipping * times,
            times**2,
        ]
    )


@dataclass(frozen=True, eq=False)
class Covariances:
    """Totals of `covariance_numbers`, and what they say.

    Attributes
    ----------
    numbers
        (N_COVARIANCE,) totals.
    """

    numbers: np.ndarray

    @property
    def n_units(self) -> float:
        """Number of units."""
        return float(self.numbers[N_SUMS])

    @property
    def c0(self) -> float:
        """Mean squared displacement along an axis [length²]."""
        return float(self.numbers[1] / self.numbers[0] / 2)

    @property
    def c1(self) -> float:
        """Mean product of neighbouring displacements along an axis [length²]."""
        return float(self.numbers[3] / self.numbers[2] / 2)

    @property
    def blur(self) -> float:
        """Mean blur coefficient that was told."""
        return float(self.numbers[7] / self.numbers[0])

    @property
    def is_known(self) -> bool:
        """Whether two displacements follow each other, and anything moves."""
        return bool(self.numbers[0] > 0 and self.numbers[2] > 0 and self.numbers[1] > 0)

    def variance_of(self, slope: np.ndarray) -> float:
        """Return the variance, by the spread between units, of a function of the first four sums.

        Parameters
        ----------
        slope
            (4,) its derivatives in them (delta method).
        """
        square = np.zeros((4, 4))
        square[PRODUCTS] = self.numbers[N_SUMS + 1 : N_SUMS + 1 + len(PRODUCTS[0])]
        square = square + np.triu(square, 1).T
        return float(slope @ square @ slope * self.n_units / (self.n_units - 1))

    def error_of_c1(self) -> float:
        """Return the standard error of c1, between units or, where they are few, of the steps."""
        n_pairs, product = float(self.numbers[2]), float(self.numbers[3])
        if self.n_units >= MANY_UNITS:
            slope = np.array([0.0, 0.0, -product / n_pairs**2 / 2, 1 / n_pairs / 2])
            return float(np.sqrt(self.variance_of(slope)))
        return float(np.sqrt((self.c0**2 + 3 * self.c1**2) / (2 * n_pairs)))

    def localisation_variance(self) -> float:
        """Return s² per axis [length²], which noise may make negative."""
        return covariance_estimate(self.numbers[:N_SUMS])[1]

    def violated(self) -> tuple[str, ...]:
        """Return which assumptions the displacements contradict."""
        if not self.is_known:
            return ()
        drifts = self._steps_go_on()
        words = []
        if drifts != 0:
            words.append(INDEPENDENT)
        # steps that go on in one direction look like blur, which does not reach the next but one
        if drifts <= 0 and self._is_blurred():
            words.append(NO_BLUR)
        if self._tracks_differ():
            words.append(ONE_MOBILITY)
        return tuple(words)

    def _steps_go_on(self) -> int:
        """Return 1 where displacements go on two frames later, -1 where they go back, else 0."""
        n, skipping = float(self.numbers[4]), float(self.numbers[8])
        if n <= 0:
            return 0
        mean = skipping / n / 2
        error = np.sqrt((self.c0**2 + 2 * self.c1**2) / (2 * n))
        if self.n_units >= MANY_UNITS:
            own, both, times = self.numbers[-3:]
            spread = own - 4 * mean * both + 4 * mean**2 * times
            error = max(error, float(np.sqrt(max(spread, 0.0))) / n / 2)
        if abs(mean) > max(SURE * error, MATTERS * self.c0):
            return int(np.sign(mean))
        return 0

    def _is_blurred(self) -> bool:
        missing = -self.localisation_variance()
        return missing > max(SURE * self.error_of_c1(), MATTERS * self.c0)

    def _tracks_differ(self) -> bool:
        """Tell whether squared displacements vary more between units than steps allow."""
        n, squared = float(self.numbers[0]), float(self.numbers[1])
        own_n2, n_squared, squares = (float(self.numbers[N_SUMS + 1 + i]) for i in (0, 1, 4))
        if self.n_units < FEWEST_UNITS:
            return False
        mean = squared / n
        each = float(self.numbers[5]) / n - mean**2
        if each <= 0:
            return False
        # neighbouring steps share a place, so their squares are alike by the square of c1/c0
        by_chance = n * each * (1 + 2 * (self.c1 / self.c0) ** 2)
        ratio = (squares - 2 * mean * n_squared + mean**2 * own_n2) / by_chance
        events = own_n2 / n * mean**2 / each
        error = np.sqrt((2 + 6 / events) * own_n2) / n
        return bool(ratio > max(1 + SURE * error, UNEQUAL))

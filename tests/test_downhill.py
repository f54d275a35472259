"""The bottom of a valley in a few numbers."""

import numpy as np
import pytest
from scipy import optimize

from stemkin.kernels.common.downhill import bottom, curvature


def test_a_bent_valley_is_followed_to_its_bottom():
    start, ends = np.array([-1.2, 1.0]), [(-5.0, 5.0)] * 2
    where, bend = bottom(optimize.rosen, start, ends)
    np.testing.assert_allclose(where, 1.0, atol=1e-4)
    np.testing.assert_allclose(bend, optimize.rosen_hess(np.ones(2)), rtol=1e-3)


def test_slopes_are_those_of_the_formula():
    x = np.array([0.3, -0.7])
    value, slope, bend = curvature(lambda v: float(np.exp(v[0]) * np.sin(v[1])), x)
    e, s, c = np.exp(0.3), np.sin(-0.7), np.cos(-0.7)
    assert value == pytest.approx(e * s)
    np.testing.assert_allclose(slope, [e * s, e * c], rtol=1e-5)
    np.testing.assert_allclose(bend, [[e * s, e * c], [e * c, -e * s]], rtol=1e-5)


def test_a_number_at_its_end_stays_there_while_the_other_goes_on():
    def f(v):
        return float((v[0] - 9) ** 2 + (v[1] - v[0]) ** 2)

    where, _ = bottom(f, np.array([0.0, 0.0]), [(-1.0, 2.0), (-5.0, 5.0)])
    np.testing.assert_allclose(where, [2.0, 2.0], atol=1e-6)


def test_from_a_hill_the_way_leads_down():
    def f(v):
        return float(v[0] ** 4 / 4 - v[0] ** 2 / 2 + v[1] ** 2)

    where, _ = bottom(f, np.array([0.05, 1.0]), [(-3.0, 3.0)] * 2)
    np.testing.assert_allclose(where, [1.0, 0.0], atol=1e-4)

"""Matching points: by hand, against brute force, in any order, dense and large."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from stemkin.kernels.common import matching
from stemkin.kernels.common.matching import best_matching, match_points


def points(*rows):
    return np.array(rows, float).reshape(-1, 2)


def saved(a, b, i, j, max_distance):
    return (max_distance**2 - ((a[i] - b[j]) ** 2).sum(axis=1)).sum()


def most_that_can_be_saved(a, b, max_distance):
    saving = np.clip(max_distance**2 - ((a[:, None] - b[None]) ** 2).sum(-1), 0, None)
    return saving[linear_sum_assignment(saving, maximize=True)].sum()


@st.composite
def two_clouds(draw):
    """Two small clouds, on a coarse grid (ties and coincident points) or at random; sparse or
    dense."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m = draw(st.integers(0, 30)), draw(st.integers(0, 30))
    edge = draw(st.floats(1, 15))
    a, b = rng.uniform(0, edge, (n, 2)), rng.uniform(0, edge, (m, 2))
    return (a.round(), b.round()) if draw(st.booleans()) else (a, b)


def test_by_hand_the_total_cost_decides_and_not_the_nearest_neighbour():
    a = points((0, 0), (0, 2))
    b = points((0, 2), (0, 4))  # the nearest pair (1, 0) at distance 0 would leave two points alone
    i, j = match_points(a, b, max_distance=2.5)  # 0 + 6.25 alone against 4 + 4: alone is cheaper
    assert (i.tolist(), j.tolist()) == ([1], [0])
    i, j = match_points(a, b, max_distance=3)  # 0 + 9 alone against 4 + 4: both pairs
    assert (i.tolist(), j.tolist()) == ([0, 1], [0, 1])


def test_a_pair_at_exactly_the_largest_distance_is_matched_and_one_beyond_it_is_not():
    a, b = points((0, 0), (10, 0)), points((0, 3), (10, 3.001))
    i, j = match_points(a, b, max_distance=3)
    assert (i.tolist(), j.tolist()) == ([0], [0])


@given(two_clouds())
@settings(deadline=None, max_examples=100)
def test_no_assignment_is_cheaper(clouds):
    a, b = clouds
    i, j = match_points(a, b, max_distance=1.7)
    assert len(set(i)) == len(i)
    assert len(set(j)) == len(j)
    assert (np.diff(i) > 0).all()
    assert ((a[i] - b[j]) ** 2).sum(axis=1).max(initial=0) <= 1.7**2
    np.testing.assert_allclose(saved(a, b, i, j, 1.7), most_that_can_be_saved(a, b, 1.7), atol=1e-6)


@given(two_clouds(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_the_answer_does_not_depend_on_the_order_of_the_points(clouds, random):
    a, b = clouds
    p, q = random.sample(range(len(a)), len(a)), random.sample(range(len(b)), len(b))
    i, j = match_points(a, b, max_distance=2)
    k, m = match_points(a[p], b[q], max_distance=2)
    as_places = sorted(zip(map(tuple, a[i]), map(tuple, b[j]), strict=True))
    assert as_places == sorted(zip(map(tuple, a[p][k]), map(tuple, b[q][m]), strict=True))


def test_every_solver_finds_the_same_matching(monkeypatch):
    rng = np.random.default_rng(3)
    a = rng.uniform(0, 12, (150, 2)).round(1)
    b = rng.uniform(0, 12, (150, 2)).round(1)
    answers = []
    for small, dense in itertools.product((0, 1, 3), (0, 40_000)):
        monkeypatch.setattr(matching, "SMALL_SIDE", small)
        monkeypatch.setattr(matching, "DENSE_PAIRS", dense)
        answers.append(np.stack(match_points(a, b, max_distance=1.3)))
    assert all(np.array_equal(answers[0], other) for other in answers[1:])


def test_savings_of_any_kind_may_be_given():
    i, j = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1])
    saving = np.array([5.0, 4.0, 4.5, 1.0, -3.0])
    assert best_matching(i, j, saving, n_left=3, n_right=2).tolist() == [1, 2]


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 4), (4, 0), (1, 1)])
def test_few_or_no_points_are_no_special_case(n, m):
    i, j = match_points(np.zeros((n, 2)), np.zeros((m, 2)), max_distance=1)
    assert len(i) == len(j) == min(n, m)


def test_one_and_three_dimensions_work_alike():
    rng = np.random.default_rng(1)
    for d in (1, 3):
        a, b = rng.uniform(0, 9, (40, d)), rng.uniform(0, 9, (40, d))
        i, j = match_points(a, b, max_distance=1)
        np.testing.assert_allclose(saved(a, b, i, j, 1), most_that_can_be_saved(a, b, 1), atol=1e-7)


@pytest.mark.parametrize(
    ("a", "b", "max_distance", "words"),
    [
        (points((np.nan, 0)), points((0, 0)), 1, "1 points whose coordinates are not finite"),
        (points((0, 0)), np.zeros((1, 3)), 1, "2 coordinates and points of b 3"),
        (np.zeros(3), points((0, 0)), 1, "shape"),
        (points((0, 0)), points((0, 0)), 0, "positive number, but is 0"),
        (points((0, 0)), points((0, 0)), np.inf, "positive number, but is inf"),
    ],
)
def test_bad_input_is_refused_with_the_value_met(a, b, max_distance, words):
    with pytest.raises(ValueError, match=words):
        match_points(a, b, max_distance=max_distance)


def test_ten_thousand_crowded_points_take_no_longer_than_a_breath():
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 100, (10_000, 2))
    b = a + rng.normal(0, 0.15, a.shape)
    start = time.process_time()
    i, j = match_points(a, b, max_distance=2)  # a dozen candidates per point: one connected group
    assert time.process_time() - start < 5
    assert (i == j).mean() > 0.9

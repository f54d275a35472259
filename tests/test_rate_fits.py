"""Rates of a chain: their bounds depend on the data alone, every fit ends, and says what it left out."""

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, special

import stemkin as sk
from stemkin.blas import one_thread
from stemkin.kernels.chains.generator import (
    COUNTED,
    FITTED,
    NEVER,
    POSTERIOR,
    SELDOM,
    TOO_FAST,
    fit_generator,
)
from stemkin.kernels.chains.generator_slopes import (
    exponential_and_slopes,
    multiply,
    multiply_slope,
)
from stemkin.kernels.chains.rate_intervals import MOST_WORK, intervals
from stemkin.kernels.chains.rate_likelihood import RateLikelihood
from stemkin.kernels.chains.rate_profile import profile_interval
from stemkin.kernels.common.intervals import count_interval

Q = np.array(
    [
        [-0.5, 0.4, 0.08, 0.02],
        [0.6, -0.9, 0.2, 0.1],
        [0.02, 0.3, -0.4, 0.08],
        [1.0, 0.5, 0.5, -2.0],
    ]
)


@pytest.fixture(autouse=True)
def _one_thread():
    """Kernels alone, as the verbs call them: small matrices wait for threads longer than they work."""
    with one_thread:
        yield


def drawn(rng, n=(200, 30, 10)):
    """Counts of pairs 1, 2 and 3 frames apart of the chain `Q`."""
    counts = np.zeros((len(n), 4, 4))
    for gap, number in enumerate(n, start=1):
        P = linalg.expm(Q * gap)
        counts[gap - 1] = [rng.multinomial(number, row / row.sum()) for row in P]
    return counts


def likelihood(counts):
    k = counts.shape[-1]
    free = np.nonzero(~np.eye(k, dtype=bool))
    return RateLikelihood(counts, np.arange(1.0, len(counts) + 1), *free)


def blinking(n_tracks, n_frames, rng, n_classes=8):
    """Defects that never change and whose names blink among several classes, some of them rarely."""
    share = np.full((3, n_classes), 2e-4)
    share[0, :4], share[1, :4], share[2, 2:6] = (
        [0.95, 0.03, 0.015, 0.005],
        [0.03, 0.93, 0.03, 0.01],
        [0.9, 0.05, 0.03, 0.02],
    )
    share /= share.sum(axis=1, keepdims=True)
    parts = []
    for particle in range(n_tracks):
        frame = np.flatnonzero(rng.random(n_frames) < 0.95)
        named = rng.choice(n_classes, size=len(frame), p=share[rng.integers(3)])
        parts.append(pd.DataFrame({"particle": particle, "frame": frame, "class_id": named}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 60.0])
def test_the_exponential_and_its_slopes_are_those_of_scipy_however_fast_the_rates(scale):
    rows, columns = np.nonzero(~np.eye(4, dtype=bool))
    rows, columns = np.ascontiguousarray(rows), np.ascontiguousarray(columns)
    P, slopes = exponential_and_slopes(Q, scale, rows, columns)
    np.testing.assert_allclose(P, linalg.expm(scale * Q), rtol=1e-9, atol=1e-14)
    for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
        direction = np.zeros((4, 4))
        direction[row, [row, column]] = -1, 1
        wanted = linalg.expm_frechet(scale * Q, direction, compute_expm=False)
        np.testing.assert_allclose(slopes[i], wanted, rtol=1e-7, atol=1e-12)
    power, own, room = P.copy(), slopes.copy(), np.zeros((4, 4))
    for exponent in range(2, 6):
        for i in range(12):
            multiply_slope(own[i], power, slopes[i], P, room)
        multiply(power, P, room)
        whole, slope = exponential_and_slopes(Q, exponent * scale, rows, columns)
        np.testing.assert_allclose(power, whole, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(own, exponent * slope, rtol=1e-7, atol=1e-12)


def test_the_gradient_is_the_slope_of_the_likelihood():
    problem = likelihood(drawn(np.random.default_rng(1)))
    x = np.linspace(0.05, 0.6, 12)
    value, gradient, _ = problem.evaluate(x)
    for i in range(12):
        step = 1e-6 * np.eye(12)[i]
        slope = (problem.value(x + step) - problem.value(x - step)) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-4)
    assert value == pytest.approx(problem.value(x), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_maximum_and_the_bounds_of_a_rate_do_not_depend_on_where_the_search_begins(seed):
    problem = likelihood(drawn(np.random.default_rng(seed), n=(60, 10, 3)))
    starts = (problem.guess(), np.full(12, 1e-6), np.full(12, 0.02), np.full(12, 0.5))
    found = [problem.maximise(start=start) for start in starts]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=2e-3, atol=2e-5)
    for i in (2, 6, 9):
        bounds = [profile_interval(problem, x, i, confidence=0.95) for x in found]
        width = bounds[0][1] - bounds[0][0]
        for other in bounds[1:]:
            np.testing.assert_allclose(other, bounds[0], atol=0.005 * width)


def test_the_bound_of_a_rate_is_where_the_profile_has_fallen_by_as_much_as_the_confidence_says():
    problem = likelihood(drawn(np.random.default_rng(2), n=(60, 10, 3)))
    x = problem.maximise()
    top = problem.value(np.maximum(x, problem.floor))
    for i in (0, 5, 11):
        for bound in profile_interval(problem, x, i, confidence=0.95):
            if 0 < bound < np.inf:
                held = np.where(np.arange(12) == i, bound, np.maximum(x, problem.floor))
                best = problem.maximise(start=held, held=i)
                fallen = 2 * (top - problem.value(np.maximum(best, problem.floor)))
                assert fallen == pytest.approx(3.8415, rel=0.01)


def test_a_fit_of_few_rows_of_many_classes_ends_and_of_blinking_names_too():
    rng = np.random.default_rng(0)
    few = pd.DataFrame(
        {
            "particle": np.repeat(range(3), 43),
            "frame": np.tile(range(43), 3),
            "class_id": rng.integers(8, size=129),
        }
    )
    for rows in (few, blinking(30, 60, rng)):
        table = sk.transitions(rows, frame_time_s=1.0, class_ids=range(9)).table
        assert len(table) == 81
        assert not table["basis"].isin([""]).any()
        known = table[table["rate_per_s"].notna()]
        assert (known["rate_low"] <= known["rate_high"]).all()


def test_the_work_of_intervals_has_a_bound_and_what_is_left_out_is_said():
    counts = np.random.default_rng(3).integers(0, 9, size=(1, 9, 9)) + 20.0 * np.eye(9)
    problem = likelihood(counts)
    x = problem.maximise()
    problem.work = MOST_WORK + 1
    *_, curved = intervals(problem, x, confidence=0.95)
    before = problem.work
    assert curved.any()
    assert before < MOST_WORK + 500
    problem.work = 0
    *_, curved_later = intervals(problem, x, confidence=0.95)
    assert curved_later.sum() < curved.sum()


def test_classes_seen_seldom_are_not_fitted_and_the_table_says_so():
    counts = np.zeros((1, 6, 6))
    counts[0, :4, :4] = drawn(np.random.default_rng(4))[0]
    counts[0, 0, 4], counts[0, 4, 4], counts[0, 4, 0] = 3, 4, 3
    fit, few = fit_generator(counts, np.ones(1)), fit_generator(counts[:, :4, :4], np.ones(1))
    off = ~np.eye(4, dtype=bool)
    for name in ("rates", "low", "high"):
        np.testing.assert_allclose(getattr(fit, name)[:4, :4][off], getattr(few, name)[off])
    assert (fit.basis[:4, :4] == FITTED).all()
    assert (fit.basis[4] == SELDOM).all()
    assert (fit.basis[5] == NEVER).all()
    assert np.isnan(fit.rates[4:]).all()
    at_risk = counts[0, 0].sum()
    assert (fit.basis[:4, 4:] == COUNTED).all()
    assert fit.rates[0, 4] == pytest.approx(3 / at_risk)
    assert fit.high[0, 4] == pytest.approx(count_interval(np.array(3.0))[1] / at_risk)
    assert -fit.rates[0, 0] == pytest.approx(fit.rates[0, 1:].sum())
    assert fit.low[0, 0] <= fit.rates[0, 0] <= fit.high[0, 0]


def test_a_rate_that_cannot_be_told_from_an_infinite_one_is_infinite_and_its_interval_open():
    fit = fit_generator(np.full((1, 2, 2), 5000.0), np.ones(1))
    assert np.isposinf(fit.rates[0, 1])
    assert 1 < fit.low[0, 1] < 20
    assert np.isposinf(fit.high[0, 1])
    assert np.isneginf(fit.rates[0, 0])
    assert fit.basis[0, 1] == TOO_FAST


def test_a_class_that_nothing_leaves_behind_wrong_names_is_not_sure_to_stay():
    """Its probability once had the bound of 10^12 trials, a number that stood for none."""
    confusion = np.array([[0.95, 0.05], [0.05, 0.95]])
    rng = np.random.default_rng(5)
    true = np.repeat(rng.integers(2, size=20), 12)
    named = np.where(rng.random(240) < 0.05, 1 - true, true)
    rows = pd.DataFrame(
        {"particle": np.repeat(range(20), 12), "frame": np.tile(range(12), 20), "class_id": named}
    )
    found = sk.hidden_transitions(rows, confusion=confusion, frame_time_s=1.0)
    high, low = found.matrix("high").to_numpy(), found.matrix("low").to_numpy()
    assert 1e-3 < high[0, 1] < 0.2
    assert 0.8 < low[0, 0] < 1 - 1e-3


def test_the_posterior_of_a_rate_of_changes_that_are_all_seen_is_that_of_their_count():
    counts = np.array([[[4000.0, 3.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 7.0]]]) * [[[1], [0], [0]]]
    found = fit_generator(counts, np.ones(1), prior="jeffreys")
    assert found.basis[0, 1:].tolist() == [POSTERIOR, COUNTED]  # the third class was never seen
    assert found.rates[0, 1:] == pytest.approx(np.array([3.5, 0.5]) / 4003, rel=2e-2)
    for to, n in ((1, 3.0), (2, 0.0)):
        low, high = special.gammaincinv(n + 0.5, [0.025, 0.975]) / 4003
        assert (found.low[0, to], found.high[0, to]) == pytest.approx(
            (low, high), rel=3e-2, abs=1e-6
        )
    assert found.rates[0, 0] == -found.rates[0, 1:].sum()


def test_posteriors_of_rare_changes_hold_the_truth_as_often_as_they_say():
    rng, rare, held, mean = np.random.default_rng(5), 2e-3, [], []
    P = linalg.expm(np.array([[-rare, rare], [0.1, -0.1]]))
    for _ in range(60):
        counts = np.array([[rng.multinomial(1000, P[0]), rng.multinomial(40, P[1])]], float)
        found = fit_generator(counts, np.ones(1), prior="jeffreys")
        held.append(found.low[0, 1] <= rare <= found.high[0, 1])
        mean.append(found.rates[0, 1])
    assert np.mean(held) >= 0.9
    assert np.mean(mean) == pytest.approx(rare + 0.5 / 1000, rel=0.2)


def test_the_rates_of_tracks_have_the_prior_that_is_asked_for():
    rows = pd.DataFrame({"movie": "m", "particle": np.repeat([1, 2], 50)})
    rows = rows.assign(frame=np.tile(np.arange(50), 2), class_id=np.repeat([0, 1], 50))
    likely, mean = (
        sk.transitions(rows, frame_time_s=2.0, prior=prior).table for prior in ("none", "jeffreys")
    )
    changes = likely["from_id"] != likely["to_id"]
    assert (likely.loc[changes, "rate_per_s"] == 0).all()
    found = mean.loc[changes, "rate_per_s"].to_numpy()
    assert found == pytest.approx(np.full(2, 0.5 / 49 / 2), rel=0.05)
    assert mean.loc[changes, "basis"].tolist() == [POSTERIOR] * 2
    with pytest.raises(ValueError, match=r"prior must be 'none' or 'jeffreys', but it is 'flat'"):
        sk.transitions(rows, prior="flat")


MIXES_AT_ONCE = np.array(
    [
        [[4551, 0, 262, 0], [0, 216, 0, 111], [265, 0, 71, 0], [0, 112, 0, 48]],
        [[183, 0, 12, 0], [0, 2, 0, 2], [11, 0, 2, 0], [0, 1, 0, 1]],
    ],
    float,
)
"""Two states go over into each other more often than a chain in balance could within a frame."""


@pytest.mark.parametrize("prior", ["none", "jeffreys"])
def test_states_that_mix_within_a_frame_have_no_upper_end_and_no_error(prior):
    found = fit_generator(MIXES_AT_ONCE, np.array([1.0, 2.0]), confidence=0.95, prior=prior)
    assert np.isinf(found.rates[[1, 3], [3, 1]]).all()
    assert (found.low[[1, 3], [3, 1]] > 0.3).all()
    assert np.isinf(found.high[[1, 3], [3, 1]]).all()
    assert found.low[0, 2] < found.rates[0, 2] < found.high[0, 2]


def test_mixing_of_any_speed_has_intervals_that_hold_the_estimate():
    rng = np.random.default_rng(8)
    for _ in range(12):
        fast = np.exp(rng.uniform(-1, 4, 2))
        generator = np.zeros((4, 4))
        generator[0, 2], generator[2, 0], generator[1, 3], generator[3, 1] = 0.1, 1.5, *fast
        np.fill_diagonal(generator, -generator.sum(axis=1))
        counts = np.zeros((2, 4, 4))
        for gap, n in ((1, 300), (2, 30)):
            P = linalg.expm(generator * gap)
            counts[gap - 1] = [rng.multinomial(n, row / row.sum()) for row in P]
        found = fit_generator(counts, np.array([1.0, 2.0]), confidence=0.95)
        off = ~np.eye(4, dtype=bool)
        assert (found.low <= found.rates)[off].all()
        assert (found.rates <= found.high)[off].all()

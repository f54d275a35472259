"""The mixture's sums: right by hand, equal to scikit-learn's, the same bits for every split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.kernels.classes import densities, mixture_steps
from stemkin.kernels.classes import mixture as kernel
from stemkin.kernels.classes.mixture import (
    COVARIANCES,
    Mixture,
    mixture_of_labels,
)
from stemkin.kernels.classes.mixture_steps import (
    LEAF_ROWS,
    Sums,
    next_mixture,
    step_sums,
)


def blobs(n_rows=900, n_dimensions=4, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    rows = [
        rng.normal(centre, 1 + abs(centre) / 3, (n_rows // 3, n_dimensions))
        for centre in (-3, 0, 5)
    ]
    return np.concatenate(rows) + offset


def fitted(rows, start, n_steps):
    mixture = start
    for _ in range(n_steps):
        sums = Sums.unpack(step_sums(rows, mixture), mixture)
        mixture = next_mixture(sums, mixture)
    return mixture, sums


def test_one_step_by_hand():
    # two well separated pairs: responsibilities are 0 and 1, so the step gives each pair's own mean
    # and variance
    rows = np.array([[0.0], [2.0], [100.0], [104.0]])
    start = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [100.0]]), np.ones((2, 1, 1)) * 9.0)
    sums = Sums.unpack(step_sums(rows, start), start)
    after = next_mixture(sums, start, regularisation=0.0)
    assert sums.n.tolist() == [2, 2]
    np.testing.assert_allclose(after.means, [[1.0], [102.0]])
    np.testing.assert_allclose(after.covariances[:, 0, 0], [1.0, 4.0])
    np.testing.assert_allclose(after.weights, [0.5, 0.5])


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_twenty_steps_agree_with_scikit_learn(covariance):
    sklearn_mixture = pytest.importorskip("sklearn.mixture")
    rows = blobs(offset=50.0)
    labels = np.repeat([0, 1, 2], 300)
    labels[::7] = 1  # a start that is not the answer
    start = mixture_of_labels(rows, labels, 3, covariance=covariance, regularisation=1e-6)
    factor = start.precisions_cholesky
    precisions = factor**2 if covariance == "diag" else factor @ np.swapaxes(factor, -1, -2)
    theirs = sklearn_mixture.GaussianMixture(
        3, covariance_type=covariance, weights_init=start.weights, means_init=start.means, precisions_init=precisions,
        max_iter=20, tol=0.0, init_params="random",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="converge"):
        theirs.fit(rows)
    ours, sums = fitted(rows, start, 20)
    np.testing.assert_allclose(ours.weights, theirs.weights_, atol=1e-8)
    np.testing.assert_allclose(
        ours.means, theirs.means_, atol=1e-7
    )  # of values near 50: 1e-8 of them is 5e-7
    np.testing.assert_allclose(ours.covariances, theirs.covariances_, rtol=1e-8, atol=1e-8)
    assert sums.log_likelihood / sums.n_rows == pytest.approx(theirs.lower_bound_, abs=1e-8)
    np.testing.assert_allclose(
        densities.posterior(rows, ours)[1], theirs.predict_proba(rows), atol=1e-8
    )
    assert kernel.bic(densities.posterior(rows, ours)[0].sum(), len(rows), ours) == pytest.approx(
        theirs.bic(rows)
    )


@settings(deadline=None, max_examples=10)
@given(
    cut=st.sampled_from([1, 2, 4]),
    covariance=st.sampled_from(COVARIANCES),
    n_rows=st.integers(1, 40),
)
def test_sums_do_not_depend_on_the_split_at_whole_leaves(cut, covariance, n_rows):
    leaf = 8
    rows = blobs(9)[np.arange(n_rows) % 9] + np.arange(n_rows)[:, None] * 1e-3
    start = mixture_of_labels(
        rows, np.arange(n_rows) % 2, 2, covariance=covariance, regularisation=1e-2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixture_steps, "LEAF_ROWS", leaf)
        whole = step_sums(rows, start)
        step = leaf * cut
        parts = [step_sums(rows[i : i + step], start) for i in range(0, n_rows, step)]
        np.testing.assert_array_equal(mixture_steps.tree_sum(parts), whole)


def test_a_leaf_is_large_enough_that_its_overhead_does_not_count():
    assert LEAF_ROWS >= 50_000


def test_a_component_without_spread_is_refused_with_a_cure():
    with pytest.raises(ValueError, match="regularisation"):
        densities.posterior(
            np.zeros((3, 2)), Mixture(np.ones(1), np.zeros((1, 2)), np.zeros((1, 2, 2)))
        )


def test_identical_rows_are_held_up_by_the_regularisation():
    rows = np.ones((20, 3))
    start = mixture_of_labels(rows, np.arange(20) % 2, 2, covariance="full", regularisation=1e-6)
    mixture, sums = fitted(rows, start, 3)
    assert np.isfinite(mixture.means).all()
    assert np.isfinite(sums.log_likelihood)


def test_no_rows_add_nothing():
    start = mixture_of_labels(
        blobs(9), np.repeat([0, 1, 2], 3), 3, covariance="full", regularisation=1e-2
    )
    assert (step_sums(np.empty((0, 4)), start) == 0).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_number_of_parameters_is_scikit_learns(covariance):
    sklearn_mixture = pytest.importorskip("sklearn.mixture")
    rows = blobs()
    ours = mixture_of_labels(
        rows, np.repeat([0, 1, 2], 300), 3, covariance=covariance, regularisation=1e-6
    )
    theirs = sklearn_mixture.GaussianMixture(3, covariance_type=covariance, random_state=0).fit(
        rows
    )
    assert ours.n_parameters == theirs._n_parameters()

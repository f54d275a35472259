"""Classes from descriptors: equal to scikit-learn's, the same bits for every chunking, clear at the
edges."""

import logging

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.kernels.classes import mixture_steps
from stemkin.learning import gaussian_mixture
from stemkin.learning.clustering import cluster, held_out, kmeans, principal_components
from stemkin.learning.gaussian_mixture import GaussianMixture

CENTRES = np.array([[0.0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8]])


def rows_and_truth(n_rows=600, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, n_rows, p=[0.4, 0.3, 0.2, 0.1])
    return CENTRES[truth] + rng.normal(size=(n_rows, 3)), truth


@pytest.fixture
def small_leaves(monkeypatch):
    monkeypatch.setattr(mixture_steps, "LEAF_ROWS", 64)
    monkeypatch.setattr(gaussian_mixture, "LEAF_ROWS", 64)


def splits(n_rows):
    return st.lists(st.integers(1, n_rows - 1), max_size=6, unique=True).map(
        lambda cuts: tuple(np.diff([0, *sorted(cuts), n_rows]).tolist())
    )


@settings(deadline=None, max_examples=12)
@given(chunks=splits(600))
def test_classes_do_not_depend_on_the_chunking(chunks):
    rows, _ = rows_and_truth()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixture_steps, "LEAF_ROWS", 64)
        patch.setattr(gaussian_mixture, "LEAF_ROWS", 64)
        whole = cluster(rows, n_classes=4, n_init=1, covariance="full")
        split = cluster(
            da.from_array(rows, chunks=(chunks, -1)), n_classes=4, n_init=1, covariance="full"
        )
    np.testing.assert_array_equal(split.mixture.means, whole.mixture.means)
    np.testing.assert_array_equal(split.mixture.covariances, whole.mixture.covariances)
    np.testing.assert_array_equal(split.class_ids, whole.class_ids)


def test_the_estimator_equals_scikit_learn_on_the_same_start(small_leaves):
    sklearn_mixture = pytest.importorskip("sklearn.mixture")
    rows, _ = rows_and_truth()
    start = {
        "weights_init": np.full(4, 0.25),
        "means_init": CENTRES + 1.0,
        "precisions_init": np.stack([np.eye(3) / 4] * 4),
    }
    theirs = sklearn_mixture.GaussianMixture(
        4, tol=1e-9, init_params="random", max_iter=500, **start
    ).fit(rows)
    ours = GaussianMixture(4, tol=1e-9, max_iter=500, **start).fit(
        da.from_array(rows, chunks=(100, 3))
    )
    assert ours.converged_
    assert ours.n_iter_ == theirs.n_iter_
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bound_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-8)
    np.testing.assert_array_equal(ours.predict(rows), theirs.predict(rows))
    np.testing.assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), atol=1e-8)
    np.testing.assert_allclose(ours.score_samples(rows), theirs.score_samples(rows), atol=1e-8)
    assert ours.bic(rows) == pytest.approx(theirs.bic(rows), rel=1e-10)


def test_predictions_on_dask_are_lazy_and_equal(small_leaves):
    rows, _ = rows_and_truth()
    fit = GaussianMixture(4, random_state=1).fit(rows)
    lazy = da.from_array(rows, chunks=(70, 3))
    for verb in (fit.predict, fit.predict_proba, fit.score_samples):
        answer = verb(lazy)
        assert isinstance(answer, da.Array)
        np.testing.assert_array_equal(answer.compute(), verb(rows))


def test_a_fit_follows_scikit_learns_conventions():
    from sklearn.base import clone

    fit = GaussianMixture(3, reg_covar=1e-3, random_state=2)
    assert clone(fit).get_params() == fit.get_params()
    rows, _ = rows_and_truth()
    assert fit.fit(rows) is fit
    assert fit.fit_predict(rows).shape == (600,)


def test_bic_finds_the_true_number_of_classes_and_the_classes():
    metrics = pytest.importorskip("sklearn.metrics")
    rows, truth = rows_and_truth()
    taxonomy = cluster(rows)
    assert taxonomy.classes.tolist() == [0, 1, 2, 3]
    assert metrics.adjusted_rand_score(truth, taxonomy.assign(rows)[0]) > 0.98


def test_classes_are_numbered_by_falling_size():
    rows, _ = rows_and_truth()
    assert (np.diff(np.bincount(cluster(rows, n_classes=4).assign(rows)[0])) < 0).all()


def test_what_no_class_explains_gets_minus_one():
    rows, _ = rows_and_truth()
    taxonomy = cluster(rows, n_classes=4)
    far, broken = np.array([[40.0, 40, 40]]), np.array([[np.nan, 0, 0]])
    for stranger in (far, broken):
        class_id, probability = taxonomy.assign(stranger)
        assert class_id.tolist() == [-1]
        assert probability.tolist() == [0.0]
    assert (taxonomy.assign(rows)[0] >= 0).mean() > 0.99


@pytest.mark.parametrize("n_rows", [0, 1])
def test_too_few_rows_give_the_taxonomy_that_names_nothing(n_rows, caplog):
    with caplog.at_level(logging.WARNING):
        taxonomy = cluster(np.zeros((n_rows, 3)), n_classes=5)
    assert taxonomy.mixture is None
    assert "nothing will be named" in caplog.text
    assert taxonomy.assign(np.zeros((4, 3)))[0].tolist() == [-1] * 4


def test_fewer_distinct_rows_than_classes_give_fewer_classes(caplog):
    rows = np.repeat(CENTRES[:2], 10, axis=0)
    with caplog.at_level(logging.WARNING):
        taxonomy = cluster(rows, n_classes=5)
    assert len(taxonomy.classes) == 2
    assert "support 2 classes, not 5" in caplog.text
    assert len(set(taxonomy.assign(rows)[0].tolist())) == 2


def test_one_class_only():
    rows, _ = rows_and_truth()
    taxonomy = cluster(rows, n_classes=1)
    assert taxonomy.classes.tolist() == [0]
    class_id, probability = taxonomy.assign(rows)
    assert (class_id == 0).mean() > 0.99
    assert (probability[class_id == 0] == 1).all()


def test_identical_rows_are_one_class():
    taxonomy = cluster(np.ones((30, 3)))
    assert taxonomy.assign(np.ones((3, 3)))[0].tolist() == [0, 0, 0]


def test_a_first_guess_finds_classes_that_k_means_would_not():
    # two classes that differ in one descriptor only, while the others scatter widely
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 300)
    rows = np.stack(
        [truth * 6.0 + rng.normal(size=600), *rng.normal(scale=40.0, size=(3, 600))], axis=1
    )
    guess = np.where(rows[:, 0] > 3, 1, 0)
    guess[::5] = -1
    taxonomy = cluster(rows, start_labels=guess, n_classes=2)
    assert abs((taxonomy.assign(rows)[0] == truth).mean() - 0.5) > 0.48


def test_rows_that_were_not_seen_also_choose_the_number_of_classes():
    rows, _ = rows_and_truth(1200)
    table = held_out(rows, [1, 2, 3, 4])
    assert table["bic"].idxmin() == table["held_out"].idxmax() == 3


def test_nan_in_a_dask_array_is_refused_with_a_cure():
    rows, _ = rows_and_truth(100)
    rows[3, 1] = np.nan
    with pytest.raises(ValueError, match="isfinite"):
        GaussianMixture(
            1, weights_init=[1.0], means_init=[[0, 0, 0.0]], precisions_init=[np.eye(3)]
        ).fit(rows)
    with pytest.raises(ValueError, match="isfinite"):
        cluster(da.from_array(rows, chunks=(30, 3)))


def test_unknown_chunks_and_unknown_shapes_are_refused_with_a_cure():
    rows = da.from_array(rows_and_truth()[0], chunks=(100, 3))
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        GaussianMixture(2).fit(rows[rows[:, 0] > 0])
    with pytest.raises(ValueError, match="'round'"):
        GaussianMixture(2, covariance_type="round").fit(rows)
    with pytest.raises(ValueError, match="as many rows"):
        GaussianMixture(5).fit(np.zeros((3, 2)))


def test_kmeans_finds_the_centres():
    rows, truth = rows_and_truth()
    centres, labels = kmeans(rows, 4)
    assert np.abs(centres[labels] - CENTRES[truth]).max() < 1.0


@pytest.mark.parametrize("n_rows", [200, 3])
def test_principal_components_are_scikit_learns(n_rows):
    decomposition = pytest.importorskip("sklearn.decomposition")
    rows = np.random.default_rng(0).normal(size=(n_rows, 5)) * [5, 4, 3, 2, 1]
    mean, components, variances = principal_components(rows, 2)
    theirs = decomposition.PCA(2, svd_solver="full").fit(rows)
    np.testing.assert_allclose(mean, theirs.mean_)
    np.testing.assert_allclose(np.abs(components @ theirs.components_.T), np.eye(2), atol=1e-8)
    np.testing.assert_allclose(variances, theirs.explained_variance_)

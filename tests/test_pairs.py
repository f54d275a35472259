"""A dopant and a dopant beside a vacancy are told apart where a free mixture runs them together."""

import numpy as np
import pytest

from stemkin.kernels.classes import motifs
from stemkin.kernels.classes.amplitudes import fold
from stemkin.kernels.classes.mixture import Mixture
from stemkin.kernels.classes.naming import ClassNames
from stemkin.kernels.classes.pairs import told_apart
from stemkin.kernels.classes.taxonomy import Taxonomy
from stemkin.kernels.crystal.lattice import METAL
from stemkin.materials import MATERIALS

NOISE = np.full(3, 0.06)
SCALE = np.concatenate([np.full((3, 1), 1e-4), np.full((3, 7), 0.06)], axis=1)
SEEN = -0.16
"""Amplitude of a vacancy beside a dopant as an observer judges it: 2.7 standard deviations."""


def rows_of(n_alone, n_both, seed=0, tails=0.0):
    rng = np.random.default_rng(seed)
    amplitudes = rng.normal(0, 0.06, (n_alone + n_both, 13))
    amplitudes[:, 0] -= 0.5
    amplitudes[:, 1:4] += tails
    where = rng.integers(0, 3, n_both)
    amplitudes[n_alone + np.arange(n_both), 1 + where] += SEEN
    folded = fold(amplitudes)[0][:, :7]
    return np.concatenate([np.zeros((len(folded), 1)), folded / 0.06], axis=1)


def run_together(rows):
    """One wide class for all."""
    spread = rows.var(axis=0)[None] + 1e-3
    mixture = Mixture(np.ones(1), rows.mean(axis=0)[None], spread, "diag")
    called = ClassNames()
    called.add("Mo_W", oriented=False, match=None)
    called.add("Mo_W+V_S", oriented=True, match=None)
    return Taxonomy(mixture, np.array([0], np.int16), 45.0), called


def pair():
    library = motifs.library(MATERIALS["WS2"], swap=-0.5, beside={METAL: SEEN})
    return tuple(
        next(m for m in library if (m.name, m.site) == (name, METAL))
        for name in ("Mo_W", "Mo_W+V_S")
    )


@pytest.mark.parametrize("n_both", [20, 60, 140])
def test_shares_and_names_are_those_of_the_truth(n_both):
    rows = rows_of(140, n_both)
    taxonomy, called = run_together(rows)
    assert set(taxonomy.assign(rows)[0]) == {0}
    apart = told_apart(taxonomy, rows, SCALE, NOISE, pair(), called)
    share = n_both / (140 + n_both)
    assert apart.mixture.weights[apart.class_ids == 1].sum() == pytest.approx(share, abs=0.08)
    given, probability = apart.assign(rows)
    true = np.repeat([0, 1], [140, n_both])
    assert (given == true).mean() > 0.8
    assert probability.mean() == pytest.approx((given == true).mean(), abs=0.06), "calibrated"


def test_tails_of_the_dopant_that_reach_all_three_columns_do_not_matter():
    shares = []
    for tails in (0.0, -0.06, 0.06):
        rows = rows_of(100, 100, tails=tails)
        taxonomy, called = run_together(rows)
        apart = told_apart(taxonomy, rows, SCALE, NOISE, pair(), called)
        given, _ = apart.assign(rows)
        assert (given == np.repeat([0, 1], 100)).mean() > 0.8
        shares.append(apart.mixture.weights[apart.class_ids == 1].sum())
    assert shares == pytest.approx([shares[0]] * 3, abs=0.01)


@pytest.mark.parametrize("tails", [-0.06, 0.0, 0.06])
def test_dopants_alone_stay_one_class(tails):
    for seed in range(5):
        rows = rows_of(150, 0, seed, tails)
        taxonomy, called = run_together(rows)
        assert told_apart(taxonomy, rows, SCALE, NOISE, pair(), called) is taxonomy


def test_what_is_too_faint_or_too_rare_is_not_told_apart():
    rows = rows_of(100, 60)
    taxonomy, called = run_together(rows)
    first, second = pair()
    assert told_apart(taxonomy, rows, SCALE, NOISE * 2, (first, second), called) is taxonomy
    few, _ = run_together(rows[:9])
    assert told_apart(few, rows[:9], SCALE, NOISE, (first, second), called) is few

"""Two motifs, such as dopants with and without a vacancy, are told apart where a mixture runs them together."""

import numpy as np
import pytest

from stemkin.kernels.classes import motifs
from stemkin.kernels.classes.amplitudes import fold
from stemkin.kernels.classes.mixture import Mixture
from stemkin.kernels.classes.naming import ClassNames
from stemkin.kernels.classes.pairs import told_apart
from stemkin.kernels.classes.taxonomy import Taxonomy
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.learning.by_motif import _pairs
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


def run_together(rows, names=("Mo_W", "Mo_W+V_S")):
    """One wide class for all."""
    spread = rows.var(axis=0)[None] + 1e-3
    mixture = Mixture(np.ones(1), rows.mean(axis=0)[None], spread, "diag")
    called = ClassNames()
    called.add(names[0], oriented=False, match=None)
    called.add(names[1], oriented=True, match=None)
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


def vacancies(n_single, n_double, seed=0, noise=0.013):
    """Rows of vacancies of one atom and of two, on one kind of site; what tells them apart."""
    library = motifs.library(MATERIALS["WS2"])
    pair = tuple(next(m for m in library if m.name == name) for name in ("V_S", "V_S2"))
    amplitudes = np.random.default_rng(seed).normal(0, noise, (n_single + n_double, 13))
    amplitudes += np.repeat([motif.amplitudes for motif in pair], [n_single, n_double], axis=0)
    folded = fold(amplitudes)[0][:, :7]
    scale = np.concatenate([np.full((3, 1), 1e-4), np.full((3, 7), noise)], axis=1)
    sites = np.full((len(folded), 1), CHALCOGEN / 1e-4)
    rows = np.concatenate([sites, folded / noise], axis=1)
    return rows, (scale, np.full(3, noise), pair)


@pytest.mark.parametrize("n_double", [4, 12, 60])
def test_a_few_vacancies_of_two_atoms_are_found_among_those_of_one(n_double):
    rows, known = vacancies(200, n_double)
    taxonomy, called = run_together(rows, ("V_S", "V_S2"))
    apart = told_apart(taxonomy, rows, *known, called)
    given, _ = apart.assign(rows)
    true = np.repeat([0, 1], [200, n_double])
    assert (given == true)[true == 1].mean() > 0.95
    assert (given == true)[true == 0].mean() > 0.99
    spread = apart.mixture.covariances[apart.class_ids == 0, 1]
    assert spread**0.5 == pytest.approx(1.0, abs=0.2), "the others' class is as wide as the noise"


@pytest.mark.parametrize("name", sorted(MATERIALS))
def test_learning_looks_for_two_atoms_among_one_wherever_a_column_has_two(name):
    material = MATERIALS[name]
    found = _pairs(motifs.library(material), {}, material)
    vacancy = material.kinds[0]
    wanted = [(vacancy, f"{vacancy}2")] * (material.atoms_per_chalcogen_column > 1)
    assert [(first.name, second.name) for first, second in found] == wanted


@pytest.mark.parametrize("noise", [0.008, 0.013, 0.02, 0.03])
@pytest.mark.parametrize("threshold", [0.0, 0.06])
def test_vacancies_of_one_atom_stay_one_class_also_where_the_faint_ones_are_hidden(
    noise, threshold
):
    for seed in range(4):
        rows, known = vacancies(2000, 0, seed, noise)
        rows = rows[-rows[:, 1] * noise > threshold]
        taxonomy, called = run_together(rows, ("V_S", "V_S2"))
        assert told_apart(taxonomy, rows, *known, called) is taxonomy

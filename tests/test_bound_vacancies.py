"""What a vacancy beside a dopant does is learned at the dopants, whatever lone ones do."""

import numpy as np
import pytest

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, honeycomb, numbered_sites
from stemkin.kernels.detection import bound_vacancies
from stemkin.kernels.detection.beside import LEAST_SHARE, bound_signals
from stemkin.kernels.detection.bound_vacancies import bound_vacancy
from stemkin.kernels.detection.observer import Observer, bonded, partial_patches, patches_at
from stemkin.kernels.detection.patch_grid import GRID
from stemkin.kernels.detection.patch_shapes import another_column, column_on_grid, moved_outwards

SD, DIP = 0.15, 2.5
N = len(GRID)
NOISE = np.eye(N)


def signature_of(column, breathing):
    """An atom less at a bonded column, and the metal columns around it moved outwards."""
    vacant = bonded(METAL)[column]
    drawn = -DIP * column_on_grid(vacant, SD)[0]
    for step in bonded(CHALCOGEN):
        drawn = drawn + DIP * breathing * moved_outwards(vacant + step, vacant, SD)
    return drawn


def dopants(rng, n, breathing, *, share=0.5, off_site=0.0):
    """Patches around dopants: as bright as they like, off their sites, some beside a vacancy."""
    bright, shifts = another_column(np.zeros(2), SD)[0], another_column(np.zeros(2), SD)[1:3]
    column = np.where(rng.random(n) < share, rng.integers(0, 3, n), -1)
    patches = rng.normal(size=(n, N)) - 9.0 * bright + off_site * rng.normal(size=(n, 2)) @ shifts
    for k in range(3):
        patches[column == k] += signature_of(k, breathing)
    return patches, column


@pytest.mark.parametrize("breathing", [-1.5, 0.0, 1.5])
def test_a_bound_vacancy_is_told_whichever_way_its_neighbours_move(breathing):
    rng = np.random.default_rng(3)
    patches, column = dopants(rng, 300, breathing, off_site=1.0)
    learned = bound_vacancy(patches, np.zeros(N), NOISE, DIP, SD)
    fresh, true = dopants(rng, 600, breathing, off_site=1.0)
    for seen, wanted in ((patches, column), (fresh, true)):
        signals = (-(seen @ learned.weights.T) + learned.level) / learned.scatter
        told = np.where(signals.min(axis=1) < -learned.depth / 2, signals.argmin(axis=1), -1)
        assert (told == wanted).mean() > 0.97
    alone = -(fresh[true < 0] @ learned.weights.T) + learned.level
    assert abs(alone.mean()) < 0.25
    assert alone.std() == pytest.approx(learned.scatter, abs=0.15)


def test_each_of_the_three_columns_sees_nothing_of_the_others():
    rng = np.random.default_rng(5)
    learned = bound_vacancy(dopants(rng, 300, 1.5)[0], np.zeros(N), NOISE, DIP, SD)
    for k in range(3):
        seen = learned.weights @ signature_of(k, 1.5)
        assert seen[k] > 4
        assert np.abs(np.delete(seen, k)).max() < 0.1 * seen[k]


@pytest.mark.parametrize("off_site", [0.0, 3.0])
def test_dopants_alone_teach_nothing(off_site):
    for seed in range(2):
        patches, _ = dopants(np.random.default_rng(seed), 120, 0.0, share=0.0, off_site=off_site)
        assert bound_vacancy(patches, np.zeros(N), NOISE, DIP, SD) is None


def test_too_few_dopants_and_a_dip_unlike_that_of_lone_vacancies_teach_nothing():
    rng = np.random.default_rng(7)
    patches, _ = dopants(rng, 300, 1.0)
    few = bound_vacancies.LEAST_DOPANTS - 1
    assert bound_vacancy(patches[:few], np.zeros(N), NOISE, DIP, SD) is None
    assert bound_vacancy(patches, np.zeros(N), NOISE, 4 * DIP, SD) is None
    assert bound_vacancy(patches, np.zeros(N), NOISE, -1.0, SD) is None


def test_a_dopant_at_the_edge_is_judged_by_what_is_seen_of_it():
    lattice, rng = honeycomb(10.0, metal=(70.0, 70.0)), np.random.default_rng(2)
    image = rng.normal(size=(140, 140))
    learned = bound_vacancy(dopants(rng, 300, 1.0)[0], np.zeros(N), NOISE, DIP, SD)
    plain = np.zeros((2, N))
    observer = Observer(
        plain, plain, np.zeros((2, 3, N)), np.full(2, np.nan), np.ones(2), plain, np.zeros((2, 15)),
        bound=learned.weights, bound_told=learned.numbers,
    )  # fmt: skip
    _, metal = numbered_sites(lattice, (140, 140), METAL)
    columns = metal[:, None] + bonded(METAL) @ np.stack([lattice.a1, lattice.a2])
    signals = bound_signals(image, lattice, None, observer, columns)
    whole = patches_at(image, metal, lattice, None)[1]
    cut = np.setdiff1d(np.arange(len(metal)), whole)
    seen = np.isfinite(signals[cut]).all(axis=1)
    assert 0.3 < seen.mean() < 1, "most at the edge are judged, and those in a corner are not"
    assert signals[cut][seen].std() == pytest.approx(signals[whole].std(), rel=0.25)
    patches, inside = partial_patches(image, metal[cut], lattice, None)
    assert (patches[~inside] == 0).all()
    assert (inside.mean(axis=1)[~seen] < 1 - LEAST_SHARE).all()

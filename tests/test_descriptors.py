"""What is said of a detection: amplitudes of sites in units of a metal column, the same for every
rotation, scale and gain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.kernels.classes import matches, motifs, naming
from stemkin.kernels.classes.amplitudes import (
    descriptor_scale,
    fold,
)
from stemkin.kernels.classes.descriptors import (
    SITE_NAMES,
    Describer,
)
from stemkin.kernels.classes.looks import (
    look_at,
    look_at_pieces,
)
from stemkin.kernels.classes.mixture import (
    Mixture,
)
from stemkin.kernels.classes.taxonomy import Taxonomy
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, honeycomb, nearest_site, sites
from stemkin.kernels.crystal.patches import CROP, HOLLOW, PATCH, turn_of
from stemkin.materials import MATERIALS

S2 = 0.15
"""Height of a chalcogen column over that of a metal column."""


def draw(lattice, shape, columns, *, gain=1.0, offset=0.0):
    """Return a frame of a honeycomb with `columns` {(sublattice, index): height change}, and what
    the changes alone give."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    sd = 0.14 * lattice.spacing_px

    def add(image, point, height):
        image += height * np.exp(-0.5 * ((y - point[0]) ** 2 + (x - point[1]) ** 2) / sd**2)

    crystal, rest = np.zeros(shape), np.zeros(shape)
    margin = sites(lattice, shape, METAL), sites(lattice, shape, CHALCOGEN)
    for points, height in zip(margin, (1.0, S2), strict=True):
        for point in points:
            add(crystal, point, height)
    for point, change in columns:
        add(rest, point, change)
    return gain * (crystal + rest) + offset, gain * rest


def one_defect(kind, *, angle=0.0, spacing=10.0, third=0, gain=1.0, offset=0.0):
    lattice = honeycomb(spacing, angle_deg=angle, metal=(32.3, 31.6))
    bond = turn_of(third) @ lattice.bond
    places = {
        "dopant": [(lattice.metal, -0.6)],
        "complex": [(lattice.metal, -0.6), (lattice.metal + bond, -S2 / 2)],
        "vacancy": [(lattice.chalcogen, -S2 / 2)],
        "adatom": [(lattice.metal - lattice.bond, 1.0)],
    }[kind]
    frame, rest = draw(lattice, (64, 64), places, gain=gain, offset=offset)
    return look_at(frame, rest, lattice, places[0][0][None] + 0.4)


def test_a_dopant_by_hand():
    look = one_defect("dopant")
    row = dict(zip(SITE_NAMES, look.physical[0], strict=True))
    assert row["site"] == METAL
    assert row["centre"] == pytest.approx(-0.6, abs=0.03)
    assert max(abs(row[name]) for name in SITE_NAMES[2:]) < 0.02


@settings(deadline=None, max_examples=15)
@given(
    kind=st.sampled_from(["dopant", "complex", "vacancy", "adatom"]),
    angle=st.floats(-29, 29), spacing=st.floats(7.5, 15.0), third=st.integers(0, 2), gain=st.floats(0.1, 1e4),
)  # fmt: skip
def test_a_defect_reads_the_same_in_another_movie(kind, angle, spacing, third, gain):
    here = one_defect(kind).physical[0]
    there = one_defect(
        kind, angle=angle, spacing=spacing, third=third, gain=gain, offset=7 * gain
    ).physical[0]
    np.testing.assert_allclose(there, here, atol=0.02)


@pytest.mark.parametrize("third", [0, 1, 2])
def test_the_orientation_is_the_column_that_lost_most(third):
    look = one_defect("complex", angle=11.0, third=third)
    assert look.orientation.tolist() == [third]
    assert look.physical[0, 2] == pytest.approx(-S2 / 2, abs=0.01)
    np.testing.assert_allclose(
        look.patches[0], one_defect("complex", angle=11.0).patches[0], atol=0.05
    )


def test_a_site_beyond_the_frame_counts_as_perfect():
    lattice = honeycomb(10.0, metal=(32.0, 32.0))
    corner = nearest_site(lattice, np.array([[1.0, 1.0]]), np.array([METAL]))[0]
    frame, rest = draw(lattice, (64, 64), [(corner, -0.6)])
    physical = look_at(frame, rest, lattice, corner[None]).physical[0]
    assert np.isfinite(physical).all()
    assert np.abs(physical[2:]).max() < 0.05


def test_the_unit_of_amplitude_is_a_metal_column():
    lattice = honeycomb(10.0, angle_deg=5.0, metal=(32.0, 32.0))
    frame, _ = draw(lattice, (64, 64), [], gain=300.0, offset=50.0)
    noise = np.random.default_rng(0).normal(size=frame.shape)
    scale = descriptor_scale(frame, noise, lattice)
    assert scale.chalcogen == pytest.approx(S2, abs=0.01)
    sd_of_mean = 1 / (2 * np.sqrt(np.pi) * 0.14 * 10.0)
    np.testing.assert_allclose(scale.noise * scale.height, sd_of_mean, rtol=0.25)
    assert descriptor_scale(np.zeros((64, 64)), noise, lattice) is None


def test_a_frame_without_a_lattice_gives_raw_crops():
    look = look_at(np.zeros((50, 50)), np.ones((50, 50)), None, np.array([[20.0, 20.0]]))
    assert not look.has_lattice
    assert look.patches.shape == (1, CROP, CROP)
    assert look.orientation.tolist() == [-1]
    lattice_only = Describer(True, np.zeros(PATCH**2), np.zeros((2, PATCH**2)))
    assert np.isnan(lattice_only.describe(look)).all()
    assert Describer(False, np.zeros(CROP**2), np.ones((2, CROP**2))).describe(look).shape == (1, 2)


def test_a_vacancy_beside_a_dopant_is_part_of_it():
    lattice = honeycomb(10.0, metal=(32.0, 32.0))
    far = lattice.chalcogen + 2 * lattice.a1
    changes = [(lattice.metal, -0.6), (lattice.chalcogen, -S2 / 2), (far, -S2 / 2)]
    frame, rest = draw(lattice, (64, 64), changes)
    look = look_at(frame, rest, lattice, np.stack([point for point, _ in changes]))
    assert look.satellite.tolist() == [False, True, False]
    assert len(look.only(~look.satellite).physical) == 2


def test_a_turned_fragment_is_described_in_its_own_lattice():
    straight = honeycomb(10.0, metal=(32.0, 32.0))
    turned = honeycomb(10.0, angle_deg=13.0, metal=(32.0, 96.0))
    halves = [
        draw(lattice, (64, 128), [(lattice.metal, -0.6), (lattice.chalcogen, -S2 / 2)])
        for lattice in (straight, turned)
    ]
    left = np.zeros((64, 128), bool)
    left[:, :64] = True
    frame, rest = (np.where(left, *pair) for pair in zip(*halves, strict=True))
    points = np.stack([turned.metal, straight.metal])
    look = look_at_pieces(frame, rest, [(straight, left), (turned, ~left)], points)
    np.testing.assert_allclose(look.physical[0], look.physical[1], atol=0.03)
    assert look.orientation.tolist() == [0, 0]
    wrong = look_at(frame, rest, straight, points)
    assert np.abs(wrong.physical[0] - wrong.physical[1]).max() > 0.05


def test_no_detections_are_no_rows():
    lattice = honeycomb(10.0, metal=(32.0, 32.0))
    frame, rest = draw(lattice, (64, 64), [])
    look = look_at(frame, rest, lattice, np.empty((0, 2)), pictures=True)
    assert look.physical.shape == (0, 9)
    assert look.patches.shape == look.pictures.shape == (0, PATCH, PATCH)


def test_a_row_does_not_depend_on_how_many_rows_there_are():
    rng = np.random.default_rng(0)
    describer = Describer(True, rng.normal(size=PATCH**2), rng.normal(size=(8, PATCH**2)))
    lattice = honeycomb(10.0, metal=(32.0, 32.0))
    frame, rest = draw(lattice, (64, 64), [(lattice.metal, -0.6)])
    rest = rest + rng.normal(size=rest.shape)
    points = rng.uniform(5, 59, (40, 2))
    together = describer.describe(look_at(frame, rest, lattice, points))
    alone = [describer.describe(look_at(frame, rest, lattice, point[None]))[0] for point in points]
    np.testing.assert_array_equal(together, np.stack(alone))


NOISE = np.full(3, 0.01)
WS2 = motifs.library(motifs.WS2)


def motif(name, site=None):
    return next(m for m in WS2 if m.name == name and site in (None, m.site))


@pytest.mark.parametrize("name", ["V_S", "V_S2", "Mo_W", "Mo_W+V_S", "V_W", "W_ad"])
def test_a_motif_resembles_itself(name):
    found = matches.match(motif(name).expected_row(NOISE), NOISE, WS2)
    assert (found.name, found.holds) == (name, True)
    assert found.score > 0.95 > found.runner_up_score
    assert found.oriented == (name == "Mo_W+V_S")


def test_the_perfect_crystal_is_no_defect():
    found = matches.match(np.append(1.0, np.zeros(8)), NOISE, WS2)
    assert found.is_perfect
    assert not found.holds


def test_a_stranger_stays_unnamed():
    assert not matches.match(
        np.array([2.0, -0.5, 0.4, 0.3, 0.2, 0.5, 0.1, 0.0, 0.0]), NOISE, WS2
    ).holds


def test_folding_noise_is_expected_of_a_symmetric_motif():
    row = motif("Mo_W").expected_row(np.full(3, 0.05))
    draws = 0.05 * np.random.default_rng(1).normal(size=(4000, 13))
    draws[:, 0] -= 0.6
    np.testing.assert_allclose(row[2:5], fold(draws)[0].mean(axis=0)[1:4], atol=0.01)


def test_graphene_has_one_atom_per_column():
    assert {m.name for m in motifs.library(MATERIALS["graphene"])} == {
        "V_C",
        "Si_C",
        "Si_C+V_C",
        "C_ad",
        "hole edge",
        "perfect crystal",
    }


@settings(deadline=None, max_examples=15)
@given(kind=st.sampled_from([METAL, CHALCOGEN]), angle=st.floats(-29, 29), edge=st.floats(0, 6.28))
def test_the_edge_of_a_hole_is_recognised(kind, angle, edge):
    """The site is the first that a hole, whose rim runs in any direction here, has taken."""
    lattice = honeycomb(10.0, angle_deg=angle, metal=(32.3, 31.6))
    centre = lattice.metal if kind == METAL else lattice.chalcogen
    towards = np.array([np.sin(edge), np.cos(edge)])
    columns = [
        (p, -h) for k, h in ((METAL, 1.0), (CHALCOGEN, S2)) for p in sites(lattice, (64, 64), k)
    ]
    lost = [
        (p, h)
        for p, h in columns
        if (p - centre) @ towards > -0.9 and np.linalg.norm(p - centre) < 17
    ]
    frame, rest = draw(lattice, (64, 64), lost)
    found = matches.match(look_at(frame, rest, lattice, centre[None]).physical[0], NOISE, WS2)
    assert found.name == motifs.HOLE_EDGE
    assert found.score > 0.3


def test_the_edge_of_a_hole_takes_no_name_from_another_defect():
    edge = motif(motifs.HOLE_EDGE).expected_row(NOISE)
    assert edge[8] < -0.3
    assert matches.match(edge, NOISE, WS2).name == motifs.HOLE_EDGE
    two_columns = np.array(
        [METAL, -1.0, -S2, 0, 0, 0, 0, 0, 0]
    )  # gone, in a crystal that is whole around them
    assert (
        matches.match(two_columns, NOISE, WS2).name != motifs.HOLE_EDGE
        or not matches.match(two_columns, NOISE, WS2).holds
    )
    for other in ("V_S", "V_S2", "Mo_W", "Mo_W+V_S", "V_W", "W_ad"):
        assert matches.match(motif(other).expected_row(NOISE), NOISE, WS2).name == other


def components(rows, weights, n_rows=1000, merge=True):
    scale = np.full((3, 8), 0.01)
    scale[:, 0] = 1e-4
    means = np.stack(rows)[:, :8] / scale[0]
    mixture = Mixture(np.array(weights), means, np.ones((len(rows), 8)), "diag")
    taxonomy = Taxonomy(mixture, np.arange(len(rows)))
    rings = np.array([row[8] for row in rows])
    return naming.name_components(
        taxonomy, scale, NOISE, WS2, rings=rings, n_rows=n_rows, merge=merge
    )


def test_a_class_knows_its_match_and_the_next_best():
    _, called = components([motif("V_S").expected_row(NOISE)], [1.0])
    first, rare = called.matches[0], called.matches[called.names.index("V_W")]
    assert first.name == "V_S"
    assert first.score > 0.9 > first.runner_up_score
    assert first.runner_up not in ("V_S", "")
    assert rare is None


def test_components_of_one_motif_become_one_class_and_rare_motifs_are_added():
    row = motif("V_S").expected_row(NOISE)
    taxonomy, called = components([row, row + 0.002 * (np.arange(9) == 1)], [0.6, 0.4])
    names, oriented = called.names, called.oriented
    assert names[0] == "V_S"
    assert taxonomy.class_ids[:2].tolist() == [0, 0]
    assert {"Mo_W", "W_ad", "V_W"} < set(names[1:])
    assert dict(zip(names, oriented, strict=True))["Mo_W+V_S"]
    assert taxonomy.mixture.weights[2:].max() < 1e-2
    rare = motif("V_W").expected_row(NOISE)[None, :8] / np.array([1e-4, *[0.01] * 7])
    assert taxonomy.assign(rare)[0].tolist() == [names.index("V_W")]


def test_noise_and_small_strange_groups_become_no_class():
    noise, strange = (
        np.append(1.0, 0.003 * np.ones(8)),
        np.array([2.0, -0.5, 0.4, 0.3, 0.2, 0.5, 0.1, 0.0, 0.0]),
    )
    row = motif("V_S").expected_row(NOISE)
    taxonomy, _ = components([row, noise, strange], [0.8, 0.198, 0.002])
    assert taxonomy.class_ids[:3].tolist() == [0, -1, -1]
    taxonomy, called = components([row, noise, strange], [0.8, 0.1, 0.1])
    assert called.names[taxonomy.class_ids[2]] == "class 1"


def test_nameless_components_alike_on_different_sites_are_one_class():
    bright = [np.array([site, 3.0, *[0.0] * 7]) for site in (0.0, 1.0)]
    taxonomy, called = components([motif("V_S").expected_row(NOISE), *bright], [0.6, 0.3, 0.1])
    assert called.names[1] == "class 1"
    assert taxonomy.class_ids[:3].tolist() == [0, 1, 1]


def test_asked_for_components_stay_as_they_are():
    row = motif("V_S").expected_row(NOISE)
    taxonomy, called = components([row, row], [0.6, 0.4], merge=False)
    assert called.names == ["V_S", "V_S (1)"]
    assert taxonomy.class_ids.tolist() == [0, 1]


def test_hollow_is_a_site_of_its_own():
    assert one_defect("adatom").physical[0, 0] == HOLLOW

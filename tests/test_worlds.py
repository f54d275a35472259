"""Worlds: equal seeds give equal bits, truth tables are right in them, and each nuisance acts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.kernels.crystal.rendering import Probe
from stemkin.materials import MATERIALS
from stemkin.simulation import (
    PRESETS,
    Settings,
    draw_world,
    expected_image,
    simulate_movie,
    truth_of,
    write_simulation,
)
from stemkin.simulation.bad_frames import DOUBLED, PART_BLANK, TORN, ZOOMED
from stemkin.simulation.nuisances import Nuisances
from stemkin.simulation.scanning import scans_of, seen_at
from stemkin.simulation.worlds import cross_sections_nm2

QUIET = {
    "jitter_x_nm": 0.0, "jitter_y_nm": 0.0, "frame_flicker": 0.0, "line_flicker": 0.0, "wander_nm": 0.0, "contamination": 0.0,
    "drift_y_nm_per_frame": 0.0, "drift_x_nm_per_frame": 0.0, "shape": (96, 96), "n_frames": 6, "seed": 3,
    "dopant_fraction": 0.03, "vacancy_fraction": 0.02, "complex_fraction": 0.5,
}  # fmt: skip
"""Nothing moves and nothing flickers."""

ON_THE_IMAGE = [
    {"haze": 0.03},
    {"haze": 0.03, "haze_length_nm": 0.4},
    {"haze": 0.03, "haze_slope": 4.0},
    {"haze": 0.03, "haze_drift_y_nm_per_frame": 0.02},
    {"haze": 0.03, "haze_drift_x_nm_per_frame": 0.02},
    {"haze": 0.03, "haze_flicker": 0.3},
    {"haze": 0.03, "haze_flicker": 0.3, "haze_flicker_frames": 2.0},
    {"haze": 0.03, "haze_growth_s": 10.0},
    {"n_adsorbates": 8},
    {"n_adsorbates": 8, "adsorbate_sd_nm": 0.4},
    {"n_adsorbates": 8, "adsorbate_strength": 2.0},
    {"shear_x": 0.01},
    {"shear_y": 0.01},
    {"flyback_nm": 0.05},
    {"flyback_nm": 0.05, "flyback_px": 30.0},
    {"jitter_x_nm": 0.01},
    {"jitter_x_nm": 0.01, "jitter_slope": 1.5},
    {"hum_nm": 0.01},
    {"hum_nm": 0.01, "hum_rows": 9.0},
    {"relaxation_nm": -0.004},
    {"relaxations_nm": (0.004, 0.004, -0.008)},
    {"dopant_off_site_nm": 0.02},
    {"cross_sections_nm2": (4e-4, 1.4e-4, 5e-5, 2e-4)},
    {"lobes": ((0.2, 0.0, 0.05),)},
    {"part_blank_frames": (3,)},
    {"doubled_frames": (3,)},
    {"torn_frames": (3,)},
    {"zoomed_frames": (3,)},
]
ON_THE_COUNTS = ["row_noise", "afterglow", "excess_noise", "nonlinearity", "video_step"]


def a_movie(**nuisances):
    return simulate_movie("paper", **(QUIET | nuisances))


@pytest.mark.parametrize("world", [4, 9])
def test_a_world_has_the_same_bits_for_the_same_seeds_and_every_cut(world):
    movie, again = (
        simulate_movie(world=world, n_frames=5, shape=(80, 72), seed=1) for _ in range(2)
    )
    whole = movie.reader.read(0, 5)
    assert whole.shape == (5, 80, 72)
    assert np.array_equal(whole, again.reader.read(0, 5))
    assert np.array_equal(whole, np.concatenate([again.reader.read(i, i + 1) for i in range(5)]))
    other = simulate_movie(world=world, n_frames=5, shape=(80, 72), seed=2)
    assert movie.reader.identity != other.reader.identity


def test_worlds_differ_in_everything_that_is_drawn():
    worlds = [draw_world(seed) for seed in range(60)]
    for section in ("optics", "instrument", "nuisances", "kinetics"):
        assert len({str(getattr(world, section)) for world in worlds}) == len(worlds)
    assert {world.material.formula for world in worlds} == {"WS2", "MoS2", "WSe2", "MoSe2"}
    signs = np.sign([world.optics.relaxations_nm for world in worlds])
    assert (signs > 0).any(axis=0).all()
    assert (signs < 0).any(axis=0).all()
    # every nuisance is met in some world, but those that name single frames, and growth
    never = [
        name
        for name, quiet in vars(Nuisances()).items()
        if all(getattr(world.nuisances, name) == quiet for world in worlds)
    ]
    assert [name for name in never if not name.endswith("_frames")] == ["haze_growth_s"]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_world_is_physical_and_survives_json(seed):
    world = draw_world(seed)
    assert Settings.from_dict(world.as_dict()) == world
    movie = simulate_movie(world=seed, n_frames=1, shape=(64, 64))
    frame = movie.reader.read(0, 1)
    assert np.isfinite(frame).all()


@pytest.mark.parametrize("nuisances", ON_THE_IMAGE, ids=lambda values: "+".join(values))
def test_each_nuisance_of_the_image_does_something(nuisances):
    *fewer, _ = nuisances  # the last one is asked about, beside those that it needs
    quiet = a_movie(**{name: nuisances[name] for name in fewer})
    own = a_movie(**nuisances)
    images = [expected_image(truth_of(movie).settings, 3) for movie in (quiet, own)]
    if "part_blank_frames" in nuisances:
        images = [movie.reader.read(3, 4)[0].astype(float) for movie in (quiet, own)]
    assert abs(images[0] - images[1]).max() > 0.01 * images[0].mean()
    assert images[1].min() >= 0


@pytest.mark.parametrize("fault", ON_THE_COUNTS)
def test_each_fault_of_the_detector_does_something(fault):
    kept = {"gain": 10.0, "read_noise": 0.0, "offset": 100.0}
    strength = {"video_step": 6.0, "row_noise": 0.02}.get(fault, 0.3)
    plain, own = (
        a_movie(**kept, **wanted).reader.read(2, 3)[0].astype(float)
        for wanted in ({}, {fault: strength})
    )
    assert not np.array_equal(plain, own)
    if fault in ("row_noise", "excess_noise"):
        assert abs(own.mean() / plain.mean() - 1) < 0.02


def test_excess_noise_has_the_variance_that_it_says():
    flat = {"dopant_fraction": 0.0, "vacancy_fraction": 0.0, "cross_section_nm2": 0.0}
    flat |= {"background_fraction": 0.02, "gain": 1.0, "read_noise": 0.0, "offset": 0.0}
    flat |= {"dtype": "float32", "complex_fraction": 0.0, "shape": (256, 256)}
    own = a_movie(**flat, excess_noise=0.6).reader.read(0, 1)[0]
    # 65,536 pixels: the variance is known to 0.6 %
    assert abs(own.var() / own.mean() - 1.6) < 0.05


def test_afterglow_smears_along_the_lines_and_keeps_all_counts():
    frames = [a_movie(afterglow=share).reader.read(0, 1)[0].astype(float) for share in (0.0, 0.3)]
    rest = [frame - frame.mean() for frame in frames]
    along, down = (
        [(part[a] * part[b]).mean() / (part**2).mean() for part in rest]
        for a, b in (
            ((slice(None), slice(1, None)), (slice(None), slice(-1))),
            ((slice(1, None), slice(None)), (slice(-1), slice(None))),
        )
    )
    assert along[1] > along[0] + 0.03
    assert abs(down[1] - down[0]) < along[1] - along[0]
    assert abs(frames[1].mean() / frames[0].mean() - 1) < 0.01


@pytest.mark.parametrize(
    "bent", [{"shear_x": 0.03}, {"shear_y": -0.03}, {"flyback_nm": 0.1, "flyback_px": 20.0}]
)
def test_defects_are_seen_where_the_truth_says_however_the_scan_is_bent(bent):
    own = QUIET | bent | {"relaxation_nm": 0.0, "dopant_fraction": 0.0}
    movie, bare = (
        simulate_movie("paper", **(own | {"vacancy_fraction": share})) for share in (0.012, 0.0)
    )
    images = [expected_image(truth_of(each).settings, 0) for each in (movie, bare)]
    dark = images[1] - images[0]
    y, x = np.mgrid[:96, :96]
    seen = truth_of(movie).defects_between(0, 1).query("kind == 'V_S'")
    told = 0
    for place in seen[["y", "x"]].to_numpy():
        others = truth_of(movie).defects_between(0, 1)[["y", "x"]].to_numpy()
        apart = np.sort(np.hypot(*(others - place).T))
        if apart[1] < 14 or place.min() < 8 or place.max() > 87:
            continue
        near = dark * (np.hypot(y - place[0], x - place[1]) < 6)
        centre = np.array([(near * y).sum(), (near * x).sum()]) / near.sum()
        assert np.hypot(*(centre - place)) < 0.25
        told += 1
    assert told


def test_an_off_site_dopant_is_where_the_truth_says_and_its_vacancy_at_its_site():
    off_px = 0.02 / 0.03
    on, off = (truth_of(a_movie(dopant_off_site_nm=nm)) for nm in (0.0, 0.02))
    for truth in (on, off):
        assert len(truth.defects)
    same = ["frame", "particle"]
    both = on.defects.merge(off.defects, on=same, suffixes=("", "_off"))
    away = np.hypot(both["y_off"] - both["y"], both["x_off"] - both["x"])
    is_dopant = both["kind"].str.startswith("Mo_W")
    assert is_dopant.any()
    assert np.allclose(away, np.where(is_dopant, off_px, 0.0))
    partners = on.partners_between(0, 6).merge(off.partners_between(0, 6), on=same)
    assert len(partners)
    assert np.allclose(partners[["y_x", "x_x"]], partners[["y_y", "x_y"]])


def test_lobes_to_one_side_move_where_an_atom_is_seen():
    upright = Probe(2.0, lobes=((0.1, 1.0, 0.0), (0.1, -1.0, 0.0)))
    assert upright.offset == pytest.approx([0, 0], abs=1e-12)
    assert Probe(2.0).offset.tolist() == [0.0, 0.0]
    coma = Probe(2.0, lobes=((0.1, 0.0, 2.5),))
    y, x = np.mgrid[-15:16:0.1, -15:16:0.1]
    # seen through a filter as wide as itself, the core is wider by sqrt(2)
    seen = Probe(2.0 * np.sqrt(2), lobes=coma.lobes).profile(y, x)
    best = np.unravel_index(seen.argmax(), seen.shape)
    assert coma.offset == pytest.approx([y[best], x[best]], abs=0.06)


@pytest.mark.parametrize("fault", [{"afterglow": 0.1}, {"lobes": ((0.08, 0.02, -0.05),)}])
def test_all_atoms_are_true_where_aberrations_and_afterglow_show_them(fault):
    """The frames of two movies that differ in nothing else lie apart as their truths do."""
    own, other = a_movie(), a_movie(**fault)
    tables = [truth_of(movie).defects[["y", "x"]].to_numpy() for movie in (own, other)]
    told = np.median(tables[1] - tables[0], axis=0)
    assert np.hypot(*told) > 0.05
    first, then = (movie.reader.read(0, 6).astype(float) for movie in (own, other))
    slopes = np.stack([part.ravel() for part in np.gradient(first, axis=(1, 2))])
    # what is moved by u loses u . grad; a blurred image also loses some of its height
    bases = np.concatenate([slopes, [(first - first.mean()).ravel()]])
    lost = np.linalg.lstsq(bases.T, (first - then).ravel(), rcond=None)[0][:2]
    assert lost == pytest.approx(told, abs=0.03)


def test_seen_at_undoes_the_scan():
    movie = a_movie(shear_x=0.02, shear_y=-0.01, flyback_nm=0.08, flyback_px=15.0)
    own = truth_of(movie).settings
    (scan,) = scans_of(own, 0)
    points = np.array([[10.0, 3.0], [50.0, 60.0], [90.0, 20.0]])
    y, x = seen_at(own, points).T
    row, column = np.arange(96), np.arange(96)
    back_y = np.interp(y, row, scan.row_y) + np.interp(x, column, scan.moved[:, 0])
    back_x = np.interp(y, row, scan.row_x0) + x + np.interp(x, column, scan.moved[:, 1])
    assert np.allclose(np.stack([back_y, back_x], axis=1), points, atol=1e-6)


def test_bad_frames_have_a_status_and_are_bad_in_their_own_way():
    bad = {"part_blank_frames": (1,), "doubled_frames": (2,), "torn_frames": (3,)}
    movie = a_movie(**bad, zoomed_frames=(-2,))
    status = truth_of(movie).frames["status"].tolist()
    assert status == ["ok", "truncated", "corrupt", "corrupt", "corrupt", "ok"]
    frames = movie.reader.read(0, 6).astype(float)
    contrast = frames.std(axis=2).min(axis=1)
    assert contrast[1] < 0.3 * contrast[0]
    assert frames[2].std() < 0.95 * frames[0].std()
    assert len(scans_of(truth_of(movie).settings, 2)) == 2


def test_any_of_the_ways_to_be_bad_is_met_by_chance():
    from stemkin.simulation.bad_frames import ways_of

    own = truth_of(a_movie(bad_frame_probability=0.5, mixed_bad_frames=True)).settings
    ways = set(ways_of(own, 0, 300))
    assert {PART_BLANK, DOUBLED, TORN, ZOOMED, "blank", "ok"} <= ways


def test_coloured_jitter_keeps_its_variance_and_is_slow():
    own = [
        truth_of(a_movie(jitter_x_nm=0.03, jitter_slope=slope, shape=(1024, 64))).settings
        for slope in (0.0, 2.0)
    ]
    white, slow = (scans_of(each, 0)[0].row_x0 for each in own)
    assert abs(white.std() - 1) < 0.1
    assert 0.1 < slow.std() < 3  # a few waves carry nearly all of it
    assert np.diff(slow).std() < 0.3 * slow.std()


def test_multislice_columns_scatter_as_heavy_atoms_do():
    for name, material in MATERIALS.items():
        metal, whole, lacking, dopant = cross_sections_nm2(material, 100.0, 60.0)
        assert 0 <= lacking < whole, name
        assert min(metal, dopant) > 0
    metal, whole, lacking, _ = cross_sections_nm2(MATERIALS["WS2"], 80.0, 55.0)
    exponent = np.log(metal / lacking) / np.log(74 / 16)
    assert 1.2 < exponent < 2.0
    assert whole > 1.2 * lacking


def test_presets_have_no_nuisance_of_worlds():
    for preset in PRESETS.values():
        assert preset.nuisances == Nuisances()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"preset": "low-dose", "world": 3}, "of a preset or of a world"),
        ({"world": -1}, "whole number from 0 on"),
        ({"world": 1, "afterglow": 1.5}, "a fraction lies between 0 and 1"),
        ({"world": 1, "relaxations_nm": (0.1,)}, "give 3 numbers"),
        ({"world": 1, "material": "MoS2:Fe"}, "no multislice table of 'Fe'"),
    ],
)
def test_worlds_that_cannot_be_are_refused_in_one_sentence(asked, said):
    with pytest.raises(ValueError, match=said):
        simulate_movie(**asked)


def test_the_ideal_observer_needs_more_electrons_where_noise_is_in_excess():
    limits = [truth_of(a_movie(excess_noise=e, read_noise=0.0)).limits for e in (0.0, 1.0)]
    ratio = limits[1]["d_prime"] / limits[0]["d_prime"]
    assert np.allclose(ratio, np.sqrt(0.5))


def test_a_world_is_written_from_the_command_line(tmp_path):
    from typer.testing import CliRunner

    from stemkin.cli.commands import app

    asked = ["simulate", "--world", "5", "-o", str(tmp_path), "--frames", "2", "--size", "64"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert (tmp_path / "world-5-0.zarr").exists()
    with pytest.raises(ValueError, match="a world is one movie, not 3"):
        write_simulation("paper", tmp_path, world=5, n_movies=3)

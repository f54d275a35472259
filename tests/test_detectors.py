"""Detectors: what the Fourier detector finds, on which array library, and what it does with poor
input."""

import pickle

import numpy as np
import pytest

from stemkin import tables
from stemkin.detection.detectors import Detector, FourierDetector
from stemkin.detection.survey import Survey
from stemkin.devices import to_host
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.crystal import residual
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, nearest_site, sites
from stemkin.kernels.detection import defects
from stemkin.simulation import simulate_movie, truth_of


def found_of(records, frame):
    mine = records[records["frame"] == frame]
    return np.stack([mine["y"], mine["x"]], axis=1).astype(float)


def recall(movie, records, kind, *, tolerance_px=3.5, border_px=6):
    defects = truth_of(movie).defects
    high = np.array(movie.shape[1:]) - border_px
    hits = total = 0
    for frame in range(movie.n_frames):
        rows = defects[(defects["frame"] == frame) & (defects["kind"] == kind)]
        true = rows[["y", "x"]].to_numpy()
        true = true[((true > border_px) & (true < high)).all(axis=1)]
        hits += len(match_points(true, found_of(records, frame), max_distance=tolerance_px)[0])
        total += len(true)
    return hits / total


def test_a_function_is_a_detector_and_so_is_the_fourier_detector():
    assert isinstance(FourierDetector(), Detector)
    assert isinstance(lambda frames, *, first_frame=0: np.empty(0, tables.DETECTION), Detector)


def test_a_missing_atom_is_found_where_it_was_taken_out():
    """By hand: one metal column of a perfect, noisy crystal is removed."""
    movie = simulate_movie(
        "null", n_frames=1, shape=(128, 128), seed=2, rotation_deg=12.0, dtype="float32"
    )
    frame = movie.reader.read(0, 1)[0]
    lattice = FourierDetector().survey(frame[None]).lattices[0]
    gone = nearest_site(lattice, np.array([[60.0, 70.0]]), np.array([METAL]))[0]
    y, x = np.mgrid[:128, :128]
    weight = np.exp(-((y - gone[0]) ** 2 + (x - gone[1]) ** 2) / (2 * 2.5**2))
    broken = frame * (1 - weight) + weight * np.percentile(frame, 10)
    records = FourierDetector(snr=8.0)(broken[None], first_frame=5)
    assert records["frame"].tolist() == [5]
    assert (records["y"][0], records["x"][0]) == pytest.approx(tuple(gone), abs=0.3)


def test_dopants_are_all_found_and_vacancies_nearly_all():
    movie = simulate_movie("paper", n_frames=3, shape=(256, 256), seed=11, rotation_deg=8.0)
    records = FourierDetector()(movie.reader.read(0, 3))
    assert recall(movie, records, "Mo_W") == 1
    assert recall(movie, records, "V_S") > 0.9


def test_positions_are_as_good_as_shot_noise_allows():
    movie = simulate_movie(
        "frozen", n_frames=3, shape=(256, 256), seed=4, rotation_deg=8.0, complex_fraction=0.0
    )
    records = FourierDetector()(movie.reader.read(0, 3))
    defects = truth_of(movie).defects
    misses = []
    for frame in range(3):
        true = defects[(defects["frame"] == frame) & (defects["kind"] == "Mo_W")][
            ["y", "x"]
        ].to_numpy()
        found = found_of(records, frame)
        i, j = match_points(true, found, max_distance=2.0)
        misses.append(found[j] - true[i])
    rmse_pm = np.sqrt((np.concatenate(misses) ** 2).mean()) * 30
    assert rmse_pm < 1.3 * 2.32, "2.32 pm is the Cramer-Rao bound at this dose"


def test_a_perfect_movie_gives_as_many_false_positives_as_asked_for():
    movie = simulate_movie("null", n_frames=12, shape=(256, 256), seed=3, rotation_deg=17.0)
    frames = movie.reader.read(0, 12)
    few = FourierDetector(false_positives_per_frame=1.0)(frames[:6])
    many = FourierDetector(false_positives_per_frame=8.0)(frames)
    assert 0.2 < len(few) / 6 < 2.2
    # of 96 chance makes 96 +- 10
    assert 5.5 < len(many) / 12 < 10.5


def test_a_longer_list_contains_the_shorter_one():
    frames = simulate_movie("paper", n_frames=1, shape=(160, 160), seed=6).reader.read(0, 1)
    strict, loose = (FourierDetector(false_positives_per_frame=n)(frames) for n in (0.1, 10.0))
    assert len(loose) > len(strict) > 0
    assert len(match_points(found_of(strict, 0), found_of(loose, 0), max_distance=0.5)[0]) == len(
        strict
    )


def test_the_by_products_belong_to_the_frames():
    frames = simulate_movie("paper", n_frames=2, shape=(128, 128), seed=6).reader.read(0, 2)
    survey = FourierDetector().survey(frames, first_frame=40)
    assert isinstance(survey, Survey)
    assert survey.residuals.shape == frames.shape
    assert survey.residuals.dtype == np.float32
    assert [lattice.is_honeycomb for lattice in survey.lattices] == [True, True]
    assert set(survey.records["frame"]) <= {40, 41}
    order = np.lexsort((survey.records["x"], survey.records["y"], survey.records["frame"]))
    assert (order == np.arange(len(order))).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_any_pixel_type_gives_the_same_defects(dtype):
    frames = simulate_movie(
        "paper", n_frames=1, shape=(128, 128), seed=6, gain=1.0, offset=0.0
    ).reader.read(0, 1)
    wanted = FourierDetector()(frames)
    found = FourierDetector()(np.minimum(frames, 255).astype(dtype))
    assert len(wanted) > 0
    assert (np.abs(found["y"] - wanted["y"]) < 0.05).all()


def test_brightness_and_contrast_do_not_matter():
    frames = simulate_movie(
        "paper", n_frames=1, shape=(128, 128), seed=6, dtype="float32"
    ).reader.read(0, 1)
    first, second = FourierDetector()(frames), FourierDetector()(1e-3 * frames - 7)
    assert len(first) == len(second)
    assert np.allclose(first["score"], second["score"], rtol=2e-2)


@pytest.mark.parametrize("unit", [1e-12, 1e7])
def test_currents_in_ampere_and_counts_in_millions_give_the_same_defects(unit):
    """The squares of their variances are beyond what float32 holds."""
    frames = simulate_movie(
        "paper", n_frames=1, shape=(128, 128), seed=6, dtype="float32"
    ).reader.read(0, 1)
    first, second = (
        FourierDetector().survey(frames),
        FourierDetector().survey(frames * np.float32(unit)),
    )
    assert len(first.records) > 0
    for name in ("y", "x", "score"):
        assert np.allclose(first.records[name], second.records[name], rtol=1e-2)
    assert np.allclose(
        second.extra["rest"],
        unit * first.extra["rest"],
        atol=1e-3 * unit * first.extra["rest"].std(),
    )


def test_a_cosmic_ray_does_not_outshine_the_lattice():
    frames = (
        simulate_movie("paper", n_frames=1, shape=(160, 160), seed=6)
        .reader.read(0, 1)
        .astype(np.float32)
    )
    wanted = FourierDetector()(frames)
    frames[0, 80, 77] = 1e8
    survey = FourierDetector().survey(frames)
    assert survey.lattices[0] is not None
    far = np.hypot(survey.records["y"] - 80, survey.records["x"] - 77) > 12
    there = np.hypot(wanted["y"] - 80, wanted["x"] - 77) > 12
    found = survey.records[far]
    assert (
        len(match_points(found_of(wanted[there], 0), found_of(found, 0), max_distance=1.0)[0])
        >= there.sum() - 1
    )


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
@pytest.mark.parametrize("relaxation", [0.0, None])
def test_other_array_libraries_list_the_same_defects(library, relaxation):
    xp = pytest.importorskip(library)
    frame = (
        simulate_movie("paper", n_frames=1, shape=(160, 176), seed=6)
        .reader.read(0, 1)[0]
        .astype(np.float32)
    )
    listed = []
    for image in (frame, xp.asarray(frame)):
        rest = residual.remove_crystal(image)
        listed.append(
            defects.on_lattices(
                rest.snr, [(rest.lattice, None)], false_positives=3.0, relaxation=relaxation,
                skew=rest.skew, filter_sd_px=rest.filter_sd_px,
            )
        )  # fmt: skip
    wanted, found = listed
    assert len(wanted.y) == len(found.y) > 3
    for name in ("y", "x", "score", "alone", "lean"):
        assert np.allclose(getattr(found, name), getattr(wanted, name), atol=0.02), name


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries_divide_a_broken_frame_alike(library):
    xp = pytest.importorskip(library)
    movie = simulate_movie("late-stage", shape=(256, 256), seed=6, n_frames=95)
    frame = movie.reader.read(94, 95)[0].astype(np.float32)
    wanted, found = residual.remove_crystal(frame), residual.remove_crystal(xp.asarray(frame))
    assert len(wanted.grains) == len(found.grains)
    assert found.areas == pytest.approx(wanted.areas, abs=0.01)
    assert np.mean(np.abs(to_host(found.snr) - wanted.snr) > 0.05) < 0.01


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries_give_the_same_values(library):
    xp = pytest.importorskip(library)
    frame = (
        simulate_movie("paper", n_frames=1, shape=(144, 160), seed=6)
        .reader.read(0, 1)[0]
        .astype(np.float32)
    )
    wanted = residual.remove_crystal(frame)
    found = residual.remove_crystal(xp.asarray(frame))
    assert np.allclose(found.lattice.a1, wanted.lattice.a1, atol=1e-4)
    assert np.allclose(found.lattice.metal, wanted.lattice.metal, atol=1e-3)
    for name in ("noise_units", "snr"):
        assert np.abs(to_host(getattr(found, name)) - getattr(wanted, name)).max() < 0.01, name
    blobs = residual.remove_background(xp.asarray(frame), filter_sd_px=2.0)
    assert (
        np.abs(to_host(blobs.snr) - residual.remove_background(frame, filter_sd_px=2.0).snr).max()
        < 1e-3
    )


def test_torch_finds_the_same_defects_as_numpy():
    pytest.importorskip("torch")
    frames = simulate_movie("paper", n_frames=1, shape=(144, 160), seed=6).reader.read(0, 1)
    wanted, found = FourierDetector(device="cpu")(frames), FourierDetector(device="torch")(frames)
    assert len(wanted) == len(found) > 0
    for name in ("y", "x", "score"):
        assert np.allclose(found[name], wanted[name], atol=0.01)


def test_a_blob_without_a_lattice_is_found():
    rng = np.random.default_rng(0)
    frames = rng.poisson(20, (2, 96, 96)).astype(np.uint16)
    y, x = np.mgrid[:96, :96]
    frames[1] += (60 * np.exp(-((y - 40.4) ** 2 + (x - 61.7) ** 2) / 8)).astype(np.uint16)
    survey = FourierDetector(snr=6.0).survey(frames)
    assert survey.lattices == [None, None]
    assert survey.records["frame"].tolist() == [1]
    assert (survey.records["y"][0], survey.records["x"][0]) == pytest.approx((40.4, 61.7), abs=0.4)


def test_no_lattice_is_said_once_for_a_block(caplog):
    frames = np.random.default_rng(0).poisson(20, (3, 64, 64)).astype(np.uint16)
    with caplog.at_level("INFO", logger="stemkin"):
        FourierDetector()(frames, first_frame=7)
    assert [r.getMessage() for r in caplog.records] == [
        "no lattice in 3 of 3 frames from frame 7 on: blobs above the local background are sought "
        "there instead"
    ]


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 1, 1), (1, 3, 200), (0, 64, 64), (2, 8, 8)])
def test_frames_smaller_than_a_cell_give_no_records_and_no_error(shape):
    frames = np.random.default_rng(0).poisson(9, shape).astype(np.float32)
    assert len(FourierDetector(snr=8.0)(frames)) == 0


def test_a_detector_survives_pickling():
    detector = FourierDetector(snr=4.0)
    assert pickle.loads(pickle.dumps(detector)) == detector


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"false_positives_per_frame": 0},
            "false_positives_per_frame must be positive, not 0; 1 is a usual choice",
        ),
        ({"snr": -2}, "snr must be positive, not -2"),
        ({"feature_px": 0}, "feature_px must be positive, not 0"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        FourierDetector(**settings)


def test_sites_of_the_found_lattice_lie_on_the_atoms():
    movie = simulate_movie("null", n_frames=1, shape=(192, 192), seed=8, rotation_deg=23.0)
    frame = movie.reader.read(0, 1)[0].astype(float)
    lattice = FourierDetector().survey(frame[None]).lattices[0]
    means = {}
    for sublattice in (METAL, CHALCOGEN):
        at = np.rint(sites(lattice, frame.shape, sublattice)).astype(int)
        means[sublattice] = frame[at[:, 0], at[:, 1]].mean()
    assert means[METAL] > 1.8 * frame.mean() > means[CHALCOGEN] > 0.5 * frame.mean()

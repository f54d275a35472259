"""The network: what it learns from, how it learns, and that what it says depends on nothing but the
frame."""

import json
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from stemkin import network, tables
from stemkin.detection import detect
from stemkin.detection.detectors import Detector
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.crystal.peaks import threshold_for
from stemkin.kernels.crystal.residual import remove_crystal
from stemkin.learning import Model, learn
from stemkin.movie import Movie
from stemkin.network import NetworkDetector, Weights, labels, load_network, scenes
from stemkin.network.calibration import calibrate, logit_of, snr_of, summits
from stemkin.network.decoding import components, places
from stemkin.network.specimen import Specimen, measure, typical
from stemkin.network.targets import target_of
from stemkin.simulation import simulate_movie, truth_of
from tests.strategies import assert_same_rows


def tiny_recipe():
    """Hardly any learning. Training imports torch, which takes seconds: when a test runs, not when
    tests are looked for."""
    return network.TrainingRecipe(
        steps=6, batch=2, size=64, width=8, dilations=(1, 2), check=3, n_validation=1, n_perfect=12
    )


@pytest.fixture(scope="module")
def movie():
    return simulate_movie(
        "paper", n_frames=6, shape=(144, 160), seed=7, name="paper", dopant_fraction=0.03
    )


@pytest.fixture(scope="module")
def frames(movie):
    return movie.reader.read(0, movie.n_frames)


@pytest.fixture(scope="module")
def specimen(frames):
    return typical([measure(f, remove_crystal(f)) for f in frames[:3].astype(np.float32)])


@pytest.fixture(scope="module")
def tiny(frames):
    """A net that has hardly learned anything: it finds something, which is enough to ask what that
    depends on."""
    return replace(network.learn_network(list(frames[:5]), recipe=tiny_recipe(), seed=3), snr=2.5)


@pytest.fixture(scope="module")
def able(frames):
    """A net that has learned for some seconds."""
    recipe = network.TrainingRecipe(
        steps=80, batch=6, size=96, width=16, rate=5e-3, check=40, n_validation=2, n_perfect=20
    )
    return network.learn_network(list(frames[:5]), recipe=recipe, seed=0)


def random_net(**settings):
    import torch

    from stemkin.network.nets import LocalNet

    torch.manual_seed(0)
    net = LocalNet(1, 8, (1, 2))
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    return Weights("local", arrays, 10.5, width=8, dilations=(1, 2), **settings)


# what it learns from


def test_the_papers_labels_are_the_darkest_and_brightest_quarters_of_the_difference():
    """By hand: a perfect wave above the disk is kept whole, so only the spot differs."""
    y, x = np.mgrid[:40, :40]
    frame = np.cos(2 * np.pi * (x + y) / 4)
    mask = labels.paper(frame + 100.0)
    assert mask.all(), "nothing differs but the mean, which is gone everywhere"
    frame[20, 20] += 9.0
    difference = np.abs(frame - np.fft.ifft2(np.fft.fft2(frame) * _outside_disk(40, 4)).real)
    scaled = (difference - difference.min()) / np.ptp(difference)
    assert (labels.paper(frame) == ((scaled < 0.25) | (scaled > 0.75))).all()
    assert labels.paper(frame)[20, 20]


def _outside_disk(n, radius):
    f = np.fft.fftfreq(n) * n
    return np.hypot(f[:, None], f) > radius


def test_labels_of_the_residual_are_the_true_defects(movie, frames):
    rest = remove_crystal(frames[2].astype(np.float32))
    found = labels.of_remainder(rest)
    truth = truth_of(movie).defects
    true = truth[truth["frame"] == 2]
    sure = true[true["kind"].str.startswith("Mo_W")][["y", "x"]].to_numpy()
    inner = ((sure > 8) & (sure < np.array([144, 160]) - 8)).all(axis=1)
    i, j = match_points(sure[inner], found.points, max_distance=2.0)
    assert len(i) == inner.sum() > 3
    assert (found.channel[j] == scenes.DARK).all()
    assert len(found.doubtful) > 0


def test_a_frame_without_a_lattice_has_no_labels_and_no_network():
    noise = np.random.default_rng(0).poisson(20, (2, 64, 64)).astype(np.float32)
    with pytest.raises(
        ValueError, match=r'no lattice was found in 2 frames, .* use detector="fourier"'
    ):
        network.learn_network(list(noise), recipe=tiny_recipe())


def test_a_specimen_is_what_was_simulated(specimen, movie):
    settings = movie.reader.settings
    from stemkin.simulation.columns import column_weights, probe_of

    core = 1 - probe_of(settings).tail_fraction
    assert specimen.spacing_px == pytest.approx(settings.material.a_nm / 0.03, rel=2e-3)
    assert specimen.probe_px == pytest.approx(probe_of(settings).sd_px, rel=0.05)
    assert specimen.weights[1] / specimen.weights[0] == pytest.approx(0.148, abs=0.02)
    assert specimen.weights[0] == pytest.approx(core * column_weights(settings)[0], rel=0.15)
    assert specimen.jitter_px[1] == pytest.approx(0.1, rel=0.3)
    assert Specimen.from_dict(json.loads(json.dumps(specimen.as_dict()))) == specimen


def test_a_scene_follows_from_its_seed_and_shows_its_defects(specimen):
    shape, variety = (
        (96, 96),
        replace(scenes.Variety(), broken=0.0, dirty=0.0, gone=0.05, vacancies=0.0, dopants=0.0),
    )
    one, again, perfect = (
        scenes.draw_scene(specimen, shape, v, np.random.default_rng(5))
        for v in (variety, variety, variety.perfect)
    )
    np.testing.assert_array_equal(one.means, again.means)
    np.testing.assert_array_equal(one.points, again.points)
    assert len(perfect.points) == 0
    dark = one.points[one.channel == scenes.DARK]
    inner = dark[((dark > 4) & (dark < 91)).all(axis=1)]
    assert len(inner) > 1
    at = np.rint(inner).astype(int)
    assert (one.means[at[:, 0], at[:, 1]] < 0.6 * perfect.means.mean()).all(), (
        "no column stands where one is missing"
    )


def test_a_hole_holds_no_defect(specimen):
    variety = replace(scenes.Variety(), broken=1.0, dirty=0.0, dose=0.0, contrast=0.0)
    scene = scenes.draw_scene(specimen, (128, 128), variety, np.random.default_rng(2))
    whole = scenes.draw_scene(
        specimen, (128, 128), replace(variety, broken=0.0), np.random.default_rng(2)
    )
    assert scene.means.mean() < 0.99 * whole.means.mean()


def test_targets_mark_the_cell_of_a_defect_and_point_to_it():
    """By hand: a defect at (4.5, 6.0) lies in the middle of cell row 2 and 0.5 px left of the
    middle of column 3."""
    target = target_of(
        np.array([[4.5, 6.0]]), np.array([1]), np.array([[14.0, 14.0]]), (20, 20), 10.0
    )
    assert np.unravel_index(target.marks[1].argmax(), (10, 10)) == (2, 3)
    assert target.marks[0].max() == 0
    assert target.offsets[:, 2, 3].tolist() == pytest.approx([0.0, -0.5])
    assert target.marks[1, 2, 3] == pytest.approx(np.exp(-(0.5**2) / (2 * 1.4**2)))
    assert target.near[2, 3] == 1 == target.judged[2, 3]
    assert target.judged[7, 7] == 0


# how it learns


def test_equal_seeds_give_equal_weights(frames, tiny):
    again = network.learn_network(list(frames[:5]), recipe=tiny_recipe(), seed=3)
    assert again.weights == tiny.weights
    other = network.learn_network(list(frames[:5]), recipe=tiny_recipe(), seed=4)
    assert other.weights != tiny.weights


def test_the_record_says_how_it_was_learned(tiny):
    record = tiny.weights.record
    assert record["curve"]["step"] == [3.0, 6.0] or record["curve"]["step"] == [3, 6]
    assert all(np.isfinite(record["curve"][name]).all() for name in ("training", "validation"))
    assert (record["n_own_frames"], record["n_held_out_frames"], record["seed"]) == (4, 1, 3)
    json.dumps(record)


def test_training_stops_when_it_gets_no_better(frames):
    recipe = replace(tiny_recipe(), steps=40, rate=1e-12, check=2, patience=2)
    curve = network.learn_network(list(frames[:2]), recipe=recipe).weights.record["curve"]
    assert len(curve["step"]) < 20


def test_some_seconds_of_learning_find_the_dopants(able, movie, frames):
    """Trained on frames 0 to 4, asked on frame 5."""
    records = able(frames[5:])
    truth = truth_of(movie).defects
    true = truth[(truth["frame"] == 5) & truth["kind"].str.startswith("Mo_W")][
        ["y", "x"]
    ].to_numpy()
    inner = true[((true > 8) & (true < np.array([144, 160]) - 8)).all(axis=1)]
    found = np.stack([records["y"], records["x"]], axis=1).astype(float)
    i, j = match_points(inner, found, max_distance=2.0)
    assert len(i) == len(inner) > 3
    assert np.sqrt(((found[j] - inner[i]) ** 2).mean()) < 0.3
    assert isinstance(able, Detector)


def test_another_sampling_finds_the_same_dopants(able, movie):
    """The same sample at 0.024 instead of 0.03 nm per pixel: the frame is brought to the net's
    scale and back."""
    fine = simulate_movie(
        "paper", n_frames=1, shape=(180, 180), seed=9, dopant_fraction=0.03, pixel_size_nm=0.024
    )
    records = able(fine.reader.read(0, 1))
    true = truth_of(fine).defects
    true = true[true["kind"].str.startswith("Mo_W")][["y", "x"]].to_numpy()
    inner = true[((true > 10) & (true < 170)).all(axis=1)]
    found = np.stack([records["y"], records["x"]], axis=1).astype(float)
    assert len(match_points(inner, found, max_distance=1.5)[0]) == len(inner) > 3


def test_a_scale_too_far_away_is_refused(tiny, frames):
    far = replace(tiny, weights=replace(tiny.weights, spacing_px=40.0))
    with pytest.raises(
        ValueError, match=r"learned where the lattice constant is 40\.0 px, and here it is 10\.5 px"
    ):
        far(frames[:1])


# calibration


def test_of_equal_neighbours_the_first_is_the_summit():
    values = np.array([[0, 0, 0, 0, 0], [0, 3, 3, 1, 0], [0, 1, 0, 2, 0], [0, 0, 0, 0, 0]], float)
    assert [a.tolist() for a in summits(values, 1.5)] == [[1], [1]]


def test_a_threshold_means_a_rate_of_false_positives():
    """Smooth noise stands for a net's maps of frames without defects: half of them calibrate, half
    are counted."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    maps = ndimage.gaussian_filter(
        rng.standard_normal((240, 4, 128, 128), np.float32), (0, 0, 1, 1)
    )
    maps[:, :2] = 40 * maps[:, :2] - 5
    maps[:, 2:] = 0
    knots = calibrate(list(maps[:120]), area_px=120 * 256**2, spacing_px=10.0)
    for asked in (0.5, 2.0, 8.0):
        least = threshold_for(asked, (256, 256), 1.5)
        counts = [len(places(one, knots, least=least, spacing_px=10.0)[0]) for one in maps[120:]]
        assert asked / 1.5 < np.mean(counts) < asked * 1.5


def test_signal_to_noise_and_logit_undo_each_other():
    knots = {"logit": [-3.0, 0.0, 2.0], "snr": [1.0, 3.0, 5.0]}
    assert snr_of(np.array([-1.5, 1.0, 4.0]), knots).tolist() == [2.0, 4.0, 7.0]
    assert [logit_of(z, knots) for z in (2.0, 4.0, 7.0)] == [-1.5, 1.0, 4.0]


# what an answer depends on


@pytest.mark.parametrize("bf16", [False, True])
def test_tiles_give_what_the_whole_frame_gives(bf16):
    from stemkin.network.inference import maps_of
    from stemkin.network.nets import LocalNet

    frame = np.random.default_rng(1).standard_normal((150, 171)).astype(np.float32)
    weights = random_net(bf16=bf16)
    (whole,) = maps_of(weights, [frame], device="cpu")
    (tiled,) = maps_of(weights, [frame], device="cpu", tile_px=64)
    assert whole.shape == tiled.shape == (4, 75, 86)
    np.testing.assert_allclose(tiled, whole, atol=1e-4 if not bf16 else 0.05)
    changed = frame.copy()
    changed[:, 100:] += 1.0
    (other,) = maps_of(weights, [changed], device="cpu")
    assert np.abs(other - whole).max() > 0.1
    far = (100 - LocalNet(1, 8, (1, 2)).reach_px) // 2 - 1
    np.testing.assert_allclose(
        other[:, :, :far], whole[:, :, :far], atol=1e-5 if not bf16 else 0.05
    )


@pytest.mark.parametrize("chunks", [(1,) * 6, (2, 4), (5, 1)])
def test_the_company_of_a_frame_does_not_matter(tiny, frames, chunks):
    whole = tiny(frames)
    assert len(whole) > 10
    parts = [tiny(frames[a:b], first_frame=a) for a, b in pairwise(np.cumsum([0, *chunks]))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_detections_do_not_depend_on_blocks_or_threads(tiny, movie):
    wanted = detect(movie, tiny, frames_per_block=6)
    assert_same_rows(
        detect(movie, tiny, frames_per_block=2).compute(scheduler="threads"), wanted.compute()
    )


def test_frames_without_a_lattice_are_searched_as_they_are(tiny):
    noise = np.random.default_rng(0).poisson(20, (1, 64, 65)).astype(np.uint16)
    survey = tiny.survey(noise)
    assert survey.lattices == [None]
    assert survey.records.dtype == tables.LOCATED


@pytest.mark.parametrize("shape", [(0, 64, 64), (1, 1, 1), (1, 3, 50), (2, 8, 8)])
def test_tiny_and_no_frames_give_no_error(tiny, shape):
    frames = np.random.default_rng(0).poisson(9, shape).astype(np.float32)
    assert tiny(frames).dtype == tables.LOCATED


# on disk and on its way to a worker


def _of_another_width(folder):
    about = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps({**about, "width": 10**9}))


def test_a_network_survives_the_disk_and_travels_by_its_path(tiny, tmp_path, frames):
    saved = tiny.save(tmp_path / "net")
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == [
        "network.json",
        "network.safetensors",
    ]
    again = load_network(tmp_path / "net", snr=2.5)
    assert again == tiny
    assert again.weights.record["curve"] == tiny.weights.record["curve"]
    np.testing.assert_array_equal(again(frames[:1]), tiny(frames[:1]))
    by_path, by_value = pickle.dumps(saved), pickle.dumps(tiny)
    assert len(by_path) < 1000 < len(by_value)
    assert pickle.loads(by_path) == pickle.loads(by_value) == tiny


def test_a_network_that_was_replaced_is_refused_on_the_worker(tiny, tmp_path):
    on_its_way = pickle.dumps(tiny.save(tmp_path))
    replace(tiny, weights=replace(tiny.weights, spacing_px=9.0)).save(tmp_path)
    with pytest.raises(ValueError, match="is not the one that this task was made with"):
        pickle.loads(on_its_way)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: (p / "network.json").unlink(), "there is no network in .*; learn it again"),
        (lambda p: (p / "network.json").write_text("{"), "network.json is damaged"),
        (
            lambda p: (p / "network.json").write_text('{"format": 99}'),
            "has format 99, and this version of stemkin reads 1",
        ),
        (
            lambda p: (p / "network.json").write_text('{"format": 1, "kind": "resnet"}'),
            "the kind 'resnet' is none of",
        ),
        (_of_another_width, "of shape .* does not belong to the net that network.json describes"),
        (lambda p: (p / "network.safetensors").unlink(), "is missing or damaged"),
        (
            lambda p: (p / "network.safetensors").write_bytes(b"\x00" * 50),
            "its content is not what network.json says",
        ),
    ],
)
def test_a_damaged_network_is_refused_in_one_sentence(tiny, tmp_path, damage, said):
    tiny.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=said) as error:
        load_network(tmp_path)
    assert "\n" not in str(error.value)


def test_a_model_keeps_its_network(tiny, movie, tmp_path):
    model = learn(movie, n_frames=3, detector=replace(tiny, false_positives_per_frame=0.5), seed=1)
    model.save(tmp_path / "model")
    again = Model.load(tmp_path / "model")
    assert again.detector == model.detector
    assert again.report["training"]["curve"] == tiny.weights.record["curve"], "the report draws it"
    assert again.detector.false_positives_per_frame == 0.5
    assert again.detector.weights.folder == str((tmp_path / "model").resolve())
    assert_same_rows(detect(movie, again).compute(), detect(movie, model).compute())


def test_learn_knows_detectors_by_name(movie, monkeypatch):
    from stemkin.network import learning

    monkeypatch.setattr(learning, "TrainingRecipe", tiny_recipe)
    model = learn(movie, n_frames=2, detector="network", seed=2)
    assert isinstance(model.detector, NetworkDetector)
    assert model.detector.weights.record["seed"] == 2
    with pytest.raises(
        ValueError,
        match=r"no detector is called 'unet'; choose from \('fourier', 'network', 'paper'\)",
    ):
        learn(movie, n_frames=2, detector="unet")


def test_a_movie_of_bad_frames_teaches_nothing():
    movie = Movie.from_array(
        np.zeros((3, 64, 64), np.uint16), name="blank", pixel_size_nm=0.03, frame_time_s=1.0
    )
    with pytest.raises(ValueError, match="none of the 3 sampled frames is ok"):
        learn(movie, detector="network")


# the paper's


def test_the_papers_components_are_sure_and_neither_small_nor_large():
    """By hand: of three patches one has four pixels, one six, and one is not sure enough."""
    maps = np.zeros((2, 30, 30), np.float32)
    maps[1, 2:4, 2:4] = 9.0
    maps[1, 10:12, 10:13] = 9.0
    maps[1, 20:23, 20:23] = 2.5
    y, x, score = components(maps)
    assert (y.tolist(), x.tolist(), score.tolist()) == ([10.5], [11.0], [9.0])


def test_the_papers_net_learns_from_one_frame(frames, tmp_path):
    recipe = network.PaperRecipe(window_px=64, stride_px=40, batch=4, epochs=2)
    detector = network.learn_paper_network(frames[0], spacing_px=10.5, recipe=recipe, seed=1)
    assert (
        detector.weights
        == network.learn_paper_network(frames[0], spacing_px=10.5, recipe=recipe, seed=1).weights
    )
    curve = detector.weights.record["curve"]["training"]
    assert curve[1] < curve[0]
    detector.save(tmp_path)
    again = load_network(tmp_path)
    np.testing.assert_array_equal(again(frames[:2]), detector(frames[:2]))


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(able, frames):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    exact = replace(able, weights=replace(able.weights, bf16=False))
    on_cpu, on_gpu = (replace(exact, device=device).find(frames) for device in ("cpu", "cuda"))
    assert len(on_cpu) == len(on_gpu) > 5
    for name in ("y", "x", "score"):
        np.testing.assert_allclose(on_gpu[name], on_cpu[name], atol=0.02)


@pytest.mark.gpu
def test_a_gpu_out_of_memory_halves_the_batch(able, frames, monkeypatch, caplog):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    _halves_the_batch(able, frames, monkeypatch, caplog, "cuda")


def test_out_of_memory_halves_the_batch(able, frames, monkeypatch, caplog):
    """On the CPU, with a memory that holds two frames."""
    import torch

    from stemkin.network import inference

    monkeypatch.setattr(inference, "_where", lambda device: torch.device("cpu"))
    monkeypatch.setattr(
        inference,
        "_on_cpu",
        lambda net, weights, cuts: inference._on_gpu(net, weights, cuts, torch.device("cpu")),
    )
    _halves_the_batch(able, frames, monkeypatch, caplog, "cpu")


def _halves_the_batch(able, frames, monkeypatch, caplog, device):
    import torch

    from stemkin.network import inference

    wanted = able.find(frames[:1])
    run, sizes = inference._run, []

    def small_memory(net, weights, batch, where):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("as if")
        return run(net, weights, batch, where)

    monkeypatch.setattr(inference, "_run", small_memory)
    monkeypatch.setattr(inference, "GPU_BATCH", 8)
    monkeypatch.setattr(inference, "_batch_that_fits", {})
    found = replace(able, device=device).find(frames)
    assert sizes == [8, 4, 2, 2, 2]
    first = found[found["frame"] == 0]
    for name in ("y", "x", "score"):  # a batch sums in another order than a frame alone
        np.testing.assert_allclose(first[name], wanted[name], atol=1e-3)
    assert "going on with 4" in caplog.text

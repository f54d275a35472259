"""detect: from movies to rows, the same whatever the blocks, the scheduler and the workers."""

import tracemalloc
from functools import partial

import dask
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import stemkin as sk
from stemkin import tables
from stemkin.detection import HALO, assemble_frames, detect, detect_block, task_bytes
from stemkin.detection.detectors import FourierDetector
from stemkin.movie import Movie
from stemkin.pipeline import Inputs
from stemkin.readers import ArrayReader
from stemkin.references import reference_crystal, sample_numbers
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie, truth_of
from tests.strategies import assert_same_rows, computes, time_chunkings

N_FRAMES = 6


@pytest.fixture(scope="module")
def movie():
    return simulate_movie(
        "paper", n_frames=N_FRAMES, shape=(96, 96), seed=9, name="small", rotation_deg=5.0
    )


@pytest.fixture(scope="module")
def frames(movie):
    return movie.reader.read(0, N_FRAMES)


@pytest.fixture(scope="module")
def crystal(movie):
    return reference_crystal(movie)


@pytest.fixture(scope="module")
def whole(movie, frames, crystal):
    return detect_block(
        frames,
        frames[:0],
        first_frame=0,
        movie=movie,
        model=FourierDetector(),
        reference=crystal,
    )


def brightest_pixel(frames, *, first_frame=0):
    rows = np.empty(len(frames), tables.DETECTION)
    for i, frame in enumerate(frames):
        rows[i] = (first_frame + i, *np.unravel_index(frame.argmax(), frame.shape), frame.max())
    return rows


class CountingReader(ArrayReader):
    """Remembers which frames were read."""

    seen: list[int] = []  # noqa: RUF012

    def read(self, start, stop):
        self.seen.extend(range(start, stop))
        return super().read(start, stop)


def test_three_bright_pixels_by_hand():
    frames = np.zeros((3, 5, 5))
    frames[0, 2, 3], frames[1, 1, 1], frames[2, 4, 0] = 9, 8, 7
    rows = detect(
        Movie.from_array(frames, name="hand", frame_time_s=2.0), brightest_pixel
    ).compute()
    assert rows[["movie", "frame", "y", "x", "score"]].to_numpy().tolist() == [
        ["hand", 0, 2, 3, 9], ["hand", 1, 1, 1, 8], ["hand", 2, 4, 0, 7],
    ]  # fmt: skip
    assert (rows["class_id"] == tables.NOT_NAMED).all()
    assert (rows["orientation"] == tables.NOT_NAMED).all()


def test_what_a_plain_detector_does_not_tell_is_filled_in():
    frames = np.zeros((2, 40, 40))
    frames[0, 3, 20], frames[1, 20, 20] = 9, 8
    rows = detect(Movie.from_array(frames, name="hand"), brightest_pixel).compute()
    assert np.isnan(rows["position_error"]).all()
    assert rows["at_edge"].tolist() == [True, False], "without a lattice, 6 px count as the edge"


def test_what_a_detector_tells_of_its_errors_is_kept():
    def sure(frames, *, first_frame=0):
        rows = tables.located(brightest_pixel(frames, first_frame=first_frame), frames.shape[1:])
        rows["position_error"], rows["at_edge"] = 0.25, True
        return rows

    rows = detect(Movie.from_array(np.eye(40)[None], name="hand"), sure).compute()
    assert rows[["position_error", "at_edge"]].to_numpy().tolist() == [[0.25, True]]


def test_a_detector_that_returns_something_else_is_told_so():
    frames = np.eye(40)[None]
    movie = Movie.from_array(frames, name="hand")
    with pytest.raises(ValueError, match="the detector returned frame 7 of a block of 1 frames"):
        detect_block(frames, frames[:0], first_frame=7, movie=movie, reference=None,
                     model=lambda frames, *, first_frame=0: brightest_pixel(frames, first_frame=7))  # fmt: skip
    with pytest.raises(
        ValueError,
        match=r"records with the fields \('frame', 'y', 'x', 'score'\), but \['score'\] are missing",
    ):
        detect_block(frames, frames[:0], first_frame=0, movie=movie, reference=None,
                     model=lambda frames, *, first_frame=0: np.zeros(1, [("frame", int), ("y", float), ("x", float)]))  # fmt: skip


@given(chunks=time_chunkings(n_frames=N_FRAMES))
@settings(max_examples=6)
def test_rows_do_not_depend_on_how_the_movie_is_cut(movie, frames, whole, crystal, chunks):
    found, start = [], 0
    for length in chunks:
        stop = start + length
        before = frames[max(0, start - HALO) : start]
        block = detect_block(
            frames[start:stop],
            before,
            first_frame=start,
            movie=movie,
            model=FourierDetector(),
            reference=crystal,
        )
        found.append(block)
        start = stop
    assert_same_rows(pd.concat([block.detections for block in found]), whole.detections)
    assert_same_rows(
        assemble_frames([block.frames for block in found]), assemble_frames(whole.frames)
    )


@pytest.mark.parametrize("frames_per_block", [1, 4, None])
def test_lazy_rows_are_the_same_as_eager_ones(movie, whole, frames_per_block):
    rows = detect(movie, FourierDetector(), frames_per_block=frames_per_block)
    found, table = dask.compute(rows, rows.experiment.frames, scheduler="sync")
    assert_same_rows(found, whole.detections)
    assert_same_rows(table, assemble_frames(whole.frames))


def test_building_the_graph_computes_nothing_and_each_frame_is_read_once_beside_the_sample(frames):
    reader = CountingReader(frames)
    reader.seen.clear()
    movie = Movie(reader, "counted", reader.calibration)
    with computes(at_most=0):
        rows = detect(movie, brightest_pixel, frames_per_block=2)
    assert reader.seen == []
    with computes(at_most=1):
        dask.compute(rows, rows.experiment.frames, scheduler="sync")
    sample = sample_numbers(N_FRAMES, 96 * 96)
    assert sorted(reader.seen) == sorted([*range(N_FRAMES), *sample])


def test_the_meta_is_what_is_computed(movie):
    rows = detect(movie, FourierDetector(), frames_per_block=4)
    found, table = dask.compute(rows, rows.experiment.frames)
    assert rows.dtypes.astype(str).tolist() == found.dtypes.astype(str).tolist()
    assert list(rows.columns) == list(tables.COLUMNS["detections"])
    assert rows.experiment.frames.dtypes.astype(str).tolist() == table.dtypes.astype(str).tolist()
    assert rows.npartitions == 2
    assert rows.experiment.frames.npartitions == 1


def test_threads_give_the_same_rows(movie, whole):
    rows = detect(movie, FourierDetector(), frames_per_block=2)
    assert_same_rows(rows.compute(scheduler="threads", num_workers=2), whole.detections)


@pytest.mark.cluster
def test_two_processes_give_the_same_rows(movie, whole, two_processes):
    with connect(two_processes):
        rows = detect(movie, FourierDetector(), frames_per_block=2)
        found, table = dask.compute(rows, rows.experiment.frames)
    assert_same_rows(found, whole.detections)
    assert_same_rows(table, assemble_frames(whole.frames))


def test_several_movies_are_kept_apart():
    movies = [
        simulate_movie("paper", n_frames=2, shape=(96, 96), seed=s, name=f"m{s}") for s in (1, 2)
    ]
    rows = detect(movies, FourierDetector())
    found = rows.compute()
    assert found["movie"].tolist() == sorted(found["movie"])
    for movie in movies:
        alone = detect(movie, FourierDetector()).compute()
        assert_same_rows(found[found["movie"] == movie.name], alone)
    assert rows.experiment.movies["movie"].tolist() == ["m1", "m2"]
    assert rows.experiment.frames.npartitions == 2


def test_bad_frames_give_no_detections_and_are_said_so(movie, frames):
    broken = frames.astype(np.float32)
    broken[1], broken[3] = np.nan, 5.0
    bad = detect_block(
        broken,
        broken[:0],
        first_frame=0,
        movie=movie,
        model=FourierDetector(),
        reference=reference_crystal(movie),
    )
    assert bad.frames["status"].tolist() == ["ok", "corrupt", "ok", "blank", "ok", "ok"]
    assert set(bad.detections["frame"]) <= {0, 2, 4, 5}
    table = assemble_frames(bad.frames)
    assert table["shift_quality"].to_numpy()[[1, 3]].tolist() == [0, 0]
    assert np.isfinite(table[["shift_y", "shift_x"]].to_numpy()).all()


@pytest.mark.parametrize("n", [0, 1])
def test_all_frames_bad_or_none_give_empty_tables(n):
    movie = Movie.from_array(np.full((n, 32, 32), np.nan), name="bad")
    block = detect_block(
        movie.reader.read(0, n),
        np.empty((0, 32, 32)),
        first_frame=0,
        movie=movie,
        model=FourierDetector(),
        reference=None,
    )
    assert len(block.detections) == 0
    assert block.detections.dtypes.astype(str).to_dict() == tables.dtypes("detections")
    assert len(assemble_frames(block.frames)) == n


def test_one_frame_is_a_movie(movie):
    rows = detect(Movie.from_array(movie.reader.read(0, 1), name="one"), FourierDetector())
    assert len(rows) > 0
    table = rows.experiment.frames.compute()
    assert table[["shift_y", "shift_x"]].to_numpy().tolist() == [[0, 0]]
    assert np.isnan(table["time_s"].iloc[0]), "no frame time is known"


def test_drift_is_known_to_a_tenth_of_a_pixel_per_step():
    movie = simulate_movie("paper", n_frames=8, shape=(160, 160), seed=3, drift_y_nm_per_frame=0.03)
    rows = detect(movie, FourierDetector())
    table = rows.experiment.frames.compute()
    truth = truth_of(movie).frames
    for name in ("shift_y", "shift_x"):
        assert np.abs(np.diff(table[name]) - np.diff(truth[name])).max() < 0.1
    assert np.corrcoef(table["shift_y"], truth["shift_y"])[0, 1] > 0.99, (
        "the sign is that of the image's displacement"
    )


def test_a_model_names_what_its_detector_finds(movie, frames):
    class Named:
        detector = staticmethod(brightest_pixel)
        n_descriptors = 2

        def describe(
            self, frames, records, *, first_frame, pixel_size_nm, lattices=None, residuals=None
        ):
            assert len(lattices) == len(residuals) == len(frames)
            values = np.array([frames[r["frame"] - first_frame].max() for r in records], np.float32)
            n = len(records)
            return {
                "class_id": np.full(n, 3, np.int16), "probability": np.ones(n, np.float32),
                "orientation": np.zeros(n, np.int8), "d00": values, "d01": values,
            }  # fmt: skip

    rows = detect(movie, Named(), frames_per_block=4)
    found = rows.compute(scheduler="sync")
    assert list(found.columns) == [*tables.COLUMNS["detections"], "d00", "d01"]
    assert found["d00"].tolist() == frames.max(axis=(1, 2)).tolist()
    assert (found["class_id"] == 3).all()


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((0, 64, 64)), "movie 'odd' has no frames"),
        (
            np.zeros((2, 64, 64), bool),
            "the pixels of movie 'odd' are bool, not intensities; convert them to float32",
        ),
        (
            np.zeros((2, 64, 64), np.complex64),
            "the pixels of movie 'odd' are complex64, not intensities",
        ),
    ],
)
def test_movies_that_cannot_be_searched_are_refused_before_a_frame_is_read(frames, said):
    with pytest.raises(ValueError, match=said):
        detect(Movie.from_array(frames, name="odd"), FourierDetector())


@pytest.mark.parametrize(("n_frames", "size"), [(2, 256), (12, 256), (3, 384)])
def test_a_task_needs_the_memory_that_is_stated(n_frames, size):
    movie = simulate_movie("paper", n_frames=n_frames, shape=(size, size), seed=1)
    frames = movie.reader.read(0, n_frames)
    search = partial(
        detect_block,
        first_frame=0,
        movie=movie,
        model=FourierDetector(),
        reference=reference_crystal(movie),
    )
    search(frames[:1], frames[:0])  # tables that are kept
    tracemalloc.start()
    search(frames, frames[:0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak == pytest.approx(task_bytes(n_frames, (size, size)), rel=0.2)


def test_no_movie_and_equal_names_are_refused(movie):
    with pytest.raises(ValueError, match="there is no movie to search"):
        detect([], FourierDetector())
    with pytest.raises(ValueError, match="two movies are called 'small'; give each its own name"):
        detect([movie, movie], FourierDetector())


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_agrees_with_trackpy_on_blobs():
    trackpy = pytest.importorskip("trackpy")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    frame = rng.poisson(10.0, (128, 128)).astype(float)
    places = np.array([(20.3, 30.7), (64.1, 99.4), (101.8, 22.2), (90.5, 90.5)])
    for cy, cx in places:
        frame += 90 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 2.0**2))
    trackpy.quiet()
    theirs = trackpy.locate(frame, 9, topn=4)[["y", "x"]].to_numpy()
    ours = detect(Movie.from_array(frame[None], name="blobs"), FourierDetector(snr=6.0)).compute()
    ours = ours.nlargest(4, "score")[["y", "x"]].to_numpy()
    for place in places:
        assert np.linalg.norm(ours - place, axis=1).min() < 0.3
        assert np.linalg.norm(theirs - place, axis=1).min() < 0.3


@pytest.mark.real
def test_the_silicon_atom_of_a_real_movie_is_found_in_every_frame():
    """It moves by a few pixels per frame, so the strongest detections make one path."""
    import os
    from pathlib import Path

    from stemkin.movie import open_movie

    folder = Path(os.environ.get("STEMKIN_REAL_DATA", "../shared/data"))
    path = folder / "moving-si" / "moving-Si-1.mp4"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    rows = detect(
        open_movie(path, pixel_size_nm=0.02, frame_time_s=0.2), FourierDetector()
    ).compute()
    assert len(rows) <= 33, "of ten detections nine are the atom"
    y, x = 211.0, 66.0
    for frame in range(30):
        here = rows[rows["frame"] == frame]
        distance = np.hypot(here["y"] - y, here["x"] - x)
        assert distance.min() < 20, f"lost in frame {frame}"
        y, x = here.loc[distance.idxmin(), ["y", "x"]]


def test_detections_link_by_the_documented_default_as_in_a_run(tmp_path):
    movie = simulate_movie("paper", n_frames=5, shape=(112, 112), seed=2, name="movie")
    config = sk.RunConfig().with_words(["learn.n_frames=2", "detect.frames_per_block=2"])
    sk.run(Inputs(["one"], [movie], []), tmp_path / "out", config=config, until="link")
    model = sk.Model.load(tmp_path / "out" / "model")
    detections = detect(movie, model, frames_per_block=2)
    frames = detections.experiment.frames.compute()
    assert frames["lattice_px"].notna().all()
    for rows in (detections, detections.persist()):
        mine = sk.link(rows).compute().reset_index(drop=True)
        theirs = sk.read_tracks(tmp_path / "out").compute().reset_index(drop=True)
        assert mine["particle"].tolist() == theirs["particle"].tolist()
        pd.testing.assert_frame_equal(mine[list(theirs.columns)], theirs, check_dtype=False)

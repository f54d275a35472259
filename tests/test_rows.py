"""Rows remember their experiment, keep what was computed together with the frames behind it, and
come from files as whole tracks."""

import threading
from pathlib import Path

import numpy as np
import pandas as pd

import stemkin as sk
from stemkin import tables
from stemkin.movie import Movie
from stemkin.rows.collection import Rows
from stemkin.rows.files import tracks_in_files
from stemkin.rows.parquet import sealed_bytes


class Counting:
    """Finds one defect per frame, and counts the frames it is shown."""

    def __init__(self):
        self.n_frames, self._lock = 0, threading.Lock()

    def __call__(self, frames, *, first_frame=0):
        with self._lock:
            self.n_frames += len(frames)
        rows = np.zeros(len(frames), tables.DETECTION)
        rows["frame"] = np.arange(first_frame, first_frame + len(frames))
        rows["score"] = 9
        return rows


def a_movie():
    frames = np.random.default_rng(0).poisson(40, (6, 48, 48)).astype("f4")
    return Movie.from_array(frames, name="m", pixel_size_nm=0.03, frame_time_s=1.0)


def test_persisted_rows_and_frames_read_each_block_once():
    """Both tables come from the same three blocks, two of which see the frame before them too;
    questions afterwards read nothing."""
    detector = Counting()
    with sk.connect("synchronous"):
        kept = sk.detect(a_movie(), detector, frames_per_block=2).persist()
        n_frames = detector.n_frames
        assert isinstance(kept, Rows)
        assert len(kept.compute()) == len(kept.experiment.frames.compute()) == 6
        assert len(kept.compute()) == 6
    assert detector.n_frames == n_frames == 6 + 2


def test_persisted_rows_are_the_same_rows():
    with sk.connect("synchronous"):
        lazy = sk.detect(a_movie(), Counting(), frames_per_block=2)
        kept = lazy.persist()
        pd.testing.assert_frame_equal(lazy.compute(), kept.compute())
        pd.testing.assert_frame_equal(
            lazy.experiment.frames.compute(), kept.experiment.frames.compute()
        )
        assert kept.movie_of_partition == lazy.movie_of_partition
        assert kept.experiment.movies is lazy.experiment.movies


def test_files_cut_in_time_are_partitions_of_whole_tracks(tmp_path):
    """Every row is in one partition, and all rows of a particle are in the same one."""
    rows = pd.DataFrame({"movie": "m", "frame": np.repeat(range(10), 12), "class_id": 0})
    rows = rows.assign(particle=np.tile(range(12), 10), y_nm=rows.index * 1.0, x_nm=0.0)
    paths = [str(tmp_path / f"{start}.parquet") for start in (0, 3, 7)]
    for path, first, last in zip(paths, (0, 3, 7), (2, 6, 9), strict=True):
        part = rows[rows["frame"].between(first, last)]
        Path(path).write_bytes(sealed_bytes(part, place=Path(path).name, note={}))
    read = tracks_in_files({"m": paths}, columns=list(rows.columns), rows_per_partition=50)
    parts = [part.compute() for part in read.partitions]
    assert len(parts) == 3
    assert sum(part["particle"].nunique() for part in parts) == 12
    together = pd.concat(parts).sort_values(["frame", "particle"], ignore_index=True)
    pd.testing.assert_frame_equal(together.astype(rows.dtypes), rows)


def test_what_is_put_into_a_table_without_rows_is_not_in_the_next():
    first = tables.empty("tracks", n_descriptors=2)
    first["new"] = 1.0
    first.columns = ["film", *first.columns[1:]]
    second = tables.empty("tracks", n_descriptors=2)
    assert second.dtypes.astype(str).to_dict() == tables.dtypes("tracks", n_descriptors=2)
    assert len(second) == 0

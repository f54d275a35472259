"""Rows remember their experiment, and keep what was computed together with the frames behind it."""

import threading

import numpy as np
import pandas as pd

import stemkin as sk
from stemkin import tables
from stemkin.movie import Movie
from stemkin.rows.table import Rows


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

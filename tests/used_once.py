"""Loaded where processes are forked off (`tests/forks.py`): what a worker loads with its first task
is loaded."""

import gc
import logging

import dask
import numpy as np

import stemkin as sk
import stemkin.pipeline

logging.disable(logging.CRITICAL)
with dask.config.set(scheduler="synchronous"):
    movie = sk.simulate_movie("paper", n_frames=4, shape=(128, 128), seed=1, dopant_fraction=0.05)
    frames = np.asarray(movie.frames)
    movie = sk.Movie.from_array(frames, name="once", pixel_size_nm=0.03, frame_time_s=1.0)
    detections = sk.detect(movie, sk.learn(movie, n_frames=3), frames_per_block=2)
    sk.transitions(sk.link(detections, max_step_nm=0.7))
logging.disable(logging.NOTSET)
gc.freeze()  # who is forked copies no page because its rubbish is looked for

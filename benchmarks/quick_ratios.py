"""The ratios of `quick.py`: what is worked, and the yardstick; each named as its benchmark is."""

# ruff: noqa: ARG001 - each is made alike, and some need no folder
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from quick import Ratio, pair, sorting

import stemkin as sk

EDGE, FRAMES = 256, 4


def frame(scratch: Path) -> Ratio:
    """Search frames, names and all; in transforms of one frame."""
    from stemkin.detection import block
    from stemkin.references import reference_crystal

    movie = sk.simulate_movie("paper", n_frames=FRAMES, shape=(EDGE, EDGE), seed=3)
    frames = movie.reader.read(0, FRAMES)
    model = sk.learn(movie, n_frames=FRAMES)
    asked = {"movie": movie, "model": model, "reference": reference_crystal(movie)}
    asked |= {"first_frame": 0, "neighbours": True}
    return Ratio(lambda: block.detect_block(frames, frames[:0], **asked), pair(EDGE), 40 * FRAMES)


def stages(scratch: Path) -> Ratio:
    """Learn a model of a few frames; in transforms of one frame."""
    movie = sk.simulate_movie("paper", n_frames=FRAMES, shape=(EDGE, EDGE), seed=3)
    return Ratio(lambda: sk.learn(movie, n_frames=2), pair(EDGE), 1000)


def simulation(scratch: Path) -> Ratio:
    """Make frames; in transforms of one frame."""
    movie = sk.simulate_movie("paper", n_frames=FRAMES, shape=(EDGE, EDGE), seed=3)
    return Ratio(lambda: movie.reader.read(0, FRAMES), pair(EDGE), 10 * FRAMES)


def linking(scratch: Path) -> Ratio:
    """Link by likelihood; in a tree of all points, asked for the neighbours of each."""
    from bench_linking import by_likelihood, wanderers
    from scipy.spatial import cKDTree

    seen = wanderers(100, 60)
    points = np.ascontiguousarray(seen.point_nm)
    return Ratio(lambda: by_likelihood(seen), lambda: cKDTree(points).query(points, k=2))


def tables(scratch: Path) -> Ratio:
    """Count transitions; in what pandas takes whose user knows the order of the rows."""
    from bench_tables import counted, in_order, tracks

    rows = tracks(100_000)
    return Ratio(lambda: counted(rows), lambda: in_order(rows))


def counting(scratch: Path) -> Ratio:
    """Count transitions of ten lags in rows out of order; in a sort of the rows."""
    from bench_counting import counted
    from bench_tables import tracks

    rows = tracks(50_000).sample(frac=1, random_state=0)
    return Ratio(lambda: counted(rows, 10, "packed"), sorting(len(rows)))


def long_movie(scratch: Path) -> Ratio:
    """Mean squared displacements; in a sort of the rows."""
    from bench_tables import tracks

    rows = tracks(100_000)
    words = {"frame_time_s": 1.0, "class_of": "all", "by": "pooled"}
    return Ratio(lambda: sk.msd(rows, **words), sorting(len(rows)), 10)


def diffusion(scratch: Path) -> Ratio:
    """D with its interval by likelihood; in a sort of the rows."""
    from bench_tables import tracks

    rows = tracks(5_000).assign(movie="a")
    words = {"method": "mle", "frame_time_s": 1.0}
    return Ratio(lambda: sk.fit_diffusion(rows, **words), sorting(len(rows)), 1000)


def kinetics(scratch: Path) -> Ratio:
    """Rates with their intervals; in a sort of the rows."""
    from bench_kinetics import as_movies as rows_of
    from bench_kinetics import chains, generator

    rng = np.random.default_rng(0)
    rates = generator(np.array([[0.0, 0.2], [0.3, 0.0]]))
    rows = rows_of(chains(rates, 100, 50, rng), 1)
    return Ratio(lambda: sk.transitions(rows, frame_time_s=1.0).table, sorting(len(rows)), 100)


def clustering(scratch: Path) -> Ratio:
    """One step of a mixture's fit; in a product of the rows with as many matrices."""
    from stemkin.kernels.classes.mixture import mixture_of_labels
    from stemkin.learning.gaussian_mixture import mixture_sums

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50_000, 16))
    labels = rng.integers(0, 6, len(rows))
    words = {"covariance": "full", "regularisation": 1e-6}
    mixture = mixture_of_labels(rows, labels, 6, **words)
    matrices = rng.normal(size=(6, 16, 16))
    return Ratio(lambda: mixture_sums(rows, mixture), lambda: rows @ matrices, 10)


def io(scratch: Path) -> Ratio:
    """Read a movie in blocks; in reading the same bytes."""
    path = scratch / "movie.npy"
    np.save(path, np.random.default_rng(0).integers(0, 4000, (200, 256, 256)).astype(np.uint16))
    reader = sk.open_movie(path, pixel_size_nm=0.03, frame_time_s=1.0).reader
    plain = lambda: [np.fromfile(path, np.uint16, 50 * 2**16) for _ in range(4)]  # noqa: E731
    return Ratio(lambda: [reader.read(n, n + 50) for n in range(0, 200, 50)], plain)


def zarr(scratch: Path) -> Ratio:
    """Read chunks of Zarr; in reading them by zarr-python."""
    import zarr as theirs
    from numcodecs import Blosc

    path = str(scratch / "movie.zarr")
    frames = np.random.default_rng(0).poisson(300, (128, 256, 256)).astype(np.uint16)
    words = {"zarr_format": 2, "chunks": (16, 256, 256), "compressors": Blosc("lz4")}
    theirs.create_array(path, data=frames, **words, overwrite=True)
    reader = sk.open_movie(path, pixel_size_nm=0.03, frame_time_s=1.0).reader
    array = theirs.open_array(path, mode="r")
    return Ratio(lambda: reader.read(0, 128), lambda: array[0:128])


def seals(scratch: Path) -> Ratio:
    """Read a table that is compared with its seals; in reading it without."""
    from bench_seals import PLACE, table

    from stemkin.rows.parquet import columns_in, sealed_bytes

    path = scratch / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sealed_bytes(table(100_000), place=PLACE, note={"fingerprint": "x"}))
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    return Ratio(lambda: columns_in(str(path)), lambda: pq.read_table(str(path)))


def layout(scratch: Path) -> Ratio:
    """Lay out the graph of a lazy `link`; in making as many tuples."""
    from bench_layout import detections, tuples

    return Ratio(lambda: sk.link(detections(100), max_step_nm=0.5), lambda: tuples(1000), 10)


def association(scratch: Path) -> Ratio:
    """Link by distance; in linking by trackpy, which has to be there."""
    import trackpy
    from bench_linking import REACH, wanderers

    from stemkin.kernels.linking.linking import links_by_distance

    trackpy.quiet()
    seen = wanderers(100, 20)
    rows = pd.DataFrame({"frame": seen.frame, "y": seen.point_nm[:, 0], "x": seen.point_nm[:, 1]})
    return Ratio(lambda: links_by_distance(seen, REACH), lambda: trackpy.link(rows, REACH))


RATIOS: dict[str, Callable[[Path], Ratio]] = {
    make.__name__: make
    for make in (
        frame, stages, simulation, linking, association, tables, counting, long_movie, diffusion,
        kinetics, clustering, io, zarr, seals, layout,
    )
}  # fmt: skip

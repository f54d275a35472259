"""Whether reading Zarr by `readers.zarr_blocks` is worth its file, beside zarr-python alone and
with the codec pipeline of zarrs; equal pixels are checked before times are taken.

    pip install zarrs && python benchmarks/bench_zarr.py -o zarr.json

One movie as `convert` writes it (shards of blosc chunks with checksums), as zarr-python writes
version 2 with blosc, and not compressed at all. Blocks of 64 frames are read one after another.
CPU seconds of all threads and seconds by the clock, the least of three.
"""

import argparse
import os
import platform
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import zarr
from keeping import keep
from numcodecs import Blosc

import stemkin as sk
from stemkin.movie import Movie, open_movie
from stemkin.readers import ArrayReader, Calibration

N_FRAMES, EDGE, BLOCK = 1024, 256, 64
PIPELINES = {"zarr-python": None, "zarrs": "zarrs.ZarrsCodecPipeline"}


def best(work, repeats=3):
    """Return the least CPU and clock seconds."""
    found = []
    for _ in range(repeats):
        cpu, clock = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - clock))
    return [round(min(each), 3) for each in zip(*found, strict=True)]


def stores(folder):
    """Write the same frames three times; return name → (store, path of the array in it)."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(300, (N_FRAMES, EDGE, EDGE)).astype(np.uint16)
    [own] = sk.convert(Movie(ArrayReader(frames), "m", Calibration()), folder / "own.zarr")
    found = {"shards of blosc": (own, "0")}
    for name, codec in (("version 2, blosc", Blosc("lz4")), ("version 2, plain", None)):
        path = folder / f"{name}.zarr"
        words = {"zarr_format": 2, "chunks": (16, EDGE, EDGE), "compressors": codec}
        zarr.create_array(str(path), data=frames, **words)
        found[name] = (str(path), "")
    return found, frames


def read(source, n=N_FRAMES):
    for start in range(0, n, BLOCK):
        source(start, start + BLOCK)


def compare(folder):
    found, frames = stores(folder)
    for name, (store, inner) in found.items():
        movie = open_movie(store)
        assert np.array_equal(movie.reader.read(0, N_FRAMES), frames)
        row = {"store": name, "zarr_blocks": best(partial(read, movie.reader.read))}
        for pipeline, path in PIPELINES.items():
            settings = {} if path is None else {"codec_pipeline.path": path}
            try:
                with zarr.config.set(settings):
                    array = zarr.open_array(f"{store}/{inner}".rstrip("/"), mode="r")
                    assert np.array_equal(array[:], frames)
                    row[pipeline] = best(partial(read, lambda a, b, array=array: array[a:b]))
            except Exception as error:  # noqa: BLE001 - what a pipeline cannot read is a result
                row[pipeline] = f"{type(error).__name__}: {str(error)[:100]}"
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out")
    given = parser.parse_args()
    about = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(about)
    folder = Path(tempfile.mkdtemp())
    try:
        rows = []
        for row in compare(folder):
            print(row)
            rows.append(row)
    finally:
        shutil.rmtree(folder)
    keep({"cpu and clock seconds": rows}, given.out)


if __name__ == "__main__":
    main()

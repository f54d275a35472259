"""How fast frames come off the disk, as ratios to what the disk and the codec can do alone,
measured in one run.

A Zarr store, as ``stemkin convert`` writes it, is compared with decoding its chunks by the codec
alone (from memory), and with reading the same bytes and then decoding them; NPY and TIFF with a
memory map that is copied. zarr-python's own pipeline, the ``zarrs`` codec pipeline and tensorstore
read the same store where they are installed. "cold" asks the system to drop the file from its cache
before every reading (posix_fadvise), "warm" does not. Equal pixels are checked before anything is
timed.

Beside the ratios: the peak of memory while blocks are read, how long a movie of 10,000 chunks takes
to open, and the processor time that a `distributed` scheduler spends on a block.

    python benchmarks/bench_io.py --gib 2 -o benchmarks/results/io.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numcodecs
import numpy as np
import psutil
import tifffile
import zarr
from keeping import keep

from stemkin.conversion import convert
from stemkin.devices import keep_freed_memory
from stemkin.movie import Movie, open_movie
from stemkin.results.journal import machine

EDGE = 512
Read = Callable[[int, int], np.ndarray]


def drop(folder: Path) -> None:
    """Ask the system to forget what it keeps of a file, or of all files in a folder."""
    for path in [folder] if folder.is_file() else [p for p in folder.rglob("*") if p.is_file()]:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(read: Read, edges: list[tuple[int, int]], n_bytes: int, threads: int) -> float:
    """Return MB of pixels per second."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda edge: read(*edge).nbytes, edges):
            pass
    return n_bytes / 1e6 / (time.perf_counter() - start)


def write_movies(folder: Path, n: int) -> np.ndarray:
    """Write the same shot noise as NPY, TIFF and Zarr; return one block of it."""
    block = np.random.default_rng(0).poisson(12, (128, EDGE, EDGE)).astype("u2")
    array = np.lib.format.open_memmap(folder / "a.npy", "w+", "u2", (n, EDGE, EDGE))
    for i in range(0, n, 128):
        array[i : i + 128] = block[: min(128, n - i)]
    array.flush()
    tifffile.imwrite(folder / "a.tif", array, bigtiff=True, photometric="minisblack")
    convert(folder / "a.npy", folder / "a.zarr")
    return block


def codec_alone(block: np.ndarray) -> Read:
    """Return what decodes frames as stored, from memory."""
    codec = numcodecs.Blosc("lz4", 5, 2)
    chunks = [codec.encode(frame) for frame in block]

    def decode(start: int, stop: int) -> np.ndarray:
        frames = np.empty((stop - start, EDGE, EDGE), "u2")
        for i in range(stop - start):
            codec.decode(chunks[i % len(chunks)], out=frames[i])
        return frames

    return decode


def bytes_then_codec(movie: Movie, decode: Read) -> Read:
    """Return what reads the shards' files as plain bytes, then decodes as many frames."""
    layout = movie.reader.inner.layout

    def read(start: int, stop: int) -> np.ndarray:
        for i in range(start // layout.frames_per_file, -(-stop // layout.frames_per_file)):
            Path(layout.file(i).path).read_bytes()
        return decode(start, stop)

    return read


def others(store: Path) -> dict[str, Read]:
    """Return what else reads a Zarr store here."""
    plain = zarr.open_group(str(store), mode="r")["0"]
    found: dict[str, Read] = {"zarr-python": lambda a, b: plain[a:b]}
    try:
        import zarrs  # noqa: F401

        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            fast = zarr.open_group(str(store), mode="r")["0"]
        found["zarr-python with zarrs"] = lambda a, b: fast[a:b]
    except ImportError:
        print("zarrs is not installed")
    try:
        import tensorstore

        spec = {"driver": "zarr3", "kvstore": f"file://{store}/0/", "open": True}
        context = tensorstore.Context(
            {"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}}
        )
        opened = tensorstore.open(spec, context=context).result()
        found["tensorstore"] = lambda a, b: opened[a:b].read().result()
    except ImportError:
        print("tensorstore is not installed")
    return found


def speeds(folder: Path, block: np.ndarray, threads: int, repeats: int) -> dict[str, float]:
    """Return MB/s of every way to read, and the ratios; each is the median of `repeats` that take
    turns."""
    movies = {suffix: open_movie(folder / f"a.{suffix}") for suffix in ("npy", "tif", "zarr")}
    edges, n_bytes = movies["zarr"].block_edges(), movies["npy"].n_frames * EDGE * EDGE * 2
    decode = codec_alone(block)
    ways: dict[str, tuple[Read, str | None]] = {
        "memory map, copied": (
            lambda a, b: np.array(np.load(folder / "a.npy", mmap_mode="r")[a:b]),
            "a.npy",
        ),
        "npy": (movies["npy"].reader.read, "a.npy"),
        "tiff": (movies["tif"].reader.read, "a.tif"),
        "codec alone": (decode, None),
        "bytes, then codec": (bytes_then_codec(movies["zarr"], decode), "a.zarr"),
        "zarr": (movies["zarr"].reader.read, "a.zarr"),
        **{name: (read, "a.zarr") for name, read in others(folder / "a.zarr").items()},
    }
    truth = np.load(folder / "a.npy", mmap_mode="r")
    for name, (read, path) in ways.items():
        if path:
            np.testing.assert_array_equal(read(*edges[-1]), truth[slice(*edges[-1])], err_msg=name)
    found: dict[str, float] = {}
    for state in ("cold", "warm"):
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, (read, path) in ways.items():
                if state == "cold" and path:
                    drop(folder / path)
                times[name].append(rate(read, edges, n_bytes, threads))
        of = {name: statistics.median(rates) for name, rates in times.items()}
        found |= {f"{name} ({state}) [MB/s]": value for name, value in of.items()}
        found[f"npy / memory map ({state})"] = of["npy"] / of["memory map, copied"]
        found[f"tiff / memory map ({state})"] = of["tiff"] / of["memory map, copied"]
        found[f"zarr / codec alone ({state})"] = of["zarr"] / of["codec alone"]
        found[f"zarr / bytes, then codec ({state})"] = of["zarr"] / of["bytes, then codec"]
    return found


MEMORY = """
import sys, threading, time, psutil
from concurrent.futures import ThreadPoolExecutor
from stemkin.movie import open_movie
movie, me, threads = open_movie(sys.argv[1]), psutil.Process(), int(sys.argv[2])
edges = movie.block_edges()
movie.reader.read(0, 1)
before, peak, done = me.memory_info().rss, 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, me.memory_info().rss)
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(lambda edge: movie.reader.read(*edge).nbytes, edges))
done = True
block = movie.reader.read(*edges[0]).nbytes
print((peak - before) / (block * threads))
"""


def memory(path: Path, threads: int) -> float:
    """Return the peak of memory while a movie is read, over (blocks in flight x block size)."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, path, str(threads)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def opening(folder: Path) -> float:
    """Return the seconds that a movie of 10,000 chunks takes to open."""
    path = folder / "many.zarr"
    zarr.create_array(path, shape=(10_000, 16, 16), chunks=(1, 16, 16), dtype="u2")[:] = 7
    start = time.perf_counter()
    open_movie(path)
    return time.perf_counter() - start


def size(pair: tuple[str, tuple[int, int]]) -> int:
    path, edge = pair
    return int(open_movie(path).reader.read(*edge).nbytes)


def cpu_and_wall(process: psutil.Process, call: Callable[[], object]) -> tuple[float, float]:
    """Return the processor time of `process` and the wall time [s] while something is done."""
    before, start = sum(process.cpu_times()[:2]), time.perf_counter()
    call()
    return sum(process.cpu_times()[:2]) - before, time.perf_counter() - start


def scheduling(path: Path, n_blocks: int) -> dict[str, float]:
    """Return the processor time [ms] that the scheduler of two workers spends on a block, and the
    block's own wall time."""
    from distributed import Client

    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        ),
    }
    with tempfile.TemporaryDirectory() as name:
        where = Path(name) / "scheduler.json"
        command = [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
        ]
        scheduler = subprocess.Popen(
            [*command, "--scheduler-file", where], env=environment, stderr=subprocess.DEVNULL
        )
        worker = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            "--nthreads",
            "1",
            "--nworkers",
            "2",
            "--no-dashboard",
        ]
        workers = subprocess.Popen(
            [*worker, "--scheduler-file", where], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            while not where.exists():
                time.sleep(0.05)
            with Client(scheduler_file=str(where)) as client:
                client.wait_for_workers(2)
                edges = open_movie(path).block_edges()
                work = [(str(path), edges[i % len(edges)]) for i in range(n_blocks)]
                client.gather(client.map(size, work[:8], pure=False))
                process = psutil.Process(scheduler.pid)
                idle, _ = cpu_and_wall(process, lambda: time.sleep(3))
                spent, wall = cpu_and_wall(
                    process, lambda: client.gather(client.map(size, work, pure=False))
                )
                spent -= idle / 3 * wall  # heartbeats, which come whether there is work or not
        finally:
            for one in (workers, scheduler):
                one.terminate()
                one.wait()
    return {
        "scheduler per block [ms]": 1e3 * spent / n_blocks,
        "wall per block, 2 workers [ms]": 1e3 * wall / n_blocks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=2.0, help="size of the movie")
    parser.add_argument("--threads", type=int, default=1, help="blocks read at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--blocks",
        type=int,
        default=400,
        help="blocks of 64 MiB sent through a scheduler; 0 leaves that out",
    )
    parser.add_argument("--folder", help="where the movies are written for the time of the run")
    parser.add_argument("-o", "--out", type=Path, help="write the results here as JSON")
    given = parser.parse_args()
    print(json.dumps(machine()))
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        block = write_movies(folder, int(given.gib * 2**30 / (2 * EDGE * EDGE)))
        found = speeds(folder, block, given.threads, given.repeats)
        for suffix in ("zarr", "npy", "tif"):
            found[f"peak memory of reading {suffix} / (blocks in flight x block)"] = memory(
                folder / f"a.{suffix}", given.threads
            )
        found["opening 10,000 chunks [s]"] = opening(folder)
        if given.blocks:
            found |= scheduling(folder / "a.zarr", given.blocks)
    for key, value in found.items():
        print(f"{key:62s} {value:10.3f}")
    about = {
        "gib": given.gib,
        "threads": given.threads,
        "repeats": given.repeats,
    }
    keep({**about, "found": found}, given.out)


if __name__ == "__main__":
    main()

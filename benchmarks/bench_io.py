"""How fast frames come off the disk, as ratios to what the disk and the codec can do alone, measured in one run.

Reading a Zarr store is compared with decoding its chunks from memory by the codec alone; NPY with a memory map that is copied.
"cold" asks the system to drop the file from its cache first (posix_fadvise), "warm" reads it a second time. Equal pixels are
checked before anything is timed. One thread, unless --threads says otherwise.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numcodecs
import numpy as np
import zarr

from stemkin.conversion import convert
from stemkin.movie import open_movie


def drop(folder: Path) -> None:
    for path in [folder] if folder.is_file() else [p for p in folder.rglob("*") if p.is_file()]:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(read, edges, n_bytes, threads):
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda edge: read(*edge).nbytes, edges):
            pass
    return n_bytes / 1e6 / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    print(platform.platform(), os.cpu_count(), "cores")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, n = Path(name), int(given.gib * 2**30 / 2**19)
        block = np.random.default_rng(0).poisson(12, (128, 512, 512)).astype("u2")
        array = np.lib.format.open_memmap(folder / "a.npy", "w+", "u2", (n, 512, 512))
        for i in range(0, n, 128):
            array[i : i + 128] = block[: min(128, n - i)]
        array.flush()
        convert(folder / "a.npy", folder / "a.zarr")
        movies = {"npy": open_movie(folder / "a.npy"), "zarr": open_movie(folder / "a.zarr")}
        edges, n_bytes = movies["zarr"].block_edges(), array.nbytes
        for movie in movies.values():
            np.testing.assert_array_equal(movie.reader.read(*edges[-1]), array[slice(*edges[-1])])
        codec = numcodecs.Blosc("lz4", 5, 2)
        chunks = [codec.encode(frame) for frame in block]

        def decode(start, stop):
            frames = np.empty((stop - start, 512, 512), "u2")
            for i in range(stop - start):
                codec.decode(chunks[i % 128], out=frames[i])
            return frames

        plain = zarr.open_group(str(folder / "a.zarr"), mode="r")["0"]
        found = {}
        for state in ("cold", "warm"):
            for label, read, path in (
                ("memory map, copied", lambda a, b: np.array(np.load(folder / "a.npy", mmap_mode="r")[a:b]), "a.npy"),
                ("npy", movies["npy"].reader.read, "a.npy"),
                ("codec alone", decode, None),
                ("zarr", movies["zarr"].reader.read, "a.zarr"),
                ("zarr by zarr-python", lambda a, b: plain[a:b], "a.zarr"),
            ):
                if state == "cold" and path:
                    drop(folder / path)
                found[f"{label} ({state})"] = rate(read, edges, n_bytes, given.threads)
            found[f"ratio npy / memory map ({state})"] = (
                found[f"npy ({state})"] / found[f"memory map, copied ({state})"]
            )
            found[f"ratio zarr / codec ({state})"] = found[f"zarr ({state})"] / found[f"codec alone ({state})"]
        for key, value in found.items():
            print(f"{key:40s} {value:10.2f}")
        if given.out:
            given.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

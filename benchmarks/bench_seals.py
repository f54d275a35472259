"""Does reading a table take longer because its bytes are compared with their seals?

Ways of reading one file are tried in turn, with seals and without, on one thread, many times; of
each the least processor time counts, and of the pairs the median ratio with its error. The rows are
compared first.

    python benchmarks/bench_seals.py -o benchmarks/results/seals.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from keeping import keep

from stemkin.results.journal import machine
from stemkin.rows.parquet import columns_in, rows_of, sealed_bytes

PLACE = "tracks/a/000000000-000002500.parquet"
FEW = ["frame", "y", "x"]


def table(n_rows: int) -> pd.DataFrame:
    """Return rows as a block of tracks has them."""
    rng = np.random.default_rng(0)
    rows: dict[str, Any] = {"movie": "a", "frame": np.arange(n_rows, dtype=np.int32) // 100}
    rows |= {name: rng.normal(size=n_rows).astype(np.float32) for name in ("y", "x", "score", "error")}  # fmt: skip
    rows |= {name: rng.normal(size=n_rows) for name in ("y_drift", "x_drift")}
    return pd.DataFrame(rows).assign(class_id=rng.integers(0, 3, n_rows).astype(np.int16))


def ways(content: bytes, path: str) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return what is read, and how: with its seals, and as pyarrow reads it without."""
    return {
        "a whole file, to pandas": (
            lambda: rows_of(content, place=PLACE),
            lambda: pq.read_table(pa.BufferReader(content)).to_pandas(),
        ),
        "all columns of a path": (lambda: columns_in(path), lambda: pq.read_table(path)),
        "three columns of a path": (
            lambda: columns_in(path, FEW),
            lambda: pq.read_table(path, columns=FEW),
        ),
    }


def ratio_of(sealed: list[float], plain: list[float]) -> dict[str, float]:
    """Return the median of the pairs' ratios, and its standard error by the middle half of them."""
    ratios = np.array(sealed) / np.array(plain)
    low, high = np.percentile(ratios, [25, 75])
    error = 1.2533 * (high - low) / 1.349 / np.sqrt(len(ratios))
    return {"ratio": round(float(np.median(ratios)), 3), "error": round(float(error), 3)}


def main() -> None:
    """Time, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    print(machine())
    content = sealed_bytes(table(asked.rows), place=PLACE, note={"fingerprint": "x"})
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PLACE
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        for name, (sealed, plain) in ways(content, str(path)).items():
            assert sealed().equals(plain()), name
            times: dict[str, list[float]] = {"sealed_ms": [], "plain_ms": []}
            for _ in range(asked.repeats):
                for key, read in zip(times, (sealed, plain), strict=True):
                    began = time.process_time()
                    read()
                    times[key].append(1e3 * (time.process_time() - began))
            found[name] = {key: round(min(values), 2) for key, values in times.items()}
            found[name] |= ratio_of(times["sealed_ms"], times["plain_ms"])
            print(name, found[name], flush=True)
    keep({"mb": round(len(content) / 1e6, 1), "repeats": asked.repeats, "found": found}, asked.out)


if __name__ == "__main__":
    main()

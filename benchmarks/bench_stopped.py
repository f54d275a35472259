"""Processes of a real cluster that are suspended for longer than anyone waits for them, then go on.

A `dask scheduler` that gives a worker up after 9 s without a sign of life, and two `dask worker`s
on loopback. When a random number of blocks is done, one of them is stopped (SIGSTOP), and continued
seconds later: by then its blocks are done by others, and it writes them once more. The tables have
to be those of a calm run, byte by byte, also after the late ones have written.

    python benchmarks/bench_stopped.py --seconds 100 --folder scene -o benchmarks/results/stopped.json

Called again, it goes on after the trials that stand in the file. `heal.md` beside the file shows
these faults with those of `bench_heal.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import psutil
from bench_heal import write_table
from chaos.cluster import Cluster, wait_for
from chaos.verdict import compare
from keeping import about, keep

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.simulation import simulate_movie

N_FRAMES, EDGE_PX, N_MOVIES = 12, 64, 2
CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25}, detect={"frames_per_block": 1}
)
SHORT_PATIENCE = {"distributed.comm.timeouts.connect": "5s", "distributed.client.heartbeat": "1s"}
"""Of who gives the command."""
GIVEN_UP_AFTER_S = 9
OF_THE_CLUSTER = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{GIVEN_UP_AFTER_S}s",
    "DASK_DISTRIBUTED__WORKER__PRELOAD": "['stemkin.pipeline']",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",
}
"""A worker in the place of another is forked, and loads stemkin before it takes its first task: who
loads it gives no sign of life for seconds, and on a busy machine would be given up for that."""
STOPPED_FOR_S = (13.0, 18.0)
KINDS = ("worker stopped", "worker and nanny stopped", "both workers stopped", "scheduler stopped")
TRIES = 3
LATE_S = 1.5
"""After a process goes on, it has so long to write what it was at."""


def prepared(folder: Path) -> dict[str, bytes]:
    """Make movies, a model and the calm run where they are not there; return its tables."""
    if not (folder / "calm" / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "movies").mkdir(parents=True)
        for seed in range(N_MOVIES):
            film = simulate_movie("paper", n_frames=N_FRAMES, shape=(EDGE_PX,) * 2, seed=seed)
            np.save(folder / "movies" / f"movie {seed}.npy", film.reader.read(0, N_FRAMES))
            if seed == 0:
                sk.learn(film, n_frames=2).save(folder / "model")
        with sk.connect("threads", workers=2):
            assert run(folder, folder / "calm").exit_code == 0
    return tables(folder / "calm")


def run(folder: Path, out: Path) -> Any:
    """Give the command."""
    return sk.run(folder / "movies", out, config=CONFIG, model=folder / "model", until="link")


def tables(results: Path) -> dict[str, bytes]:
    """Return the bytes of each table, of those that were set aside too."""
    files = results.rglob("*.parquet")
    return {f"/{path.relative_to(results).as_posix()}": path.read_bytes() for path in files}


def struck(cluster: Cluster, kind: str) -> list[psutil.Process]:
    """Return the processes that are to be stopped."""
    if kind == "scheduler stopped":
        return [psutil.Process(cluster.scheduler.pid)]
    nannies = [psutil.Process(nanny.pid) for nanny in cluster.nannies]
    if kind != "both workers stopped":
        nannies = nannies[:1]
    servers = [one for nanny in nannies for one in nanny.children() if _forks_workers(one)]
    workers = [worker for server in servers for worker in server.children()]
    if kind == "worker stopped":
        return workers
    return [*nannies, *workers]


def _forks_workers(process: psutil.Process) -> bool:
    """Return whether a nanny forks its worker off `process`."""
    return "multiprocessing.forkserver" in " ".join(process.cmdline())


class Strike(threading.Thread):
    """Stops processes when so many blocks are done, and lets them go on seconds later."""

    def __init__(self, cluster: Cluster, kind: str, out: Path, chance: random.Random) -> None:
        super().__init__()
        self.cluster, self.kind, self.out = cluster, kind, out
        self.after = chance.randint(1, N_FRAMES * N_MOVIES - 6)
        self.for_s = chance.uniform(*STOPPED_FOR_S)
        self.n_struck = self.blocks_meanwhile = 0

    def n_blocks(self) -> int:
        """Return how many blocks are done."""
        return len(list(self.out.glob("steps/*/*.parquet")))

    def run(self) -> None:
        """Strike once."""
        if not wait_for(lambda: self.n_blocks() >= self.after, 60):
            return
        processes = struck(self.cluster, self.kind)
        before = self.n_blocks()
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        self.n_struck = len(processes)
        time.sleep(self.for_s)
        self.blocks_meanwhile = self.n_blocks() - before
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def commands(folder: Path, out: Path, cluster: Cluster, strike: Strike) -> tuple[list[int], str]:
    """Give the command until it ends well; return the exit codes, and what was said first."""
    codes: list[int] = []
    said = ""
    for _ in range(TRIES):
        try:
            with sk.connect(str(cluster.file)):
                outcome = run(folder, out)
            codes.append(outcome.exit_code)
            said = said or "; ".join(outcome.problems)
        except OSError as error:  # a lost scheduler, in one sentence
            codes.append(4)
            said = said or str(error)
        if codes[-1] == 0:
            break
        strike.join()
        cluster.start()
    return codes, said


def trial(folder: Path, cluster: Cluster, calm: dict[str, bytes], number: int) -> dict[str, Any]:
    """Stop and continue processes while a run goes on, and judge what came of it."""
    chance = random.Random(number)
    kind, out = KINDS[number % len(KINDS)], folder / "results"
    shutil.rmtree(out, ignore_errors=True)
    cluster.start()
    strike = Strike(cluster, kind, out, chance)
    strike.start()
    began = time.monotonic()
    codes, said = commands(folder, out, cluster, strike)
    took_s = time.monotonic() - began
    strike.join()
    time.sleep(LATE_S)
    found = tables(out)
    verdict = compare(frames(found), frames(calm))
    ended, equal = codes[-1] == 0, found == calm
    return {
        "kind": kind, "what": f"after {strike.after} blocks for {strike.for_s:.1f} s",
        "struck": strike.n_struck, "blocks_meanwhile": strike.blocks_meanwhile,
        "seconds": round(took_s, 1), "codes": codes, "said": said[:300],
        "at_once": ended and len(codes) == 1 and equal, "again": ended and len(codes) > 1 and equal,
        "named": bool(said), "ended": ended, "rows_lost": verdict["rows_lost"],
        "rows_doubled": verdict["rows_doubled"], "silent": ended and not equal,
        "trial": f"stopped-{number}", "given_up_after_s": GIVEN_UP_AFTER_S,
    }  # fmt: skip


def frames(files: dict[str, bytes]) -> dict[str, pd.DataFrame]:
    """Return the rows of files."""
    return {name: pd.read_parquet(io.BytesIO(content)) for name, content in files.items()}


def main() -> None:
    """Go on with the trials for some time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=100.0, help="of this call")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    until = time.monotonic() + asked.seconds
    folder = asked.folder.absolute()
    calm = prepared(folder)
    kept: dict[str, Any] = {"rows": []}
    if asked.out.exists():
        kept = json.loads(asked.out.read_text())
    cluster = Cluster(folder, {**os.environ, **OF_THE_CLUSTER, "TMPDIR": str(folder)})
    try:
        with dask.config.set(SHORT_PATIENCE):
            while len(kept["rows"]) < asked.trials and time.monotonic() < until:
                row = trial(folder, cluster, calm, len(kept["rows"]))
                kept["rows"].append(row)
                print(json.dumps(row), flush=True)
                keep({**kept, **about()}, asked.out)
    finally:
        cluster.stop()
    print(write_table(asked.out.parent))


if __name__ == "__main__":
    main()

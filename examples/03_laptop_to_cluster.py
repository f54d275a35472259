"""From a laptop to a cluster: the same lines on threads, on processes, and wherever a scheduler
answers.

    python 03_laptop_to_cluster.py                                          # threads, then processes of this machine
    python 03_laptop_to_cluster.py tcp://10.0.0.5:8786                      # a Dask cluster that runs already
    python 03_laptop_to_cluster.py scheduler.json                           # the same, by its scheduler file
    python 03_laptop_to_cluster.py slurm.toml --workers 16                  # jobs of a queue

It ends with one line per place: the time it took, D with its interval, and a fingerprint of all
tables. The fingerprints are equal, because no number depends on who computed it.
"""

import argparse
import hashlib
import time

import dask
import pandas as pd

import stemkin as sk


def analyse(movies: list[sk.Movie]) -> list[pd.DataFrame]:
    """Return the tables of `movies`, computed by whichever scheduler is active."""
    model = sk.learn(movies, n_frames=6)
    detections = sk.detect(movies, model, frames_per_block=6).persist()
    tracks = sk.link(detections, max_step_nm=0.7).persist()
    rows, frames = dask.compute(tracks, detections.experiment.frames)
    return [
        rows,
        frames,
        sk.transitions(tracks).table,
        sk.fit_diffusion(tracks, class_name="V_S", by="pooled"),
    ]


def fingerprint(tables: list[pd.DataFrame]) -> str:
    """Return a hash of all values of all tables, to the last bit."""
    whole = hashlib.sha256()
    for table in tables:
        whole.update(pd.util.hash_pandas_object(table.reset_index(drop=True)).to_numpy().tobytes())
    return whole.hexdigest()[:16]


def main(places: list[str], workers: int | None, n_frames: int) -> None:
    size = {"n_frames": n_frames, "shape": (160, 160)}
    movies = [sk.simulate_movie("paper", seed=seed, **size) for seed in (1, 2)]
    for place in places:
        started = not place.startswith(("tcp://", "tls://")) and not place.endswith(".json")
        with sk.connect(place, workers=workers if started else None):
            began = time.perf_counter()
            tables = analyse(movies)
            seconds = time.perf_counter() - began
        D = tables[-1].iloc[0]
        print(
            f"{place}: {seconds:.1f} s, D(V_S) = {D['D_nm2_per_s']:.2e} ({D['low']:.2e} to "
            f"{D['high']:.2e}) nm2/s, tables {fingerprint(tables)}"
        )


if __name__ == "__main__":  # processes import this file anew: what starts them stands here
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "places", nargs="*", default=["threads", "processes"], help="as for stemkin.connect"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--frames", type=int, default=12, help="of each simulated movie")
    given = parser.parse_args()
    main(given.places, given.workers, given.frames)

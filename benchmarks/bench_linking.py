"""Linking beside trackpy: rows per second at 100 and 1,000 points per frame, on one core; and time
per row up to 10,000.

    python benchmarks/bench_linking.py [-o FILE]

The points of each frame wander by 0.1 units, 10 % are missed; both may step 0.5. By distance both
must give the same tracks, which is checked before the times are taken; the least of three times
counts. The second table is stemkin's alone: more points per frame, more frames, and four times as
many points in the same area.
"""

import argparse
import platform
import time
import warnings

import numpy as np
import pandas as pd
from keeping import keep

from stemkin.kernels.linking.linking import links_by_distance, links_by_likelihood
from stemkin.kernels.linking.sightings import Looks, Sightings
from stemkin.kernels.linking.step_counts import count_steps
from stemkin.kernels.linking.steps import StepModel

REACH = 0.5


def wanderers(n_points, n_frames, spacing=2.0):
    rng = np.random.default_rng(0)
    position = rng.uniform(0, spacing * n_points**0.5, (n_points, 2))
    parts = []
    for frame in range(n_frames):
        position = position + rng.normal(0, 0.1, position.shape)
        seen = position[rng.random(n_points) > 0.1]
        parts.append(np.c_[np.full(len(seen), frame), seen[np.lexsort(seen.T[::-1])]])
    rows = np.concatenate(parts)
    frame, n = rows[:, 0].astype(np.int64), len(rows)
    return Sightings(
        frame, frame, rows[:, 1:], np.ones(n), np.full(n, 2.0), Looks(np.zeros(n), np.zeros(n))
    )


def least_time(function):
    times = []
    for _ in range(3):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def by_likelihood(seen):
    counts = count_steps(seen, REACH, slice(0, len(seen.frame)))
    return links_by_likelihood(seen, StepModel(counts, REACH))


def compare(n_points, n_frames):
    import trackpy

    trackpy.quiet()
    seen = wanderers(n_points, n_frames)
    table = pd.DataFrame({"frame": seen.frame, "y": seen.point_nm[:, 0], "x": seen.point_nm[:, 1]})
    trackpy.link(table[table["frame"] < 3], REACH)
    theirs_s, tracks = least_time(lambda: trackpy.link(table, REACH))
    distance_s, links = least_time(lambda: links_by_distance(seen, REACH))
    likelihood_s, _ = least_time(lambda: by_likelihood(seen))
    theirs = tracks.groupby("particle")["frame"].diff().eq(1).to_numpy()
    assert np.array_equal(theirs, links >= 0), "the two linkers disagree"
    n = len(table)
    return {
        "points_per_frame": n_points,
        "rows": n,
        "trackpy_rows_per_s": n / theirs_s,
        "distance_rows_per_s": n / distance_s,
        "likelihood_rows_per_s": n / likelihood_s,
        "distance_factor": theirs_s / distance_s,
        "likelihood_factor": theirs_s / likelihood_s,
    }


def alone(n_points, n_frames, spacing=2.0):
    seen = wanderers(n_points, n_frames, spacing)
    times = {
        name: least_time(lambda f=f: f(seen))[0]
        for name, f in (("default", by_likelihood), ("distance", by_distance))
    }
    words = {
        "points_per_frame": n_points,
        "spacing_in_reaches": spacing / REACH,
        "rows": len(seen.frame),
    }
    return {
        **words,
        **{
            f"{name}_us_per_row": 1e6 * seconds / len(seen.frame) for name, seconds in times.items()
        },
    }


def by_distance(seen):
    return links_by_distance(seen, REACH)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--json", help="also write the results to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(platform.platform(), platform.processor())
    results = [compare(100, 300), compare(1000, 40)]
    for result in results:
        print({key: round(value, 1) for key, value in result.items()})
    sizes = [
        (100, 300),
        (100, 3000),
        (1000, 30),
        (1000, 300),
        (10_000, 12),
        (10_000, 48),
        (10_000, 12, 1.0),
    ]
    dense = [alone(*size) for size in sizes]
    print(pd.DataFrame(dense).round(2).to_string(index=False))
    keep({"beside trackpy": results, "alone": dense}, options.json)


if __name__ == "__main__":
    main()

"""A question of your own, asked in the same pass over the tracks as stemkin's.

    python 06_your_own_question.py

Do vacancies hop along the fast or the slow direction of the scan? A beam that drags them along would
show as more hops along one of the six directions of the lattice. The question says what the rows of
a partition add (whole numbers, so the order of adding does not matter) and what follows from the
total; `sk.answers` reads each partition once, for this question and for all others.
"""

import dask.dataframe as dd
import numpy as np
import pandas as pd

import stemkin as sk

HOP_NM = 0.2
"""A step as long as this is a hop; positions are known far better."""
SECTORS = 6


def count_directions(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return how many hops go into each sector of 60 degrees, counted from the +x direction."""
    rows = rows.sort_values(["movie", "particle", "frame"])
    tracks = rows.groupby(["movie", "particle"])
    # a pair of rows is a step only where no frame is missing between them
    one_frame = tracks["frame"].diff() == 1
    dy, dx = tracks["y_nm"].diff()[one_frame], tracks["x_nm"].diff()[one_frame]
    hops = np.hypot(dy, dx) > HOP_NM
    angle = np.degrees(np.arctan2(dy[hops], dx[hops])) % 360
    sector = (np.rint(angle / 60).astype(int)) % SECTORS
    return {"hops": np.bincount(sector, minlength=SECTORS)}


def with_errors(sums: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the share of hops in each direction, with its binomial standard error."""
    n = sums.get("hops", np.zeros(SECTORS, int))
    share = n / max(n.sum(), 1)
    error = np.sqrt(share * (1 - share) / max(n.sum(), 1))
    return pd.DataFrame(
        {"degrees": 60 * np.arange(SECTORS), "n": n, "share": share, "error": error}
    )


def main() -> None:
    # The true defects of three movies stand for tracks here; yours come from `sk.link`.
    movies = [
        sk.simulate_movie("paper", n_frames=100, shape=(256, 256), seed=seed) for seed in range(3)
    ]
    rows = pd.concat([sk.truth_of(movie).defects for movie in movies], ignore_index=True)
    rows["class_id"] = (rows["kind"] != "V_S").astype("int16")
    vacancies = rows[rows["class_id"] == 0].sort_values("movie")
    tracks = dd.from_pandas(vacancies, npartitions=1)

    mine = sk.Question(count_directions, with_errors)
    rates = sk.hop_rates.question(
        tracks, hop_length_nm=0.3153, frame_time_s=movies[0].frame_time_s, by="pooled"
    )
    directions, hops = sk.answers(tracks, [mine, rates])

    print("hops by direction:")
    print(directions.round(3).to_string(index=False))
    row = hops.iloc[0]
    print(f"\nhops per second: {row['hop_rate_per_s']:.4f} [{row['low']:.4f}, {row['high']:.4f}]")


if __name__ == "__main__":
    main()

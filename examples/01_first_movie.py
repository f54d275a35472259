"""A first movie: learn, detect, link, and read rates and diffusion with their errors.

    python 01_first_movie.py                                                        # a simulated movie of doped WS2
    python 01_first_movie.py stack.tif --pixel-size-nm 0.03 --frame-time-s 2.25     # your own

Prints what was found, and saves a figure of it: the counts of each class against time.
"""

import argparse

import matplotlib as mpl

import stemkin as sk

mpl.use("agg")
from matplotlib import pyplot as plt


def main(
    path: str | None, pixel_size_nm: float | None, frame_time_s: float | None, figure: str
) -> None:
    if path is None:
        movie = sk.simulate_movie("paper", n_frames=30, shape=(192, 192), seed=1)
    else:
        movie = sk.open_movie(path, pixel_size_nm=pixel_size_nm, frame_time_s=frame_time_s)

    with sk.connect("threads"):
        model = sk.learn(movie)  # a few frames → a detector and named classes
        detections = sk.detect(
            movie, model
        ).persist()  # the one pass over the pixels; the rows stay in memory
        tracks = sk.link(detections, max_step_nm=0.7)

        names = model.classes[["class_id", "name"]]
        counts = sk.populations(detections).merge(names, on="class_id")
        diffusion = sk.fit_diffusion(tracks, by="pooled").merge(names, on="class_id")

        print("probability of what a defect is one frame later:")
        print(sk.transitions(tracks).probabilities.round(3))
        print("\ndiffusion, with 95 % intervals:")
        print(diffusion[["name", "D_nm2_per_s", "low", "high", "n_tracks"]].to_string(index=False))

    for name, rows in counts.groupby("name", sort=False):
        plt.step(rows["time_s"], rows["n"], where="mid", label=name)
    plt.xlabel("time (s)")
    plt.ylabel("defects in the frame")
    plt.legend()
    plt.savefig(figure, dpi=150)
    print(f"\ncounts against time: {figure}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", help="a movie; without one, a movie is simulated")
    parser.add_argument("--pixel-size-nm", type=float)
    parser.add_argument("--frame-time-s", type=float)
    parser.add_argument("--figure", default="first_movie.png")
    given = parser.parse_args()
    main(given.path, given.pixel_size_nm, given.frame_time_s, given.figure)

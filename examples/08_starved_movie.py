"""Hop rates of vacancies that no frame shows: a movie at a sixteenth of the usual dose.

    python examples/08_starved_movie.py
    python examples/08_starved_movie.py faint.zarr --frame-time-s 0.5

Without a movie one is simulated, whose answer is known; it is small and holds many vacancies, so that
few frames tell something. Prints what single frames show, and what correlations of the signals of
all sites say.
"""

import argparse

import stemkin as sk
from stemkin.simulation import truth_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie", nargs="?", help="a movie; simulated unless given")
    parser.add_argument("--frame-time-s", type=float)
    parser.add_argument("--frames", type=int, default=60, help="of the simulated movie")
    args = parser.parse_args()
    true = None
    if args.movie:
        movie = sk.open_movie(args.movie, frame_time_s=args.frame_time_s)
    else:
        few = {"dopant_fraction": 0.0, "vacancy_fraction": 0.03}
        movie = sk.simulate_movie("starved", n_frames=args.frames, shape=(144, 144), seed=1, **few)
        true = truth_of(movie).diffusion.set_index("kind").loc["V_S", "D_nm2_per_s"]

    detector = sk.FourierDetector().learned_from(movie.reader.read(i, i + 1)[0] for i in range(16))
    traces = sk.site_traces(movie, detector)
    found = sk.hopping(sk.lattice_correlation(traces)).iloc[0]
    print(f"a vacancy stands {found['depth']:.1f} times the noise of one frame deep")
    print(f"D = {found['D_nm2_per_s']:.2e} nm²/s [{found['low']:.2e}, {found['high']:.2e}]")
    print(
        f"mobile vacancies: {found['n_mobile']:.1f} [{found['n_low']:.1f}, {found['n_high']:.1f}]"
    )
    if true is not None:
        print(f"true D = {true:.2e} nm²/s")


if __name__ == "__main__":
    with sk.connect("threads"):
        main()

"""How right tracks are beside those of trackpy and laptrack on the same detections, in simulated
movies and at rising density.

    python benchmarks/bench_association.py -o association.json

Detections of the presets come from the Fourier detector, drift corrected; those of the density scan
are hoppers on a lattice, 0.3 hops a frame, 5 % missed, as many false, at a mean distance of 6 down
to 2 steps. stemkin links with nothing but its defaults (reach 2.2 lattice constants, likelihood,
`max_gap_frames`), and, to show what that default costs and gains, with the gaps 0, 1 and 2.
trackpy's `memory` and laptrack's gap closing are as long as stemkin's default, and each shows the
best of the reaches 1.2, 1.6 and 2.2 lattice constants, as judged by the truth: a choice that a user
cannot make. `ass_a`: mean share that a true and a found track have in common (of HOTA);
`links_found`: share of true steps that were linked; `gaps` and
`gaps_wrong`: gaps that were closed, and how many of them do not join two sightings of one true
defect. In `null` there are no defects, so that every gap is wrong.
"""

import argparse
import inspect
import os
import platform
import warnings
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from keeping import keep

import stemkin as sk
from stemkin import tables
from stemkin.scoring import Labels
from stemkin.scoring.matches import match_movie

A = 0.3153
REACHES = (1.2 * A, 1.6 * A, 2.2 * A)
DEFAULT_GAP = inspect.signature(sk.link).parameters["max_gap_frames"].default
COLUMNS = ["hota", "ass_a", "links_found", "links_wrong"]


def of_preset(preset, n_frames):
    movie = sk.simulate_movie(preset, n_frames=n_frames, seed=11)
    rows = sk.detect(movie, sk.FourierDetector()).persist()
    known = replace(rows.experiment, movies=rows.experiment.movies.assign(lattice_nm=A))
    return rows.compute(), known, sk.truth_of(movie)


def at_distance(steps_apart, n_frames=60, edge_nm=12.0, seed=5):
    """Hoppers whose mean distance is so many steps, on a triangular lattice, one to a site."""
    rng = np.random.default_rng(seed)
    n_cells = int(edge_nm / A)
    n = int((edge_nm / (steps_apart * A)) ** 2)
    sites = rng.choice(n_cells * n_cells, n, replace=False)
    place = np.stack(np.divmod(sites, n_cells), axis=1)
    around = np.array([(0, 1), (1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1)])
    found, true = [], []
    for frame in range(n_frames):
        taken = {tuple(cell) for cell in place.tolist()}
        for k in np.flatnonzero(rng.random(n) < 0.3):
            target = tuple(((place[k] + around[rng.integers(6)]) % n_cells).tolist())
            if target not in taken:
                taken.discard(tuple(place[k].tolist()))
                taken.add(target)
                place[k] = target
        y, x = place[:, 0] * A * np.sqrt(0.75), (place[:, 1] + place[:, 0] / 2) % n_cells * A
        true.append(pd.DataFrame({"frame": frame, "y": y, "x": x, "particle": np.arange(n)}))
        seen = rng.random(n) > 0.05
        false = rng.uniform(0, 1, (rng.poisson(0.05 * n), 2)) * [y.max(), x.max()]
        points = np.concatenate(
            [np.stack([y, x], axis=1)[seen] + rng.normal(0, 0.01, (seen.sum(), 2)), false]
        )
        found.append(pd.DataFrame(points, columns=["y", "x"]).assign(frame=frame))
    rows = pd.concat(found, ignore_index=True).sort_values(["frame", "y", "x"], ignore_index=True)
    rows = rows.assign(movie="movie", score=5.0, class_id=0, probability=1.0, orientation=-1)
    rows = rows.assign(**{c: 0.0 for c in tables.COLUMNS["detections"] if c not in rows})
    known = tables.Experiment(
        pd.DataFrame({"movie": ["movie"], "pixel_size_nm": 1.0, "lattice_nm": A})
    )
    edge = int(edge_nm) + 2
    return (
        tables.conform(rows, "detections"),
        known,
        Labels(pd.concat(true), (edge, edge), n_frames),
    )


def trackpy_links(tracks, reach, gap):
    import trackpy

    trackpy.quiet()
    linked = trackpy.link(
        tracks[["frame", "y_nm", "x_nm"]], reach, memory=gap, pos_columns=["y_nm", "x_nm"]
    )
    return linked["particle"].reindex(tracks.index).to_numpy()


def laptrack_links(tracks, reach, gap):
    from laptrack import LapTrack

    # what laptrack counts is how many frames after the last one a track may go on
    words = {
        "gap_closing_cutoff": reach**2 if gap else False,
        "gap_closing_max_frame_count": gap + 1,
    }
    linker = LapTrack(cutoff=reach**2, splitting_cutoff=False, merging_cutoff=False, **words)
    table = tracks[["frame", "y_nm", "x_nm"]].assign(row=np.arange(len(tracks)))
    linked, *_ = linker.predict_dataframe(
        table, coordinate_cols=["y_nm", "x_nm"], frame_col="frame"
    )
    return linked.set_index("row")["track_id"].sort_index().to_numpy()


def closed_gaps(tracks, truth):
    """How many gaps were closed, and how many of them do not join two sightings of one true
    defect."""
    matches = match_movie(tracks, truth, radius_nm=0.15, frames=None, edge_nm=0.0)
    rows, true = matches.found_rows, np.full(len(matches.found_rows), -1)
    true[matches.found_of] = matches.true_rows["particle"].to_numpy()[matches.true_of]
    rows = rows.assign(true=true).sort_values(["particle", "frame"])
    before = rows.groupby("particle")[["frame", "true"]].shift(1)
    gap = (rows["frame"] - before["frame"]) > 1
    right = (rows["true"] == before["true"]) & (rows["true"] >= 0)
    return {"gaps": int(gap.sum()), "gaps_wrong": int((gap & ~right).sum())}


def compare(name, rows, experiment, truth):
    def judged(tracks):
        score = sk.score(tracks, truth, classes={}).association.loc["all", COLUMNS].to_dict()
        return score | closed_gaps(tracks, truth)

    def linked(**words):
        return sk.link(rows, experiment=experiment, **words).compute()

    tracks = linked()
    found = {"stemkin, defaults": judged(tracks)}
    found |= {f"stemkin, gaps {gap}": judged(linked(max_gap_frames=gap)) for gap in (0, 1, 2)}
    for peer, links in (("trackpy", trackpy_links), ("laptrack", laptrack_links)):
        scores = []
        for reach in REACHES if len(tracks) and name != "null" else ():
            try:
                scores.append(judged(tracks.assign(particle=links(tracks, reach, DEFAULT_GAP))))
            except Exception as error:  # noqa: BLE001 - a crowd is too much for some; the next reach may do
                print(f"{name}: {peer} with reach {reach:.2f} nm: {type(error).__name__}")
        if scores:
            found[f"{peer}, best"] = max(scores, key=lambda score: score["ass_a"])
    per_frame = len(rows) / max(rows["frame"].nunique(), 1)
    print(name, {linker: round(score["ass_a"], 3) for linker, score in found.items()}, flush=True)
    return [
        {"movie": name, "per_frame": per_frame, "linker": linker, **score}
        for linker, score in found.items()
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("-o", "--json", help="also write the results to this file")
    words = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine)
    warnings.simplefilter("ignore")
    found = []
    for preset in ("paper", "long", "rotated", "late-stage", "null"):
        found += compare(preset, *of_preset(preset, words.frames))
    for steps_apart in (6, 4, 3, 2.5, 2):
        found += compare(f"{steps_apart:g} steps apart", *at_distance(steps_apart, words.frames))
    table = pd.DataFrame(found)
    print(table.round(3).to_string(index=False))
    keep({"rows": table.to_dict("records")}, words.json)


if __name__ == "__main__":
    main()

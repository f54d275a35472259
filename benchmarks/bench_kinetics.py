"""How often 95 % intervals hold the truth: transition probabilities, rates, dwell times, survival,
numbers and cross-sections (D: `bench_diffusion.py`).

Tracks are simulated directly, no pixels, hundreds of data sets per regime; every data set is a
movie of its own, so one call with ``by="movie"`` answers for all. An interval that is right holds
the truth in 93 to 97 of 100 data sets, where it can: few events come in whole numbers, and each
number's interval holds the truth or does not. "can_below" and "can_above" are the shares next to
0.95 that any interval could reach (outcomes taken as held in order of their probability), on
average over the data sets.

    python benchmarks/bench_kinetics.py --sets 400 -o kinetics.json
    python benchmarks/bench_kinetics.py --only rates numbers
"""

import argparse
import os
import platform
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from keeping import keep
from scipy import linalg, stats

import stemkin as sk
from stemkin.movie import movies_table
from stemkin.tables import Experiment

REGIMES = {  # per frame: generator, tracks, frames, share of frames missed
    "slow, 3 classes": (np.array([[0, 0.02, 0.01], [0.02, 0, 0.02], [0.01, 0.02, 0]]), 60, 30, 0.0),
    "slow, 15 % missed": (
        np.array([[0, 0.02, 0.01], [0.02, 0, 0.02], [0.01, 0.02, 0]]),
        60,
        30,
        0.15,
    ),
    "fast": (np.array([[0, 0.3, 0.1], [0.2, 0, 0.2], [0.1, 0.4, 0]]), 60, 30, 0.05),
    "rare": (np.array([[0, 0.004, 0.001], [0.003, 0, 0.002], [0.001, 0.002, 0]]), 40, 30, 0.05),
    "dopant and complex": (np.array([[0, 0.025], [0.04, 0]]), 30, 60, 0.03),
}


def generator(rates):
    return rates - np.diag(rates.sum(axis=1))


def stationary(Q):
    left = linalg.null_space(Q.T)[:, 0]
    return left / left.sum()


def chains(Q, n_tracks, n_frames, rng):
    """States (n_tracks, n_frames) of stationary chains."""
    k, bounds = len(Q), linalg.expm(Q).cumsum(axis=1)
    state = np.zeros((n_tracks, n_frames), dtype=np.int64)
    state[:, 0] = rng.choice(k, size=n_tracks, p=stationary(Q))
    for i in range(1, n_frames):
        state[:, i] = (rng.random(n_tracks)[:, None] > bounds[state[:, i - 1]]).sum(axis=1)
    return state


def as_movies(names, n_sets, *, seen=None, **columns):
    """Rows of (n_sets * n_tracks, n_frames) names, each data set a movie."""
    n_all, n_frames = names.shape
    rows = pd.DataFrame(
        {
            "movie": np.repeat([f"set{i:04d}" for i in range(n_sets)], n_all // n_sets * n_frames),
            "frame": np.tile(np.arange(n_frames), n_all), "particle": np.repeat(np.arange(n_all), n_frames), "class_id": names.ravel(),
        } | {name: values.ravel() for name, values in columns.items()}
    )  # fmt: skip
    return rows if seen is None else rows[seen.ravel()].reset_index(drop=True)


def held(low, high, truth):
    """Share of intervals that hold the truth, of those that exist."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    known = np.isfinite(low) & (np.isfinite(high) | (high == np.inf))
    return float(np.mean(((low <= truth) & (truth <= high))[known])), int(known.sum())


def attainable(law):
    """Shares of held intervals next to 95 % that whole numbers of these laws (frozen, one for each
    interval) allow, on average."""
    upper = int(np.max(law.ppf(1 - 1e-9))) + 1
    chance = np.sort(law.pmf(np.arange(upper + 1)[:, None]), axis=0)[::-1].cumsum(axis=0)
    above = np.minimum((chance < 0.95).sum(axis=0), upper)
    each = np.arange(chance.shape[1])
    below = np.where(above > 0, chance[above - 1, each], 0.0)
    return {"can_below": float(below.mean()), "can_above": float(chance[above, each].mean())}


def line(quantity, regime, low, high, truth, value, **more):
    truth = np.broadcast_to(truth, np.shape(value))
    cover, n = held(low, high, truth)
    bias = np.nanmean(value) / np.nanmean(truth) - 1 if np.nanmean(truth) else np.nan
    return {
        "quantity": quantity,
        "regime": regime,
        "cover": cover,
        "intervals": n,
        "bias": float(bias),
        **more,
    }


def rates(n_sets, rng):
    """Probabilities at lags 1 and 3, rates, rates of leaving, survival."""
    for regime, (off, n_tracks, n_frames, missed) in REGIMES.items():
        Q = generator(off)
        names = chains(Q, n_sets * n_tracks, n_frames, rng)
        rows = as_movies(names, n_sets, seen=rng.random(names.shape) >= missed)
        found = sk.transitions(rows, lag_frames=(1, 3), by="movie", frame_time_s=1.0).table.query(
            "movie != '*'"
        )
        i, j = found["from_id"].to_numpy(), found["to_id"].to_numpy()
        for lag in (1, 3):
            own, P = (found["lag_frames"] == lag).to_numpy(), linalg.expm(Q * lag)
            r, truth = found[own], P[i[own], j[own]]
            whole = r.groupby(["movie", "from_id"])["count"].transform("sum").to_numpy()
            possible = (
                attainable(stats.binom(whole, truth)) if lag == 1 else {}
            )  # at longer lags pairs overlap
            yield line(
                f"P, lag {lag}", regime, r["low"], r["high"], truth, r["probability"], **possible
            )
        first = (found["lag_frames"] == 1).to_numpy()
        own = first & (i != j)
        r, truth = found[own], Q[i[own], j[own]]
        at_risk = (
            found[first].groupby(["movie", "from_id"])["count"].sum().to_numpy().repeat(len(Q) - 1)
        )
        possible = attainable(stats.poisson(truth * at_risk))
        yield line(
            "rate", regime, r["rate_low"], r["rate_high"], truth, r["rate_per_s"], **possible
        )
        stays = sk.dwell_times(rows, by="movie", frame_time_s=1.0).query("movie != '*'")
        leaving = -np.diag(Q)[stays["class_id"]]
        yield line(
            "rate of leaving",
            regime,
            stays["low"],
            stays["high"],
            leaving,
            stays["exit_rate_per_s"],
        )
        curves = sk.survival(rows, begun="seen", by="movie", frame_time_s=1.0).query("movie != '*'")
        for age in (2, 5, 10):
            r = curves[curves["time_s"] == age]
            stay = (
                np.diag(linalg.expm(Q))[r["class_id"]] ** age
            )  # of the chain that is looked at once a frame
            begun = curves[curves["time_s"] == 1].set_index(["movie", "class_id"])["n_at_risk"]
            n = begun.reindex(pd.MultiIndex.from_frame(r[["movie", "class_id"]])).to_numpy()
            possible = attainable(stats.binom(n, stay))
            yield line(
                f"survival, age {age}", regime, r["low"], r["high"], stay, r["survival"], **possible
            )


def hidden(n_sets, rng):
    """Rates behind 5 % of wrong names, by the confusion matrix; and of defects that never
    change."""
    confusion = np.full((3, 3), 0.025) + np.eye(3) * 0.925
    slow = REGIMES["slow, 3 classes"][0]
    for regime, Q, n_tracks, n_frames in (
        ("5 % misnamed, 300 tracks", generator(slow), 300, 40), ("5 % misnamed, 60 tracks", generator(slow), 60, 30),
        ("5 % misnamed, nothing changes", np.zeros((3, 3)), 100, 30),
    ):  # fmt: skip
        raw, tables = [], []
        for i in range(n_sets):
            names = (
                chains(Q, n_tracks, n_frames, rng)
                if Q.any()
                else rng.integers(3, size=(n_tracks, 1)).repeat(n_frames, 1)
            )
            names = (rng.random(names.shape)[..., None] > confusion.cumsum(axis=1)[names]).sum(
                axis=-1
            )
            rows = as_movies(names, 1)
            tables.append(sk.hidden_transitions(rows, confusion=confusion, frame_time_s=1.0).table)
            if i < 50:
                raw.append(sk.transitions(rows, frame_time_s=1.0).table)
        found, uncorrected = pd.concat(tables), pd.concat(raw)
        for what, off in (("rate", True), ("rate of leaving", False)):
            r, u = (t[(t["from_id"] != t["to_id"]) == off] for t in (found, uncorrected))
            truth, sign = Q[r["from_id"], r["to_id"]], 1 if off else -1
            low, high = (
                (r["rate_low"], r["rate_high"]) if off else (-r["rate_high"], -r["rate_low"])
            )
            before = (
                u["rate_per_s"].mean() / Q[u["from_id"], u["to_id"]].mean() - 1
                if Q.any()
                else np.nan
            )
            yield line(
                f"hidden {what}",
                regime,
                low,
                high,
                sign * truth,
                sign * r["rate_per_s"],
                raw_bias=before,
            )
        P = linalg.expm(Q)[found["from_id"], found["to_id"]]
        yield line("hidden P", regime, found["low"], found["high"], P, found["probability"])


def numbers(n_sets, rng):
    """Numbers per frame of defects that come and go, raw and corrected for those that were missed
    and those that were never there."""
    n_sets *= 5  # cheap, and the regimes differ by little
    for mean, life, n_frames, found, false in (
        (10, 5, 100, 1.0, 0), (20, 50, 100, 0.95, 0), (10, 1e4, 60, 0.97, 0), (2, 20, 100, 0.9, 0), (3, 50, 120, 0.95, 1), (8, 10, 120, 0.98, 2),
    ):  # fmt: skip
        parts = []
        for i in range(n_sets):
            n_new = rng.poisson(mean / life, n_frames)
            start = np.concatenate(
                [np.zeros(rng.poisson(mean)), np.repeat(np.arange(n_frames), n_new)]
            ).astype(int)
            length = rng.geometric(1 / life, len(start))
            track = np.repeat(np.arange(len(start)), length)
            frame = (
                start[track] + np.arange(len(track)) - np.repeat(np.cumsum(length) - length, length)
            )
            there = (frame < n_frames) & (rng.random(len(frame)) < found)
            chance = np.repeat(np.arange(n_frames), rng.poisson(false, n_frames))
            frame, track = (
                np.append(frame[there], chance),
                np.append(track[there], len(start) + np.arange(len(chance))),
            )
            parts.append(
                pd.DataFrame(
                    {"movie": f"set{i:04d}", "frame": frame, "particle": track, "class_id": 0}
                )
            )
        movies = pd.DataFrame(
            {"movie": [f"set{i:04d}" for i in range(n_sets)], "n_frames": n_frames}
        )
        table = sk.abundances(
            pd.concat(parts, ignore_index=True), by="movie", experiment=Experiment(movies)
        ).query("movie != '*'")
        regime = (
            f"{mean} for {life:g} of {n_frames} frames, {found:.0%} found, {false} false per frame"
        )
        yield line(
            "number",
            regime,
            table["low"],
            table["high"],
            mean * found + false,
            table["mean_number"],
        )
        if found < 1:
            false_bias = {"false_found": float(table["false_per_frame"].mean())}
            limits = (table["corrected_low"], table["corrected_high"])
            yield line(
                "number, corrected", regime, *limits, mean, table["corrected_number"], **false_bias
            )
            yield line(
                "efficiency",
                regime,
                table["efficiency_low"],
                table["efficiency_high"],
                found,
                table["efficiency"],
            )


def beam(n_sets, rng):
    """The cross-section of making a vacancy, on the simulator's perfect tracks, with 3 % of the
    sightings gone, and with holes that grow."""
    for preset, n_frames, share in (
        ("paper", 60, 1.0),
        ("paper", 60, 0.97),
        ("late-stage", 100, 1.0),
    ):
        tables = []
        for seed in range(min(n_sets, 100)):
            movie = sk.simulate_movie(
                preset, seed=seed, name="m", n_frames=n_frames, shape=(384, 384)
            )
            truth = sk.truth_of(movie)
            kinds, a_nm = list(truth.kinds), truth.settings.material.a_nm
            rows = truth.defects.assign(
                class_id=truth.defects["kind"].map({kind: i for i, kind in enumerate(kinds)})
            )
            classes = pd.DataFrame(
                {
                    "class_id": range(len(kinds)),
                    "name": kinds,
                    "n_detections": 1,
                    "mean_patch": None,
                }
            )
            rows = rows[rng.random(len(rows)) < share]
            words = {"sites_per_nm2": 4 / (np.sqrt(3) * a_nm**2), "reach_nm": 2.2 * a_nm}
            tables.append(
                sk.creation(
                    rows,
                    experiment=Experiment(movies_table([movie]), truth.frames, classes),
                    **words,
                )
            )
        found = pd.concat(tables)
        yield line(
            "cross-section",
            f"{preset}, {share:.0%} found",
            found["low"],
            found["high"],
            0.6,
            found["cross_section_barn"],
        )


def nulls(n_sets, rng):
    """D of shuffled and of immobile tracks holds 0."""
    n_tracks, n_frames = 15, 20
    steps = rng.normal(0, np.sqrt(0.1), (n_sets * n_tracks, n_frames, 2)).cumsum(
        axis=1
    ) + rng.normal(0, 0.2, (n_sets * n_tracks, n_frames, 2))
    rows = as_movies(np.zeros(steps.shape[:2], int), n_sets, y_nm=steps[..., 0], x_nm=steps[..., 1])
    for name, control in (
        ("shuffled", sk.shuffled(rows, seed=1)),
        ("immobile", sk.immobile(rows, sigma_nm=0.1, seed=1)),
    ):
        for method in ("cve", "mle"):
            fit = sk.fit_diffusion(control, method=method, frame_time_s=1.0, by="movie").query(
                "movie != '*'"
            )
            yield line(
                f"D by {method} is 0", name, fit["low"], fit["high"], 0.0, fit["D_nm2_per_s"]
            )


PARTS = {"rates": rates, "hidden": hidden, "numbers": numbers, "beam": beam, "nulls": nulls}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=400, help="data sets per regime")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("-o", "--output", help="JSON file")
    words = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine, f"{words.sets} data sets per regime", sep="; ", flush=True)
    lines = []
    for name in words.only:
        begun = time.perf_counter()
        own = list(PARTS[name](words.sets, np.random.default_rng(0)))
        lines += own
        print(
            f"\n{name}, {time.perf_counter() - begun:.0f} "
            f"s\n{pd.DataFrame(own).round(4).to_string(index=False)}",
            flush=True,
        )
    keep({"sets": words.sets, "lines": lines}, words.output)


if __name__ == "__main__":
    main()

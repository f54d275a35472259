"""Look at what is simulated: a contact sheet of the presets, and the physics beside its closed
forms.

    python benchmarks/simulation_figures.py --out figures/

writes ``presets.png`` (one late frame of each preset, with a corner enlarged and its true defects
drawn in, and the spectrum) and ``physics.png`` (squared displacement, waiting times, a dopant's
states, counts, numbers of defects, drift). Every curve is a simulation, every line its closed form.
The numbers that the figures show are printed as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from stemkin.simulation import PRESETS, expected_image, simulate_movie, truth_of

COLOURS = dict(
    zip(
        ("V_S", "V_S2", "Mo_W", "Mo_W+V_S", "V_W", "W_ad"),
        ("tab:red", "magenta", "lime", "cyan", "yellow", "tab:blue"),
        strict=True,
    )
)
QUIET = {"wander_nm": 0.0, "drift_y_nm_per_frame": 0.0, "drift_x_nm_per_frame": 0.0}


def contact_sheet(path):
    figure, axes = plt.subplots(
        3, len(PRESETS), figsize=(3.1 * len(PRESETS), 9.6), layout="constrained"
    )
    for column, preset in zip(axes.T, PRESETS, strict=True):
        movie = simulate_movie(preset, n_frames=100 if preset != "archive" else 60, seed=3)
        frame = movie.n_frames - 5
        image = movie.reader.read(frame, frame + 1)[0].astype(float)
        truth = truth_of(movie)
        low, high = np.percentile(image, (0.5, 99.7))
        column[0].imshow(image, cmap="gray", vmin=low, vmax=high)
        column[0].set_title(f"{preset}, frame {frame}", fontsize=10)
        seen = truth.defects_between(frame, frame + 1)
        column[1].imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
        for kind, own in seen.groupby("kind"):
            column[1].scatter(
                own["x"],
                own["y"],
                s=90,
                facecolors="none",
                edgecolors=COLOURS[kind],
                lw=1.4,
                label=kind,
            )
        side = 0.3 * len(image)
        column[1].set(xlim=(side, 2.1 * side), ylim=(2.1 * side, side))
        counts = seen["kind"].value_counts()
        column[1].set_xlabel(
            ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "no defects", fontsize=7
        )
        window = np.hanning(len(image))[:, None] * np.hanning(len(image))
        spectrum = np.log(np.abs(np.fft.fftshift(np.fft.fft2(window * (image - image.mean())))) + 1)
        middle, reach = len(image) // 2, int(0.38 * len(image))
        column[2].imshow(
            spectrum[middle - reach : middle + reach, middle - reach : middle + reach],
            cmap="magma",
            vmin=np.median(spectrum),
        )
        for axis in column:
            axis.set(xticks=[], yticks=[])
        print(f"{preset:11s} frame {frame}: {counts.to_dict()}")
    handles = [
        plt.Line2D([], [], marker="o", ls="", mfc="none", mec=colour, label=kind)
        for kind, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    figure.savefig(path, dpi=75)


def displacement(axis):
    truth = truth_of(
        simulate_movie(
            "long",
            n_frames=800,
            shape=(512, 512),
            area_frames=800,
            dopant_fraction=0.0,
            vacancy_fraction=0.006,
            cross_section_barn=0.0,
            healing_rate_per_s=0.0,
            hop_rate_per_s=0.12,
            split_rate_per_s=1.0,
            **QUIET,
        )
    )
    rows = truth.defects[truth.defects["kind"] == "V_S"].sort_values(["particle", "frame"])
    for lag in (1, 2, 4, 8, 12):
        kept = rows[rows["frame"] % lag == 0]
        ahead = kept.shift(-1)
        central = kept[["y", "x"]].min(axis=1).gt(120) & kept[["y", "x"]].max(axis=1).lt(392)
        same = (
            (ahead["particle"] == kept["particle"])
            & (ahead["frame"] == kept["frame"] + lag)
            & central
        )
        r2 = ((ahead["y_nm"] - kept["y_nm"]) ** 2 + (ahead["x_nm"] - kept["x_nm"]) ** 2)[same]
        hops, a2 = 0.12 * lag * 2.25, 0.3153**2
        error = a2 * np.sqrt((hops + hops**2) / len(r2))
        wanted = 4 * truth.D_nm2_per_s * lag * 2.25
        axis.errorbar(lag * 2.25, r2.mean(), error, fmt="ko", capsize=3)
        print(
            f"MSD lag {lag}: {r2.mean():.4f} +- {error:.4f} nm2, 4Dt = {wanted:.4f} "
            f"({(r2.mean() - wanted) / error:+.1f} sd)"
        )
    t = np.array([0, 28])
    axis.plot(t, 4 * truth.D_nm2_per_s * t, "r-", label="4 D t, D = k a²/4")
    axis.set(xlabel="lag [s]", ylabel="<r²> [nm²]", title="true hops")
    axis.legend()


def waiting(axis):
    rows = truth_of(
        simulate_movie(
            "paper",
            n_frames=2000,
            area_frames=2000,
            shape=(256, 256),
            hop_rate_per_s=0.0,
            detach_rate_per_s=0.0,
            cross_section_barn=1e-6,
            cross_section_at_dopant=1e7,
        )
    ).sojourns
    rows = rows[(rows["kind"] == "Mo_W+V_S") & (rows["start_s"] < 4000)]
    wait = np.sort(rows["end_s"] - rows["start_s"])
    rate = 0.2 + 0.0044
    axis.semilogy(
        wait,
        1 - np.arange(len(wait)) / len(wait),
        "k-",
        drawstyle="steps",
        label=f"{len(wait)} stays",
    )
    t = np.array([0, wait.max()])
    axis.semilogy(t, np.exp(-rate * t), "r-", label="exp(-(rotate + heal) t)")
    axis.set(
        xlabel="time in one column [s]",
        ylabel="still there",
        title="a bound vacancy",
        ylim=(0.3 / len(wait), 1.2),
    )
    axis.legend()
    print(
        f"mean stay {wait.mean():.3f} +- {wait.mean() / np.sqrt(len(wait)):.3f} s, closed form "
        f"{1 / rate:.3f} s"
    )


def states(axis):
    truth = truth_of(
        simulate_movie(
            "paper",
            n_frames=1500,
            area_frames=1500,
            hop_rate_per_s=0.0,
            cross_section_barn=1e-6,
            cross_section_at_dopant=1e7,
            vacancy_fraction=0.0,
            detach_rate_per_s=0.0,
            complex_healing_rate_per_s=0.02,
        )
    )
    rows = truth.defects[truth.defects["kind"].isin(["Mo_W", "Mo_W+V_S"])].sort_values(
        ["particle", "frame"]
    )
    state = np.where(rows["kind"] == "Mo_W", 0, rows["orientation"] + 1)
    same = (np.diff(rows["particle"]) == 0) & (np.diff(rows["frame"]) == 1)
    counts = np.zeros((4, 4))
    np.add.at(counts, (state[:-1][same], state[1:][same]), 1)
    n = counts.sum(axis=1, keepdims=True)
    P = truth.transition_probabilities().to_numpy()
    axis.errorbar(
        P.ravel(),
        (counts / n).ravel(),
        1.96 * np.sqrt(P * (1 - P) / n).ravel(),
        fmt="ko",
        capsize=3,
    )
    axis.plot([0, 1], [0, 1], "r-", label="exp(Q τ)")
    axis.set(
        xlabel="closed form",
        ylabel="counted",
        title="a dopant's states, per frame",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axis.legend()
    z = (counts - n * P) / np.sqrt(n * P * (1 - P))
    print(
        f"transition matrix: largest deviation {np.abs(z).max():.1f} sd, rms "
        f"{np.sqrt((z**2).mean()):.2f} sd over 16 entries"
    )


def counts(axis):
    movie = simulate_movie(
        "frozen",
        n_frames=300,
        shape=(64, 64),
        gain=1.0,
        offset=0.0,
        read_noise=0.0,
        jitter_x_nm=0.0,
        jitter_y_nm=0.0,
        frame_flicker=0.0,
        line_flicker=0.0,
        contamination=0.0,
        **QUIET,
    )
    frames, means = (
        movie.reader.read(0, 300).astype(float),
        expected_image(movie.reader.settings, 0),
    )
    axis.plot(
        means.ravel(), frames.var(axis=0, ddof=1).ravel(), "k.", ms=2, label="pixels, 300 frames"
    )
    axis.plot([0, means.max()], [0, means.max()], "r-", label="variance = mean")
    axis.set(xlabel="expected counts", ylabel="variance", title="counting statistics")
    axis.legend()
    fano = frames.var(axis=0, ddof=1) / means
    sd = np.sqrt(np.mean(2 / 299 + 1 / (300 * means)) / fano.size)
    print(f"variance / mean = {fano.mean():.4f} +- {sd:.4f}")


def numbers(axis):
    for seed in range(4):
        frames = truth_of(simulate_movie("paper", seed=seed)).frames
        axis.plot(frames["frame"], frames["n_defects"], "-", color="0.4", lw=0.8)
        print(
            f"paper, seed {seed}: {frames['n_defects'].iloc[0]} to {frames['n_defects'].iloc[-1]} "
            f"defects, {frames['n_defects'].sum()} in all"
        )
    axis.axhspan(53, 118, color="tab:red", alpha=0.15, label="the paper: 53 to 118")
    axis.set(
        xlabel="frame", ylabel="defects in sight", title="preset paper, four seeds", ylim=(0, 150)
    )
    axis.legend()


def drift(axis):
    movie = simulate_movie("frozen", n_frames=100, shape=(256, 256), jump_probability=0.03)
    rows = truth_of(movie).defects
    for _, own in rows[rows["kind"] == "Mo_W"].groupby("particle"):
        axis.plot(
            own["frame"],
            own["y"]
            - own["y"].iloc[0]
            + truth_of(movie).drift["shift_y"].iloc[own["frame"].iloc[0]],
            "-",
            lw=3,
            color="0.7",
        )
    axis.plot(truth_of(movie).drift["shift_y"], "r-", lw=1, label="shift_y of the truth")
    axis.set(xlabel="frame", ylabel="y [px]", title="drift of frozen dopants (grey)")
    axis.legend()


def physics(path):
    figure, axes = plt.subplots(2, 3, figsize=(14, 8), layout="constrained")
    for axis, draw in zip(
        axes.ravel(), (displacement, waiting, states, counts, numbers, drift), strict=True
    ):
        draw(axis)
    figure.savefig(path, dpi=75)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for the figures")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    contact_sheet(folder / "presets.png")
    physics(folder / "physics.png")


if __name__ == "__main__":
    main()

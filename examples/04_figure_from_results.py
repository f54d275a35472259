"""Draw one figure from a results folder: a frame with what was found in it, the transitions, the
spreading.

    stemkin demo
    python examples/04_figure_from_results.py stemkin-demo/results figure.png

Everything is read from plain Parquet tables; change what you like. The picture in the README was
made with these lines.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLOURS = [
    "#56B4E9",
    "#E69F00",
    "#66CC66",
    "#CC79A7",
    "#F0E442",
    "#D55E00",
]  # told apart by colour-blind readers too
MARKERS = "osD^vP"


def draw_frame(axes, results: Path, names: dict[int, str]) -> None:
    """Show one frame, and a marker of its class around each detection."""
    picture = np.load(sorted((results / "gallery").glob("*.npz"))[0])
    nm = float(picture["pixel_size_nm"])
    height, width = picture["frame"].shape
    axes.imshow(picture["frame"], cmap="gray", extent=(0, width * nm, height * nm, 0))
    for i, (class_id, name) in enumerate(names.items()):
        chosen = picture["class_id"] == class_id
        y, x = (picture[c][chosen] * nm for c in "yx")
        axes.scatter(
            x,
            y,
            s=90,
            marker=MARKERS[i % 6],
            facecolors="none",
            edgecolors=COLOURS[i % 6],
            linewidths=1.6,
            label=name,
        )
    axes.set(
        xticks=[],
        yticks=[],
        title=f"frame {int(picture['frame_number'])}, {width * nm:.1f} nm wide",
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4, frameon=False)


def draw_transitions(axes, results: Path, names: dict[int, str]) -> None:
    """Show the pooled one-frame transition probabilities with their intervals."""
    rows = pd.read_parquet(results / "transitions.parquet").query(
        "movie == '*' and lag_frames == 1"
    )
    rows = rows[rows["from_id"].isin(names) & rows["to_id"].isin(names)]
    P = rows.pivot_table(index="from_id", columns="to_id", values="probability").loc[
        list(names), list(names)
    ]
    axes.imshow(np.sqrt(P), cmap="Blues", vmin=0, vmax=1)
    for i, start in enumerate(names):
        for j, end in enumerate(names):
            row = rows[(rows["from_id"] == start) & (rows["to_id"] == end)].iloc[0]
            text = f"{row['probability']:.3f}\n{row['low']:.3f}–{row['high']:.3f}"
            axes.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if row["probability"] > 0.6 else "black",
            )
    axes.set_xticks(range(len(names)), names.values())
    axes.set_yticks(range(len(names)), names.values())
    axes.set(title="becomes, one frame later", ylabel="from")


def draw_msd(axes, results: Path, names: dict[int, str]) -> None:
    """Show mean squared displacements with standard errors, and D of each class that moves."""
    msd = pd.read_parquet(results / "msd.parquet").query("movie == '*'")
    diffusion = (
        pd.read_parquet(results / "diffusion.parquet")
        .query("movie == '*'")
        .drop_duplicates("class_id")
        .set_index("class_id")
    )
    for i, (class_id, name) in enumerate(names.items()):
        rows = msd[(msd["class_id"] == class_id) & (msd["n_independent"] >= 5)]
        if rows.empty:
            continue
        D = diffusion.loc[class_id]
        label = (
            f"{name}: D = {D['D_nm2_per_s']:.1e}\n[{D['low']:.1e}, {D['high']:.1e}] nm²/s"
            if D["low"] > 0
            else name
        )
        axes.errorbar(
            rows["lag_s"],
            rows["msd_nm2"],
            rows["std_error"],
            fmt=MARKERS[i % 6],
            ms=5,
            color=COLOURS[i % 6],
            label=label,
        )
    axes.set(xscale="log", yscale="log", xlabel="lag [s]", ylabel="mean squared displacement [nm²]")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def main(results: Path, out: Path) -> None:
    """Draw the three panels of the most frequent classes."""
    classes = pd.read_parquet(
        results / "classes.parquet", columns=["class_id", "name", "n_detections"]
    )
    often = classes[classes["n_detections"] > 0].nlargest(4, "n_detections")
    names = dict(
        zip(
            often["class_id"],
            often["name"].str.replace(r"_([A-Z0-9]+)", r"$_{\1}$", regex=True),
            strict=True,
        )
    )
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(15, 5), layout="constrained", width_ratios=(1, 1, 1.1)
    )
    draw_frame(left, results, names)
    draw_transitions(middle, results, names)
    draw_msd(right, results, names)
    figure.savefig(out, dpi=100, bbox_inches="tight")
    print(f"figure: {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

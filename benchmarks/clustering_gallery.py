"""Draw the classes of results folders: mean image, name, number of detections, likeness to the
motif and to the next best.

stemkin run movies/ -o results/
python benchmarks/clustering_gallery.py results/ other-results/ --out gallery.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

from stemkin.results.store import Store

MAX_CLASSES = 10


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="+", type=Path, help="results folders, one row of pictures each"
    )
    parser.add_argument("--out", type=Path, default=Path("gallery.png"))
    arguments = parser.parse_args()
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    folders = [Store.at(folder).read_table("classes.parquet") for folder in arguments.results]
    seen = [
        rows[rows["n_detections"] > 0].sort_values("n_detections", ascending=False)
        for rows in folders
    ]
    width = max(1, min(MAX_CLASSES, max(map(len, seen))))
    figure, axes = plt.subplots(
        len(seen), width, figsize=(1.7 * width, 2.5 * len(seen)), squeeze=False
    )
    for row, folder, rows in zip(axes, arguments.results, seen, strict=True):
        for panel in row:
            panel.set_axis_off()
        for panel, (_, found) in zip(row, rows.iterrows(), strict=False):
            patch = np.stack([np.asarray(line, float) for line in found["mean_patch"]])
            panel.imshow(patch, cmap="gray", vmin=min(0.0, patch.min()), vmax=max(1.0, patch.max()))
            match = f"{found['match_score']:.2f}" if np.isfinite(found["match_score"]) else "-"
            rival = (
                f"{found['runner_up']} {found['runner_up_score']:.2f}"
                if found["runner_up"]
                else "-"
            )
            panel.set_title(
                f"{found['name']}\n{found['n_detections']:,}  likeness {match}\nnext {rival}",
                fontsize=7,
            )
        row[0].text(
            -0.05,
            1.32,
            folder.resolve().name,
            transform=row[0].transAxes,
            fontsize=9,
            weight="bold",
        )
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=130)
    print(arguments.out)


if __name__ == "__main__":
    main()

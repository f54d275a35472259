"""Figures of neighbourhoods (mean structure, modes, Ward's tree) and of regions that grow; see
`figures` for how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from stemkin.report.figures import HALF, WIDE, _new, _style, as_markup, time_axis
from stemkin.report.palette import ROLES, stand_in

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

N_MODES = 2
LARGEST_ARROW = 0.32
"""Length of the longest arrow [lattice constants]: displacements are drawn so many times larger
than they are."""

CLEARLY = 1.3
"""How far beyond the noise's edge a mode counts."""

SIZES = {"metal": 70.0, "chalcogen": 34.0, "hollow": 20.0}
"""Area of the discs that stand for columns [points squared]."""

REGION_ROLES = {"hole": "ink", "disordered": "disordered", "fragment": "accent"}


def structure(atoms: pd.DataFrame, modes: pd.DataFrame, *, name: str) -> Markup:
    """Draw where the atoms of a class stand with 95 % ellipses, and its first modes; arrows are
    magnified as each panel says."""
    with _style():
        figure = _new((WIDE[0], 3.6))
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.02)
        panels = figure.subplots(1, 1 + N_MODES)
        u = atoms[["dy_a", "dx_a"]].to_numpy()
        reach = _reach(u)
        _columns(panels[0], atoms)
        _ellipses(panels[0], atoms, u, reach)
        _arrows(panels[0], atoms, u * reach)
        panels[0].set_title(f"mean, displacements ×{reach:g}", fontsize=9)
        for m, axes in enumerate(panels[1:]):
            mode = modes[modes["mode"] == m].set_index("atom").reindex(atoms["atom"])
            _columns(axes, atoms)
            if mode["dy"].notna().any() and is_significant(mode):
                moves = np.nan_to_num(mode[["dy", "dx"]].to_numpy()) * np.sqrt(
                    float(mode["variance_a2"].max())
                )
                reach = _reach(moves)
                _arrows(axes, atoms, moves * reach, both=True)
                axes.set_title(f"mode {m + 1}, one standard deviation ×{reach:g}", fontsize=9)
            else:
                axes.set_title(f"mode {m + 1}: no more than noise", fontsize=9)
        return as_markup(
            figure,
            name,
            "Mean positions of the atoms around the defect with 95 % ellipses, and the first modes",
        )


def is_significant(mode: pd.DataFrame) -> bool:
    """Tell whether a mode (its rows of the table ``modes``) varies clearly more than noise."""
    return bool(mode["over_noise"].max() > CLEARLY * mode["noise_edge"].max())


def _reach(moves: np.ndarray) -> float:
    """Return a round factor that makes the longest of `moves` (m, 2) about `LARGEST_ARROW`."""
    longest = float(np.nanmax(np.linalg.norm(moves, axis=1), initial=0.0))
    wanted = LARGEST_ARROW / max(longest, 1e-4)
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max(step * power for step in (1, 2, 5) if step * power <= wanted * (1 + 1e-9)))


def _columns(axes: Axes, atoms: pd.DataFrame) -> None:
    for kind, size in SIZES.items():
        rows = atoms[atoms["column"] == kind]
        axes.scatter(
            rows["x_a"],
            rows["y_a"],
            s=size,
            facecolors="none",
            edgecolors=ROLES["muted"],
            linewidths=0.9,
        )
    axes.set_xlim(-1.5, 1.5)
    axes.set_ylim(1.4, -1.4)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _ellipses(axes: Axes, atoms: pd.DataFrame, u: np.ndarray, reach: float) -> None:
    from matplotlib.patches import Ellipse

    errors = atoms[["error_x_a", "error_y_a", "covariance_yx_a2"]].to_numpy()
    for (y, x), (dy, dx), (sx, sy, cov) in zip(
        atoms[["y_a", "x_a"]].to_numpy(), u, errors, strict=True
    ):
        if not np.isfinite([dy, sx, sy, cov]).all():
            continue
        values, vectors = np.linalg.eigh([[sx**2, cov], [cov, sy**2]])
        width, height = (
            2 * 2.45 * reach * np.sqrt(np.maximum(values, 0))
        )  # 95 % of a Gaussian in two dimensions
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        place = (x + reach * dx, y + reach * dy)
        axes.add_patch(
            Ellipse(
                place,
                width,
                height,
                angle=angle,
                facecolor=ROLES["accent"],
                alpha=0.25,
                linewidth=0,
            )
        )


def _arrows(axes: Axes, atoms: pd.DataFrame, moves: np.ndarray, *, both: bool = False) -> None:
    y, x = atoms["y_a"].to_numpy(), atoms["x_a"].to_numpy()
    for sign in (1, -1) if both else (1,):
        colour = ROLES["accent"] if sign > 0 else ROLES["muted"]
        axes.quiver(x, y, sign * moves[:, 1], sign * moves[:, 0], angles="xy", scale_units="xy", scale=1,
                    color=colour, width=0.006, headwidth=4, headlength=4.5, headaxislength=4)  # fmt: skip


def tree(linkage: np.ndarray, class_ids: Sequence[int]) -> Markup:
    """Draw Ward's tree of the classes; the leaves bear their numbers."""
    from scipy.cluster.hierarchy import dendrogram

    with _style():
        figure = _new((HALF[0], 2.6))
        axes = figure.add_subplot()
        drawn: Any = dendrogram(
            linkage,
            ax=axes,
            no_labels=True,
            color_threshold=0,
            above_threshold_color=ROLES["muted"],
        )
        for i, leaf in enumerate(drawn["leaves"]):
            axes.plot(
                5 + 10 * i,
                0,
                "o",
                color=stand_in(class_ids[leaf]),
                clip_on=False,
                markersize=6,
                zorder=3,
            )
        axes.set_xticks(
            [5 + 10 * i for i in range(len(class_ids))],
            [str(class_ids[leaf]) for leaf in drawn["leaves"]],
        )
        axes.set_xlabel("class")
        axes.set_ylabel("distance")
        return as_markup(
            figure, "ward", "Tree that joins the classes whose mean images are most alike"
        )


def is_dashed(kind: str) -> bool:
    """Tell whether the curves of this kind of region are dashed."""
    return kind == "fragment"


def regions(rows: pd.DataFrame, *, column: str, unit: str, in_frames: bool) -> Markup:
    """Draw the area of each region against time; each curve bears its number at its end."""
    x_name = "frame" if in_frames else "time_s"
    scale, time_unit = (1.0, "") if in_frames else time_axis(float(rows["time_s"].max()))
    with _style():
        figure = _new((WIDE[0], 2.8))
        axes = figure.add_subplot()
        for number, own in rows.groupby("region"):
            kind = str(own["kind"].iloc[0])
            x, y = own[x_name].to_numpy() / scale, own[column].to_numpy()
            mark = "o" if len(x) < 3 else None
            line = (0, (4, 1.6)) if is_dashed(kind) else "solid"
            axes.plot(
                x, y, color=ROLES[REGION_ROLES[kind]], linestyle=line, marker=mark, markersize=3
            )
            axes.annotate(
                str(number),
                (x[-1], y[-1]),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
            )
        axes.set_ylim(bottom=0)
        axes.margins(x=0.03)
        axes.set_xlabel("frame" if in_frames else f"time ({time_unit})")
        axes.set_ylabel(f"area ({unit})")
        return as_markup(
            figure,
            "regions",
            "Area of the largest holes, disordered areas and turned fragments against time",
        )

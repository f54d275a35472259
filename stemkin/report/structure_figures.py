"""Figures of neighbourhoods (mean structure, modes, Ward's tree) and of regions that grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report.canvas import (
    DASHED,
    HALF,
    WIDE,
    as_markup,
    new_figure,
    style,
    time_axis,
    without_axes,
)
from stemkin.report.palette import ROLES, stand_in

if TYPE_CHECKING:
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

RADIUS_95 = 2.45
"""Standard deviations within which a Gaussian in two dimensions holds 95 %: sqrt(-2 log 0.05)."""


def structure_figure(atoms: pd.DataFrame, modes: pd.DataFrame, *, name: str) -> Markup:
    """Draw where the atoms of a class stand, with 95 % ellipses, and its first modes.

    Parameters
    ----------
    atoms
        Rows of the table ``structure`` of one class and site, one per atom.
    modes
        Rows of the table ``modes`` of the same.
    name
        Of the figure, one for each class.
    """
    with style():
        figure = new_figure((WIDE[0], 3.6))
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.02)
        panels = figure.subplots(1, 1 + N_MODES)
        u = atoms[["dy_a", "dx_a"]].to_numpy()
        magnified = _magnification(u)
        _draw_columns(panels[0], atoms)
        _draw_ellipses(panels[0], atoms, u, magnified)
        _draw_arrows(panels[0], atoms, u * magnified)
        panels[0].set_title(f"mean, displacements ×{magnified:g}", fontsize=9)
        for number, axes in enumerate(panels[1:]):
            mode = modes[modes["mode"] == number].set_index("atom").reindex(atoms["atom"])
            _draw_mode(axes, atoms, mode, number)
        says = (
            "Mean positions of the atoms around the defect with 95 % ellipses, and the first modes"
        )
        return as_markup(figure, name, says, atoms)


def _draw_mode(axes: Axes, atoms: pd.DataFrame, mode: pd.DataFrame, number: int) -> None:
    """Draw one standard deviation of a mode both ways, if it is more than noise."""
    _draw_columns(axes, atoms)
    if not (mode["dy"].notna().any() and is_significant(mode)):
        axes.set_title(f"mode {number + 1}: no more than noise", fontsize=9)
        return
    deviation = np.sqrt(float(mode["variance_a2"].max()))
    moves = np.nan_to_num(mode[["dy", "dx"]].to_numpy()) * deviation
    magnified = _magnification(moves)
    _draw_arrows(axes, atoms, moves * magnified)
    _draw_arrows(axes, atoms, moves * magnified, backwards=True)
    axes.set_title(f"mode {number + 1}, one standard deviation ×{magnified:g}", fontsize=9)


def is_significant(mode: pd.DataFrame) -> bool:
    """Tell whether a mode (its rows of the table ``modes``) varies clearly more than noise."""
    return bool(mode["over_noise"].max() > CLEARLY * mode["noise_edge"].max())


def _magnification(moves: np.ndarray) -> float:
    """Return a round factor that makes the longest of `moves` (m, 2) about `LARGEST_ARROW`."""
    longest = float(np.nanmax(np.linalg.norm(moves, axis=1), initial=0.0))
    wanted = LARGEST_ARROW / max(longest, 1e-4)
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max(step * power for step in (1, 2, 5) if step * power <= wanted * (1 + 1e-9)))


def _draw_columns(axes: Axes, atoms: pd.DataFrame) -> None:
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
    without_axes(axes)


def _draw_ellipses(axes: Axes, atoms: pd.DataFrame, u: np.ndarray, magnified: float) -> None:
    """Draw the error of each atom's mean place, as much magnified as its displacement `u`."""
    from matplotlib.patches import Ellipse

    places = atoms[["y_a", "x_a"]].to_numpy()
    errors = atoms[["error_x_a", "error_y_a", "covariance_yx_a2"]].to_numpy()
    for (y, x), (dy, dx), (sx, sy, cov) in zip(places, u, errors, strict=True):
        if not np.isfinite([dy, sx, sy, cov]).all():
            continue
        # The axes of the ellipse are the eigenvectors of the covariance in (x, y).
        values, vectors = np.linalg.eigh([[sx**2, cov], [cov, sy**2]])
        width, height = 2 * RADIUS_95 * magnified * np.sqrt(np.maximum(values, 0))
        ellipse = Ellipse(
            (x + magnified * dx, y + magnified * dy),
            width,
            height,
            angle=np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])),
            facecolor=ROLES["accent"],
            alpha=0.25,
            linewidth=0,
        )
        axes.add_patch(ellipse)


def _draw_arrows(
    axes: Axes, atoms: pd.DataFrame, moves: np.ndarray, *, backwards: bool = False
) -> None:
    """Draw `moves` (m, 2) (dy, dx) from the atoms' places, or their opposites in a fainter ink."""
    sign, colour = 1, ROLES["accent"]
    if backwards:
        sign, colour = -1, ROLES["muted"]
    axes.quiver(
        atoms["x_a"].to_numpy(),
        atoms["y_a"].to_numpy(),
        sign * moves[:, 1],
        sign * moves[:, 0],
        angles="xy",
        scale_units="xy",
        scale=1,
        color=colour,
        width=0.006,
        headwidth=4,
        headlength=4.5,
        headaxislength=4,
    )


def ward_figure(linkage: np.ndarray, class_ids: Sequence[int]) -> Markup:
    """Draw Ward's tree of the classes; the leaves bear their numbers.

    Parameters
    ----------
    linkage
        (n - 1, 4) as SciPy writes a tree.
    class_ids
        (n,) class of each leaf.
    """
    from scipy.cluster.hierarchy import dendrogram

    with style():
        figure = new_figure((HALF[0], 2.6))
        axes = figure.add_subplot()
        drawn: Any = dendrogram(
            linkage,
            ax=axes,
            no_labels=True,
            color_threshold=0,
            above_threshold_color=ROLES["muted"],
        )
        leaves = [class_ids[leaf] for leaf in drawn["leaves"]]
        places = [5 + 10 * i for i in range(len(leaves))]  # where SciPy puts them
        for place, class_id in zip(places, leaves, strict=True):
            colour = stand_in(class_id)
            axes.plot(place, 0, "o", color=colour, clip_on=False, markersize=6, zorder=3)
        axes.set_xticks(places, [str(class_id) for class_id in leaves])
        axes.set_xlabel("class")
        axes.set_ylabel("distance")
        says = "Tree that joins the classes whose mean images are most alike"
        joins = pd.DataFrame(linkage, columns=["one", "other", "distance", "n_leaves"])
        return as_markup(figure, "ward", says, joins)


def is_dashed(kind: str) -> bool:
    """Tell whether the curves of this kind of region are dashed."""
    return kind == "fragment"


def regions_figure(rows: pd.DataFrame, *, column: str, unit: str, in_frames: bool) -> Markup:
    """Draw the area of each region against time; each curve bears its number at its end.

    Parameters
    ----------
    rows
        Rows of the table ``regions`` of one movie.
    column, unit
        The column that holds the area, and its unit.
    in_frames
        Whether the axis of time counts frames.
    """
    x_name = "time_s"
    if in_frames:
        x_name = "frame"
    divisor, label = time_axis(float(rows["time_s"].max()), in_frames=in_frames)
    with style():
        figure = new_figure((WIDE[0], 2.8))
        axes = figure.add_subplot()
        for number, own in rows.groupby("region"):
            x, y = own[x_name].to_numpy() / divisor, own[column].to_numpy()
            _draw_region(axes, str(number), str(own["kind"].iloc[0]), x, y)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.03)
        axes.set_xlabel(label)
        axes.set_ylabel(f"area ({unit})")
        says = "Area of the largest holes, disordered areas and turned fragments against time"
        return as_markup(figure, "regions", says, rows)


def _draw_region(axes: Axes, number: str, kind: str, x: np.ndarray, y: np.ndarray) -> None:
    line: Any = "solid"
    if is_dashed(kind):
        line = DASHED
    mark = None
    if len(x) < 3:
        mark = "o"
    colour = ROLES[REGION_ROLES[kind]]
    axes.plot(x, y, color=colour, linestyle=line, marker=mark, markersize=3)
    end = (x[-1], y[-1])
    axes.annotate(number, end, xytext=(3, 0), textcoords="offset points", fontsize=8, va="center")

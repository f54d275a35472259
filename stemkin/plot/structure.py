"""Figures of neighbourhoods (mean structure, modes, Ward's tree) and of what an observer learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.detection.patch_grid import GRID, STEPS
from stemkin.plot.canvas import HALF, in_style, without_axes
from stemkin.plot.palette import class_colour, colour

SQUARE = (3.6, 3.6)

LARGEST_ARROW = 0.32
"""Length of the longest arrow [lattice constants]: displacements are drawn so many times larger
than they are."""

CLEARLY = 1.3
"""How far beyond the noise's edge a mode counts."""

SIZES = {"metal": 70.0, "chalcogen": 34.0, "hollow": 20.0}
"""Area of the discs that stand for columns [points squared]."""

RADIUS_95 = 2.45
"""Standard deviations within which a Gaussian in two dimensions holds 95 %: sqrt(-2 log 0.05)."""

SMALLEST = 0.02
"""Points of a signature below this share of its largest are not drawn."""


@in_style(SQUARE)
def draw_structure(axes: Any, atoms: pd.DataFrame) -> None:
    """Draw where the atoms around a defect stand on the mean, with 95 % ellipses. Computes once.

    The whole width is three lattice constants; displacements are magnified as the title says.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    atoms
        Rows of the table ``structure`` of one class and site, one per atom.

    Returns
    -------
    The axes.
    """
    u = atoms[["dy_a", "dx_a"]].to_numpy()
    magnified = _magnification(u)
    _draw_columns(axes, atoms)
    _draw_ellipses(axes, atoms, u, magnified)
    _draw_arrows(axes, atoms, u * magnified)
    axes.set_title(f"mean, displacements ×{magnified:g}", fontsize=9)


@in_style(SQUARE)
def draw_mode(axes: Any, atoms: pd.DataFrame, modes: pd.DataFrame, number: int) -> None:
    """Draw one standard deviation of a mode both ways, if it is more than noise. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    atoms
        As in `draw_structure`.
    modes
        Rows of the table ``modes`` of the same class and site.
    number
        Of the mode, from 0.

    Returns
    -------
    The axes.
    """
    mode = modes[modes["mode"] == number].set_index("atom").reindex(atoms["atom"])
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


def _draw_columns(axes: Any, atoms: pd.DataFrame) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path
    from matplotlib.transforms import IdentityTransform

    axes.set_xlim(-1.5, 1.5)
    axes.set_ylim(1.4, -1.4)
    axes.set_aspect("equal")
    without_axes(axes)
    # of a disc of one unit's radius: the sizes are areas [points squared] of squares around discs
    sizes = atoms["column"].map(SIZES).to_numpy(dtype=float)
    discs = PathCollection(
        [Path.unit_circle()],
        sizes=sizes / 4,
        offsets=atoms[["x_a", "y_a"]].to_numpy(),
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors=colour("muted"),
        linewidths=0.9,
        transform=IdentityTransform(),
    )
    axes.add_collection(discs, autolim=False)


def _draw_ellipses(axes: Any, atoms: pd.DataFrame, u: np.ndarray, magnified: float) -> None:
    """Draw the error of each atom's mean place, as much magnified as its displacement `u`."""
    from matplotlib.collections import EllipseCollection

    errors = atoms[["error_x_a", "error_y_a", "covariance_yx_a2"]].to_numpy(dtype=float)
    known = np.isfinite(u).all(axis=1) & np.isfinite(errors).all(axis=1)
    if not known.any():
        return
    sx, sy, cov = errors[known].T
    # The axes of the ellipse are the eigenvectors of the covariance in (x, y).
    covariances = np.stack([np.stack([sx**2, cov]), np.stack([cov, sy**2])]).transpose(2, 0, 1)
    values, vectors = np.linalg.eigh(covariances)
    width, height = 2 * RADIUS_95 * magnified * np.sqrt(np.maximum(values, 0)).T
    places = atoms[["x_a", "y_a"]].to_numpy()[known] + magnified * u[known, ::-1]
    ellipses = EllipseCollection(
        width,
        height,
        np.degrees(np.arctan2(vectors[:, 1, 0], vectors[:, 0, 0])),
        units="xy",
        offsets=places,
        offset_transform=axes.transData,
        facecolors=colour("accent"),
        alpha=0.25,
        linewidths=0,
    )
    axes.add_collection(ellipses, autolim=False)


def _draw_arrows(
    axes: Any, atoms: pd.DataFrame, moves: np.ndarray, *, backwards: bool = False
) -> None:
    """Draw `moves` (m, 2) (dy, dx) from the atoms' places, or their opposites in a fainter ink."""
    sign, ink = 1, colour("accent")
    if backwards:
        sign, ink = -1, colour("muted")
    axes.quiver(
        atoms["x_a"].to_numpy(),
        atoms["y_a"].to_numpy(),
        sign * moves[:, 1],
        sign * moves[:, 0],
        angles="xy",
        scale_units="xy",
        scale=1,
        color=ink,
        width=0.006,
        headwidth=4,
        headlength=4.5,
        headaxislength=4,
    )


@in_style((HALF[0], 2.6))
def draw_ward(axes: Any, linkage: np.ndarray, class_ids: Sequence[int]) -> None:
    """Draw Ward's tree of the classes; the leaves bear their numbers. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    linkage
        (n - 1, 4) as SciPy writes a tree.
    class_ids
        (n,) class of each leaf.

    Returns
    -------
    The axes.
    """
    from scipy.cluster.hierarchy import dendrogram

    drawn: Any = dendrogram(
        linkage,
        ax=axes,
        no_labels=True,
        color_threshold=0,
        above_threshold_color=colour("muted"),
    )
    leaves = [class_ids[leaf] for leaf in drawn["leaves"]]
    places = [5 + 10 * i for i in range(len(leaves))]  # where SciPy puts them
    for place, class_id in zip(places, leaves, strict=True):
        ink = class_colour(class_id)
        axes.plot(place, 0, "o", color=ink, clip_on=False, markersize=6, zorder=3)
    axes.set_xticks(places, [str(class_id) for class_id in leaves])
    axes.set_xlabel("class")
    axes.set_ylabel("distance")


@in_style(SQUARE)
def draw_signature(axes: Any, signature: np.ndarray) -> None:
    """Draw a signature: discs where it is darker than the crystal, rings where brighter.

    Computes once. The whole width is three lattice constants.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    signature
        (P,) at the points of `observer.GRID`, as a model's observer learned it.

    Returns
    -------
    The axes.
    """
    y, x = (GRID / STEPS @ np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]])).T
    largest = max(float(np.abs(signature).max()), 1e-12)
    share = signature / largest
    accent, ink = colour("accent"), colour("ink")
    for sign, face, edge in ((-1, accent, accent), (1, "none", ink)):
        own = sign * share > SMALLEST
        sizes = 46 * np.abs(share[own])
        axes.scatter(x[own], y[own], s=sizes, facecolors=face, edgecolors=edge, linewidths=0.8)
    axes.plot(0, 0, "+", color=ink, markersize=7)
    axes.set_xlim(-1.45, 1.45)
    axes.set_ylim(1.45, -1.45)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title("missing atom: darker ●, brighter ○", fontsize=9)


@in_style(HALF)
def draw_noise(axes: Any, alike: np.ndarray) -> None:
    """Draw how alike noise is with distance, as a model's observer learned it. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    alike
        (R,) correlation of the noise at 0, 1, ... steps of the grid.

    Returns
    -------
    The axes.
    """
    distance = np.arange(len(alike)) / STEPS
    axes.axhline(0, color=colour("muted"), linewidth=0.8)
    axes.plot(distance, alike, "o-", color=colour("accent"), markersize=3)
    axes.set_xlabel("distance (lattice constants)")
    axes.set_title("correlation of the noise", fontsize=9)

"""The figures of the page: what `stemkin.plot` draws, as SVG text with what is read to the blind.

Every function takes small arrays; none opens a window or leaves a figure behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin import plot
from stemkin.plot.canvas import HALF, WIDE, without_axes
from stemkin.plot.motion import seen_stays
from stemkin.plot.places import longest_tracks, occupied_shares
from stemkin.report.canvas import as_markup, new_figure, stand_ins

N_MODES = 2
MAX_MAPS = 4


def populations_figure(means: pd.DataFrame, class_ids: Sequence[int]) -> Markup:
    """Draw what `mean_populations` gave, of the classes `class_ids`."""
    says = "Number of defects of each class per frame against time, with 95 % bands"
    with stand_ins():
        figure = new_figure(WIDE)
        plot.draw_populations(figure.add_subplot(), means, class_ids=class_ids)
        numbers = means.drop(columns=["bin", "in_seconds"], errors="ignore")
        return as_markup(figure, "populations", says, numbers)


def drift_figure(frames: pd.DataFrame, *, pixel_size_nm: float, name: str) -> Markup:
    """Draw the cumulative shift of one movie, and under it what became of each frame.

    Parameters
    ----------
    frames
        Rows of the table ``frames`` of one movie, in order.
    pixel_size_nm
        NaN leaves shifts in pixels.
    name
        Of the figure, one for each movie.
    """
    says = (
        "Cumulative drift in x and y against time; below it a strip that shows the status of each "
        "frame"
    )
    with stand_ins():
        figure = new_figure((HALF[0], 2.5))
        above, strip = figure.subplots(2, 1, sharex=True, height_ratios=(10, 1.1))
        plot.draw_drift(above, frames, pixel_size_nm=pixel_size_nm)
        above.set_xlabel("")
        above.tick_params(axis="x", length=0)
        plot.draw_statuses(strip, frames)
        shown = ["frame", "time_s", "status", "shift_y", "shift_x"]
        return as_markup(figure, name, says, frames[shown])


def order_figure(fractions: pd.DataFrame) -> Markup:
    """Draw what `mean_fractions` gave."""
    says = "Share of the area that is ordered lattice, disordered lattice and vacuum, against time"
    with stand_ins():
        figure = new_figure((WIDE[0], 2.5))
        plot.draw_order(figure.add_subplot(), fractions)
        return as_markup(figure, "phases", says, fractions.drop(columns="in_seconds"))


def training_figure(
    curves: Mapping[str, Sequence[float]], x_name: str, x: Sequence[float]
) -> Markup:
    """Draw loss curves against `x`."""
    says = "Loss of the training and validation frames against training steps"
    with stand_ins():
        figure = new_figure((HALF[0], 2.8))
        plot.draw_training(figure.add_subplot(), curves, x_name, x)
        return as_markup(figure, "training", says, pd.DataFrame({x_name: list(x), **curves}))


def survival_figure(
    curves: pd.DataFrame, dwell_times: pd.DataFrame, class_ids: Sequence[int]
) -> Markup:
    """Draw how long stays last, of the tables ``survival`` and ``dwell_times``."""
    says = "Share of stays that last longer than a time, for each class, with 95 % bands"
    with stand_ins():
        figure = new_figure((WIDE[0], 3.6))
        axes = figure.add_subplot()
        plot.draw_survival(axes, curves, dwell_times=dwell_times, class_ids=class_ids)
        return as_markup(figure, "survival", says, seen_stays(curves, class_ids))


def msd_figure(curves: pd.DataFrame, lines: Mapping[int, tuple[float, float]]) -> Markup:
    """Draw rows of the table ``msd`` and the `lines` of D; see `plot.draw_msd`."""
    says = "Mean squared displacement against lag time, with 95 % error bars and the fitted line"
    with stand_ins():
        figure = new_figure((HALF[0], 4.0))
        plot.draw_msd(figure.add_subplot(), curves, lines=lines)
        return as_markup(figure, "msd", says, curves)


def states_figure(edges: pd.DataFrame, names: Mapping[int, str], *, name: str = "states") -> Markup:
    """Draw classes and the rates between them; see `plot.draw_states`.

    The figure is called `name`.
    """
    says = "Graph of the states with an arrow and a rate for each of the most counted changes"
    with stand_ins():
        figure = new_figure((WIDE[0], 4.6))
        plot.draw_states(figure.add_axes((0.0, 0.0, 1.0, 1.0)), edges, classes=names)
        return as_markup(figure, name, says, edges.drop(columns="corrected", errors="ignore"))


def broom_figure(
    tracks: pd.DataFrame,
    *,
    size: tuple[float, float],
    unit: str,
    frame_time_s: float,
    n_frames: int,
    name: str,
) -> Markup:
    """Draw the longest tracks of a movie in x, y and time; see `plot.draw_broom`.

    The figure is called `name`, one for each movie; a `frame_time_s` of NaN is not known.
    """
    says = "Tracks as lines in x, y and time, which goes up, in the colours of their classes"
    rows = longest_tracks(tracks)
    with stand_ins():
        figure = new_figure((HALF[0], 4.6))
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
        plot.draw_broom(
            axes, rows, size=size, unit=unit, n_frames=n_frames, frame_time_s=frame_time_s
        )
        return as_markup(figure, name, says, rows)


def occupancy_figure(
    tracks: pd.DataFrame,
    class_ids: Sequence[int],
    *,
    size: tuple[float, float],
    unit: str,
    n_frames: int,
    name: str,
) -> Markup:
    """Draw in which share of the frames each place is taken, a map for each of four classes.

    See `plot.draw_occupancy`; the figure is called `name`.
    """
    says = "Maps of how often each place of the frame is taken, one for each class"
    with stand_ins():
        figure = new_figure((WIDE[0], 3.0))
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.9, wspace=0.05)
        panels = np.atleast_1d(figure.subplots(1, MAX_MAPS))
        for axes in panels[len(class_ids) :]:
            without_axes(axes)
        counted = []
        for axes, class_id in zip(panels, class_ids, strict=False):
            plot.draw_occupancy(axes, tracks, class_id, unit=None, size=size, n_frames=n_frames)
            taken = occupied_shares(tracks, class_id, size=size, n_frames=n_frames)
            counted.append(taken.assign(class_id=class_id))
        numbers = pd.concat(counted).rename(columns={"y": f"y_{unit}", "x": f"x_{unit}"})
        return as_markup(figure, name, says, numbers)


def structure_figure(atoms: pd.DataFrame, modes: pd.DataFrame, *, name: str) -> Markup:
    """Draw where the atoms of a class stand, and its first modes; the figure is called `name`."""
    says = "Mean positions of the atoms around the defect with 95 % ellipses, and the first modes"
    with stand_ins():
        figure = new_figure((WIDE[0], 3.6))
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.02)
        panels = figure.subplots(1, 1 + N_MODES)
        plot.draw_structure(panels[0], atoms)
        for number, axes in enumerate(panels[1:]):
            plot.draw_mode(axes, atoms, modes, number)
        return as_markup(figure, name, says, atoms)


def ward_figure(linkage: np.ndarray, class_ids: Sequence[int]) -> Markup:
    """Draw Ward's tree of the classes; see `plot.draw_ward`."""
    says = "Tree that joins the classes whose mean images are most alike"
    with stand_ins():
        figure = new_figure((HALF[0], 2.6))
        plot.draw_ward(figure.add_subplot(), linkage, class_ids)
        joins = pd.DataFrame(linkage, columns=["one", "other", "distance", "n_leaves"])
        return as_markup(figure, "ward", says, joins)


def regions_figure(rows: pd.DataFrame) -> Markup:
    """Draw the area of each region of the table ``regions`` against time."""
    says = "Area of the largest holes, disordered areas and turned fragments against time"
    with stand_ins():
        figure = new_figure((WIDE[0], 2.8))
        plot.draw_regions(figure.add_subplot(), rows)
        return as_markup(figure, "regions", says, rows)


def learned_figure(signature: np.ndarray, alike: np.ndarray, *, name: str) -> Markup:
    """Draw the look of a missing atom and how alike noise is; the figure is called `name`."""
    says = "Look of a missing atom as learned from the movies, and correlation of the noise"
    with stand_ins():
        figure = new_figure(HALF)
        looks, noise = figure.subplots(1, 2, width_ratios=(1.0, 1.0))
        figure.subplots_adjust(left=0.01, wspace=0.28, top=0.9)
        plot.draw_signature(looks, signature)
        plot.draw_noise(noise, alike)
        return as_markup(figure, name, says)

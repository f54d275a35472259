"""Figures of the report in your own axes, for notebooks and papers.

    from stemkin import plot

    results = sk.open_results("results/")
    results.plot.survival()                                # what the report shows, in one call
    axes = plot.draw_msd(None, results.msd, classes=results.classes)
    axes.figure.savefig("msd.pdf")

Each function takes Matplotlib axes first (None for new ones), draws a table into them with its
units on the labels, and returns them. The report draws its figures by the same functions. They
follow Matplotlib's style: on dark ground (``pyplot.style.use("dark_background")``) classes have the
colours of the report's dark page.
"""

from stemkin.plot.frame import draw_frame
from stemkin.plot.motion import draw_msd, draw_survival
from stemkin.plot.places import draw_broom, draw_occupancy
from stemkin.plot.shapes import draw_shapes
from stemkin.plot.states import draw_states
from stemkin.plot.structure import (
    draw_mode,
    draw_noise,
    draw_signature,
    draw_structure,
    draw_ward,
)
from stemkin.plot.summaries import lines_of_diffusion, rates_of_changes
from stemkin.plot.times import (
    draw_drift,
    draw_order,
    draw_populations,
    draw_regions,
    draw_statuses,
    draw_training,
)

__all__ = [
    "draw_broom",
    "draw_drift",
    "draw_frame",
    "draw_mode",
    "draw_msd",
    "draw_noise",
    "draw_occupancy",
    "draw_order",
    "draw_populations",
    "draw_regions",
    "draw_shapes",
    "draw_signature",
    "draw_states",
    "draw_statuses",
    "draw_structure",
    "draw_survival",
    "draw_training",
    "draw_ward",
    "lines_of_diffusion",
    "rates_of_changes",
]

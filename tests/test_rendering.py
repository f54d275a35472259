"""A figure drawn once is, as SVG and as pixels, what Matplotlib draws of it twice."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image

from stemkin.plot import images
from stemkin.report.rendering import DOTS_PER_INCH, NOT_SAID, drawn


@pytest.fixture(scope="module")
def figure():
    """A figure of lines, marks, many discs, arrows, texts, and what is cut off by axes and paths."""
    figure = Figure(figsize=(4.0, 3.01))
    left, right = figure.subplots(1, 2)
    left.plot([0, 1, 2], [0, 2, 1], "o--", linewidth=2, markersize=40)
    left.fill_between([0, 2], [0, 1], [1, 3], alpha=0.3)
    left.set_xlim(0.3, 1.8)
    left.set_title("a title")
    right.scatter([0, 1, 2], [0, 1, 0], s=[20, 160, 290], facecolors="none", edgecolors="k")
    right.quiver([0.0, 1.0], [0.0, 1.0], [1.0, -1.0], [1.0, 0.0])
    right.plot(
        [0, 2], [0, 1], linewidth=90, clip_path=right.add_patch(Circle((1, 0.5), 0.4, fill=False))
    )
    right.annotate("turned", (1, 0.2), rotation=40, bbox={"facecolor": "w"})
    return figure


def test_the_svg_is_what_matplotlib_writes(figure):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mpl.rcParams, "svg.hashsalt", "same")
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=NOT_SAID)
        assert drawn(figure)[0] == file.getvalue()


def test_the_pixels_are_those_that_matplotlib_paints(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    painted = np.asarray(Image.open(file).convert("RGB")).astype(int)
    pixels = drawn(figure)[1].astype(int)
    assert pixels.shape == painted.shape
    # places of letters are those of SVG, up to a pixel beside those of hinted letters
    away = np.abs(pixels - painted).max(axis=2) > 60
    assert away.mean() < 0.01
    assert (painted.min(axis=2) < 200).mean() > 0.05


def test_an_image_is_refused_rather_than_left_out():
    figure = Figure()
    figure.subplots().imshow(np.zeros((3, 3)))
    with pytest.raises(NotImplementedError, match="made of lines"):
        drawn(figure)


@pytest.mark.parametrize("effort", [images.QUICKLY, images.THOROUGHLY])
def test_a_coloured_png_shows_the_colours_it_was_given(effort):
    colours = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(images.png(colours, effort=effort))))
    assert (shown == colours).all()

"""A figure drawn once, as SVG and as pixels: ticks, texts and layout are worked out for both.

Matplotlib draws a figure by calls to a renderer. `TwoRenderers` hands each call to that of SVG, at
72 units an inch, and, with lengths enlarged, to that of pixels (Agg).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from matplotlib.backend_bases import GraphicsContextBase, RendererBase
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.backends.backend_svg import RendererSVG
    from matplotlib.figure import Figure

UNITS_PER_INCH = 72
DOTS_PER_INCH = 200
NOT_SAID = {"Date": None, "Creator": None, "Format": None, "Type": None}
"""What an SVG file does not say of itself: equal results give equal bytes."""


def drawn(figure: Figure) -> tuple[str, np.ndarray]:
    """Draw a figure, and return it as SVG text and as pixels.

    Parameters
    ----------
    figure
        Of lines, paths, marks and texts.

    Returns
    -------
    The file, and (y, x, 3) uint8 on white, `DOTS_PER_INCH` dots an inch.

    Raises
    ------
    NotImplementedError
        If there is anything else in it, such as an image.
    """
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.backends.backend_svg import RendererSVG

    width, height = figure.get_size_inches()
    file = io.StringIO()
    vector = RendererSVG(UNITS_PER_INCH * width, UNITS_PER_INCH * height, file, metadata=NOT_SAID)
    across, down = round(DOTS_PER_INCH * width), round(DOTS_PER_INCH * height)
    pixels = RendererAgg(across, down, DOTS_PER_INCH)
    _paint_white(pixels)
    before = figure.dpi
    figure.set_dpi(UNITS_PER_INCH)
    figure.draw(cast("RendererBase", TwoRenderers(vector, pixels)))
    figure.set_dpi(before)
    vector.finalize()
    return file.getvalue(), np.asarray(pixels.buffer_rgba())[..., :3]


def _paint_white(pixels: RendererAgg) -> None:
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    whole = Affine2D().scale(pixels.width, pixels.height)
    gc = pixels.new_gc()
    gc.set_linewidth(0)
    pixels.draw_path(gc, Path.unit_rectangle(), whole, (1.0, 1.0, 1.0, 1.0))


class TwoRenderers:
    """Hands what is drawn to a renderer of SVG and to one of pixels.

    Places and lengths that come in are those of SVG. Widths of lines and sizes of letters are in
    points, which each renderer turns into its own; all else is enlarged for the pixels. What draws
    nothing (sizes of texts, groups, units) is asked of SVG's.
    """

    def __init__(self, vector: RendererSVG, pixels: RendererAgg) -> None:
        """Draw on both from now on."""
        from matplotlib.transforms import Affine2D

        self.vector, self.pixels = vector, pixels
        self.times = DOTS_PER_INCH / UNITS_PER_INCH
        self.larger = Affine2D().scale(self.times)

    def __getattr__(self, name: str) -> Any:
        """Return what else a renderer has: that of SVG."""
        return getattr(self.vector, name)

    def _enlarged(self, gc: GraphicsContextBase) -> GraphicsContextBase:
        """Return how something is drawn with what it is clipped by enlarged."""
        from matplotlib.transforms import Bbox, TransformedPath

        own = self.pixels.new_gc()
        own.copy_properties(gc)
        rectangle = gc.get_clip_rectangle()
        if rectangle is not None:
            own.set_clip_rectangle(Bbox(self.times * rectangle.get_points()))
        clip: Any = gc.get_clip_path()
        path, transform = clip
        if path is not None:
            own.set_clip_path(TransformedPath(path, transform + self.larger))
        return own

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        """Draw a path on both."""
        self.vector.draw_path(gc, path, transform, rgbFace)
        self.pixels.draw_path(self._enlarged(gc), path, transform + self.larger, rgbFace)

    def draw_markers(
        self,
        gc: Any,
        marker_path: Any,
        marker_trans: Any,
        path: Any,
        trans: Any,
        rgbFace: Any = None,
    ) -> None:
        """Draw one mark at many places on both."""
        self.vector.draw_markers(gc, marker_path, marker_trans, path, trans, rgbFace)
        self.pixels.draw_markers(
            self._enlarged(gc),
            marker_path,
            marker_trans + self.larger,
            path,
            trans + self.larger,
            rgbFace,
        )

    def draw_path_collection(
        self,
        gc: Any,
        master_transform: Any,
        paths: Any,
        all_transforms: Any,
        offsets: Any,
        offset_trans: Any,
        *others: Any,
        **words: Any,
    ) -> None:
        """Draw many paths at many places on both."""
        self.vector.draw_path_collection(
            gc, master_transform, paths, all_transforms, offsets, offset_trans, *others, **words
        )
        self.pixels.draw_path_collection(
            self._enlarged(gc),
            (master_transform + self.larger).frozen(),
            paths,
            all_transforms,
            offsets,
            offset_trans + self.larger,
            *others,
            **words,
        )

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        """Draw a line of text on both."""
        self.vector.draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        place = (self.times * x, self.times * y)
        self.pixels.draw_text(self._enlarged(gc), *place, s, prop, angle, ismath, mtext)

    def _refuse(self, *_: Any, **__: Any) -> None:
        """Refuse what one of them would draw and the other would not."""
        msg = "a figure of the report is made of lines, marks and texts; others are not drawn"
        raise NotImplementedError(msg)

    draw_image = draw_tex = draw_quad_mesh = draw_gouraud_triangles = _refuse
    start_rasterizing = start_filter = _refuse

"""Tables of other programs: their tracks in, ours out.

    tracks = sk.from_trackmate("cells.xml")                        # units and frame time of the file
    tracks = sk.from_trackpy(linked, pixel_size_nm=0.03, frame_time_s=2.25)
    tracks = sk.from_table(rows, columns={"particle": "id", "frame": "t", "y": "row", "x": "col"})
    sk.fit_diffusion(tracks)

What comes in is one table ``tracks`` that knows its experiment, whoever made it: frames are whole
numbers, y and x are pixels whose (0, 0) has its centre at 0.0, nanometres stand beside them where
the pixel size is known, and a track is a line without branches. Times, dates, words for classes and
units of length are turned into that, or refused in a sentence; nothing is guessed.

`to_trackpy`, `to_trackmate`, `to_deeptime`, `to_napari`, `to_xarray` and `to_geff` go the other way.
"""

from stemkin.foreign_tables.arrays import to_deeptime, to_napari, to_xarray
from stemkin.foreign_tables.btrack import from_btrack
from stemkin.foreign_tables.columns import from_table
from stemkin.foreign_tables.geff import to_geff
from stemkin.foreign_tables.laptrack import from_laptrack
from stemkin.foreign_tables.trackmate import from_trackmate
from stemkin.foreign_tables.trackmate_written import to_trackmate
from stemkin.foreign_tables.trackpy import from_trackpy, to_trackpy

__all__ = [
    "from_btrack",
    "from_laptrack",
    "from_table",
    "from_trackmate",
    "from_trackpy",
    "to_deeptime",
    "to_geff",
    "to_napari",
    "to_trackmate",
    "to_trackpy",
    "to_xarray",
]

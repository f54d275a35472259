"""One file per format behind one small Protocol, `Reader`.

A reader is a small picklable object: it knows a movie's shape, type and calibration, and reads
frames by number, opening the file anew in each task. `FileReader` brings all of it but the frames.
`stemkin.readers.registry` adds a format in one file of your own, without touching stemkin. Any
object that follows `Reader` makes a movie as well: ``Movie(reader, "name", reader.calibration)``.
Three rules: allocate nothing from a header alone, hold no open file, and say what is wrong in one
sentence (`MovieError`).

>>> [one.name for one in FORMATS if ".tif" in one.suffixes]
['TIFF']
"""

from stemkin.readers.base import (
    CALIBRATED,
    ArrayReader,
    Calibration,
    FileReader,
    Options,
    Reader,
)
from stemkin.readers.errors import DamagedDataError, MovieError
from stemkin.readers.notation import remembered
from stemkin.readers.opening import open_reader
from stemkin.readers.place import Place, place_of
from stemkin.readers.registry import FORMATS, Format, begins, register, stem_of

__all__ = [
    "CALIBRATED",
    "FORMATS",
    "ArrayReader",
    "Calibration",
    "DamagedDataError",
    "FileReader",
    "Format",
    "MovieError",
    "Options",
    "Place",
    "Reader",
    "begins",
    "open_reader",
    "place_of",
    "register",
    "remembered",
    "stem_of",
]

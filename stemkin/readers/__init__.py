"""One file per format behind one small Protocol, `Reader`; a new format is one file and one line in
`FORMATS`.

A reader is a small picklable object: it knows a movie's shape, type and calibration, and reads
frames by number, opening the file anew in each task. `FileReader` brings all of it but the frames.
A format of raw 16-bit 256 x 256 frames behind an 8-byte header would be this file::

    # stemkin/readers/ours.py
    def open_ours(source: str, options: Options) -> FileReader:
        n = (size_of(source) - 8) // (256 * 256 * 2)         # from the file's size: headers may lie
        return OursReader(source=source, shape=(n, 256, 256), dtype=np.dtype("u2"), format="ours",
                          **calibrated(0.03, 0.03, None, "the maker's manual"))

    class OursReader(FileReader):
        def _frames(self, start, stop):
            frames = np.empty((stop - start, *self.shape[1:]), "<u2")
            read_into(self.source, 8 + start * 256 * 256 * 2, frames)   # raises DamagedDataError where the file ends
            return frames

and this line in `FORMATS`: ``Format("ours", (".ours",), "stemkin.readers.ours:open_ours",
begins(b"OURS"))``. Without touching stemkin, any object that follows `Reader` makes a movie:
``Movie(reader, "name", reader.calibration)``. Three rules: allocate nothing from a header alone,
hold no open file, and say what is wrong in one sentence (`MovieError`).

>>> [f.name for f in FORMATS if ".tif" in f.suffixes]
['TIFF']
"""

from stemkin.readers.base import (
    CALIBRATED,
    ArrayReader,
    Calibration,
    DamagedDataError,
    FileReader,
    MovieError,
    Options,
    Reader,
)
from stemkin.readers.registry import FORMATS, Format, begins, open_reader, stem_of

__all__ = [
    "CALIBRATED", "FORMATS", "ArrayReader", "Calibration", "DamagedDataError", "FileReader", "Format", "MovieError", "Options",
    "Reader", "begins", "open_reader", "stem_of",
]  # fmt: skip

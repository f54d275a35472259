"""One file per format behind one small Protocol, `Reader`; a new format is one file and one line here."""

from stemkin.readers.base import ArrayReader, Calibration, Reader

__all__ = ["ArrayReader", "Calibration", "Reader"]

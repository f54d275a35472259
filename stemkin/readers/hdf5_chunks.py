"""Chunks of HDF5 datasets, unpacked no further than their shape.

The HDF5 library inflates a chunk to whatever it unpacks to before it looks at its size. So chunks
that went through deflate (``compression="gzip"``), perhaps shuffled before, are read as they are
stored and unpacked here; those with a checksum besides are unpacked to their limit first, and then
by the library.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from stemkin.readers.errors import DamagedDataError
from stemkin.readers.place import Place
from stemkin.readers.unpacking import unpacked

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
"""Numbers of the library's own filters."""
CHECKSUM_BYTES = 4
SLACK_BYTES = 2**16
"""A chunk that does not compress is a little larger than its content."""

Range = tuple[int, int]


class BoundedDataset:
    """A dataset that slices to NumPy, as `AxisPlan.take` does it, within the bounds of its chunks.

    Parameters
    ----------
    dataset
        Of h5py.
    place
        For messages.
    """

    def __init__(self, dataset: Any, place: Place) -> None:
        """Look at the filters of a dataset."""
        self._dataset = dataset
        self._place = place
        self._filters = filters_of(dataset)

    def __getitem__(self, selection: tuple[slice | int, ...]) -> np.ndarray:
        """Return a part: each axis a slice of step 1 or a number."""
        codes = [code for code, _ in self._filters]
        if self._dataset.chunks is None or DEFLATE not in codes:
            self._check_sizes(selection)
            return np.asarray(self._dataset[selection])
        if not self._is_plain(codes):
            self._unpack_all(selection)
            return np.asarray(self._dataset[selection])
        return self._assembled(selection)

    def _is_plain(self, codes: list[int]) -> bool:
        """Tell whether chunks can be unpacked here, and are in memory what they are in the file."""
        import h5py

        as_in_memory = h5py.h5t.py_create(self._dataset.dtype, logical=True)
        same = bool(self._dataset.id.get_type() == as_in_memory)
        return same and set(codes) <= {DEFLATE, SHUFFLE}

    def _ranges(self, selection: tuple[slice | int, ...]) -> list[Range]:
        """Return (start, stop) of every axis."""
        ranges = []
        for one, length in zip(selection, self._dataset.shape, strict=True):
            if isinstance(one, slice):
                start, stop, _ = one.indices(length)
            else:
                start, stop = int(one), int(one) + 1
            ranges.append((start, stop))
        return ranges

    def _corners(self, ranges: list[Range]) -> Iterator[tuple[int, ...]]:
        """Yield the first index of every chunk that a selection touches."""
        steps = zip(ranges, self._dataset.chunks, strict=True)
        yield from itertools.product(
            *(range(start - start % n, stop, n) for (start, stop), n in steps)
        )

    def _assembled(self, selection: tuple[slice | int, ...]) -> np.ndarray:
        """Return a part, put together from its chunks."""
        ranges = self._ranges(selection)
        shape = [max(0, stop - start) for start, stop in ranges]
        fill = self._dataset.fillvalue
        found = np.full(shape, 0 if fill is None else fill, self._dataset.dtype)
        for corner in self._corners(ranges):
            chunk = self._chunk(corner)
            if chunk is None:  # never written
                continue
            # `here` is what is wanted in the chunk's own numbers, `there` in those of the part
            here, there = [], []
            for first, n, (start, stop) in zip(corner, chunk.shape, ranges, strict=True):
                low, high = max(first, start), min(first + n, stop)
                here.append(slice(low - first, high - first))
                there.append(slice(low - start, high - start))
            found[tuple(there)] = chunk[tuple(here)]
        numbers = [i for i, one in enumerate(selection) if not isinstance(one, slice)]
        return found.squeeze(axis=tuple(numbers))

    def _chunk(self, corner: tuple[int, ...]) -> np.ndarray | None:
        """Return a chunk, None where it was never written."""
        if self._dataset.id.get_chunk_info_by_coord(corner).byte_offset is None:
            return None
        skipped, raw = self._dataset.id.read_direct_chunk(corner)
        n_bytes = self._chunk_bytes()
        for i, (code, values) in reversed(list(enumerate(self._filters))):
            if skipped >> i & 1:
                continue
            if code == DEFLATE:
                raw = unpacked("zlib", raw, n_bytes, self._place)
            else:
                raw = unshuffled(raw, values[0])
        if len(raw) != n_bytes:
            msg = f"a chunk of {self._place} has {len(raw):,} bytes, not {n_bytes:,}"
            raise DamagedDataError(msg)
        return np.frombuffer(raw, self._dataset.dtype).reshape(self._dataset.chunks)

    def _unpack_all(self, selection: tuple[slice | int, ...]) -> None:
        """Refuse chunks that unpack too far, where the library has to unpack them."""
        codes = [code for code, _ in self._filters]
        behind = codes[codes.index(DEFLATE) + 1 :]
        for corner in self._corners(self._ranges(selection)):
            if self._dataset.id.get_chunk_info_by_coord(corner).byte_offset is None:
                continue
            skipped, raw = self._dataset.id.read_direct_chunk(corner)
            if skipped:
                continue
            if behind == [FLETCHER32]:
                raw = raw[:-CHECKSUM_BYTES]
            elif behind:
                msg = f"a chunk of {self._place} was packed again after it was deflated"
                raise DamagedDataError(msg)
            unpacked("zlib", raw, self._chunk_bytes() + CHECKSUM_BYTES, self._place)

    def _check_sizes(self, selection: tuple[slice | int, ...]) -> None:
        """Refuse chunks of other filters that are stored larger than they are."""
        if self._dataset.chunks is None or not self._filters:
            return
        most = self._chunk_bytes() * 9 // 8 + SLACK_BYTES
        for corner in self._corners(self._ranges(selection)):
            if self._dataset.id.get_chunk_info_by_coord(corner).size > most:
                msg = f"a chunk of {self._place} is stored larger than its shape"
                raise DamagedDataError(msg)

    def _chunk_bytes(self) -> int:
        return int(math.prod(self._dataset.chunks)) * int(self._dataset.dtype.itemsize)


def filters_of(dataset: Any) -> list[tuple[int, tuple[int, ...]]]:
    """Return (number, values) of the filters of a dataset, in the order of writing."""
    plist = dataset.id.get_create_plist()
    found = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return [(int(code), tuple(values)) for code, _, values, _ in found]


def unshuffled(raw: bytes, size: int) -> bytes:
    """Put the bytes of numbers together that the shuffle filter has sorted by significance.

    Parameters
    ----------
    raw
        First bytes of all numbers, then second ones, ...; what is left over stands at the end.
    size
        Bytes of a number.

    >>> unshuffled(b"acebdf!", 2)
    b'abcdef!'
    """
    n = len(raw) // max(1, size)
    sorted_bytes = np.frombuffer(raw, np.uint8, n * size).reshape(size, n)
    return sorted_bytes.T.tobytes() + raw[n * size :]

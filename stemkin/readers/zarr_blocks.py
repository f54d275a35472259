"""Fast reading of Zarr: whole frames from chunks and shards at the codec's own speed.

zarr-python reads anything; for the layout that movies have (chunks along time alone, compressed
with blosc or zstd, or not at all, perhaps in shards, perhaps with checksums) this file asks for the
bytes of a block at once and decodes each chunk straight into its place in the result while the disk
fetches the next. `layout_of` says whether an array has that layout; others go to zarr-python.

Measured on local files (`benchmarks/bench_zarr.py`): zarr-python takes 1.7 to 2.9 times the CPU,
and with the codec pipeline of zarrs 1.05 to 1.35 times. That pipeline uses all cores in each task
unless told otherwise and leaves fsspec stores (S3) to zarr-python, so this file stays.

Nothing is allocated but the frames asked for and their compressed bytes: what a chunk's header
claims is checked against the place that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.errors import DamagedDataError
from stemkin.readers.notation import remembered
from stemkin.readers.place import Place
from stemkin.readers.zarr_codecs import (
    CRC_BYTES,
    check_crc,
    codec_chain,
    codec_named,
    promised_bytes,
)
from stemkin.readers.zarr_files import check_own_file

ABSENT = 2**64 - 1
"""The offset and length by which a shard's index says that a chunk was never written."""
PROBE = 123_456_789
"""A chunk's number that is found again in its name."""


@remembered
@dataclass(frozen=True)
class Layout:
    """The layout of a Zarr array: where its chunks are and how one is decoded.

    Attributes
    ----------
    folder, key
        Where the chunk files are, and the name of file ``i`` in it, with ``{}`` for `i`.
    frames_per_file, frames_per_chunk
        Frames in a file (shard, or chunk where there are no shards) and in a chunk.
    n_frames
        Of the array; the last chunk is filled up with frames that do not count.
    sharded
        Whether a file begins or ends with an index of several chunks.
    stored_dtype
        With the byte order in the file.
    frame_shape
        (height, width) [px].
    codec
        ``"blosc"``, ``"zstd"`` or empty.
    checksum
        Whether a CRC32C follows each chunk.
    index_checksum
        Whether one follows the shard's index.
    fill
        Value of what was never written.
    within
        The folder that its files must not be links out of; None where they may.
    """

    folder: Place
    key: str
    frame_shape: tuple[int, int]
    n_frames: int
    frames_per_file: int
    frames_per_chunk: int
    sharded: bool
    stored_dtype: np.dtype
    codec: str
    checksum: bool
    index_checksum: bool
    fill: float
    within: Place | None = None

    def file(self, i: int) -> Place:
        """Return chunk file `i`."""
        return self.folder / self.key.format(i)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded) as (n, y, x) in the stored type.

        Raises
        ------
        DamagedDataError
            If a chunk does not decode into what it should, or fails its checksum.
        """
        frames = np.empty((stop - start, *self.frame_shape), self.stored_dtype)
        # file `i` holds frames i * frames_per_file and on; `first` and `last` count frames of the
        # movie here, and frames of one file in `_read_file`
        for i in range(start // self.frames_per_file, -(-stop // self.frames_per_file)):
            base = i * self.frames_per_file
            first, last = max(start, base), min(stop, base + self.frames_per_file)
            into = frames[first - start : last - start]
            self._read_file(self.file(i), first - base, last - base, into)
        return frames

    def _read_file(self, file: Place, first: int, last: int, out: np.ndarray) -> None:
        """Fill `out` (n, y, x) with frames `first` to `last` of one file."""
        if self.within is not None:
            check_own_file(file.path, self.within.path)
        if not file.exists():
            out[:] = np.asarray(self.fill).astype(self.stored_dtype)
            return
        # the chunks that hold these frames; the first and the last may begin before `first` and end
        # behind `last`, so `begin` and `end` are what is wanted of each
        n = self.frames_per_chunk
        chunks = range(first // n, -(-last // n))
        if self.sharded:
            places = self._places(file, chunks)
        else:
            places = np.array([[0, file.size()]], np.uint64)
        wanted = [(offset, length) for offset, length in places.tolist() if offset != ABSENT]
        with file.pieces(wanted) as fetch:
            for chunk, (offset, length) in zip(chunks, places.tolist(), strict=True):
                begin, end = max(first, chunk * n), min(last, (chunk + 1) * n)
                into = out[begin - first : end - first]
                if offset == ABSENT:
                    into[:] = np.asarray(self.fill).astype(self.stored_dtype)
                else:
                    self._decode(fetch(offset, length), length, into, begin - chunk * n, file)

    def _places(self, file: Place, chunks: range) -> np.ndarray:
        """Return (offset, length) of the chunks of a shard, from the index at its end.

        Returns
        -------
        (m, 2) uint64 [bytes], one row per chunk in `chunks`; `ABSENT` twice for one never written.
        """
        # the last bytes of a shard: an offset and a length of 8 bytes each for every chunk, in the
        # order of chunks, and then perhaps a checksum of them
        n_chunks = self.frames_per_file // self.frames_per_chunk
        n_bytes = 16 * n_chunks
        if self.index_checksum:
            n_bytes += CRC_BYTES
        size = file.size()
        raw = file.read(max(0, size - n_bytes), size)
        if len(raw) < n_bytes:
            msg = f"{file} is cut short"
            raise DamagedDataError(msg)
        if self.index_checksum:
            content = np.frombuffer(raw, np.uint8)
            check_crc(content[:-CRC_BYTES], content[-CRC_BYTES:], file)
        index = np.frombuffer(raw, "<u8", 2 * n_chunks).reshape(n_chunks, 2)
        places = index[chunks.start : chunks.stop]
        offset, length = places.T
        # offset + length wraps around at 2**64, so each alone is compared with the size as well
        beyond = (offset > size) | (length > size) | (offset + length > size)
        if (beyond & (offset != ABSENT)).any():
            msg = f"the index of {file} points beyond its end"
            raise DamagedDataError(msg)
        return places

    def _decode(
        self, raw: np.ndarray, length: int, into: np.ndarray, skip: int, file: Place
    ) -> None:
        """Decode one chunk; `into` takes its frames from `skip` on."""
        if len(raw) < length:
            msg = f"{file} is cut short"
            raise DamagedDataError(msg)
        if self.checksum:
            check_crc(raw[:-CRC_BYTES], raw[-CRC_BYTES:], file)
            raw = raw[:-CRC_BYTES]
        # codecs give back whole chunks: where all frames of it are wanted, into their place at once
        whole = len(into) == self.frames_per_chunk
        if whole:
            chunk = into
        else:
            chunk = np.empty((self.frames_per_chunk, *self.frame_shape), self.stored_dtype)
        try:
            self._decompress(raw, chunk)
        except (ValueError, RuntimeError, TypeError) as error:
            msg = f"a chunk in {file} does not decode: {error}"
            raise DamagedDataError(msg) from error
        if not whole:
            into[:] = chunk[skip : skip + len(into)]

    def _decompress(self, raw: np.ndarray, chunk: np.ndarray) -> None:
        flat = chunk.reshape(-1).view(np.uint8)
        promised = promised_bytes(self.codec, raw)
        if promised is not None and promised != flat.nbytes:
            msg = f"it has {promised} bytes, not {flat.nbytes}"
            raise ValueError(msg)
        if self.codec:
            codec_named(self.codec).decode(raw, out=flat)
        else:
            flat[:] = raw


def layout_of(array: Any, folder: Place, within: Place | None = None) -> Layout | None:
    """Return the layout of a Zarr array (t, y, x); None where zarr-python has to read it.

    Parameters
    ----------
    array
        A ``zarr.Array``.
    folder
        Where its chunks are.
    within
        As in `Layout`.
    """
    metadata = array.metadata
    unit, inner = array.shards or array.chunks, array.chunks
    cut_in_time_alone = unit[1:] == inner[1:] == array.shape[1:]
    if array.ndim != 3 or not cut_in_time_alone or unit[0] % inner[0]:
        return None
    chain = codec_chain(metadata)
    if chain is None:
        return None
    # how a store names its chunks is asked of zarr: the name of a chunk with a number that can be
    # told from all else in it ("c/123456789/0/0", "123456789.0.0")
    before, probed, after = str(metadata.encode_chunk_key((PROBE, 0, 0))).partition(str(PROBE))
    if not probed:
        return None
    stored = np.dtype(array.dtype)
    if stored.itemsize > 1:
        stored = stored.newbyteorder(chain.order)
    fill = 0.0
    if array.fill_value is not None:
        fill = float(array.fill_value)
    n_frames, height, width = array.shape
    return Layout(
        folder=folder,
        key=f"{before}{{}}{after}",
        frame_shape=(int(height), int(width)),
        n_frames=int(n_frames),
        frames_per_file=int(unit[0]),
        frames_per_chunk=int(inner[0]),
        sharded=array.shards is not None,
        stored_dtype=stored,
        codec=chain.codec,
        checksum=chain.checksum,
        index_checksum=chain.index_checksum,
        fill=fill,
        within=within,
    )

"""Bounds of what zarr-python reads: files of a store alone, and chunks that unpack to their shape.

zarr-python opens whatever a name leads to, and unpacks a chunk before it looks at its size. A store
from someone else may hold a link to any file of yours in the place of a chunk, and eight megabytes
that unpack to eight gigabytes.

zarr-python takes half a second to load; only who opens a store with it loads this file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from zarr.abc.codec import BytesBytesCodec
from zarr.storage import LocalStore

from stemkin.readers.place import Place
from stemkin.readers.unpacking import STREAMS, check_header, unpacked, unpacks_too_far
from stemkin.readers.zarr_files import METADATA, check_metadata_size, check_own_file


class OwnFilesStore(LocalStore):
    """A store in a folder, of which only files of its own are read, and no metadata without end."""

    external = False

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return what `key` holds, None where there is nothing."""
        path = os.path.join(str(self.root), key)
        if not self.external:
            check_own_file(path, str(self.root))
        if key.rsplit("/", 1)[-1] in METADATA and os.path.exists(path):
            check_metadata_size(os.path.getsize(path), path)
        return await super().get(key, prototype, byte_range)


def bounded(array: Any, place: Place) -> Any:
    """Return `array` of zarr-python such that no chunk of it unpacks beyond its shape.

    Parameters
    ----------
    array
        A ``zarr.Array``, just opened; it is changed.
    place
        For messages.
    """
    limit = math.prod(array.chunks) * 8  # filters may change the type
    inner = array.async_array
    pipeline = inner.codec_pipeline
    codecs = [_bounded_codec(codec, limit, place) for codec in pipeline]
    object.__setattr__(inner, "codec_pipeline", type(pipeline).from_codecs(codecs))
    return array


def _bounded_codec(codec: Any, limit: int, place: Place) -> Any:
    """Return a codec that unpacks to `limit` bytes at most."""
    if isinstance(codec, BytesBytesCodec):
        return BoundedCodec(codec, limit, str(place))
    if getattr(codec, "compressor", None) is not None:  # Zarr v2
        return replace(codec, compressor=BoundedCompressor(codec.compressor, limit, str(place)))
    if hasattr(codec, "index_codecs"):  # shards
        return replace(
            codec, codecs=tuple(_bounded_codec(one, limit, place) for one in codec.codecs)
        )
    return codec


@dataclass(frozen=True)
class BoundedCodec(BytesBytesCodec):
    """A codec of Zarr v3 that unpacks to `limit` bytes at most."""

    inner: Any
    limit: int
    source: str
    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        name = str(self.inner.to_dict().get("name", "")).removeprefix("numcodecs.")
        packed = chunk_bytes.as_numpy_array()
        if name in STREAMS:
            content = unpacked(name, packed, self.limit, self.source)
            return chunk_spec.prototype.buffer.from_bytes(content)
        if name == "zstd":
            content = _unzstd(packed, self.limit, self.source)
            return chunk_spec.prototype.buffer.from_bytes(content)
        check_header(name, packed, self.limit, self.source)
        return await self.inner._decode_single(chunk_bytes, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Return what the codec says."""
        return int(self.inner.compute_encoded_size(input_byte_length, chunk_spec))

    def to_dict(self) -> Any:
        """Return what the codec says."""
        return self.inner.to_dict()


@dataclass(frozen=True)
class BoundedCompressor:
    """A compressor of Zarr v2 that unpacks to `limit` bytes at most."""

    inner: Any
    limit: int
    source: str

    @property
    def codec_id(self) -> str:
        """Name of the codec."""
        return str(self.inner.codec_id)

    def decode(self, packed: Any, out: Any = None) -> Any:
        """Unpack a chunk."""
        if self.codec_id in STREAMS:
            return unpacked(self.codec_id, packed, self.limit, self.source)
        if self.codec_id == "zstd":
            return _unzstd(packed, self.limit, self.source)
        check_header(self.codec_id, packed, self.limit, self.source)
        return self.inner.decode(packed, out)


def _unzstd(packed: Any, limit: int, source: str) -> bytes:
    """Unpack Zstandard, whose frames may or may not say to how many bytes."""
    import numcodecs  # type: ignore[import-untyped]

    n_bytes = zstd_content_size(bytes(packed[:18]))
    if n_bytes is not None and n_bytes > limit:
        raise unpacks_too_far(source, limit)
    if n_bytes is not None:
        return bytes(numcodecs.Zstd().decode(packed))
    room = np.empty(limit, np.uint8)
    return bytes(numcodecs.Zstd().decode(packed, out=room))


def zstd_content_size(head: bytes) -> int | None:
    """Return to how many bytes a Zstandard frame unpacks, None where it does not say (RFC 8878)."""
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return None
    # the descriptor has the width of the size in its two highest bits, whether one segment in bit
    # 5 (then there is no window byte), and the width of a dictionary's number in its lowest two
    descriptor = head[4]
    is_single = bool(descriptor & 0x20)
    width = (int(is_single), 2, 4, 8)[descriptor >> 6]
    if not width:
        return None
    at = 5 + int(not is_single) + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(head[at : at + width], "little")
    if width == 2:
        size += 256
    return size

"""Codecs of Zarr's chunks: the chains that are understood, and checks of what was compressed."""

from __future__ import annotations

import struct
from typing import Any, Literal, NamedTuple

import numpy as np

from stemkin.readers.errors import DamagedDataError
from stemkin.readers.place import Place

CRC_BYTES = 4
"""Of a CRC32C, little-endian, behind what it is of."""

ByteOrder = Literal["<", ">", "|"]
"""As NumPy has it; ``"|"`` leaves a type as it is."""


class CodecChain(NamedTuple):
    """How the chunks of an array are coded; fields as in `stemkin.readers.zarr_blocks.Layout`."""

    codec: str
    checksum: bool
    index_checksum: bool
    order: ByteOrder


def codec_chain(metadata: Any) -> CodecChain | None:
    """Return the chain of codecs in an array's metadata; None for any that zarr has to decode."""
    if metadata.zarr_format == 2:
        return _v2_codec(metadata)
    return _v3_codec([codec.to_dict() for codec in metadata.codecs])


def _v3_codec(codecs: list[dict[str, Any]]) -> CodecChain | None:
    """Return the chain of a Zarr v3 array, if it is understood."""
    # outside in: a shard holds one inner chain, and its index has a chain of its own; a chain is
    # "bytes" (the byte order), a codec or none, and a checksum or none
    index_checksum = False
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        said = codecs[0]["configuration"]
        index = [_as_dict(codec)["name"] for codec in said["index_codecs"]]
        if said.get("index_location", "end") not in ("end",) and "end" not in str(
            said["index_location"]
        ):
            return None
        if index not in (["bytes", "crc32c"], ["bytes"]):
            return None
        index_checksum = index == ["bytes", "crc32c"]
        codecs = [_as_dict(codec) for codec in said["codecs"]]
    names = [codec["name"] for codec in codecs]
    checksum = names[-1] == "crc32c"
    if checksum:
        names.pop()
    if names not in (["bytes"], ["bytes", "blosc"], ["bytes", "zstd"]):
        return None
    endian = str((codecs[0].get("configuration") or {}).get("endian") or "little")
    order: ByteOrder = "<"
    if "big" in endian:
        order = ">"
    codec = "".join(names[1:])
    return CodecChain(codec, checksum, index_checksum, order)


def _as_dict(codec: Any) -> dict[str, Any]:
    if isinstance(codec, dict):
        return codec
    return dict(codec.to_dict())


def _v2_codec(metadata: Any) -> CodecChain | None:
    if metadata.filters or metadata.order != "C":
        return None
    codec = ""
    if metadata.compressor is not None:
        codec = metadata.compressor.get_config()["id"]
    if codec not in ("", "blosc", "zstd"):
        return None
    return CodecChain(codec, False, False, "|")  # the type of the array says its byte order


def promised_bytes(codec: str, raw: np.ndarray) -> int | None:
    """Return how many bytes a compressed chunk says that it holds, None where it does not say.

    Parameters
    ----------
    codec
        ``"blosc"``, ``"zstd"`` or empty.
    raw
        (m,) uint8, the chunk as stored, less its checksum.

    Raises
    ------
    ValueError
        If it is not as long as it says of itself.
    """
    if codec == "blosc":
        # its header of 16 bytes has the unpacked size at byte 4 and the packed one at byte 12
        if len(raw) < 16 or struct.unpack_from("<I", raw.data, 12)[0] != len(raw):
            msg = "its compressed size is not what its header says"
            raise ValueError(msg)
        return int(struct.unpack_from("<I", raw.data, 4)[0])
    if codec:
        return None
    return len(raw)


def codec_named(name: str) -> Any:
    """Return the decoder called ``"blosc"`` or ``"zstd"``."""
    import numcodecs  # type: ignore[import-untyped]

    if name == "blosc":
        return numcodecs.Blosc()
    return numcodecs.Zstd()


def check_crc(content: np.ndarray, checksum: np.ndarray, file: Place) -> None:
    """Check the CRC32C of bytes.

    Parameters
    ----------
    content
        (m,) uint8.
    checksum
        (4,) uint8, little-endian.
    file
        For the message.

    Raises
    ------
    DamagedDataError
        If `content` has another one.
    """
    import google_crc32c

    if google_crc32c.value(content) != int.from_bytes(checksum.tobytes(), "little"):
        msg = f"a checksum in {file} does not match: bytes were changed since it was written"
        raise DamagedDataError(msg)

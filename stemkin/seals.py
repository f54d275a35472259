"""Seals of small files: JSON and ``.npz`` that end in the SHA-256 of every byte before it.

A file that rotted or was changed by hand is told from one that stemkin wrote, and any program reads
it as before: of JSON the seal is the last entry, of an ``.npz`` the comment of its archive. (Parquet
has seals of its own, `stemkin.rows.parquet`.)

>>> content = sealed_json({"exit_code": 0})
>>> print(content.decode().splitlines()[1])
  "exit_code": 0,
>>> unsealed_json(content, "run.json")
{'exit_code': 0}
>>> unsealed_json(content.replace(b"0,", b"3,"), "run.json")
Traceback (most recent call last):
    ...
stemkin.errors.DamagedFileError: run.json is damaged (its content is not what was written); ...
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from stemkin.errors import DamagedFileError

SEAL = "seal_sha256"
"""The last entry of every such file."""
NPZ_SEAL = b"stemkin seal_sha256 "
"""How the comment of a sealed archive begins; a checksum of 64 letters follows."""


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Return `content` as a JSON file with its seal; equal contents give equal bytes."""
    text = json.dumps(content, indent=2, default=str)
    body = text.removesuffix("}").rstrip() + ("," if content else "") + "\n"
    checksum = hashlib.sha256(body.encode()).hexdigest()
    return f'{body}  "{SEAL}": "{checksum}"\n}}\n'.encode()


def unsealed_json(content: bytes, place: str) -> dict[str, Any]:
    """Return what a sealed JSON file says, every byte of it checked.

    Parameters
    ----------
    content
        The whole file.
    place
        What to call it.

    Raises
    ------
    DamagedFileError
        If it is not what was written.
    """
    try:
        said = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(place, f"it is no JSON: {error}") from None
    checksum = said.pop(SEAL, None) if isinstance(said, dict) else None
    body = content[: content.rfind(f'  "{SEAL}"'.encode())]
    end = f'  "{SEAL}": "{checksum}"\n}}\n'.encode()
    _check(
        content,
        place,
        sealed=checksum is not None,
        whole=content == body + end and (hashlib.sha256(body).hexdigest() == checksum),
    )
    return dict(said)


def seal_of(content: Any) -> str:
    """Return the SHA-256 of anything that JSON can say, whatever the order of its keys.

    >>> seal_of({"a": 1, "b": 2}) == seal_of({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sealed_npz(arrays: Mapping[str, Any]) -> bytes:
    """Return arrays as a compressed ``.npz`` file with its seal."""
    buffer = io.BytesIO()
    kept: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(buffer, **kept)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = NPZ_SEAL + b"0" * 64
    # the comment is the last thing in the file
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


def check_npz(content: bytes, place: str) -> None:
    """Check every byte of a sealed ``.npz`` file.

    Parameters
    ----------
    content
        The whole file.
    place
        What to call it.

    Raises
    ------
    DamagedFileError
        If it is not what was written.
    """
    body, checksum = content[:-64], content[-64:]
    is_whole = hashlib.sha256(body).hexdigest().encode() == checksum
    _check(content, place, sealed=body.endswith(NPZ_SEAL), whole=is_whole)


def unsealed_npz(content: bytes, place: str) -> dict[str, np.ndarray]:
    """Return the arrays of a sealed ``.npz`` file, every byte of it checked.

    Parameters
    ----------
    content
        The whole file.
    place
        What to call it.

    Raises
    ------
    DamagedFileError
        If it is not what was written.
    """
    check_npz(content, place)
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return dict(stored)


def _check(content: bytes, place: str, *, sealed: bool, whole: bool) -> None:
    """Refuse a file that is empty, has no seal, or is not what its seal says."""
    if not content:
        raise DamagedFileError(place, "it is empty")
    if not sealed:
        raise DamagedFileError(place, "it has no seal of stemkin's")
    if not whole:
        raise DamagedFileError(place, "its content is not what was written")

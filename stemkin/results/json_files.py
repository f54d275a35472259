"""JSON files of a results folder with a seal: the SHA-256 of every byte before it.

The seal is the last entry of the file, so that a person can read the rest, and a file that rotted
or was changed by hand is told from one that stemkin wrote.

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
import json
from collections.abc import Mapping
from typing import Any

from stemkin.errors import DamagedFileError

SEAL = "seal_sha256"
"""The last entry of every such file."""


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
    if not content:
        raise DamagedFileError(place, "it is empty")
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(place, f"it is no JSON: {error}") from None
    if not isinstance(said, dict) or SEAL not in said:
        raise DamagedFileError(place, "it has no seal of stemkin's")
    checksum = said.pop(SEAL)
    body = content[: content.rfind(f'  "{SEAL}"'.encode())]
    if content != f'{body.decode(errors="replace")}  "{SEAL}": "{checksum}"\n}}\n'.encode() or (
        hashlib.sha256(body).hexdigest() != checksum
    ):
        raise DamagedFileError(place, "its content is not what was written")
    return said

"""What a partition adds, as bytes: sums travel to files and back, and no code with them.

Sums are dictionaries of arrays, numbers, tables and small dataclasses of stemkin's own (life tables,
tallies).
They are written as JSON that says how they are built, followed by the bytes of the arrays; whatever
else is met is refused, so that nothing is ever unpickled.

>>> packed = packed_sums({("a", 1): np.arange(3)})
>>> unpacked_sums(packed)
{('a', 1): array([0, 1, 2])}
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd


class UnpackableError(TypeError):
    """Sums of a kind that is not written to files; they are summed anew each time."""


def packed_sums(sums: Any) -> bytes:
    """Return sums as bytes; equal sums give equal bytes.

    Parameters
    ----------
    sums
        Dictionary as in `stemkin.rows.passes`.

    Raises
    ------
    UnpackableError
        If something in it is of no kind that can be written.
    """
    arrays: list[bytes] = []
    said = json.dumps(_said(sums, arrays)).encode()
    return len(said).to_bytes(8, "little") + said + b"".join(arrays)


def unpacked_sums(content: bytes) -> Any:
    """Return the sums that `packed_sums` wrote.

    Parameters
    ----------
    content
        The bytes.

    Raises
    ------
    ValueError
        If they were not written by `packed_sums`.
    """
    length = int.from_bytes(content[:8], "little")
    said = json.loads(content[8 : 8 + length])
    return _built(said, memoryview(content)[8 + length :])


def _said(part: Any, arrays: list[bytes]) -> Any:
    """Return a part of sums as JSON can say it; the bytes of its arrays go to `arrays`."""
    if part is None or type(part) in (bool, int, str):
        return part
    if type(part) is float:
        return {"float": part.hex()}
    if isinstance(part, np.ndarray | np.generic):
        return _said_array(np.asarray(part), arrays, is_scalar=isinstance(part, np.generic))
    if isinstance(part, tuple | list):
        return {type(part).__name__: [_said(one, arrays) for one in part]}
    if isinstance(part, dict):
        pairs = [[_said(key, arrays), _said(value, arrays)] for key, value in part.items()]
        return {"dict": pairs}
    if isinstance(part, pd.DataFrame):
        return {"table": [[name, *_said_column(part[name], arrays)] for name in part.columns]}
    kind = type(part)
    if is_dataclass(kind) and kind.__module__.startswith("stemkin."):
        own = [_said(getattr(part, field.name), arrays) for field in fields(kind)]
        return {"class": [kind.__module__, kind.__qualname__], "fields": own}
    msg = f"sums with a {kind.__name__} are not written"
    raise UnpackableError(msg)


def _said_column(column: pd.Series, arrays: list[bytes]) -> tuple[str, Any]:
    """Return the type of a column, and how its values are built."""
    values = column.to_numpy()
    if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
        return str(column.dtype), {"list": [_said(str(one), arrays) for one in values]}
    return str(column.dtype), _said_array(values, arrays, is_scalar=False)


def _said_array(array: np.ndarray, arrays: list[bytes], *, is_scalar: bool) -> Any:
    """Return how an array is built; its bytes are put behind those that are there."""
    if array.dtype.kind not in "biufc":
        if array.dtype.kind == "U":
            return {"words": array.tolist(), "type": array.dtype.str}
        msg = f"sums with an array of {array.dtype} are not written"
        raise UnpackableError(msg)
    at = sum(map(len, arrays))
    arrays.append(np.ascontiguousarray(array).tobytes())
    return {"array": [array.dtype.str, list(array.shape), at], "scalar": is_scalar}


def _built(said: Any, content: memoryview) -> Any:
    """Return the part of sums that `_said` wrote down."""
    if not isinstance(said, dict):
        return said
    if "float" in said:
        return float.fromhex(said["float"])
    if "array" in said:
        kind, shape, at = said["array"]
        n = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(content, np.dtype(kind), n, at).reshape(shape).copy()
        return array[()] if said["scalar"] else array
    if "table" in said:
        columns = {name: _built(values, content) for name, _, values in said["table"]}
        kinds = {name: kind for name, kind, _ in said["table"]}
        return pd.DataFrame(columns).astype(kinds)
    if "words" in said:
        return np.array(said["words"], dtype=said["type"])
    if "dict" in said:
        return {_built(key, content): _built(value, content) for key, value in said["dict"]}
    if "class" in said:
        kind = _own_class(*said["class"])
        found = object.__new__(kind)
        for field, one in zip(fields(kind), said["fields"], strict=True):
            object.__setattr__(found, field.name, _built(one, content))
        return found
    if "tuple" in said:
        return tuple(_built(one, content) for one in said["tuple"])
    return [_built(one, content) for one in said["list"]]


def _own_class(module: str, name: str) -> Any:
    """Return a dataclass of stemkin's; another one is refused.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    found = None
    if module.startswith("stemkin."):
        found = getattr(import_module(module), name, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        msg = f"{module}.{name} is no kind of sum; sums that another version kept are made anew"
        raise ValueError(msg)
    return found

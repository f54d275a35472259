"""JSON notation of readers, which are built again from it: ``headers.json``, and `children`.

A reader is plain values (a shape, a type, offsets), so it is written as its class and its fields.
Every subclass of `FileReader` is known here from the moment it is defined; any other dataclass that
is a field of a reader says so itself, with the decorator `remembered`.

**What a file can make happen.** What is written names a class, and the name is only looked up among
those that are known: nothing is imported because a file says so, and nothing is called but the
constructors of readers and of the dataclasses that are decorated.

>>> from stemkin.readers import Options
>>> from_json(to_json(Options("a")))
Options(dataset='a', channel=None, time_axis=None, allow_external=False)
>>> from_json({"kind": "os:system", "command": "true"})
Traceback (most recent call last):
...
stemkin.readers.notation.UnknownKindError: no class 'os:system' is known here
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_KNOWN: dict[str, type] = {}
"""The classes that may be built again, by ``module:name``."""


class UnknownKindError(ValueError):
    """A value that is not written down, or a class that nothing here has defined."""


def remembered(kind: type[T]) -> type[T]:
    """Let the values of a dataclass be written down and built again. A class decorator."""
    _KNOWN[_name(kind)] = kind
    return kind


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def to_json(value: Any) -> Any:
    """Turn a reader, or a value in it, into what JSON can say.

    Raises
    ------
    UnknownKindError
        If it holds something that is neither plain nor `remembered`.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.dtype):
        return {"dtype": value.str}
    if isinstance(value, np.ndarray):
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": content, "of": value.dtype.str, "shape": value.shape}
    if isinstance(value, (tuple, list)):
        return {"tuple": [to_json(one) for one in value]}
    if isinstance(value, Mapping):
        return {"mapping": {str(key): to_json(one) for key, one in value.items()}}
    kind = type(value)
    if _KNOWN.get(_name(kind)) is not kind:
        msg = f"{_name(kind)} is not written down; decorate it with stemkin.readers.remembered"
        raise UnknownKindError(msg)
    said = {field.name: to_json(getattr(value, field.name)) for field in fields(kind)}
    return {"kind": _name(kind), **said}


def from_json(said: Any) -> Any:
    """Build again what `to_json` took apart.

    Raises
    ------
    UnknownKindError
        If it names a class that is not known here.
    ValueError, TypeError, KeyError, AttributeError
        If it is not what `to_json` writes.
    """
    # plain values stand for themselves; everything else is an object, told apart by its keys, the
    # class of a reader or dataclass by "kind"
    if not isinstance(said, dict):
        return said
    if "kind" in said:
        if said["kind"] not in _KNOWN:
            msg = f"no class {said['kind']!r} is known here"
            raise UnknownKindError(msg)
        values = {key: from_json(value) for key, value in said.items() if key != "kind"}
        return _KNOWN[said["kind"]](**values)
    if "tuple" in said:
        return tuple(from_json(one) for one in said["tuple"])
    if "mapping" in said:
        return {key: from_json(one) for key, one in said["mapping"].items()}
    if "dtype" in said:
        return np.dtype(said["dtype"])
    stored = np.frombuffer(base64.b64decode(said["array"]), said["of"])
    return stored.reshape(said["shape"]).copy()

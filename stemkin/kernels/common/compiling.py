"""Plain loops as machine code: compiled once, and kept beside the file where there is a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., object])


def compiled(loop: Loop) -> Loop:
    """Return a loop over arrays that runs as machine code, when it is first called.

    Parameters
    ----------
    loop
        A function of numbers and arrays in Numba's Python; it may call others that are compiled.
        Its sums are in the order in which they are written, on any machine.
    """
    words: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(Loop, njit(cache=True, **words)(loop))
    except RuntimeError:  # there is no folder to keep it in
        return cast(Loop, njit(**words)(loop))

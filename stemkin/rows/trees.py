"""Partial results added as a tree, so that no task holds many of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask

from stemkin.blas import on_one_thread

FAN = 8
"""Partial sums that one task adds."""


def as_tree(parts: list[Any], together: Callable[[list[Any]], Any]) -> Any:
    """Return the delayed sum of the delayed `parts`, at most `FAN` of them added by one task.

    Parameters
    ----------
    parts
        Delayed partial results, one or more.
    together
        Picklable; from a list of partial results to what they come to.
    """
    # Neighbours are added level by level, so a task holds at most `FAN` sums and the order of
    # additions is that of the partitions, whichever of them is done first.
    while len(parts) > 1:
        groups = [parts[i : i + FAN] for i in range(0, len(parts), FAN)]
        parts = [dask.delayed(on_one_thread)(together, group) for group in groups]
    return parts[0]

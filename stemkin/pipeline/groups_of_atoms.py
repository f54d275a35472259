"""Groups of tracked atoms in a run, where they are asked for: tables of their shapes and changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from stemkin import tables
from stemkin.kinetics import complexes
from stemkin.pipeline.questions import Asking

GROUPS = ("complexes", "complex_shapes", "complex_transitions")
"""Tables of runs that ask for complexes."""


def groups_followed(all_rows: Callable[[], Any], asking: Asking) -> dict[str, pd.DataFrame]:
    """Return the tables of `GROUPS`; none where the run does not ask for them. Computes once.

    Parameters
    ----------
    all_rows
        Makes the rows of whole tracks of all movies.
    asking
        What the run asks: atoms within ``complex_reach_nm`` of each other belong together.
    """
    settings = asking.settings
    if settings.complex_reach_nm is None:
        return {}
    words: dict[str, Any] = {
        "reach_nm": settings.complex_reach_nm,
        "n_atoms": settings.complex_atoms,
        "own_frame": settings.complex_own_frame,
    }
    found = complexes(all_rows(), **words, **asking.words)
    changes = tables.conform(found.transitions.table, "complex_transitions")
    own = (found.table, tables.conform(found.shapes, "complex_shapes"), changes)
    return dict(zip(GROUPS, own, strict=True))

"""What tests draw at random and compare with.

>>> from tests.strategies import assert_same_rows, computes, time_chunkings
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from dask.callbacks import Callback
from hypothesis import strategies as st


@st.composite
def time_chunkings(draw: st.DrawFn, n_frames: int) -> tuple[int, ...]:
    """Draw a split of `n_frames` frames into blocks: any lengths of at least one frame that add
    up."""
    cuts = draw(st.sets(st.integers(1, n_frames - 1))) if n_frames > 1 else set()
    edges = [0, *sorted(cuts), n_frames]
    return tuple(stop - start for start, stop in itertools.pairwise(edges))


class _Counter(Callback):
    """Counts the schedulers that start and the tasks that run while it is registered."""

    def __init__(self) -> None:
        self.n_computes, self.n_tasks = 0, 0

        def start(dsk: Any) -> None:
            self.n_computes += 1

        def pretask(key: Any, dsk: Any, state: Any) -> None:
            self.n_tasks += 1

        super().__init__(start=start, pretask=pretask)


@contextmanager
def computes(*, at_most: int) -> Iterator[_Counter]:
    """Check that Dask computes at most so many times within (local schedulers; `distributed` does
    not tell)."""
    counter = _Counter()
    with counter:
        yield counter
    assert counter.n_computes <= at_most, (
        f"computed {counter.n_computes} times, at most {at_most} allowed"
    )


def assert_same_rows(found: Any, wanted: Any, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Check that two tables (pandas, Dask or record arrays) hold equal rows in equal order; the
    index does not count.

    With `rtol` or `atol` numbers may differ by that much; without, they are equal to the last bit.
    """
    found, wanted = _as_table(found), _as_table(wanted)
    assert list(found.columns) == list(wanted.columns), (
        f"columns {list(found.columns)} != {list(wanted.columns)}"
    )
    assert len(found) == len(wanted), f"{len(found)} rows, expected {len(wanted)}"
    if rtol == 0 and atol == 0:
        pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    else:
        pd.testing.assert_frame_equal(found, wanted, check_exact=False, rtol=rtol, atol=atol)


def _as_table(rows: Any) -> pd.DataFrame:
    if hasattr(rows, "compute"):
        rows = rows.compute()
    if isinstance(rows, np.ndarray):
        rows = pd.DataFrame({name: rows[name] for name in rows.dtype.names})
    return rows.reset_index(drop=True)

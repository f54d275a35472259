"""What tests draw at random and compare with.

>>> from tests.strategies import assert_same_rows, assert_same_sums, computes, time_chunkings
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from dask.callbacks import Callback
from hypothesis import strategies as st

from stemkin.rows.passes import Question, answers

FEW_NUMBERS = {
    "null_controls": False,
    "self_check_runs": 0,
    "correct_names": False,
    "diffusion_methods": ["cve"],
}
"""Settings ``[kinetics]`` of runs whose tests are not about numbers."""


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


def assert_same_sums(
    found: Any, wanted: Any, questions_of: Callable[[Any], list[Question[Any]]]
) -> None:
    """Check that two tables of tracks add up to the same bits, whatever is asked of them.

    An answer is made of these sums alone, so equal sums are equal answers, and fitting them again
    for each way in which a table can be cut would prove nothing more.

    Parameters
    ----------
    found, wanted
        The same tracks, differently partitioned.
    questions_of
        From a table of tracks to the questions.
    """
    sums = [
        answers(rows, [replace(asked, finish=_as_they_are) for asked in questions_of(rows)])
        for rows in (found, wanted)
    ]
    for number, (own, other) in enumerate(zip(*sums, strict=True)):
        assert len(own) == len(other)
        for part, whole in zip(own, other, strict=True):
            assert part, f"question {number} found nothing to add"
            assert part.keys() == whole.keys(), f"question {number}"
            for key, numbers in part.items():
                for a, b in zip(_arrays(numbers), _arrays(whole[key]), strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=f"question {number}, {key}")


def _as_they_are(*sums: Any) -> tuple[Any, ...]:
    return sums


def _arrays(numbers: Any) -> list[Any]:
    """Return the arrays of a sum: itself, or those that it holds."""
    if is_dataclass(numbers):
        return [getattr(numbers, own.name) for own in fields(numbers)]
    return [numbers]

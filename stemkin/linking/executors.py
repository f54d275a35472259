"""Who carries out the order of linking: a plain loop, a lazy Dask graph, or a stream of tasks.

The order (`stemkin.linking.order`) is written once, over two calls: `each` block by itself, and
`once` for all of them. What it passes from call to call are *handles*: to a loop and to a stream
they are the values themselves, to a graph the keys of tasks that will make them.

>>> counted = Loop().each(len, ["ab", "c"])
>>> Loop().once(sum, counted)
3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pandas as pd

from stemkin.blas import on_one_thread
from stemkin.schedulers.streams import results

Step = Callable[..., Any]
"""A picklable function, or a `functools.partial` of one."""


class Executor(Protocol):
    """Whoever carries out the steps of an order."""

    def each(self, step: Step, *columns: Sequence[Any], same: Sequence[Any] = ()) -> list[Any]:
        """Call `step` for every block, in parallel where that is possible.

        Parameters
        ----------
        step
            Called with one handle of each of the `columns`, and with `same`.
        columns
            One handle per block each, equally many.
        same
            Handles that are the same for every block.

        Returns
        -------
        One handle per block.
        """
        ...

    def once(self, step: Step, *handles: Any) -> Any:
        """Call `step`, a light one, with `handles` or lists of them; return one handle."""
        ...


class Loop:
    """Carries out every call at once, here, one after another."""

    def each(self, step: Step, *columns: Sequence[Any], same: Sequence[Any] = ()) -> list[Any]:
        """Return what `step` gives for every block."""
        return [step(*row, *same) for row in zip(*columns, strict=True)]

    def once(self, step: Step, *handles: Any) -> Any:
        """Return what `step` gives."""
        return step(*handles)


@dataclass(frozen=True)
class Stream:
    """Sends every block's call through the active scheduler's window (`stemkin.schedulers`).

    What the calls return comes back to this process, so it should be small. `retries`: how often a
    call that fails is tried again.
    """

    retries: int = 0

    def each(self, step: Step, *columns: Sequence[Any], same: Sequence[Any] = ()) -> list[Any]:
        """Return what `step` gives for every block; the first call that fails raises its error."""
        rows = list(enumerate(zip(*columns, strict=True)))
        call = partial(_call_numbered, step, tuple(same))
        found = {item[0]: result for item, result in results(call, rows, retries=self.retries)}
        return [found[number] for number in range(len(rows))]

    def once(self, step: Step, *handles: Any) -> Any:
        """Return what `step` gives, in this process."""
        return step(*handles)


def _call_numbered(step: Step, same: tuple[Any, ...], item: tuple[int, tuple[Any, ...]]) -> Any:
    return step(*item[1], *same)


class Graph:
    """Writes every call down as one task of a Dask graph. Lazy: handles are keys, nothing is done.

    All tasks lie in one dictionary, so that a graph costs as many steps as it has tasks; objects of
    `dask.delayed` would each carry, and merge, a graph of their own.
    """

    def __init__(self, verb: str, token: str) -> None:
        """Begin a graph whose keys start with `verb`; `token` tells what all of it is made of."""
        self._verb, self._token = verb, token
        self._tasks: dict[Any, Any] = {}
        self._n_calls: Counter[str] = Counter()

    def take_in(self, collection: Any) -> list[Any]:
        """Add the graph of a Dask DataFrame; return the key of each of its partitions."""
        parts = collection.to_delayed()
        self._tasks.update(parts[0].dask)
        return [part.key for part in parts]

    def each(self, step: Step, *columns: Sequence[Any], same: Sequence[Any] = ()) -> list[Any]:
        """Return the key of a task for every block."""
        return [self.once(step, *row, *same) for row in zip(*columns, strict=True)]

    def once(self, step: Step, *handles: Any) -> Any:
        """Return the key of a task."""
        name = getattr(step, "func", step).__name__.strip("_")
        key = (f"{self._verb}-{name}-{self._token}", self._n_calls[name])
        self._n_calls[name] += 1
        self._tasks[key] = (on_one_thread, step, *handles)
        return key

    def to_dataframe(self, keys: Sequence[Any], empty: pd.DataFrame) -> Any:
        """Return the tables behind `keys` as the partitions of a Dask DataFrame. Lazy."""
        import dask.dataframe as dd

        layer = _Layer(self._tasks, self._token)
        return dd.from_graph(layer, empty, (None,) * (len(keys) + 1), list(keys), self._verb)


class _Layer(Mapping[Any, Any]):
    """Tasks that Dask tells apart by a word, and not by looking at each of them."""

    def __init__(self, tasks: dict[Any, Any], token: str) -> None:
        self._tasks, self._token = tasks, token

    def __dask_tokenize__(self) -> str:
        """Return what tells this layer from others."""
        return self._token

    def __getitem__(self, key: Any) -> Any:
        """Return a task."""
        return self._tasks[key]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the keys."""
        return iter(self._tasks)

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self._tasks)

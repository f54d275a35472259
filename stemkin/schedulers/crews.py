"""Crews: who does the tasks of a stream, threads of this process or the workers of a cluster.

Both take calls and hand out what came of each (`Outcome`); the loop that keeps them busy is the
same (`stemkin.schedulers.streams`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

from stemkin.blas import on_one_thread
from stemkin.errors import LostSchedulerError
from stemkin.schedulers.absent_workers import AbsentWorkers
from stemkin.schedulers.active import n_threads

Item = TypeVar("Item")
Result = TypeVar("Result")

TASKS_PER_THREAD = 2
"""Tasks in flight for each thread: one that runs, one that waits so that no worker ever does."""
THREAD_PREFIX = "stemkin-task"
"""Of the names of a stream's threads: one of them may be where Python closes a stream that was left
behind; it does not wait for itself."""
LOOK_EVERY_S = 1.0
"""How often the scheduler is asked for its number of threads, which costs as much as a task."""

LOST = (
    "the connection to the Dask scheduler was lost; what is done is kept: start it, and the same "
    "command goes on"
)


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What came of one item: a result, or the error that every try ended in."""

    item: Item
    result: Result | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Call:
    """A function and what it is called on.

    `asked` tells the stream's own items from what was added to it.
    """

    function: Callable[[Any], Any]
    item: Any
    asked: bool = False


class Crew(Protocol):
    """Who does the tasks of a stream. What it sends out is known by a future of its own kind."""

    def width(self) -> int:
        """Return how many tasks keep the whole crew busy now."""

    def send(self, calls: list[Call]) -> list[Any]:
        """Set out on `calls` and return a future for each."""

    def some_done(self, in_flight: Collection[Any]) -> list[Any]:
        """Wait until some futures of those `in_flight` are done, and return these."""

    def outcome(self, call: Call, future: Any) -> Outcome[Any, Any]:
        """Return what became of a finished future, and let it go."""

    def dismiss(self, in_flight: Collection[Any]) -> None:
        """Cancel what is still in flight, and go."""


class ThreadCrew:
    """Threads of this process."""

    def __init__(self, retries: int) -> None:
        """Start threads that try a failing call `retries` times more."""
        self._retries = retries
        self._pool = ThreadPoolExecutor(n_threads(), thread_name_prefix=THREAD_PREFIX)

    def width(self) -> int:
        """Return two tasks for each thread."""
        return TASKS_PER_THREAD * n_threads()

    def send(self, calls: list[Call]) -> list[Any]:
        """Hand `calls` to the pool of threads."""
        return [self._pool.submit(_persistent, call, self._retries) for call in calls]

    def some_done(self, in_flight: Collection[Any]) -> list[Any]:
        """Wait for the next future, and return it with those that are done by then."""
        return list(wait(in_flight, return_when=FIRST_COMPLETED).done)

    def outcome(self, call: Call, future: Future[Any]) -> Outcome[Any, Any]:
        """Return the result of the call, or the error of its last try."""
        return _outcome(call.item, future)

    def dismiss(self, in_flight: Collection[Any]) -> None:  # noqa: ARG002 - the pool knows them
        """Drop what waits and let what runs come to its end."""
        by_one_of_its_own = threading.current_thread().name.startswith(THREAD_PREFIX)
        self._pool.shutdown(wait=not by_one_of_its_own, cancel_futures=True)


class ClusterCrew:
    """The workers of a `distributed` client."""

    def __init__(
        self, client: Any, retries: int, resources: dict[str, float] | None = None
    ) -> None:
        """Use the workers of `client`; `resources` are asked of them by the stream's own items."""
        from distributed import as_completed

        self._client, self._retries, self._resources = client, retries, resources
        self._done = as_completed()
        self._name, self._numbers = uuid4().hex, itertools.count()
        self._width, self._looked = 0, -LOOK_EVERY_S
        self._absent = AbsentWorkers(client)

    def width(self) -> int:
        """Return two tasks for each thread that the cluster has now, and at least two."""
        now = time.monotonic()
        if self._width == 0 or now - self._looked > LOOK_EVERY_S:
            self._width, self._looked = _width(), now
        return self._width

    def send(self, calls: list[Call]) -> list[Any]:
        """Submit `calls`, those of the same kind in one update of the scheduler's graph.

        All calls of a function in this stream are one group of tasks, and all streams of this
        process one span: the scheduler forgets neither.
        """
        from dask.utils import funcname

        futures = []
        for (function, asked), group in itertools.groupby(
            calls, key=lambda call: (call.function, call.asked)
        ):
            words: dict[str, Any] = {"retries": self._retries, "pure": False}
            if asked:
                words["resources"] = self._resources
            task, items = partial(on_one_thread, function), [call.item for call in group]
            name = f"{funcname(function)}-{self._name}"
            words["key"] = [(name, next(self._numbers)) for _ in items]
            with _one_span():
                futures += self._client.map(task, items, **words)
        self._done.update(futures)
        return futures

    def some_done(self, in_flight: Collection[Any]) -> list[Any]:  # noqa: ARG002 - as above
        """Wait for the next future, and return it with those that are done by then."""
        return list(self._done.next_batch())

    def outcome(self, call: Call, future: Any) -> Outcome[Any, Any]:
        """Return the result of the call, or its error.

        Raises
        ------
        LostSchedulerError
            If the scheduler is gone, and with it whatever was in flight.
        """
        found = _answer(self._client, call.item, future)
        future.release()
        return found

    def dismiss(self, in_flight: Collection[Any]) -> None:
        """Cancel what is in flight, if anybody is there to hear of it."""
        self._absent.stop()
        if self._client.status == "running":
            self._client.cancel(list(in_flight), force=True)


def _one_span() -> AbstractContextManager[Any]:
    """Return a context in which tasks belong to this process' span, or to the caller's own one."""
    import dask

    if "span" in dask.get_annotations():
        return nullcontext()
    annotated: AbstractContextManager[Any] = dask.annotate(span=_span_of_this_process())
    return annotated


@lru_cache(maxsize=1)
def _span_of_this_process() -> dict[str, Any]:
    """Return what tells Dask that a task belongs to the one span of this process."""
    import dask
    from distributed import span

    with span("stemkin"):
        return dict(dask.get_annotations()["span"])


def _persistent(call: Call, retries: int) -> Any:
    """Return what comes of a call, which is tried `retries` times more where it fails."""
    for _ in range(retries):
        try:
            return on_one_thread(call.function, call.item)
        except Exception:  # noqa: BLE001, S112 - the last try below raises
            continue
    return on_one_thread(call.function, call.item)


def _width() -> int:
    """Return how many tasks keep all threads of a cluster busy, as it is at this moment."""
    try:
        return max(2, TASKS_PER_THREAD * n_threads())
    except OSError as error:
        raise LostSchedulerError(LOST) from error


def _answer(client: Any, item: Item, future: Any) -> Outcome[Item, Any]:
    """Return what became of a finished future of `client`.

    Raises
    ------
    LostSchedulerError
        If the connection to the scheduler broke: whatever was in flight is lost, whether or not
        another one answers there by now.
    """
    try:
        outcome: Outcome[Item, Any] = _outcome(item, future)
    except OSError as error:  # the result itself could not be fetched
        raise LostSchedulerError(LOST) from error
    lost = (
        future.cancelled()
        and getattr(future._state.exception, "reason", "") == "scheduler-connection-lost"
    )
    if lost or client.status in ("closing", "closed"):
        raise LostSchedulerError(LOST)
    return outcome


def _outcome(item: Item, future: Any) -> Outcome[Item, Any]:
    """Return what became of a finished future."""
    if future.cancelled():
        return Outcome(item, error=RuntimeError("the task was cancelled by the scheduler"))
    # `distributed` knows without asking the worker:
    if getattr(future, "status", "") == "finished":
        return Outcome(item, result=future.result())
    error = future.exception()
    if error is not None:
        return Outcome(item, error=error)
    return Outcome(item, result=future.result())

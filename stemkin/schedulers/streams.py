"""Many tasks through a small window: what keeps a petabyte's graph as small as a gigabyte's.

`stream` hands items to the active scheduler a few at a time and yields what came of each, in the
order in which they end. The scheduler never holds more than the window, the client never more than
one result, and an item that fails is
an answer like any other: it comes with its error and the rest goes on.

>>> outcomes = stream(lambda n: 1 / n, [1, 2, 0], retries=0)
>>> sorted((o.item, o.result, type(o.error).__name__) for o in outcomes)
[(0, None, 'ZeroDivisionError'), (1, 1.0, 'NoneType'), (2, 0.5, 'NoneType')]
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from stemkin.blas import on_one_thread
from stemkin.errors import LostSchedulerError, interrupted

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

TASKS_PER_THREAD = 2
"""Tasks in flight for each thread: one that runs, one that waits so that no worker ever does."""
REFILL_SHARE = 8
"""A window is filled up when an eighth of it is free: one update of the scheduler's graph for all
that goes in."""
FURTHER_SHARE = 4
"""Calls that are added while items wait fill at most a quarter of the window."""
THREAD_PREFIX = "stemkin-task"
"""Of the names of a stream's threads: one of them may be where Python closes a stream that was left
behind; it does not wait for itself."""
LOOK_EVERY_S = 1.0
"""How often the scheduler is asked for its number of threads."""

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
    """A function and what it is called on; `asked` tells the stream's own items from what was added
    to it."""

    function: Callable[[Any], Any]
    item: Any
    asked: bool = False


def stream(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    retries: int = 2,
    window: int | None = None,
    resources: dict[str, float] | None = None,
    further: deque[Call] | None = None,
) -> Generator[Outcome[Item, Result]]:
    """Call `function` on every item through the active scheduler and yield outcomes as they come.
    Lazy.

    Whoever may leave before the end closes it (``contextlib.closing``): what is in flight is then
    cancelled at once and in this thread.

    Parameters
    ----------
    function
        Any picklable function; it should write big results itself and return a summary.
    items
        May be longer than memory: only the window is drawn ahead.
    retries
        How often a failing item is tried again.
    window
        Tasks in flight; by default twice the scheduler's threads, followed as workers come and go.
    resources
        What a task of `items` asks of its worker, for instance ``{"GPU": 1}``; for a `distributed`
        client only.
    further
        Calls that the caller adds while it takes outcomes: what an item leads to. They go before
        the items that wait, but fill no more than a quarter of the window, so that no item waits
        long for them; their outcomes come among the others.

    Raises
    ------
    ValueError
        If no worker offers one of the `resources` (such a task would wait for ever).
    LostSchedulerError
        If the scheduler is lost. Items are not to blame; the caller may start again where it was.
    """
    agenda = _Agenda(function, iter(items), deque() if further is None else further)
    client = active_client()
    if client is None:
        yield from _stream_in_threads(agenda, retries, window)
    else:
        check_resources(client, resources)
        yield from _stream_through(client, agenda, retries, window, resources)


def results(
    function: Callable[[Item], Result], items: Iterable[Item], *, retries: int = 2
) -> Generator[tuple[Item, Result]]:
    """Yield every item of a `stream` with its result; the first that fails ends it, and raises its
    error. Lazy."""
    with closing(stream(function, items, retries=retries)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            yield outcome.item, cast("Result", outcome.result)


@dataclass(frozen=True)
class _Agenda:
    """What is left to do: the items of a stream, and what its caller adds."""

    function: Callable[[Any], Any]
    items: Iterator[Any]
    further: deque[Call]

    def draw(self, in_flight: Collection[Call], width: int) -> list[Call]:
        """Return what goes into a window of `width` tasks next."""
        room = max(0, width - len(in_flight))
        beside = sum(not call.asked for call in in_flight)
        calls = self._further(min(max(1, width // FURTHER_SHARE) - beside, room))
        items = itertools.islice(self.items, room - len(calls))
        calls += [Call(self.function, item, asked=True) for item in items]
        return calls + self._further(room - len(calls))  # no item waits any more

    def _further(self, most: int) -> list[Call]:
        return [self.further.popleft() for _ in range(min(most, len(self.further)))]


def active_client() -> Any:
    """Return the `distributed` client that is active here, or None."""
    import dask

    if dask.config.get("scheduler", None) in ("threads", "synchronous", "sync", "single-threaded"):
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def n_threads() -> int:
    """Return how many tasks the active scheduler runs at once."""
    client = active_client()
    if client is not None:
        return max(1, int(sum(client.nthreads().values())))
    import dask

    from_config = dask.config.get("num_workers", None)
    if dask.config.get("scheduler", None) in ("synchronous", "sync", "single-threaded"):
        return 1
    return int(from_config) if from_config else available_cores()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_resources(client: Any, resources: dict[str, float] | None) -> None:
    """Check that some worker of `client` offers each of the `resources`."""
    if not resources:
        return
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    offered = set().union(*(w.get("resources", {}) for w in workers)) if workers else set()
    missing = sorted(set(resources) - offered)
    if missing:
        msg = (
            f"no worker offers the resource {missing[0]!r}; start workers with --resources "
            f"{missing[0]}=1, or do not ask for it"
        )
        raise ValueError(msg)


def _stream_through(
    client: Any,
    agenda: _Agenda,
    retries: int,
    window: int | None,
    resources: dict[str, float] | None,
) -> Iterator[Outcome[Any, Any]]:
    """Keep a window of futures in flight on a `distributed` scheduler; items whose worker died are
    tried alone at the end.

    The scheduler blames every task of a worker that dies, so two items share the blame for what one
    of them did. Alone, an item that kills its worker again is found out, and the other one has its
    result.
    """
    from distributed import KilledWorker

    def send(calls: list[Call]) -> list[Any]:
        """Return futures, in one update of the scheduler's graph for all calls of the same kind."""
        futures = []
        for (function, asked), group in itertools.groupby(
            calls, key=lambda call: (call.function, call.asked)
        ):
            words = {"retries": retries, "resources": resources if asked else None, "pure": False}
            task = partial(on_one_thread, function)
            futures += client.map(task, [call.item for call in group], **words)
        return futures

    suspects = []
    for call, outcome in _windowed(client, send, agenda, window):
        if isinstance(outcome.error, KilledWorker):
            log.warning(
                "a worker died under one of its blocks; they are tried again, one at a time, at "
                "the end"
            )
            suspects.append(call)
        else:
            yield outcome
    for call in suspects:
        agenda.further.appendleft(call)
        for _, outcome in _windowed(client, send, agenda, 1):
            yield outcome


def _windowed(
    client: Any, send: Callable[[list[Call]], list[Any]], agenda: _Agenda, window: int | None
) -> Iterator[tuple[Call, Outcome[Any, Any]]]:
    """Yield what came of every call, at most `window` of them in flight."""
    from distributed import as_completed

    in_flight: dict[Any, Call] = {}
    done = as_completed()
    width, looked = 0, 0.0
    try:
        while True:
            if (
                time.monotonic() - looked > LOOK_EVERY_S
            ):  # asking the scheduler costs as much as a task
                width, looked = window or _width(), time.monotonic()
            if width - len(in_flight) >= width // REFILL_SHARE:
                calls = agenda.draw(in_flight.values(), width)
                sent = send(calls)
                in_flight.update(zip(sent, calls, strict=True))
                done.update(sent)
            if not in_flight:
                return
            for future in done.next_batch():
                if interrupted.is_set():
                    raise KeyboardInterrupt
                call = in_flight.pop(future)
                yield call, _answer(client, call.item, future)
                future.release()
    finally:
        if client.status == "running":
            client.cancel(list(in_flight), force=True)


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


def _stream_in_threads(
    agenda: _Agenda, retries: int, window: int | None
) -> Iterator[Outcome[Any, Any]]:
    """Keep a window of futures in flight on threads of this process."""

    def persistent(call: Call) -> Any:
        for _ in range(retries):
            try:
                return on_one_thread(call.function, call.item)
            except Exception:  # noqa: BLE001, S112 - the last try below raises
                continue
        return on_one_thread(call.function, call.item)

    in_flight: dict[Future[Any], Call] = {}
    width = window or TASKS_PER_THREAD * n_threads()
    pool = ThreadPoolExecutor(n_threads(), thread_name_prefix=THREAD_PREFIX)
    try:
        while True:
            for call in agenda.draw(in_flight.values(), width):
                in_flight[pool.submit(persistent, call)] = call
            if not in_flight:
                return
            for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                yield _outcome(in_flight.pop(future).item, future)
    finally:
        pool.shutdown(
            wait=not threading.current_thread().name.startswith(THREAD_PREFIX), cancel_futures=True
        )


def _outcome(item: Item, future: Any) -> Outcome[Item, Result]:
    """Return what became of a finished future."""
    if future.cancelled():
        return Outcome(item, error=RuntimeError("the task was cancelled by the scheduler"))
    error = (
        None if getattr(future, "status", "") == "finished" else future.exception()
    )  # `distributed` knows without asking
    return (
        Outcome(item, error=error) if error is not None else Outcome(item, result=future.result())
    )

"""Many tasks through a small window: what keeps a petabyte's graph as small as a gigabyte's.

`stream` hands items to the active scheduler a few at a time and yields what came of each, in the
order in which they end. The scheduler never holds more than the window, the client never more than
one result, and an item that fails is an answer like any other: it comes with its error and the rest
goes on.

>>> outcomes = stream(lambda n: 1 / n, [1, 2, 0], retries=0)
>>> sorted((o.item, o.result, type(o.error).__name__) for o in outcomes)
[(0, None, 'ZeroDivisionError'), (1, 1.0, 'NoneType'), (2, 0.5, 'NoneType')]
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from stemkin.errors import interrupted
from stemkin.schedulers.active import active_client, check_resources
from stemkin.schedulers.crews import Call, ClusterCrew, Crew, Item, Outcome, Result, ThreadCrew

log = logging.getLogger(__name__)

REFILL_SHARE = 8
"""A window is filled up when an eighth of it is free: one update of the scheduler's graph for all
that goes in."""
FURTHER_SHARE = 4
"""Calls that are added while items wait fill at most a quarter of the window."""


def stream(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    retries: int = 2,
    window: int | None = None,
    resources: dict[str, float] | None = None,
    further: deque[Call] | None = None,
) -> Generator[Outcome[Item, Result]]:
    """Call `function` on every item through the active scheduler, and yield what comes. Lazy.

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
    # An empty deque is kept as it is, since the caller adds to it later.
    agenda = Agenda(function, iter(items), further if further is not None else deque())
    client = active_client()
    if client is None:
        for _, outcome in _windowed(ThreadCrew(retries), agenda, window):
            yield outcome
    else:
        check_resources(client, resources)
        yield from _stream_through(client, agenda, retries, window, resources)


def results(
    function: Callable[[Item], Result], items: Iterable[Item], *, retries: int = 2
) -> Generator[tuple[Item, Result]]:
    """Yield items of a `stream` with their results; the first failure is raised. Lazy."""
    with closing(stream(function, items, retries=retries)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            yield outcome.item, cast("Result", outcome.result)


@dataclass(frozen=True)
class Agenda:
    """What is left to do: the items of a stream, and what its caller adds."""

    function: Callable[[Any], Any]
    items: Iterator[Any]
    further: deque[Call]

    def draw(self, in_flight: Collection[Call], width: int) -> list[Call]:
        """Return what goes into a window of `width` tasks next."""
        room = max(0, width - len(in_flight))
        beside = sum(not call.asked for call in in_flight)
        calls = self._added(min(max(1, width // FURTHER_SHARE) - beside, room))
        items = itertools.islice(self.items, room - len(calls))
        calls += [Call(self.function, item, asked=True) for item in items]
        return calls + self._added(room - len(calls))  # no item waits any more

    def _added(self, most: int) -> list[Call]:
        return [self.further.popleft() for _ in range(min(most, len(self.further)))]


def _stream_through(
    client: Any,
    agenda: Agenda,
    retries: int,
    window: int | None,
    resources: dict[str, float] | None,
) -> Iterator[Outcome[Any, Any]]:
    """Stream through a `distributed` scheduler; items whose worker died are tried alone at the end.

    The scheduler blames every task of a worker that dies, so two items share the blame for what one
    of them did. Alone, an item that kills its worker again is found out, and the other one has its
    result. In a window of one each is alone from the start.
    """
    from distributed import KilledWorker

    suspects = []
    for call, outcome in _windowed(ClusterCrew(client, retries, resources), agenda, window):
        if isinstance(outcome.error, KilledWorker) and window != 1:
            log.warning(
                "a worker died under one of its blocks; they are tried again, one at a time, at "
                "the end"
            )
            suspects.append(call)
        else:
            yield outcome
    for call in suspects:
        agenda.further.appendleft(call)
        for _, outcome in _windowed(ClusterCrew(client, retries, resources), agenda, 1):
            yield outcome


def _windowed(
    crew: Crew, agenda: Agenda, window: int | None
) -> Iterator[tuple[Call, Outcome[Any, Any]]]:
    """Yield what came of every call of the `agenda`, with at most `window` of them in flight."""
    in_flight: dict[Any, Call] = {}
    try:
        while True:
            width = window or crew.width()
            # Of a narrow window any free place is an eighth (width // 8 = 0): it is filled at once.
            if width - len(in_flight) >= width // REFILL_SHARE:
                calls = agenda.draw(in_flight.values(), width)
                in_flight.update(zip(crew.send(calls), calls, strict=True))
            if not in_flight:
                return
            for future in crew.some_done(in_flight):
                if interrupted.is_set():
                    raise KeyboardInterrupt
                call = in_flight.pop(future)
                yield call, crew.outcome(call, future)
    finally:
        crew.dismiss(in_flight)

"""Many tasks through a small window, on every scheduler."""

import itertools
import os
import threading
import time
from collections import deque

import pytest

from stemkin.schedulers.active import n_threads
from stemkin.schedulers.clients import connect
from stemkin.schedulers.crews import Call
from stemkin.schedulers.streams import Agenda, stream

pytestmark = pytest.mark.usefixtures("forked_workers")


def square(n):
    return n * n


def fail_on_three(n):
    if n == 3:
        msg = "three is refused"
        raise ValueError(msg)
    return n


def die_on_three(n):
    if n == 3:
        os._exit(1)
    return n


@pytest.mark.parametrize("where", ["synchronous", "threads", "processes"])
def test_every_item_is_answered_once_on_every_scheduler(where):
    with connect(where, workers=2):
        answers = sorted((o.item, o.result) for o in stream(square, range(25)))
    assert answers == [(n, n * n) for n in range(25)]


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_a_failing_item_comes_with_its_error_and_the_rest_goes_on(where):
    with connect(where, workers=2):
        outcomes = {o.item: o for o in stream(fail_on_three, range(6), retries=1)}
    assert [n for n, o in outcomes.items() if o.error] == [3]
    assert "three is refused" in str(outcomes[3].error)
    assert outcomes[5].result == 5


def test_an_item_that_kills_its_worker_costs_itself_alone():
    with connect("processes", workers=2):
        outcomes = {o.item: o for o in stream(die_on_three, range(6), retries=0)}
    assert type(outcomes[3].error).__name__ == "KilledWorker"
    assert sorted(n for n, o in outcomes.items() if o.error is None) == [0, 1, 2, 4, 5]


def test_a_failing_item_is_tried_again():
    tries = itertools.count()

    def fails_once(_):
        if next(tries) == 0:
            msg = "not yet"
            raise OSError(msg)
        return "done"

    with connect("threads", workers=1):
        assert [o.result for o in stream(fails_once, [0], retries=1)] == ["done"]


def test_only_the_window_is_drawn_ahead():
    drawn, gate = [], threading.Event()

    def items():
        for n in range(1000):
            drawn.append(n)
            yield n

    with connect("threads", workers=2):
        outcomes = stream(lambda n: gate.wait(10) and n, items(), window=5)
        gate.set()
        next(outcomes)
        assert len(drawn) <= 10
        outcomes.close()


@pytest.mark.parametrize("where", ["synchronous", "threads", "processes"])
def test_calls_that_are_added_go_before_the_items_that_wait_and_are_answered_too(where):
    further, order = deque(), []
    with connect(where, workers=2):
        for outcome in stream(square, range(40), further=further):
            order.append(outcome.result)
            if outcome.item == 3:
                further.extend([Call(abs, -1000), Call(abs, -2000)])
    assert sorted(order) == sorted([*(n * n for n in range(40)), 1000, 2000])
    assert order.index(1000) < order.index(1521)
    assert order.index(2000) < order.index(1521)


def test_items_never_wait_for_what_is_added():
    agenda = Agenda(square, iter(range(100)), deque(Call(abs, -n) for n in range(50)))
    first = agenda.draw([], 16)
    assert [call.asked for call in first] == [False] * 4 + [True] * 12
    assert all(call.asked for call in agenda.draw(first[:10], 16))  # those four are not back yet
    assert len(agenda.draw([], 200)) == (50 - 4) + (
        100 - 12 - 6
    )  # no item waits any more: all that is left


@pytest.mark.parametrize(("status", "cancelled"), [("running", ["future"]), ("closed", [])])
def test_who_leaves_a_stream_cancels_what_is_in_flight_if_the_scheduler_hears_of_it(
    status, cancelled, monkeypatch
):
    """At once, and not when Python happens to drop the futures."""
    from types import SimpleNamespace

    from stemkin.schedulers.crews import ClusterCrew

    heard = []
    monkeypatch.setattr("distributed.as_completed", list)  # which asks for a real client
    loop = SimpleNamespace(add_callback=lambda call: None)  # nobody looks for absent workers
    cancel = lambda futures, **_: heard.extend(futures)  # noqa: E731
    client = SimpleNamespace(status=status, cancel=cancel, loop=loop)
    ClusterCrew(client, retries=0).dismiss({"future": None})
    assert heard == cancelled


def test_a_resource_that_no_worker_has_is_refused_instead_of_waited_for():
    with (
        connect("processes", workers=1),
        pytest.raises(ValueError, match="no worker offers the resource 'GPU'"),
    ):
        next(stream(square, [1], resources={"GPU": 1}))


def test_threads_are_counted_on_every_scheduler():
    with connect("threads", workers=3):
        assert n_threads() == 3
    with connect("synchronous"):
        assert n_threads() == 1


def test_items_that_shared_a_worker_with_a_killer_keep_their_results():
    with connect("processes", workers=1):  # what waits on the worker is blamed with what killed it
        outcomes = {o.item: o for o in stream(die_on_three, range(6), retries=0)}
    assert type(outcomes[3].error).__name__ == "KilledWorker"
    assert {n: o.result for n, o in outcomes.items() if n != 3} == {n: n for n in (0, 1, 2, 4, 5)}


@pytest.mark.parametrize("broken", ["future", "fetch"])
def test_a_lost_scheduler_is_told_from_a_failing_item(broken):
    from types import SimpleNamespace

    from stemkin.errors import LostSchedulerError
    from stemkin.schedulers.crews import _answer

    def gone():
        raise ConnectionResetError

    lost = SimpleNamespace(exception=SimpleNamespace(reason="scheduler-connection-lost"))
    futures = {
        "future": SimpleNamespace(cancelled=lambda: True, _state=lost),
        "fetch": SimpleNamespace(cancelled=lambda: False, exception=lambda: None, result=gone),
    }
    with pytest.raises(LostSchedulerError, match="the same command goes on"):
        _answer(SimpleNamespace(status="running"), 0, futures[broken])


def test_an_error_of_the_network_inside_an_item_is_its_own():
    def no_network(_):
        raise ConnectionResetError

    with connect("processes", workers=1):
        (outcome,) = stream(no_network, [0], retries=0)
    assert isinstance(outcome.error, ConnectionResetError)


def test_a_stream_that_was_left_behind_may_be_closed_by_one_of_its_own_threads():
    """Python's garbage collector closes it in whichever thread it runs."""
    left_behind, came_of_it = threading.Event(), []

    def close_it(item):
        if item == 1:
            left_behind.wait(10)
            try:
                outcomes.close()
                came_of_it.append("closed")
            except RuntimeError as error:
                came_of_it.append(error)
        return item

    with connect("threads", workers=2):
        outcomes = stream(close_it, [0, 1], retries=0, window=2)
        assert next(outcomes).item == 0
        left_behind.set()
        for _ in range(200):
            if came_of_it:
                break
            time.sleep(0.02)
    assert came_of_it == ["closed"]


def kept_by_the_scheduler(dask_scheduler):
    """How many spans and groups of tasks the scheduler remembers, of tasks that are long over."""
    spans = dask_scheduler.extensions["spans"].spans.values()
    return len(spans), sum(len(span.groups) for span in spans)


@pytest.mark.cluster
def test_the_scheduler_remembers_of_a_stream_no_more_the_longer_it_is():
    """Dask forgets no span and no group of tasks: each update of the graph was one of both."""
    with connect("processes", workers=2) as client:
        kept = [client.run_on_scheduler(kept_by_the_scheduler)]
        for n in (8, 8, 80):
            assert len(list(stream(square, range(n)))) == n
            kept.append(client.run_on_scheduler(kept_by_the_scheduler))
        (none, few, more, most) = kept
    assert none == (0, 0)
    assert few == (1, 1)
    # The last task of a group may be forgotten before the next one comes; a group is made anew then.
    assert more[0] == most[0] == 1
    assert more[1] <= 4
    assert most[1] - more[1] <= 4

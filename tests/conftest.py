"""Fixtures that every test file shares."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stemkin.simulation import simulate_movie, truth_of
from tests.forks import forking

os.environ.update(
    DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL="500ms",
    DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL="5s",
    DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL="1s",
    DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED="False",
    DASK_DISTRIBUTED__DIAGNOSTICS__NVML="False",
)
"""A scheduler with two workers that wait for work looks at its clock, memory and stacks so often
that it takes a fifth of a core; with these, of all processes that tests start, a sixtieth."""

settings.register_profile(
    "stemkin",
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("stemkin")


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    """A test that leaves logs silent or moves away fails, not those after it in its process."""
    before = _of_the_process()
    yield
    after = _of_the_process()
    if after != before:
        logging.disable(before[0])
        logging.getLogger("stemkin").setLevel(before[1])
        os.chdir(before[2])
    assert after == before, "silence of all logs, level of stemkin's, working directory"


def _of_the_process():
    return logging.root.manager.disable, logging.getLogger("stemkin").level, Path.cwd()


@pytest.fixture(scope="session")
def paper_movie():
    """Twelve frames of the paper's kind, small enough for any test; its truth is `paper_truth`."""
    return simulate_movie("paper", n_frames=12, shape=(160, 160), seed=1, name="paper")


@pytest.fixture(scope="session")
def paper_truth(paper_movie):
    return truth_of(paper_movie)


@pytest.fixture(scope="session")
def paper_frames(paper_movie):
    """The frames of `paper_movie` as an array (t, y, x)."""
    return paper_movie.reader.read(0, paper_movie.n_frames)


@pytest.fixture
def forked_workers():
    """The workers of the local clusters of one test are forked."""
    with forking():
        yield


@pytest.fixture(scope="session")
def two_processes():
    """The address of a real Dask scheduler with two workers, each a process with one thread.

    Its workers have loaded stemkin once, for all tests that only ask whether processes agree with
    threads; who starts, kills or configures a cluster has one of its own.
    """
    from stemkin.schedulers.clusters import local_cluster, started_by_us

    with forking(), started_by_us():
        cluster = local_cluster(2)
    with cluster:
        yield cluster.scheduler_address

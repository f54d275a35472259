"""Fixtures that every test file shares."""

import os

import pytest
from chaos.cluster import Cluster
from hypothesis import HealthCheck, settings

from stemkin.simulation import simulate_movie, truth_of

settings.register_profile(
    "stemkin",
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("stemkin")


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


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory):
    """The scheduler file of a real Dask cluster with two workers, each a process with one thread.

    Its workers have loaded stemkin once, for all tests that only ask whether processes agree with
    threads; who starts, kills or configures a cluster has one of its own.
    """
    cluster = Cluster(tmp_path_factory.mktemp("two_processes"), dict(os.environ))
    try:
        cluster.start()
        yield str(cluster.file)
    finally:
        cluster.stop()

"""Fixtures that every test file shares."""

import pytest
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

"""One pass, many questions: each partition is read once, and nothing depends on the cut."""

from functools import partial

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.controls import in_random_order
from stemkin.rows.passes import Question, answers
from stemkin.rows.table import with_experiment
from stemkin.rows.tracks import rows_of_movies
from stemkin.tables import Experiment


def a_few_tracks(n_particles=12, n_frames=20, movies=("a", "b"), seed=0):
    """Tracks of two classes that wander, change, and end one after the other."""
    rng = np.random.default_rng(seed)
    n = n_particles * n_frames
    parts = []
    for movie in movies:
        steps = rng.normal(0, 0.1, (2, n_particles, n_frames)).cumsum(axis=2)
        parts.append(
            pd.DataFrame(
                {
                    "movie": movie,
                    "particle": np.repeat(np.arange(n_particles), n_frames),
                    "frame": np.tile(np.arange(n_frames), n_particles),
                    "class_id": rng.integers(0, 2, n),
                    "y_nm": steps[0].ravel(),
                    "x_nm": steps[1].ravel(),
                }
            )
        )
    rows = pd.concat(parts, ignore_index=True)
    return rows[rows["frame"] < n_frames - rows["particle"]].reset_index(drop=True)


def in_partitions(rows, n, read):
    """Whole tracks in `n` partitions for each movie; `read` hears of each that is loaded."""
    parts = [
        own
        for _, of_movie in rows.groupby("movie")
        for _, own in of_movie.groupby(of_movie["particle"] % n)
    ]

    def load(i):
        read.append(i)
        return parts[i]

    tracks = dd.from_map(load, range(len(parts)), meta=rows.iloc[:0])
    owners = [part["movie"].iloc[0] for part in parts]
    movies = pd.DataFrame({"movie": sorted(set(owners)), "frame_time_s": 1.0})
    read.clear()
    return with_experiment(tracks, Experiment(movies), movie_of_partition=owners)


def count_steps(rows):
    """What each class steps to the left, and to the right."""
    step = rows.sort_values("frame").groupby(["movie", "particle"])["x_nm"].diff()
    return {
        int(i): np.array([(own < 0).sum(), (own > 0).sum()])
        for i, own in step.groupby(rows["class_id"])
    }


def as_table(sums):
    return pd.DataFrame.from_dict(sums, orient="index", columns=["left", "right"]).sort_index()


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_many_questions_read_each_partition_once_and_say_what_each_says_alone(n):
    rows, read = a_few_tracks(), []
    tracks = in_partitions(rows, n, read)
    asked = [
        Question(count_steps, as_table),
        sk.transitions.question(tracks, by="movie"),
        sk.survival.question(tracks),
        sk.msd.question(tracks, max_lag_frames=3),
        sk.fit_diffusion.question(tracks, method=("mle", "cve")),
        sk.meetings.question(tracks, reach_nm=1.0),
    ]
    with dask.config.set(scheduler="synchronous"):
        steps, changes, curve, spread, diffusion, met = answers(tracks, asked)
    assert sorted(read) == list(range(tracks.npartitions))
    words = {"experiment": tracks.experiment}
    same = partial(pd.testing.assert_frame_equal, check_exact=True)
    same(steps, as_table(count_steps(rows)))
    same(changes.table, sk.transitions(rows, by="movie", **words).table)
    same(curve, sk.survival(rows, **words))
    same(spread, sk.msd(rows, max_lag_frames=3, **words))
    same(diffusion, sk.fit_diffusion(rows, method=("mle", "cve"), **words))
    same(met, sk.meetings(rows, reach_nm=1.0))
    assert len(met) > 0


def test_what_two_questions_sum_alike_is_summed_once_and_a_view_is_made_once():
    made, summed = [], []

    def view(rows):
        made.append(len(rows))
        return in_random_order(rows, seed=3)

    def add(rows):
        summed.append(len(rows))
        return {"n": len(rows), "first": int(rows["x_nm"].iloc[0] > 0)}

    rows = a_few_tracks()
    plain = Question(add, lambda sums: sums["n"])
    other = Question(count_steps, as_table)
    asked = [
        plain,
        Question(add, lambda sums: -sums["n"]),
        plain.through(view),
        other.through(view),
    ]
    n, minus, again, at_random = answers(rows, asked)
    assert (n, minus, again) == (len(rows), -len(rows), len(rows))
    assert len(made) == 1
    assert len(summed) == 2
    pd.testing.assert_frame_equal(at_random, as_table(count_steps(sk.shuffled(rows, seed=3))))


def test_views_look_through_each_other_in_the_order_they_are_put():
    rows = a_few_tracks()
    asked = sk.fit_diffusion.question(rows, frame_time_s=1.0).through(in_random_order)
    (found,) = answers(rows, [asked.through(partial(rows_of_movies, movies=frozenset("b")))])
    alone = sk.fit_diffusion(sk.shuffled(rows[rows["movie"] == "b"]), frame_time_s=1.0)
    pd.testing.assert_frame_equal(found, alone, check_exact=True)


def test_sums_of_whole_movies_are_settled_before_they_meet():
    rows, settled = a_few_tracks(), []

    def settle(sums):
        settled.append(sorted(sums))
        return {"largest": sum(sums.values())}

    def count(part):
        return part.groupby("movie").size().to_dict()

    tracks = in_partitions(rows, 3, [])
    with dask.config.set(scheduler="synchronous"):
        (found,) = answers(tracks, [Question(count, dict, settle=settle)])
    assert sorted(settled) == [["a"], ["b"]]
    assert found == {"largest": len(rows)}
    assert answers(rows, [Question(count, dict, settle=settle)]) == [found]


def test_no_question_and_no_rows_have_answers_too():
    rows = a_few_tracks()
    assert answers(rows, []) == []
    (nothing,) = answers(rows.iloc[:0], [sk.transitions.question(rows, frame_time_s=1.0)])
    assert nothing.table.empty


def test_a_verb_knows_its_words_and_says_its_answer():
    import inspect

    signature = inspect.signature(sk.dwell_times)
    assert list(signature.parameters)[:2] == ["tracks", "by"]
    assert signature.return_annotation == "pd.DataFrame"
    with pytest.raises(TypeError, match="lag"):
        sk.dwell_times(a_few_tracks(), lag=3)

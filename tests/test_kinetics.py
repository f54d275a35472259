"""Populations, transitions and dwell times: by hand, for every chunking and scheduler, beside other libraries."""

import itertools

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin.kernels.hidden_markov import expected_counts
from stemkin.kinetics import cross_section, hidden_transitions
from stemkin.kinetics.switching import count_transitions
from stemkin.rows import with_experiment
from stemkin.tables import COLUMNS, Experiment, empty
from stemkin.trajectories import Trajectories, read_tracks


def a_walk_through_classes(n_particles=40, n_frames=30, seed=0, movies=("a", "b"), n_classes=3):
    """Tracks whose class is a Markov chain, with missing frames, sorted as a table of tracks is."""
    rng = np.random.default_rng(seed)
    P = np.full((n_classes, n_classes), 0.1 / (n_classes - 1)) + np.eye(n_classes) * (0.9 - 0.1 / (n_classes - 1))
    rows = []
    for movie in movies:
        for particle in range(n_particles):
            state, start = rng.integers(n_classes), rng.integers(n_frames // 2)
            for frame in range(start, n_frames - rng.integers(3)):
                if rng.random() > 0.15:
                    rows.append((movie, frame, particle * 1_000_003, state, *rng.normal(size=2)))
                state = rng.choice(n_classes, p=P[state])
    table = pd.DataFrame(rows, columns=["movie", "frame", "particle", "class_id", "y_nm", "x_nm"])
    return table.sort_values(["movie", "frame", "y_nm"], ignore_index=True)


def in_partitions(rows, rng, n):
    """Split `rows` into partitions that hold whole tracks, at random, in random order."""
    part = rng.integers(n, size=rows.groupby(["movie", "particle"]).ngroups)
    number = part[rows.groupby(["movie", "particle"]).ngroup().to_numpy()]
    return dd.from_map(
        lambda i: rows[number == i].sample(frac=1, random_state=int(i)), rng.permutation(n), meta=rows.iloc[:0]
    )


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_an_eight_symbol_sequence_is_counted_by_hand():
    rows = pd.DataFrame({"particle": 5, "frame": range(8), "class_id": [0, 0, 0, 1, 1, 0, 1, 1]})
    found = sk.transitions(rows, frame_time_s=2.0)
    assert found.counts.to_numpy().tolist() == [[2, 2], [1, 2]]
    np.testing.assert_allclose(found.probabilities, [[1 / 2, 1 / 2], [1 / 3, 2 / 3]])
    stays = sk.dwell_times(rows, frame_time_s=2.0)
    assert stays["n_exits"].tolist() == [2, 1]
    assert stays["time_at_risk_s"].tolist() == [8.0, 6.0]
    assert stays["n_censored"].tolist() == [0, 1]
    np.testing.assert_allclose(stays["exit_rate_per_s"], [-np.log(1 / 2) / 2, -np.log(2 / 3) / 2])


def test_a_gap_is_no_step_and_two_tracks_in_one_frame_are_no_transition():
    rows = pd.DataFrame({"particle": [1, 1, 1, 2, 2], "frame": [0, 1, 3, 1, 2], "class_id": [0, 0, 1, 1, 1]})
    found = sk.transitions(rows, lag_frames=(1, 2))
    assert found.counts.to_numpy().tolist() == [[1, 0], [0, 1]]
    assert found.matrix("count", lag_frames=2).to_numpy().tolist() == [[0, 1], [0, 0]]


def test_a_state_that_was_never_left_has_no_probabilities_but_a_reason():
    rows = pd.DataFrame({"particle": 1, "frame": range(3), "class_id": [0, 0, 1]})
    found = sk.transitions(rows, frame_time_s=1.0)
    assert found.probabilities.loc[1].isna().all()
    assert found.rates.loc[1].isna().all()
    assert list(found.reasons.index) == [1]
    assert found.table["rate_per_s"].notna().sum() == 2


def test_unnamed_rows_are_frames_in_which_nothing_is_known():
    rows = pd.DataFrame({"particle": 1, "frame": range(4), "class_id": [0, -1, 0, 0]})
    assert sk.transitions(rows).counts.to_numpy().tolist() == [[1]]


def test_populations_count_every_frame_also_those_without_a_defect():
    rows = pd.DataFrame({"movie": "m", "frame": [0, 0, 2], "class_id": [1, 1, 0]})
    found = sk.populations(rows, frame_time_s=0.5)
    assert found["n"].tolist() == [0, 2, 0, 0, 1, 0]
    assert found["time_s"].tolist() == [0, 0, 0.5, 0.5, 1, 1]


def test_frames_that_were_not_looked_at_are_no_frames_without_defects():
    frames = pd.DataFrame(
        {"movie": "m", "frame": [0, 1, 2], "status": ["ok", "corrupt", "ok"], "time_s": [0.0, 1.0, 2.5]}
    )
    movies = pd.DataFrame({"movie": ["m"], "n_frames": [3], "frame_time_s": [1.0]})
    rows = pd.DataFrame({"movie": "m", "frame": [0], "class_id": [4]})
    found = sk.populations(rows, experiment=Experiment(movies, frames))
    assert found[["frame", "time_s", "n"]].to_numpy().tolist() == [[0, 0, 1], [2, 2.5, 0]]


# --- partitions, laziness, schedulers ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(n=st.integers(1, 12), seed=st.integers(0, 2**20))
def test_numbers_do_not_depend_on_how_tracks_are_spread_over_partitions(n, seed):
    rows = a_walk_through_classes()
    split = in_partitions(rows, np.random.default_rng(seed), n)
    pd.testing.assert_frame_equal(
        sk.transitions(split, lag_frames=(1, 3), by="movie", frame_time_s=1.5).table,
        sk.transitions(rows, lag_frames=(1, 3), by="movie", frame_time_s=1.5).table,
        check_exact=True,
    )
    for verb in (sk.dwell_times, sk.populations):
        pd.testing.assert_frame_equal(verb(split, frame_time_s=1.5), verb(rows, frame_time_s=1.5), check_exact=True)


@settings(deadline=None, max_examples=15)
@given(edges=st.lists(st.integers(1, 29), max_size=6, unique=True), size=st.sampled_from([50, 300, 10**6]))
def test_files_cut_anywhere_in_time_give_the_same_numbers(tmp_path_factory, edges, size):
    rows = a_walk_through_classes(n_particles=15)
    folder = tmp_path_factory.mktemp("tracks")
    files = {}
    for movie, own in rows.groupby("movie"):
        bounds = [0, *sorted(edges), 30]
        files[movie] = [str(folder / f"{movie}-{start}.parquet") for start in bounds[:-1]]
        for path, start, stop in zip(files[movie], bounds[:-1], bounds[1:], strict=True):
            own[own["frame"].between(start, stop - 1)].to_parquet(path)
    read = read_tracks(files, rows_per_partition=size)
    assert read.npartitions == sum(-(-len(own) // size) for _, own in rows.groupby("movie"))
    pd.testing.assert_frame_equal(
        sk.transitions(read, lag_frames=(1, 4), frame_time_s=1.0).table,
        sk.transitions(rows, lag_frames=(1, 4), frame_time_s=1.0).table,
    )


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**20), max_lag=st.integers(1, 6), far=st.sampled_from([1, 2**24, 2**58]), n=st.integers(1, 80)
)
def test_packed_rows_are_counted_as_written_out(seed, max_lag, far, n):
    """Names too long for one whole number (the largest `far`) go the other way; both ways count the same."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"particle": rng.integers(4, size=n) * far, "frame": rng.integers(-3, 40, n)}).drop_duplicates()
    rows["class_id"] = rng.integers(-1, 3, len(rows)).astype(np.int16)
    seen = {(p, f): c for p, f, c in rows.itertuples(index=False) if c >= 0}
    for states in (None, (0, 2)):
        wanted = {}
        for (particle, frame), start in seen.items():
            for lag in range(1, max_lag + 1):
                end = seen.get((particle, frame + lag), -1)
                if end >= 0 and (states is None or {start, end} <= set(states)):
                    wanted[start, end, lag] = wanted.get((start, end, lag), 0) + 1
        found = count_transitions(rows, max_lag=max_lag, states=states)
        counted = {(i, j, lag + 1): k for (_, i, j), each in found.items() for lag, k in enumerate(each.tolist()) if k}
        assert counted == wanted
        assert {i for _, i, _ in found} == {c for c in seen.values() if states is None or c in states}


def test_every_scheduler_gives_the_same_table():
    split = in_partitions(a_walk_through_classes(), np.random.default_rng(0), 5)
    tables = []
    for scheduler in ("synchronous", "threads", "processes"):
        with dask.config.set(scheduler=scheduler, num_workers=2):
            tables.append(sk.transitions(split, frame_time_s=1.0).table)
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    pd.testing.assert_frame_equal(tables[0], tables[2], check_exact=True)


def test_reading_tracks_reads_nothing_and_one_number_reads_each_partition_once(tmp_path):
    seen = []

    def load(i):
        seen.append(i)
        return a_walk_through_classes(n_particles=3, movies=(f"m{i}",))

    tracks = dd.from_map(load, range(4), meta=load(0).iloc[:0])
    seen.clear()
    with dask.config.set(scheduler="synchronous"):
        sk.transitions(tracks)
    assert sorted(seen) == [0, 1, 2, 3]


# --- beside other libraries ------------------------------------------------------------------------------------------


def test_counts_are_those_of_deeptime_and_of_pandas():
    counting = pytest.importorskip("deeptime.markov").TransitionCountEstimator
    rows = a_walk_through_classes(movies=("a",))
    rows = rows[rows.groupby("particle")["frame"].transform(lambda f: f.max() - f.min() + 1 == len(f))]  # no gaps
    own = sk.transitions(rows, lag_frames=(1, 3))
    sequences = [t["class_id"].to_numpy() for _, t in rows.sort_values("frame").groupby("particle")]
    for lag in (1, 3):
        theirs = counting(lagtime=lag, count_mode="sliding").fit_fetch(sequences).count_matrix
        assert (own.matrix("count", lag_frames=lag).to_numpy() == theirs).all()
    rows = rows.sort_values(["particle", "frame"])
    after = rows.groupby("particle")["class_id"].shift(-1)
    assert (pd.crosstab(rows["class_id"], after).to_numpy() == own.counts.to_numpy()).all()


# --- the experiment travels, and what is wrong is said ---------------------------------------------------------------


def with_calibration(rows, **times):
    movies = pd.DataFrame({"movie": list(times), "n_frames": 30, "frame_time_s": list(times.values())})
    classes = pd.DataFrame(
        {"class_id": [0, 1, 2], "name": ["V_S", "Mo_W", "V_S2"], "n_detections": 1, "mean_patch": None}
    )
    return with_experiment(dd.from_pandas(rows, npartitions=1), Experiment(movies, None, classes))


def test_matrices_carry_class_names_and_the_movie_s_own_frame_time():
    rows = a_walk_through_classes()
    found = sk.transitions(with_calibration(rows, a=0.5, b=0.5))
    assert list(found.rates.index) == list(found.rates.columns) == ["V_S", "Mo_W", "V_S2"]
    np.testing.assert_allclose(found.rates, 2 * sk.transitions(rows, frame_time_s=1.0).rates, rtol=1e-6)


def test_movies_of_other_frame_times_share_rates_but_no_probabilities():
    found = sk.transitions(with_calibration(a_walk_through_classes(), a=0.5, b=1.0), by="movie")
    assert found.probabilities.isna().all(axis=None)
    assert found.matrix("probability", movie="a").notna().all(axis=None)
    each = np.stack([found.matrix("rate_per_s", movie=m) for m in "ab"])
    assert (found.rates.to_numpy() >= each.min(axis=0) - 0.01).all()
    assert (found.rates.to_numpy() <= each.max(axis=0) + 0.01).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns="particle"), "particle"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "twice in frame"),
        (lambda t: t.assign(frame=t["frame"] + 0.5), "whole numbers"),
        (lambda t: t.assign(movie=None), "no movie"),
    ],
)
def test_rows_that_cannot_be_tracks_are_refused_in_one_sentence(spoil, message):
    with pytest.raises(ValueError, match=message):
        sk.transitions(spoil(a_walk_through_classes(n_particles=2)))


def test_missing_calibration_is_asked_for():
    rows = a_walk_through_classes(n_particles=2)
    with pytest.raises(ValueError, match="frame_time_s"):
        sk.dwell_times(rows)
    with pytest.raises(ValueError, match="positive"):
        sk.dwell_times(rows, frame_time_s=0)
    with pytest.raises(ValueError, match="movie 'b' has no frame time"):
        sk.transitions(with_calibration(rows, a=1.0, b=np.nan))
    assert sk.transitions(rows).rates.isna().all(axis=None)


def test_no_tracks_give_tables_with_columns():
    nothing = empty("tracks")
    assert list(sk.transitions(nothing).table.columns) == list(COLUMNS["transitions"])
    assert list(sk.dwell_times(nothing, frame_time_s=1.0).columns) == list(COLUMNS["dwell_times"])
    assert list(sk.populations(nothing, frame_time_s=1.0).columns) == list(COLUMNS["populations"])
    assert read_tracks({}).compute().empty


def test_one_frame_tracks_and_gaps_longer_than_the_movie_are_fine():
    rows = pd.DataFrame({"particle": [1, 2, 2], "frame": [0, 0, 10**9], "class_id": [0, 1, 1]})
    assert sk.transitions(rows).counts.to_numpy().sum() == 0
    assert Trajectories.of(rows).n_tracks == 2


# --- names that may be wrong, and what the beam makes ---------------------------------------------------------------


def test_expected_counts_are_those_of_every_history_written_out():
    P = np.array([[0.8, 0.2], [0.3, 0.7]])
    chance = np.array([[0.9, 0.2], [0.1, 0.8], [0.9, 0.2], [0.5, 0.5]])
    start = np.array([0.6, 0.4])
    total, counts = 0.0, np.zeros((2, 2))
    for history in itertools.product(range(2), repeat=4):
        weight = start[history[0]] * np.prod([chance[i, s] for i, s in enumerate(history)])
        weight *= np.prod([P[a, b] for a, b in itertools.pairwise(history)])
        total += weight
        for a, b in itertools.pairwise(history):
            counts[a, b] += weight
    found = expected_counts(np.array([0, 4]), np.zeros(4, dtype=int), chance, P[None], start)
    np.testing.assert_allclose(found.log_likelihood, np.log(total))
    np.testing.assert_allclose(found.counts[0, 0], counts / total)


def test_hidden_rates_do_not_depend_on_how_tracks_are_spread_over_partitions():
    rows = a_walk_through_classes(n_particles=25)
    words = {"confusion": np.eye(3), "frame_time_s": 2.0}
    found = hidden_transitions(rows, **words)
    split = in_partitions(rows, np.random.default_rng(1), 4)
    pd.testing.assert_frame_equal(hidden_transitions(split, **words).table, found.table, check_exact=True)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("confusion", [np.ones((3, 3)), np.eye(2), [[0.5, 0.5]]])
def test_a_confusion_matrix_that_cannot_be_one_is_refused(confusion):
    with pytest.raises(ValueError, match="confusion matrix"):
        hidden_transitions(a_walk_through_classes(n_particles=2), confusion=confusion, frame_time_s=1.0)


def test_a_cross_section_is_its_count_over_the_exposure():
    value, low, high = cross_section(10, 1e10, efficiency=0.5)
    assert value == pytest.approx(20)
    assert low < value < high
    with pytest.raises(ValueError, match="positive exposure"):
        cross_section(1, 0)

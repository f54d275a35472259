"""Tables that cut tracks are found while they are summed, and shuffled or refused: never summed."""

import inspect
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin.rows import whole
from stemkin.rows.passes import Question, answers
from stemkin.rows.table import with_experiment
from stemkin.rows.whole import TracksMet, gather_tracks, holds_whole_tracks
from stemkin.tables import Experiment

CASE = Path(__file__).parents[2] / "shared" / "data" / "cases" / "c20_tracks_in_blocks"
MOVIES = pd.DataFrame(
    {
        "movie": ["a", "b"],
        "n_frames": [20, 20],
        "frame_time_s": [1.0, 1.0],
        "height_px": [256, 256],
        "width_px": [256, 256],
        "pixel_size_nm": [0.03, 0.03],
        "dose_rate_e_per_nm2_s": [1e6, 1e6],
    }
)
KNOWN = Experiment(MOVIES)
NAMED = Experiment(MOVIES, None, pd.DataFrame({"class_id": [0, 1], "name": ["V_S", "Mo_W"]}))
WORDS = {
    "bootstrap": {"value": "msd_nm2", "n_resamples": 2, "max_lag_frames": 2},
    "complexes": {"reach_nm": 1.0, "n_atoms": 2},
    "creation": {
        "sites_per_nm2": 22.0,
        "reach_nm": 0.69,
        "experiment": KNOWN,
        "vacancies": {1: 1},
    },
    "fit_diffusion": {"method": ("mle", "cve"), "frame_time_s": 1.0},
    "hop_rates": {"hop_length_nm": 0.3, "frame_time_s": 1.0},
    "immobile": {"sigma_nm": 0.01},
    "meetings": {"reach_nm": 1.0},
    "msd": {"max_lag_frames": 3, "frame_time_s": 1.0},
    "orientations": {"bound": "Mo_W", "alone": "V_S", "experiment": NAMED},
}
"""What the verbs are asked with."""

OF_TRACKS = sorted(
    name
    for name in sk.__all__
    if inspect.isfunction(getattr(sk, name))
    and "shuffle" in inspect.signature(getattr(sk, name)).parameters
    and name != "answers"
)
LAZY = ("shuffled", "immobile")


def some_tracks(n_particles=8, n_frames=20, seed=0):
    """Tracks of two movies that wander, change their class, and end one after the other."""
    rng = np.random.default_rng(seed)
    n = n_particles * n_frames
    parts = []
    for movie in ("a", "b"):
        place = 4.0 + rng.normal(0, 0.1, (2, n_particles, n_frames)).cumsum(axis=2)
        columns = {
            "movie": movie,
            "particle": np.repeat(np.arange(n_particles), n_frames),
            "frame": np.tile(np.arange(n_frames), n_particles),
            "class_id": rng.integers(0, 2, n),
            "probability": rng.uniform(0.6, 0.99, n),
            "orientation": rng.integers(-1, 3, n),
            "y_nm": place[0].ravel(),
            "x_nm": place[1].ravel(),
        }
        parts.append(pd.DataFrame(columns))
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(y=rows["y_nm"] / 0.03, x=rows["x_nm"] / 0.03)
    return rows[rows["frame"] < n_frames - rows["particle"]].reset_index(drop=True)


def in_parts(rows, part):
    """The rows as a Dask table; `part` (n,) says to which partition each belongs."""
    pieces = [rows[part == k] for k in range(int(part.max()) + 1)]
    return dd.from_map(lambda own: own, pieces, meta=rows.iloc[:0])


def ask(verb, tracks, **words):
    """The table that `verb` answers with."""
    words = {**WORDS.get(verb, {}), **words}
    call = getattr(sk, verb)
    if "frame_time_s" in inspect.signature(call).parameters:
        words.setdefault("frame_time_s", 1.0)
    if verb == "bootstrap":
        return call(sk.msd, tracks, frame_time_s=1.0, **words)
    if verb == "beam_cross_sections":
        words["experiment"] = KNOWN
    found = call(tracks, **words)
    if isinstance(found, dd.DataFrame):
        found = found.compute()
    if verb == "orientations":
        return pd.concat([found.transitions, found.rates], ignore_index=True)
    return getattr(found, "table", found)


def same(found, expected):
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def in_order(rows):
    """The rows of a table, sorted; Dask has text of another type than pandas."""
    rows = rows.sort_values(["movie", "particle", "frame"], ignore_index=True)
    return rows.assign(movie=rows["movie"].astype(str))


@pytest.fixture(autouse=True)
def _in_this_thread():
    with dask.config.set({"scheduler": "synchronous", "dataframe.shuffle.method": "tasks"}):
        yield


@pytest.fixture(scope="module")
def rows():
    return some_tracks()


@pytest.fixture(scope="module")
def by_frames(rows):
    """The rows as a run writes them: some frames in each partition."""
    return in_parts(rows, rows["frame"].to_numpy() // 7)


def test_there_are_verbs_of_tracks():
    """A verb whose argument is called `tracks` is one whose partitions must hold whole tracks."""
    takes_tracks = {
        name
        for name in sk.__all__
        if inspect.isfunction(getattr(sk, name))
        and "tracks" in inspect.signature(getattr(sk, name)).parameters
    }
    own = {"answers", "gather_tracks"}
    assert set(OF_TRACKS) == takes_tracks - own - {
        n for n in takes_tracks if n.startswith(("from_", "to_"))
    }
    assert len(OF_TRACKS) >= 14


@pytest.mark.parametrize("verb", OF_TRACKS)
def test_a_table_cut_by_frames_says_what_the_whole_one_says_or_is_refused(verb, rows, by_frames):
    expected = ask(verb, rows)
    if verb in LAZY:
        found = ask(verb, by_frames, shuffle=True)
        same(in_order(found), in_order(expected))
        with pytest.raises(ValueError, match="each partition must hold whole tracks"):
            ask(verb, by_frames)
        return
    same(ask(verb, by_frames), expected)
    with pytest.raises(ValueError) as refused:
        ask(verb, by_frames, shuffle=False)
    # of 16 tracks, 16 reach the second partition and 12 the third
    assert str(refused.value).startswith(
        f"each partition must hold whole tracks, but the 3 partitions of these {len(rows)} rows cut "
        "them: 28 times a track goes on in another one; pass shuffle=True"
    )


def test_a_control_of_cut_tracks_is_refused_by_the_verb_that_sums_it(by_frames):
    with pytest.raises(ValueError, match="each partition must hold whole tracks"):
        sk.transitions(sk.shuffled(by_frames), frame_time_s=1.0)


def three_answers(tracks, **words):
    """Numbers that rest on changes, on ends and on displacements."""
    asked = [
        sk.transitions.question(tracks, by="movie", frame_time_s=1.0),
        sk.survival.question(tracks, frame_time_s=1.0),
        sk.msd.question(tracks, max_lag_frames=2, frame_time_s=1.0),
    ]
    changes, alive, spread = answers(tracks, asked, **words)
    return changes.table, alive, spread


SMALL = some_tracks(n_particles=4, n_frames=8)


@pytest.fixture(scope="module")
def expected():
    """What the table says that nothing cuts."""
    return three_answers(SMALL)


@settings(max_examples=6)
@given(st.data())
def test_no_cut_changes_a_bit(expected, data):
    """By frames, by particle, at random; however many partitions, empty ones among them."""
    n = data.draw(st.integers(1, 4))
    how = data.draw(st.sampled_from(["frames", "particles", "random"]))
    if how == "frames":
        part = SMALL["frame"].to_numpy() * n // 8
    elif how == "particles":
        part = SMALL["particle"].to_numpy() % n
    else:
        seed = data.draw(st.integers(0, 99))
        part = np.random.default_rng(seed).integers(0, n, len(SMALL))
    for found, told in zip(three_answers(in_parts(SMALL, part)), expected, strict=True):
        same(found, told)


def test_a_shuffle_through_files_says_the_same(expected):
    with dask.config.set({"scheduler": "threads", "dataframe.shuffle.method": "disk"}):
        cut = in_parts(SMALL, SMALL["frame"].to_numpy() // 3)
        for found, told in zip(three_answers(cut, shuffle=True), expected, strict=True):
            same(found, told)


@pytest.mark.cluster
def test_a_shuffle_from_worker_to_worker_says_the_same(rows):
    """Some frames in each partition, two workers, `distributed`'s p2p."""
    tracks = with_experiment(in_parts(rows, rows["frame"].to_numpy() // 3), KNOWN)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster),
        dask.config.set({"scheduler": None, "dataframe.shuffle.method": None}),
    ):
        gathered = sk.gather_tracks(tracks)
        assert any("p2p" in str(key) for key in gathered.optimize().__dask_graph__()), "no p2p"
        assert gathered.experiment is KNOWN
        found = sk.transitions(tracks, by="movie", shuffle=True).table
    same(found, sk.transitions(rows, by="movie", experiment=KNOWN).table)


def test_gathered_rows_are_all_rows_and_each_partition_has_whole_tracks(rows, by_frames):
    for n_partitions in (None, 1, 3):
        gathered = gather_tracks(by_frames, n_partitions=n_partitions)
        assert gathered.npartitions == (n_partitions or by_frames.npartitions)
        assert holds_whole_tracks(gathered)
        parts = dask.compute(*gathered.to_delayed())
        tracks = [set(zip(part["movie"], part["particle"], strict=True)) for part in parts]
        assert sum(map(len, tracks)) == len(set.union(*tracks)) == 16
        same(in_order(pd.concat(parts)), in_order(rows))


def test_rows_arrive_in_the_same_order_wherever_they_come_from(rows, by_frames):
    other = in_parts(rows, np.random.default_rng(0).integers(0, 3, len(rows)))
    for one, another in zip(
        dask.compute(*gather_tracks(by_frames).to_delayed()),
        dask.compute(*gather_tracks(other).to_delayed()),
        strict=True,
    ):
        same(one, another)


def test_twins_that_lie_in_two_partitions_are_refused_like_those_in_one(rows):
    twice = pd.concat([rows, rows[:1]], ignore_index=True)
    apart = in_parts(twice, np.append(np.zeros(len(rows), int), 1))
    for table in (twice, apart):
        with pytest.raises(ValueError, match=r"particle 0 is twice in frame 0 \(1 such rows\)"):
            sk.transitions(table, frame_time_s=1.0)
    with pytest.raises(ValueError, match="1 times a track goes on in another one"):
        sk.transitions(apart, frame_time_s=1.0, shuffle=False)


def test_a_large_table_that_cuts_tracks_is_refused_unless_told_otherwise(
    rows, by_frames, monkeypatch
):
    monkeypatch.setattr(whole, "SHUFFLED_BELOW", len(rows))
    with pytest.raises(ValueError, match="pass shuffle=True"):
        sk.transitions(by_frames, frame_time_s=1.0)
    same(
        sk.transitions(by_frames, frame_time_s=1.0, shuffle=True).table,
        sk.transitions(rows, frame_time_s=1.0).table,
    )


def counted(rows, part):
    """The table in partitions, and a list that hears of each that is read."""
    pieces, read = [rows[part == k] for k in range(int(part.max()) + 1)], []

    def load(k):
        read.append(k)
        return pieces[k]

    tracks = dd.from_map(load, range(len(pieces)), meta=rows.iloc[:0])
    read.clear()
    return tracks, read


def test_whole_tracks_are_read_once_and_a_shuffle_that_is_asked_for_too(rows):
    for part, words in ((rows["particle"] % 3, {}), (rows["frame"] // 8, {"shuffle": True})):
        tracks, read = counted(rows, part.to_numpy())
        sk.transitions(tracks, frame_time_s=1.0, **words)
        assert sorted(read) == [0, 1, 2]
        read.clear()
        sk.hidden_transitions(tracks, frame_time_s=1.0, **words)
        assert sorted(read) == [0, 1, 2]


def test_nothing_is_watched_where_it_is_known_or_does_not_matter(rows, by_frames, monkeypatch):
    def not_now(*_):
        raise AssertionError

    gathered = gather_tracks(by_frames)
    told = with_experiment(by_frames, KNOWN, whole_tracks=True)
    monkeypatch.setattr(TracksMet, "of", not_now)
    sk.transitions(gathered, frame_time_s=1.0)
    sk.transitions(told)
    sk.transitions(gathered.persist(), frame_time_s=1.0)
    sk.transitions(sk.shuffled(gathered), frame_time_s=1.0)
    same(sk.populations(by_frames, frame_time_s=1.0), sk.populations(rows, frame_time_s=1.0))
    (n,) = answers(by_frames, [Question(lambda own: {"n": len(own)}, dict, of_tracks=False)])
    assert n == {"n": len(rows)}


def test_a_filtered_table_of_whole_tracks_is_looked_at_and_found_whole(rows):
    tracks = with_experiment(in_parts(rows, rows["particle"].to_numpy() % 3), KNOWN)
    kept = tracks[tracks["class_id"] == 1]
    assert not holds_whole_tracks(kept)
    same(sk.survival(kept, experiment=KNOWN, shuffle=False), sk.survival(rows[rows["class_id"] == 1], experiment=KNOWN))  # fmt: skip


def test_of_more_tracks_than_there_is_room_for_a_share_is_watched(monkeypatch):
    monkeypatch.setattr(whole, "MOST_NAMES", 100)
    rows = pd.DataFrame({"particle": np.arange(1000), "frame": 0})
    parts = [TracksMet.of(rows[k::10]) for k in range(10)]
    total = whole._sum_of(parts)
    assert total.n_cut == 0
    assert total.n_rows == 1000
    assert 3 <= total.n_halvings <= 6
    assert 25 < len(total.names) <= 100
    again = whole._sum_of([total, *parts])
    assert again.n_cut == len(total.names)
    message = str(whole.cut(again, 20))
    assert f"of the 1 in {2**total.n_halvings} tracks that were watched" in message


@given(st.lists(st.lists(st.integers(0, 40), min_size=1), min_size=1, max_size=9))
def test_what_was_met_twice_is_counted_whatever_the_order_of_the_sums(parts):
    met = [TracksMet.of(pd.DataFrame({"particle": own, "frame": 0})) for own in parts]
    expected = sum(len(set(own)) for own in parts) - len(set().union(*parts))
    assert whole._sum_of(met).n_cut == expected
    assert whole._sum_of(met[::-1]).n_cut == expected
    assert met[0].__add__(whole._sum_of(met[1:] or met[:1])).n_rows >= len(parts[0])


def test_movies_and_particles_of_any_type_have_the_same_names():
    rows = pd.DataFrame({"movie": ["a", "b", "a"], "particle": [1, 1, 2], "frame": 0})
    expected = whole.track_names(rows)
    assert len(set(expected.tolist())) == 3
    for kind in ("category", "string[pyarrow]", object):
        other = rows.assign(movie=rows["movie"].astype(kind), particle=rows["particle"] * 1.0)
        np.testing.assert_array_equal(whole.track_names(other), expected)


@pytest.mark.skipif(not CASE.exists(), reason="the cases are not here")
def test_the_tracks_of_a_run_opened_as_plain_files_have_the_numbers_of_the_whole_table():
    tracks = dd.read_parquet(CASE)
    rows = tracks.compute()
    found = sk.survival(tracks, frame_time_s=1.0)
    same(found, sk.survival(rows, frame_time_s=1.0))
    assert found["n_at_risk"].iloc[0] == 40


def test_shuffle_is_a_yes_or_a_no(by_frames):
    for verb in OF_TRACKS:
        with pytest.raises(ValueError, match="shuffle must be True, False or None"):
            ask(verb, by_frames, shuffle="p2p")

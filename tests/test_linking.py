"""Linking: by hand, for every chunking, beside trackpy, and against a known truth."""

import itertools

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin import tables
from stemkin.config import LinkSection
from stemkin.kernels.linking import candidates, endpoints, gaps, step_counts
from stemkin.kernels.linking.sightings import Looks, Sightings
from stemkin.linking import LinkSettings, link, meetings
from stemkin.linking.clock import Clock
from stemkin.linking.settings import MAX_GAP_FRAMES
from stemkin.rows.table import with_experiment
from stemkin.schedulers.clients import connect
from tests.strategies import assert_same_rows, computes

ID = 2**24


def detections(rows, *, movie="m", **columns):
    """Rows (frame, y, x) [px] as a table of detections."""
    rows = pd.DataFrame(rows, columns=["frame", "y", "x"]).assign(
        movie=movie, score=9.0, class_id=0, probability=1.0, orientation=-1
    )
    return tables.conform(rows.assign(**columns), "detections")


def frames_table(n_frames, *, movie="m", bad=(), shift=None):
    shift = np.zeros((n_frames, 2)) if shift is None else np.asarray(shift)
    numbers = np.arange(n_frames)
    rows = pd.DataFrame(
        {"movie": movie, "frame": numbers, "shift_y": shift[:, 0], "shift_x": shift[:, 1]}
    )
    rows["status"] = np.where(np.isin(numbers, bad), tables.BLANK, tables.OK)
    return rows.assign(
        time_s=numbers * 1.0,
        shift_quality=1.0,
        n_detections=0,
        ordered=1.0,
        disordered=0.0,
        vacuum=0.0,
    )


def experiment(frames=None, *, movies=("m",), pixel_size_nm=0.1, **columns):
    return tables.Experiment(
        pd.DataFrame({"movie": list(movies), "pixel_size_nm": pixel_size_nm, **columns}), frames
    )


def link_now(rows, frames=None, **options):
    return link(rows, experiment=experiment(frames), **{"max_step_nm": 0.5, **options}).compute()


def particles(rows, frames=None, **options):
    """Particle of each detection, as (frame, rank) of where its track began."""
    return [divmod(p, ID) for p in link_now(rows, frames, **options)["particle"].tolist()]


def wanderers(
    rng, n_frames, n, *, edge_px=60, step_px=1.5, missed=0.1, bad=(), drift_px=0.0, empty=()
):
    """Random walkers with drift, misses, false detections, empty and bad frames; also their true
    names."""
    position = rng.uniform(0, edge_px, (n, 2))
    shift = np.cumsum(rng.normal(0, drift_px, (n_frames, 2)), axis=0)
    found, names = [], []
    for frame in range(n_frames):
        position = position + rng.normal(0, step_px, position.shape)
        if frame in bad or frame in empty:
            continue
        seen = np.flatnonzero(rng.random(n) >= missed)
        false = rng.uniform(0, edge_px, (rng.poisson(missed * 5), 2))
        points = np.concatenate([position[seen], false]) + shift[frame]
        order = np.lexsort(points.T[::-1])
        found.append(np.c_[np.full(len(points), frame), points][order])
        names.append(np.r_[seen, np.full(len(false), -1)][order])
    return (
        np.concatenate(found),
        np.concatenate(names),
        frames_table(n_frames, bad=bad, shift=shift),
    )


# --- by hand
#
# -----------------------------------------------------------------------------------------------------


def test_by_hand_two_defects_are_followed_and_named_after_where_they_began():
    rows = detections(
        [(0, 10, 10), (0, 50, 50), (1, 11, 10), (1, 30, 30), (1, 50, 51), (2, 12, 10), (2, 30, 31)]
    )
    tracks = link_now(rows)
    assert tracks["particle"].tolist() == [0, 1, 0, ID + 1, 1, 0, ID + 1]
    np.testing.assert_allclose(tracks["y_nm"], tracks["y"] * 0.1, rtol=1e-6)


def test_the_drift_is_taken_out_before_distances_are_measured():
    rows = detections([(0, 10, 10), (1, 20, 5), (2, 30, 0)])
    drift = frames_table(3, shift=[(0, 0), (10, -5), (20, -10)])
    assert particles(rows) == [(0, 0), (1, 0), (2, 0)]
    assert particles(rows, drift) == [(0, 0)] * 3
    assert link_now(rows, drift)["y_nm"].round(6).tolist() == [1.0, 1.0, 1.0]


def test_a_bad_frame_is_no_absence_but_an_empty_one_is():
    rows = detections([(0, 10, 10), (2, 10, 11)])
    assert particles(rows, frames_table(3, bad=[1]), max_gap_frames=0) == [(0, 0), (0, 0)]
    assert particles(rows, frames_table(3), max_gap_frames=0) == [(0, 0), (2, 0)]


def test_a_run_and_a_call_close_the_same_gaps():
    assert LinkSection().max_gap_frames == LinkSettings(None).max_gap_frames == MAX_GAP_FRAMES
    rows = detections([(0, 10, 10), (MAX_GAP_FRAMES + 1, 10, 11)])
    assert len(set(particles(rows))) == 1
    assert len(set(particles(rows.assign(frame=[0, MAX_GAP_FRAMES + 2])))) == 2


def test_across_bad_frames_a_step_may_be_longer_as_the_root_of_time():
    rows = detections(
        [(0, 10, 10), (4, 10, 19)]
    )  # 0.9 nm in 4 frame times, where 0.5 * sqrt(4) is allowed
    assert particles(rows, frames_table(5, bad=[1, 2, 3]), cost="distance") == [(0, 0), (0, 0)]
    rows = detections([(0, 10, 10), (4, 10, 21)])
    assert particles(rows, frames_table(5, bad=[1, 2, 3]), cost="distance") == [(0, 0), (4, 0)]


def test_a_track_ends_where_too_many_frames_in_a_row_are_bad():
    rows = detections([(0, 10, 10), (4, 10, 10)])
    assert particles(rows, frames_table(5, bad=[1, 2, 3]), max_blind_frames=2) == [(0, 0), (4, 0)]


def test_a_detection_in_a_bad_frame_is_left_out_and_said_so(caplog):
    rows = detections([(0, 10, 10), (1, 10, 10), (2, 10, 10)])
    assert particles(rows, frames_table(3, bad=[1])) == [(0, 0), (0, 0)]
    assert "1 detections lie in bad frames" in caplog.text


@pytest.mark.parametrize("cost", ["likelihood", "distance"])
def test_a_gap_is_closed_if_it_is_short_and_near_enough(cost):
    rows = [(f, 10, 10) for f in (0, 1, 2, 5, 6)] + [(f, 40, 40) for f in range(7)]
    tracks = link_now(detections(rows), max_gap_frames=2, cost=cost)
    assert tracks.groupby("y")["particle"].nunique().tolist() == [1, 1]
    tracks = link_now(detections(rows), max_gap_frames=1, cost=cost)
    assert tracks.groupby("y")["particle"].nunique().tolist() == [2, 1]
    far = detections([(f, 10, 10) for f in (0, 1)] + [(f, 10, 20) for f in (4, 5)])
    assert link_now(far, max_gap_frames=2, cost=cost)["particle"].nunique() == 2


def test_a_chain_of_gaps_keeps_the_first_name():
    rows = detections([(f, 10, 10) for f in (0, 2, 4, 6)] + [(f, 40, 40) for f in range(7)])
    assert set(particles(rows, max_gap_frames=1)) == {(0, 0), (0, 1)}


def test_bad_frames_within_a_gap_are_not_counted():
    rows = detections([(0, 10, 10), (1, 10, 10), (5, 10, 10), (6, 10, 10)])
    assert len(set(particles(rows, frames_table(7, bad=[2, 4]), max_gap_frames=1))) == 1
    assert len(set(particles(rows, frames_table(7, bad=[2]), max_gap_frames=1))) == 2


def test_every_part_of_a_movie_has_the_clock_of_the_whole_movie():
    """By hand: how long ago the last good frame was, and the one before it; the first two frames
    of a movie have none so far back, whichever part they are looked at from."""
    good, never = np.array([0, 2, 3, 7, 8, 11]), 2.0**40
    bad = [frame for frame in range(12) if frame not in good]
    whole = Clock.of("m", pixel_size_nm=0.1, frames=frames_table(12, bad=bad))
    since = {1: [never, 2, 1, 4, 1, 3], 2: [never, never, 3, 5, 5, 4]}
    for first, last in itertools.combinations_with_replacement(range(len(good)), 2):
        own = slice(first, last + 1)
        part = whole.between(good[first], good[last])
        ordinal = part.ordinal(good[own])
        assert ordinal.tolist() == list(range(first, last + 1))
        for n_apart, frames in since.items():
            assert part.since(ordinal, good[own], n_apart).tolist() == frames[own]


def test_class_and_brightness_may_decide_between_equally_near_candidates():
    rows = detections(
        [(0, 10, 10), (0, 10, 14), (1, 10, 12), (1, 10, 16)],
        class_id=[0, 1, 1, 0],
        score=[9, 3, 3, 9],
    )
    assert particles(rows) == [(0, 0), (0, 1), (0, 0), (0, 1)]
    assert particles(rows, class_penalty_nm=0.5) == [(0, 0), (0, 1), (0, 1), (1, 1)]
    assert particles(rows, brightness_penalty_nm=0.5) == [(0, 0), (0, 1), (0, 1), (1, 1)]


def test_on_a_lattice_a_step_leads_from_site_to_site():
    rows = detections(
        [(0, 10, 10), (0, 40, 40), (1, 10, 11.8), (1, 40, 43.1), (2, 10, 11.9), (2, 40, 43.2)]
    )
    known = experiment(lattice_nm=0.3153)
    free, bound = (
        link(rows, experiment=known, lattice=lattice).compute()["particle"].tolist()
        for lattice in (False, True)
    )
    assert free == [0, 1, 0, 1, 0, 1]
    assert bound == [
        0,
        1,
        ID,
        1,
        ID,
        1,
    ]  # 0.57 lattice constants are no lattice vector, 0.98 are one
    gap = detections(
        [(0, 10, 10), (0, 40, 40), (2, 10, 11.8), (2, 40, 43.1), (3, 10, 11.9), (3, 40, 43.1)]
    )
    words = {"experiment": known, "max_gap_frames": 2}
    free, bound = (
        link(gap, lattice=lattice, **words).compute()["particle"].tolist()
        for lattice in (False, True)
    )
    assert free == [0, 1, 0, 1, 0, 1]
    assert bound == [0, 1, 2 * ID, 1, 2 * ID, 1]
    with pytest.raises(ValueError, match="shows no lattice whose sites could be linked"):
        link(rows, experiment=experiment(), lattice=True, max_step_nm=0.5).compute()


def test_one_name_per_frame_and_movies_are_apart():
    one, other = (
        detections([(0, 5, 5), (1, 5, 5)], movie="a"),
        detections([(0, 5, 5), (1, 5, 6)], movie="b"),
    )
    both = pd.concat([one, other])
    tracks = link(both, experiment=experiment(movies=["a", "b"]), max_step_nm=0.5).compute()
    assert tracks["particle"].tolist() == [0, 0, 0, 0]
    assert not tracks.duplicated(["movie", "particle", "frame"]).any()


def a_pair_that_meets(movie="m"):
    """Two vacancies (class 0) become a double one (class 1) and part again; a third passes by and
    ends for another reason."""
    rows = (
        [(f, 1, 0, 10, 10) for f in range(3)]
        + [(f, 1, 1, 10, 10) for f in range(3, 6)]
        + [(6, 1, 0, 10, 10)]
    )
    rows += [(f, 2, 0, 10, 13) for f in range(3)] + [(f, 3, 0, 10, 7) for f in (6, 7)]
    rows += [(f, 4, 0, 40, 40) for f in range(4)] + [(f, 5, 0, 40, 43) for f in range(2)]
    table = pd.DataFrame(rows, columns=["frame", "particle", "class_id", "y_nm", "x_nm"]).assign(
        movie=movie
    )
    return table.assign(y_nm=table["y_nm"] * 0.1, x_nm=table["x_nm"] * 0.1)


def test_meeting_and_parting_are_events_by_hand():
    found = meetings(a_pair_that_meets(), reach_nm=0.4)
    columns = ["frame", "event", "particle", "from_id", "to_id", "other", "other_id"]
    assert found[columns].to_numpy().tolist() == [
        [3, "merge", 1, 0, 1, 2, 0],
        [6, "split", 1, 1, 0, 3, 0],
    ]
    np.testing.assert_allclose(found["distance_nm"], 0.3)
    assert meetings(a_pair_that_meets(), reach_nm=0.2).empty


def test_meetings_do_not_depend_on_partitions_or_the_order_of_rows():
    rows = pd.concat([a_pair_that_meets("a"), a_pair_that_meets("b")], ignore_index=True)
    whole = meetings(rows, reach_nm=0.4)
    assert len(whole) == 4
    parts = [dask.delayed(rows[rows["movie"] == m].sample(frac=1, random_state=1)) for m in "ba"]
    split = dd.from_delayed(parts, meta=rows.iloc[:0], verify_meta=False)
    assert_same_rows(meetings(split, reach_nm=0.4), whole)


@pytest.mark.parametrize("told", [False, True])
def test_meetings_are_found_across_partitions_of_one_movie(told):
    """Partitions hold whole tracks: the two that meet may lie in different ones."""
    rows = pd.concat([a_pair_that_meets("a"), a_pair_that_meets("b")], ignore_index=True)
    keys = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    parts = [
        dask.delayed(rows[(rows["movie"] == m) & (rows["particle"] % 2 == odd)]) for m, odd in keys
    ]
    split = dd.from_delayed(parts, meta=rows.iloc[:0], verify_meta=False)
    if told:
        split = with_experiment(split, None, movie_of_partition=[movie for movie, _ in keys])
    assert_same_rows(meetings(split, reach_nm=0.4), meetings(rows, reach_nm=0.4))


def test_no_tracks_never_meet_and_a_reach_is_asked_for():
    nothing = meetings(tables.empty("tracks"), reach_nm=0.4)
    assert nothing.columns.tolist()[:3] == ["movie", "frame", "event"]
    assert nothing.empty
    with pytest.raises(ValueError, match="one hop is 1"):
        meetings(a_pair_that_meets(), reach_nm=0)


# --- chunking, order, laziness, schedulers
# -----------------------------------------------------------------------


@st.composite
def movies_and_cuts(draw):
    """A small table of up to three movies, with ties, gaps, empty and bad frames, and where to cut
    it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, frames = [], []
    for movie in draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]:
        n_frames = draw(st.integers(1, 9))
        bad = draw(st.sets(st.integers(0, n_frames - 1), max_size=3))
        empty = draw(st.sets(st.integers(0, n_frames - 1), max_size=2))
        if bad | empty == set(range(n_frames)):
            continue
        points, _, table = wanderers(
            rng,
            n_frames,
            draw(st.integers(1, 12)),
            edge_px=20,
            bad=bad,
            empty=empty,
            missed=0.25,
            drift_px=1.0,
        )
        if draw(st.booleans()):
            points = (
                points.round()
            )  # many pairs at equal distances, and detections on top of each other
        rows.append(detections(points, movie=movie))
        frames.append(table.assign(movie=movie))
    if not rows:
        return detections([(0, 1, 1)]), frames_table(1), []
    rows = pd.concat(rows, ignore_index=True)
    if rows.empty:
        return rows, pd.concat(frames, ignore_index=True), [0]
    key = rows["movie"] + rows["frame"].astype(str)
    starts = np.flatnonzero(key.ne(key.shift())).tolist()
    cuts = sorted(
        draw(st.lists(st.sampled_from(starts), max_size=6))
    )  # a cut drawn twice: an empty block
    return rows, pd.concat(frames, ignore_index=True), cuts


def in_blocks(rows, cuts):
    edges = [0, *cuts, len(rows)]
    parts = [dask.delayed(rows.iloc[a:b]) for a, b in itertools.pairwise(edges)]
    return dd.from_delayed(parts, meta=rows.iloc[:0], verify_meta=False)


@given(movies_and_cuts(), st.integers(0, 3), st.sampled_from(["likelihood", "distance"]))
@settings(deadline=None, max_examples=10)
def test_tracks_do_not_depend_on_how_the_rows_are_cut(drawn, max_gap_frames, cost):
    rows, frames, cuts = drawn
    known = experiment(frames, movies=["a", "b", "c", "m"])
    options = {
        "experiment": known,
        "max_step_nm": 0.5,
        "max_gap_frames": max_gap_frames,
        "cost": cost,
    }
    with dask.config.set(scheduler="synchronous"):
        whole = link(rows, **options).compute()
        blocks = link(in_blocks(rows, cuts), **options)
        parts = dask.compute(*blocks.to_delayed())
    assert_same_rows(pd.concat(parts), whole)
    assert not whole.duplicated(["movie", "particle", "frame"]).any()
    homes = pd.concat([p[["movie"]].drop_duplicates() for p in parts])
    assert not homes.duplicated().any(), "a movie's tracks lie in two partitions"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_in_a_crowd_neither_cuts_nor_windows_change_a_track(seed, monkeypatch):
    """Crowded enough that links hang on the frames beside: a context one frame too short is seen
    here."""
    rng = np.random.default_rng(seed)
    points, _, frames = wanderers(
        rng, 30, 60, edge_px=50, missed=0.25, bad=(7, 8, 20), empty=(13,), drift_px=1.0
    )
    rows = detections(points)
    options = {"experiment": experiment(frames), "max_step_nm": 0.5, "max_gap_frames": 2}
    starts = np.flatnonzero(rows["frame"].diff().ne(0)).tolist()
    cuts = sorted(rng.choice(starts, 12, replace=False).tolist())
    with dask.config.set(scheduler="synchronous"):
        whole = link(rows, **options).compute()
        monkeypatch.setattr(candidates, "WINDOW_ROWS", 150)
        monkeypatch.setattr(candidates, "WINDOW_FRAMES", 2)
        assert_same_rows(link(in_blocks(rows, cuts), **options).compute(), whole)


@pytest.mark.parametrize(("seed", "max_gap_frames"), [(0, 1), (2, 5)])
@pytest.mark.parametrize("most_ends", [10**6, 50])
def test_gaps_are_closed_alike_in_windows_of_any_size(seed, max_gap_frames, most_ends, monkeypatch):
    """Crowded enough that ends and starts hang together across windows; with `most_ends` 50, a
    sample tells the shares."""
    rng = np.random.default_rng(seed)
    points, _, frames = wanderers(
        rng, 40, 32, edge_px=50, missed=0.25, bad=(7, 8, 20), empty=(13,), drift_px=1.0
    )
    rows = detections(np.asarray(points).round())  # on whole pixels: with many ties
    options = {
        "experiment": experiment(frames),
        "max_step_nm": 0.5,
        "max_gap_frames": max_gap_frames,
    }
    starts = np.flatnonzero(rows["frame"].diff().ne(0)).tolist()
    cuts = sorted(rng.choice(starts, 12, replace=False).tolist())
    monkeypatch.setattr(gaps, "MOST_ENDS", most_ends)
    with dask.config.set(scheduler="synchronous"):
        whole = link(rows, **options).compute()
        for size in (1, 30, 150):
            monkeypatch.setattr(endpoints, "WINDOW_ENDPOINTS", size)
            assert_same_rows(link(in_blocks(rows, cuts), **options).compute(), whole)


def test_a_sample_of_the_ends_tells_nearly_the_same_shares(monkeypatch):
    rng = np.random.default_rng(0)
    points, _, frames = wanderers(rng, 150, 60, missed=0.15)
    rows, asked = detections(points), []
    shares = gaps._most_likely
    monkeypatch.setattr(
        gaps,
        "_most_likely",
        lambda *words: asked.append((words[2], shares(*words))) or asked[-1][1],
    )
    for most in (10**6, 400):
        monkeypatch.setattr(gaps, "MOST_ENDS", most)
        link_now(rows, frames, max_gap_frames=1)
    (n_all, every), (n_some, some) = asked
    assert n_all > 1000 > 400 >= n_some > 200
    assert some.of_missed == pytest.approx(every.of_missed, rel=0.1)
    assert some.births_per_nm2 == pytest.approx(every.births_per_nm2, rel=0.3)


@pytest.mark.parametrize("seed", [0, 1])
def test_where_only_some_stretches_of_a_crowded_movie_are_counted_cuts_change_nothing(
    seed, monkeypatch
):
    monkeypatch.setattr(step_counts, "ENOUGH_ROWS", 15)
    monkeypatch.setattr(step_counts, "STRETCH", 3)
    rng = np.random.default_rng(seed)
    points, _, frames = wanderers(
        rng, 30, 60, edge_px=50, missed=0.25, bad=(7, 8, 20), empty=(13,), drift_px=1.0
    )
    rows = detections(points)
    good = np.setdiff1d(np.arange(30), [7, 8, 20])
    counted = step_counts.counted_frames(np.searchsorted(good, rows["frame"]))
    assert set(counted) >= {0, 4}
    options = {"experiment": experiment(frames), "max_step_nm": 0.5, "max_gap_frames": 2}
    starts = np.flatnonzero(rows["frame"].diff().ne(0)).tolist()
    cuts = sorted(rng.choice(starts, 12, replace=False).tolist())
    with dask.config.set(scheduler="synchronous"):
        whole = link(rows, **options).compute()
        assert_same_rows(link(in_blocks(rows, cuts), **options).compute(), whole)


def test_steps_are_counted_by_hand():
    frame = np.array([0, 0, 1, 2, 2, 3])
    points = np.array([[0.0, 0.0], [9.0, 9.0], [0.0, 0.25], [0.0, 0.5], [9.0, 9.25], [0.0, 0.5]])
    looks = Looks(np.zeros(6), np.zeros(6))
    seen = Sightings(frame, frame, points, np.ones(6), np.full(6, 2.0), looks)
    counts = step_counts.count_steps(seen, 0.5, slice(0, 6))
    assert counts.steps.nonzero()[0].tolist() == [0, 32]
    assert counts.steps[[0, 32]].tolist() == [
        1,
        2,
    ]  # three steps of the first defect: 0, 0.25 and 0.25 of reach 0.5
    assert counts.returns.sum() == 1  # the other is missed in frame 1
    assert (counts.n_ended, counts.n_begun, counts.n_before_two, counts.n_pairs) == (2, 1, 1, 3)
    parts = [
        step_counts.count_steps(seen, 0.5, own) for own in (slice(0, 2), slice(2, 5), slice(5, 6))
    ]
    total = parts[0] + parts[1] + parts[2]
    assert total.steps.tolist() == counts.steps.tolist()
    assert (total.n_ended, total.n_begun, total.n_before_two, total.n_pairs) == (2, 1, 1, 3)


@given(movies_and_cuts(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=8)
def test_tracks_do_not_depend_on_the_order_of_the_rows(drawn, random):
    rows, frames, _ = drawn
    known = experiment(frames, movies=["a", "b", "c", "m"])
    shuffled = rows.iloc[random.sample(range(len(rows)), len(rows))]
    key = ["movie", "frame", "y", "x", "particle"]
    one, other = (
        link(r, experiment=known, max_step_nm=0.5, max_gap_frames=1).compute().sort_values(key)
        for r in (rows, shuffled)
    )
    assert_same_rows(one, other)


def test_building_the_graph_computes_nothing_and_each_partition_is_read_once():
    rng = np.random.default_rng(0)
    points, _, frames = wanderers(rng, 12, 10)
    read = []

    def load(part):
        read.append(len(part))
        return part

    rows = detections(points)
    parts = [dask.delayed(load)(rows[rows["frame"] // 3 == k]) for k in range(4)]
    lazy = dd.from_delayed(parts, meta=rows.iloc[:0], verify_meta=False)
    with computes(at_most=0):
        tracks = link(lazy, experiment=experiment(frames), max_step_nm=0.5, max_gap_frames=1)
    assert not read
    assert len(tracks.compute()) == len(rows)
    assert len(read) == 4


def test_threads_and_the_synchronous_scheduler_agree():
    points, _, frames = wanderers(np.random.default_rng(0), 12, 10)
    rows = detections(points)
    cuts = np.searchsorted(rows["frame"], [4, 8]).tolist()
    tracks = link(
        in_blocks(rows, cuts), experiment=experiment(frames), max_step_nm=0.5, max_gap_frames=1
    )
    assert_same_rows(tracks.compute(scheduler="threads"), tracks.compute(scheduler="synchronous"))


@pytest.mark.cluster
def test_two_processes_agree_with_one(two_processes):
    points, _, frames = wanderers(np.random.default_rng(0), 12, 10)
    rows = detections(points)
    tracks = link(
        in_blocks(rows, np.searchsorted(rows["frame"], [4, 8]).tolist()),
        experiment=experiment(frames),
        max_step_nm=0.5,
        max_gap_frames=1,
    )
    wanted = tracks.compute(scheduler="synchronous")
    with connect(two_processes):
        assert_same_rows(tracks.compute(), wanted)


# --- reference and truth
# -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("n", [5, 60])
def test_by_distance_the_tracks_are_those_of_trackpy(n):
    trackpy = pytest.importorskip("trackpy")
    trackpy.quiet()
    points, _, frames = wanderers(np.random.default_rng(n), 30, n, missed=0.1)
    ours = link_now(detections(points), frames, cost="distance", max_gap_frames=0)
    theirs = trackpy.link(
        ours[["frame", "y_nm", "x_nm"]], 0.5, memory=0, pos_columns=["y_nm", "x_nm"]
    )["particle"]
    pairs = pd.DataFrame({"ours": ours["particle"], "theirs": theirs}).drop_duplicates()
    assert len(pairs) == ours["particle"].nunique() == theirs.nunique()


def association(tracks, true):
    """Jaccard index of links between consecutive detections, found and true."""

    def links_of(name):
        rows = pd.DataFrame({"name": name, "row": np.arange(len(name))})
        rows = rows[rows["name"] >= 0]
        following = rows.groupby("name")["row"].shift(-1)
        kept = following.notna()
        return set(zip(rows["row"][kept], following[kept].astype(int), strict=True))

    found, wanted = links_of(tracks["particle"].to_numpy()), links_of(true)
    return len(found & wanted) / len(found | wanted)


def test_more_true_links_are_found_by_likelihood_than_by_distance():
    rng = np.random.default_rng(2)
    sites = rng.uniform(0, 90, (150, 2))
    rows, names = [], []
    position = sites.copy()
    for frame in range(40):  # they rest, or hop by 3 px in any direction
        hop = rng.random(len(position)) < 0.1
        angle = rng.uniform(0, 2 * np.pi, len(position))
        position = position + (3 * hop)[:, None] * np.c_[np.sin(angle), np.cos(angle)]
        seen = np.flatnonzero(rng.random(len(position)) > 0.2)
        points = np.r_[
            position[seen] + rng.normal(0, 0.2, (len(seen), 2)), rng.uniform(0, 90, (15, 2))
        ]
        order = np.lexsort(points.T[::-1])
        rows.append(np.c_[np.full(len(points), frame), points][order])
        names.append(np.r_[seen, np.full(15, -1)][order])
    table, true = detections(np.concatenate(rows)), np.concatenate(names)
    options = {"max_step_nm": 0.5, "max_gap_frames": 3}
    likely, near = (
        association(link_now(table, cost=cost, **options), true)
        for cost in ("likelihood", "distance")
    )
    open_ended = association(
        link_now(table, cost="likelihood", max_step_nm=0.5, max_gap_frames=0), true
    )
    assert likely > near + 0.03
    assert likely > open_ended + 0.05
    assert likely > 0.8


# --- edges and bad input
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_gap_frames", [0, 2])
def test_no_detections_give_a_table_with_columns(max_gap_frames):
    rows = detections([(0, 1, 1)]).iloc[:0].assign(d00=np.float32(0))
    tracks = link_now(rows, max_gap_frames=max_gap_frames)
    assert tracks.columns.tolist() == [*tables.COLUMNS["tracks"], "d00"]
    assert tracks.dtypes.astype(str).to_dict() == {**tables.COLUMNS["tracks"], "d00": "float32"}


def test_position_errors_and_edge_flags_come_along_and_are_filled_in_where_missing():
    rows = detections([(0, 1, 1), (1, 1, 1.5)])
    known = link_now(rows.assign(position_error=np.float32([0.1, 0.2]), at_edge=[True, False]))
    assert known["position_error"].tolist() == pytest.approx([0.1, 0.2])
    assert known["at_edge"].tolist() == [True, False]
    plain = link_now(rows.drop(columns=["position_error", "at_edge"]))
    assert plain["position_error"].isna().all()
    assert not plain["at_edge"].any()
    assert plain.dtypes.astype(str).to_dict() == tables.COLUMNS["tracks"]


def test_one_frame_and_one_detection_are_tracks_of_their_own():
    assert particles(detections([(7, 1, 1), (7, 5, 5)])) == [(7, 0), (7, 1)]


def test_a_gap_longer_than_the_movie_is_no_longer_than_the_movie():
    rows = detections([(0, 10, 10), (1, 10, 10), (5, 10, 10), (6, 10, 10), (6, 40, 40)])
    assert particles(rows, max_gap_frames=10**9) == particles(rows, max_gap_frames=6)
    assert particles(detections([(3, 1, 1)]), max_gap_frames=10**9) == [(3, 0)]


def test_descriptors_travel_with_their_rows():
    rows = detections([(0, 9, 9), (1, 9, 9)]).assign(d00=np.float32([1, 2]), d01=np.float32([3, 4]))
    assert link_now(rows)[["d00", "d01"]].to_numpy().tolist() == [[1, 3], [2, 4]]


def test_a_step_follows_from_the_lattice_where_it_is_known():
    rows = detections(
        [(0, 10, 10), (1, 10, 16.9), (2, 10, 23.9)]
    )  # steps of 0.69 and 0.70 nm; 2.2 * 0.3153 nm = 0.694 nm
    known = experiment(lattice_nm=0.3153)
    assert link(rows, experiment=known).compute()["particle"].tolist() == [0, 0, 2 * ID]
    frames = frames_table(3).assign(lattice_px=3.153)
    assert link(rows, experiment=experiment(frames)).compute()["particle"].tolist() == [
        0,
        0,
        2 * ID,
    ]


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (
            detections([(0, 1, 1)]),
            {"max_step_nm": None},
            "pass max_step_nm=, about 2.2 lattice constants",
        ),
        (detections([(0, 1, 1)]), {"max_step_nm": -1}, "positive number of nanometres, but is -1"),
        (detections([(0, 1, 1)]), {"max_gap_frames": -1}, "max_gap_frames must be a number"),
        (detections([(0, 1, 1)]), {"cost": "magic"}, "but is 'magic'"),
        (detections([(0, np.nan, 1), (0, 1, 1)]), {}, "1 detections have no finite y, x"),
        (detections([(0, 1, 1)], movie="other"), {}, "no calibration is known for movie 'other'"),
        (detections([(0, 1, 1)]).drop(columns="score"), {}, r"needs the columns \['score'\]"),
        (detections([(0, 1, 1)]), {"experiment": None}, "pass experiment="),
        (
            detections([(0, 1, 1)]),
            {"experiment": experiment(pixel_size_nm=np.nan)},
            "needs a pixel size",
        ),
        (
            detections([(0, 1, 1)]),
            {"experiment": experiment(frames_table(2, shift=[(np.nan, 0), (0, 0)]))},
            "good frame 0 has no shift",
        ),
        (
            detections([(0, 1, 1)]),
            {"experiment": experiment(pd.concat([frames_table(1)] * 2))},
            "frame 0 is listed twice",
        ),
    ],
)
def test_bad_input_is_refused_with_the_value_met_and_the_cure(rows, options, words):
    with pytest.raises(ValueError, match=words):
        link(rows, **{"experiment": experiment(), "max_step_nm": 0.5, **options}).compute()


def test_a_frame_cut_in_two_is_refused():
    rows = detections([(0, 1, 1), (0, 5, 5), (1, 1, 1)])
    with pytest.raises(
        ValueError, match="frame 0 is cut in two; partitions must hold whole frames"
    ):
        link(in_blocks(rows, [1]), experiment=experiment(), max_step_nm=0.5).compute()


def test_a_movie_that_comes_back_is_refused():
    rows = pd.concat([detections([(0, 1, 1)], movie=m) for m in "aba"])
    with pytest.raises(ValueError, match="movie 'a' comes back"):
        link(
            in_blocks(rows, [1, 2]), experiment=experiment(movies=["a", "b"]), max_step_nm=0.5
        ).compute()

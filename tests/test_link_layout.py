"""How `link` lies over Dask: work linear in the blocks, and the same tracks whoever carries it out."""

import itertools

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.core import get_dependencies
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin import tables
from stemkin.linking import LinkSettings, exchange, link, meetings, partitions
from stemkin.linking.executors import Loop, Stream
from stemkin.linking.halos import held_blocks, in_movies
from stemkin.linking.order import link_here, link_in_order
from stemkin.linking.partitions import clocks_of
from stemkin.rows import files
from stemkin.rows.files import part_of
from stemkin.rows.table import with_experiment
from stemkin.schedulers.clients import connect
from tests.strategies import assert_same_rows, computes

N_FRAMES = 24
MOVIES = pd.DataFrame({"movie": ["m"], "pixel_size_nm": [0.1]})


def wanderers(seed=0, n=20, missed=0.2):
    """Detections of random walkers that are missed now and then, sorted by frame, y, x."""
    rng = np.random.default_rng(seed)
    place, rows = rng.uniform(0, 60, (n, 2)), []
    for frame in range(N_FRAMES):
        place = place + rng.normal(0, 1.0, place.shape)
        points = place[rng.random(n) > missed]
        rows.append(np.c_[np.full(len(points), frame), points[np.lexsort(points.T[::-1])]])
    found = pd.DataFrame(np.concatenate(rows), columns=["frame", "y", "x"])
    known = {"movie": "m", "score": 9.0, "class_id": 0, "probability": 1.0, "orientation": -1}
    return tables.conform(found.assign(**known), "detections")


def frames_of(rows):
    """The table of frames behind `rows`, all of them good."""
    numbers = np.arange(N_FRAMES)
    found = np.bincount(rows["frame"], minlength=N_FRAMES)
    return pd.DataFrame(
        {"movie": "m", "frame": numbers, "status": tables.OK, "n_detections": found}
    ).assign(shift_y=0.0, shift_x=0.0)


def in_blocks(rows, cuts):
    """The rows as a Dask table whose partitions begin at the frames `cuts`."""
    edges = [0, *sorted(cuts), N_FRAMES]
    parts = [
        dask.delayed(rows[rows["frame"].between(start, stop - 1)])
        for start, stop in itertools.pairwise(edges)
    ]
    return dd.from_delayed(parts, meta=rows.iloc[:0], verify_meta=False)


def unread(number):
    raise AssertionError(number)


def graph_of(n_blocks):
    rows = dd.from_map(unread, range(n_blocks), meta=tables.empty("detections"))
    told = with_experiment(rows, tables.Experiment(MOVIES), movie_of_partition=["m"] * n_blocks)
    with computes(at_most=0):
        return dict(link(told, max_step_nm=0.5).optimize().__dask_graph__())


def n_edges(graph):
    return sum(len(get_dependencies(graph, key)) for key in graph)


def test_tasks_and_their_ties_grow_as_the_blocks():
    """Counted, not timed: neither tasks per block nor dependencies per block grow."""
    graphs = {n: graph_of(n) for n in (64, 512, 4096)}
    tasks = {n: len(graph) / n for n, graph in graphs.items()}
    edges = {n: n_edges(graph) / n for n, graph in graphs.items()}
    assert max(tasks.values()) < 12, tasks
    assert max(edges.values()) < 28, edges
    assert tasks[4096] < 1.1 * tasks[512] < 1.21 * tasks[64], tasks
    assert edges[4096] < 1.1 * edges[512] < 1.21 * edges[64], edges


@pytest.mark.parametrize("n_movies", [20, 200])
def test_an_archive_of_many_movies_costs_as_many_tasks_a_block(n_movies):
    rows = dd.from_map(unread, range(3 * n_movies), meta=tables.empty("detections"))
    names = [f"movie {number}" for number in range(n_movies)]
    movies = pd.DataFrame({"movie": names, "pixel_size_nm": 0.1})
    owners = [name for name in names for _ in range(3)]
    told = with_experiment(rows, tables.Experiment(movies), movie_of_partition=owners)
    tracks = link(told, max_step_nm=0.5)
    assert tracks.movie_of_partition == names
    assert len(tracks.__dask_graph__()) / (3 * n_movies) < 12


@given(cuts=st.sets(st.integers(1, N_FRAMES - 1), max_size=12), ways=st.integers(2, 5))
@settings(deadline=None, max_examples=10)
def test_a_large_movie_comes_in_partitions_of_whole_tracks(cuts, ways):
    rows, known = wanderers(), tables.Experiment(MOVIES)
    whole = link(rows, experiment=known, max_step_nm=0.5).compute(scheduler="sync")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "BLOCKS_PER_PARTITION", 1)
        patch.setattr(exchange, "MOST_WAYS", ways)
        tracks = link(in_blocks(rows, cuts), experiment=known, max_step_nm=0.5)
    n_parts = len(cuts) + 1
    assert tracks.npartitions == n_parts
    assert tracks.movie_of_partition == ["m"] * n_parts
    for number, part in enumerate(dask.compute(*tracks.to_delayed(), scheduler="sync")):
        # a partition is a share of the particles, as `run` cuts them, in the order of the movie
        share = part_of(whole["particle"].to_numpy(), n_parts) == number
        assert_same_rows(part, whole[share])


@given(cuts=st.sets(st.integers(1, N_FRAMES - 1), max_size=12))
@settings(deadline=None, max_examples=8)
def test_where_the_frames_are_known_partitions_are_the_same_for_every_cut(cuts):
    rows = wanderers(1)
    known = tables.Experiment(MOVIES, frames_of(rows))
    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(files, "ROWS_PER_PARTITION", 100)
        one, other = (
            dask.compute(*link(table, experiment=known, max_step_nm=0.5).to_delayed())
            for table in (rows, in_blocks(rows, cuts))
        )
    assert len(one) == len(other) == -(-len(rows) // 100)
    for part, same in zip(one, other, strict=True):
        assert_same_rows(part, same)


@pytest.mark.parametrize("max_gap_frames", [0, 2])
@pytest.mark.parametrize("cost", ["likelihood", "distance"])
def test_a_loop_a_graph_and_a_stream_carry_out_the_same_order(cost, max_gap_frames):
    rows, cuts = wanderers(2), (3, 4, 11, 17)
    words = {"max_step_nm": 0.5, "cost": cost, "max_gap_frames": max_gap_frames}
    known, asked = tables.Experiment(MOVIES), LinkSettings(**words)
    lazy = link(in_blocks(rows, cuts), experiment=known, **words).compute(scheduler="sync")
    parts = [
        rows[rows["frame"].between(start, stop - 1)]
        for start, stop in itertools.pairwise([0, *cuts, N_FRAMES])
    ]
    clocks = clocks_of(None, MOVIES)
    assert_same_rows(link_here(parts, clocks, asked), lazy)
    blocks = held_blocks(Loop(), [in_movies(part, clocks) for part in parts], clocks)
    with connect("threads", workers=2):
        streamed = link_in_order(Stream(retries=0), blocks, asked)
    assert_same_rows(pd.concat([of_block["m"] for of_block in streamed]), lazy)


def test_meetings_and_numbers_do_not_depend_on_the_partitions(monkeypatch):
    rows, known = wanderers(3), tables.Experiment(MOVIES)
    rows["class_id"] = (rows["y"].astype(int) % 2).astype("int16")
    whole = link(rows, experiment=known, max_step_nm=0.5)
    monkeypatch.setattr(partitions, "BLOCKS_PER_PARTITION", 1)
    split = link(in_blocks(rows, range(4, N_FRAMES, 4)), experiment=known, max_step_nm=0.5)
    assert (whole.npartitions, split.npartitions) == (1, 6)
    found = meetings(split, reach_nm=1.0)
    assert len(found)
    assert_same_rows(found, meetings(whole, reach_nm=1.0))

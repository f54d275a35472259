"""A movie that is linked block by block has the same tracks, and the same bytes, as one that is
linked at once."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin import tables
from stemkin.config import LinkSection
from stemkin.errors import DamagedFileError
from stemkin.pipeline import block_files, tracks, whole_tracks
from stemkin.results.store import Block, Store
from stemkin.results.track_files import track_files
from stemkin.rows import files as row_files
from stemkin.rows.files import tracks_in_files
from stemkin.schedulers.clients import connect

N_FRAMES = 40
MOVIE = {
    "movie": "m", "n_frames": N_FRAMES, "height_px": 60, "width_px": 60, "pixel_size_nm": 0.1, "frame_time_s": 1.0,
    "dose_rate_e_per_nm2_s": None, "source": "nowhere",
}  # fmt: skip


def detections(rng, n, *, edge_px=60, missed=0.2, empty=(), drift_px=0.7):
    """Walkers with drift, misses and false detections; no row in the frames `empty`."""
    position = rng.uniform(0, edge_px, (n, 2))
    step = rng.normal(0, drift_px, (N_FRAMES, 2))
    rows = []
    for frame, shift in enumerate(step.cumsum(axis=0)):
        position = position + rng.normal(0, 1.5, position.shape)
        if frame in empty:
            continue
        points = (
            np.concatenate([position[rng.random(n) > missed], rng.uniform(0, edge_px, (3, 2))])
            + shift
        )
        rows.append(np.c_[np.full(len(points), frame), points][np.lexsort(points.T[::-1])])
    table = pd.DataFrame(np.concatenate(rows), columns=["frame", "y", "x"])
    known = {
        "movie": "m",
        "score": 5.0,
        "class_id": 0,
        "probability": 1.0,
        "orientation": -1,
        "d00": 0.5,
    }
    full = {**dict.fromkeys(tables.COLUMNS["detections"], 0), **known}
    return tables.conform(
        table.assign(**{c: v for c, v in full.items() if c not in table}), "detections"
    ), step


def write_blocks(store, rows, step, edges, *, bad=(), failed=()):
    """Write detections and steps as the pixel pass leaves them; return the task that links them."""
    blocks = [Block("m", a, b) for a, b in itertools.pairwise(edges)]
    lost = [block for k, block in enumerate(blocks) if k in failed]
    kept = [block for block in blocks if block not in lost]
    for block in kept:
        frame = np.arange(block.start, block.stop)
        own = rows[rows["frame"].between(block.start, block.stop - 1)]
        seen = np.bincount(own["frame"] - block.start, minlength=len(frame))
        frames = tracks.unread(block, MOVIE).assign(
            status=np.where(np.isin(frame, bad), tables.BLANK, tables.OK), n_detections=seen,
            step_y=step[frame, 0], step_x=step[frame, 1], lattice_px=3.0,
        )  # fmt: skip
        store.write_block("steps", block, frames, "made")
        store.write_block("detections", block, own.reset_index(drop=True), "made")
    words = {"max_step_nm": 0.5, "max_gap_frames": 2}
    return tracks.LinkTask(MOVIE, tuple(kept), tuple(lost), store, LinkSection(**words))


def files(folder):
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.parquet")}
    return {
        name: content for name, content in found.items() if name.startswith(("tracks", "frames"))
    }


@given(
    cuts=st.sets(st.integers(1, N_FRAMES - 1), max_size=8),
    seed=st.integers(0, 2**20),
    bad=st.sets(st.integers(0, N_FRAMES - 1), max_size=5),
    empty=st.sets(st.integers(0, N_FRAMES - 1), max_size=8),
    failed=st.sets(st.integers(1, 5), max_size=2),
)
@settings(deadline=None, max_examples=5)
def test_block_by_block_gives_the_same_files_as_at_once(
    tmp_path_factory, cuts, seed, bad, empty, failed
):
    rows, step = detections(np.random.default_rng(seed), 15, empty=empty)
    rows = rows[~rows["frame"].isin(bad)]
    edges = sorted({0, N_FRAMES, *cuts})
    summaries, written = [], []
    for rows_at_once in (10**9, -1):
        folder = tmp_path_factory.mktemp("results")
        task = write_blocks(Store.at(folder), rows, step, edges, bad=bad, failed=failed)
        with connect("synchronous"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(tracks, "ROWS_AT_ONCE", rows_at_once)
            summary = tracks.link_to_store(task)
            numbers = (summary.n_tracks, summary.n_rows)
            if summary.large is not None:
                numbers = block_files.link_large(summary.large, retries=0)
            assert tracks.link_to_store(task).reused
        summaries.append(numbers)
        written.append(files(folder))
        assert not (folder / block_files.LINKS).exists()
    assert summaries[0] == summaries[1]
    assert written[0] == written[1]


def test_a_worker_holds_a_few_frames_besides_its_block():
    rng = np.random.default_rng(0)
    frames = pd.DataFrame(
        {"movie": "m", "frame": np.arange(1000), "status": "ok", "n_detections": 5}
    )
    frames = frames.assign(shift_y=rng.normal(size=1000), shift_x=0.0)
    edges = np.arange(0, 1001, 10)
    blocks = tuple(Block("m", a, b) for a, b in itertools.pairwise(edges.tolist()))
    movie = block_files.LargeMovie(
        None, MOVIE, blocks, blocks, frames, None, tracks.LinkSettings(0.5), "made"
    )
    pieces = list(movie.filed_blocks())
    assert max(len(piece.clock.good) for piece in pieces) == 10 + 3 + 2 + 2
    assert pieces[50].beside.tolist() == [497, 498, 499, 510, 511]
    assert [block.start for block in pieces[50].halo] == [490, 510]
    assert pieces[50].clock.ordinal(np.array([499, 505])).tolist() == [499, 505]


def linked(folder, rows, step, edges, *, rows_per_part):
    """Link block by block, with parts of `rows_per_part` rows; return the store."""
    task = write_blocks(Store.at(folder), rows, step, edges)
    with connect("synchronous"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "ROWS_AT_ONCE", -1)
        patch.setattr(row_files, "ROWS_PER_PARTITION", rows_per_part)
        block_files.link_large(tracks.link_to_store(task).large, retries=0)
        assert tracks.link_to_store(task).reused
    return task


@given(
    cuts=st.sets(st.integers(1, N_FRAMES - 1), max_size=12),
    rows_per_part=st.sampled_from([60, 200, 10**6]),
)
@settings(deadline=None, max_examples=3)
def test_whole_tracks_are_the_same_rows_for_every_cut(tmp_path_factory, cuts, rows_per_part):
    rows, step = detections(np.random.default_rng(1), 15)
    found = []
    for edges in (sorted({0, N_FRAMES, *cuts}), [0, N_FRAMES]):
        store = linked(
            tmp_path_factory.mktemp("results"), rows, step, edges, rows_per_part=rows_per_part
        ).store
        paths, is_whole = track_files(store, "m")
        assert is_whole
        assert len(paths) == -(-len(rows) // rows_per_part)
        found.append([pd.read_parquet(path) for path in paths])
        blocks = pd.concat(
            [store.read_block("tracks", block) for block in store.blocks("tracks", "m")]
        )
        together = pd.concat(found[-1]).sort_values(["frame", "y", "x"], ignore_index=True)
        pd.testing.assert_frame_equal(
            together, blocks[[*together]].reset_index(drop=True), check_exact=True
        )
        of_particle = pd.concat([part.assign(part=k) for k, part in enumerate(found[-1])]).groupby(
            "particle"
        )["part"]
        assert (of_particle.nunique() == 1).all()
    for part, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(part, other, check_exact=True)


@pytest.mark.parametrize("n_parts", [1, 4, 16])
def test_each_row_is_moved_once_and_read_once_by_every_number(tmp_path, monkeypatch, n_parts):
    """The cost of a giant movie is linear in its rows: with more partitions, none of them reads
    another's rows."""
    rows, step = detections(np.random.default_rng(2), 15)
    moved, read = [], []
    ranges, columns_in = Store.read_ranges, row_files.columns_in
    monkeypatch.setattr(
        Store, "read_ranges", lambda *words: [moved.append(len(b)) or b for b in ranges(*words)]
    )
    per_part = -(-len(rows) // n_parts)
    store = linked(
        tmp_path, rows, step, list(range(0, N_FRAMES + 1, 5)), rows_per_part=per_part
    ).store
    assert sum(moved) == len(rows) * whole_tracks.RECORD.itemsize
    paths, is_whole = track_files(store, "m")
    partitions = tracks_in_files({"m": paths}, whole=["m"] if is_whole else [])
    assert partitions.npartitions == n_parts

    def counted(path, columns):
        found = columns_in(path, columns)
        read.append(found.num_rows)
        return found

    monkeypatch.setattr(row_files, "columns_in", counted)
    with connect("synchronous"):
        sk.transitions(partitions, frame_time_s=1.0)
    assert sum(read) == len(rows)


def test_whole_tracks_are_made_anew_where_one_is_missing_or_stale(tmp_path):
    rows, step = detections(np.random.default_rng(3), 8)
    task = linked(tmp_path, rows, step, [0, 20, N_FRAMES], rows_per_part=100)
    paths, _ = track_files(task.store, "m")
    content = [Path(path).read_bytes() for path in paths]
    with connect("synchronous"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracks, "ROWS_AT_ONCE", -1)
        patch.setattr(row_files, "ROWS_PER_PARTITION", 100)
        Path(paths[1]).unlink()
        assert track_files(task.store, "m") == (
            task.store.block_paths("tracks", "m"),
            False,
        )
        block_files.link_large(tracks.link_to_store(task).large, retries=0)
        assert [Path(path).read_bytes() for path in paths] == content
        patch.setattr(tracks, "ROWS_AT_ONCE", 10**9)
        tracks.link_to_store(replace(task, settings=LinkSection(max_step_nm=0.3)))
        assert track_files(task.store, "m") == (
            task.store.block_paths("tracks", "m"),
            False,
        )
        assert not Path(paths[0]).exists()


def test_sites_are_linked_to_sites_where_a_run_asks_for_it_and_a_lattice_is_seen(tmp_path):
    """From site to site there is no step of half a lattice constant: a track that does that becomes
    two."""
    a_px = 3.0  # 0.3 nm
    place = (
        [(0, 0.0), (1, 0.5 * a_px), (2, 0.5 * a_px)],
        [(0, 30.0), (1, 30.0 + a_px), (2, 30.0 + a_px)],
    )
    points = pd.DataFrame(
        [(f, 10.0, x) for one in place for f, x in one], columns=["frame", "y", "x"]
    )
    full = dict.fromkeys(tables.COLUMNS["detections"], 0) | {"movie": "m"}
    rows = tables.conform(
        points.assign(**{c: v for c, v in full.items() if c not in points}), "detections"
    )
    rows = rows.sort_values(["frame", "y", "x"], ignore_index=True)
    n_tracks, warnings = {}, {}
    for name, words, lattice_px, rows_at_once in (
        ("free", {}, a_px, 10**9), ("bound", {"lattice": True}, a_px, 10**9), ("large", {"lattice": True}, a_px, -1),
        ("no lattice", {"lattice": True}, np.nan, 10**9), ("large without", {"lattice": True}, np.nan, -1),
    ):  # fmt: skip
        task = write_blocks(
            Store.at(tmp_path / name), rows, np.zeros((N_FRAMES, 2)), [0, 2, N_FRAMES]
        )
        for block in task.blocks:
            steps = task.store.read_block("steps", block).assign(lattice_px=lattice_px)
            task.store.write_block("steps", block, steps, "made")
        with connect("synchronous"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(tracks, "ROWS_AT_ONCE", rows_at_once)
            summary = tracks.linked(
                tracks.link_to_store(
                    replace(task, settings=LinkSection(max_gap_frames=0, **words))
                ),
                0,
            )
        n_tracks[name], warnings[name] = summary.n_tracks, summary.warning
    assert n_tracks == {"free": 2, "bound": 3, "large": 3, "no lattice": 2, "large without": 2}
    assert files(tmp_path / "bound") != files(tmp_path / "free")
    assert files(tmp_path / "bound") == files(tmp_path / "large")
    assert not warnings["bound"]
    assert "m shows no lattice whose sites could be linked" in warnings["no lattice"]
    assert "m shows no lattice that could tell how far" in warnings["large without"]


def test_rows_on_their_way_that_rot_are_not_gathered(tmp_path):
    plain = pd.DataFrame(dict.fromkeys(tables.COLUMNS["tracks"], 0), index=range(40))
    own = {"movie": "m", "particle": np.arange(40) % 7, "frame": np.arange(40), "y_nm": 0.5}
    rows = tables.conform(plain.assign(**own), "tracks")
    store, file = Store(str(tmp_path)), ("links", "m", "0.records")
    told = whole_tracks.scatter(rows, 3, store, *file)
    parts = whole_tracks.parts_of(store, "m", (file,), told[None], "print")
    assert sum(whole_tracks.gather_part(part) for part in parts) == 40
    content = store.read_bytes(*file)
    for damaged in (content[:700] + b"\1" + content[701:], content[:-1]):
        store.write_bytes(damaged, *file)
        with pytest.raises(DamagedFileError, match=r"links/m/0.records is damaged"):
            list(map(whole_tracks.gather_part, parts))

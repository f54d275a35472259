"""The results folder: files appear whole, carry what they were made of, and never leave their
folder."""

import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemkin import tables
from stemkin.names import folder_name
from stemkin.results.store import Block, Store, UnwritableError, fingerprint

ROWS = pd.DataFrame({"movie": ["a", "a"], "frame": [0, 1]})


@given(st.lists(st.text(max_size=200), unique=True, max_size=20))
def test_no_two_movies_share_a_folder_and_none_leaves_it(names):
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(folders)
    for folder in folders:
        assert "/" not in folder
        assert "\\" not in folder
        assert not folder.startswith(".")
        assert 0 < len(folder.encode()) <= 200


@pytest.mark.parametrize("root", ["{tmp}/results", "memory://results-{name}"])
def test_a_table_comes_back_with_its_fingerprint(tmp_path, root, request):
    store = Store.at(root.format(tmp=tmp_path, name=request.node.name))
    block = Block("movie/1", 0, 8)
    assert store.block_made_of("detections", block) is None
    store.write_block("detections", block, ROWS, fingerprint("model", 1))
    assert store.block_made_of("detections", block) == fingerprint("model", 1)
    pd.testing.assert_frame_equal(store.read_block("detections", block), ROWS)
    assert store.blocks("detections", "movie/1") == [block]


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in "ab":
        Store.at(tmp_path / name).write_table(ROWS, "x", "t.parquet")
    assert (tmp_path / "a/t.parquet").read_bytes() == (tmp_path / "b/t.parquet").read_bytes()


def test_a_torn_file_is_no_file(tmp_path):
    store = Store.at(tmp_path)
    store.write_table(ROWS, "x", "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    assert store.made_of("a.parquet") is None
    (tmp_path / "a.parquet").write_bytes(b"")
    assert store.made_of("a.parquet") is None


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    store = Store.at(tmp_path)
    store.write_bytes(b"old", "a")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        UnwritableError,
        match=r"a cannot be written \(No space left on device\); what is done is kept",
    ):
        store.write_bytes(b"new", "a")
    assert store.read_bytes("a") == b"old"
    assert [p.name for p in Path(tmp_path).iterdir()] == ["a"]


def test_blocks_of_another_size_are_swept_away(tmp_path):
    store = Store.at(tmp_path)
    for start, stop in [(0, 4), (4, 8), (0, 8)]:
        store.write_block("steps", Block("a", start, stop), ROWS, "x")
    assert store.keep_only("steps", "a", [Block("a", 0, 8)]) == 2
    assert store.blocks("steps", "a") == [Block("a", 0, 8)]


def test_fingerprints_follow_every_part_and_nothing_else():
    assert fingerprint("a", {"x": 1, "y": 2}) == fingerprint("a", {"y": 2, "x": 1})
    assert (
        len(
            {
                fingerprint("a", 1),
                fingerprint("a", 2),
                fingerprint("b", 1),
                fingerprint("a", "1"),
                fingerprint(["a", 1]),
            }
        )
        == 5
    )


def test_a_movie_without_rows_is_an_empty_table_with_columns(tmp_path):
    assert list(Store.at(tmp_path).read_movie("frames", "none").columns) == list(
        tables.COLUMNS["frames"]
    )


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path):
    store = Store.at(tmp_path)
    store.write_block("steps", Block("a", 0, 4), ROWS, "x")
    (tmp_path / "steps" / "a" / ".000000004-000000008.parquet.abc.part").write_bytes(b"half")
    assert store.keep_only("steps", "a", [Block("a", 0, 4)]) == 0
    assert [p.name for p in (tmp_path / "steps" / "a").iterdir()] == ["000000000-000000004.parquet"]


def test_a_damaged_json_is_one_sentence(tmp_path):
    (tmp_path / "run.json").write_text('{"inputs": [')
    with pytest.raises(ValueError, match=r"run.json is damaged \(it is no JSON.*makes it again"):
        Store.at(tmp_path).read_json("run.json")


def test_an_error_of_writing_travels_between_processes():
    import pickle

    assert pickle.loads(pickle.dumps(UnwritableError("full"))).args == ("full",)

"""run.json and the lock keep two runs apart and remember what happened."""

import pytest

from stemkin.journal import FolderError, Journal, locked
from stemkin.store import Store


def start(store, inputs=("movies/",), **options):
    return Journal.start(store, list(inputs), {}, **{"fresh": False, **options})


def test_a_folder_that_belongs_to_another_run_is_refused_and_kept(tmp_path):
    store = Store.at(tmp_path)
    start(store).save()
    store.write_bytes(b"rows", "detections", "a.parquet")
    with pytest.raises(FolderError, match="belongs to another run, of movies/; choose another folder with -o"):
        start(store, ["others/"])
    assert store.read_bytes("detections", "a.parquet") == b"rows"


def test_fresh_starts_over(tmp_path):
    store = Store.at(tmp_path)
    start(store).save()
    store.write_bytes(b"rows", "detections", "a.parquet")
    start(store, ["others/"], fresh=True)
    assert store.names() == []


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_other_files_is_never_touched(tmp_path, fresh):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderError, match="no results folder"):
        start(Store.at(tmp_path), fresh=fresh)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_two_runs_cannot_share_a_folder(tmp_path):
    store = Store.at(tmp_path)
    with locked(store), pytest.raises(FolderError, match="is being written by another run"), locked(store):
        pass
    with locked(store):
        pass


def test_a_lock_whose_process_is_gone_is_taken_over(tmp_path, caplog):
    import socket

    store = Store.at(tmp_path)
    (tmp_path / ".lock").write_text(f"process 999999999 started 1 on {socket.gethostname()}")
    with locked(store):
        assert "taking it over" in caplog.text
    assert not (tmp_path / ".lock").exists()


def test_a_lock_of_another_host_is_respected(tmp_path):
    (tmp_path / ".lock").write_text("process 1 started 1 on elsewhere")
    with pytest.raises(FolderError, match="process 1 started 1 on elsewhere"), locked(Store.at(tmp_path)):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"), locked(Store.at(tmp_path / "file")):
        pass


def test_a_stage_that_fails_is_remembered(tmp_path):
    journal = start(Store.at(tmp_path))
    with pytest.raises(RuntimeError), journal.stage("learn"):
        raise RuntimeError
    assert Journal.read(Store.at(tmp_path)).content["stages"]["learn"]["status"] == "failed"


def test_a_folder_without_a_journal_is_no_results_folder(tmp_path):
    with pytest.raises(FolderError, match=r"no results folder: it has no run.json; make one with `stemkin run"):
        Journal.read(Store.at(tmp_path))

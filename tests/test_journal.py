"""run.json and the lock keep two runs apart and remember what happened."""

import pytest

from stemkin.cli.calls import settings_in
from stemkin.results.journal import Journal
from stemkin.results.lock import locked
from stemkin.results.store import FolderError, Store


def start(store, inputs=("movies/",), **options):
    return Journal.start(store, list(inputs), {}, **{"fresh": False, **options})


def test_a_folder_that_belongs_to_another_run_is_refused_and_kept(tmp_path):
    store = Store.at(tmp_path)
    start(store).save()
    store.write_bytes(b"rows", "detections", "a.parquet")
    with pytest.raises(
        FolderError, match="belongs to another run, of movies/; choose another folder with -o"
    ):
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
    with (
        locked(store),
        pytest.raises(FolderError, match="is being written by another run"),
        locked(store),
    ):
        pass
    with locked(store):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"), locked(Store.at(tmp_path / "file")):
        pass


def test_a_stage_that_fails_is_remembered(tmp_path):
    journal = start(Store.at(tmp_path))
    with pytest.raises(RuntimeError), journal.stage("learn"):
        raise RuntimeError("no lattice")
    with pytest.raises(KeyboardInterrupt), journal.stage("detect"):
        raise KeyboardInterrupt
    stages = Journal.read(Store.at(tmp_path)).content["stages"]
    assert stages["learn"]["status"] == "failed"
    assert stages["learn"]["error"] == "RuntimeError: no lattice"
    assert stages["learn"]["seconds"] >= 0
    assert stages["detect"]["status"] == "interrupted"


def test_a_folder_without_a_journal_is_no_results_folder(tmp_path):
    with pytest.raises(
        FolderError, match=r"no results folder: it has no run.json; make one with `stemkin run"
    ):
        Journal.read(Store.at(tmp_path))


def test_a_damaged_journal_is_refused_until_the_run_starts_over(tmp_path):
    store = Store.at(tmp_path)
    (tmp_path / "run.json").write_text('{"inputs": [')
    with pytest.raises(ValueError, match="is damaged"):
        start(store)
    start(store, fresh=True)
    assert store.names() == []


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"config": {}, "movies": {}, "stages": {}, "blocks": {}}']
)
def test_a_journal_that_is_none_is_one_sentence(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(FolderError, match="is damaged"):
        Journal.read(Store.at(tmp_path))


@pytest.mark.parametrize(("mib", "kept"), [(12.5, 12.5), (-1, None), ("x", None), (None, None)])
def test_a_run_that_goes_on_keeps_the_size_of_its_blocks(tmp_path, mib, kept):
    store = Store.at(tmp_path)
    journal = start(store)
    journal.content["blocks"]["mib"] = mib
    journal.save()
    assert start(store).content["blocks"]["mib"] == kept


def test_a_lock_that_this_process_could_not_remove_is_taken_over(tmp_path, monkeypatch, caplog):
    store = Store.at(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            Store, "remove", lambda *_: (_ for _ in ()).throw(OSError("the store is away"))
        )
        with locked(store):
            pass
    assert (tmp_path / ".lock").exists()
    with (
        locked(store),
        pytest.raises(FolderError, match="is being written by another run"),
        locked(store),
    ):
        pass
    assert "taking it over" in caplog.text
    assert not (tmp_path / ".lock").exists()


def test_fresh_removes_the_journal_last(tmp_path, monkeypatch):
    store = Store.at(tmp_path)
    start(store).save()
    for name in ("a.parquet", "tracks.parquet"):
        store.write_bytes(b"rows", name)
    removed = []
    monkeypatch.setattr(Store, "remove", lambda _, *parts: removed.append(parts[0]))
    start(store, fresh=True)
    assert removed == ["a.parquet", "tracks.parquet", "run.json"]


@pytest.mark.parametrize("version", ["0.1.1", "0.10.0", "9.0.0rc1"])
def test_a_folder_of_a_later_stemkin_is_read_and_not_written(tmp_path, version):
    store = Store.at(tmp_path)
    Journal.start(store, ["movies"], {}, fresh=False).save()
    content = {**Journal.read(store).content, "version": version}
    store.write_json(content, "run.json")
    assert Journal.read(store).content["version"] == version
    with pytest.raises(FolderError, match=rf"was made by stemkin {version}, later than this one"):
        Journal.start(store, ["movies"], {}, fresh=False)
    with pytest.raises(FolderError, match="update stemkin"):
        settings_in(tmp_path)
    Journal.start(store, ["movies"], {}, fresh=True)  # starting over is allowed


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "unknown", None])
def test_a_folder_of_this_or_an_earlier_stemkin_goes_on(tmp_path, version):
    store = Store.at(tmp_path)
    Journal.start(store, ["movies"], {}, fresh=False).save()
    store.write_json({**Journal.read(store).content, "version": version}, "run.json")
    Journal.start(store, ["movies"], {}, fresh=False)

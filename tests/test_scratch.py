"""Machines without a place for temporary files, or with one that is full: work goes on, or says why not."""

import errno
import os
import tempfile
import time

import pytest

import stemkin as sk
from stemkin.cli import exits
from stemkin.errors import FAULT, STOPPED, StoppedError
from stemkin.pipeline.model import version_of_model
from stemkin.results.lock import STALE_PART_S, sweep_parts
from stemkin.results.store import Store
from stemkin.schedulers.clients import connect
from stemkin.scratch import scratch_folder


@pytest.fixture
def nowhere(monkeypatch):
    """Neither TMPDIR nor /tmp, nor where we stand, can be written."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/self/nowhere"])
    with pytest.raises(FileNotFoundError, match="No usable temporary directory"):
        tempfile.gettempdir()


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    simulated = sk.simulate_movie("paper", n_frames=3, shape=(128, 128), seed=2, name="m")
    [store] = sk.convert(simulated, tmp_path_factory.mktemp("movies") / "m.zarr")
    return store


def test_a_run_on_a_disk_needs_no_place_for_temporary_files(movie, tmp_path, request):
    with connect("threads", workers=1):
        sk.run(movie, tmp_path / "usual", until="link")
        request.getfixturevalue("nowhere")
        sk.run(movie, tmp_path / "nowhere", until="link")
    versions = {version_of_model(Store.at(tmp_path / name)) for name in ("usual", "nowhere")}
    assert len(versions) == 1
    assert not [name for name in os.listdir(tmp_path / "nowhere") if name.endswith(".part")]


def test_what_needs_one_says_so_in_a_sentence(movie, nowhere, tmp_path, capsys):
    said = "no folder for temporary files that can be written .*; set TMPDIR to one"
    with pytest.raises(StoppedError, match=said), connect("threads", workers=1):
        sk.run(movie, f"memory://{tmp_path.name}", until="detect")
    with pytest.raises(StoppedError, match=said) as stopped, connect("processes", workers=1):
        pytest.fail("there is no place for its workers")
    assert exits.tell(stopped.value) == STOPPED
    assert capsys.readouterr().err.count("\n") == 1


def test_a_fault_of_ours_is_told_on_the_terminal_where_no_file_can_be_left(nowhere, capsys):
    assert exits.tell(ZeroDivisionError("division by zero")) == FAULT
    told = capsys.readouterr().err
    assert "stemkin itself failed (ZeroDivisionError: division by zero)" in told
    assert "report it with what follows" in told


def test_a_place_that_is_full_is_named_with_the_cure():
    said = r"temporary files, .*, cannot be written \(No space left on device\); free some space"
    with pytest.raises(StoppedError, match=said), scratch_folder() as folder:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "model.json"))
    with pytest.raises(OSError, match="elsewhere") as other, scratch_folder():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere")
    assert not isinstance(other.value, StoppedError), "another disk is told by who writes there"


def test_what_a_killed_writer_left_is_swept(tmp_path):
    store = Store.at(tmp_path)
    for name, age_s in ((".scratch-a.part", 2 * STALE_PART_S), (".scratch-b.part", 0.0)):
        left = tmp_path / name
        left.mkdir()
        (left / "model.json").write_text("{}")
        os.utime(left, (time.time() - age_s,) * 2)
    sweep_parts(store)
    assert os.listdir(tmp_path) == [".scratch-b.part"]

"""A lock is held, not remembered: one run works, the other says who, whatever clocks and names say."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from stemkin.errors import StoppedError
from stemkin.results import lock
from stemkin.results.journal import Journal
from stemkin.results.lock import LEASE_S, STALE_PART_S, Holder, locked, this_process, writer_of
from stemkin.results.store import FolderError, Store

HOLD = (
    "import sys, time; from stemkin.results.lock import locked; from stemkin.results.store import "
    "FolderError, Store\n"
    "try:\n    with locked(Store.at(sys.argv[1])): print('mine', flush=True); "
    "time.sleep(float(sys.argv[2]))\n"
    "except FolderError as refused: print(refused, flush=True)"
)


def holding(folder, seconds):
    """A process that locks a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def left(store, **changed):
    """Leave a lock as if another had signed it."""
    holder = replace(this_process(), beat=7, at=time.time(), process=999_999_999)
    holder = replace(holder, **changed)
    store.write_bytes(holder.content(), ".lock")
    return holder


@pytest.fixture(params=["flock", "lease", "object store"])
def store(request, tmp_path, monkeypatch):
    """A folder on a disk that the system locks, on one that it does not, and in an object store."""
    monkeypatch.setattr(lock, "WATCH_S", 0.3)
    if request.param == "object store":
        return Store.at(f"memory://{tmp_path.name}")
    if request.param == "lease":

        def refused(*_):
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refused)
    return Store.at(tmp_path / "results")


def test_one_run_works_and_the_other_says_who(store):
    with (
        locked(store),
        pytest.raises(FolderError, match=f"another run .process {os.getpid()} on .* just now"),
        locked(store),
    ):
        pass
    assert not store.exists(".lock")
    with locked(store):
        pass


def test_a_lock_whose_process_is_gone_is_taken_over_at_once(store, caplog):
    left(store)
    with locked(store):
        assert "taking it over" in caplog.text
        assert b"999999999" not in store.read_bytes(".lock")
    assert not store.exists(".lock")


def test_a_process_number_that_was_given_to_another_process_holds_nothing(store, caplog):
    left(store, process=os.getppid(), started=1.0)
    with locked(store):
        assert "taking it over" in caplog.text


def test_a_lock_of_a_process_that_still_runs_is_respected_where_the_system_does_not_tell(store):
    if store.is_local and lock._is_held_by_system(os.devnull) is not None:
        pytest.skip("the system tells")
    left(store, process=os.getppid(), started=lock._ticks_of(os.getppid()), at=0.0)
    with pytest.raises(FolderError, match=f"process {os.getppid()} on"), locked(store):
        pass


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"host": "elsewhere", "kernel": "another"},
        {"kernel": "another"},  # the same name, as containers and clones have it
        {"process": os.getpid(), "kernel": "another", "namespace": "another"},
    ],
)
def test_a_lock_of_another_machine_is_respected_until_its_lease_has_run_out(store, elsewhere):
    holder = left(store, **elsewhere)
    with (
        pytest.raises(FolderError, match=f"process {holder.process} on {holder.host}"),
        locked(store),
    ):
        pass
    assert Holder.of(store.read_bytes(".lock"), 0.0) == holder
    left(store, **elsewhere, at=time.time() - LEASE_S - 1)
    with locked(store):
        assert f'"process": {os.getpid()}'.encode() in store.read_bytes(".lock")


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
def test_a_lock_that_is_renewed_is_respected_whatever_the_clocks_say(store, ahead_s):
    holder = left(store, host="elsewhere", kernel="another", at=time.time() + ahead_s)
    ended = threading.Event()

    def renew():
        beat = holder.beat
        while not ended.wait(0.05):
            beat += 1
            store.write_bytes(
                replace(holder, beat=beat, at=time.time() + ahead_s).content(), ".lock"
            )

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        with pytest.raises(FolderError, match="elsewhere"), locked(store):
            pass
    finally:
        ended.set()
        renewing.join()


def test_a_lock_from_a_clock_ahead_that_nobody_renews_does_not_hold_for_ever(store):
    left(store, host="elsewhere", kernel="another", at=time.time() + 10 * LEASE_S)
    with locked(store):
        pass


def test_the_holder_is_heard_of_again_and_again(store, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.02)
    with locked(store):
        first = Holder.of(store.read_bytes(".lock"), 0.0)
        until = time.monotonic() + 5
        while Holder.of(store.read_bytes(".lock"), 0.0).beat < first.beat + 3:
            assert time.monotonic() < until
            time.sleep(0.01)
        who, alive = writer_of(store)
    assert alive
    assert who.startswith(f"process {os.getpid()} on ")
    assert "last heard of" in who


def test_a_run_that_was_taken_over_while_it_slept_stops_and_says_so(store, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.02)
    with locked(store):
        journal = Journal.start(store, ["movies/"], {}, fresh=False)
        journal.save()
        other = left(store, host="elsewhere", kernel="another")
        until = time.monotonic() + 5
        while time.monotonic() < until:
            try:
                journal.save()
            except StoppedError as stopped:
                said = str(stopped)
                break
            time.sleep(0.01)
        assert "taken over by another run (process 999999999 on elsewhere" in said
    assert Holder.of(store.read_bytes(".lock"), 0.0) == other  # theirs stays


def test_a_lock_that_says_nothing_is_free_once_it_is_old(store, monkeypatch):
    store.write_bytes(b"\x00 what is this", ".lock")
    if store.is_local:
        with pytest.raises(FolderError, match="an unknown machine"), locked(store):
            pass
        monkeypatch.setattr(lock, "LEASE_S", 0.0)
    with locked(store):
        pass


def test_processes_of_another_container_hold_what_the_system_locks(tmp_path):
    """Their numbers mean nothing here, and the host has the same name: the system knows."""
    running = holding(tmp_path, 30)
    try:
        assert running.stdout.readline() == "mine\n"
        store = Store.at(tmp_path)
        content = Holder.of(store.read_bytes(".lock"), 0.0)
        (tmp_path / ".lock").write_bytes(
            replace(content, process=999_999_999, namespace="another", at=0.0).content()
        )
        with pytest.raises(FolderError, match="process 999999999 on"), locked(store):
            pass
        assert writer_of(store)[1]
    finally:
        running.kill()
        running.communicate()
    with locked(store):  # killed: free at once
        pass


def test_one_of_many_runs_that_start_at_once_takes_a_stale_lock(tmp_path):
    left(Store.at(tmp_path))
    runs = [holding(tmp_path, 2) for _ in range(3)]
    said = sorted(run.communicate()[0].strip() for run in runs)
    assert [one for one in said if one == "mine"] == ["mine"]
    assert sum("is being written by another run" in one for one in said) == 2


def test_what_killed_writers_left_is_swept_when_it_is_old(tmp_path):
    (tmp_path / "tracks").mkdir()
    old = time.time() - STALE_PART_S - 1
    for name in (".old.part", "x.partial", ".young.part", "whole.parquet"):
        (tmp_path / "tracks" / name).write_bytes(b"")
        if "young" not in name:
            os.utime(tmp_path / "tracks" / name, (old, old))
    with locked(Store.at(tmp_path)):
        pass
    assert sorted(os.listdir(tmp_path / "tracks")) == [".young.part", "whole.parquet"]

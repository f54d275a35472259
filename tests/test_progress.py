"""How far a run is, told to people, to logs and to whoever reads its folder."""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.errors import INCOMPLETE
from stemkin.pipeline.watching import NotedWatch
from stemkin.progress import Lines, Unwatched
from stemkin.results.journal import Journal
from stemkin.results.lock import LEASE_S, locked, this_process
from stemkin.results.status import status_of
from stemkin.results.store import FolderError, Store

QUICK = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 2},
    detect={"frames_per_block": 2},
    kinetics={"null_controls": False, "self_check_runs": 0},
)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Told(Unwatched):
    """Remembers what it is told, and looks into the folder at each step of the search."""

    def __init__(self, look=lambda: None):
        self.stages, self.seen, self.look = [], [], look
        self.planned = ()

    def begin(self, stages):
        self.planned = tuple(stages)

    def stage(self, name, total):
        self.stages.append((name, total))

    def advance(self, steps=1, note=""):
        if self.stages[-1][0] == "detect":
            self.seen.append(self.look())


def test_a_log_gets_a_line_a_minute_and_one_at_the_end_of_a_stage():
    clock, lines = Clock(), []
    watch = Lines(lines.append, clock)
    watch.begin(["learn", "detect"])
    watch.stage("learn", 1)
    clock.now = 5.0
    watch.advance()
    watch.stage("detect", 1000)
    for _ in range(10):
        clock.now += 20.0
        watch.advance(100, "5.0 frames/s")
        if clock.now == 65.0:
            watch.fail()
    said = [line.split(" ", 1)[1] for line in lines]
    assert said[0] == "learn (stage 1 of 2), done in 5 s"
    assert said[1].startswith("detect (stage 2 of 2), 30 % (300 of 1,000 frames), 2 min 20 s left")
    assert said[1].endswith("5.0 frames/s")
    assert said[2].startswith("detect (stage 2 of 2), 60 %")
    assert said[2].endswith("1 failed")
    assert "100 %" in said[4]
    assert "done in 3 min 20 s" in said[4]
    assert len(said) == 5


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    frames = np.random.default_rng(0).poisson(100, (6, 64, 64)).astype(np.uint16)
    np.save(folder / "noise.npy", frames)
    (folder / "torn.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<u2'")
    return folder


def test_every_stage_is_told_in_the_order_that_was_planned(noise, tmp_path):
    out = tmp_path / "out"
    store = Store.at(out)
    watch = Told(lambda: status_of(store))
    outcome = sk.run(noise, out, config=QUICK, watch=watch)
    assert outcome.exit_code == INCOMPLETE
    names = [name for name, _ in watch.stages]
    assert names == [name for name in watch.planned if name in names]
    assert set(watch.planned) - set(names) == {"name"}, "no class was edited"
    # meanwhile a reader of the folder sees the same
    assert {seen.state for seen in watch.seen} == {"running"}
    assert f"process {os.getpid()}" in watch.seen[0].writer
    # and at its end
    done = status_of(store)
    assert done.state == "incomplete"
    assert not done.progress
    assert json.loads((out / "run.json").read_text())["progress"] is None
    assert "torn.npy" in done.describe()
    assert {stage["status"] for stage in done.stages} == {"done"}


def test_what_is_noted_says_how_far_and_how_fast(tmp_path, monkeypatch):
    store = Store.at(tmp_path)
    journal = Journal.start(store, ["movies/"], {}, fresh=False)
    watch = NotedWatch(Unwatched(), journal)
    with locked(store):
        watch.begin(["learn", "detect"])
        watch.stage("detect", 200)
        monkeypatch.setattr("stemkin.pipeline.watching.NOTED_EVERY_S", -1.0)
        watch.advance(50)
        watch.fail(2)
        watch.advance(50)
        noted = json.loads((tmp_path / "run.json").read_text())["progress"]
        assert (noted["stage"], noted["done"], noted["total"]) == ("detect", 100, 200)
        assert (noted["unit"], noted["failed"]) == ("frames", 2)
        assert noted["per_s"] > 0
        said = status_of(store).describe()
        assert "now: detect, 50 % (100 of 200 frames)" in said
        assert "2 failed" in said


def test_a_run_that_was_killed_is_stopped_and_not_running(tmp_path):
    store = Store.at(tmp_path)
    journal = Journal.start(store, ["movies/"], {}, fresh=False)
    journal.content["stages"]["detect"] = {"status": "running", "seconds": None}
    journal.content["progress"] = {"stage": "detect", "done": 1, "total": 2}
    journal.save()
    own = replace(this_process(), at=time.time())
    (tmp_path / ".lock").write_bytes(replace(own, process=999_999_999).content())
    status = status_of(store)
    assert (status.state, status.writer, dict(status.progress)) == ("stopped", "", {})
    assert status.stages[0]["status"] == "stopped"
    # of another machine nobody can know: what it says stands
    elsewhere = replace(own, host="another-host", kernel="another")
    (tmp_path / ".lock").write_bytes(elsewhere.content())
    assert status_of(store).state == "running"
    assert "another-host, last heard of just now" in status_of(store).describe()
    # but not for longer than its lease
    (tmp_path / ".lock").write_bytes(replace(elsewhere, at=own.at - 2 * LEASE_S).content())
    assert status_of(store).state == "stopped"


@pytest.mark.parametrize("damage", ["[]", '{"stages": 3}', "{", '{"config": {}, "movies": 4}'])
def test_a_damaged_journal_is_one_sentence(tmp_path, damage):
    (tmp_path / "run.json").write_text(damage)
    with pytest.raises((FolderError, ValueError), match="is damaged"):
        status_of(Store.at(tmp_path))


def test_strange_entries_of_a_journal_are_passed_over(tmp_path):
    content = {"config": {}, "movies": [3, {"status": "failed"}], "stages": {"learn": 1}, "blocks": {"failed": [7, {}]}, "progress": 5, "warnings": [9]}  # fmt: skip
    Store.at(tmp_path).write_json(content, "run.json")
    said = status_of(Store.at(tmp_path)).describe()
    assert "warning: 9" in said

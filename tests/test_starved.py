"""Runs that lack what others take for granted give the same bytes: few descriptors, no place for
files, no /tmp, no HOME, a plain locale, a clock that jumps. `benchmarks/bench_heal.py` in small."""

import json
import os
import subprocess

import numpy as np
import pytest
from chaos.disk import mount
from chaos.rot import contents

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.results.store import UnwritableError
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from tests.forks import started

pytestmark = pytest.mark.cluster

CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 2},
    detect={"frames_per_block": 2},
)
CODE = """
import json, sys
{starve}
import dask, stemkin as sk
from stemkin.config import RunConfig
movies, out, model, settings = sys.argv[1:]
dask.config.set(scheduler="threads", num_workers=2)
config = RunConfig.from_dict(json.load(open(settings)))
sys.exit(sk.run(movies, out, config=config, until="link", model=model).exit_code)
"""
FEW_DESCRIPTORS = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
PLAIN_LOCALE = "import locale; locale.setlocale(locale.LC_ALL, 'C')"
NO_TMP = """
import os, tempfile  # where there is no /tmp, Python takes the working folder
tempfile.tempdir, tempfile._candidate_tempdir_list = None, lambda: [os.getcwd()]
"""
CLOCK = """
from chaos.forks import Moment, clock_set
sys.addaudithook(Moment("the files of a block", 3, False, clock_set({seconds})))
"""
BARE = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/nonexistent"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An archive of two movies, the settings, and the results of a calm run."""
    place = tmp_path_factory.mktemp("calm")
    (place / "movies").mkdir()
    for number in (0, 1):
        film = simulate_movie("paper", n_frames=4, shape=(96, 96), seed=number)
        np.save(place / f"movies/movie {number}.npy", film.reader.read(0, 4))
    (place / "settings.json").write_text(json.dumps(CONFIG.model_dump(mode="json")))
    with connect("synchronous"):
        sk.run(place / "movies", place / "learned", config=CONFIG, until="detect")
        model = place / "learned/model"
        assert run(place, place / "results", model).exit_code == 0
    return place


def run(place, out, model):
    return sk.run(place / "movies", out, config=CONFIG, until="link", model=model)


def starved(place, out, starve, environment=None):
    """Run in a process that lacks something; return its exit code and what it complained of."""
    words = [place / "movies", out, place / "learned/model", place / "settings.json"]
    complaints = out.with_name("complaints")
    code = CODE.format(starve=starve)
    process = started(code, *map(str, words), folder=out.parent, environment=environment, complaints=complaints)  # fmt: skip
    return process.wait(120), complaints.read_text()


@pytest.mark.parametrize(
    ("starve", "environment"),
    [
        (FEW_DESCRIPTORS, None),
        (PLAIN_LOCALE, BARE),
        (CLOCK.format(seconds=-86_400.0), None),
        (CLOCK.format(seconds=1e9), None),
        (NO_TMP, None),
    ],
    ids=["64 descriptors", "no HOME, locale C", "a day back", "decades on", "no /tmp"],
)
def test_a_run_that_lacks_something_gives_the_calm_runs_bytes(place, tmp_path, starve, environment):
    code, said = starved(place, tmp_path / "results", starve, environment)
    assert code == 0, said
    assert contents(tmp_path / "results") == contents(place / "results")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["complaints", "results"]


def test_a_disk_without_a_place_for_files_is_one_sentence_and_the_same_command_goes_on(
    place, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=25", "tmpfs", str(disk)]
    if subprocess.run(asked, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    try:
        with connect("synchronous"):
            with pytest.raises(UnwritableError, match=r"No space left.*the same command goes on"):
                run(place, disk / "results", place / "learned/model")
            mount("-o", "remount,nr_inodes=2000", str(disk))
            assert run(place, disk / "results", place / "learned/model").exit_code == 0
        assert contents(disk / "results") == contents(place / "results")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

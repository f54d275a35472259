"""A plain installation does all of a run; what it lacks is asked for in one sentence."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import stemkin as sk
from stemkin import extras
from stemkin.config import RunConfig
from stemkin.pipeline.readiness import modules_needed
from stemkin.results.store import Store

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEVER = ("torch", "av", "bokeh", "cupy", "rsciio", "s3fs", "xarray", "dask_jobqueue", "trackpy")
"""Packages of extras, as they are imported."""

PLAIN = f"""
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NEVER!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Missing())
"""
"""Makes an interpreter one of a plain installation."""


def in_a_plain_installation(code, *, fails=False):
    done = subprocess.run(
        [sys.executable, "-c", PLAIN + code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout + done.stderr


def test_a_plain_installation_does_a_whole_run(tmp_path):
    code = f"""
from stemkin.cli import main
from stemkin.simulation import write_simulation
write_simulation("paper", {str(tmp_path)!r} + "/in", n_frames=3, shape=(96, 96), seed=1)
sys.argv = ["stemkin", "run", {str(tmp_path)!r} + "/in", "-o", {str(tmp_path)!r} + "/out", "--cluster", "threads", "--set", "kinetics.self_check_runs=2"]
main()
"""
    said = in_a_plain_installation(code)
    assert (tmp_path / "out" / "report.html").exists(), said


LACKS = {
    "torch, network": "sk.NetworkDetector; from stemkin.network import learn_network",
    "torch, device": "from stemkin.devices import to_device; to_device(np.zeros(3), 'torch')",
    "av, video": "open('{0}/a.avi', 'wb').write(b'RIFF0000AVI LIST'); sk.open_movie('{0}/a.avi')",
    "xarray": "sk.to_xarray(sk.tables.empty('tracks'))",
    "dask_jobqueue, slurm": "open('{0}/c.toml', 'w').write('kind = \"slurm\"'); sk.connect('{0}/c.toml').__enter__()",
    "bokeh, dashboard": "from stemkin.results.log import performance_reported as p; p(None, object()).__enter__()",
    "rsciio, formats": "open('{0}/a.dm5', 'wb').write(b'x'); from stemkin.readers import rosetta; rosetta._module_for('a.blo')",
}  # fmt: skip


def test_what_is_missing_is_one_sentence_with_its_cure(tmp_path):
    tried = "import numpy as np, stemkin as sk, stemkin.tables\n"
    for name, code in LACKS.items():
        tried += f"try:\n    {code.format(tmp_path)}\nexcept Exception as error: print({name!r}, '|', type(error).__name__, '|', error)\n"
    said = in_a_plain_installation(tried)
    rows = [line.split(" | ") for line in said.splitlines()]
    assert [row[0] for row in rows] == list(LACKS), said
    for name, kind, sentence in rows:
        assert kind in ("MissingExtraError", "MovieError"), (name, kind, sentence)
        assert "pip install" in sentence
        (extra,) = [
            one for one in PROJECT["optional-dependencies"] if f"stemkin[{one}]" in sentence
        ]
        assert extra not in ("test", "bench")


def test_the_core_brings_none_of_what_is_large():
    core = " ".join(PROJECT["dependencies"])
    for name in ("torch", "av", "bokeh", "cupy"):
        assert f"{name}>" not in core.replace("array-api", "")
    everything = PROJECT["optional-dependencies"]["all"][0]
    for extra in ("network", "dashboard", "video", "formats", "cloud", "slurm", "xarray", "excel"):
        assert extra in everything


def test_the_test_extra_brings_all_that_users_may_add():
    test = {one.split(">")[0].split("[")[0] for one in PROJECT["optional-dependencies"]["test"]}
    for extra in ("network", "dashboard", "video", "formats", "xarray", "excel"):
        own = {one.split(">")[0] for one in PROJECT["optional-dependencies"][extra]}
        assert own <= test, extra


def test_a_package_that_is_there_but_broken_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all") as met:
        extras.needed("half_there", extra="network", wanted_for="a test")
    assert not isinstance(met.value, extras.MissingExtraError)


def test_workers_are_asked_for_what_their_tasks_will_import(tmp_path):
    movie = sk.Movie.from_array(np.zeros((2, 8, 8)))
    plain = RunConfig()
    assert modules_needed([movie], Store.at(tmp_path), plain) == {}
    assert modules_needed([movie], Store("s3://bucket/out"), plain) == {"s3fs": "cloud"}
    learned = plain.with_values(learn={"detector": "network"})
    assert modules_needed([movie], Store.at(tmp_path), learned) == {"torch": "network"}
    on_torch = plain.with_values(detect={"device": "torch"})
    assert modules_needed([movie], Store.at(tmp_path), on_torch) == {"torch": "network"}

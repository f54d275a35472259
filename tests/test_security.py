"""What others made is data: it is never executed, never leaves its folder, never speaks in a
report."""

import ast
import json
import pickle
import re
from html import escape
from pathlib import Path

import h5py
import numpy as np
import pytest

import stemkin as sk
from stemkin.archive import open_archive
from stemkin.config import ConfigError, RunConfig
from stemkin.errors import DamagedFileError
from stemkin.learning import Model
from stemkin.readers import MovieError
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from tests.sources import below_package, mentioning, nodes_of
from tests.strategies import FEW_NUMBERS

ROOT = Path(__file__).parents[1]
CALIBRATION = {"pixel_size_nm": 0.03, "frame_time_s": 1.0}
SCRIPT = "<script>alert(1)</script>"


class Bomb:
    """What a pickle runs when it is loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.fixture(autouse=True)
def nothing_explodes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("exploded").exists(), "something that was read was executed"


def calls(nodes):
    """Yield (name of what is called, its keywords) of a file's nodes."""
    for node in nodes:
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: k.value for k in node.keywords}


FORBIDDEN = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "torch.load",
    "joblib.load",
    "yaml.load",
    "pd.read_pickle",
    "marshal.loads",
}


def dangers(nodes):
    """What a file calls that could execute what it reads."""
    for name, keywords in calls(nodes):
        if name in FORBIDDEN:
            yield name
        if name.startswith("subprocess.") and "shell" in keywords:
            yield "a shell"
        if name in ("np.load", "numpy.load"):
            allow = keywords.get("allow_pickle", ast.Constant(False))
            if not isinstance(allow, ast.Constant) or allow.value is not False:
                yield "NumPy's pickles"


def test_no_room_can_execute_what_it_reads():
    suspects = mentioning("subprocess", "load", *(name.split(".")[-1] for name in FORBIDDEN))
    found = {below_package(path): sorted(dangers(nodes_of(path))) for path in suspects}
    found = {place: names for place, names in found.items() if names}
    assert not found, found


def test_the_search_for_forbidden_calls_finds_them():
    code = """
import os
os.system('x')
np.load(f, allow_pickle=True)
np.load(f, allow_pickle=asked)
np.load(f, allow_pickle=False)
eval('1')
subprocess.run('x', shell=True)
subprocess.run(['x'])
"""
    found = sorted(dangers(ast.walk(ast.parse(code))))
    assert found == ["NumPy's pickles", "NumPy's pickles", "a shell", "eval", "os.system"]


@pytest.mark.parametrize(
    "name", ["bomb.npy", "bomb.npz", "bomb.h5", "bomb.tif", "bomb.zarr", "bomb.mrc"]
)
def test_a_pickle_in_the_place_of_a_movie_is_refused_unread(name):
    with open(name, "wb") as file:
        if name.endswith("z"):
            np.savez(file, frames=np.array([Bomb()], dtype=object))
        elif name.endswith(".npy"):
            np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)
        else:
            pickle.dump(Bomb(), file)
    with pytest.raises((MovieError, ValueError, OSError)):
        sk.open_movie(name, **CALIBRATION).reader.read(0, 1)


def test_pickles_in_the_attributes_of_a_movie_are_data():
    bomb = pickle.dumps(Bomb())
    with h5py.File("bomb.h5", "w") as file:
        frames = file.create_dataset("movie", data=np.zeros((2, 8, 8), "u2"))
        for place in (file, frames):
            for name in ("pixel_size_nm", "units", "axes", "metadata", "python_object"):
                place.attrs[name] = np.void(bomb)
    movie = sk.open_movie("bomb.h5", **CALIBRATION)
    assert movie.reader.read(0, 2).shape == (2, 8, 8)


HOSTILE_NAMES = [
    "../../outside",
    "/etc/outside",
    "..",
    "a/../../b",
    "C:\\outside",
    f"{SCRIPT}",
    "x" * 3000,
    "\x00\n",
]


def test_hostile_names_stay_in_the_results_folder_and_are_text_in_the_report(tmp_path):
    """Movies of one archive: each has its own folder, and a place in the page."""
    from stemkin.pipeline import Inputs, run

    movies = [
        simulate_movie("paper", n_frames=2, shape=(96, 96), seed=1, name=name)
        for name in HOSTILE_NAMES
    ]
    config = RunConfig().with_values(
        calibration=CALIBRATION,
        learn={"n_frames": 2},
        kinetics=FEW_NUMBERS,
    )
    before = set(tmp_path.rglob("*"))
    results = tmp_path / "deep" / "results"
    with connect("threads", workers=1):
        assert run(Inputs(["some"], movies, []), results, config=config).exit_code == 0
    made = set(tmp_path.rglob("*")) - before
    assert all((tmp_path / "deep") in (p, *p.parents) for p in made)
    assert not [p for p in (tmp_path / "deep").iterdir() if p.name != "results"]
    assert len(list((results / "detections").iterdir())) == len(HOSTILE_NAMES)
    report = (results / "report.html").read_text()
    assert SCRIPT not in report
    assert escape(SCRIPT) in report
    assert 'src="http' not in report


@pytest.mark.parametrize(
    "text",
    [
        "source,movie\n../../../../etc/passwd,x\n",
        "source,movie\nmovie.npy,../../outside\n",
        "source,pixel_size_nm\nmovie.npy,__import__('os').system('touch exploded')\n",
        "source,movie\n" + "a" * 100_000 + ",x\n",
        "\x00\x00\x00",
        "=cmd|' /C touch exploded'!A0\n",
    ],
)
def test_a_hostile_manifest_is_one_sentence_or_a_movie_of_that_name(tmp_path, text):
    np.save("movie.npy", np.zeros((2, 16, 16)))
    Path("manifest.csv").write_text(text)
    said = []
    try:
        said += [reason for _, reason in open_archive("manifest.csv", **CALIBRATION).problems]
    except (ValueError, OSError) as error:
        said.append(str(error))
    assert all(len(sentence.splitlines()) == 1 for sentence in said)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[detect]\n__class__ = 1", "no key"),
        ("[run]\nretries = \"__import__('os')\"", "cannot be"),
        ("[run]\nretries = -1", "cannot be"),
        ("[detect]\nfalse_positives_per_frame = nan", "cannot be"),
        ("[kinetics]\nmax_lag_frames = 1e999", "cannot be"),
        ("a = " + "[" * 5000, "TOML"),
        ("!!python/object/apply:os.system ['touch exploded']", "TOML"),
    ],
)
def test_hostile_settings_are_one_sentence(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.from_toml(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    sk.learn(simulate_movie("paper", n_frames=4, shape=(96, 96), seed=1), n_frames=2).save(folder)
    return folder


def spoiled(model, folder, change):
    """A copy of a model folder, changed."""
    import shutil

    shutil.copytree(model, folder)
    change(folder)
    return folder


def set_json(**values):
    def change(folder):
        file = folder / "model.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


def put_pickles(folder):
    for file in folder.iterdir():
        if file.suffix == ".npz":
            np.savez(file.with_suffix(""), **{"weights": np.array([Bomb()], dtype=object)})


@pytest.mark.parametrize(
    "change",
    [
        set_json(detector={"kind": "os.system", "settings": {"command": "touch exploded"}}),
        set_json(detector="__import__('os').system('touch exploded')"),
        set_json(detector={"kind": "../../../etc/passwd"}),
        lambda folder: (folder / "model.json").write_bytes(pickle.dumps(Bomb())),
        lambda folder: (folder / "model.json").write_text("[" * 3000),
        lambda folder: (folder / "model.json").write_text("[]"),
        put_pickles,
    ],
    ids=["a call", "code", "a path", "a pickle", "deep JSON", "no table", "pickled arrays"],
)
def test_an_untrusted_model_runs_no_code_and_is_one_sentence(model, tmp_path, change):
    with pytest.raises((ValueError, OSError)) as refused:
        Model.load(spoiled(model, tmp_path / "model", change))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        '{"inputs": 5}',
        '{"config": [], "movies": {}, "stages": 0, "blocks": []}',
        "\x00",
    ],
)
def test_a_damaged_journal_is_one_sentence(tmp_path, text):
    from stemkin.pipeline import resume

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "run.json").write_text(text)
    with pytest.raises((ValueError, OSError)) as refused:
        resume(tmp_path / "results")
    assert len(str(refused.value).splitlines()) == 1


def test_a_cluster_file_is_data(tmp_path):
    (tmp_path / "cluster.toml").write_text("kind = \"__import__('os').system('touch exploded')\"")
    with pytest.raises(ValueError, match="must be one of"), connect("cluster.toml"):
        pass


def test_the_recipe_for_slurm_is_a_cluster_file_that_makes_a_job_script():
    jobqueue = pytest.importorskip("dask_jobqueue")
    import tomllib

    options = tomllib.loads(
        (Path(__file__).parents[1] / "examples" / "clusters" / "slurm.toml").read_text()
    )
    assert options.pop("kind") == "slurm"
    options.pop("jobs"), options.pop("maximum_jobs")
    with jobqueue.SLURMCluster(**options, scheduler_options={"dashboard_address": ":0"}) as cluster:
        script = cluster.job_script()
    assert "#SBATCH -p standard" in script
    assert "--nworkers 16" in script


def test_a_table_of_a_stranger_that_brings_pickled_types_runs_no_code(tmp_path):
    """Arrow once rebuilt types of extensions from pickles in a file's schema (CVE-2023-47248)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from stemkin.results.store import Store

    field = pa.field("y", pa.float32()).with_metadata(
        {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickle.dumps(Bomb()),
        }
    )
    table = pa.table([pa.array([1.0], pa.float32())], schema=pa.schema([field]))
    assert b"py_extension_type" in table.schema.field("y").metadata[b"ARROW:extension:name"]
    pq.write_table(table, tmp_path / "classes.parquet")
    # it has no seal of stemkin's, so it is not even read; who reads it all the same runs no code
    with pytest.raises(DamagedFileError, match="no seal"):
        Store.at(tmp_path).read_table("classes.parquet")
    assert pq.read_table(tmp_path / "classes.parquet")["y"].to_pylist() == [1.0]


def test_a_results_folder_of_a_stranger_is_only_read(tmp_path):
    from stemkin.results.reading import read_table
    from stemkin.results.status import status_of
    from stemkin.results.store import Store

    content = {
        "config": {"detect": "__import__('os').system('touch exploded')"},
        "movies": [{"movie": SCRIPT, "status": "failed", "source": "/etc/passwd", "reason": "x"}],
        "stages": {},
        "blocks": {"failed": []},
        "inputs": ["; touch exploded"],
        "command": "$(touch exploded)",
    }
    Store.at(tmp_path).write_json(content, "run.json")
    for name in ("classes.parquet", "model.pkl", "log.jsonl"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_bytes(pickle.dumps(Bomb()))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "/etc/passwd: x" in status_of(Store.at(tmp_path)).describe()
    with pytest.raises((ValueError, OSError)):
        read_table(tmp_path, "classes")
    with pytest.raises((ValueError, OSError)):
        Model.load(tmp_path / "model")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def promises():
    """The rows of the table in SECURITY.md: what is promised, and the tests that hold it."""
    text = (ROOT / "SECURITY.md").read_text()
    lines = text.split("## What is promised")[1].split("\n## ")[0].splitlines()
    rows = [line.split("|")[2:4] for line in lines if line.startswith("|")][2:]
    return {promise.strip(): re.findall(r"`(\w+)::(\w+)`", tests) for promise, tests in rows}


def test_every_promise_of_security_names_tests_that_exist():
    found = promises()
    assert len(found) > 40
    wanted = {file for tests in found.values() for file, _ in tests}
    there = {
        file: re.findall(r"^def (test_\w+)\(", (ROOT / "tests" / f"{file}.py").read_text(), re.M)
        for file in wanted
    }
    for promise, tests in found.items():
        assert tests, f"no test holds: {promise}"
        for file, name in tests:
            assert name in there[file], f"tests/{file}.py has no {name}, which holds: {promise}"

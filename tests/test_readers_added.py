"""A format that a user adds as the documentation says is read, remembered and run like any other."""

import importlib
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.readers import Format, MovieError, headers, open_reader, register, registry
from stemkin.readers.notation import UnknownKindError, from_json, to_json
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie

CALIBRATION = {"pixel_size_nm": 0.03, "frame_time_s": 2.25}


def documented_example() -> str:
    """Return the module that the documentation of the registry says is all of a new format."""
    lines = registry.__doc__.split("::\n", 1)[1].splitlines()
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("    "))
    return textwrap.dedent("\n".join(lines[:end]))


def write_pgm(path, frames):
    height, width = frames.shape[1:]
    header = f"P5\n{width} {height}\n255\n".encode()
    path.write_bytes(b"".join(header + frame.tobytes() for frame in frames))


@pytest.fixture
def pgm(tmp_path, monkeypatch):
    """The documented module, typed in and imported; afterwards the format is gone again."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pgm.py").write_text(documented_example())
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setattr(registry, "_ADDED", {})
    yield importlib.import_module("pgm")
    del sys.modules["pgm"]


@pytest.fixture
def movies(tmp_path):
    """A folder with one movie of noise, which is enough to be read."""
    folder = tmp_path / "movies"
    folder.mkdir()
    frames = np.random.default_rng(1).integers(0, 256, (10, 16, 24), "u1")
    write_pgm(folder / "stack.pgm", frames)
    return folder


def test_the_documented_format_is_read(pgm, movies):
    movie = sk.open_movie(movies / "stack.pgm", **CALIBRATION)
    assert (movie.name, movie.shape) == ("stack", (10, 16, 24))
    raw = (movies / "stack.pgm").read_bytes()
    last = np.frombuffer(raw[-16 * 24 :], "u1").reshape(16, 24)
    np.testing.assert_array_equal(movie.frames[9].compute(), last)
    assert [one.name for one in sk.open_archive(movies)] == ["stack"]


def test_a_format_is_told_by_its_mark_and_unknown_ones_name_its_suffix(pgm, movies, tmp_path):
    (movies / "stack.pgm").rename(tmp_path / "stack.data")
    assert open_reader(str(tmp_path / "stack.data")).format == "PGM"
    (tmp_path / "other.data").write_bytes(b"nothing that is known")
    with pytest.raises(MovieError, match=r"it reads \.pgm "):
        open_reader(str(tmp_path / "other.data"))


def test_the_documented_format_runs_twice_and_is_remembered(pgm, movies, tmp_path, monkeypatch):
    frames = simulate_movie("paper", n_frames=6, shape=(96, 96), seed=1).reader.read(0, 6)
    write_pgm(movies / "stack.pgm", np.clip(frames / frames.max() * 255, 0, 255).astype("u1"))
    config = RunConfig().with_values(calibration=CALIBRATION, learn={"n_frames": 3})
    words = {"config": config, "until": "link"}
    with connect("threads", workers=2):
        assert sk.run(movies, tmp_path / "results", **words).exit_code == 0
        monkeypatch.setattr(headers, "open_reader", lambda *_: pytest.fail("a header was read"))
        [tracks] = (tmp_path / "results" / "tracks").rglob("*.parquet")
        tracks.unlink()
        assert sk.run(movies, tmp_path / "results", **words).exit_code == 0
    assert tracks.exists()


def test_a_worker_in_a_process_of_its_own_reads_the_documented_format(pgm, movies, forked_workers):
    movie = sk.open_movie(movies / "stack.pgm", **CALIBRATION)
    with connect("processes", workers=1):
        there = movie.to_dask(frames_per_block=5).compute()
    np.testing.assert_array_equal(there, movie.reader.read(0, 10))


def test_a_process_that_does_not_know_the_format_forgets_its_headers_alone(
    pgm, movies, tmp_path, monkeypatch
):
    np.save(movies / "own.npy", np.zeros((3, 8, 8), "u1"))
    sk.open_archive(movies, cache=tmp_path / "headers.json")
    code = (
        "from stemkin.readers.headers import Headers\n"
        f"kept = Headers.load({str(tmp_path / 'headers.json')!r}).known\n"
        "import sys; print(sorted(type(r).__name__ for _, r in kept.values()), 'pgm' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['RawReader'] False"


def test_what_is_remembered_cannot_name_an_import(tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("open('exploded', 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for kind in (
        "harmful:Reader",
        "os:system",
        "subprocess:Popen",
        "pathlib:Path",
        "builtins:exec",
    ):
        with pytest.raises(UnknownKindError, match="no class"):
            from_json({"kind": kind, "command": "touch exploded"})
    assert not (tmp_path / "exploded").exists()


def test_a_reader_that_cannot_be_written_down_is_opened_anew(pgm, movies, tmp_path):
    reader = open_reader(str(movies / "stack.pgm"))
    object.__setattr__(reader, "header_bytes", object())
    with pytest.raises(UnknownKindError, match=r"builtins:object is not written down"):
        to_json(reader)
    known = headers.Headers({"[]": ("state", reader)})
    assert known.content() == headers.Headers().content()


def test_an_installed_package_adds_a_format_to_every_process(pgm, movies, tmp_path):
    code = tmp_path / "code"
    text = (code / "pgm.py").read_text().replace("register(Format", "PGM = (Format")
    (code / "pgm.py").write_text(text)
    (code / "pgm-1.dist-info").mkdir()
    (code / "pgm-1.dist-info" / "entry_points.txt").write_text(
        "[stemkin.formats]\npgm = pgm:PGM\nbroken = no_such_module:FORMAT\n"
    )
    (code / "pgm-1.dist-info" / "METADATA").write_text("Name: pgm\nVersion: 1\n")
    found = subprocess.run(
        [sys.executable, "-m", "stemkin.cli", "info", str(movies)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "PGM" in found.stdout
    assert "the format broken of no_such_module:FORMAT is left out" in found.stderr


@pytest.mark.parametrize(
    ("suffix", "opener", "said"),
    [
        ("pgm", "pgm:open_pgm", "must be a point and small letters"),
        (".PGM", "pgm:open_pgm", "must be a point and small letters"),
        (".pgm", "open_pgm", "must be 'module:function'"),
    ],
)
def test_a_format_that_could_never_be_found_is_refused(suffix, opener, said):
    with pytest.raises(ValueError, match=said):
        register(Format("PGM", (suffix,), opener))

"""The command line: exit codes, one sentence per mistake, nothing lost."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stemkin import cli
from stemkin.cli.exits import worth_saying
from stemkin.config import RunConfig
from stemkin.errors import LostSchedulerError
from tests.forks import STEMKIN, started

CALIBRATION = ["--pixel-size-nm", "0.03", "--frame-time-s", "2.25", "--cluster", "threads"]
UNJUDGED = [*CALIBRATION, "--set", "kinetics.self_check_runs=0"]
"""A run that does not judge its own numbers takes two thirds of the time."""
LINKED = [*UNJUDGED, "--until", "link"]
"""One without numbers takes a third; what is asked here of exit codes and sentences needs no more."""


def call(monkeypatch, capsys, *words):
    """Run the command line in this process; return exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["stemkin", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return stop.value.code, out, err


@pytest.fixture
def noise(tmp_path):
    """A movie of pure noise: no lattice, nothing to find."""
    path = tmp_path / "noise.npy"
    np.save(path, np.random.default_rng(0).poisson(100, (4, 64, 64)).astype(np.uint16))
    return path


def test_the_program_answers_for_help_without_loading_the_libraries():
    code = (
        "import sys, runpy; sys.argv = ['stemkin', '--help']\ntry: runpy.run_module('stemkin.cli', "
        "run_name='__main__')\nexcept SystemExit: pass\nprint(sorted({'torch', 'dask', 'pandas', "
        "'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in (
        "run",
        "demo",
        "simulate",
        "info",
        "convert",
        "learn",
        "detect",
        "link",
        "kinetics",
        "report",
    ):
        assert command in done.stdout


def test_help_says_the_exit_codes_and_config_prints_the_settings(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0
    for number in (0, 2, 3, 4, 130):
        assert f"{number} " in out[out.index("Exit codes") :]
    code, out, _ = call(monkeypatch, capsys, "config")
    assert code == 0
    assert RunConfig.from_toml(out) == RunConfig()


def test_settings_of_the_command_line_count_more_than_the_file(
    monkeypatch, capsys, tmp_path, noise
):
    out = tmp_path / "out"
    (tmp_path / "s.toml").write_text("[link]\nmax_gap_frames = 3\nmax_step_nm = 0.2")
    words = ("--config", tmp_path / "s.toml", "--set", "link.max_step_nm=0.4", *LINKED)
    assert call(monkeypatch, capsys, "run", noise, "-o", out, *words)[0] == 0
    used = json.loads((out / "run.json").read_text())["config"]
    assert used["link"]["max_step_nm"] == 0.4
    assert used["link"]["max_gap_frames"] == 3
    # later stages keep what the folder was made with, but for what is said
    again = ("--set", "kinetics.confidence=0.9", "--set", "kinetics.self_check_runs=0")
    assert call(monkeypatch, capsys, "kinetics", out, *again)[0] == 0
    used = json.loads((out / "run.json").read_text())["config"]
    assert used["link"]["max_step_nm"] == 0.4
    assert used["kinetics"]["confidence"] == 0.9
    code, _, err = call(monkeypatch, capsys, "kinetics", out, "--set", "kinetics.confidenc=0.9")
    assert code == 2
    assert "no key 'kinetics.confidenc'" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "level", "said"),
    [
        ("stemkin.pipeline", logging.INFO, True),
        ("numba.core", logging.INFO, False),
        ("fsspec", logging.DEBUG, False),
        ("fsspec", logging.WARNING, True),
        ("distributed.core", logging.WARNING, False),
        ("distributed.core", logging.ERROR, True),
    ],
)
def test_the_terminal_hears_of_stemkin_and_not_of_its_libraries(name, level, said):
    record = logging.LogRecord(name, level, "", 0, "words", None, None)
    assert worth_saying(record) is said


BAD_FILES = {
    "empty.npy": b"",
    "torn.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<u2', 'fortran_order': False, 'shape': (100, "
    b"512, 512), }",
    "text.tif": b"this is no TIFF",
    "text.zarr.txt": b"what is this",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_movie_is_one_sentence(monkeypatch, capsys, tmp_path, name):
    (tmp_path / name).write_bytes(BAD_FILES[name])
    code, _, err = call(
        monkeypatch, capsys, "run", tmp_path / name, "-o", tmp_path / "out", *UNJUDGED
    )
    assert code == 2
    assert err.startswith("error: ")
    assert name in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_missing_file_is_one_sentence(monkeypatch, capsys, tmp_path):
    code, _, err = call(
        monkeypatch, capsys, "run", tmp_path / "nowhere.tif", "-o", tmp_path / "out", *UNJUDGED
    )
    assert code == 2
    assert "nowhere.tif" in err
    assert len(err.splitlines()) == 1


def test_a_folder_without_movies_is_one_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "in").mkdir()
    code, _, err = call(
        monkeypatch, capsys, "run", tmp_path / "in", "-o", tmp_path / "out", *UNJUDGED
    )
    assert code == 2
    assert "no movies" in err


def test_a_movie_without_calibration_says_how_to_give_it(monkeypatch, capsys, tmp_path, noise):
    code, _, err = call(
        monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", "--cluster", "threads"
    )
    assert code == 2
    assert "--pixel-size-nm" in err
    code, _, err = call(
        monkeypatch,
        capsys,
        "run",
        noise,
        "-o",
        tmp_path / "out",
        "--cluster",
        "threads",
        "--pixel-size-nm",
        "0.03",
    )
    assert code == 2
    assert "--frame-time-s" in err


def test_an_unknown_key_in_the_settings_is_one_sentence(monkeypatch, capsys, tmp_path, noise):
    (tmp_path / "s.toml").write_text("[link]\nmax_stepp_nm = 0.4")
    code, _, err = call(
        monkeypatch,
        capsys,
        "run",
        noise,
        "-o",
        tmp_path / "out",
        "--config",
        tmp_path / "s.toml",
        *UNJUDGED,
    )
    assert code == 2
    assert "no key 'link.max_stepp_nm'" in err


def test_an_output_folder_of_another_run_is_refused_and_kept(monkeypatch, capsys, tmp_path, noise):
    out = tmp_path / "out"
    assert call(monkeypatch, capsys, "run", noise, "-o", out, *LINKED)[0] == 0
    before = {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    np.save(tmp_path / "other.npy", np.zeros((2, 64, 64), np.uint8))
    code, _, err = call(monkeypatch, capsys, "run", tmp_path / "other.npy", "-o", out, *LINKED)
    assert code == 2
    assert "belongs to another run" in err
    assert {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()} == before


@pytest.mark.parametrize(
    ("name", "frames", "exit_code"),
    [
        ("noise", None, 0),
        ("constant", np.full((4, 64, 64), 7, np.uint16), 3),
        ("nan", np.full((4, 64, 64), np.nan, np.float32), 3),
        ("tiny", np.random.default_rng(1).poisson(50, (3, 5, 5)).astype(np.uint16), 0),
        ("single", np.random.default_rng(2).poisson(50, (64, 64)).astype(np.uint16), 0),
    ],
)
def test_movies_with_nothing_to_find_end_well_with_empty_tables(
    monkeypatch, capsys, tmp_path, noise, name, frames, exit_code
):
    """Where no frame could be used at all, the exit code says so."""
    path = noise
    if frames is not None:
        path = tmp_path / f"{name}.npy"
        np.save(path, frames)
    words = UNJUDGED
    if name == "noise":
        words = [*CALIBRATION, "--set", "kinetics.self_check_runs=3"]
    code, out, _ = call(monkeypatch, capsys, "run", path, "-o", tmp_path / "out", *words)
    assert code == exit_code
    assert "report.html" in out
    assert (tmp_path / "out" / "report.html").exists()
    for table in ("classes", "populations", "transitions", "msd", "diffusion", "dwell_times"):
        pd.read_parquet(tmp_path / "out" / f"{table}.parquet")


def test_a_broken_movie_costs_itself_and_the_rest_goes_on(monkeypatch, capsys, tmp_path, noise):
    (tmp_path / "in").mkdir()
    noise.rename(tmp_path / "in" / "good.npy")
    (tmp_path / "in" / "bad.npy").write_bytes(BAD_FILES["torn.npy"])
    code, out, _ = call(
        monkeypatch, capsys, "run", tmp_path / "in", "-o", tmp_path / "out", *LINKED
    )
    assert code == 3
    assert "bad.npy" in out
    listed = json.loads((tmp_path / "out" / "run.json").read_text())["movies"]
    assert {m["movie"]: m["status"] for m in listed} == {"good": "ok", "bad.npy": "failed"}
    assert (tmp_path / "out" / "tracks").exists()
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_stage_that_no_run_has_is_one_sentence(monkeypatch, capsys, tmp_path, noise):
    words = ("-o", tmp_path / "out", *CALIBRATION, "--until", "tracks")
    code, _, err = call(monkeypatch, capsys, "run", noise, *words)
    assert code == 2
    assert "until names no stage 'tracks'; use one of detect, link, kinetics" in err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(monkeypatch, capsys, tmp_path, noise):
    code, out, _ = call(
        monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", "--dry-run", *CALIBRATION
    )
    assert code == 0
    assert "frames: 4" in out
    assert not (tmp_path / "out").exists()
    for stage in ("learn", "crystals", "detect", "link", "kinetics", "self_check", "report"):
        assert re.search(rf"^  {stage} +[\d.]+ (s|min).* [\d,]+ MiB$", out, re.MULTILINE), stage
    assert "calibration: pixel size 0.03 nm (from argument), frame time 2.25 s" in out
    assert "dose rate unknown" in out
    assert "refused" not in out


def test_a_dry_run_names_what_the_run_would_refuse(monkeypatch, capsys, tmp_path, noise):
    from stemkin.pipeline import forecast

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    monkeypatch.setattr(forecast, "find_spec", lambda _: None)
    words = ("--dry-run", "--set", "learn.detector=network", "--set", "kinetics.self_check_runs=0")
    code, out, _ = call(
        monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *words, *CALIBRATION
    )
    assert code == 2
    refused = [line for line in out.splitlines() if line.startswith("would be refused: ")]
    assert len(refused) == 2
    assert "holds files but no run.json" in refused[0]
    assert refused[1].endswith("torch is missing: pip install 'stemkin[network]'")
    assert "self_check" not in out


def test_a_dry_run_says_what_does_not_fit_into_memory(monkeypatch, noise, tmp_path):
    import distributed.system

    from stemkin.pipeline import open_inputs, plan_run
    from stemkin.pipeline.forecast import forecast

    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", 400 * 2**20)
    config = RunConfig().with_values(calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25})
    found = open_inputs(noise, config)
    said = forecast(found, plan_run(found), config=config, out=tmp_path / "out")
    assert len(said.refused) == 1
    assert "whose limit is 400 MiB" in said.refused[0]
    assert said.costs == [], "nothing was looked at"


def test_an_interrupt_leaves_130_and_a_folder_to_go_on_with(monkeypatch, capsys, tmp_path, noise):
    import stemkin.pipeline as pipeline

    with monkeypatch.context() as patch:

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(pipeline, "link_movies", interrupted)
        code, _, err = call(monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *LINKED)
    assert code == 130
    said = "interrupted; what is done is kept, run the same command again to go on"
    assert err.splitlines()[-1] == said
    assert "link" not in err, "the stage that was interrupted is not said to be done"
    assert "the run stopped: KeyboardInterrupt" in (tmp_path / "out" / "log.jsonl").read_text()
    assert call(monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *LINKED)[0] == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["blocks"]["reused"] == 1


def unwritable(_, __):
    raise OSError(28, "No space left on device")


def lost(*_, **__):
    raise LostSchedulerError("the scheduler is gone")


def unanswered(*_, **__):
    raise EndpointConnectionError(endpoint_url="http://nowhere")


class EndpointConnectionError(Exception):
    """What botocore raises: no OSError."""

    __module__ = "botocore.exceptions"

    def __init__(self, endpoint_url):
        super().__init__(f"Could not connect to {endpoint_url}")


@pytest.mark.parametrize(
    ("where", "what", "sentence"),
    [
        (
            "stemkin.results.store._replace",
            unwritable,
            "cannot be written (No space left on device); what is done is kept",
        ),
        ("stemkin.pipeline.link_movies", lost, "the scheduler is gone"),
        ("stemkin.pipeline.link_movies", unanswered, "a store is out of reach"),
    ],
)
def test_what_stops_a_run_through_no_fault_of_its_movies_is_exit_code_4(
    monkeypatch, capsys, caplog, tmp_path, noise, where, what, sentence
):
    with monkeypatch.context() as patch:
        patch.setattr(where, what)
        code, _, err = call(monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *LINKED)
    assert code == 4
    assert sentence in err
    assert err.splitlines()[-1].startswith("error: ")
    assert "ERROR" not in caplog.text, "the sentence is said once"
    assert call(monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *LINKED)[0] == 0


def test_headers_that_cannot_be_kept_stop_the_run_with_exit_code_4(
    monkeypatch, capsys, tmp_path, noise
):
    from stemkin.results import store

    replace_file = store._replace

    def full(target, content):
        if target.name == "headers.json":
            raise OSError(28, "No space left on device")
        replace_file(target, content)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_replace", full)
        code, _, err = call(monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *UNJUDGED)
    assert code == 4
    assert "headers.json cannot be written (No space left on device)" in err


def test_a_log_that_cannot_be_written_is_said_once_and_stops_no_run(
    monkeypatch, capsys, caplog, tmp_path, noise
):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "out").mkdir()
    assert call(monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *LINKED)[0] == 0
    (tmp_path / "out" / "log.jsonl").unlink()
    (tmp_path / "out" / "log.jsonl").symlink_to("/dev/full")
    code, _, err = call(monkeypatch, capsys, "run", noise, "-o", tmp_path / "out", *LINKED)
    assert code == 0
    assert caplog.text.count("log.jsonl cannot be written") == 1
    assert "Logging error" not in err


def test_a_log_in_a_store_is_written_once(monkeypatch, request):
    from stemkin.results.log import LogFile
    from stemkin.results.store import Store

    written = []
    monkeypatch.setattr(Store, "write_bytes", lambda _, content, *parts: written.append(parts))
    handler = LogFile(Store.at(f"memory://{request.node.name}"))
    handler.handle(logging.LogRecord("stemkin", logging.INFO, "", 0, "said", None, None))
    handler.close()
    logging.shutdown([lambda: handler])  # as Python does at its end
    assert written == [("log.jsonl",)]


def test_a_folder_that_is_no_results_folder_is_one_sentence(monkeypatch, capsys, tmp_path):
    for command in ("link", "kinetics", "report"):
        code, _, err = call(monkeypatch, capsys, command, tmp_path)
        assert code == 2
        assert "results folder" in err


def test_converting_costs_only_the_movies_that_are_broken(monkeypatch, capsys, tmp_path, noise):
    (tmp_path / "in").mkdir()
    noise.rename(tmp_path / "in" / "good.npy")
    code, out, _ = call(
        monkeypatch, capsys, "convert", tmp_path / "in", "-o", tmp_path / "stores", *CALIBRATION
    )
    assert code == 0
    assert "good" in out
    (tmp_path / "in" / "bad.npy").write_bytes(BAD_FILES["torn.npy"])
    code, out, _ = call(
        monkeypatch, capsys, "convert", tmp_path / "in", "-o", tmp_path / "more", *CALIBRATION
    )
    assert code == 3
    assert "failed: " in out
    assert "bad.npy" in out


def test_info_lists_what_is_there_and_what_is_wrong(monkeypatch, capsys, tmp_path, noise):
    (tmp_path / "bad.npy").write_bytes(BAD_FILES["torn.npy"])
    code, out, _ = call(monkeypatch, capsys, "info", tmp_path)
    assert code == 0
    assert "noise" in out
    assert "bad.npy" in out


def test_the_stages_run_one_by_one_from_the_command_line(monkeypatch, capsys, tmp_path, noise):
    out = tmp_path / "out"
    assert call(monkeypatch, capsys, "detect", noise, "-o", out, *UNJUDGED)[0] == 0
    assert not (out / "tracks").exists()
    assert call(monkeypatch, capsys, "link", out)[0] == 0
    assert (out / "tracks").exists()
    assert call(monkeypatch, capsys, "kinetics", out)[0] == 0
    assert (out / "transitions.parquet").exists()
    (out / "report.html").unlink()
    assert call(monkeypatch, capsys, "report", out)[0] == 0
    assert (out / "report.html").exists()


def test_a_simulated_movie_is_learned_from_the_command_line(monkeypatch, capsys, tmp_path):
    code, out, _ = call(
        monkeypatch,
        capsys,
        "simulate",
        "paper",
        "-o",
        tmp_path / "movies",
        "--frames",
        4,
        "--size",
        128,
    )
    assert code == 0
    assert "paper" in out
    code, out, _ = call(monkeypatch, capsys, "learn", tmp_path / "movies", "-o", tmp_path / "model")
    assert code == 0
    assert "V_S" in out
    assert (tmp_path / "model" / "model.json").exists()


def test_classes_are_named_after_the_material_that_was_said(monkeypatch, capsys, tmp_path):
    from stemkin.simulation import simulate_movie

    movie = simulate_movie("paper", material="MoS2", n_frames=4, shape=(160, 160), seed=3)
    np.save(tmp_path / "mos2.npy", movie.reader.read(0, 4))
    learn = ("learn", tmp_path / "mos2.npy", "-o", tmp_path / "model", *UNJUDGED)
    code, out, _ = call(monkeypatch, capsys, *learn, "--material", "MoS2")
    assert code == 0
    assert "V_S" in out
    assert "Mo_W" not in out
    code, _, err = call(monkeypatch, capsys, *learn, "--material", "unobtainium")
    assert code == 2
    assert "'unobtainium' is not known" in err


@pytest.mark.cluster
def test_ctrl_c_at_the_terminal_stops_in_seconds_and_the_run_goes_on_later(tmp_path):
    import os
    import signal
    import time

    frames = np.random.default_rng(0).poisson(100, (1200, 64, 64)).astype(np.uint16)
    np.save(tmp_path / "noise.npy", frames)
    (tmp_path / "s.toml").write_text("[detect]\nframes_per_block = 4\n[learn]\nn_frames = 1")
    out = tmp_path / "out"
    command = ["run", str(tmp_path / "noise.npy"), "-o", str(out)]
    command += ["--config", str(tmp_path / "s.toml"), "--cluster", "processes", "--workers", "1"]
    command += ["--pixel-size-nm", "0.03", "--frame-time-s", "1"]
    run = started(STEMKIN, *command, folder=tmp_path, complaints=tmp_path / "said.txt")
    while not (out / "steps").is_dir():
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to the workers too
    assert run.wait(20) == 130
    err = (tmp_path / "said.txt").read_text()
    assert "run the same command again" in err
    assert "ERROR" not in err
    assert "Traceback" not in err
    assert json.loads((out / "run.json").read_text())["stages"]["detect"]["status"] == "interrupted"
    assert not (out / ".lock").exists()


def test_a_small_archive_is_searched_on_threads_and_a_large_one_in_processes(
    noise, monkeypatch, capsys
):
    from stemkin.cli import calls
    from stemkin.pipeline import open_inputs

    settings = RunConfig().with_values(calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25})
    found = open_inputs([str(noise)], settings)
    assert calls.place_for("auto", found) == "threads"
    assert "on threads" in capsys.readouterr().err
    monkeypatch.setattr(calls, "FEW_PIXELS", 4 * 64 * 64 - 1)
    assert calls.place_for("auto", found) == "processes"
    assert "on processes" in capsys.readouterr().err
    assert calls.place_for("tcp://10.0.0.1:8786", found) == "tcp://10.0.0.1:8786"
    assert capsys.readouterr().err == ""


def test_what_dask_says_of_a_call_that_ctrl_c_cut_off_is_not_on_the_terminal():
    from stemkin.cli.exits import interrupted, worth_saying

    def record(name, level):
        return logging.LogRecord(name, level, __file__, 1, "words", None, None)

    interrupted.clear()
    assert worth_saying(record("tornado.application", logging.ERROR))
    assert not worth_saying(record("distributed.core", logging.WARNING))
    assert worth_saying(record("stemkin.results.journal", logging.WARNING))
    interrupted.set()
    try:
        assert not worth_saying(record("tornado.application", logging.ERROR))
        assert worth_saying(record("stemkin.results.journal", logging.WARNING))
    finally:
        interrupted.clear()

"""The examples run as they stand, in a minute each, and end in a number that is right."""

import contextlib
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run_here(monkeypatch, tmp_path, capsys):
    """Run an example from another folder in this process, which has loaded stemkin already."""

    def run_it(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_it


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_a_process_of_a_cluster_that_reads_an_example_anew_does_nothing_of_it(
    example, monkeypatch, capsys
):
    """As `multiprocessing` does it where processes are not forked: no work stands outside of
    `if __name__ == "__main__"`."""
    import stemkin as sk

    for verb in ("connect", "simulate_movie", "plan", "open_results"):
        monkeypatch.setattr(
            sk, verb, lambda *_, **__: pytest.fail("a worker did the work of all"), raising=False
        )
    runpy.run_path(str(EXAMPLES / example), run_name="__mp_main__")
    assert capsys.readouterr().out == ""


def test_the_first_movie_ends_in_rates_diffusion_and_a_figure(run_here, tmp_path):
    printed = run_here("01_first_movie.py")
    rows = {
        line.split()[0]: line.split()
        for line in printed.split("diffusion, with")[1].splitlines()[2:]
        if line.strip()
    }
    D, low, high = (float(v) for v in rows["V_S"][1:4])
    assert low < D < high
    assert 5e-4 < D < 1e-2, "the vacancies of the preset hop; dopants do not"
    assert 100 * float(rows["Mo_W"][1]) < D
    assert (tmp_path / "first_movie.png").read_bytes().startswith(b"\x89PNG")


def test_the_paper_is_gone_through_step_by_step(run_here, tmp_path):
    printed = run_here(
        "paper.py", "--frames", "8", "--edge", "128", "--out", str(tmp_path / "paper")
    )
    assert printed.count("published:") == printed.count("stemkin:") == printed.count("why:") >= 4
    assert re.search(r"stemkin: +\d+ to \d+ in a frame", printed)
    drawn = {path.name for path in (tmp_path / "paper").glob("*.png")}
    assert {"2_frame.png", "3_populations.png", "3_broom.png"} <= drawn


def test_the_first_movie_opens_a_file_too(run_here, tmp_path):
    import tifffile

    import stemkin as sk

    movie = sk.simulate_movie("paper", n_frames=8, shape=(128, 128), seed=1)
    tifffile.imwrite(tmp_path / "stack.tif", movie.reader.read(0, 8))
    calibration = (
        "--pixel-size-nm",
        str(movie.pixel_size_nm),
        "--frame-time-s",
        str(movie.frame_time_s),
    )
    printed = run_here("01_first_movie.py", "stack.tif", *calibration)
    assert "diffusion, with 95 % intervals" in printed


def test_a_detector_of_ones_own_finds_the_dopants(run_here):
    printed = run_here("02_your_own_detector.py")
    recall, precision = (
        float(v) for v in re.search(r"recall ([\d.]+), precision ([\d.]+)", printed).groups()
    )
    assert recall > 0.95
    assert precision > 0.95


@pytest.mark.equality
def test_a_question_of_ones_own_is_answered_beside_those_of_stemkin(run_here):
    printed = run_here("06_your_own_question.py")
    lines = printed.split("hops by direction:")[1].split("\n\n")[0].split("\n")[2:]
    directions = [[float(value) for value in line.split()] for line in lines]
    assert len(directions) == 6
    n_hops = sum(n for _, n, _, _ in directions)
    assert n_hops > 500
    for _, _, share, error in directions:  # nothing drags the simulator's vacancies along
        assert abs(share - 1 / 6) < 4 * error
    rate = float(printed.split("hops per second: ")[1].split()[0])
    assert 0.05 < rate < 0.2


def test_threads_processes_and_a_running_scheduler_give_equal_tables(
    two_processes, forked_workers, run_here
):
    places = ["threads", "processes", two_processes]
    printed = run_here("03_laptop_to_cluster.py", *places, "--frames", "6")
    prints = re.findall(r"^(\S+): .* tables ([0-9a-f]{16})$", printed, flags=re.MULTILINE)
    assert [place for place, _ in prints] == places
    assert len({fingerprint for _, fingerprint in prints}) == 1


def test_the_notebook_runs_from_top_to_bottom_and_ends_in_a_diffusion_coefficient():
    notebook = json.loads((EXAMPLES / "05_notebook.ipynb").read_text())
    assert notebook["nbformat"] == 4
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "kept without what it printed here"
            exec(
                "".join(cell["source"]), names
            )  # as a kernel does it: one name space, cell after cell
    row = names["diffusion"].iloc[0]
    assert row["low"] < row["D_nm2_per_s"] < row["high"]
    assert 5e-4 < row["D_nm2_per_s"] < 1e-2


def test_a_cluster_job_brings_its_scheduler_and_workers_and_ends_with_the_run(tmp_path):
    """`slurm.sbatch` as it stands, but for paths and sizes, on a machine whose `srun` starts things
    here."""
    import numpy as np

    import stemkin as sk

    (tmp_path / "movies").mkdir()
    movie = sk.simulate_movie("paper", n_frames=4, shape=(96, 96), seed=1)
    np.save(tmp_path / "movies" / "movie.npy", movie.reader.read(0, 4))
    (tmp_path / "bin").mkdir()
    for name, command in {"srun": 'exec "$@"', "dask": f'exec {sys.executable} -m dask "$@"', "stemkin": f'exec {sys.executable} -m stemkin.cli "$@"'}.items():  # fmt: skip
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{command}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "settings.toml").write_text(
        "[calibration]\npixel_size_nm = 0.03\nframe_time_s = 2.25\n[learn]\nn_frames = 2\n"
        "[kinetics]\nself_check_runs = 0\nnull_controls = false\ncorrect_names = false\n"
    )
    script = (EXAMPLES / "clusters" / "slurm.sbatch").read_text()
    for there, here in {
        "source /shared/stemkin/bin/activate": "",
        "--nworkers 32": "--nworkers 1 --host 127.0.0.1",
        "dask scheduler": "dask scheduler --host 127.0.0.1 --port 0",
        "127.0.0.1:8787": "127.0.0.1:0",
        "/shared/movies": str(tmp_path / "movies"),
        "/shared/results": f"{tmp_path / 'results'} --config {tmp_path / 'settings.toml'}",
    }.items():
        assert there in script
        script = script.replace(there, here)
    (tmp_path / "job.sh").write_text(script)
    job = {**os.environ, "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "1", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(EXAMPLES.parent)}  # fmt: skip
    done = subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)  # fmt: skip
    try:
        assert done.wait(90) == 0
        assert (tmp_path / "results" / "report.html").exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(done.pid, signal.SIGKILL)  # the queue does so when the job has ended
        done.stdout.close()


def test_quantities_of_the_recipe_for_kubernetes_are_texts_as_its_operator_wants_them():
    import yaml

    cluster, job = yaml.safe_load_all((EXAMPLES / "clusters" / "kubernetes.yaml").read_text())
    pods = [
        cluster["spec"]["worker"]["spec"],
        cluster["spec"]["scheduler"]["spec"],
        job["spec"]["template"]["spec"],
    ]
    asked = [container.get("resources", {}) for pod in pods for container in pod["containers"]]
    values = [value for one in asked for kind in one.values() for value in kind.values()]
    assert values
    assert all(isinstance(value, str) for value in values)


def test_a_plan_weighs_dim_frames_against_few(run_here):
    printed = run_here("07_plan_an_experiment.py")
    rows = [line.split() for line in printed.splitlines()[1:]]
    assert [int(row[0]) for row in rows] == [10, 40, 160]
    d_primes, found = [float(row[1]) for row in rows], [float(row[2]) for row in rows]
    assert d_primes == sorted(d_primes, reverse=True)
    assert found[0] > 95 > found[-1]


def test_a_starved_movie_gives_hops_that_no_frame_shows(run_here):
    printed = run_here("08_starved_movie.py", "--frames", "45")
    D, low, high = (float(n) for n in re.findall(r"\d\.\d\de[-+]\d\d", printed)[:3])
    true = float(printed.split("true D = ")[1].split()[0])
    assert low < D < high
    assert low < true < high

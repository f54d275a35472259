"""The examples run as they stand, in a minute each, and end in a number that is right."""

import os
import re
import subprocess
import sys
from pathlib import Path

from distributed import LocalCluster

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments, folder):
    """Run an example as a user does, from another folder, and return what it printed."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "MPLCONFIGDIR": str(folder)}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_first_movie_ends_in_rates_diffusion_and_a_figure(tmp_path):
    printed = run("01_first_movie.py", folder=tmp_path)
    rows = {
        line.split()[0]: line.split() for line in printed.split("diffusion, with")[1].splitlines()[2:] if line.strip()
    }
    D, low, high = (float(v) for v in rows["V_S"][1:4])
    assert low < D < high
    assert 5e-4 < D < 1e-2, "the vacancies of the preset hop; dopants do not"
    assert 100 * float(rows["Mo_W"][1]) < D
    assert (tmp_path / "first_movie.png").read_bytes().startswith(b"\x89PNG")


def test_the_first_movie_opens_a_file_too(tmp_path):
    import tifffile

    import stemkin as sk

    movie = sk.simulate_movie("paper", n_frames=12, shape=(160, 160), seed=1)
    tifffile.imwrite(tmp_path / "stack.tif", movie.reader.read(0, 12))
    calibration = ("--pixel-size-nm", str(movie.pixel_size_nm), "--frame-time-s", str(movie.frame_time_s))
    assert "diffusion, with 95 % intervals" in run("01_first_movie.py", "stack.tif", *calibration, folder=tmp_path)


def test_a_detector_of_ones_own_finds_the_dopants(tmp_path):
    printed = run("02_your_own_detector.py", folder=tmp_path)
    recall, precision = (float(v) for v in re.search(r"recall ([\d.]+), precision ([\d.]+)", printed).groups())
    assert recall > 0.95
    assert precision > 0.95


def test_threads_processes_and_a_running_scheduler_give_equal_tables(tmp_path):
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        printed = run("03_laptop_to_cluster.py", "threads", "processes", cluster.scheduler_address, folder=tmp_path)
    prints = re.findall(r"^(\S+): .* tables ([0-9a-f]{16})$", printed, flags=re.MULTILINE)
    assert [place for place, _ in prints] == ["threads", "processes", cluster.scheduler_address]
    assert len({fingerprint for _, fingerprint in prints}) == 1

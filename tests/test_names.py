"""A movie may be called anything: every room that writes a file of it finds a name that fits."""

import numpy as np

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.conversion import convert
from stemkin.names import folder_name
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from tests.strategies import FEW_NUMBERS

LONG = "µ" + "a very long name " * 18


def test_a_name_of_300_characters_goes_through_convert_and_run(tmp_path):
    frames = simulate_movie("paper", n_frames=3, shape=(96, 96), seed=1).reader.read(0, 3)
    np.save(tmp_path / "a.npy", frames)
    (tmp_path / "movies.csv").write_text(f"path,name\na.npy,{LONG[:300]}\na.npy,{LONG[:299]}\n")
    calibration = {"pixel_size_nm": 0.03, "frame_time_s": 2.25}
    with connect("synchronous"):
        first, second = convert(tmp_path / "movies.csv", tmp_path / "stores", **calibration)
        config = RunConfig().with_values(
            calibration=calibration,
            learn={"n_frames": 2},
            kinetics=FEW_NUMBERS,
        )
        assert sk.run(tmp_path / "movies.csv", tmp_path / "results", config=config).exit_code == 0
    assert first != second
    np.testing.assert_array_equal(sk.open_movie(first).reader.read(0, 3), frames)
    written = {path.name for path in (tmp_path / "results" / "detections").iterdir()}
    assert written == {folder_name(LONG[:300].strip()), folder_name(LONG[:299].strip())}

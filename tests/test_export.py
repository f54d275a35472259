"""Results for other programs: CSV, workbooks, TrackMate, GEFF; and a look at the installation."""

import csv
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin import cli, doctor
from stemkin.config import RunConfig
from stemkin.exporting import _no_formula
from stemkin.names import folder_name
from stemkin.pipeline import Inputs
from stemkin.simulation import simulate_movie

HOSTILE = '=HYPERLINK("http://evil")<&>\x07'
NAMES = ("plain", HOSTILE)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    movies = [
        simulate_movie("paper", n_frames=5, shape=(112, 112), seed=seed, name=name)
        for seed, name in enumerate(NAMES)
    ]
    config = RunConfig().with_values(
        learn={"n_frames": 2},
        detect={"frames_per_block": 2},
        kinetics={"self_check_runs": 0, "null_controls": False},
    )
    sk.run(Inputs(["one"], movies, []), out, config=config, until="kinetics")
    return out


@pytest.fixture(scope="module")
def tracks(results):
    return sk.read_tracks(results)


def test_csv_holds_every_table_to_the_last_digit(results, tracks, tmp_path):
    written = sk.export(results, tmp_path / "csv")
    names = {path.removeprefix(f"{tmp_path}/csv/") for path in written}
    assert {"transitions.csv", "diffusion.csv", "classes.csv", "msd.csv"} <= names
    for name in NAMES:
        assert f"tracks/{folder_name(name)}.csv" in names
        assert f"frames/{folder_name(name)}.csv" in names
        assert f"detections/{folder_name(name)}.csv" in names
    mine = sk.read_table(results, "msd")
    theirs = pd.read_csv(tmp_path / "csv" / "msd.csv")
    assert theirs.columns.tolist() == mine.columns.tolist()
    numbers = mine.select_dtypes("number").columns
    np.testing.assert_array_equal(theirs[numbers], mine[numbers])
    assert theirs["movie"].tolist() == [_no_formula(name) for name in mine["movie"]]
    ours = tracks.compute()
    ours = ours[ours["movie"] == "plain"].reset_index(drop=True)
    read = pd.read_csv(tmp_path / "csv" / "tracks" / "plain.csv")
    for column in ("particle", "frame", "y_nm", "x_nm", "class_id"):
        np.testing.assert_array_equal(read[column], ours[column])


def test_a_name_is_never_a_formula(results, tmp_path):
    sk.export(results, tmp_path / "csv")
    for path in (tmp_path / "csv").rglob("*.csv"):
        with path.open(newline="") as file:
            for row in csv.reader(file):
                assert not any(cell.startswith(("=", "@")) for cell in row), path
    assert _no_formula("-1") == "'-1"
    assert _no_formula(-1.0) == -1.0


def test_a_workbook_has_a_sheet_for_each_table(results, tmp_path):
    (path,) = sk.export(results, tmp_path / "book.xlsx", format="xlsx")
    sheets = pd.read_excel(path, sheet_name=None)
    assert {"transitions", "diffusion", "populations"} <= set(sheets)
    mine = sk.read_table(results, "populations")
    assert len(sheets["populations"]) == len(mine)
    np.testing.assert_array_equal(sheets["populations"]["n"], mine["n"])
    assert set(sheets["populations"]["movie"]) == {"plain", f"'{HOSTILE[:-1]}?"}


@pytest.mark.parametrize("name", NAMES)
def test_tracks_come_back_from_trackmate_as_they_went(results, tracks, tmp_path, name):
    paths = sk.export(results, tmp_path / "xml", format="trackmate", movies=[name])
    (path,) = paths
    back = sk.from_trackmate(path).compute().sort_values(["particle", "frame"])
    ours = tracks.compute()
    ours = ours[ours["movie"] == name].sort_values(["particle", "frame"])
    # TrackMate knows no track of a single spot but by its number
    assert len(back) == len(ours[ours.groupby("particle")["frame"].transform("size") > 1])
    lone = ours.groupby("particle")["frame"].transform("size") == 1
    kept = ours[~lone]
    np.testing.assert_allclose(back["y"], kept["y"], atol=1e-9)
    np.testing.assert_array_equal(back["frame"], kept["frame"])
    pairs = set(zip(back["particle"], kept["particle"], strict=True))
    assert len(pairs) == back["particle"].nunique() == kept["particle"].nunique()
    known = sk.from_trackmate(path).experiment.movies.iloc[0]
    assert known["pixel_size_nm"] == pytest.approx(tracks.experiment.movies["pixel_size_nm"][0])
    assert known["frame_time_s"] == pytest.approx(2.25)
    assert (known["height_px"], known["width_px"]) == (112, 112)
    root = ElementTree.parse(path).getroot()
    assert {track.get("name") for track in root.iter("Track")} == {
        f"particle {p}" for p in ours["particle"].unique()
    }


def test_tracks_without_calibration_are_in_pixels_and_frames(tmp_path):
    rows = {"frame": [0, 1, 0], "y": [1.0, 2.0, 5.0], "x": [3.0, 3.5, 6.0], "particle": [7, 7, 9]}
    path = sk.to_trackmate(pd.DataFrame(rows), tmp_path / "a.xml")
    model = ElementTree.parse(path).getroot().find("Model")
    assert model.get("spatialunits") == "pixel"
    assert model.get("timeunits") == "frame"
    with pytest.raises(ValueError, match=r"there is something at .*a\.xml already"):
        sk.to_trackmate(pd.DataFrame(rows), path)
    rows["y"][1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        sk.to_trackmate(pd.DataFrame(rows), tmp_path / "b.xml")
    assert not (tmp_path / "b.xml").exists()


def test_tracks_become_a_graph_for_each_movie(results, tmp_path):
    geff = pytest.importorskip("geff")
    paths = sk.export(results, tmp_path / "geff", format="geff")
    assert len(paths) == len(NAMES)
    for path in paths:
        geff.validate.structure.validate_structure(path)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"format": "pdf"}, "format must be one of csv, xlsx, trackmate, geff, but is 'pdf'"),
        ({"movies": ["nobody"]}, "has no movie 'nobody'"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(results, tmp_path, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        sk.export(results, tmp_path / "o", **words)


def test_nothing_is_written_over(results, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="there is something at"):
        sk.export(results, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="no results folder"):
        sk.export(tmp_path, tmp_path / "o")


def run_command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["stemkin", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_the_command_line_exports(monkeypatch, capsys, results, tmp_path):
    words = ("export", results, "-o", tmp_path / "x", "--format", "trackmate", "--movie", "plain")
    code, out, _ = run_command(monkeypatch, capsys, *words)
    assert code == 0
    assert out.strip() == str(tmp_path / "x" / "plain.xml")
    code, _, err = run_command(monkeypatch, capsys, *words)
    assert code == 2
    assert "there is something at" in err


def test_the_doctor_tells_what_is_there_and_that_it_works(monkeypatch, capsys):
    code, out, _ = run_command(monkeypatch, capsys, "doctor")
    assert code == 0, out
    assert "of 22 simulated defects were found and linked" in out
    assert f"Python: {sys.version.split()[0]}" in out
    for name in (*doctor.CORE, *doctor.EXTRAS):
        assert f"  {name} " in out


def test_the_doctor_tells_what_is_broken(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("no lattice on this machine")

    monkeypatch.setattr("stemkin.detection.detect", broken)
    code, out, _ = run_command(monkeypatch, capsys, "doctor")
    assert code == 1
    assert "FAILED: RuntimeError: no lattice on this machine" in out

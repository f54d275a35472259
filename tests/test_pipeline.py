"""A whole run: the same tables on every scheduler, from every cut, after every interruption."""

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image

import stemkin as sk
from stemkin import pipeline
from stemkin.config import RunConfig
from stemkin.linking.clock import shown_lattice_nm
from stemkin.materials import material_named
from stemkin.pipeline import block_search, crystals, pixels, tracks
from stemkin.pipeline.calibration import doubt_of_lattice, doubt_of_override, say_doubts
from stemkin.pipeline.model import edits_of, load_model
from stemkin.pipeline.naming import edits_with_refit
from stemkin.pipeline.thumbnails import EDGE_PX, MAX_FRAMES, kept_numbers, thumbnail
from stemkin.plot.summaries import preferred
from stemkin.results.journal import Journal
from stemkin.results.quarantine import QUARANTINE
from stemkin.results.store import PIXEL_TABLES, Store
from stemkin.rows import files as row_files
from stemkin.rows.whole import holds_whole_tracks
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from tests.strategies import FEW_NUMBERS

CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 6},
    detect={"frames_per_block": 4},
    kinetics={"self_check_runs": 4},
)
QUICK = CONFIG.with_values(kinetics=FEW_NUMBERS)
"""The same with the numbers that take little time, where numbers are not the point."""


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    """Two short movies on disk."""
    folder = tmp_path_factory.mktemp("movies")
    for seed in (1, 2):
        movie = simulate_movie("paper", n_frames=10, shape=(128, 128), seed=seed)
        np.save(folder / f"movie {seed}.npy", movie.reader.read(0, 10))
    return folder


@pytest.fixture(scope="module")
def calm(movies, tmp_path_factory):
    """The results of an undisturbed run on threads."""
    out = tmp_path_factory.mktemp("calm") / "results"
    with connect("threads", workers=2):
        assert sk.run(movies, out, config=CONFIG).exit_code == 0
    return out


def tables_of(results):
    """Return the bytes of every table of a results folder but those that were set aside."""
    places = {p.relative_to(results).as_posix(): p for p in results.rglob("*.parquet")}
    return {
        place: p.read_bytes() for place, p in places.items() if not place.startswith(QUARANTINE)
    }


def pixel_tables_of(results):
    """Return the bytes of every table of the pixel pass, on which all others rest."""
    return {n: found for n, found in tables_of(results).items() if n.startswith(PIXEL_TABLES)}


def row_tables_of(results):
    """Return the bytes of every table of rows, tracks among them, from which all numbers follow.

    Sums of movies are kept by the numbers, and a run that ends before has none.
    """
    tables = tables_of(results)
    return {k: found for k, found in tables.items() if "/" in k and not k.startswith("sums/")}


def rows_of(results, table):
    """Return all rows of a block table, whatever its files."""
    files = sorted((results / table).rglob("*.parquet"))
    return pd.concat([pd.read_parquet(f) for f in files], ignore_index=True)


def journal(results):
    return json.loads((results / "run.json").read_text())


def test_a_run_leaves_the_folder_that_the_design_promises(calm):
    names = {p.relative_to(calm).as_posix() for p in calm.rglob("*") if p.is_file()}
    small = {
        f"{t}.parquet"
        for t in ("classes", "populations", "transitions", "msd", "diffusion", "dwell_times")
    }
    assert small | {"run.json", "report.html", "model/model.json"} <= names
    for table in ("detections", "frames", "tracks"):
        assert f"{table}/movie 1/000000000-000000004.parquet" in names
    assert not [n for n in names if n.endswith((".part", ".pkl", ".lock"))]
    assert list(rows_of(calm, "tracks").columns[: len(sk.tables.COLUMNS["tracks"])]) == list(
        sk.tables.COLUMNS["tracks"]
    )


@pytest.mark.equality
def test_two_processes_and_threads_write_the_same_bytes(movies, calm, two_processes, tmp_path):
    with connect(two_processes):
        words = {"config": CONFIG, "model": calm / "model", "until": "kinetics"}
        outcome = sk.run(movies, tmp_path / "results", **words)
    assert outcome.exit_code == 0
    assert tables_of(tmp_path / "results") == tables_of(calm)


@pytest.mark.equality
def test_movies_that_count_as_large_end_in_the_same_bytes(calm, tmp_path, monkeypatch):
    """Linked block by block, and every number summed over files of whole tracks instead of files of
    frames."""
    out = shutil.copytree(calm, tmp_path / "results")
    for table in out.glob("*.parquet"):
        table.unlink()
    monkeypatch.setattr(tracks, "ROWS_AT_ONCE", -1)
    monkeypatch.setattr(row_files, "ROWS_PER_PARTITION", 25)
    with connect("synchronous"):
        pipeline.resume(out, stages=("link", "kinetics"))
    found = tables_of(out)
    parts = [name for name in found if name.startswith("whole_tracks/movie 1/")]
    assert len(parts) == 3  # of some 60 rows
    assert {name: found[name] for name in tables_of(calm)} == tables_of(calm)


def test_numbers_read_each_track_file_three_times(calm, tmp_path, monkeypatch):
    """Once for all that needs nothing else, once for the hidden states, once for the controls that
    need to know how well a particle at rest is seen; of a small movie and of one that counts as
    large. What a small movie adds is kept, and then it is read for the hidden states alone."""
    out = shutil.copytree(calm, tmp_path / "results")
    shutil.rmtree(out / "sums")
    for table in out.glob("*.parquet"):
        table.unlink()
    n_rows = rows_of(out, "detections").groupby("movie").size().sort_values()
    small, large = n_rows.index
    monkeypatch.setattr(tracks, "ROWS_AT_ONCE", n_rows[small])
    monkeypatch.setattr(row_files, "ROWS_PER_PARTITION", 30)
    with connect("synchronous"):
        pipeline.resume(out, stages=("link",))
    reads = Counter()
    columns_in, read_bytes = row_files.columns_in, Store.read_bytes

    def tracks_of(path, columns):
        # other tables come as bytes, and those are counted below
        reads[Path(path).relative_to(out).as_posix()] += 1
        return columns_in(path, columns)

    def bytes_of(store, *parts):
        reads["/".join(parts)] += 1
        return read_bytes(store, *parts)

    monkeypatch.setattr(row_files, "columns_in", tracks_of)
    monkeypatch.setattr(Store, "read_bytes", bytes_of)
    with connect("synchronous"):
        pipeline.resume(out, stages=("kinetics",))
    folders = [out / "tracks" / small, out / "whole_tracks" / large]
    files = [p.relative_to(out).as_posix() for folder in folders for p in folder.glob("*.parquet")]
    assert len(list((out / "whole_tracks").iterdir())) == 1
    of_tracks = {name: n for name, n in reads.items() if name.split("/")[0].endswith("tracks")}
    assert of_tracks == dict.fromkeys(files, 3)
    (out / "msd.parquet").unlink()
    reads.clear()
    with connect("synchronous"):
        pipeline.resume(out, stages=("kinetics",))
    assert {reads[name] for name in files if name.startswith("tracks")} == {1}
    assert {reads[name] for name in files if name.startswith("whole_tracks")} == {3}
    assert journal(out)["stages"]["kinetics"]["sums_kept"] == {"tracks": 1, "controls": 1}


def asked_of(table):
    """How often each number was judged, but for those that are judged less often than all."""
    return set(table.loc[table["quantity"] != "corrected_rate", "n_asked"])


def test_a_run_judges_its_own_numbers_and_keeps_that_where_they_did_not_change(calm, tmp_path):
    out = shutil.copytree(calm, tmp_path / "results")
    found = pd.read_parquet(out / "self_check.parquet")
    assert set(found["quantity"]) >= {"diffusion", "number"}
    assert asked_of(found) == {4}
    with connect("synchronous"):
        pipeline.resume(out, stages=("kinetics",))
        stages = journal(out)["stages"]
        assert stages["kinetics"]["reused"]
        assert stages["self_check"]["reused"]
        fewer = CONFIG.with_values(kinetics={"self_check_runs": 2})
        pipeline.resume(out, stages=("kinetics",), config=fewer)
        stages = journal(out)["stages"]
        assert stages["kinetics"]["reused"]  # another number of replicas redoes no other number
        assert not stages["self_check"]["reused"]
        assert asked_of(pd.read_parquet(out / "self_check.parquet")) == {2}
        none = CONFIG.with_values(kinetics={"self_check_runs": 0})
        pipeline.resume(out, stages=("kinetics",), config=none)
    assert not (out / "self_check.parquet").exists()


def test_a_run_says_where_tracks_meet_within_the_reach_that_it_is_told(calm, tmp_path):
    out = shutil.copytree(calm, tmp_path / "results")
    near = pd.read_parquet(out / "meetings.parquet")
    lattice_nm = np.median(list(journal(out)["lattice_nm"].values()))
    pd.testing.assert_frame_equal(
        near, sk.meetings(rows_of(out, "tracks"), reach_nm=1.3 * lattice_nm)
    )
    config = CONFIG.with_values(
        # tracks end at every hop and their names blink, so that there are ends that meet
        link={"max_step_nm": 0.05},
        kinetics={
            "meeting_reach_nm": 3.0,
            "self_check_runs": 0,
            "correct_names": False,
            "diffusion_methods": ["cve"],
        },
    )
    with connect("synchronous"):
        blinking = {"split": {"V_S": 3}}
        pipeline.resume(out, stages=("link", "kinetics"), config=config, classes=blinking)
    far = pd.read_parquet(out / "meetings.parquet")
    pd.testing.assert_frame_equal(far, sk.meetings(rows_of(out, "tracks"), reach_nm=3.0))
    assert len(far) > len(near)
    assert list(pd.read_parquet(out / "null_meetings.parquet").columns) == list(far.columns)


@pytest.mark.equality
@pytest.mark.parametrize("frames_per_block", [1, 3, 10])
def test_every_cut_in_time_gives_the_same_rows(movies, calm, tmp_path, frames_per_block):
    config = CONFIG.with_values(
        detect={"frames_per_block": frames_per_block},
        kinetics={"null_controls": False, "self_check_runs": 0, "correct_names": False},
    )
    # Of one cut the model is learned anew and there are numbers, which follow from the rows.
    model, until = None, "kinetics"
    if frames_per_block > 1:
        model, until = calm / "model", "link"
    with connect("synchronous"):
        sk.run(movies, tmp_path / "results", config=config, model=model, until=until)
    for table in ("detections", "frames", "tracks"):
        pd.testing.assert_frame_equal(
            rows_of(tmp_path / "results", table), rows_of(calm, table), check_exact=True
        )
    for table in ("neighbours", "regions", "thumbnails"):
        pd.testing.assert_frame_equal(
            rows_of(tmp_path / "results", table), rows_of(calm, table), check_exact=True
        )
    for movie in ("movie 1", "movie 2"):
        maps = [
            zarr.open_array(f"{folder}/maps/{movie}.zarr", mode="r")[:]
            for folder in (tmp_path / "results", calm)
        ]
        np.testing.assert_array_equal(*maps)
        assert maps[0].shape == (10, 26, 26)
        assert (maps[0] == 0).mean() > 0.95
    if until == "link":
        return
    small = (
        "populations",
        "transitions",
        "msd",
        "diffusion",
        "dwell_times",
        "structure",
        "modes",
        "strain",
        "phases",
    )
    for table in small:
        name = f"{table}.parquet"
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / "results" / name),
            pd.read_parquet(calm / name),
            check_exact=True,
        )


def test_pictures_of_sixty_frames_a_movie_at_most_are_kept_for_the_report(calm):
    kept = rows_of(calm, "thumbnails")
    assert kept["frame"].tolist() == [*range(10), *range(10)], "short movies are kept whole"
    pictured = Image.open(io.BytesIO(kept["jpeg"].iloc[0]))
    assert max(pictured.size) <= EDGE_PX
    assert (kept["white"] > kept["black"]).all()
    assert len(kept_numbers(100_000)) == MAX_FRAMES
    assert kept_numbers(0).tolist() == []


def test_a_picture_is_the_mean_over_areas_in_levels_of_its_own_frame():
    frame = np.full((480, 960), 7.0)
    frame[:, 480:] = 3.0
    frame[0, 0] = np.nan
    content, black, white = thumbnail(frame)
    seen = np.asarray(Image.open(io.BytesIO(content)))
    assert seen.shape == (120, 240)
    assert (black, white) == (3, 7)
    assert seen[:, 10:110].min() > 250
    assert seen[:, 130:].max() < 5
    assert thumbnail(np.zeros((3, 3), np.uint16))[1:] == (0.0, 0.0), "a frame without contrast"


def test_a_pixel_size_in_the_wrong_unit_is_a_warning_before_any_number(movies, tmp_path):
    wrong = QUICK.with_values(calibration={"pixel_size_nm": 30.0})
    with connect("synchronous"):
        sk.run(movies, tmp_path, config=wrong, until="detect")
    (warning,) = [said for said in journal(tmp_path)["warnings"] if "lattice constant" in said]
    assert warning.startswith("movie 1, movie 2: shows a lattice constant of about 3")
    assert "is the pixel size in pm?" in warning
    learned = [said for said in journal(tmp_path)["warnings"] if "classes are numbered" in said]
    assert len(learned) == 1, "what is said while the model is learned stands there too"
    with connect("synchronous"):
        sk.run(movies, tmp_path, config=wrong, until="detect")
    assert learned[0] in journal(tmp_path)["warnings"], "and again where the model is kept"


@pytest.mark.parametrize(
    ("a_nm", "says"),
    [(0.32, ""), (0.246, ""), (3.153, "in Å?"), (0.03, "off by a power of ten?"), (315e-6, "in µm?"), (315.0, "in pm?"),
     (1.0, "check the pixel size, or say what the specimen is")],
)  # fmt: skip
def test_a_lattice_constant_that_is_not_the_materials_says_what_may_be_wrong(a_nm, says):
    said = doubt_of_lattice(a_nm, 0.03, material_named("WS2"))
    assert (said == "") == (says == "")
    assert says in said


@pytest.mark.parametrize("name", ["pixel_size_nm", "frame_time_s", "dose_rate_e_per_nm2_s"])
def test_what_differs_from_the_file_by_more_than_two_is_doubted(name):
    assert doubt_of_override(name, given=1.9, stated=1.0) == ""
    assert "2.1 times less" in doubt_of_override(name, given=2.1, stated=1.0)
    assert "1,000 times more" in doubt_of_override(name, given=0.03, stated=30.0)


def test_doubts_of_many_movies_are_one_warning(tmp_path):
    stated = {"pixel_size_nm": 0.03, "frame_time_s": 1.0}
    movies = []
    for i in range(5):
        movie = sk.Movie.from_array(np.zeros((2, 8, 8)), name=f"m{i}", **stated)
        given = replace(movie.calibration, pixel_size_nm=0.3)
        movies.append(replace(movie, calibration=given))
    kept = Journal(Store.at(tmp_path), {"warnings": []})
    say_doubts(movies, {"m0": 10.5}, "WS2", kept)
    first, second = kept.content["warnings"]
    assert first.startswith("m0, m1, m2 and 2 more movies: was given a pixel size of 0.3 nm")
    assert second.startswith("m0: shows a lattice constant of about 3.1 nm")
    assert "in Å?" in second


@pytest.mark.equality
def test_the_lazy_verbs_give_the_rows_that_a_run_writes(movies, calm):
    from stemkin.learning import Model

    archive = sk.open_archive(movies, pixel_size_nm=0.03, frame_time_s=2.25)
    with connect("threads", workers=2):
        detections = (
            sk.detect(archive, Model.load(calm / "model"), frames_per_block=3)
            .compute()
            .reset_index(drop=True)
        )
    pd.testing.assert_frame_equal(detections, rows_of(calm, "detections"), check_exact=True)


def let_no_pixel_be_read(monkeypatch):
    for room, name in ((block_search, "read_block"), (crystals, "reference_crystal")):
        monkeypatch.setattr(room, name, lambda *_, **__: pytest.fail("a pixel was read"))


def test_a_second_run_reads_no_pixel_and_changes_no_byte(movies, calm, tmp_path, monkeypatch):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    let_no_pixel_be_read(monkeypatch)
    with connect("threads", workers=2):
        sk.run(movies, again, config=CONFIG, until="kinetics")
    assert tables_of(again) == tables_of(calm)
    assert journal(again)["blocks"]["reused"] == journal(again)["blocks"]["total"] == 6


def test_the_next_run_opens_unchanged_movies_without_reading_their_headers(
    movies, calm, tmp_path, monkeypatch
):
    from stemkin.readers import headers

    monkeypatch.setattr(headers, "open_reader", lambda *_: pytest.fail("a header was read"))
    again = pipeline.open_inputs(movies, CONFIG, results=calm)
    assert [movie.name for movie in again.movies] == ["movie 1", "movie 2"]
    with pytest.raises(pytest.fail.Exception, match="a header was read"):
        pipeline.open_inputs(movies, CONFIG, results=tmp_path)


def test_a_kinetics_setting_changes_numbers_without_reading_pixels(
    movies, calm, tmp_path, monkeypatch
):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    let_no_pixel_be_read(monkeypatch)
    with connect("threads", workers=2):
        quick = QUICK.with_values(kinetics={"max_lag_frames": 3})
        sk.run(movies, again, config=quick, until="kinetics")
    assert pd.read_parquet(again / "msd.parquet")["lag_frames"].max() <= 3
    assert journal(again)["stages"]["link"]["reused"] == 2


def test_classes_fitted_to_all_detections_name_them_again_without_reading_pixels(
    calm, tmp_path, monkeypatch
):
    again = tmp_path / "results"
    shutil.copytree(calm, again)
    let_no_pixel_be_read(monkeypatch)
    with connect("threads", workers=2):
        edits = edits_with_refit(Store.at(again))
        pipeline.resume(again, classes=edits, config=QUICK, stages=("link",))
        assert edits_with_refit(Store.at(again)) == edits, "fitted from where learning left it"
        renamed = {"rename": {"V_S": "dim"}}
        pipeline.resume(again, classes=renamed, config=QUICK, stages=("link",))
        assert edits_of(Store.at(again)) == {**edits, **renamed}, "what was fitted stays"
        assert edits_with_refit(Store.at(again), renamed) == {**edits, **renamed}
    before, after = (rows_of(folder, "detections")["class_id"] for folder in (calm, again))
    assert len(after) == len(before)
    assert (after == before).mean() > 0.95
    kept = load_model(Store.at(again)).taxonomy.mixture.means
    assert (kept != load_model(Store.at(calm)).taxonomy.mixture.means).any()
    with connect("threads", workers=2):
        pipeline.resume(again, classes={}, config=QUICK, stages=("link",))
    pd.testing.assert_frame_equal(rows_of(again, "detections"), rows_of(calm, "detections"))


def test_edited_classes_change_tables_without_reading_pixels_and_can_be_taken_back(
    movies, calm, tmp_path, monkeypatch
):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    let_no_pixel_be_read(monkeypatch)
    names = pd.read_parquet(calm / "classes.parquet").set_index("class_id")["name"]
    kinds = {"Mo_W": "Mo", "Mo_W+V_S": "Mo"}
    file = tmp_path / "classes.toml"
    file.write_text(
        '[split]\nV_S = 2\n[merge]\nMo = ["Mo_W", "Mo_W+V_S"]\n[rename]\n"V_S (1)" = "clear"'
    )
    with connect("threads", workers=2):
        pipeline.resume(again, classes=file, config=QUICK, stages=("link", "kinetics"))
    after = pd.read_parquet(again / "classes.parquet").set_index("class_id")["name"]
    assert {"Mo", "clear", "V_S (2)"} <= set(after)
    before = rows_of(calm, "detections")["class_id"].map(names).replace(kinds)
    for table in ("detections", "tracks"):
        rows = rows_of(again, table)
        now = rows["class_id"].map(after)
        if table == "detections":
            settled = before.eq("Mo")
            assert settled.sum() > 20
            assert (now[settled] == "Mo").mean() > 0.98
            assert now[before == "V_S"].isin(["clear", "V_S (2)"]).mean() > 0.98
        assert set(now.dropna()) <= set(after)
    assert set(pd.read_parquet(again / "strain.parquet")["class_id"]) <= set(after.index)
    with connect("threads", workers=2):
        # a run that goes on keeps the edits, and reads nothing
        sk.run(movies, again, config=QUICK, until="link")
    assert set(pd.read_parquet(again / "classes.parquet")["name"]) == set(after)
    assert journal(again)["stages"]["name"] | {"seconds": 0} == {
        "status": "done",
        "seconds": 0,
        "edited": True,
        "blocks": 0,
    }
    with connect("threads", workers=2):
        pipeline.resume(again, classes={}, config=QUICK, stages=("link", "kinetics"))
    assert row_tables_of(again) == row_tables_of(calm)
    names_again = pd.read_parquet(again / "classes.parquet").set_index("class_id")["name"]
    pd.testing.assert_series_equal(names_again, names)


def test_edits_that_do_not_fit_are_refused_before_anything_is_written(calm, tmp_path):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    with pytest.raises(ValueError, match="no class is called 'gold'"):
        pipeline.resume(again, classes={"rename": {"gold": "Au"}})
    with pytest.raises(ValueError, match=r"\['split', 'merge', 'rename'\], not by 'fuse'"):
        pipeline.resume(again, classes={"fuse": {"gold": "Au"}})
    with pytest.raises(ValueError, match="a list of names, not for 'Mo_W'"):
        pipeline.resume(again, classes={"merge": {"Mo": "Mo_W"}})
    with pytest.raises(ValueError, match="cannot be split into 5000"):
        pipeline.resume(again, classes={"split": {"V_S": 5000}})
    with pytest.raises(ValueError, match=r"no\.toml cannot be read"):
        pipeline.resume(again, classes=tmp_path / "no.toml")
    assert tables_of(again) == tables_of(calm)
    assert not (again / "edits.json").exists()


def test_a_lost_map_is_drawn_again(movies, calm, tmp_path):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    shutil.rmtree(again / "maps" / "movie 1.zarr")
    with connect("threads", workers=2):
        sk.run(movies, again, config=CONFIG, until="detect")
    maps = [zarr.open_array(f"{folder}/maps/movie 1.zarr", mode="r")[:] for folder in (again, calm)]
    np.testing.assert_array_equal(*maps)
    assert journal(again)["blocks"]["reused"] == 3


def test_a_lost_or_torn_file_is_made_again(movies, calm, tmp_path):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    (again / "detections" / "movie 1" / "000000004-000000008.parquet").unlink()
    torn = again / "tracks" / "movie 2" / "000000000-000000004.parquet"
    torn.write_bytes(torn.read_bytes()[:100])
    with connect("threads", workers=2):
        sk.run(movies, again, config=CONFIG, until="kinetics")
    assert tables_of(again) == tables_of(calm)
    assert journal(again)["blocks"]["reused"] == 5


def test_a_block_that_fails_is_listed_and_the_rest_goes_on_until_a_later_run_heals_it(
    movies, calm, tmp_path, monkeypatch
):
    read = block_search.read_block

    def broken_disk(movie, block):
        if (movie.name, block.start) == ("movie 1", 4):
            raise OSError(5, "Input/output error")
        return read(movie, block)

    out = tmp_path / "results"
    with connect("threads", workers=2), monkeypatch.context() as patch:
        patch.setattr(block_search, "read_block", broken_disk)
        outcome = sk.run(movies, out, config=QUICK, model=calm / "model", until="link")
    assert outcome.exit_code == 3
    assert outcome.problems == ["movie 1, frames 4 to 7: OSError: [Errno 5] Input/output error"]
    frames = rows_of(out, "frames").query("movie == 'movie 1'")
    assert frames["status"].tolist() == ["ok"] * 4 + ["corrupt"] * 4 + ["ok"] * 2
    with connect("threads", workers=2):
        words = {"config": CONFIG, "model": calm / "model", "until": "link"}
        assert sk.run(movies, out, **words).exit_code == 0
    assert row_tables_of(out) == row_tables_of(calm)


def test_old_rows_of_a_block_that_now_fails_are_gone(movies, calm, tmp_path, monkeypatch):
    """Its detections were found by an earlier run, which was stopped before the block was done."""

    def broken_disk(movie, block):
        raise OSError(5, "Input/output error")

    out = shutil.copytree(calm, tmp_path / "results")
    (out / "steps" / "movie 1" / "000000004-000000008.parquet").unlink()
    with connect("threads", workers=2), monkeypatch.context() as patch:
        patch.setattr(block_search, "read_block", broken_disk)
        assert sk.run(movies, out, config=QUICK, until="link").exit_code == 3
    for table in PIXEL_TABLES:
        files = {path.name for path in (out / table / "movie 1").iterdir()}
        assert files == {"000000000-000000004.parquet", "000000008-000000010.parquet"}, table
    tracks_left = rows_of(out, "tracks").query("movie == 'movie 1'")
    assert not tracks_left["frame"].between(4, 7).any()


def test_a_stage_that_no_run_has_is_refused_with_those_that_it_has(movies, calm, tmp_path):
    with pytest.raises(ValueError, match="until names no stage 'tracks'; use one of detect, link,"):
        sk.run(movies, tmp_path / "results", config=CONFIG, until="tracks")
    assert not (tmp_path / "results").exists()
    with pytest.raises(ValueError, match="stages names no stage 'detect'; use one of link, kine"):
        pipeline.resume(calm, stages=("detect",))


@pytest.mark.parametrize(("until", "follow"), [("link", []), ("kinetics", ["kinetics"])])
def test_a_run_ends_with_the_stage_that_it_is_told(movies, calm, tmp_path, until, follow):
    out = shutil.copytree(calm, tmp_path / "results")
    for table in (*out.glob("*.parquet"), out / "report.html"):
        table.unlink()
    with connect("threads", workers=2):
        assert sk.run(movies, out, config=QUICK, until=until).exit_code == 0
    done = [name for name, stage in journal(out)["stages"].items() if stage["status"] == "done"]
    assert [stage for stage in done if stage in ("kinetics", "report")] == follow
    assert (out / "transitions.parquet").exists() == (until == "kinetics")
    assert not (out / "report.html").exists()


def test_another_model_makes_every_block_stale(movies, calm, tmp_path):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    other = CONFIG.with_values(learn={"seed": 5, "n_frames": 3})
    with connect("threads", workers=2):
        sk.run(movies, again, config=other, until="detect")
    assert journal(again)["blocks"]["reused"] == 0


def test_a_model_learned_elsewhere_is_used_as_it_is(movies, calm, tmp_path):
    with connect("threads", workers=2):
        words = {"config": CONFIG, "model": calm / "model", "until": "detect"}
        sk.run(movies, tmp_path / "results", **words)
    assert pixel_tables_of(tmp_path / "results") == pixel_tables_of(calm)


def test_a_folder_that_holds_no_model_is_refused_before_anything_is_written(movies, tmp_path):
    (tmp_path / "empty").mkdir()
    with connect("synchronous"), pytest.raises((ValueError, OSError)):
        sk.run(movies, tmp_path / "results", config=CONFIG, model=tmp_path / "empty")
    assert not (tmp_path / "results" / "detections").exists()


def test_an_object_store_holds_the_same_tables(movies, calm):
    import fsspec

    with connect("synchronous"):
        sk.run(movies, "memory://a run", config=CONFIG, model=calm / "model", until="kinetics")
    stored = fsspec.filesystem("memory").find("/a run")
    found = {
        p.removeprefix("/a run/"): fsspec.filesystem("memory").cat_file(p)
        for p in stored
        if p.endswith(".parquet")
    }
    assert found == tables_of(calm)


def test_a_plan_counts_what_a_run_will_do(movies):
    planned = pipeline.plan_run(movies, config=CONFIG)
    assert (planned.n_movies, planned.n_frames, planned.n_blocks) == (2, 20, 6)
    assert planned.n_bytes == 20 * 128 * 128 * 2
    assert planned.largest_block_mib == 4 * 128 * 128 * 2 / 2**20


def test_blocks_that_were_kept_count_as_done_but_not_as_read():
    task = pixels.PixelSummary(pixels.Block("a", 0, 1), 1, 2, 3, False, 0.1, 100.0)
    totals = pixels.PassTotals()
    totals.add(task)
    totals.add(replace(task, reused=True, n_detections=0, peak_memory_mib=50.0))
    assert (totals.n_blocks, totals.n_reused, totals.n_frames, totals.peak_memory_mib) == (
        2,
        1,
        1,
        100.0,
    )


def test_a_short_movie_is_cut_for_many_cores_and_a_long_one_into_whole_blocks():
    from stemkin.pipeline.blocks import block_mib, edges_of
    from stemkin.simulation.archive import simulate_movie as movie_of

    short, long = (movie_of("paper", n_frames=n, shape=(512, 512)) for n in (128, 100_000))
    config = RunConfig()
    assert edges_of(short, config.detect, block_mib([short])) == [
        (i, i + 16) for i in range(0, 128, 16)
    ]
    assert {b - a for a, b in edges_of(long, config.detect, block_mib([long]))[:-1]} == {128}
    assert block_mib([short, long]) == 64


def test_a_block_that_cannot_fit_is_refused_with_the_setting_that_fits():
    import re

    from stemkin.pipeline.readiness import check_memory

    movie = simulate_movie("paper", n_frames=1000, shape=(512, 512))
    with pytest.raises(
        ValueError,
        match=r"blocks of 128 frames .* whose limit is 800 MiB; set frames_per_block = \d+",
    ) as met:
        check_memory([movie], RunConfig().detect, 64.0, limit_mib=800)
    fitting = int(re.search(r"frames_per_block = (\d+)", str(met.value))[1])
    for frames, fits in ((fitting, True), (fitting + 1, False)):
        config = RunConfig().with_values(detect={"frames_per_block": frames})
        if fits:
            check_memory([movie], config.detect, 64.0, limit_mib=800)
        else:
            with pytest.raises(ValueError, match="frames_per_block"):
                check_memory([movie], config.detect, 64.0, limit_mib=800)
    with pytest.raises(ValueError, match="not even a single frame fits"):
        check_memory([movie], RunConfig().detect, 64.0, limit_mib=500)


def test_a_folder_that_fills_up_stops_the_run_and_it_goes_on_later(
    movies, calm, tmp_path, monkeypatch
):
    from stemkin.results import store

    replace_file, written = store._replace, []

    def full(target, content):
        written.append(target)
        if target.suffix == ".parquet" and len(written) > 12:
            raise OSError(28, "No space left on device")
        replace_file(target, content)

    out = tmp_path / "results"
    with connect("threads", workers=2), monkeypatch.context() as patch:
        patch.setattr(store, "_replace", full)
        with pytest.raises(store.UnwritableError, match="No space left on device"):
            sk.run(movies, out, config=CONFIG, model=calm / "model")
    assert journal(out)["stages"]["detect"]["status"] == "failed"
    assert journal(out)["blocks"]["failed"] == []
    with connect("threads", workers=2):
        words = {"config": CONFIG, "model": calm / "model", "until": "detect"}
        assert sk.run(movies, out, **words).exit_code == 0
    assert pixel_tables_of(out) == pixel_tables_of(calm)


def test_a_run_says_what_it_kept_what_was_stale_and_what_was_new(movies, calm, tmp_path):
    import shutil

    again = tmp_path / "results"
    shutil.copytree(calm, again)
    (again / "steps" / "movie 1" / "000000004-000000008.parquet").unlink()
    with connect("threads", workers=2):
        said = sk.run(movies, again, config=CONFIG, until="link").describe()
        assert "blocks: 5 of 6 were done before and kept, 1 was new" in said
        other = CONFIG.with_values(learn={"seed": 5, "n_frames": 3})
        assert (
            "blocks: 0 of 6 were done before and kept, 6 were stale and done again"
            in sk.run(movies, again, config=other, until="detect").describe()
        )


def test_the_log_is_one_object_a_line_and_tells_the_stages(calm):
    lines = [json.loads(line) for line in (calm / "log.jsonl").read_text().splitlines()]
    assert {"time", "level", "room", "message"} <= set(lines[0])
    done = [line["stage"] for line in lines if line.get("status") == "done"]
    assert [s for s in done if s in ("learn", "detect", "link", "kinetics")] == [
        "learn",
        "detect",
        "link",
        "kinetics",
    ]


def test_a_measured_peak_stands_beside_the_projected_one(calm):
    detect = journal(calm)["stages"]["detect"]
    assert detect["worker_peak_memory_mib"] > 0
    assert detect["projected_peak_memory_mib"] > 0
    warned = [w for w in journal(calm)["warnings"] if "were projected" in w]
    assert bool(warned) == (
        detect["worker_peak_memory_mib"] > 1.1 * detect["projected_peak_memory_mib"]
    )


def test_a_plan_with_a_look_says_time_and_bytes_to_write(movies):
    one, two = (pipeline.plan_run(movies, config=CONFIG, workers=n, look=True) for n in (1, 2))
    assert "time: about" in one.describe()
    assert one.bytes_to_write > 0
    assert one.sample.n_frames == 20
    assert two.seconds < one.seconds


def test_a_terabyte_is_planned_in_seconds():
    import time

    from stemkin.pipeline.opening import Inputs

    movie = simulate_movie("paper", n_frames=8_400_000, shape=(256, 256))
    began = time.process_time()
    planned = pipeline.plan_run(Inputs([movie.source], [movie], []), workers=2, look=True)
    assert time.process_time() - began < 10
    assert planned.n_bytes > 1e12
    assert planned.n_blocks == 16407


@pytest.mark.parametrize(
    ("frames_px", "expected_nm"),
    [
        ([10.0, 10.0, 10.4, np.nan], 0.3),  # one frame without a lattice
        ([10.0, 10.0, np.nan, np.nan], None),  # half of them: no constant, and never half of it
        ([np.nan, np.nan], None),
        ([], None),
    ],
)
def test_the_lattice_constant_of_a_movie_by_hand(frames_px, expected_nm):
    steps = pd.DataFrame({"lattice_px": np.array(frames_px, dtype=float)})
    assert shown_lattice_nm(steps, 0.03) == expected_nm


def test_the_tables_of_a_run_are_read_as_the_verbs_want_them(calm):
    """Its own rows, asked again, say what the run wrote down."""
    results = sk.open_results(calm)
    listed = results.tables().set_index("table")
    assert listed.loc["tracks", "read_by"] == "read_tracks"
    assert listed.loc["tracks", "n_files"] > len(results.movies)
    found = sk.read_tracks(results)
    assert holds_whole_tracks(found)
    with connect("synchronous"):
        again = sk.transitions(found, by="movie").table
        written = sk.read_table(results, "transitions")
        kept = written["lag_frames"] == again["lag_frames"].iloc[0]
        pd.testing.assert_frame_equal(again, written[kept].reset_index(drop=True))
        seen = sk.read_detections(calm, neighbours=True)
        structure = sk.crystallography(seen).structure
        pd.testing.assert_frame_equal(structure, sk.read_table(calm, "structure"))
        counted = sk.populations(sk.read_detections(calm))
        pd.testing.assert_frame_equal(counted, sk.read_table(calm, "populations"))
        frames = sk.read_frames(calm).compute()
    assert set(frames["movie"]) == set(results.movies["movie"])


def test_detections_of_a_run_are_linked_again_to_the_same_tracks(calm):
    name = str(sk.open_results(calm).movies["movie"].iloc[0])
    lattice_nm = json.loads((calm / "run.json").read_text())["lattice_nm"][name]
    with connect("synchronous"):
        rows = sk.read_detections(calm, movies=[name])
        again = sk.link(rows, max_step_nm=2.2 * lattice_nm).compute()
        found = sk.read_tracks(calm, movies=[name]).compute()
    both = [own.sort_values(["frame", "y", "x"])["particle"].tolist() for own in (again, found)]
    assert both[0] == both[1]
    assert len(both[0]) > 0


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # Dask's own, towards pandas
def test_the_track_files_of_a_run_opened_as_plain_files_have_the_same_numbers(calm):
    plain = dd.read_parquet(calm / "tracks")
    with connect("synchronous"):
        found = sk.survival(plain, frame_time_s=1.0)
        pd.testing.assert_frame_equal(found, sk.survival(sk.read_tracks(calm), frame_time_s=1.0))


def test_tables_that_are_not_there_are_named_with_those_that_are(calm, tmp_path):
    for call, said in (
        (lambda: sk.open_results(tmp_path), "is no results folder: it has no run.json; make one"),
        (lambda: sk.read_tracks({}), "results must be the path of a results folder, but it is a dict"),
        (lambda: sk.read_tracks(calm, movies=["x"]), "has no movie 'x'; there are "),
        (lambda: sk.read_tracks(calm, columns=["z"]), "have no columns ['z']; they have ["),
        (lambda: sk.read_table(calm, "transition"), "has no table 'transition'; there are ["),
        (lambda: sk.read_table(calm, "tracks"), "read by stemkin.read_tracks(results), not read_table"),
    ):  # fmt: skip
        with pytest.raises(ValueError) as refused:
            call()
        assert said in str(refused.value)


def test_the_table_the_report_and_the_verb_quote_the_same_d(calm):
    table = pd.read_parquet(calm / "diffusion.parquet")
    quoted = table[(table["movie"] == "*") & table["recommended"]]
    known = table[(table["movie"] == "*") & table["D_nm2_per_s"].notna()]
    assert set(quoted["class_id"]) == set(known["class_id"]), "what has no D is not recommended"
    found = sk.fit_diffusion(sk.read_tracks(calm))
    found = found[found["recommended"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, quoted.reset_index(drop=True), check_exact=True)
    rows = table[table["movie"] == "*"]
    for class_id, own in rows.groupby("class_id"):
        first = preferred(own).iloc[0]
        if class_id in set(quoted["class_id"]):
            known = quoted.set_index("class_id").loc[class_id]
            assert first["method"] == known["method"]


@pytest.mark.parametrize("inputs", [np.zeros((2, 8, 8)), [7], None], ids=["frames", "7", "None"])
def test_what_is_no_path_is_one_sentence(tmp_path, inputs):
    with pytest.raises(ValueError, match="a run takes paths or URLs"):
        sk.run(inputs, tmp_path / "results")


def test_an_open_movie_is_told_how_it_becomes_a_file(tmp_path):
    movie = sk.Movie.from_array(np.zeros((2, 8, 8)))
    with pytest.raises(
        ValueError, match=r"was given a Movie; .* sk\.convert\(movie, 'movie\.zarr'\)"
    ):
        sk.run(movie, tmp_path / "results")

"""Archives from every kind of source: names unique and stable, broken files skipped with their
reason, headers remembered."""

import json
import os
import pickle

import numpy as np
import pytest
import tifffile

from stemkin.archive import Archive, open_archive
from stemkin.description import describe
from stemkin.movie import movies_table
from stemkin.readers import headers as remembered
from stemkin.readers import listing
from tests import movie_files as files


@pytest.fixture
def folder(tmp_path):
    """Movies in a folder and its subfolders, among things that are none."""
    root = tmp_path / "my movies µ"
    for name in ("day1", "day2", "frames", "results/detections"):
        (root / name).mkdir(parents=True)
    files.write_imagej(root / "day1" / "stack10.tif", files.pixels())
    files.write_imagej(root / "day1" / "stack9.tif", files.pixels())
    files.write_zarr3(str(root / "day2" / "stack9.zarr"), files.pixels())
    files.write_npy(root / 'it\'s "quoted" ….npy', files.pixels())
    for i in range(3):
        tifffile.imwrite(root / "frames" / f"f{i:03}.tif", files.pixels()[i])
    (root / "broken.dm3").write_bytes(b"\0\0\0\3 but no more")
    (root / "notes.txt").write_text("no movie")
    (root / ".hidden.tif").write_bytes(b"")
    (root / "results" / "run.json").write_text("{}")
    files.write_npy(root / "results" / "arrays.npy", files.pixels())
    return root


NAMES = ["day1/stack9", "day1/stack10", "day2/stack9", "frames", 'it\'s "quoted" …']


def test_a_folder_gives_its_movies_in_natural_order_and_its_broken_files_with_their_reason(folder):
    archive = open_archive(folder)
    assert [movie.name for movie in archive] == NAMES
    assert len(archive) == 5
    assert archive["frames"].n_frames == 3
    assert archive[-1].name == NAMES[-1]
    assert [m.name for m in archive[:2]] == NAMES[:2]
    [(source, reason)] = archive.problems
    assert source.endswith("broken.dm3")
    assert "could not be opened as DM" in reason
    assert "5 movies" in repr(archive)
    with pytest.raises(ValueError, match="no movie is called 'x'"):
        archive["x"]


def test_names_do_not_depend_on_the_neighbours_as_long_as_they_differ(folder):
    before = {movie.source: movie.name for movie in open_archive(folder)}
    files.write_npy(folder / "day2" / "another.npy", files.pixels())
    after = {movie.source: movie.name for movie in open_archive(folder)}
    assert {source: after[source] for source in before} == before
    files.write_npy(folder / "day1" / "stack9.npy", files.pixels())
    assert {"day1/stack9.npy", "day1/stack9.tif"} <= {movie.name for movie in open_archive(folder)}


def test_a_pattern_a_list_and_one_movie_are_archives_too(folder):
    assert [m.name for m in open_archive(str(folder / "day*" / "*.tif"))] == [
        "day1/stack9",
        "day1/stack10",
    ]
    assert [m.name for m in open_archive(f"{folder}/**/stack9.*")] == ["day1/stack9", "day2/stack9"]
    assert [m.name for m in open_archive([folder / "day1", folder / "day2" / "stack9.zarr"])] == [
        "stack9.tif",
        "stack10",
        "stack9.zarr",
    ]
    assert [m.name for m in open_archive(folder / "frames")] == ["frames"]
    assert len(open_archive([folder / "day1", folder / "day1"])) == 2
    archive = open_archive([folder / "day1", folder / "nowhere.tif"])
    assert [
        (s.endswith("nowhere.tif"), r.startswith("there is no file")) for s, r in archive.problems
    ] == [(True, True)]


def test_two_sources_of_one_name_are_told_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.write_npy(tmp_path / name / "film.npy", files.pixels())
    archive = open_archive([tmp_path / "a" / "film.npy", tmp_path / "b" / "film.npy"])
    assert [m.name for m in archive] == [
        str(tmp_path / "a" / "film.npy"),
        str(tmp_path / "b" / "film.npy"),
    ]


@pytest.mark.parametrize(
    ("source", "error", "sentence"),
    [
        ("nowhere", FileNotFoundError, "there is no file or folder"),
        ("nowhere.csv", FileNotFoundError, "there is no file or folder"),
        ("*.tif", ValueError, "no movies were found: the pattern"),
        ("", ValueError, "no movies were found: the folder"),
    ],
)
def test_nothing_to_open_is_one_sentence(tmp_path, source, error, sentence):
    with pytest.raises(error, match=sentence):
        open_archive(str(tmp_path / source))
    with pytest.raises(ValueError, match="the list of sources is empty"):
        open_archive([])


def write_manifest(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_manifest_names_and_calibrates(folder):
    text = "path, name, pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, dataset, channel\n"
    text += (
        "day1/stack9.tif,first,0.05,,9e5,,\n\nday2/stack9.zarr,,0.02,3,,,\nday1/stack10.tif,,,,,,\n"
    )
    archive = open_archive(write_manifest(folder / "all.csv", text), frame_time_s=7)
    assert [m.name for m in archive] == ["first", "day2/stack9", "day1/stack10"]
    assert [m.pixel_size_nm for m in archive] == [
        0.05,
        0.02,
        pytest.approx(0.03),
    ]  # manifest, manifest, file
    assert [m.frame_time_s for m in archive] == [7, 7, 7]  # the argument counts more
    assert archive[0].calibration.origin == {
        "pixel_size_nm": "manifest", "frame_time_s": "argument", "dose_rate_e_per_nm2_s": "manifest",
    }  # fmt: skip


def test_a_toml_manifest_has_defaults(folder):
    text = (
        'pixel_size_nm = 0.04\n[[movie]]\npath = "day1/stack9.tif"\n[[movie]]\npath = '
        '"day1/stack10.tif"\npixel_size_nm = 1\nname = "b"\n'
    )
    archive = open_archive(write_manifest(folder / "all.toml", text))
    assert [(m.name, m.pixel_size_nm) for m in archive] == [("day1/stack9", 0.04), ("b", 1)]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("m.csv", "", "names no movies"),
        ("m.csv", "path\n", "names no movies"),
        ("m.csv", "file\na.tif\n", "'file' is not known; known are path"),
        ("m.csv", "name\na\n", "needs one column 'path'"),
        ("m.csv", "path,name\na.tif\n", r"line 2 of .* has 1 values for 2 columns"),
        (
            "m.csv",
            "path,pixel_size_nm\na.tif,thin\n",
            r"line 2 of .*: pixel_size_nm must be a number, but is 'thin'",
        ),
        (
            "m.csv",
            "path,pixel_size_nm\na.tif,-1\n",
            r"line 2 of .*: pixel_size_nm must be a positive number",
        ),
        ("m.csv", "path,name\n,a\n", "each movie needs a path"),
        ("m.csv", 'path\n"a', "no valid CSV"),
        ("m.csv", "path,name\na.tif,x\nb.tif,x\n", "not unique, such as 'x'"),
        ("m.toml", "path = ", "no valid TOML"),
        ("m.toml", "movie = 3", r"one \[\[movie\]\] table per movie"),
        ("m.toml", "[[movie]]\nname='a'", r"movie 1 of .*: each movie needs a path"),
        ("m.toml", "colour = 3", "'colour' is not known"),
        ("m.toml", "[[movie]]\npath='a'\nsize=1", "'size' is not known"),
        ("m.toml", "[[movie]]\npath='a'\nchannel=true", "channel must be a number"),
    ],
)
def test_a_wrong_manifest_is_one_sentence_with_its_line(tmp_path, name, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        open_archive(write_manifest(tmp_path / name, text))


def test_a_movie_that_the_manifest_names_wrongly_is_listed(folder):
    archive = open_archive(
        write_manifest(folder / "all.csv", "path\nday1/stack9.tif\nday9/none.tif\n../x.tif\n")
    )
    assert len(archive) == 1
    assert [reason.split(" ")[0:3] for _, reason in archive.problems] == [["there", "is", "no"]] * 2


def test_describe_says_what_is_known_and_where_from(folder):
    table = describe(folder, frame_time_s=1.5)
    row = table[table["movie"] == "day1/stack9"].iloc[0]
    assert (row["shape"], row["dtype"], row["bytes"]) == ("6 x 16 x 32", "uint16", 6 * 16 * 32 * 2)
    assert (row["pixel_size_nm"], row["pixel_size_from"]) == (
        pytest.approx(0.03),
        "ImageJ metadata",
    )
    assert (row["frame_time_s"], row["frame_time_from"]) == (1.5, "argument")
    assert np.isnan(row["dose_rate_e_per_nm2_s"])
    assert table["chunks"].tolist()[2] == "4 x 16 x 32"
    assert "could not be opened as DM" in table["problems"].iloc[-1]
    assert "read as the frames of one movie" in table.set_index("movie").loc["frames", "problems"]
    assert len(table) == 6
    assert describe([str(folder)]).equals(describe(folder))


def test_a_changed_movie_is_looked_at_again_and_the_others_are_not(folder, tmp_path, monkeypatch):
    cache = tmp_path / "listing.json"
    first = open_archive(folder, cache=cache)
    looks = []
    plain = remembered.open_reader
    monkeypatch.setattr(
        remembered,
        "open_reader",
        lambda source, options: looks.append(source) or plain(source, options),
    )
    second = open_archive(folder, cache=cache)
    assert [os.path.basename(s) for s in looks] == [
        "broken.dm3"
    ]  # what does not open is tried again
    assert movies_table(second).equals(movies_table(first))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.reader.read(1, 3), other.reader.read(1, 3))
        assert one.reader.identity == other.reader.identity
        assert one.calibration.origin == other.calibration.origin
    looks.clear()
    files.write_imagej(folder / "day1" / "stack9.tif", files.pixels(n=9))
    assert open_archive(folder, cache=cache)["day1/stack9"].n_frames == 9
    assert {os.path.basename(s) for s in looks} == {"broken.dm3", "stack9.tif"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 1, "readers": {"a": 3}}',
        '{"version": 99, "readers": {}}',
    ],
)
def test_a_broken_cache_is_as_good_as_none(folder, tmp_path, content):
    (tmp_path / "listing.json").write_text(content)
    assert len(open_archive(folder, cache=tmp_path / "listing.json")) == 5
    assert json.loads((tmp_path / "listing.json").read_text())["version"] == remembered.VERSION


def test_every_kind_of_reader_is_remembered_whole(tmp_path):
    from tests.test_readers import FORMATS_WRITTEN, frames_for

    for name, (write, _, _) in FORMATS_WRITTEN.items():
        write(str(tmp_path / name), frames_for(name))
    opened = open_archive(tmp_path, dataset=None, cache=tmp_path / "listing.json")
    again = open_archive(tmp_path, cache=tmp_path / "listing.json")
    assert len(opened) == len(FORMATS_WRITTEN)
    for one, other in zip(opened, again, strict=True):
        assert (
            pickle.dumps(one.reader) == pickle.dumps(other.reader)
            or one.reader.shape == other.reader.shape
        )
        np.testing.assert_array_equal(other.reader.read(1, 4), one.reader.read(1, 4))


def test_headers_are_read_side_by_side(folder, monkeypatch):
    import threading
    import time

    active, most = [0], [0]
    lock = threading.Lock()
    plain = remembered.open_reader

    def slow(source, options):
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        time.sleep(0.02)
        with lock:
            active[0] -= 1
        return plain(source, options)

    monkeypatch.setattr(remembered, "open_reader", slow)
    open_archive(folder)
    assert most[0] > 2


def test_an_archive_is_picklable_and_its_movies_open_their_files_themselves(folder):
    archive = pickle.loads(pickle.dumps(open_archive(folder)))
    assert isinstance(archive, Archive)
    np.testing.assert_array_equal(archive["day1/stack9"].reader.read(0, 6), files.pixels())
    (folder / "day1" / "stack9.tif").unlink()
    with pytest.raises(FileNotFoundError):
        archive["day1/stack9"].reader.read(0, 1)


def test_natural_order_by_hand():
    assert sorted(["f10", "f9", "F1", "f9b"], key=listing.natural) == ["F1", "f9", "f9b", "f10"]

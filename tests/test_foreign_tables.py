"""Tables of other programs: right numbers from each, or one sentence; and ours as theirs."""

import re
from pathlib import Path

import dask.dataframe as dd
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stemkin as sk
from stemkin.foreign_tables.branches import lines_of
from stemkin.rows.whole import holds_whole_tracks

CASES = Path(__file__).parents[2] / "shared" / "data" / "cases"
NANORODS = CASES.parent / "nanorod-tracks" / "AuNRs_300.mat"


@pytest.fixture(scope="module")
def rows():
    """Two particles in three frames, one of them missed in the second."""
    return pd.DataFrame(
        {
            "frame": [0, 1, 2, 0, 2],
            "particle": [3, 3, 3, 8, 8],
            "y": [1.0, 2.0, 4.0, 10.0, 11.0],
            "x": [5.0, 5.0, 6.0, 20.0, 20.0],
        }
    )


def read(tracks, *columns):
    """The rows of a table in the order of particle and frame."""
    table = tracks.compute().sort_values(["particle", "frame"], ignore_index=True)
    table = table.assign(movie=table["movie"].astype(str))  # Dask's text is of another type
    return table[list(columns)].to_numpy().tolist() if columns else table


# --- any table


def test_any_kind_of_table_is_the_same_table(rows):
    class Streaming:
        """Speaks the Arrow C stream and nothing else, as a table of polars does."""

        def __arrow_c_stream__(self, requested_schema=None):
            return pa.Table.from_pandas(rows).__arrow_c_stream__(requested_schema)

    class Interchanging:
        """Speaks the dataframe interchange protocol."""

        def __dataframe__(self, nan_as_null=False, allow_copy=True):
            return pa.Table.from_pandas(rows, preserve_index=False).__dataframe__()

    kinds = [
        pa.Table.from_pandas(rows),
        Streaming(),
        Interchanging(),
        rows.to_dict("list"),
        rows.to_records(index=False),
        dd.from_pandas(rows, npartitions=2),
    ]
    expected = read(sk.from_table(rows, pixel_size_nm=0.5, frame_time_s=2.0))
    assert list(expected.columns) == ["movie", "frame", "y", "x", "particle", "y_nm", "x_nm"]
    for kind in kinds:
        found = sk.from_table(kind, pixel_size_nm=0.5, frame_time_s=2.0)
        assert found.experiment.movies["n_frames"].tolist() == [3]
        pd.testing.assert_frame_equal(read(found), expected)
        assert holds_whole_tracks(found) != isinstance(kind, dd.DataFrame)


def test_columns_are_named_and_units_turned_into_ours(rows):
    theirs = rows.rename(columns={"frame": "t", "particle": "id", "y": "row", "x": "col"})
    theirs = theirs.assign(row=theirs["row"] / 1000, col=theirs["col"] / 1000, y=-1.0, tone=7)
    named = {"frame": "t", "particle": "id", "y": "row", "x": "col", "score": "tone"}
    found = sk.from_table(theirs, columns=named, length_unit="um", pixel_size_nm=0.5)
    assert read(found, "y_nm", "x_nm")[0] == [1.0, 5.0]
    assert read(found, "y", "x")[0] == [2.0, 10.0]
    assert read(found, "score")[0] == [7.0]
    assert found.experiment.movies["pixel_size_nm"].tolist() == [0.5]
    without = sk.from_table(theirs, columns=named, length_unit="um")
    assert "y" not in without.columns
    assert "y_nm" not in sk.from_table(rows).columns


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (lambda f: f * 0.25, {"time_unit": "s", "frame_time_s": 0.25}),
        (lambda f: f * 250.0 + 20, {"time_unit": "ms", "frame_time_s": 0.25}),
        (lambda f: pd.to_timedelta(f * 250, unit="ms"), {"frame_time_s": 0.25}),
        (lambda f: pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(f * 250, unit="ms"), {"frame_time_s": 0.25}),
        (lambda f: f.astype(float), {}),
        (lambda f: f.astype(str), {}),
    ],
)  # fmt: skip
def test_times_and_dates_become_frames(rows, of, words):
    found = sk.from_table(rows.assign(frame=of(rows["frame"])), **words)
    assert read(found, "frame") == [[0], [1], [2], [0], [2]]


def test_dates_are_counted_from_the_first_row_of_each_movie(rows):
    date = pd.Timestamp("2026-01-01") + pd.to_timedelta(rows["frame"], unit="s")
    date = date.where(rows["particle"] == 3, date + pd.Timedelta("1D"))
    movie = np.where(rows["particle"] == 3, "a", "b")
    found = sk.from_table(rows.assign(frame=date, movie=movie), frame_time_s=1.0)
    assert read(found, "movie", "frame")[3:] == [["b", 0], ["b", 2]]
    assert found.experiment.movies["n_frames"].tolist() == [3, 3]


def test_classes_may_be_any_numbers_or_words(rows):
    for given_, names, expected in (
        ([0, 10**9, 0, 10**9, 0], ["0", "1000000000"], [0, 1, 0, 1, 0]),
        (["V", "Mo", "V", None, "V"], ["Mo", "V"], [1, 0, 1, -1, 1]),
        ([-1, 4, 4, 2, 2], [], [-1, 4, 4, 2, 2]),
        ([np.nan, 4.0, 4.0, 2.0, 2.0], [], [-1, 4, 4, 2, 2]),
        ([-1, 10**9, -7, 10**9, -7], ["-7", "1000000000"], [-1, 1, 0, 1, 0]),
        ([True, False, True, True, True], ["False", "True"], [1, 0, 1, 1, 1]),
    ):
        found = sk.from_table(rows.assign(class_id=pd.Series(given_)), frame_time_s=1.0)
        assert [n for (n,) in read(found, "class_id")] == expected
        assert found.experiment.classes["name"].tolist() == names
    words = dd.from_pandas(rows.assign(class_id=list("baabb")), npartitions=2)
    found = sk.from_table(words, class_names=["b", "a"], frame_time_s=1.0)
    assert [n for (n,) in read(found, "class_id")] == [0, 1, 1, 0, 0]
    changes = sk.transitions(found, lag_frames=1)
    assert changes.table.loc[changes.table["count"] > 0, ["from_id", "to_id"]].values.tolist() == [
        [0, 1],
        [1, 1],
    ]


def test_particles_may_be_words(rows):
    named = rows.assign(particle=rows["particle"].map({3: "left", 8: "right"}))
    assert read(sk.from_table(named), "particle") == [[0], [0], [0], [1], [1]]


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (lambda r: r.assign(frame=r["frame"] * 0.25), {}, "the column 'frame' must hold whole numbers, but it holds 0.25"),
        (lambda r: r.assign(frame=r["frame"] * 0.25), {"time_unit": "s"}, "turned into frames by the time between them; pass frame_time_s="),
        (lambda r: r.assign(frame=r["frame"] * 0.25), {"time_unit": "s", "frame_time_s": 0.4}, "lies between frames of 0.4 s (it would be frame 0.62); correct frame_time_s"),
        (lambda r: r.assign(frame=pd.to_timedelta(r["frame"], unit="s")), {}, "holds times (timedelta64"),
        (lambda r: r.assign(frame=[0.0, np.nan, 1, 2, 3]), {"time_unit": "s", "frame_time_s": 1.0}, "must hold times, but 1 of 5 are missing"),
        (lambda r: r.assign(frame=r["frame"] + 2**31), {}, "must hold numbers below 2147483648"),
        (lambda r: r.drop(columns="frame"), {}, "a table of tracks needs the column 'frame', but this one has"),
        (lambda r: r, {"columns": {"particle": "id"}}, "the table has no column 'id'; it has ["),
        (lambda r: r.assign(particle=[1.5, 1, 1, 1, 1]), {}, "the column 'particle' must hold whole numbers, but it holds 1.5"),
        (lambda r: r.assign(particle=["a", None, "a", "a", "a"]), {}, "1 rows have no track; drop or number them"),
        (lambda r: r.assign(class_id=[0.5, 0, 0, 0, 0]), {}, "the column 'class_id' must hold whole numbers or words, but it holds 0.5"),
        (lambda r: r.assign(class_id=list("aabbc")), {"class_names": ["a", "b"]}, "the class 'c' is none of class_names=['a', 'b']; add it"),
        (lambda r: r.assign(y="here"), {}, "the column 'y' must hold places, but holds text"),
        (lambda r: r, {"length_unit": "furlong"}, "length_unit must be 'px' or one of"),
        (lambda r: r, {"time_unit": "fortnight"}, "time_unit must be 'frames' or one of"),
        (lambda r: r, {"pixel_size_nm": "0.03"}, "pixel_size_nm must be a positive number of nanometres, but it is '0.03'"),
        (lambda r: r, {"frame_time_s": "2.25"}, "frame_time_s must be a positive number of seconds, but it is '2.25'"),
        (lambda r: pd.concat([r, r[["y"]]], axis=1), {}, "each column must be there once, but 'y' is there twice"),
        (lambda r: {"frame": [0, 1], "y": [1.0]}, {}, "the columns of a table have one length, but these have"),
        (lambda r: [1, 2], {}, "rows must be a pandas or Dask DataFrame, but these are a list"),
        (lambda r: dd.from_pandas(r.assign(class_id=list("aabbc")), npartitions=1), {}, "pass class_names=[...]"),
        (lambda r: dd.from_pandas(r.assign(frame=pd.to_datetime(r["frame"])), npartitions=1), {"frame_time_s": 1.0}, "of this Dask table holds dates; subtract the first"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_tracks_is_refused_in_a_sentence(rows, spoil, words, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        sk.from_table(spoil(rows), **words)


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
def test_a_frame_column_in_seconds_is_linked_after_it_was_told_the_frame_time():
    theirs = pd.read_csv(CASES / "c21_frame_column_in_seconds.csv")
    with pytest.raises(ValueError, match=r"must hold whole numbers, but it holds 0\.25"):
        sk.from_table(theirs)
    words = {"time_unit": "s", "frame_time_s": 0.25, "pixel_size_nm": 0.03}
    tracks = sk.link(sk.from_table(theirs, **words), max_step_nm=0.3)
    assert tracks["particle"].nunique().compute() == 30


@pytest.mark.real
@pytest.mark.skipif(not NANORODS.exists(), reason="the real tracks are not here")
def test_real_nanorods_come_in_as_they_are():
    from scipy.io import loadmat

    x, y, number = loadmat(NANORODS)["tr"].T
    frame = pd.Series(number).groupby(number).cumcount()
    found = sk.from_table({"x": x, "y": y, "particle": number, "frame": frame}, frame_time_s=1.0)
    assert found["particle"].nunique().compute() == 459
    assert found.experiment.movies["n_frames"].tolist() == [300]


# --- trackpy


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # trackpy's own, towards pandas
def test_tracks_of_trackpy_have_its_numbers():
    import trackpy

    rng = np.random.default_rng(0)
    n = 12
    features = pd.DataFrame(
        {
            "frame": np.repeat(np.arange(n), 3),
            "y": np.tile([20.0, 60, 100], n) + rng.normal(0, 0.3, 3 * n).cumsum() * 0.1,
            "x": np.tile([30.0, 70, 110], n) + rng.normal(0, 0.3, 3 * n),
            "ep": 0.05,
        }
    )
    trackpy.quiet()
    linked = trackpy.link(features, search_range=8)
    tracks = sk.from_trackpy(linked, pixel_size_nm=30.0, frame_time_s=0.5)
    assert read(tracks, "position_error")[0] == [pytest.approx(0.05)]
    ours = sk.msd(tracks, max_lag_frames=3)
    theirs = trackpy.emsd(linked, mpp=0.03, fps=2, max_lagtime=3)
    np.testing.assert_allclose(ours["msd_nm2"], theirs.to_numpy() * 1e6)
    back = sk.to_trackpy(tracks)
    assert list(back.columns[:4]) == ["y", "x", "frame", "particle"]
    again = trackpy.emsd(back, mpp=0.03, fps=2, max_lagtime=3)
    np.testing.assert_allclose(again, theirs, rtol=1e-4)  # places are float32 in our tables
    features_alone = sk.from_trackpy(features, pixel_size_nm=30.0, frame_time_s=0.5)
    assert sk.link(features_alone, max_step_nm=300.0)["particle"].nunique().compute() == 3


def test_places_in_three_dimensions_are_refused_and_a_plane_is_none(rows):
    flat = sk.from_trackpy(rows.assign(z=0.0))
    assert "z" not in flat.columns
    with pytest.raises(ValueError, match="measures in the plane, but these tracks have a column"):
        sk.from_trackpy(rows.assign(z=rows["y"]))


# --- LapTrack


@pytest.mark.parametrize("keeps_all", [True, False])
def test_tracks_of_laptrack_are_known_by_index_or_column(rows, keeps_all):
    """As LapTrack 0.17 returns them: frame and row in the index, and the frame once more, renamed."""
    index = pd.MultiIndex.from_arrays([rows["frame"], range(5)], names=["frame", "index"])
    theirs = rows.rename(columns={"particle": "track_id", "frame": "frame_y"}).assign(tree_id=0)
    theirs.index = index
    if not keeps_all:
        theirs = theirs.drop(columns="frame_y")
    found = sk.from_laptrack(theirs, pixel_size_nm=0.5)
    expected = read(sk.from_table(rows, pixel_size_nm=0.5))
    pd.testing.assert_frame_equal(read(found).drop(columns="tree_id"), expected)
    flat = theirs.drop(columns="frame_y", errors="ignore").reset_index()
    pd.testing.assert_frame_equal(
        read(sk.from_laptrack(flat, pixel_size_nm=0.5))[list(expected)], expected
    )
    with pytest.raises(ValueError, match="a table of LapTrack has the column 'track_id'"):
        sk.from_laptrack(rows)


# --- btrack


class Tracklet:
    """Gives what `btrack.btypes.Tracklet.to_dict` gives."""

    def __init__(self, columns):
        self.columns = columns

    def to_dict(self):
        return self.columns


def btrack_file(path, *, filtered=False):
    """A file as btrack's HDF5FileHandler writes it: two tracks, one with a dummy in its middle."""
    coords = [[0, 5, 1, 0, 0], [0, 20, 10, 0, 0], [1, 5, 2, 0, 0], [2, 6, 4, 0, 0], [2, 20, 11, 0, 0]]  # fmt: skip
    with h5py.File(path, "w") as file:
        file["objects/obj_type_1/coords"] = np.array(coords, "f4")
        group = file.create_group("tracks/obj_type_1")
        group["tracks"] = np.array([0, 2, 3, 1, -1, 4], "i4")
        group["map"] = np.array([[0, 3], [3, 6]], "u4")
        group["dummies"] = np.array([[1, 20, 10.5, 0, 1]], "f4")
        group["LBEPR"] = np.array([[3, 0, 2, 3, 3, 0], [8, 0, 2, 8, 8, 0]], "i4")
        group["fates"] = np.zeros(2, "i4")
        if filtered:
            group.attrs["f_expr"] = "area>100"
    return path


def test_tracks_of_btrack_come_from_its_file_tracklets_and_dictionaries(rows, tmp_path):
    expected = read(sk.from_table(rows))
    tracklets = [
        {"ID": 3, "t": [0, 1, 2], "y": [1.0, 2, 4], "x": [5.0, 5, 6], "z": [0.0] * 3, "parent": 3, "root": 3, "dummy": [False] * 3},
        {"ID": 8, "t": [0, 1, 2], "y": [10.0, 10.5, 11], "x": [20.0] * 3, "z": [0.0] * 3, "parent": 8, "root": 8, "dummy": [False, True, False]},
    ]  # fmt: skip
    for given_ in (
        btrack_file(tmp_path / "tracks.h5"),
        str(tmp_path / "tracks.h5"),
        tracklets,
        [Tracklet(columns) for columns in tracklets],
    ):
        found = read(sk.from_btrack(given_))
        pd.testing.assert_frame_equal(found[list(expected)], expected)
        assert found["root"].tolist() == [3, 3, 3, 8, 8]


def test_files_that_are_not_of_btrack_are_refused(tmp_path):
    for make, said in (
        (lambda p: p.write_bytes(b"no"), "is no HDF5 file that can be opened"),
        (lambda p: h5py.File(p, "w").close(), "has no tracks of 'obj_type_1'; it has those of []"),
        (lambda p: btrack_file(p, filtered=True), "refer to objects that were filtered by 'area>100'"),
    ):  # fmt: skip
        path = tmp_path / "tracks.h5"
        make(path)
        with pytest.raises(ValueError, match=re.escape(said)):
            sk.from_btrack(path)
        path.unlink()


# --- TrackMate

SPOT = '<Spot ID="{0}" name="ID{0}" QUALITY="9.5" POSITION_T="{1}" POSITION_X="{3}" POSITION_Y="{2}" POSITION_Z="0.0" FRAME="{4}" RADIUS="2.5" VISIBILITY="1" />'
SPOTS = [(10, 0, 0.5, 2.5), (11, 1, 1.0, 2.5), (12, 2, 2.0, 3.0), (20, 0, 5.0, 10.0), (21, 2, 5.5, 10.0),
         (22, 2, 6.5, 10.0), (30, 1, 9.0, 9.0), (40, 0, 7.0, 7.0), (41, 1, 7.0, 7.5)]  # fmt: skip
"""id, frame, y, x [µm]: one track of three spots; one that is missed, then splits; a spot alone; and
a track that is filtered out."""
EDGES = {0: [(10, 11), (12, 11)], 1: [(20, 21), (20, 22)], 2: [(40, 41)]}


def trackmate_xml(path, *, spots=SPOTS, edges=EDGES, unit="µm", time="sec", head="", end=""):
    """A file as TrackMate 7 saves it."""
    frames = sorted({frame for _, frame, _, _ in spots})
    lines = [f'<?xml version="1.0" encoding="UTF-8"?>{head}', '<TrackMate version="7.11.1">']
    lines += [f'<Model spatialunits="{unit}" timeunits="{time}"><AllSpots nspots="{len(spots)}">']
    for frame in frames:
        lines.append(f'<SpotsInFrame frame="{frame}">')
        lines += [SPOT.format(i, 0.25 * f, y, x, f) for i, f, y, x in spots if f == frame]
        lines.append("</SpotsInFrame>")
    lines.append("</AllSpots><AllTracks>")
    for track, pairs in edges.items():
        lines.append(f'<Track name="Track_{track}" TRACK_ID="{track}">')
        lines += [f'<Edge SPOT_SOURCE_ID="{a}" SPOT_TARGET_ID="{b}" LINK_COST="0.1" />' for a, b in pairs]  # fmt: skip
        lines.append("</Track>")
    lines.append('</AllTracks><FilteredTracks><TrackID TRACK_ID="0" /><TrackID TRACK_ID="1" />')
    lines.append("</FilteredTracks></Model><Settings>")
    lines.append('<ImageData filename="a.tif" folder="" width="64" height="48" nslices="1" nframes="5" pixelwidth="0.5" pixelheight="0.5" voxeldepth="1.0" timeinterval="0.25" />')  # fmt: skip
    lines.append(f"</Settings>{end}</TrackMate>")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_file_of_trackmate_goes_to_numbers_with_its_own_calibration(tmp_path):
    tracks = sk.from_trackmate(trackmate_xml(tmp_path / "cells.xml"))
    assert read(tracks, "particle", "frame", "y_nm", "x_nm", "track_id") == [
        [0, 0, 500.0, 2500.0, 0],
        [0, 1, 1000.0, 2500.0, 0],
        [0, 2, 2000.0, 3000.0, 0],
        [1, 0, 5000.0, 10000.0, 1],
        [2, 2, 5500.0, 10000.0, 1],
        [3, 2, 6500.0, 10000.0, 1],
    ]
    assert read(tracks, "y")[0] == [1.0]
    known = tracks.experiment.movies.iloc[0]
    assert known[["movie", "n_frames", "height_px", "width_px"]].tolist() == ["cells", 5, 48, 64]
    assert (known["pixel_size_nm"], known["frame_time_s"]) == (500.0, 0.25)
    spread = sk.msd(tracks, max_lag_frames=1)
    assert spread["lag_s"].tolist() == [0.25]
    assert spread["msd_nm2"].tolist() == [pytest.approx((0.5e3**2 + 1e6 + 0.5e3**2) / 2)]


def test_units_of_trackmate_that_say_nothing_leave_the_calibration_open(tmp_path):
    path = trackmate_xml(tmp_path / "a.xml", unit="pixel", time="frame")
    tracks = sk.from_trackmate(path)
    assert "y_nm" not in tracks.columns
    assert tracks.experiment.movies[["pixel_size_nm", "frame_time_s"]].isna().all(axis=None)
    told = sk.from_trackmate(path, pixel_size_nm=0.1, frame_time_s=2.0, movie="m")
    assert read(told, "y_nm", "movie")[0] == [0.05, "m"]


def test_exported_tracks_of_trackmate_are_read_too(tmp_path):
    path = tmp_path / "Tracks.xml"
    path.write_text(
        '<?xml version="1.0"?><Tracks nTracks="2" spaceUnits="nm" frameInterval="2.25" timeUnits="sec">'
        '<particle nSpots="2"><detection t="0" x="5.0" y="1.0" z="0.0" />'
        '<detection t="1" x="5.5" y="1.0" z="0.0" /></particle>'
        '<particle nSpots="1"><detection t="3" x="8.0" y="2.0" z="0.0" /></particle></Tracks>'
    )
    tracks = sk.from_trackmate(path)
    assert read(tracks, "particle", "frame", "y_nm", "x_nm") == [[0, 0, 1.0, 5.0], [0, 1, 1.0, 5.5], [1, 3, 2.0, 8.0]]  # fmt: skip
    assert tracks.experiment.movies["frame_time_s"].tolist() == [2.25]


def trackmate_csv(folder, *, new=True, branches=True):
    """The tables of spots and of edges as TrackMate exports them; older ones had one line of names."""
    head = ["LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME,RADIUS"]
    joined = ["LABEL,TRACK_ID,SPOT_SOURCE_ID,SPOT_TARGET_ID,LINK_COST"]
    if new:
        head += ["Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,Radius"] * 2
        head += [",,,(quality),(micron),(micron),(micron),(sec),,(micron)"]
        joined += ["Label,Track ID,Source spot ID,Target spot ID,Edge cost"] * 2 + [",,,,(cost)"]
    of_spot = {s: t for t, pairs in EDGES.items() for pair in pairs for s in pair}
    for i, f, y, x in SPOTS:
        if of_spot.get(i) == 2 or (i == 22 and not branches):
            continue
        head.append(f"ID{i},{i},{of_spot.get(i, '')},9.5,{x},{y},0.0,{f * 0.25},{f},2.5")
    for track in (0, 1):
        joined += [f"{a} to {b},{track},{a},{b},0.1" for a, b in EDGES[track]]
    (folder / "spots.csv").write_text("\n".join(head))
    (folder / "edges.csv").write_text("\n".join(joined))
    return folder / "spots.csv", folder / "edges.csv"


@pytest.mark.parametrize("new", [True, False])
def test_tables_of_trackmate_say_what_its_file_says(tmp_path, new):
    spots, edges = trackmate_csv(tmp_path, new=new)
    columns = ("particle", "frame", "track_id", "quality")
    expected = read(sk.from_trackmate(trackmate_xml(tmp_path / "a.xml")), *columns)
    found = sk.from_trackmate(spots, edges=edges)
    assert read(found, *columns) == expected
    with pytest.raises(ValueError, match=r"track 1 in .* has two spots in frame 2, so it splits"):
        sk.from_trackmate(spots)
    plain, _ = trackmate_csv(tmp_path, new=new, branches=False)
    tracks = sk.from_trackmate(plain)
    assert read(tracks, "particle", "frame") == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 2]]
    seconds = tracks.experiment.movies["frame_time_s"].tolist()
    assert seconds == [0.25] if new else np.isnan(seconds).all()
    assert ("y_nm" in tracks.columns) == new


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p, "there is no file"),
        (lambda p: p.write_text("<a><b></a>"), "is no whole XML file"),
        (lambda p: p.write_text("<a/>"), "is no file of TrackMate: it begins with <a>"),
        (lambda p: p.write_text("1,2,3"), "is no table of TrackMate: it needs the columns ['ID',"),
        (lambda p: p.write_text("<TrackMate><Model/></TrackMate>"), "holds no tracks; let TrackMate link"),
        (lambda p: p.write_text("<TrackMate><Spot ID='1'/></TrackMate>"), "is damaged: an element has no 'POSITION_Y'"),
        (lambda p: trackmate_xml(p, unit="parsec"), "gives places in 'parsec', which is no unit of length"),
        (lambda p: trackmate_xml(p, edges={0: [(10, 99)]}), "an edge joins the spots 10 and 99, which are not both there"),
        (lambda p: trackmate_xml(p, edges={0: [(10, 20)]}), "an edge joins two spots of frame 0"),
        (lambda p: trackmate_xml(p, head='<!DOCTYPE a [<!ENTITY b "c">]>'), "the XML defines entities"),
        (lambda p: trackmate_xml(p, end="<Spot"), "is no whole XML file"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_trackmate_is_refused(tmp_path, make, said):
    path = tmp_path / "x"
    make(path)
    with pytest.raises(ValueError, match=re.escape(said)):
        sk.from_trackmate(path)


@given(st.integers(1, 12), st.data())
def test_a_line_has_one_spot_a_frame_and_every_edge_without_a_branch_stays(n, data):
    frame = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    pairs = [(a, b) for a in range(n) for b in range(n) if frame[a] < frame[b]]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    source, target = np.array(chosen, int).reshape(-1, 2).T
    line = lines_of(n, source, target, frame)
    assert len(set(zip(line.tolist(), frame.tolist(), strict=True))) == n
    for a, b in chosen:
        alone = sum(s == a for s, _ in chosen) == 1 == sum(t == b for _, t in chosen)
        assert (line[a] == line[b]) or not alone
    np.testing.assert_array_equal(lines_of(n, target, source, frame), line)


# --- ours as theirs


@pytest.fixture(scope="module")
def tracks():
    """Tracks of three classes with gaps and rows without a class."""
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {"particle": np.repeat(np.arange(6), 15), "frame": np.tile(np.arange(15), 6)}
    )
    rows = rows.assign(
        movie="m", class_id=rng.choice([-1, 0, 4, 9], len(rows), p=[0.05, 0.35, 0.3, 0.3])
    )
    rows = rows.assign(y=rng.normal(50, 1, len(rows)), x=rng.normal(50, 1, len(rows)))
    rows = rows[rng.random(len(rows)) > 0.1]
    return sk.from_table(rows, pixel_size_nm=0.03, frame_time_s=2.25)


def test_deeptime_counts_what_we_count(tracks):
    from deeptime.markov import TransitionCountEstimator

    dtrajs, class_ids = sk.to_deeptime(tracks)
    theirs = TransitionCountEstimator(1, "sliding").fit(dtrajs).fetch_model().count_matrix
    ours = sk.transitions(tracks).table.pivot(index="from_id", columns="to_id", values="count")
    np.testing.assert_array_equal(ours.loc[class_ids, class_ids], theirs)
    assert sum(map(len, dtrajs)) == int((tracks["class_id"] != -1).sum().compute())
    assert dtrajs[0].dtype == np.int32


def test_class_numbers_of_any_size_are_states_of_deeptime_from_0_on():
    rows = pd.DataFrame({"particle": 1, "frame": [0, 1], "class_id": [0, 32_000]})
    dtrajs, class_ids = sk.to_deeptime(rows)
    assert ([d.tolist() for d in dtrajs], class_ids.tolist()) == ([[0, 1]], [0, 32_000])
    none, _ = sk.to_deeptime(rows.assign(class_id=-1))
    assert none == []
    with pytest.raises(ValueError, match="particle 1 is twice in frame 0"):
        sk.to_deeptime(rows.assign(frame=0))


def test_napari_gets_tracks_with_properties_to_colour_them_by(tracks):
    data, words = sk.to_napari(tracks)
    assert data.shape == (len(tracks), 4)
    assert set(words["properties"]) == {"particle", "class_id", "y_nm", "x_nm"}
    assert all(len(column) == len(data) for column in words["properties"].values())
    assert (np.diff(data[:, 0]) >= 0).all()


def test_xarray_gets_whole_tracks_behind_each_other(tracks):
    pytest.importorskip("xarray")
    found = sk.to_xarray(tracks)
    assert int(found["row_size"].sum()) == found.sizes["row"] == len(tracks)
    assert found["y_nm"].attrs["units"] == "nm"
    pieces = np.split(found["frame"].to_numpy(), np.cumsum(found["row_size"].to_numpy())[:-1])
    assert all((np.diff(piece) > 0).all() for piece in pieces)


def test_a_geff_is_one_for_its_own_library(tracks, tmp_path):
    import zarr

    path = sk.to_geff(tracks, tmp_path / "tracks.geff")
    group = zarr.open_group(path, mode="r")
    n, n_tracks = len(tracks), 6
    assert group["edges/ids"].shape == (n - n_tracks, 2)
    about = group.attrs["geff"]
    assert [axis["name"] for axis in about["axes"]] == ["t", "y", "x"]
    assert about["axes"][1]["scale"] == 0.03
    geff = pytest.importorskip("geff")
    from geff.core_io import read_to_memory
    from geff.validate.data import ValidationConfig, validate_data

    geff.validate_structure(path)
    memory = read_to_memory(path)
    validate_data(memory, ValidationConfig(graph=True, tracklet=True))
    with pytest.raises(ValueError, match=r"there is something at .* already; pass overwrite=True"):
        sk.to_geff(tracks, path)
    sk.to_geff(tracks, path, overwrite=True)


TO = {"to_trackpy": (), "to_napari": (), "to_geff": ("path",)}


@pytest.mark.parametrize("verb", TO)
def test_what_shows_one_movie_refuses_two(verb, tracks, tmp_path):
    two = pd.concat([tracks.compute(), tracks.compute().assign(movie="n")])
    where = [tmp_path / "x"] if TO[verb] else []
    with pytest.raises(
        ValueError, match=r"takes the tracks of one movie, but these are of \['m', 'n'\]"
    ):
        getattr(sk, verb)(two, *where)
    with pytest.raises(
        ValueError, match=r"these tracks need the columns \['particle'\], but they have"
    ):
        getattr(sk, verb)(two.drop(columns="particle"), *where)


def test_a_table_of_trackmate_with_lines_cut_short_is_one_sentence(tmp_path):
    spots, _ = trackmate_csv(tmp_path)
    lines = spots.read_text().splitlines()
    for number in (1, 2, 3):
        broken = [*lines[:number], lines[number][:3], *lines[number + 1 :]]
        (tmp_path / "broken.csv").write_text("\n".join(broken))
        with pytest.raises(ValueError, match=rf"damaged: line {number + 1} has \d columns"):
            sk.from_trackmate(tmp_path / "broken.csv")
    (tmp_path / "long.csv").write_text("ID,FRAME,POSITION_X,POSITION_Y\n" + "9" * 200_000)
    with pytest.raises(ValueError, match="is no CSV file: field larger than field limit"):
        sk.from_trackmate(tmp_path / "long.csv")


def test_an_xml_file_in_an_encoding_that_nobody_knows_is_one_sentence(tmp_path):
    (tmp_path / "a.xml").write_text('<?xml version="1.0" encoding="UDF-8"?><TrackMate/>')
    with pytest.raises(ValueError, match=r"a.xml is damaged: unknown encoding: UDF-8"):
        sk.from_trackmate(tmp_path / "a.xml")

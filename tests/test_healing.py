"""Results that heal: whatever becomes of a file of a finished folder, the run's own command makes
it again, byte for byte, and says so."""

import io
import json
import os
import random
import shutil

import numpy as np
import pytest
from bench_hostile import Hostile, judged
from chaos.rot import DAMAGES, Fault, contents, kinds_of_files, mended

import stemkin as sk
from stemkin import pipeline
from stemkin.config import RunConfig
from stemkin.errors import DamagedFileError
from stemkin.pipeline import completion
from stemkin.pipeline.checking import check_results
from stemkin.pipeline.rebuilding import cut_of
from stemkin.progress import Unwatched
from stemkin.readers.errors import ChangedMovieError
from stemkin.readers.watched import watched
from stemkin.results.dependence import FOLLOWS_FROM, PIXELS, needs_pixels
from stemkin.results.store import BLOCK_TABLES, FolderError, Store
from stemkin.seals import check_npz, sealed_json, sealed_npz, unsealed_json, unsealed_npz
from stemkin.simulation import simulate_movie
from tests.strategies import FEW_NUMBERS

CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 2},
    detect={"frames_per_block": 2},
    kinetics=FEW_NUMBERS,
)


def write_movies(folder, seed):
    folder.mkdir(exist_ok=True)
    for number in (0, 1):
        movie = simulate_movie("paper", n_frames=4, shape=(96, 96), seed=seed + number)
        np.save(folder / f"movie {number}.npy", movie.reader.read(0, 4))
    return folder


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    return write_movies(tmp_path_factory.mktemp("movies"), 0)


@pytest.fixture(scope="module")
def calm(movies, tmp_path_factory):
    """A finished folder, which every test damages a copy of."""
    out = tmp_path_factory.mktemp("calm") / "results"
    assert run(movies, out).exit_code == 0
    return out


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The folder of another run, with files of the same names."""
    movies = write_movies(tmp_path_factory.mktemp("others"), 7)
    out = tmp_path_factory.mktemp("other") / "results"
    assert run(movies, out).exit_code == 0
    return out


def run(movies, out, **words):
    return sk.run(movies, out, config=CONFIG, **{"until": "kinetics", **words})


def journal(results):
    return json.loads((results / "run.json").read_text())


def copied(calm, place):
    shutil.copytree(calm, place)
    return place


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_of_every_kind_is_made_again_by_the_same_command(
    movies, calm, other, tmp_path, damage
):
    """All kinds at once: what is damaged in one place must not hide what is in another."""
    place, struck = copied(calm, tmp_path / "results"), []
    for kind, files in kinds_of_files(calm).items():
        # of a block that is searched again the maps are written again, and not looked at before
        file = files[0] if kind == "maps" else files[len(files) // 2]
        if file == "run.json" and damage in ("of another run", "gone"):
            continue  # a whole label of another run, and a folder without any, are refused: below
        if Fault(file, damage, at=0.6).strike(place, other):
            struck.append(file)
    assert len(struck) > 8, struck
    damaged = {file: (place / file).read_bytes() for file in struck if (place / file).exists()}
    assert run(movies, place).exit_code == 0
    assert contents(place) == contents(calm)
    said = journal(place)
    assert any("made again" in warning for warning in said["warnings"])
    named = {note["file"] for note in said["mended"]}
    if damage not in ("gone", "of another run"):
        missed = {file for file in struck if not _is_named(file, named)}
        assert not missed
    kept = kept_copies(place)
    lost = [file for file in named & damaged.keys() if damaged[file] not in kept.get(file, [])]
    assert not lost, "what was damaged is set aside as it was"


def kept_copies(place):
    """The bytes of each file that was set aside, under its own path."""
    kept = {}
    for path in (place / "quarantine").rglob("*"):
        stamp, *file = path.relative_to(place / "quarantine").parts
        if path.is_file() and stamp != "notes":
            kept.setdefault("/".join(file), []).append(path.read_bytes())
    return kept


def _is_named(file, named):
    """A model's files are set aside together, and so is what is asked of a Zarr array."""
    return file in named or any(one.startswith(file.rsplit("/", 1)[0] + "/") for one in named)


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d != "of another run"])
def test_a_damaged_run_json_costs_no_pixel(movies, calm, other, tmp_path, damage):
    row = mended(calm, tmp_path / "r", Fault("run.json", damage), other, lambda p: run(movies, p))
    assert row["equal"], row
    assert row["named"], row
    blocks = journal(tmp_path / "r")["blocks"]
    assert blocks["reused"] == blocks["total"] == 4


def test_a_run_json_of_another_run_is_refused_in_one_sentence(movies, calm, other, tmp_path):
    place = copied(calm, tmp_path / "results")
    shutil.copy(other / "run.json", place)
    with pytest.raises(FolderError, match="belongs to another run"):
        run(movies, place)


def test_a_damaged_run_json_beside_the_tables_of_other_movies_is_refused(calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    (place / "run.json").write_text("{")
    strange = tmp_path / "strange"
    strange.mkdir()
    np.save(strange / "strange.npy", np.zeros((2, 96, 96), np.uint8))
    with pytest.raises(FolderError, match="its tables are of other movies"):
        run(strange, place)


def test_a_crystal_that_is_lost_is_made_again_and_named(movies, calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    (place / "crystals" / "movie 1.json").unlink()
    assert run(movies, place, until="link").exit_code == 0
    assert [note["file"] for note in journal(place)["mended"]] == ["crystals/movie 1.json"]
    assert contents(place) == contents(calm)
    fresh = tmp_path / "fresh"
    assert run(movies, fresh, until="detect", model=calm / "model").exit_code == 0
    assert journal(fresh)["mended"] == [], "one that was never there is not lost"


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_made_of_json_is_rebuilt_from_what_blocks_say(movies, calm, tmp_path, how):
    place = copied(calm, tmp_path / "results")
    before = (place / "model" / "made_of.json").read_bytes()
    if how == "gone":
        (place / "model" / "made_of.json").unlink()
    else:
        (place / "model" / "made_of.json").write_text("no label")
    assert run(movies, place).exit_code == 0
    said = journal(place)
    assert [note["file"] for note in said["mended"]] == ["model/made_of.json"]
    assert said["stages"]["learn"]["reused"], "nothing had to be learned again"
    assert said["blocks"]["reused"] == 4
    assert unsealed_json((place / "model" / "made_of.json").read_bytes(), "") == (
        unsealed_json(before, "") | {"warnings": []}
    )


def test_a_model_edited_by_hand_is_said_and_mixes_no_blocks(movies, calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    file = place / "model" / "model.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"outlier_limit": 0.5}))
    with pytest.raises(FolderError, match=r"changed by hand, or damaged.*stemkin run .* -o"):
        pipeline.resume(
            place,
            stages=("link", "kinetics"),
            config=CONFIG.with_values(kinetics={"lag_frames": 2}),
        )
    assert run(movies, place).exit_code == 0
    assert contents(place) == contents(calm)
    assert any("changed by hand" in w for w in journal(place)["warnings"])


def test_tables_after_the_pixels_heal_without_a_movie(calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    for table in ("frames", "tracks", "regions"):
        sorted((place / table / "movie 1").iterdir())[-1].unlink()
    (place / "msd.parquet").write_bytes(b"")
    assert pipeline.resume(place, stages=("link", "kinetics")).exit_code == 0
    assert contents(place) == contents(calm)


def test_rows_of_pixels_that_rot_name_the_command_that_reads_pixels(calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    file = sorted((place / "detections" / "movie 0").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-20])
    shutil.rmtree(place / "tracks")
    with pytest.raises(FolderError, match=r"is damaged \(.*only the movies hold .*`stemkin run"):
        pipeline.resume(place, stages=("link",))


def test_a_reader_of_results_refuses_what_rotted(calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    file = place / "populations.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)
    with pytest.raises(
        DamagedFileError, match=r"populations.parquet is damaged \(its (content|footer)"
    ):
        sk.read_table(place, "populations")


# --- what depends on what


def test_every_part_of_a_folder_stands_in_the_table_of_dependence(calm):
    parts = {path.name.removesuffix(".parquet") for path in calm.iterdir() if path.is_dir()}
    told = set(FOLLOWS_FROM) | {"gallery", "quarantine", "so_far"}
    assert parts <= told
    assert set(BLOCK_TABLES) <= set(FOLLOWS_FROM)
    assert {one for needs in FOLLOWS_FROM.values() for one in needs} <= {*FOLLOWS_FROM, PIXELS}
    assert needs_pixels("detections/a/0-1.parquet")
    assert not needs_pixels("tracks/a/0-1.parquet")


def test_the_cut_of_a_folder_is_told_by_its_files(movies, tmp_path):
    found = pipeline.open_inputs(movies, CONFIG)
    store = Store.at(tmp_path)
    for movie in found.movies:
        for start, stop in movie.block_edges(block_mib=0.0264):
            store.write_bytes(b"x", "steps", movie.name, f"{start:09d}-{stop:09d}.parquet")
    mib = cut_of(store, found.movies)
    for movie in found.movies:
        assert movie.block_edges(block_mib=mib) == movie.block_edges(block_mib=0.0264)


def test_no_bit_that_flips_in_a_json_file_goes_unseen():
    content = sealed_json({"movies": [{"pixel_size_nm": 0.03}], "blocks": {"mib": 0.5}})
    for bit in range(8 * len(content)):
        broken = bytearray(content)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedFileError):
            unsealed_json(bytes(broken), "run.json")
    assert unsealed_json(sealed_json({}), "") == {}


def test_no_bit_that_flips_in_a_picture_goes_unseen_and_numpy_reads_it():
    frame = np.arange(12.0).reshape(3, 4)
    content = sealed_npz({"frame": frame, "number": 3})
    assert np.array_equal(unsealed_npz(content, "")["frame"], frame)
    with np.load(io.BytesIO(content)) as stored:
        assert int(stored["number"]) == 3
    for bit in range(8 * len(content)):
        broken = bytearray(content)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedFileError):
            check_npz(bytes(broken), "gallery/a.npz")
    for cut in (b"", content[:-1], content[:50], content + b"\0"):
        with pytest.raises(DamagedFileError):
            check_npz(cut, "gallery/a.npz")


# --- movies that change while they are read


class Striking(Unwatched):
    """Calls `strike` once, after so many blocks."""

    def __init__(self, strike, after=1, stage="detect"):
        self.strike, self.left, self.when, self.name = strike, after, stage, ""

    def stage(self, name, total):
        self.name = name

    def advance(self, steps=1, note=""):
        if self.name == self.when:
            self.left -= 1
            if self.left == 0:
                self.strike()


def put_in_place(file, of):
    """Another movie with the same size and time."""
    before, new = file.stat(), file.with_name("new")
    shutil.copy(of, new)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(new, file)


def write_over(file, of):
    before = file.stat()
    with file.open("r+b") as there:
        there.write(of.read_bytes())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "another file was put in its place": put_in_place,
    "the time of its last writing set back": write_over,
    "bytes in place of": lambda file, of: os.truncate(file, 9000),
    "and is gone": lambda file, of: file.unlink(),
}


@pytest.mark.parametrize("said", CHANGES)
def test_a_movie_that_changes_while_it_is_searched_fails_and_the_others_go_on(
    movies, calm, tmp_path, said
):
    mine = tmp_path / "movies"
    shutil.copytree(movies, mine)
    strike = lambda: CHANGES[said](mine / "movie 1.npy", movies / "movie 0.npy")  # noqa: E731
    outcome = run(mine, tmp_path / "r", until="link", model=calm / "model", watch=Striking(strike))
    assert outcome.exit_code == 3
    assert len(outcome.problems) == 1
    assert said in outcome.problems[0]
    assert {p.name for p in (tmp_path / "r" / "tracks").iterdir()} == {"movie 0"}
    failed = [m for m in journal(tmp_path / "r")["movies"] if m["status"] == "failed"]
    assert [m["movie"] for m in failed] == ["movie 1"]


def test_a_movie_that_grows_is_finished_and_that_is_said(movies, calm, tmp_path):
    mine = tmp_path / "movies"
    shutil.copytree(movies, mine)

    def grow():
        with (mine / "movie 1.npy").open("ab") as file:
            file.write(b"more")

    outcome = run(mine, tmp_path / "r", until="link", model=calm / "model", watch=Striking(grow))
    assert outcome.exit_code == 0
    assert any("movie 1 has grown" in w for w in journal(tmp_path / "r")["warnings"])
    for table in ("tracks", "detections"):
        mine_rows = {p.name for p in (tmp_path / "r" / table / "movie 1").iterdir()}
        assert mine_rows == {p.name for p in (calm / table / "movie 1").iterdir()}


def test_every_movie_gone_ends_the_run_with_3_and_the_reasons(movies, calm, tmp_path):
    mine = tmp_path / "movies"
    shutil.copytree(movies, mine)
    strike = lambda: [file.unlink() for file in mine.iterdir()]  # noqa: E731
    outcome = run(mine, tmp_path / "r", model=calm / "model", watch=Striking(strike, 2, "crystals"))
    assert outcome.exit_code == 3
    assert len(outcome.problems) == 2
    assert journal(tmp_path / "r")["exit_code"] == 3


def test_a_reader_hands_on_no_frame_of_another_movie(movies, tmp_path):
    file = tmp_path / "a.npy"
    shutil.copy(movies / "movie 0.npy", file)
    reader = watched(sk.open_movie(file).reader)
    before = reader.identity
    assert np.array_equal(reader.read(0, 1), np.load(file)[:1])
    put_in_place(file, movies / "movie 1.npy")
    with pytest.raises(ChangedMovieError, match="another file was put in its place"):
        reader.read(0, 1)
    assert reader.identity == before
    memory = sk.simulate_movie("paper", n_frames=1, shape=(32, 32)).reader
    assert watched(memory) is memory


def test_an_object_that_is_written_again_is_another_movie(movies):
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe_file("/heal/a.npy", (movies / "movie 0.npy").read_bytes())
    reader = watched(sk.open_movie("memory://heal/a.npy").reader)
    assert np.array_equal(reader.read(0, 1), np.load(movies / "movie 0.npy")[:1])
    store.pipe_file("/heal/a.npy", (movies / "movie 1.npy").read_bytes())
    with pytest.raises(ChangedMovieError, match="the store says that it was written again"):
        reader.read(0, 1)


def test_a_movie_without_a_usable_frame_ends_the_run_with_3_and_says_why(calm, movies, tmp_path):
    mine = tmp_path / "movies"
    shutil.copytree(movies, mine)
    np.save(mine / "blank.npy", np.zeros((4, 96, 96), np.uint8))
    outcome = run(mine, tmp_path / "r", until="link", model=calm / "model")
    assert outcome.exit_code == 3
    assert outcome.problems == [
        "blank: none of its 4 frames can be used (4 blank); look at the movie, and at how it was "
        "recorded and converted"
    ]


def test_numbers_so_far_are_bounded_in_movies(calm):
    store = Store.at(calm)
    from stemkin.results.journal import Journal

    known = Journal.read(store)
    [listed] = known.content["movies"][:1]
    names = [f"m{i}" for i in range(200)]
    known.content["movies"] = [{**listed, "movie": name} for name in names]
    going = completion.Completions(store, known, CONFIG)
    going._last -= 2 * completion.SO_FAR_EVERY_S
    asked = []
    for name in names[:-1]:
        going.linked[name] = completion.LinkSummary(name, 1, 1, False, None)
        if going._numbers_so_far():
            asked.append(len(going.linked))
            going._last -= 2 * completion.SO_FAR_EVERY_S
    assert asked == [1, 2, 4, 8, 16, 32]


# --- stemkin check


def test_a_whole_folder_is_checked_and_left_as_it_is(calm):
    before = {p: p.read_bytes() for p in calm.rglob("*") if p.is_file()}
    outcome = check_results(calm)
    assert outcome.exit_code == 0
    assert outcome.damages == []
    assert outcome.n_files > 40
    assert {p: p.read_bytes() for p in calm.rglob("*") if p.is_file()} == before
    assert "all of them whole" in outcome.describe()


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_names_every_damaged_file(calm, other, tmp_path, damage):
    place, struck = copied(calm, tmp_path / "results"), set()
    for number, (kind, files) in enumerate(kinds_of_files(calm).items()):
        file = files[number % len(files)]
        if kind.startswith("maps"):  # a chunk is told by its array, and by its block
            file = files[-1] if "zarr.json" in kind else files[0]
        alike = kind in ("run.json", "crystals", "phases", "gallery", "headers.json")
        # sums of other tracks are no sums of these, by their fingerprint, and are made again
        alike = alike or file.endswith("zarr.json") or kind.startswith("sums")
        if damage == "of another run" and (alike or "model" in kind):
            continue  # whole, and nothing in the folder contradicts it: the run itself tells
        if kind != "phases" and Fault(file, damage, at=0.7).strike(place, other):
            struck.add(file)
    found = check_results(place)
    assert found.exit_code == 3
    named = {one.file for one in found.damages}
    if damage == "gone":  # what is remembered for speed alone
        struck = {file for file in struck if not file.startswith(("headers.json", "sums/"))}
    if damage == "gone":  # what was to be there stands in run.json, and that is gone too
        (place / "run.json").write_bytes((calm / "run.json").read_bytes())
        named |= {one.file for one in check_results(place).damages}
    missed = {file for file in struck if not _is_named(file, named)}
    assert not missed, named
    assert "damaged: " in found.describe()


def test_check_mends_what_needs_no_pixel_and_names_the_command_for_the_rest(movies, calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    tracks = sorted((place / "tracks" / "movie 0").iterdir())[0]
    tracks.write_bytes(tracks.read_bytes()[:-9])
    (place / "msd.parquet").unlink()
    outcome = check_results(place, mend=True)
    assert outcome.exit_code == 0, outcome.describe()
    assert {one.file for one in outcome.damages} == {
        "msd.parquet",
        tracks.relative_to(place).as_posix(),
    }
    assert contents(place) == contents(calm)
    rows = sorted((place / "steps" / "movie 1").iterdir())[1]
    rows.unlink()
    outcome = check_results(place, mend=True)
    assert outcome.exit_code == 3
    assert f"stemkin run {movies} -o {place}" in outcome.describe()
    assert run(movies, place).exit_code == 0
    assert contents(place) == contents(calm)
    assert check_results(place).exit_code == 0


def test_the_report_and_its_figures_are_checked_and_written_again(calm, tmp_path):
    place = copied(calm, tmp_path / "results")
    assert pipeline.resume(place, stages=("report",)).exit_code == 0
    assert check_results(place).damages == []
    figure = sorted((place / "report" / "figures").iterdir())[0]
    figure.write_bytes(figure.read_bytes()[:-1])
    page = (place / "report.html").read_text()
    (place / "report.html").write_text(page.replace("0", "1", 1))
    (place / "report" / "tables" / "msd.csv").unlink()
    outcome = check_results(place, mend=True)
    assert {one.file for one in outcome.damages} == {
        "report.html",
        "report/tables/msd.csv",
        figure.relative_to(place).as_posix(),
    }
    assert outcome.exit_code == 0
    assert check_results(place).damages == []


@pytest.mark.filterwarnings("ignore")
def test_hostile_files_are_refused_in_one_line_or_say_what_they_said(calm, tmp_path):
    """A small version of ``benchmarks/bench_hostile.py``; movies are in `test_fuzz_readers`."""
    hostile = Hostile(tmp_path, calm)
    families = ("results", "manifest", "settings", "model", "headers", "table")
    for number in range(150):
        family = families[number % len(families)]
        what, work = hostile.strike(family, random.Random(number))
        verdict, said = judged(work)
        assert verdict in ("opened", "refused"), (number, what, said)


def test_check_refuses_what_is_no_results_folder(tmp_path):
    with pytest.raises(FolderError, match="is no results folder"):
        check_results(tmp_path)

"""The report tells what a results folder holds, says why a part is empty, and lets no name from
outside become HTML."""

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stemkin import tables
from stemkin.kinetics.creation import NM2_IN_BARN, cross_section
from stemkin.names import folder_name
from stemkin.order import histories
from stemkin.plot import images, palette, summaries
from stemkin.plot.palette import light_colours
from stemkin.report import report_page, write_report
from stemkin.report.intervals import AxisScale, scale_for
from stemkin.report.palette import ROLES
from stemkin.report.result_files import NULL_TABLES, TABLES, read_results
from stemkin.report.words import Quantity
from stemkin.results.store import Block, Store
from stemkin.seals import sealed_npz
from stemkin.structures import described, neighbourhood_sums

NAMES = {0: "Mo_W", 1: "Mo_W+V_S", 2: "V_S", 3: "V_S2"}
P = np.array(
    [
        [0.93, 0.05, 0.015, 0.005],
        [0.07, 0.9, 0.02, 0.01],
        [0.02, 0.03, 0.94, 0.01],
        [0.01, 0.02, 0.05, 0.92],
    ]
)
HOSTILE = (
    '<script>document.title="owned"</script><img src=x onerror=document.title="owned">"\'&$\\frac{'
)


def make_results(folder, *, movies=("stack 1", "stack 2", "stack 3"), n_frames=100, seed=0):
    """Write a results folder such as a run leaves, with known numbers, and return its Store."""
    rng, store = np.random.default_rng(seed), Store.at(folder)
    store.write_json(run_record(movies, n_frames), "run.json")
    for i, movie in enumerate(movies):
        frames = frames_table(movie, n_frames, rng, bad=i == 1)
        for start in range(0, n_frames, 40):
            stop = min(start + 40, n_frames)
            store.write_block("frames", Block(movie, start, stop), frames[start:stop], "x")
    for name, rows in small_tables(movies, n_frames, rng).items():
        store.write_table(rows, "x", f"{name}.parquet")
    for movie in movies[:2]:
        write_picture(store, movie, rng)
    epochs = list(range(1, 21))
    curve = {
        "epoch": epochs,
        "loss": [0.5 * 0.8**e + 0.02 for e in epochs],
        "validation": [0.5 * 0.8**e + 0.03 for e in epochs],
    }
    store.write_json(
        {"version": 1, "detector": "FourierDetector", "training": {"curve": curve}},
        "model",
        "model.json",
    )
    return store


def run_record(movies, n_frames):
    calibrated = {
        "height_px": 256,
        "width_px": 256,
        "pixel_size_nm": 0.03,
        "frame_time_s": 2.25,
        "dose_rate_e_per_nm2_s": 1.2e5,
    }
    listed = [
        {
            "movie": m,
            "n_frames": n_frames,
            **calibrated,
            "source": f"/data/{m}.zarr",
            "status": "ok",
            "reason": "",
        }
        for m in movies
    ]
    listed.append(
        {
            "movie": "broken.tif",
            "source": "/data/broken.tif",
            "status": "failed",
            "reason": "the file is empty",
        }
    )
    return {
        "version": "0.1.0", "created": "2026-11-23T20:58:05+00:00", "finished": "2026-11-23T21:04:41+00:00",
        "command": "stemkin run /data -o results", "inputs": ["/data"],
        "config": {"calibration": {"pixel_size_nm": None}, "link": {"max_step_nm": 0.4, "max_gap_frames": 2},
                   "kinetics": {"lag_frames": 1, "diffusion_methods": ["cve", "mle"], "null_controls": True}},
        "machine": {"system": "Linux", "python": "3.11.7", "cores": 2, "memory_gib": 23.5},
        "movies": listed,
        "stages": {"learn": {"status": "done", "seconds": 31.2, "reused": False}, "detect": {"status": "done", "seconds": 284.0},
                   "link": {"status": "done", "seconds": 12.3}, "kinetics": {"status": "done", "seconds": 0.42}},
        "blocks": {"total": 9, "done": 8, "reused": 0, "failed": [{"movie": movies[0], "start": 40, "stop": 80, "error": "Traceback\nValueError: bad block"}]},
        "warnings": ["the shift of 3 frames of stack 2 is ambiguous"], "exit_code": 3,
    }  # fmt: skip


def frames_table(movie, n_frames, rng, *, bad=False):
    frame = np.arange(n_frames)
    status = np.full(n_frames, "ok", dtype=object)
    if bad:
        status[20:26], status[70:71], status[90:92] = "blank", "saturated", "corrupt"
    ordered = 0.97 - 0.3 * (frame / n_frames) ** 2
    vacuum = 0.2 * np.clip(frame / n_frames - 0.5, 0, None)
    return tables.conform(
        {
            "movie": movie, "frame": frame, "time_s": 2.25 * frame, "status": status,
            "shift_y": np.cumsum(rng.normal(0.1, 0.3, n_frames)), "shift_x": np.cumsum(rng.normal(-0.15, 0.3, n_frames)),
            "shift_quality": np.ones(n_frames), "n_detections": np.full(n_frames, 61),
            "ordered": ordered, "vacuum": vacuum, "disordered": 1 - ordered - vacuum,
        },
        "frames",
    )  # fmt: skip


def small_tables(movies, n_frames, rng):
    counts = {
        (i, j): round(P[i, j] * n) for i, n in enumerate((5200, 3100, 1900, 420)) for j in range(4)
    }
    found = {
        "classes": pd.DataFrame({
            "class_id": np.arange(4, dtype=np.int16), "name": list(NAMES.values()), "n_detections": [5400, 3300, 2100, 450],
            "mean_patch": [patch(i).tolist() for i in range(4)]}),
        "populations": tables.conform(pd.DataFrame([
            (m, f, 2.25 * f, i, rng.poisson(mean * (1 + slope * f / n_frames)))
            for m in movies for f in range(n_frames) for i, (mean, slope) in enumerate(((26, -0.5), (16, 0.1), (9, 1.2), (1.2, 3.0)))],
            columns=list(tables.COLUMNS["populations"])), "populations"),
        "transitions": transition_table(counts),
        "msd": msd_table(),
        "diffusion": diffusion_table(movies, rng),
        "dwell_times": pd.concat([dwell_row(i, k, t) for i, (k, t) in enumerate(((360, 11700), (310, 6975), (114, 4275), (33, 945)))]),
    }  # fmt: skip
    static = {
        (i, j): round(n * (0.85 * (i == j) + 0.05 * (i != j)))
        for i, n in enumerate((520, 310, 190, 42))
        for j in range(4)
    }
    null_diffusion = found["diffusion"].assign(D_nm2_per_s=1e-5, low=-4e-5, high=6e-5)
    return found | {"null_transitions": transition_table(static), "null_diffusion": null_diffusion}


def patch(i):
    y, x = np.mgrid[-8:9, -8:9] * 0.03
    lattice = sum(
        np.exp(-((y - a * 0.315) ** 2 + (x - b * 0.273) ** 2) / 0.008)
        for a in (-1, 0, 1)
        for b in (-1, 0, 1)
    )
    return (
        lattice * 0.7
        + 0.3
        - (0.5, 0.35, 0.6, 0.8)[i] * np.exp(-((y - 0.05 * i) ** 2 + x**2) / 0.006)
    )


def transition_table(counts):
    rows = []
    for (i, j), n in counts.items():
        total = sum(c for (a, _), c in counts.items() if a == i)
        p, e = n / total, 1.96 * np.sqrt(n * (total - n) / total**3)
        rate = np.nan if i == j else p / 2.25
        rows.append(
            (
                tables.POOLED,
                1,
                i,
                j,
                n,
                p,
                p - e,
                p + e,
                rate,
                (p - e) / 2.25,
                (p + e) / 2.25,
                "likelihood",
            )
        )
    return tables.conform(
        pd.DataFrame(rows, columns=list(tables.COLUMNS["transitions"])), "transitions"
    )


def msd_table():
    lag = np.arange(1, 11)
    return tables.conform(pd.concat([
        pd.DataFrame({"movie": tables.POOLED, "class_id": i, "lag_frames": lag, "lag_s": 2.25 * lag, "n": 4000 // lag, "n_independent": 1500 // lag,
                      "msd_nm2": 4 * D * 2.25 * lag + 4 * 0.012**2, "std_error": 0.05 * (4 * D * 2.25 * lag + 4 * 0.012**2) * np.sqrt(lag)})
        for i, D in ((0, 2.1e-5), (1, 3.6e-5), (2, 8.6e-4))]), "msd")  # fmt: skip


def diffusion_table(movies, rng):
    rows = []
    for movie in (tables.POOLED, *movies):
        wide = 1 if movie == tables.POOLED else 1.8
        for i, D, e in ((0, 2.1e-5, 0.9e-5), (1, 3.6e-5, 1.2e-5), (2, 8.6e-4, 0.7e-4)):
            for method in ("cve", "mle"):
                value = D + (wide - 1) * e * rng.normal()
                rows.append(
                    (
                        movie,
                        i,
                        method,
                        value,
                        value - wide * e,
                        value + wide * e,
                        0.012,
                        0.97,
                        320,
                        4300,
                    )
                )
    return tables.conform(
        pd.DataFrame(rows, columns=list(tables.COLUMNS["diffusion"])[:10]), "diffusion"
    )


def dwell_row(class_id, exits, time_s):
    rate, e = exits / time_s, 1.96 * np.sqrt(exits) / time_s
    row = (tables.POOLED, class_id, exits, time_s, rate, rate - e, rate + e, 1 / rate, 40, 25)
    return tables.conform(
        pd.DataFrame([row], columns=list(tables.COLUMNS["dwell_times"])), "dwell_times"
    )


def write_picture(store, movie, rng, n=60, edge=256):
    y, x = np.mgrid[:edge, :edge]
    k = 2 * np.pi / 10.5
    frame = 20 + 5 * (
        np.cos(k * x) + np.cos(k * (x / 2 + y * 0.866)) + np.cos(k * (x / 2 - y * 0.866))
    )
    points = rng.uniform(4, edge - 4, (n, 2))
    for py, px in points:
        frame -= 12 * np.exp(-((y - py) ** 2 + (x - px) ** 2) / 8)
    content = {"frame": rng.poisson(np.clip(frame, 1, None)).astype("f4"), "frame_number": 50, "y": points[:, 0], "x": points[:, 1],
               "class_id": rng.integers(-1, 4, n), "score": rng.uniform(5, 14, n)}  # fmt: skip
    store.write_bytes(sealed_npz(content), "gallery", f"{folder_name(movie)}.npz")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(store):
    return report_page(read_results(store))


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """A results folder of one short movie."""
    return make_results(tmp_path_factory.mktemp("unharmed"), movies=("only",), n_frames=6)


@pytest.fixture
def small(unharmed, tmp_path):
    """A copy of a results folder of one short movie, to be damaged."""
    return Store.at(shutil.copytree(unharmed.root, tmp_path / "small"))


class Reader(HTMLParser):
    """Collects what a browser would see: elements with their attributes, and the text outside
    styles and scripts."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.words, self._inside = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("style", "script"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in ("style", "script"):
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def own_scripts_alone(elements):
    """Tell whether a page has its own script and data, and no other script."""
    scripts = [attrs for tag, attrs in elements if tag == "script"]
    data = {"type": "application/json"}
    return scripts.count({}) == 1 and all(not s or s.items() >= data.items() for s in scripts)


# --- what it says
# ----------------------------------------------------------------------------------------------


def test_the_first_numbers_are_diffusion_and_rates_with_their_intervals_and_controls(page):
    text = Reader(page).text
    assert "8.60 × 10 −4 nm²/s" in text
    assert "7.90 to 9.30 × 10 −4 (95 %)" in text
    assert "null control: 0.10 (−0.40 to 0.60) × 10 −4" in text
    assert "0.0222 per s 0.0196 to 0.0249 (95 %) 260 changes counted" in text
    assert text.index("8.60") < text.index("Detections on the recorded pixels")


def test_the_matrix_shows_probability_interval_and_count(page):
    assert "0.930 0.923 – 0.937 n = 4,836" in Reader(page).text


def test_merges_and_splits_are_counted_by_kind_beside_naming_errors(small):
    assert "Merging and splitting" not in Reader(report_page(read_results(small))).text
    kinds = [("merge", 2, 3, 2)] * 12 + [("split", 3, 2, 2)] * 7 + [("merge", 0, 1, 2)]
    rows = pd.DataFrame(kinds, columns=["event", "from_id", "to_id", "other_id"])
    rows = rows.assign(
        movie="only",
        **dict.fromkeys(("frame", "particle", "other", "y_nm", "x_nm", "distance_nm"), 0),
    )
    small.write_table(tables.conform(rows, "meetings"), "x", "meetings.parquet")
    assert "V S + V S → V S2 12 –" in Reader(report_page(read_results(small))).text
    small.write_table(tables.conform(rows[10:14], "meetings"), "x", "null_meetings.parquet")
    text = Reader(report_page(read_results(small))).text
    assert "V S + V S → V S2 12 2" in text
    assert "V S2 → V S + V S 7 2" in text
    assert "Mo W + V S → Mo W +V S 1 0" in text
    assert "20 times a track ended" in text


def test_what_failed_is_said_before_any_number(page):
    text = Reader(page).text
    assert "broken.tif was not analysed: the file is empty" in text
    assert "frames 40 to 79 of stack 1 failed: ValueError: bad block" in text
    assert text.index("broken.tif") < text.index("Diffusion coefficients")
    assert "the shift of 3 frames of stack 2 is ambiguous" in text


def test_every_warning_stands_in_a_red_box_before_any_number(page):
    seen = Reader(page)
    (box,) = [attrs for _, attrs in seen.elements if attrs.get("id") == "warnings"]
    assert (box["class"], box["role"]) == ("problems red", "alert")
    assert seen.text.index("3 frames of stack 2 is ambiguous") < seen.text.index("Diffusion coef")


def test_the_head_says_what_the_user_says_of_the_experiment(small):
    run = small.read_json("run.json")
    said = {
        "title": "V in <i>WS2</i>",
        "sample": "flake 7",
        "voltage_kv": 60.0,
        "temperature_k": 293,
    }
    run["config"]["report"] = said | {"operator": None, "notes": ""}
    small.write_json(run, "run.json")
    text = Reader(report_page(read_results(small))).text
    assert (
        "V in <i>WS2</i> sample flake 7 voltage 60.0 kV temperature 293 K looked at 1 movie" in text
    )


def test_provenance_names_version_inputs_settings_machine_and_times(page):
    text = Reader(page).text
    for said in ("0.1.0", "stemkin run /data -o results", "/data/stack 1.zarr", "256 × 256", "2.25", "max_step_nm 0.4",
                 "memory (GiB) 23.5", "4 min 44 s", "diffusion_methods cve, mle", "120,000"):  # fmt: skip
        assert said in text


def test_intervals_are_named_by_the_level_of_the_run(small):
    run = small.read_json("run.json")
    run["config"]["kinetics"]["confidence"] = 0.683
    small.write_json(run, "run.json")
    assert "(68.3 %)" in Reader(report_page(read_results(small))).text


def test_a_drawn_detection_lies_on_its_pixel_and_says_what_it_is(store, page):
    with np.load(io.BytesIO(store.read_bytes("gallery", "stack 1.npz"))) as kept:
        y, x, class_id, score = kept["y"][0], kept["x"][0], kept["class_id"][0], kept["score"][0]
    name = NAMES.get(int(class_id), "not named")
    place = f'transform="translate({round(float(x), 2)} {round(float(y), 2)})'
    assert f"<title>{name}, signal-to-noise {score:.1f}" in page[page.index(place) :][:300]
    assert 'viewBox="-0.5 -0.5 256 256"' in page, "pixel (0, 0) has its centre at (0, 0)"
    assert f'<rect x="0" y="0" width="{1 / 0.03}"' in page, "the scale bar of 1 nm is 33.3 px long"


# --- one file, alone, the same each time
# -----------------------------------------------------------------------


def test_the_file_holds_everything_it_shows(page):
    assert len(page) < 5e6
    seen = Reader(page).elements
    assert not [tag for tag, _ in seen if tag in ("link", "iframe", "object", "embed", "base")]
    assert own_scripts_alone(seen)
    addresses = [
        v
        for _, attrs in seen
        for k, v in attrs.items()
        if k in ("src", "href", "xlink:href", "action", "data")
    ]
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_every_reference_inside_the_page_has_its_one_target(page):
    ids = [attrs["id"] for _, attrs in Reader(page).elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert wanted <= set(ids)


def test_equal_results_give_equal_bytes(store):
    path = write_report(store.root)
    first = written_with(store)
    write_report(store.root)
    assert path.endswith("report.html")
    assert written_with(store) == first


def written_with(store):
    """Return what a report consists of, by name."""
    folder = Path(store.root)
    files = [folder / "report.html", *(folder / "report").rglob("*.*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_every_figure_is_a_file_in_the_colours_of_paper_and_its_numbers_are_a_table(store):
    write_report(store.root)
    files = written_with(store)
    names = {Path(name).stem for name in files if name.endswith(".svg")}
    assert {"populations", "survival", "msd", "drift0"} - names <= {"survival"}
    for name in names:
        svg = files[f"report/figures/{name}.svg"].decode()
        ElementTree.fromstring(svg)
        assert "var(" not in svg
        assert not [role for role, stand_in in ROLES.items() if stand_in in svg]
        drawn = Image.open(io.BytesIO(files[f"report/figures/{name}.png"])).convert("RGB")
        inks = {colour for _, colour in drawn.getcolors(1 << 24)}
        assert (255, 255, 255) in inks
    table = pd.read_csv(io.BytesIO(files["report/tables/figure_msd.csv"]))
    np.testing.assert_allclose(table["msd_nm2"], store.read_table("msd.parquet")["msd_nm2"])
    assert table["class"].unique().tolist() == ["Mo_W", "Mo_W+V_S", "V_S"]
    assert len(pd.read_csv(io.BytesIO(files["report/tables/transitions.csv"]))) == 16


def test_stand_ins_are_told_apart_and_no_eye_tells_them_from_the_colours_of_paper():
    paper = light_colours()
    assert list(ROLES) == list(paper)
    assert len({*ROLES.values(), *paper.values()}) == len(ROLES) + len(set(paper.values()))
    for role, stand_in in ROLES.items():
        of_paper, own = (bytes.fromhex(colour[1:]) for colour in (paper[role], stand_in))
        assert max(abs(a - b) for a, b in zip(of_paper, own, strict=True)) <= 2


def test_a_name_that_is_a_formula_is_text_in_every_table(small):
    classes = small.read_table("classes.parquet")
    classes["name"] = ["=HYPERLINK(1)", "+1", "@x", "-1"]
    small.write_table(classes, "x", "classes.parquet")
    write_report(small.root)
    tables_of = [c.decode() for name, c in written_with(small).items() if name.endswith(".csv")]
    assert tables_of
    assert not re.search(r"(^|,)(=HYPERLINK|\+1|@x|-1),", "".join(tables_of), flags=re.MULTILINE)


def test_figures_are_drawn_in_the_colours_of_the_page_alone(page):
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    colours = {c.lower() for c in re.findall(r"#[0-9a-fA-F]{6}\b", drawn)}
    assert colours <= {"#000000"}, "matplotlib's default for what is not painted"
    assert "var(--class0)" in drawn
    assert "nan" not in re.sub(r"data:[^\"]*", "", drawn).lower()


# --- names from outside
# ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    store = make_results(
        tmp_path_factory.mktemp("hostile"), movies=(HOSTILE, "../../etc", "µ/1"), n_frames=6
    )
    classes = store.read_table("classes.parquet")
    classes["name"] = [HOSTILE, "$\\alpha_{", "{{ 7 * 7 }}", "<b>bold</b>"]
    store.write_table(classes, "x", "classes.parquet")
    diffusion = store.read_table("diffusion.parquet").assign(method=HOSTILE)
    store.write_table(diffusion, "x", "diffusion.parquet")
    run = store.read_json("run.json")
    run["warnings"] = run["inputs"] = [HOSTILE, "undecodable \udcff bytes"]
    run["command"] = run["version"] = HOSTILE
    run["config"] = {HOSTILE: {HOSTILE: HOSTILE}}
    run["machine"] = run["stages"] = {HOSTILE: {HOSTILE: HOSTILE}}
    run["blocks"]["failed"][0]["error"] = HOSTILE
    store.write_json(run, "run.json")
    store.write_json(
        {HOSTILE: HOSTILE, "report": {"matches": [{"class_id": 0, "name": HOSTILE, "score": 1.0}]}},
        "model",
        "model.json",
    )
    write_report(store.root)
    return store


def test_hostile_names_are_text(hostile):
    seen = Reader(hostile.read_bytes("report.html").decode())
    assert own_scripts_alone(seen.elements)
    assert "<b>bold</b>" in seen.text
    assert not [attrs for _, attrs in seen.elements if any(k.startswith("on") for k in attrs)]
    assert not [tag for tag, attrs in seen.elements if tag == "img" and attrs.get("src") == "x"]
    assert '<script>document.title="owned"</script>' in seen.text, "shown as it is written"
    assert "{{ 7 * 7 }}" in seen.text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize("guarded", [True, False], ids=["with its policy", "without its policy"])
def test_hostile_names_do_nothing_in_a_real_browser(hostile, tmp_path, guarded):
    page = hostile.read_bytes("report.html").decode()
    if not guarded:
        page = re.sub(r"<meta http-equiv=[^>]*>", "", page)
    (tmp_path / "page.html").write_text(page)
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=2000"]  # fmt: skip
    command = [
        "chromium",
        *quiet,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"file://{tmp_path / 'page.html'}",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", shown).group(1)
    assert title.startswith("stemkin: 3 movies")


# --- whatever is missing
# ---------------------------------------------------------------------------------------

EMPTY_SAYS = {
    "classes": "Nothing was named.",
    "populations": "No defect was found in any frame.",
    "transitions": "No track has two frames in a row, so nothing was counted.",
    "msd": "No track has two detections, so nothing moved measurably.",
    "diffusion": "No track was long enough for a diffusion coefficient.",
    "dwell_times": "No track was long enough to tell how long a class lasts.",
}


def test_empty_tables_give_sentences(small):
    for name in TABLES:
        small.write_table(tables.empty(name), "x", f"{name}.parquet")
    text = Reader(report_page(read_results(small))).text
    for sentence in EMPTY_SAYS.values():
        assert sentence in text


def test_missing_tables_give_sentences(small):
    for name in TABLES:
        small.remove(f"{name}.parquet")
    text = Reader(report_page(read_results(small))).text
    for name in TABLES:
        assert f"There is no {name}.parquet." in text


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_named_and_the_rest_is_shown(small, name):
    small.write_bytes(b"not a table", f"{name}.parquet")
    text = Reader(report_page(read_results(small))).text
    assert f"{name}.parquet cannot be read" in text
    others = {
        "diffusion": "2.10 × 10 −5 nm²/s",
        "transitions": "260 changes counted",
        "dwell_times": "11,700",
    }
    assert all(said in text for table, said in others.items() if table != name)


def test_tables_with_other_columns_are_named(small):
    for name in TABLES:
        small.write_table(pd.DataFrame({"a": [1]}), "x", f"{name}.parquet")
    text = Reader(report_page(read_results(small))).text
    for name in TABLES:
        assert f"{name}.parquet cannot be read (a {name} table needs the columns" in text


@pytest.mark.parametrize(
    "path", [("run.json",), ("model", "model.json"), ("gallery", "only.npz"), ("frames", "only")]
)
def test_missing_or_damaged_files_never_break_the_page(small, path):
    if path[0] != "frames":
        small.write_bytes(b"\x00 broken", *path)
        assert "cannot be read" in Reader(report_page(read_results(small))).text
    small.remove(*path)
    assert "Provenance" in Reader(report_page(read_results(small))).text


def test_no_folder_no_report(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"is no results folder: it has no run.json.*stemkin run INPUT -o"
    ):
        write_report(tmp_path)


def test_a_run_that_only_began_has_a_report(tmp_path):
    store = Store.at(tmp_path)
    store.write_json({"version": "0.1.0", "exit_code": None}, "run.json")
    text = Reader(store.read_bytes("report.html").decode() if write_report(tmp_path) else "").text
    assert "not finished" in text
    assert "There is no rate and no diffusion coefficient" in text
    assert text.count("There is no ") >= 5


def test_without_nulls_it_says_so(small):
    for name in NULL_TABLES:
        small.remove(f"null_{name}.parquet")
    text = Reader(report_page(read_results(small))).text
    assert "This run holds no null controls." in text
    assert "null control:" not in text


def test_one_frame_is_a_count_and_not_a_curve(tmp_path):
    store = make_results(tmp_path, movies=("still",), n_frames=1)
    text = Reader(report_page(read_results(store))).text
    assert "Every movie has a single frame" in text
    assert "One frame has no drift." in text


def test_without_calibration_axes_are_pixels_and_frames(small):
    run = small.read_json("run.json")
    for movie in run["movies"]:
        movie["pixel_size_nm"] = movie["frame_time_s"] = None
    small.write_json(run, "run.json")
    frames = small.read_movie("frames", "only").assign(time_s=np.nan)
    small.write_block("frames", Block("only", 0, 6), frames, "x")
    small.write_table(
        small.read_table("populations.parquet").assign(time_s=np.nan), "x", "populations.parquet"
    )
    page = report_page(read_results(small))
    assert "shift (px)" in page
    assert ">time (s)</text>" not in page
    assert ">frame</text>" in page
    assert "No scale bar: the size of a pixel is not known." in page


def test_estimates_that_do_not_exist_are_not_drawn(small):
    nothing = dict.fromkeys(("D_nm2_per_s", "low", "high", "sigma_nm", "alpha"), np.nan)
    small.write_table(
        small.read_table("diffusion.parquet").assign(**nothing), "x", "diffusion.parquet"
    )
    rates = dict.fromkeys(
        ("probability", "low", "high", "rate_per_s", "rate_low", "rate_high"), np.nan
    )
    small.write_table(
        small.read_table("transitions.parquet").assign(**rates), "x", "transitions.parquet"
    )
    page = report_page(read_results(small))
    assert "There is no rate and no diffusion coefficient" in page
    assert "not measured" in page
    assert "The movies differ in frame time" in page
    assert "nan%" not in page


def test_the_estimate_that_is_recommended_is_quoted_and_the_report_says_why(small):
    hops = {
        "movie": "*",
        "class_id": 2,
        "hop_rate_per_s": 0.0347,
        "low": 0.0318,
        "high": 0.0377,
        "n_hops": 533.0,
    }
    small.write_table(pd.DataFrame([hops]), "x", "hop_rates.parquet")
    diffusion = small.read_table("diffusion.parquet").assign(
        violated="one mobility", recommended=False
    )
    hop = diffusion[(diffusion["class_id"] == 2) & (diffusion["method"] == "mle")].assign(
        method="hop", D_nm2_per_s=8.8e-4, violated="", recommended=True
    )
    small.write_table(pd.concat([diffusion, hop]), "x", "diffusion.parquet")
    text = Reader(report_page(read_results(small))).text
    assert (
        "8.80 × 10 −4 nm²/s 7.90 to 9.30 × 10 −4 (95 %) 4,300 steps of 320 tracks, hops on the "
        "lattice" in text
    )
    assert "0.0347 per s 0.0318 to 0.0377 (95 %) effective number of hops 533" in text
    assert "contradict what it assumes: V S : hops on the lattice, not" in text
    assert "not maximum likelihood (one mobility does not hold)" in text


def test_a_further_table_that_is_damaged_is_named(small):
    small.write_table(pd.DataFrame({"movie": ["*"]}), "x", "hop_rates.parquet")
    assert (
        "hop_rates.parquet cannot be read (it has no class_id"
        in Reader(report_page(read_results(small))).text
    )


def test_classes_that_were_never_seen_are_named_and_take_no_room(small):
    classes = small.read_table("classes.parquet").assign(n_detections=[5, 4, 3, 0])
    small.write_table(classes, "x", "classes.parquet")
    seen = Reader(report_page(read_results(small)))
    assert "Known to the model and not seen: V S2 ." in seen.text
    assert len([tag for tag, attrs in seen.elements if tag == "img"]) == 3


def test_a_class_of_one_detection_in_thousands_is_named_and_has_no_numbers(small):
    classes = small.read_table("classes.parquet").assign(n_detections=[5400, 3300, 2100, 1])
    small.write_table(classes, "x", "classes.parquet")
    results = read_results(small)
    assert results.seldom == {3: 1}
    tables_of_classes = [*results.found.values(), *results.nulls.values()]
    of_it = [rows for rows in tables_of_classes if "class_id" in rows and len(rows)]
    assert sum((rows["class_id"] == 3).any() for rows in of_it) == 1, "classes itself stays whole"
    seen = Reader(report_page(results))
    assert "left out of figures and tables here: V S2 (1 time)." in seen.text
    assert len([tag for tag, attrs in seen.elements if tag == "img"]) == 3
    few = classes.assign(n_detections=[40, 30, 20, 1])
    small.write_table(few, "x", "classes.parquet")
    assert not read_results(small).seldom, "one of ninety may be true"


def test_the_likeness_to_a_motif_stands_beside_its_class(small):
    match = {"match_score": [0.957, np.nan, 0.1, 0.2], "runner_up": ["V_S2", "", "", ""], "runner_up_score": [0.29, np.nan, 0, 0]}  # fmt: skip
    small.write_table(small.read_table("classes.parquet").assign(**match), "x", "classes.parquet")
    assert "similarity 0.96, next V S2 0.29" in Reader(report_page(read_results(small))).text


def test_neighbourhoods_and_regions_are_shown_where_they_were_measured(small):
    text = Reader(report_page(read_results(small))).text
    assert "There is no structure.parquet." in text
    atoms = np.zeros((40, 10, 3))
    atoms[:, 1:4, 1] = (
        np.round(np.random.default_rng(0).normal(0.0127, 0.004, (40, 3)) * 4096) / 4096
    )
    rows = pd.DataFrame(atoms.reshape(40, 30), columns=list(tables.ATOM_COLUMNS)).assign(
        class_id=2, d00=0.0
    )
    for name, table in vars(described(neighbourhood_sums(rows))).items():
        small.write_table(table, "x", f"{name}.parquet")
    small.write_json({**small.read_json("run.json"), "lattice_nm": {"only": 0.3153}}, "run.json")
    seen = pd.DataFrame({"movie": "only", "frame": [0, 1, 2], "time_s": [0.0, 2.0, 4.0], "kind": "hole", "y": 9.0, "x": 9.0,
                         "area_px": [90.0, 140.0, 200.0], "area_nm2": [0.09, 0.14, 0.2], "turn_deg": np.nan, "region": 0})  # fmt: skip
    small.write_block("regions", Block("only", 0, 6), tables.conform(seen, "regions"), "x")
    small.write_table(histories(seen), "x", "phases.parquet")
    page = Reader(report_page(read_results(small)))
    assert "40 detections on metal sites" in page.text
    assert re.search(r"Nearest three atoms outwards: .0\.\d ± 0\.\d pm", page.text)
    assert "0: hole, 0.09 → 0.2 nm², from 0 to 4 s" in page.text
    figures = [attrs.get("aria-label", "") for tag, attrs in page.elements if tag == "svg"]
    assert sum("Mean positions of the atoms" in says for says in figures) == 1
    assert sum("Area of the largest holes" in says for says in figures) == 1
    assert sum("mean images are most alike" in says for says in figures) == 1


def test_order_that_was_not_measured_is_said(small):
    frames = small.read_movie("frames", "only").assign(
        ordered=np.nan, disordered=np.nan, vacuum=np.nan
    )
    small.write_block("frames", Block("only", 0, 6), frames, "x")
    assert (
        "The order of the lattice was not measured" in Reader(report_page(read_results(small))).text
    )


def test_order_that_does_not_change_is_said_and_not_drawn(small):
    frames = small.read_movie("frames", "only").assign(ordered=0.9, disordered=0.1, vacuum=0.0)
    small.write_block("frames", Block("only", 0, 6), frames, "x")
    page = report_page(read_results(small))
    assert "90.0 % of the area ordered, 10.0 % disordered and 0.0 % vacuum" in page
    assert "share of the area" not in page


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)  # fmt: skip
KEYS = (
    "version",
    "created",
    "finished",
    "config",
    "machine",
    "command",
    "movies",
    "stages",
    "blocks",
    "warnings",
    "exit_code",
    "inputs",
)
MOVIE = st.dictionaries(
    st.sampled_from(
        ["movie", "source", "status", "reason", "n_frames", "height_px", "pixel_size_nm"]
    ),
    JSON,
)


@given(run=st.dictionaries(st.sampled_from(KEYS), JSON | st.lists(MOVIE, max_size=2)))
def test_no_run_json_breaks_the_page(tmp_path, run):
    store = Store.at(tmp_path)
    store.write_json(run, "run.json")
    write_report(tmp_path)
    assert store.exists("report.html")


# --- the parts
# -------------------------------------------------------------------------------------------------


@given(value=st.floats(-1e12, 1e12), widths=st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)))
def test_written_digits_agree_with_the_number(value, widths):
    quantity = Quantity(value, value - widths[0], value + widths[1])
    step = 10.0 ** (quantity.exponent - quantity.decimals)
    written = float(quantity.text.replace("−", "-").replace(",", "")) * 10.0**quantity.exponent
    assert written == pytest.approx(value, abs=0.51 * step, rel=1e-9)


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6))
def test_every_value_lies_on_its_scale(values):
    scale = scale_for([Quantity(v, v - 1, v + 1) for v in values])
    assert all(0 <= scale.at(v) <= 100 for v in values)
    assert all(0 <= place <= 100 for place, _ in scale.ticks())
    assert 2 <= len(scale.ticks()) <= 9


def test_a_scale_is_that_of_the_leading_values_and_what_lies_beyond_ends_in_an_arrow(small):
    scale = scale_for([Quantity(1.0, 0.5, 2.0), Quantity(3.0, 0.0, 1e6)], [Quantity(500.0)])
    assert scale.high < 4
    assert scale.goes_on_above(1e6)
    assert not scale.goes_on_above(2.0)
    assert scale_for([Quantity(0.0, 0.0, 0.01)]).high > 0.01, "only an interval is above zero"
    wide = small.read_table("transitions.parquet")
    wide.loc[(wide["from_id"] == 0) & (wide["to_id"] == 1), "rate_high"] = np.inf
    small.write_table(wide, "x", "transitions.parquet")
    page = report_page(read_results(small))
    assert "Arrows: the interval goes on beyond the scale." in page
    assert 'd="M0-4 7 0 0 4Z"' in page
    assert "at least 0.0" in page
    assert "∞ ×" not in page


def test_an_interval_without_any_bound_bears_no_power_of_ten():
    unbounded = Quantity(3e-10, 0.0, np.inf, "nm²/s")
    assert (unbounded.interval, unbounded.interval_times) == ("not bounded", "")
    assert Quantity(3e-10, 1e-10, np.inf).interval_times == "× 10<sup>−10</sup>"


def test_methods_say_what_this_run_did_and_cite_it(page):
    text = Reader(page).text
    assert (
        "3 movies (300 frames, 30 pm per pixel, 2.25 s per frame) were analysed with stemkin 0.1.0."
        in text
    )
    assert "gaps of up to 2 frames closed" in text
    assert "by covariance estimator [Vestergaard2014], maximum likelihood [Berglund2010]." in text
    assert "@article{Jaqaman2008, author = {Jaqaman" in text
    assert "Baum1966" not in text, "names were not corrected here"


def test_a_logarithmic_scale_is_for_positive_values_that_are_far_apart():
    assert scale_for([Quantity(1e-5), Quantity(1e-3)]).logarithmic
    assert not scale_for([Quantity(1e-4), Quantity(1e-3)]).logarithmic
    assert not scale_for([Quantity(-1e-5), Quantity(1e-3)]).logarithmic
    pinned = scale_for([Quantity(1e-5), Quantity(1e-3), Quantity(-1e-7)])
    assert pinned.logarithmic
    assert pinned.at(-1e-7) == 0
    assert scale_for([Quantity(1e-30), Quantity(1.0)]).low >= 1e-7, (
        "an estimate at its bound does not stretch the scale"
    )
    assert AxisScale(1e-5, 1e-3, logarithmic=True).at(1e-4) == 50


def test_mean_populations_by_hand():
    """Two frames of one movie: class 0 has 3 then none; class 1 has 1 in each; the third frame is
    bad and does not count."""
    counts = pd.DataFrame(
        [("m", 0, 0.0, 0, 3), ("m", 0, 0.0, 1, 1), ("m", 1, 2.0, 1, 1)],
        columns=list(tables.COLUMNS["populations"]),
    )
    frames = pd.DataFrame(
        {
            "movie": "m",
            "frame": [0, 1, 2],
            "time_s": [0.0, 2.0, 4.0],
            "status": ["ok", "ok", "blank"],
        }
    )
    means = summaries.mean_populations(counts, frames)
    assert means[["class_id", "time", "mean"]].to_numpy().tolist() == [
        [0, 0, 3],
        [0, 2, 0],
        [1, 0, 1],
        [1, 2, 1],
    ]
    chi2 = pytest.importorskip("scipy.stats").chi2
    assert means["low"].iloc[0] == pytest.approx(chi2.ppf(0.025, 7) / 2)
    assert means["high"].iloc[0] == pytest.approx(chi2.ppf(0.975, 7) / 2)
    assert means["low"].iloc[1] == 0


@pytest.mark.parametrize("n", [0, 1, 7, 400])
def test_report_and_tables_give_one_count_the_same_interval(n):
    """As many defects in the figure of populations as vacancies in the table of cross-sections."""
    rows = [("m", 0, 0.0, 0, n), ("m", 1, 2.0, 0, n)]
    counts = pd.DataFrame(rows, columns=list(tables.COLUMNS["populations"]))
    frames = pd.DataFrame({"movie": "m", "frame": [0, 1], "time_s": [0.0, 2.0], "status": "ok"})
    means = summaries.mean_populations(counts, frames)
    _, low, high = cross_section(n, NM2_IN_BARN)  # so much exposure that a barn is one vacancy
    assert means["mean"].tolist() == [n, n]
    assert means["low"].tolist() == [low, low]
    assert means["high"].tolist() == [high, high]


def test_long_movies_are_binned_without_losing_a_count():
    frame = np.arange(1000)
    counts = pd.DataFrame(
        {"movie": "m", "frame": frame, "time_s": 0.5 * frame, "class_id": 0, "n": frame % 7}
    )
    frames = pd.DataFrame({"movie": "m", "frame": frame, "time_s": 0.5 * frame, "status": "ok"})
    means = summaries.mean_populations(counts, frames)
    assert len(means) <= summaries.MAX_BINS + 1
    assert (17 * means["mean"].iloc[:58]).sum() == pytest.approx(counts["n"][: 58 * 17].sum())


def test_a_gap_in_one_movie_makes_no_step_in_the_mean_of_all():
    """A crowded and an empty movie; the empty one is blank in the middle, which must not raise the
    mean."""
    frame = np.arange(10)
    rows = [("full", f, float(f), 0, 8) for f in frame]
    counts = pd.DataFrame(rows, columns=list(tables.COLUMNS["populations"]))
    status = ["blank" if 3 <= f < 6 else "ok" for f in frame]
    frames = pd.concat([
        pd.DataFrame({"movie": "full", "frame": frame, "time_s": 1.0 * frame, "status": "ok"}),
        pd.DataFrame({"movie": "empty", "frame": frame, "time_s": 1.0 * frame, "status": status}),
    ])  # fmt: skip
    means = summaries.mean_populations(counts, frames)
    assert means["mean"].tolist() == [4.0] * 10
    assert means["n_movies"].tolist() == [2, 2, 2, 1, 1, 1, 2, 2, 2, 2]


def test_a_png_shows_the_levels_it_was_given():
    image = pytest.importorskip("matplotlib.image")
    levels = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    shown = image.imread(io.BytesIO(images.png(levels)), format="png")
    np.testing.assert_array_equal(np.round(255 * shown), levels)


def test_mean_patches_survive_their_file(small):
    patches = [
        images.as_patch(value) for value in read_results(small).found["classes"]["mean_patch"]
    ]
    np.testing.assert_allclose(patches[2], patch(2))


def test_large_frames_are_averaged_and_marks_stay_in_place():
    frame = np.arange(36.0).reshape(6, 6)
    small, n = images.shrunk(frame, max_edge_px=3)
    assert n == 2
    np.testing.assert_allclose(small[0, 0], frame[:2, :2].mean())


@pytest.mark.parametrize("colours", [palette.LIGHT[:5], palette.DARK[:5]], ids=["light", "dark"])
def test_colour_blind_eyes_tell_the_first_classes_apart(colours):
    eyes = [np.eye(3), DEUTERANOPE, PROTANOPE]
    for eye in eyes:
        seen = [oklab(eye @ linear(c)) for c in colours]
        distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
        assert min(distances) > 0.10


DEUTERANOPE = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
PROTANOPE = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)


def linear(colour):
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(to_lab) @ np.cbrt(np.clip(np.array(to_lms) @ rgb, 0, None))

"""The player of the report, in a real browser: it moves, jumps, and shows names as text."""

import base64
import hashlib
import io
import re
import tempfile
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stemkin import tables
from stemkin.pipeline.thumbnails import kept_numbers, thumbnail_rows
from stemkin.report import reels, report_page, write_report
from stemkin.report.events import events_section
from stemkin.report.player import page_script
from stemkin.report.result_files import read_results
from stemkin.results.store import Block
from tests.browser import CHROMIUM, Browser
from tests.test_report import HOSTILE, make_results

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def write_film(store, movie, n_frames, *, edge=64, n_tracks=5):
    """Keep pictures and tracks of a movie in two blocks, as a run leaves them.

    Track i stands at y = 5 + 8 i, x = 10 + frame / 10, in the class i % 4; track 0 changes from
    class 0 to class 1 in the middle, track 1 is missing in the frame before that.
    """
    rng, middle = np.random.default_rng(1), n_frames // 2
    frames = rng.poisson(20, (n_frames, edge, edge)).astype("u2")
    for block in (Block(movie, 0, middle), Block(movie, middle, n_frames)):
        own = frames[block.start : block.stop]
        pictures = thumbnail_rows(own, movie=movie, first_frame=block.start, n_frames=n_frames)
        store.write_block("thumbnails", block, pictures, "x")
        rows = []
        for frame in range(block.start, block.stop):
            for i in range(n_tracks):
                if (i, frame) != (1, middle - 1):
                    class_id = (i + (i == 0 and frame >= middle)) % 4
                    rows.append((frame, 5 + 8 * i, 10 + frame / 10, class_id, i))
        rows = pd.DataFrame(rows, columns=["frame", "y", "x", "class_id", "particle"])
        known = {"movie": movie, "score": 9.5, "probability": 0.98, "orientation": -1}
        rows = rows.assign(**known, y_nm=rows["y"] * 0.03, x_nm=rows["x"] * 0.03)
        store.write_block("tracks", block, tables.conform(rows, "tracks"), "x")


@pytest.fixture(scope="module")
def browser():
    with tempfile.TemporaryDirectory() as folder:
        opened = Browser(folder)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Results of two movies that can be played, one with a hostile name, and one that cannot."""
    names = ("stack 1", HOSTILE, "third")
    store = make_results(tmp_path_factory.mktemp("films"), movies=names, n_frames=20)
    for name in names[:2]:
        write_film(store, name, 20)
    write_report(store.root)
    return store


def part(name):
    return f"document.querySelector('#player [data-part={name}]')"


def test_the_policy_allows_the_script_of_the_page_and_no_other(films):
    page = films.read_bytes("report.html").decode()
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL).group(1)
    assert script == page_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert f"script-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


@in_a_browser
def test_the_player_moves_by_keys_slider_and_itself_and_nothing_complains(films, browser):
    browser.open(films.path("report.html"))
    says = f"{part('says')}.textContent"
    assert browser.run(says) == "frame 0, 0 s"
    browser.run("document.getElementById('player').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    browser.press("ArrowLeft")
    assert browser.run(says) == "frame 1, 2.25 s"
    browser.press("End")
    assert browser.run(says) == "frame 19, 42.75 s"
    browser.run(f"{part('slider')}.value = 7; {part('slider')}.dispatchEvent(new Event('input'))")
    assert browser.run(says) == "frame 7, 15.75 s"
    browser.press(" ")
    browser.until(f"{says} === 'frame 10, 22.5 s'")
    browser.press(" ")
    assert browser.run(f"{part('play')}.getAttribute('aria-label')") == "Play"
    assert browser.complaints == []
    assert browser.requests == []


@in_a_browser
def test_marks_are_drawn_where_detections_are_and_classes_can_be_hidden(films, browser):
    browser.open(films.path("report.html"))
    ink = "[...document.querySelector('#player canvas').getContext('2d').getImageData(X, Y, 1, 1).data].slice(0, 3).join()"
    browser.run(f"{part('still')}.click()")
    # track 2 stands at y 21, x 10 in the first frame; the canvas is ten times as large, so the line
    # at the bottom of its triangle, 0.8 sizes of 8 px below it, covers the pixel 221
    side = ink.replace("X", "105").replace("Y", "221")
    class_2 = "getComputedStyle(document.getElementById('player')).getPropertyValue('--class2')"
    assert browser.run(class_2) == "#b4ee6c"
    assert browser.run(side) == "180,238,108"
    browser.run("document.querySelector('#player [data-hides=\"2\"]').click()")
    assert browser.run(side) != "180,238,108"


@in_a_browser
def test_a_click_on_a_mark_says_its_class_and_track(films, browser):
    browser.open(films.path("report.html"))
    browser.run("document.getElementById('player').scrollIntoView({behavior: 'instant'})")
    box = browser.run(
        "(b => [b.left, b.top, b.width])(document.querySelector('#player canvas').getBoundingClientRect())"
    )
    at = {"x": box[0] + 10.5 / 64 * box[2], "y": box[1] + 21.5 / 64 * box[2]}
    for kind in ("mousePressed", "mouseReleased"):
        browser.ask("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)
    said = browser.run(f"{part('picked')}.textContent")
    assert (
        said
        == "V_S (probability 98 %), signal-to-noise 9.5, y 21.0, x 10.0 px; track 2, frames 0 to 19"
    )


@in_a_browser
def test_hostile_names_stay_text_in_the_player(films, browser):
    browser.open(films.path("report.html"))
    chooser = part("movie")
    browser.run(f"{chooser}.value = '1'; {chooser}.dispatchEvent(new Event('change'))")
    label = browser.run("document.querySelector('#player canvas').getAttribute('aria-label')")
    assert HOSTILE in label
    assert browser.run("document.title").startswith("stemkin: 3 movies")
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    assert browser.complaints == []


@in_a_browser
def test_a_figure_is_saved_by_a_click_with_the_right_bytes(films, browser):
    browser.open(films.path("report.html"), dark=True)
    for kind in ("csv", "svg", "png"):
        browser.run(f"document.querySelector('[data-save={kind}][data-name=msd]').click()")
    assert browser.downloaded("msd.csv") == films.read_bytes("report", "tables", "figure_msd.csv")
    svg = browser.downloaded("msd.svg").decode()
    ElementTree.fromstring(svg)
    assert "var(" not in svg
    assert "#0067a8" in svg, "in the colours of paper, though the page is dark"
    drawn = Image.open(io.BytesIO(browser.downloaded("msd.png"))).convert("RGB")
    assert drawn.getpixel((2, 2)) == (255, 255, 255)
    assert (0, 0x67, 0xA8) in {colour for _, colour in drawn.getcolors(1 << 24)}
    assert browser.complaints == []


def test_movies_without_pictures_are_said(films):
    page = report_page(read_results(films))
    assert "Pictures of 2 movies were kept; the other 1 have no player." in page


def test_results_without_pictures_say_so_and_are_shown(tmp_path):
    store = make_results(tmp_path, movies=("still",), n_frames=1)
    assert "No pictures of frames were kept in the results folder." in report_page(
        read_results(store)
    )
    write_film(store, "still", 1, n_tracks=0)
    assert "player-data" in report_page(read_results(store)), "one frame, nothing found"


def test_a_damaged_picture_or_track_is_named_and_the_rest_is_shown(tmp_path):
    store = make_results(tmp_path, movies=("one", "two"), n_frames=4)
    for name in ("one", "two"):
        write_film(store, name, 4)
    store.write_bytes(b"broken", "tracks", "one", "000000002-000000004.parquet")
    pictures = store.read_table("thumbnails", "two", "000000000-000000002.parquet")
    found = read_results(store)
    assert [reel.movie for reel in found.reels] == ["two"]
    assert "the frames or tracks of one cannot be read" in found.absent["thumbnails"]
    pictures["jpeg"] = [b"<script>" for _ in pictures["jpeg"]]
    store.write_table(pictures, "x", "thumbnails", "two", "000000000-000000002.parquet")
    assert "pictures are no JPEG files" in read_results(store).absent["thumbnails"]


def test_pictures_of_blocks_that_were_searched_again_are_not_mixed_with_older_ones(tmp_path):
    store = make_results(tmp_path, movies=("one",), n_frames=4)
    write_film(store, "one", 4)
    store.write_block("steps", Block("one", 0, 2), tables.empty("frames"), "newer")
    assert read_results(store).reels[0].pictures["frame"].tolist() == [2, 3]


def test_places_in_the_player_are_those_of_tracks_without_drift(tmp_path):
    store = make_results(tmp_path, movies=("one",), n_frames=6)
    write_film(store, "one", 6)
    reel = read_results(store).reels[0]
    frames = store.read_movie("frames", "one").set_index("frame")
    row = reel.tracks[(reel.tracks["particle"] == 2) & (reel.tracks["frame"] == 5)].iloc[0]
    assert row["ry"] == pytest.approx(21 - frames.loc[5, "shift_y"])
    assert row["rx"] == pytest.approx(10.5 - frames.loc[5, "shift_x"])
    np.testing.assert_allclose(reel.shifts[5], frames.loc[5, ["shift_y", "shift_x"]].tolist())


def test_crowded_and_long_movies_are_shown_in_bounds(tmp_path, monkeypatch):
    store = make_results(tmp_path, movies=("long",), n_frames=300)
    write_film(store, "long", 300, edge=16)
    monkeypatch.setattr(reels, "MAX_ROWS", 100)
    monkeypatch.setattr(reels, "MAX_MARKS", 3)
    found = read_results(store)
    (reel,) = found.reels
    assert reel.pictures["frame"].tolist() == kept_numbers(300).tolist()
    assert set(reel.tracks["frame"]) == set(kept_numbers(300).tolist())
    assert not reel.is_whole
    assert reel.marks.groupby("frame").size().max() == 3
    text = report_page(found)
    assert "Of long movies 60 frames are shown" in text
    assert "marks of crowded frames are not drawn" in text
    monkeypatch.setattr(reels, "MAX_BYTES", int(found.reels[0].pictures["jpeg"].map(len).sum() / 2))
    assert len(read_results(store).reels[0].pictures) in (20, 30)


def events_of(store):
    section = events_section(read_results(store))
    return {str(group["title"]): group for group in section["groups"]}, section["note"]


def test_events_by_hand(tmp_path):
    store = make_results(tmp_path, movies=("one",), n_frames=8)
    write_film(store, "one", 8)
    meeting = {"movie": "one", "frame": 3, "event": "merge", "particle": 2, "from_id": 2, "to_id": 3, "other": 3, "other_id": 2,
               "y_nm": 0.0, "x_nm": 0.0, "distance_nm": 0.3}  # fmt: skip
    store.write_table(tables.conform(pd.DataFrame([meeting]), "meetings"), "x", "meetings.parquet")
    last = store.read_table("tracks", "one", "000000004-000000008.parquet")
    last.loc[last["particle"] == 4, "probability"] = 0.6
    late = last[(last["particle"] == 4) & (last["frame"] > 5)].assign(particle=77)
    store.write_table(pd.concat([last, late]), "x", "tracks", "one", "000000004-000000008.parquet")
    events, note = events_of(store)
    assert note == ""
    assert {title: group["n"] for title, group in events.items()} == {
        "Mo<sub>W</sub> → Mo<sub>W</sub>+V<sub>S</sub>": "1",
        "V<sub>S</sub> + V<sub>S</sub> → V<sub>S2</sub>": "1",
        "Longest stays": "7",
        "Uncertain names": "2",
        "Repaired gaps": "1",
        "First frames of new defects": "1",
    }
    (change,) = events["Mo<sub>W</sub> → Mo<sub>W</sub>+V<sub>S</sub>"]["events"]
    assert (change["frame"], change["particle"]) == (4, 0)
    (gap,) = events["Repaired gaps"]["events"]
    assert (gap["frame"], gap["particle"], gap["detail"]) == (4, 1, "1 frame missed")
    (new,) = events["First frames of new defects"]["events"]
    assert (new["frame"], new["particle"], new["detail"]) == (6, 77, "seen 2 times")
    stays = [(e["particle"], e["frame"], e["detail"]) for e in events["Longest stays"]["events"]]
    assert stays[0] == (1, 0, "8 frames"), "a gap does not end a stay"
    assert stays[-3:] == [(0, 0, "4 frames"), (0, 4, "4 frames"), (77, 6, "2 frames")]


def test_of_many_events_it_is_said_how_many_are_not_listed(tmp_path):
    store = make_results(tmp_path, movies=("one",), n_frames=6)
    write_film(store, "one", 6, n_tracks=60)
    stays = events_of(store)[0]["Longest stays"]
    assert (stays["n"], len(stays["events"]), stays["hidden"]) == ("61", 12, 49)


def test_a_movie_with_too_many_rows_gives_no_events_and_that_is_said(tmp_path, monkeypatch):
    store = make_results(tmp_path, movies=("one",), n_frames=80)
    write_film(store, "one", 80, edge=16)
    monkeypatch.setattr(reels, "MAX_ROWS", 100)
    events, note = events_of(store)
    assert events == {}
    assert note.startswith("1 movie with more than")


@in_a_browser
def test_a_jump_takes_the_player_to_the_movie_frame_and_track_of_an_event(films, browser):
    browser.open(films.path("report.html"))
    jumps = "[...document.querySelectorAll('.jump')].filter(b => b.closest('details').textContent.includes('Repaired gaps'))"
    assert browser.run(f"{jumps}.map(b => b.dataset.frame).join()") == "10,10"
    browser.run(f"{jumps}[1].closest('details').open = true")
    browser.until(f"{jumps}[1].querySelectorAll('canvas').length === 3")
    assert (
        browser.run(f"[...{jumps}[1].querySelectorAll('canvas')].map(c => c.title).join()")
        == "frame 9,frame 10,frame 11"
    )
    browser.run(f"{jumps}[1].click()")
    assert browser.run(f"{part('says')}.textContent") == "frame 10, 22.5 s"
    assert browser.run(f"{part('movie')}.value") == "1"
    assert "; track 1, frames 0 to 19" in browser.run(f"{part('picked')}.textContent")
    assert browser.run("document.activeElement.id") == "player"
    assert browser.complaints == []

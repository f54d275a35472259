"""The report as people read it: contrast in light and dark, keys, phones, paper, many movies."""

import re
import tempfile
from importlib.resources import files

import pandas as pd
import pytest

from stemkin import tables
from stemkin.report import report_page, write_report
from stemkin.report.result_files import read_results
from tests.browser import CHROMIUM, Browser
from tests.test_player import write_film
from tests.test_report import make_results, run_record

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

CONTRAST = """(() => {
  const sheet = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    sheet.clearRect(0, 0, 1, 1); sheet.fillStyle = colour; sheet.fillRect(0, 0, 1, 1);
    return [...sheet.getImageData(0, 0, 1, 1).data].map(v => v / 255);
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = element => {
    if (!element) { return rgba('white'); }
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(element.parentElement));
  };
  const light = c => { const [r, g, b] = c.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const found = [];
  for (const element of document.querySelectorAll('body *:not(svg *):not(script)')) {
    const words = [...element.childNodes].filter(n => n.nodeType === 3 && n.data.trim());
    if (!words.length || !element.getClientRects().length) { continue; }
    const style = getComputedStyle(element), below = ground(element);
    const ink = light(over(rgba(style.color), below)), paper = light(below);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) { found.push([element.outerHTML.slice(0, 80), ratio]); }
  }
  return found;
})()"""
"""Texts with less contrast to their ground than WCAG 2.1 AA asks for (1.4.3)."""

UNNAMED = """[...document.querySelectorAll('button, input, select, canvas, [role=img], [role=group], img')].filter(e =>
  !(e.getAttribute('aria-label') || e.alt || (e.labels && e.labels.length) || (e.getAttribute('role') !== 'group' && e.textContent.trim())))
  .map(e => e.outerHTML.slice(0, 100))"""
"""What can be operated, or is a picture, and has no name (4.1.2, 1.1.1)."""

NOT_REACHED = """[...document.querySelectorAll('.scroll')].filter(e => e.tabIndex < 0).length"""

AXE = """axe.run(document, {resultTypes: ['violations'],
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})
  .then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html.slice(0, 120)))"""
"""What axe-core (Deque Systems) finds wrong."""

SKIPPED = """(h => h.filter((n, i) => i && n > h[i - 1] + 1).length)(
  [...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1])))"""


@pytest.fixture(scope="module")
def browser():
    with tempfile.TemporaryDirectory() as folder:
        opened = Browser(folder)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    store = make_results(tmp_path_factory.mktemp("read"), movies=("stack 1",), n_frames=20)
    write_film(store, "stack 1", 20)
    write_report(store.root)
    return store


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(results, browser, dark):
    browser.open(results.path("report.html"), dark=dark)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run(CONTRAST) == []
    browser.run("document.querySelector('.note').style.color = 'var(--paper)'")
    assert len(browser.run(CONTRAST)) == 1, "the test sees what cannot be read"


def test_everything_has_a_name_and_is_reached_by_keys(results, browser):
    browser.open(results.path("report.html"))
    assert browser.run(UNNAMED) == []
    assert browser.run(NOT_REACHED) == 0
    assert browser.run(SKIPPED) == 0
    assert browser.run("document.documentElement.lang") == "en"


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 390)], ids=["desk", "phone"])
def test_axe_core_finds_no_violation(results, browser, dark, width):
    axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    browser.open(results.path("report.html"), dark=dark, width=width, mobile=width < 500)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.run(f"{axe};1")
    assert browser.run(AXE) == []
    browser.run("document.documentElement.lang = ''")
    one_rule = "axe.run(document, {runOnly: {type: 'rule', values: ['html-has-lang']}})"
    assert browser.run(f"{one_rule}.then(r => r.violations.length)") == 1, "axe sees what is wrong"


def test_on_a_phone_nothing_but_tables_and_figures_is_wider_than_the_screen(results, browser):
    browser.open(results.path("report.html"), width=390, mobile=True)
    assert browser.run("document.documentElement.scrollWidth") == 390


def test_on_paper_nothing_is_cut_off(results, browser):
    browser.open(results.path("report.html"), width=700, dark=True)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:
        wide = "[...document.querySelectorAll('table, figure')].filter(e => e.scrollWidth > e.parentElement.clientWidth + 4)"
        assert browser.run(f"{wide}.map(e => e.outerHTML.slice(0, 90))") == []
        paper = "getComputedStyle(document.documentElement).getPropertyValue('--paper')"
        assert browser.run(paper).strip() == "#ffffff", "paper is white in a dark room too"
        assert browser.run("getComputedStyle(document.querySelector('.saves')).display") == "none"
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")


def test_on_paper_what_cannot_be_opened_is_left_out_and_figures_leave_room(results, browser):
    browser.open(results.path("report.html"), width=700)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:
        tall = "[...document.querySelectorAll('figure, .card, .structure')].map(e => e.getBoundingClientRect().height)"
        # what is not cut must be lower than half of A4 (269 mm between the margins)
        assert 0 < max(browser.run(tall)) < 269 / 25.4 * 96 / 2
        shut = "[...document.querySelectorAll('details:not([open])')].filter(e => e.getClientRects().length).length"
        assert browser.run("document.querySelectorAll('details:not([open])').length") > 0
        assert browser.run(shut) == 0
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")


def test_a_thousand_movies_make_a_page_of_bounded_size(tmp_path, browser):
    names = [f"day {i // 50}/stack {i}" for i in range(1000)]
    store = make_results(tmp_path, movies=names[:3], n_frames=12)
    for name in names[:3]:
        write_film(store, name, 12)
    store.write_json(run_record(names, 12), "run.json")
    rows = store.read_table("diffusion.parquet")
    one = rows[rows["movie"] == names[0]]
    many = [rows, *(one.assign(movie=name) for name in names[3:])]
    together = tables.conform(pd.concat(many), "diffusion")
    store.write_table(together, "x", "diffusion.parquet")
    page = report_page(read_results(store))
    assert len(page) < 15e6
    assert "Pictures of 3 movies were kept; the other 997 have no player." in page
    (tmp_path / "many.html").write_text(page)
    browser.open(tmp_path / "many.html")
    assert browser.complaints == []
    assert browser.run("document.querySelector('#player output').textContent") == "frame 0, 0 s"


def test_nothing_found_is_a_page_without_a_complaint(tmp_path, browser):
    store = make_results(tmp_path, movies=("still",), n_frames=1)
    for name in ("classes", "populations", "transitions", "msd", "diffusion", "dwell_times"):
        store.write_table(tables.empty(name), "x", f"{name}.parquet")
    write_film(store, "still", 1, n_tracks=0)
    write_report(store.root)
    browser.open(store.path("report.html"))
    assert browser.complaints == []
    assert browser.run("document.querySelectorAll('.jump').length") == 0
    assert not re.search(r">nan<", store.read_bytes("report.html").decode(), flags=re.IGNORECASE)

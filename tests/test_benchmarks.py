"""One command knows every benchmark, its tables say what is kept, and what became slow is noticed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import quick
import tables_of_readme
from keeping import add, keep, keeping, kept_in
from quick import Ratio, fallen, judged_ratios, measured
from quick_ratios import RATIOS
from registered import Benchmark
from registry import EVERY, named

from benchmarks.__main__ import main, run_all

ROOT = Path(__file__).parents[1]
HELPERS = {"keeping", "quick", "quick_ratios", "registered", "registered_answers", "registered_runs",
           "registry", "tables_of_readme", "__main__"}  # fmt: skip


def test_every_script_is_registered_and_there():
    there = {path.name for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in HELPERS}
    assert {one.script for one in EVERY} == there
    assert len({one.name for one in EVERY}) == len(EVERY)


def test_every_entry_says_what_it_tells_and_its_results_are_kept():
    for one in EVERY:
        assert one.tells
        assert one.minutes > 0
        for name in one.kept:
            assert (ROOT / "benchmarks/results" / name).is_file(), f"{one.name} keeps no {name}"


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_every_script_knows_the_options_that_its_entry_gives_it(one):
    source = (ROOT / "benchmarks" / one.script).read_text()
    for word in one.asked.split():
        if word.startswith("-"):
            assert f'"{word}"' in source, f"{one.script} does not know {word}"


def test_the_tables_of_the_readme_are_those_that_are_made():
    text = tables_of_readme.README.read_text(encoding="utf-8")
    assert tables_of_readme.with_tables(text) == text, "python -m benchmarks --tables"


def test_a_table_without_its_marks_is_one_sentence():
    with pytest.raises(ValueError, match="no marks of 'goals'"):
        tables_of_readme.between("text", "goals", "table")


def test_what_is_named_is_found_and_what_is_not_there_is_one_sentence():
    assert [one.script for one in named(["frame", "bench_linking.py"])] == [
        "bench_frame.py",
        "bench_linking.py",
    ]
    with pytest.raises(ValueError, match="there is no benchmark 'fram'; there are association, "):
        named(["fram"])


def test_the_list_names_every_benchmark(capsys):
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        one.name for one in EVERY
    ]


def script(tmp_path, monkeypatch, text):
    """Return a benchmark whose script stands beside the others' folder."""
    monkeypatch.setattr("benchmarks.__main__.ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/bench_one.py").write_text(text)
    return Benchmark("bench_one.py", tells="one", asked="-o {scratch}/one.json")


def test_what_came_of_each_script_is_said(tmp_path, monkeypatch, capsys):
    one = script(tmp_path, monkeypatch, "import sys; sys.exit(3 * ('--bad' in sys.argv))")
    bad = Benchmark("bench_one.py", tells="bad", asked="--bad")
    asks = Benchmark("bench_one.py", tells="asks", asked="{results}")
    assert run_all([one], None) == 0
    assert run_all([bad], None) == 1
    assert run_all([asks], None) == 0
    said = capsys.readouterr().out
    assert "done in" in said
    assert "failed (exit code 3)" in said
    assert "left out: it asks for a finished results folder" in said


def test_kept_results_name_commit_date_machine_and_versions(tmp_path):
    keep({"rows": [1, 2]}, tmp_path / "a.json")
    kept = kept_in(tmp_path / "a.json")
    assert kept.keys() == {"commit", "date", "machine", "versions", "rows"}
    assert kept["machine"]["cores"]
    assert kept["versions"]["numpy"]
    keep({"rows": []}, None)  # who asks for no file gets none
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_commits_stand_beside_one_another(tmp_path):
    path = tmp_path / "a.json"
    assert add({"pairs": 8}, path, "before")["pairs"] == 8
    assert add({"pairs": 4}, path, "after")["pairs"] == 8
    assert [kept["pairs"] for kept in kept_in(path).values()] == [8, 4]


STOPPED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from keeping import keeping
with keeping({"rows": []}, sys.argv[1]) as found:
    for row in range(100):
        found["rows"].append(row)
        print(row, flush=True)
        time.sleep(60 * (row == 2))
"""


def test_a_benchmark_that_is_stopped_has_kept_what_it_found(tmp_path):
    words = [sys.executable, "-c", STOPPED, tmp_path / "a.json", ROOT / "benchmarks"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while process.stdout.readline() != "2\n":
        pass
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate()
    kept = json.loads((tmp_path / "a.json").read_text())
    assert kept["rows"] == [0, 1, 2]
    assert kept["ended_by"] == "KeyboardInterrupt"


def test_a_benchmark_that_fails_has_kept_what_it_found(tmp_path):
    def fails():
        with keeping({}, tmp_path / "a.json") as found:
            found["rows"] = [1]
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fails()
    assert kept_in(tmp_path / "a.json")["ended_by"] == "OSError: gone"


def busy(n):
    """Return what takes n units of processor time."""
    return lambda: sum(range(20_000 * n))


def test_a_ratio_says_how_often_the_work_is_done_while_its_yardstick_is():
    assert 2 < measured(Ratio(busy(1), busy(4))) < 8
    assert 2 < measured(Ratio(busy(4), busy(1), per=16)) < 8


@pytest.fixture
def one_ratio(tmp_path, monkeypatch):
    """A single quick ratio of about 1, and where it is kept."""
    monkeypatch.setattr(quick, "KEPT", tmp_path / "quick.json")
    for name in list(RATIOS):
        monkeypatch.delitem(RATIOS, name)
    monkeypatch.setitem(RATIOS, "one", lambda _: Ratio(busy(1), busy(1)))
    return RATIOS


def test_a_ratio_that_falls_by_half_fails_and_names_itself(one_ratio, monkeypatch, capsys):
    assert judged_ratios() == 0, "what is new cannot have fallen"
    assert judged_ratios(keep_them=True) == 0
    assert judged_ratios() == 0
    monkeypatch.setitem(one_ratio, "one", lambda _: Ratio(busy(4), busy(1)))
    capsys.readouterr()
    assert judged_ratios() == 1
    assert "FELL" in capsys.readouterr().out
    assert not fallen({"one": 0.6}, {"one": 1.0})


def test_a_peer_that_is_missing_is_a_row_that_says_so(one_ratio, monkeypatch, capsys):
    def without(_):
        import no_such_peer  # noqa: F401

    monkeypatch.setitem(one_ratio, "beside a peer", without)
    assert judged_ratios() == 0
    assert "not measured: No module named 'no_such_peer'" in capsys.readouterr().out
    assert judged_ratios(["two"]) == 2
    assert "there is no quick ratio 'two'; there are" in capsys.readouterr().out


def test_every_quick_ratio_is_kept_and_has_a_benchmark():
    kept = kept_in(quick.KEPT)
    assert kept["ratios"].keys() == RATIOS.keys()
    assert kept["commit"]
    assert set(RATIOS) <= {one.name for one in EVERY}

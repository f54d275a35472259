"""The README's code does what it says, in the order in which it stands there."""

import json
import math
import re
from pathlib import Path

import pytest

import stemkin as sk
from stemkin.cli.commands import app
from stemkin.simulation import write_simulation

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with movies and with the results of a run, called as in the README."""
    folder = tmp_path_factory.mktemp("desk")
    write_simulation("paper", folder / "movies", n_frames=6, shape=(128, 128), seed=2)
    config = sk.RunConfig().with_words(
        ["learn.n_frames=2", "kinetics.self_check_runs=0", "kinetics.null_controls=false"]
    )
    sk.run(folder / "movies", folder / "results", config=config, until="kinetics")
    return folder


def test_there_are_two_pieces_of_python():
    assert len(PYTHON) == 2


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_runs_as_it_stands(desk, monkeypatch, capsys, number):
    monkeypatch.chdir(desk)
    # the same verbs on threads: processes start in the examples
    code = "import stemkin as sk\n" + PYTHON[number].replace(
        "sk.connect()", 'sk.connect("threads")'
    )
    exec(compile(code, f"README {number}", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "Mo_W" in printed or "transitions" in printed


def test_commands_have_the_options_that_are_typed():
    """Every option of every command line is known to its command."""
    import typer.main

    group = typer.main.get_command(app)
    lines = [
        line for block in CONSOLE for line in block.splitlines() if line.startswith("$ stemkin")
    ]
    lines += re.findall(r"`(stemkin [a-z]+[^`]*)`", README.replace("\n", " "))
    assert len(lines) > 5
    for line in lines:
        name, *words = line.removeprefix("$ ").split("#")[0].split()[1:]
        command = group.commands[name]
        known = {option for one in command.params for option in one.opts}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known, (line, word)


def down(deciles, name, which="median"):
    """Round a share down, so that nothing is said to be better than it is."""
    return f"{math.floor(100 * deciles[which][name] + 1e-9) / 100:.2f}"


def test_numbers_are_those_of_the_kept_results():
    root = Path(__file__).parents[1] / "benchmarks/results"
    usual, quarter = (
        json.loads((root / f"worlds_{dose}.json").read_text())["deciles"]
        for dose in ("usual", "quarter")
    )
    hota = {
        row["linker"]: row["hota"]
        for row in json.loads((root / "association.json").read_text())["rows"]
        if row["movie"] == "paper"
    }
    largest = json.loads((root / "long_movie.json").read_text())["sizes"][-1]
    workers = [
        row["worker_peak_mib"] for row in json.loads((root / "memory.json").read_text())["flat"]
    ]
    said = [
        f"{down(usual, 'recall')} at a usual dose, {down(quarter, 'recall')} at a quarter of it, where "
        f"an ideal observer finds {down(usual, 'possible')} and {down(quarter, 'possible')} (",
        f"{down(usual, 'names')} and {down(quarter, 'names')}; in the worst decile "
        f"{down(usual, 'names', 'worst decile')} and {down(quarter, 'names', 'worst decile')} ",
        f"{hota['stemkin, defaults']:.3f} on a movie of the paper's kind; "
        f"trackpy {hota['trackpy, best']:.3f}, LapTrack {hota['laptrack, best']:.3f}",
        f"{largest['link_s']:.0f} s on one core, {largest['link_peak_mib'] / 1024:.1f} GiB",
    ]
    for phrase in said:
        assert re.sub(r"\b0\.", ".", phrase) in README
    assert largest["rows"] >= 1e8
    assert max(workers) < 1.02 * min(workers)


def test_the_picture_is_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / path).is_file()

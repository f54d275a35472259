"""Write the tables of `benchmarks/README.md`: the goals from the kept results, the scripts from the
registry. `tests/test_benchmarks.py` holds that they stand there as they are made here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeping import RESULTS
from registry import table

NO_PEERS = ("bar", "ideal observer", "without Dask")
"""What stands in the place of a peer where there is none."""
README = Path(__file__).parent / "README.md"


@dataclass(frozen=True)
class Goal:
    """A line of the table of goals.

    Attributes
    ----------
    what
        What is compared, with its unit.
    peer
        The best peer, or the yardstick, with its value.
    own
        The value of stemkin.
    ratio
        How many times better stemkin is; below 1 where the peer wins.
    limit
        What nobody can exceed, or the bar that is set.
    kept
        File of the results.
    """

    what: str
    peer: str
    own: str
    ratio: float
    limit: str
    kept: str

    def row(self) -> str:
        won = f"{self.ratio:.3g}"
        if self.ratio < 1 and self.peer.startswith(NO_PEERS):
            won += " (not reached)"
        elif self.ratio < 1:
            won += " (the peer wins)"
        cells = [self.what, self.peer, self.own, won, self.limit]
        return "| " + " | ".join([*cells, f"[`{self.kept}`](results/{self.kept})"]) + " |"


def result(name: str) -> Any:
    """Return a kept result."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def linking() -> Iterator[Goal]:
    """Rows per second beside trackpy."""
    for row, bar in zip(result("linking.json")["beside trackpy"], (3, 10), strict=True):
        theirs, own = row["trackpy_rows_per_s"], row["likelihood_rows_per_s"]
        yield Goal(
            f"linking {row['points_per_frame']:,} points a frame, rows/s",
            f"trackpy {theirs:,.0f}",
            f"{own:,.0f}",
            own / theirs,
            f"bar {bar}",
            "linking.json",
        )


def association() -> Iterator[Goal]:
    """HOTA beside the better of trackpy and laptrack, where it is least and most crowded."""
    rows = result("association.json")["rows"]
    for movie in ("paper", "4 steps apart", "2 steps apart"):
        hota = {row["linker"]: row["hota"] for row in rows if row["movie"] == movie}
        peers = {name: value for name, value in hota.items() if name.endswith(", best")}
        best = max(peers, key=lambda name: peers[name])
        own = hota["stemkin, defaults"]
        yield Goal(
            f"tracks, HOTA, {movie}",
            f"{best.split(',')[0]} {peers[best]:.3f}",
            f"{own:.3f}",
            own / peers[best],
            "1",
            "association.json",
        )


def counting() -> Iterator[Goal]:
    """Transition counts and MSD of the largest tables, beside who knows their order."""
    rows = result("tables.json")["rows"]
    for what, beside, limit in (
        ("counts", "pandas, in order", "bar 20"),
        ("counts", "pandas, sorted", "bar 20"),
        ("msd", "trackpy", ""),
    ):
        [*_, row] = [one for one in rows if (one["what"], one["beside"]) == (what, beside)]
        yield Goal(
            f"{what} of {row['rows']:,} rows, s",
            f"{beside} {row['its_seconds']:.3g}",
            f"{row['seconds']:.3g}",
            row["factor"],
            limit,
            "tables.json",
        )


def reading() -> Iterator[Goal]:
    """Zarr beside the fastest pipeline, and beside the codec alone."""
    found = result("io.json")["found"]
    peers = ("zarr-python", "zarr-python with zarrs", "tensorstore")
    for state in ("cold", "warm"):
        speeds = {name: found[f"{name} ({state}) [MB/s]"] for name in peers}
        best = max(speeds, key=lambda name: speeds[name])
        own = found[f"zarr ({state}) [MB/s]"]
        yield Goal(
            f"reading Zarr, {state}, MB/s",
            f"{best} {speeds[best]:,.0f}",
            f"{own:,.0f}",
            own / speeds[best],
            f"codec alone {found[f'codec alone ({state}) [MB/s]']:,.0f}",
            "io.json",
        )


def detecting() -> Iterator[Goal]:
    """F1 beside AtomAI, and d' beside an ideal observer."""
    judged = {row["detector"]: row for row in result("network.json")["presets"]["paper"]["judged"]}
    [peer] = [name for name in judged if name.startswith("AtomAI")]
    theirs, own = judged[peer]["f1"], judged["fourier, tuned"]["f1"]
    yield Goal("defects, F1, same labels", f"{peer} {theirs:.3f}", f"{own:.3f}", own / theirs, "1", "network.json")  # fmt: skip
    for name, dose in (("worlds_usual.json", "usual dose"), ("worlds_quarter.json", "a quarter")):
        deciles = result(name)["deciles"]
        for decile in ("median", "worst decile"):
            share = deciles[decile]["of_ideal"]
            yield Goal(f"d' in worlds, {dose}, {decile}", "ideal observer 1", f"{share:.3f}", share, "1", name)  # fmt: skip


def frames() -> Iterator[Goal]:
    """What the search of a frame costs, and what more workers gain."""
    kept = result("frame.json")
    *_, (name, last) = kept.items()
    pairs = last["stages"]["all"]["pairs"]
    yield Goal(
        f"search of a frame of {last['size']['edge']} px, pairs of transforms",
        "bar 8",
        f"{pairs:.1f} ({name}, {last['commit']})",
        8 / pairs,
        "8",
        "frame.json",
    )
    summary = result("scaling.json")["summary"]
    strong = summary["strong"]["512"]
    gained, ceiling = float(strong["2"]), summary["ceiling_of_2"]["search"]
    yield Goal("two workers for one", f"without Dask {ceiling:.2f}", f"{gained:.2f}", gained / ceiling, f"arithmetic {summary['ceiling_of_2']['arithmetic']:.2f}", "scaling.json")  # fmt: skip


def pipelines() -> Iterator[Goal]:
    """End to end beside the glued pipeline; nothing where that has not been measured."""
    if not (RESULTS / "peers.json").exists():
        return
    kept = result("peers.json")
    ours, theirs = kept["rows"]["stemkin"], kept["rows"]["glued"]
    for key, what, better in (
        ("cpu_s", "end to end, CPU s", "less"),
        ("wall_s", "end to end, wall s", "less"),
        ("f1", "end to end, F1", "more"),
        ("ari", "end to end, ARI of names", "more"),
        ("d_error", "end to end, error of D", "less"),
    ):
        if "said" in theirs:
            yield Goal(what, f"glued: {theirs['said']}", f"{ours[key]:.3g}", 1.0, "", "peers.json")
            continue
        ratio = ours[key] / theirs[key]
        if better == "less":
            ratio = 1 / ratio
        yield Goal(what, f"glued {theirs[key]:.3g}", f"{ours[key]:.3g}", ratio, "", "peers.json")


GOALS: tuple[Callable[[], Iterator[Goal]], ...] = (
    pipelines,
    frames,
    detecting,
    linking,
    association,
    counting,
    reading,
)


def goals() -> str:
    """Return the table of goals."""
    lines = ["| goal | best peer or bar | stemkin | ratio | limit | kept |", "|---" * 6 + "|"]
    lines += [goal.row() for every in GOALS for goal in every()]
    return "\n".join(lines)


def between(text: str, name: str, content: str) -> str:
    """Return a text with a content between its marks.

    Raises
    ------
    ValueError
        If the marks are not there.
    """
    begin, end = f"<!-- {name}: python -m benchmarks --tables -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        msg = f"there are no marks of {name!r} to write a table between"
        raise ValueError(msg)
    return f"{before}{begin}\n{content}\n{end}{after}"


def with_tables(text: str) -> str:
    """Return the README with its tables made anew."""
    return between(between(text, "goals", goals()), "scripts", table())


def write_tables() -> None:
    """Write the README's tables."""
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")

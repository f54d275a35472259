"""What is known of a benchmark without running it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """One script, what it is for, and how it is run.

    Attributes
    ----------
    script
        Its file in `benchmarks`.
    tells
        What it tells, in one phrase.
    asked
        Its arguments; ``{kept}`` is the folder of results, ``{scratch}`` an empty one, ``{results}``
        a finished results folder, which has to be named.
    peers
        Other programs that do the same job in it.
    yardstick
        What it is measured in, or held against, in the same run.
    bar
        What is to be reached.
    minutes
        How long it takes on an idle machine of two cores, about.
    kept
        Its files among the kept results.
    """

    script: str
    tells: str
    asked: str = ""
    peers: str = ""
    yardstick: str = ""
    bar: str = ""
    minutes: float = 1
    kept: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The script's name, without what all of them share."""
        return self.script.removesuffix(".py").removeprefix("bench_")

    @property
    def command(self) -> str:
        """As it is typed in the project's folder."""
        asked = self.asked.replace("{kept}", "benchmarks/results").replace("{scratch}", "scratch")
        return f"python benchmarks/{self.script} {asked.replace('{results}', 'RESULTS')}".strip()

    def row(self) -> str:
        """Return its line in the table of `benchmarks/README.md`."""
        kept = ", ".join(f"[`{name}`](results/{name})" for name in self.kept)
        beside = "; ".join(words for words in (self.peers, self.yardstick) if words)
        cells = [f"`{self.script}`", self.tells, beside, self.bar, f"{self.minutes:g}"]
        return "| " + " | ".join([*cells, f"`{self.command}`", kept]) + " |"

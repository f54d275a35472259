"""What a run will cost stage by stage, how its movies are calibrated, and what it will refuse.

Times are those of `stemkin demo` and of ``benchmarks/results/long_movie.json``, in units of what
searching a frame of these movies takes here. They are good to a factor of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike

from stemkin.config import RunConfig
from stemkin.movie import Movie
from stemkin.pipeline.blocks import block_mib
from stemkin.pipeline.calibration import QUANTITIES, doubts_together
from stemkin.pipeline.opening import Inputs
from stemkin.pipeline.planning import WORKER_BASE_MIB, RunPlan
from stemkin.pipeline.readiness import check_memory, modules_needed
from stemkin.progress import in_words
from stemkin.results.journal import check_is_free
from stemkin.results.store import FolderError, Store

LEARN_SEARCHES, CRYSTAL_SEARCHES = 13.0, 10.0
"""Learning costs so many searches for each of its frames, the crystal so many for each movie."""
LINK_S_PER_ROW, ROW_S = 2.8e-6, 1.5e-6
"""Linking and counting a row, with all of its numbers' controls (a hundred million rows)."""
KINETICS_S, SELF_CHECK_S, REPORT_S = 8.0, 0.08, 3.0
"""What these stages take before the first row; the self-check for each of its experiments."""
REPORT_S_PER_MOVIE, SHOWN_MOVIES = 0.5, 6
BYTES_PER_ROW = 9.0
"""Memory that tables' stages take for each row of tracks, beside a worker's own."""


@dataclass(frozen=True)
class StageCost:
    """What a stage should take: `seconds`, and at most `memory_mib` in each process."""

    stage: str
    seconds: float
    memory_mib: float

    def in_words(self) -> str:
        """Return it as a line."""
        return f"  {self.stage:<11} {in_words(self.seconds):>9}   {self.memory_mib:,.0f} MiB"


@dataclass(frozen=True)
class Forecast:
    """What is known of a run before it begins.

    Attributes
    ----------
    plan
        Its size.
    costs
        Of each stage.
    calibrations
        Calibration and where it comes from, a line for all movies that share it.
    doubts
        What the run will warn of.
    refused
        Why the run would not start, in sentences; empty for none.
    """

    plan: RunPlan
    costs: Sequence[StageCost]
    calibrations: Sequence[str]
    doubts: Sequence[str]
    refused: Sequence[str]

    def describe(self) -> str:
        """Return all of it as the lines that ``--dry-run`` prints."""
        lines = [self.plan.describe()]
        if self.costs:
            total = in_words(sum(cost.seconds for cost in self.costs))
            lines.append(f"stages: about {total} in all; time, and memory of a process:")
            lines += [cost.in_words() for cost in self.costs]
        lines += [f"calibration: {line}" for line in self.calibrations]
        lines += [f"doubt: {doubt}" for doubt in self.doubts]
        lines += [f"would be refused: {why}" for why in self.refused]
        return "\n".join(lines)


def forecast(
    found: Inputs,
    plan: RunPlan,
    *,
    config: RunConfig,
    out: str | PathLike[str],
    fresh: bool = False,
    model_given: bool = False,
    processes: bool = True,
) -> Forecast:
    """Return what can be said of a run before it begins. Reads nothing but the journal of `out`.

    Parameters
    ----------
    found, plan, config
        The movies, how much they are, and the settings.
    out
        The results folder that is meant.
    fresh, model_given
        Whether the run is to start over, and whether it need not learn.
    processes
        Whether each worker is a process with one thread, rather than all threads of one.
    """
    return Forecast(
        plan,
        stage_costs(plan, config, model_given=model_given),
        calibrations(found.movies),
        doubts_together(found.movies, {}, config.learn.material),
        refusals(found, config, out, fresh=fresh, workers=plan.workers, processes=processes),
    )


def stage_costs(plan: RunPlan, config: RunConfig, *, model_given: bool) -> list[StageCost]:
    """Return what each stage should cost; nothing where no frame was looked at."""
    if plan.sample is None or plan.seconds is None:
        return []
    search_s = plan.sample.search_s_per_frame
    rows = plan.n_frames * plan.sample.detections_per_frame
    base, tables = WORKER_BASE_MIB, WORKER_BASE_MIB + rows * BYTES_PER_ROW / 2**20
    block = plan.peak_memory_mib + plan.site_memory_mib
    n_learned = plan.n_learned
    if model_given:
        n_learned = 0
    movies_at_once = min(plan.workers, max(1, plan.n_movies))
    runs = config.kinetics.self_check_runs
    seconds = {
        "learn": n_learned * LEARN_SEARCHES * search_s,
        "crystals": plan.n_movies * CRYSTAL_SEARCHES * search_s / movies_at_once,
        "detect": plan.seconds,
        "link": rows * LINK_S_PER_ROW,
        "kinetics": KINETICS_S + rows * ROW_S,
        "self_check": runs * (SELF_CHECK_S + min(rows, 1e5) * ROW_S),
        "report": REPORT_S + REPORT_S_PER_MOVIE * min(plan.n_movies, SHOWN_MOVIES),
    }
    memory = {"learn": block, "crystals": base, "detect": block}
    return [StageCost(s, t, memory.get(s, tables)) for s, t in seconds.items() if t > 0]


def calibrations(movies: Iterable[Movie]) -> list[str]:
    """Return each calibration that movies have, with its origins, and how many share it."""
    shared: dict[str, list[str]] = {}
    for movie in movies:
        parts = []
        for name, (what, unit) in QUANTITIES.items():
            value = getattr(movie, name)
            if value is None:
                parts.append(f"{what} unknown")
                continue
            origin = movie.calibration.origin.get(name, "the file")
            parts.append(f"{what} {value:g} {unit} (from {origin})")
        shared.setdefault(", ".join(parts), []).append(movie.name)
    lines = []
    for says, names in shared.items():
        who = names[0]
        if len(names) > 1:
            who = f"{names[0]} and {len(names) - 1:,} more"
        lines.append(f"{says}: {who}")
    return lines


def refusals(
    found: Inputs,
    config: RunConfig,
    out: str | PathLike[str],
    *,
    fresh: bool,
    workers: int,
    processes: bool,
) -> list[str]:
    """Return why a run on this machine would not start, in sentences."""
    from distributed.system import MEMORY_LIMIT

    store, said = Store.at(out), []
    limit_mib, n_threads = MEMORY_LIMIT / 2**20, workers
    if processes:
        limit_mib, n_threads = limit_mib / workers, 1
    try:
        check_is_free(store, found.sources, fresh=fresh)
    except FolderError as error:
        said.append(str(error))
    try:
        mib = block_mib(found.movies)
        check_memory(found.movies, config.detect, mib, limit_mib=limit_mib, n_threads=n_threads)
    except ValueError as error:
        said.append(str(error))
    for package, extra in modules_needed(found.movies, store, config).items():
        if find_spec(package) is None:
            said.append(f"{package} is missing: pip install 'stemkin[{extra}]'")
    return said

"""From movies to a report: the only room that knows the order of the stages.

    archive → learn → crystals → detect → (name again) → (frames, phases) → link → kinetics
            → self-check → (sites) → report

`run` computes nothing itself: it opens the archive, asks each stage for what is missing in the
results folder, and keeps ``run.json``. The pixels are read once, block by block, through a small
window of tasks (`stemkin.schedulers.streams`), and each worker writes its own rows; a run that was
stopped, by whatever, goes on where it was. Movies finish one by one: what follows from the last
block of one is done while others are searched (`stemkin.pipeline.completion`), and the stages find
it done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from stemkin.blas import one_thread
from stemkin.config import RunConfig
from stemkin.errors import DONE, INCOMPLETE, DamagedFileError
from stemkin.learning.edits import Edits, read_edits
from stemkin.movie import Movie
from stemkin.pipeline.blocks import block_mib
from stemkin.pipeline.calibration import say_doubts
from stemkin.pipeline.completion import SO_FAR, Completions
from stemkin.pipeline.crystals import find_crystals
from stemkin.pipeline.gallery import write_gallery
from stemkin.pipeline.injection import put_in_known_defects
from stemkin.pipeline.model import learn_model, load_model, settle_model
from stemkin.pipeline.naming import name_again, settle_edits
from stemkin.pipeline.newcomers import say_who_differs
from stemkin.pipeline.numbers import compute_kinetics
from stemkin.pipeline.opening import Inputs, open_inputs, say_who_grew
from stemkin.pipeline.outcome import (
    RunOutcome,
    fail_movie,
    is_analysed,
    problems_of,
    say_what_was_mended,
)
from stemkin.pipeline.phases import follow_phases
from stemkin.pipeline.pixels import run_pixel_pass
from stemkin.pipeline.planning import RunPlan, plan_run
from stemkin.pipeline.readiness import check_ready
from stemkin.pipeline.rebuilding import settle_journal
from stemkin.pipeline.self_check import check_oneself
from stemkin.pipeline.sensitivity import say_what_was_learned
from stemkin.pipeline.site_kinetics import check_judges_sites, compare_answers, follow_sites
from stemkin.pipeline.tracks import link_movies
from stemkin.pipeline.watching import NotedWatch
from stemkin.progress import Unwatched, Watch
from stemkin.readers.errors import ChangedMovieError
from stemkin.report import write_report
from stemkin.results.journal import Journal, check_not_later
from stemkin.results.lock import locked
from stemkin.results.log import logged, performance_reported
from stemkin.results.quarantine import names_of_notes, set_aside
from stemkin.results.store import FolderError, Store
from stemkin.schedulers.active import active_client
from stemkin.sites.pixels import site_judge

__all__ = [
    "Inputs",
    "RunOutcome",
    "RunPlan",
    "learn_model",
    "open_inputs",
    "plan_run",
    "resume",
    "run",
]

BEFORE_PIXELS = ("learn", "crystals")
"""The stages before the search of all frames."""
AFTER_PIXELS = ("link", "kinetics", "report")
"""The stages that follow the search of all frames."""
MEMORY_TOLERANCE = 1.1
"""A worker may hold so much more than was projected before the run says so."""
HEALINGS = 3
"""So often a run goes on from a file that rotted while it was going on."""


@one_thread
def run(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]] | Inputs,
    out: str | PathLike[str],
    *,
    config: RunConfig | None = None,
    model: str | PathLike[str] | None = None,
    relearn: bool = False,
    fresh: bool = False,
    until: str | None = None,
    classes: Edits | str | PathLike[str] | None = None,
    watch: Watch | None = None,
    performance_report: bool = False,
    sites: bool = False,
) -> RunOutcome:
    """Turn movies into a folder of results with a report; a second call redoes what is stale.

    Computes once.

    Parameters
    ----------
    inputs
        A movie, a folder, a glob, a URL or a manifest, or several of them; or what `open_inputs`
        made of these.
    out
        Results folder: a path or an fsspec URL.
    config
        Settings; by default those of `RunConfig`.
    model
        Folder of a learned model; without it the folder's own one is used, or one is learned from the
        inputs where there is none.
    relearn
        Whether to learn again from the inputs as they are now. Without it, movies that come, change
        or go leave the model of a results folder as it is, and cost themselves only.
    fresh
        Remove what the folder holds and start over.
    until
        The last stage: ``"detect"`` stops before tracks are linked, ``"link"`` before numbers,
        ``"kinetics"`` before the report. By default the report.
    classes
        How classes are renamed, merged or split (`stemkin.learning.edits`): a file, or what it
        says; an empty mapping takes back what was said before, None keeps it.
    watch
        Who is told of the progress: a `stemkin.progress.Watch`, such as a subclass of `Unwatched`
        that says something.
    performance_report
        Whether to keep Dask's own report of the run (tasks, transfers), as ``performance.html``.
    sites
        Whether to follow every site of the lattice too, whatever `config` says (``[sites]``).

    Returns
    -------
    RunOutcome
        Whether all went well, and where the report is.

    Raises
    ------
    ValueError
        If no movie can be used, the folder belongs to another run, blocks do not fit the workers'
        memory, no stage is called `until`, or sites are asked of a detector that judges none.
    StoppedError
        If the results folder cannot be written any more, a store does not answer, or the scheduler
        is gone; what is done is kept.
    """
    config, edits = config or RunConfig(), _said(classes)
    if sites:
        config = config.with_values(sites={"traces": True})
    check_judges_sites(config, given=model is not None)
    store, stages = Store.at(out), _stages_until(until)
    found = inputs if isinstance(inputs, Inputs) else open_inputs(inputs, config, results=out)
    found, client = found.watched(), active_client()
    with locked(store), ExitStack() as stack:
        projected_mib = check_ready(found.movies, store, config, block_mib(found.movies), client)
        before = names_of_notes(store)
        if not fresh:
            settle_journal(store, found.movies, found.sources)
        journal = Journal.start(
            store,
            found.sources,
            config.model_dump(mode="json"),
            fresh=fresh,
            command=" ".join(sys.argv),
        )
        journal.content["movies"] = found.listing()
        journal.save()  # before any other file: by it a results folder is known
        noted = NotedWatch(watch or Unwatched(), journal)
        noted.begin((*BEFORE_PIXELS, *_with_pixels(config), *_parts_of(stages, config)))
        noted.fail(len(found.problems))
        stack.enter_context(logged(store, client))
        if performance_report:
            stack.enter_context(performance_reported(store, client))
        found.remember(store)
        given = None if model is None else Path(fspath(model))
        task = _Run(store, journal, config, stages, noted, before, relearn)

        def whole_run() -> RunOutcome:
            journal.content["movies"] = found.listing()
            completions = _searched(task, found, given, edits, projected_mib)
            return _tables_and_report(task, found, completions)

        return _healing(task, whole_run)


@dataclass(frozen=True)
class _Run:
    """What the stages of a run share; `before` are the notes of what was set aside before it."""

    store: Store
    journal: Journal
    config: RunConfig
    stages: Sequence[str]
    watch: NotedWatch
    before: frozenset[str]
    relearn: bool = False


def _healing(task: _Run, work: Callable[[], RunOutcome]) -> RunOutcome:
    """Do `work`; where a file is met that rotted meanwhile, set it aside and do what is missing.

    Raises
    ------
    DamagedFileError
        If files rot faster than they can be made.
    """
    for _ in range(HEALINGS):
        try:
            return work()
        except DamagedFileError as error:
            place = error.place.removeprefix(f"{task.store.root}/")
            set_aside(task.store, error.why, *place.split("/"))
            task.journal.content["blocks"]["failed"] = []
    return work()


def _searched(
    task: _Run, found: Inputs, given: Path | None, edits: Edits | None, projected_mib: float
) -> Completions | None:
    """Do what needs pixels: learn, look for crystals, search every block."""
    store, journal, config, noted = task.store, task.journal, task.config, task.watch
    with journal.stage("learn") as record, _in_one(noted, "learn"):
        model_print, movies = _settled_model(task, found.movies, given, record)
        journal.content["warnings"] += record["warnings"]
    if config.sites.traces:
        site_judge(load_model(store, as_learned=True))
    settle_edits(store, edits)
    with journal.stage("crystals") as record:
        crystals = find_crystals(movies, store, config.run.retries, journal, record, noted)
    movies = [movie for movie in movies if movie.name in crystals]
    say_doubts(movies, record["lattice_px"], config.learn.material, journal)
    say_what_was_learned(movies, store, crystals, journal, material=config.learn.material)
    if active_client() is None:
        # the tasks run in this process, and it has learned meanwhile
        ready = check_ready(movies, store, config, block_mib(movies), None) if movies else 0.0
        projected_mib = max(projected_mib, ready)
    with journal.stage("detect") as record:
        record["projected_peak_memory_mib"] = round(projected_mib, 1)
        completions = Completions(store, journal, config) if task.stages else None
        seen = run_pixel_pass(
            movies,
            store,
            config,
            model_print,
            crystals,
            journal,
            record,
            noted,
            completions,
        )
        judge_memory(record, journal)
        say_who_differs(movies, seen.searched(), crystals, store, journal, config.learn.material)
        if completions is not None and completions.linked:
            record["linking_peak_memory_mib"] = round(completions.peak_memory_mib, 1)
    with journal.stage("inject") as record, ExitStack() as shown:
        if config.detect.injected_frames:
            shown.enter_context(_in_one(noted, "inject"))
        put_in_known_defects(movies, store, config, model_print, crystals, journal, record)
    return completions


def _settled_model(
    task: _Run, movies: Sequence[Movie], given: Path | None, record: dict[str, Any]
) -> tuple[str, Sequence[Movie]]:
    """Settle the model; return its fingerprint, and the movies that are still what they were.

    A movie that changes while the model learns from it fails; the model is learned from the others.

    Raises
    ------
    ChangedMovieError
        If no movie is left.
    """
    before, words = task.journal.stage_before("learn"), {"relearn": task.relearn}
    while True:
        try:
            return (
                settle_model(movies, task.store, task.config, given, record, before, **words),
                movies,
            )
        except ChangedMovieError as error:
            kept = [movie for movie in movies if not str(error).startswith(f"{movie.source} ")]
            if not kept or len(kept) == len(movies):
                raise
            for movie in set(movies) - set(kept):
                fail_movie(task.journal, movie.name, str(error))
            movies = kept


def judge_memory(record: Mapping[str, Any], journal: Journal) -> None:
    """Warn where a worker held more than was said before."""
    measured, projected = record["worker_peak_memory_mib"], record["projected_peak_memory_mib"]
    if measured > MEMORY_TOLERANCE * projected:
        journal.warn(
            f"a worker held {measured:.0f} MiB, and {projected:.0f} MiB were projected; "
            "if that is too much, set a smaller frames_per_block in [detect]"
        )


@one_thread
def resume(
    out: str | PathLike[str],
    *,
    stages: Sequence[str] = AFTER_PIXELS,
    config: RunConfig | None = None,
    classes: Edits | str | PathLike[str] | None = None,
    watch: Watch | None = None,
) -> RunOutcome:
    """Do the named stages of an existing results folder; no pixel is read. Computes once.

    `classes` are as for `run`.

    Raises
    ------
    ValueError
        If `out` is no results folder, its movies were never searched, or no stage that follows the
        pixels is called like one of `stages`.
    """
    for stage in stages:
        _check_stage("stages", stage, AFTER_PIXELS)
    store, edits = Store.at(out), _said(classes)
    with locked(store), logged(store, active_client()):
        before = names_of_notes(store)
        journal = Journal.read(store)
        check_not_later(store, journal.content)
        settings = config or RunConfig.from_dict(journal.content["config"])
        journal.content["config"] = settings.model_dump(mode="json")
        noted = NotedWatch(watch or Unwatched(), journal)
        noted.begin(_parts_of(stages, settings))
        task = _Run(store, journal, settings, stages, noted, before)

        def whole_run() -> RunOutcome:
            settle_edits(store, edits)
            return _tables_and_report(task, None)

        try:
            return _healing(task, whole_run)
        except DamagedFileError as error:
            msg = (
                f"{store.path(error.place)} is damaged ({error.why}), and only the movies hold "
                f"what it was made of; {journal.command()} makes it again"
            )
            raise FolderError(msg) from None


def _tables_and_report(
    task: _Run, found: Inputs | None, completions: Completions | None = None
) -> RunOutcome:
    """Do what follows the pixels and was not done during the pass, and close the journal."""
    store, journal, config, watch = task.store, task.journal, task.config, task.watch
    if found is not None and not any(is_analysed(journal, movie.name) for movie in found.movies):
        say_what_was_mended(task.before, journal)
        journal.finish(INCOMPLETE)
        watch.end()
        return RunOutcome(store.root, INCOMPLETE, problems_of(journal), None, {})
    followed, linked = {}, {}
    if completions is not None:
        followed, linked = completions.followed, completions.linked
    with journal.stage("name") as record:
        name_again(store, journal, config.run.retries, record, watch)
    with journal.stage("phases") as record:
        follow_phases(store, journal, config.run.retries, record, watch, followed)
    if "link" in task.stages:
        with journal.stage("link") as record:
            link_movies(store, journal, config, record, watch, linked)
    if "kinetics" in task.stages:
        with journal.stage("kinetics") as record, _in_one(watch, "kinetics"):
            compute_kinetics(store, journal, config, record)
        with journal.stage("self_check") as record, _in_one(watch, "self_check"):
            check_oneself(store, journal, config, record)
        with journal.stage("sites") as record:
            follow_sites(store, journal, config, record, watch)
            compare_answers(store, config)
    if "link" in task.stages or "kinetics" in task.stages:
        store.remove(SO_FAR)
    if found is not None:
        movies = [movie for movie in found.movies if is_analysed(journal, movie.name)]
        say_who_grew(movies, journal)
        write_gallery(store, movies, journal)
    say_what_was_mended(task.before, journal)
    problems = problems_of(journal)
    code = INCOMPLETE if problems else DONE
    journal.finish(code)
    report = None
    if "report" in task.stages:
        with journal.stage("report"), _in_one(watch, "report"):
            report = str(write_report(store.root))
    watch.end()
    return RunOutcome(store.root, code, problems, report, journal.content["blocks"])


def _with_pixels(config: RunConfig) -> tuple[str, ...]:
    """Return the stages of all pixels, as the watch is told of them."""
    if config.detect.injected_frames:
        return ("detect", "inject")
    return ("detect",)


def _parts_of(stages: Sequence[str], config: RunConfig) -> tuple[str, ...]:
    """Return what the stages after the pixels consist of, as the watch is told of it."""
    numbers: tuple[str, ...] = ("kinetics", "self_check")
    if config.sites.traces:
        numbers = (*numbers, "sites")
    parts = {"kinetics": numbers}
    return ("name", "phases", *(part for stage in stages for part in parts.get(stage, (stage,))))


@contextmanager
def _in_one(watch: Watch, name: str) -> Iterator[None]:
    """Tell the watch of a stage that is done in one step."""
    watch.stage(name, 1)
    yield
    watch.advance()


def _stages_until(last: str | None) -> Sequence[str]:
    """Return the stages that follow the pixels, up to the one that is the last."""
    if last is None:
        return AFTER_PIXELS
    _check_stage("until", last, ("detect", *AFTER_PIXELS))
    return AFTER_PIXELS[: ("detect", *AFTER_PIXELS).index(last)]


def _check_stage(said_as: str, stage: str, known: Sequence[str]) -> None:
    """Check that a stage is among the `known`."""
    if stage not in known:
        msg = f"{said_as} names no stage {stage!r}; use one of {', '.join(known)}"
        raise ValueError(msg)


def _said(classes: Edits | str | PathLike[str] | None) -> Edits | None:
    """Return the edits of classes that were given, read from their file if it is one."""
    if classes is None or isinstance(classes, Mapping):
        return classes
    return read_edits(classes)

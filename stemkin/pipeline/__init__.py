"""From movies to a report: the only room that knows the order of the stages.

    archive → learn → detect → (name again) → (frames, phases) → link → kinetics → report

`run` computes nothing itself: it opens the archive, asks each stage for what is missing in the results folder, and keeps
``run.json``. The pixels are read once, block by block, through a small window of tasks (`stemkin.streaming`), and each
worker writes its own rows; a run that was stopped, by whatever, goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path

from stemkin.config import RunConfig
from stemkin.editing import Edits, read_edits
from stemkin.journal import Journal, locked
from stemkin.pipeline.looking import write_gallery
from stemkin.pipeline.modelling import learn_model, settle_model
from stemkin.pipeline.naming import name_again, settle_edits
from stemkin.pipeline.numbers import compute_kinetics
from stemkin.pipeline.opening import Inputs, open_inputs
from stemkin.pipeline.phases import follow_phases
from stemkin.pipeline.pixels import run_pixel_pass
from stemkin.pipeline.planning import Plan, plan
from stemkin.pipeline.tracks import link_movies
from stemkin.progress import Unwatched, Watch
from stemkin.report import write_report
from stemkin.store import Store

__all__ = ["Inputs", "Outcome", "Plan", "learn_model", "open_inputs", "plan", "resume", "run"]

DONE, INCOMPLETE = 0, 3


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    folder
        The results folder.
    exit_code
        0 all done; 3 done, but some movies or blocks failed.
    problems
        One sentence for each of those.
    report
        Path of ``report.html``, None where the run stopped before it.
    """

    folder: str
    exit_code: int
    problems: list[str] = field(default_factory=list)
    report: str | None = None

    def describe(self) -> str:
        """Return the few lines that the command line prints."""
        lines = [f"failed: {problem}" for problem in self.problems]
        lines.append(f"results: {self.folder}")
        if self.report:
            lines.append(f"report: {self.report}")
        return "\n".join(lines)


def run(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]] | Inputs,
    out: str | PathLike[str],
    *,
    config: RunConfig | None = None,
    model: str | PathLike[str] | None = None,
    fresh: bool = False,
    until: str | None = None,
    classes: Edits | str | PathLike[str] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Turn movies into a folder of results with a report. Computes once; a second call redoes only what is stale.

    Parameters
    ----------
    inputs
        A movie, a folder, a glob, a URL or a manifest, or several of them; or what `open_inputs` made of these.
    out
        Results folder: a path or an fsspec URL.
    config
        Settings; by default those of `RunConfig`.
    model
        Folder of a learned model; without it one is learned from the inputs.
    fresh
        Remove what the folder holds and start over.
    until
        ``"detect"`` stops before tracks are linked.
    classes
        How classes are renamed, merged or split (`stemkin.editing`): a file, or what it says; an empty mapping takes back what was
        said before, None keeps it.
    watch
        Who is told of the progress.

    Returns
    -------
    Outcome
        Whether all went well, and where the report is.

    Raises
    ------
    ValueError
        If no movie can be used, or the folder belongs to another run.
    """
    config, watch, edits = config or RunConfig(), watch or Unwatched(), _said(classes)
    store = Store.at(out)
    found = inputs if isinstance(inputs, Inputs) else open_inputs(inputs, config, results=out)
    with locked(store):
        journal = Journal.start(
            store, found.sources, config.model_dump(mode="json"), fresh=fresh, command=" ".join(sys.argv)
        )
        journal.content["movies"] = found.listing()
        journal.save()
        found.remember(store)
        with journal.stage("learn") as record:
            model_print = settle_model(
                found.movies, store, config, None if model is None else Path(fspath(model)), record
            )
        settle_edits(store, edits)
        with journal.stage("detect") as record:
            run_pixel_pass(found.movies, store, config, model_print, journal, record, watch)
        stages = () if until == "detect" else ("link", "kinetics", "report")
        return _tables_and_report(store, journal, config, stages, watch, found)


def resume(
    out: str | PathLike[str],
    *,
    stages: Sequence[str] = ("link", "kinetics", "report"),
    config: RunConfig | None = None,
    classes: Edits | str | PathLike[str] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Do the named stages of an existing results folder; no pixel is read. Computes once.

    `classes` are as for `run`.

    Raises
    ------
    ValueError
        If `out` is no results folder, or its movies were never searched.
    """
    store, edits = Store.at(out), _said(classes)
    with locked(store):
        journal = Journal.read(store)
        settings = config or RunConfig.from_dict(journal.content["config"])
        journal.content["config"] = settings.model_dump(mode="json")
        settle_edits(store, edits)
        return _tables_and_report(store, journal, settings, stages, watch or Unwatched(), None)


def _tables_and_report(
    store: Store, journal: Journal, config: RunConfig, stages: Sequence[str], watch: Watch, found: Inputs | None
) -> Outcome:
    """Do what follows the pixels, and close the journal."""
    with journal.stage("name") as record:
        name_again(store, journal, config.run.retries, record, watch)
    with journal.stage("phases") as record:
        follow_phases(store, journal, config.run.retries, record, watch)
    if "link" in stages:
        with journal.stage("link") as record:
            link_movies(store, journal, config, record, watch)
    if "kinetics" in stages:
        with journal.stage("kinetics") as record:
            compute_kinetics(store, journal, config, record)
    if found is not None:
        write_gallery(store, found.movies, journal)
    problems = _problems(journal)
    code = INCOMPLETE if problems else DONE
    journal.finish(code)
    report = None
    if "report" in stages:
        with journal.stage("report"):
            report = str(write_report(store.root))
    return Outcome(store.root, code, problems, report)


def _said(classes: Edits | str | PathLike[str] | None) -> Edits | None:
    return classes if classes is None or isinstance(classes, Mapping) else read_edits(classes)


def _problems(journal: Journal) -> list[str]:
    """Return one sentence for each movie and each block that failed."""
    movies = [f"{m['source']}: {m['reason']}" for m in journal.content["movies"] if m["status"] == "failed"]
    blocks = [
        f"{b['movie']}, frames {b['start']} to {b['stop'] - 1}: {b['error']}"
        for b in journal.content["blocks"]["failed"]
    ]
    return movies + blocks

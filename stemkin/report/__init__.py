"""The report: one HTML file that shows what a run found, how sure it is, and where it came from.

It reads the small tables of a results folder and nothing else, holds everything it shows (no
network, no script), and says in a sentence why a part has nothing to show. Names from outside
(movies, classes, errors) are text, never HTML.
"""

from __future__ import annotations

import logging
from functools import cache
from os import PathLike
from typing import TYPE_CHECKING, Any

from stemkin.blas import one_thread
from stemkin.results.store import Store

if TYPE_CHECKING:
    from stemkin.report.results import Results

log = logging.getLogger(__name__)

REPORT_FILE = "report.html"


@one_thread
def write_report(folder: str | PathLike[str]) -> str:
    """Write ``report.html`` into a results folder. Computes once.

    Parameters
    ----------
    folder
        Results folder: a path or an fsspec URL. Only its small tables (and the regions of one
        movie) are read, neither detections nor tracks.

    Returns
    -------
    Path or URL of the report.

    Raises
    ------
    FileNotFoundError
        If `folder` is no results folder.

    Notes
    -----
    Equal results give equal bytes: the page holds the run's times, not its own.
    """
    from stemkin.report.results import read_results

    store = Store.at(folder)
    page = render(read_results(store))
    store.write_bytes(page.encode(errors="backslashreplace"), REPORT_FILE)
    log.info("wrote %s (%.1f MB)", store.path(REPORT_FILE), len(page) / 1e6)
    return store.path(REPORT_FILE)


def render(results: Results) -> str:
    """Return the report of `results` as HTML. Computes once."""
    from stemkin.report import encounters, findings, motion, neighbourhoods, provenance, rates
    from stemkin.report.headline import headline

    return str(
        _template().render(
            level=provenance.level(results),
            status=provenance.status(results),
            summary=provenance.summary(results),
            run=results.run,
            finished=provenance.when(results.run.get("finished") or results.run.get("created")),
            problems=provenance.problems(results),
            warnings=provenance.warnings(results),
            headline=headline(results),
            pictures=findings.pictures(results),
            classes=findings.classes(results),
            likeness=neighbourhoods.likeness(results),
            structures=neighbourhoods.structures(results),
            regions=neighbourhoods.regions(results),
            populations=findings.populations(results),
            numbers=findings.numbers(results),
            transitions=rates.transitions(results),
            dwell_times=rates.dwell_times(results),
            meetings=encounters.meetings(results),
            diffusion=motion.diffusion(results),
            phases=findings.phases(results),
            drift=findings.drift(results),
            training=findings.training(results),
            provenance=provenance.provenance(results),
            has_nulls=bool(results.nulls),
            n_movies_unread=results.n_movies_unread,
        )
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from stemkin.report.palette import DARK, LIGHT, css_variables

    environment = Environment(
        loader=PackageLoader("stemkin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["light_classes"] = css_variables(LIGHT)
    environment.globals["dark_classes"] = css_variables(DARK)
    return environment.get_template("report.html.j2")

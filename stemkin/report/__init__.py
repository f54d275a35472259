"""The report: one HTML file that shows what a run found, how sure it is, and where it came from.

It reads the small tables of a results folder, and pictures and tracks of its first movies. It holds
everything it shows: no network, and one small script that the page's content-security policy knows
by its hash. Why a part has nothing to show is said in a sentence. Names from outside (movies,
classes, errors) are text, never HTML.
"""

from __future__ import annotations

import hashlib
import itertools
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
CSV_TABLES = (
    "populations",
    "abundances",
    "efficiencies",
    "transitions",
    "hidden_transitions",
    "dwell_times",
    "meetings",
    "msd",
    "diffusion",
    "hop_rates",
    "both_answers",
    "hopping",
    "dopant_rates",
    "dopant_transitions",
    "self_check",
)
"""Tables behind the numbers of the report, which stand beside it as CSV too."""


@one_thread
def write_report(folder: str | PathLike[str]) -> str:
    """Write ``report.html`` into a results folder, its figures and tables beside it. Computes once.

    The figures stand in ``report/figures/`` as SVG and PNG, the numbers in ``report/tables/`` as CSV.

    Parameters
    ----------
    folder
        Results folder: a path or an fsspec URL. Its small tables are read, the regions of one
        movie, and pictures and tracks of a few movies, at most a million rows of each.

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
    from stemkin.report.keeping import FOLDER, SEALS_FILE, files_of, kept_figures
    from stemkin.report.result_files import read_results

    store = Store.at(folder)
    results = read_results(store)
    with kept_figures() as drawings:
        page = report_page(results)
    for kind in ("figures", "tables"):
        store.remove(FOLDER, kind)
    shown = {name: results.found[name] for name in CSV_TABLES if len(results.found[name])}
    beside = files_of(drawings, shown, results.class_names)
    sums = {}
    whole_page = page.encode(errors="backslashreplace")
    for place, content in itertools.chain([((REPORT_FILE,), whole_page)], beside):
        store.write_bytes(content, *place)
        sums["/".join(place)] = hashlib.sha256(content).hexdigest()
    store.write_json(sums, FOLDER, SEALS_FILE)
    log.info("wrote %s (%.1f MB)", store.path(REPORT_FILE), len(page) / 1e6)
    return store.path(REPORT_FILE)


def report_page(results: Results) -> str:
    """Return the report of `results` as HTML. Computes once."""
    from stemkin.report import (
        frames,
        gallery,
        motion,
        neighbourhoods,
        player,
        populations,
        provenance,
    )
    from stemkin.report.encounters import meetings_section
    from stemkin.report.events import events_section
    from stemkin.report.faint import faint_section
    from stemkin.report.headline import headline_cards
    from stemkin.report.keeping import kept_figures, numbers_in_page
    from stemkin.report.learned import learned_section
    from stemkin.report.methods import methods_section
    from stemkin.report.orientations import orientations_panel
    from stemkin.report.rates import (
        doubts_of_names,
        dwell_times_section,
        transitions_section,
    )
    from stemkin.report.self_check import misleading_numbers, self_check_section
    from stemkin.report.state_graph import graph_section
    from stemkin.report.training import training_section
    from stemkin.report.wandering import wandering_section

    run = results.run
    with kept_figures() as drawings:
        return str(
            _template().render(
                level=provenance.confidence_level(results),
                status=provenance.run_status(results),
                title=provenance.run_title(results),
                experiment=provenance.experiment_facts(results),
                finished=provenance.moment(run.get("finished") or run.get("created")),
                problems=provenance.run_problems(results),
                warnings=provenance.run_warnings(results),
                doubts=doubts_of_names(results),
                headline=headline_cards(results),
                player=player.player_section(results),
                script=player.page_script(),
                script_hash=player.script_hash(),
                events=events_section(results),
                pictures=gallery.pictures_section(results),
                classes=gallery.classes_section(results),
                likeness=neighbourhoods.likeness_section(results),
                structures=neighbourhoods.structures_section(results),
                regions=neighbourhoods.regions_section(results),
                populations=populations.populations_section(results),
                numbers=populations.numbers_section(results),
                transitions=transitions_section(results),
                dwell_times=dwell_times_section(results),
                meetings=meetings_section(results),
                diffusion=motion.diffusion_section(results),
                faint=faint_section(results),
                self_check=self_check_section(results),
                misleading=misleading_numbers(results),
                phases=frames.phases_section(results),
                graph=graph_section(results),
                orientations=orientations_panel(results),
                wandering=wandering_section(results),
                drift=frames.drift_section(results),
                training=training_section(results),
                learned=learned_section(results),
                methods=methods_section(results),
                provenance=provenance.provenance_section(results),
                has_nulls=bool(results.nulls),
                n_movies_unread=results.n_movies_unread,
                figure_numbers=numbers_in_page(
                    drawings, results.class_names
                ),  # last: all figures are drawn
            )
        )


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from stemkin.plot.palette import dark_colours, light_colours
    from stemkin.report.palette import css_variables

    environment = Environment(
        loader=PackageLoader("stemkin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["light_colours"] = css_variables(light_colours())
    environment.globals["dark_colours"] = css_variables(dark_colours())
    on_micrographs = {k: v for k, v in dark_colours().items() if k.startswith("class")}
    environment.globals["micrograph_colours"] = css_variables(on_micrographs)
    return environment.get_template("report.html.j2")

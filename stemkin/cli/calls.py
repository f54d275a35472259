"""Calls of the commands: settings put together, a scheduler connected, a run watched and ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stemkin.cli.exits import close
from stemkin.errors import BAD_USAGE

if TYPE_CHECKING:
    from stemkin.config import RunConfig
    from stemkin.pipeline.opening import Inputs

AUTO = "auto"
"""Tasks run where it pays: on threads where there is little to search, else in processes."""

FEW_PIXELS = 2**25
"""So many pixels, 128 frames of 512 x 512, are searched in about the time that processes take to
start and to load what they need."""

log = logging.getLogger(__name__)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep warnings of `loggers` back, which the command says in its own words."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def settings_of(
    config: Path | None,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    dose_rate_e_per_nm2_s: float | None = None,
    material: str | None = None,
    detector: str | None = None,
    *,
    exposure_fraction: float | None = None,
    changed: Sequence[str] | None = None,
) -> RunConfig:
    """Return the settings of the file, overridden by what the command line says.

    An option of its own counts more than the same setting in `changed` (``--set``).
    """
    from stemkin.config import RunConfig

    settings = RunConfig()
    if config is not None:
        settings = RunConfig.from_file(config)
    settings = settings.with_words(changed or ())
    return settings.with_values(
        calibration={
            "pixel_size_nm": pixel_size_nm,
            "frame_time_s": frame_time_s,
            "dose_rate_e_per_nm2_s": dose_rate_e_per_nm2_s,
            "exposure_fraction": exposure_fraction,
        },
        learn={"material": material, "detector": detector},
    )


def place_for(cluster: str, found: Inputs) -> str:
    """Return where the tasks of a run go, and say it where that was left open.

    Parameters
    ----------
    cluster
        As the command line has it.
    found
        What is to be searched.
    """
    if cluster != AUTO:
        return cluster
    pixels = sum(n * height * width for n, height, width in (one.shape for one in found.movies))
    place, why = "processes", "much"
    if pixels <= FEW_PIXELS:
        place, why = "threads", "little"
    said = f"there is {why} to search ({pixels / 1e6:.0f} million pixels): on {place}"
    log.info("%s", said)
    typer.echo(f"{said} (--cluster says otherwise)", err=True)
    return place


def run_to_the_end(
    inputs: list[str],
    out: str,
    settings: RunConfig,
    model: Path | None,
    cluster: str,
    workers: int | None,
    *,
    tls: Path | None,
    fresh: bool,
    until: str | None = None,
    classes: Path | None = None,
    performance_report: bool = False,
    relearn: bool = False,
    follow: bool = False,
    until_idle_s: float | None = None,
) -> None:
    """Run on a scheduler and leave with the exit code of what came."""
    from stemkin.pipeline import open_inputs, run
    from stemkin.pipeline.acquisition import follow_acquisition
    from stemkin.progress import shown
    from stemkin.schedulers.clients import connect

    words: dict[str, Any] = {
        "config": settings,
        "model": model,
        "relearn": relearn,
        "fresh": fresh,
        "until": until,
        "classes": classes,
        "performance_report": performance_report,
    }
    if follow:
        # how much will be recorded is not known
        where = "processes" if cluster == AUTO else cluster
        with connect(where, workers=workers, security=tls), shown() as watch:
            outcome = follow_acquisition(
                inputs, out, until_idle_s=until_idle_s, watch=watch, **words
            )
        close(outcome)
        return
    # Before any worker is started, as most mistakes show here:
    found = open_inputs(inputs, settings, results=out)
    where = place_for(cluster, found)
    with connect(where, workers=workers, security=tls), shown() as watch:
        outcome = run(found, out, watch=watch, **words)
    close(outcome)


def foresee(
    inputs: list[str],
    out: str,
    settings: RunConfig,
    workers: int | None,
    cluster: str,
    *,
    fresh: bool,
    model_given: bool,
) -> None:
    """Print what a run would do and cost; leave with exit code 2 where it would be refused."""
    from stemkin.pipeline import open_inputs, plan_run
    from stemkin.pipeline.forecast import forecast
    from stemkin.schedulers.active import available_cores

    found = open_inputs(inputs, settings, results=out)
    planned = plan_run(found, config=settings, workers=workers or available_cores(), look=True)
    said = forecast(
        found,
        planned,
        config=settings,
        out=out,
        fresh=fresh,
        model_given=model_given,
        processes=place_for(cluster, found) != "threads",
    )
    typer.echo(said.describe())
    if said.refused:
        raise typer.Exit(BAD_USAGE)


def settings_in(results: Path) -> RunConfig:
    """Return the settings with which a results folder was made."""
    from stemkin.config import RunConfig
    from stemkin.results.journal import Journal, check_not_later
    from stemkin.results.store import Store

    store = Store.at(results)
    content = Journal.read(store).content
    check_not_later(store, content)
    return RunConfig.from_dict(content["config"])


def go_on(
    results: Path,
    config: Path | None,
    cluster: str,
    workers: int | None,
    stages: tuple[str, ...],
    classes: Any = None,
    changed: Sequence[str] | None = None,
    tls: Path | None = None,
    *,
    refit: bool = False,
) -> None:
    """Redo the named stages of a results folder, and the report; `refit` its classes before."""
    from stemkin.pipeline import resume
    from stemkin.pipeline.naming import edits_with_refit
    from stemkin.progress import shown
    from stemkin.results.store import Store
    from stemkin.schedulers.clients import connect

    settings = None
    if config is not None:
        settings = settings_of(config)
    if changed:
        # without a file, the settings are those that the folder was made with
        settings = (settings or settings_in(results)).with_words(changed)
    with connect(cluster, workers=workers, security=tls), shown() as watch:
        if refit:
            classes = edits_with_refit(Store.at(results), classes)
        outcome = resume(
            results, stages=(*stages, "report"), config=settings, classes=classes, watch=watch
        )
    close(outcome)

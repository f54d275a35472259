"""The command line: parse, call, print.

Exit codes: 0 done; 2 bad usage; 3 done, but something failed; 4 stopped (disk full, scheduler lost: the same command goes on);
130 interrupted, by Ctrl-C or by the system's request to end (SIGTERM).
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from stemkin.config import RunConfig

DONE, BAD_USAGE, INCOMPLETE, STOPPED, INTERRUPTED = 0, 2, 3, 4, 130

app = typer.Typer(
    name="stemkin",
    help="From movies of moving atoms to kinetics with error bars.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Movies, folders, globs, URLs or a CSV/TOML manifest.")
]
Folder = Annotated[Path, typer.Argument(metavar="RESULTS", help="A results folder.")]
Out = Annotated[str, typer.Option("--out", "-o", help="Results folder (a path or an fsspec URL).")]
PixelSize = Annotated[
    float | None, typer.Option("--pixel-size-nm", help="Edge of a pixel; overrides what the files say.")
]
FrameTime = Annotated[
    float | None, typer.Option("--frame-time-s", help="Time from frame to frame; overrides what the files say.")
]
DoseRate = Annotated[float | None, typer.Option("--dose-rate-e-per-nm2-s", help="Electrons per nm2 and second.")]
Material = Annotated[
    str | None, typer.Option("--material", help="WS2, MoS2, WSe2 or MoSe2: what classes are named after.")
]
DetectorName = Annotated[
    Literal["fourier", "network", "paper"] | None,
    typer.Option(
        "--detector", help="How defects are found: a filter, a network learned from the input, or the paper's."
    ),
]
Settings = Annotated[Path | None, typer.Option("--config", help="Settings as a TOML file.")]
ModelFolder = Annotated[
    Path | None, typer.Option("--model", help="A learned model; without it one is learned from the input.")
]
Cluster = Annotated[
    str, typer.Option("--cluster", help="processes | threads | gpu | tcp://HOST:PORT | scheduler.json | cluster.toml")
]
Workers = Annotated[int | None, typer.Option("--workers", help="How many processes, threads or jobs to start.")]
Edit = Annotated[
    Path | None,
    typer.Option("--classes", help="TOML file that renames, merges or splits classes; see `stemkin classes`."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Remove what the results folder holds and start over.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more of what happens.")] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    handler = logging.StreamHandler()
    handler.setLevel(level)  # on the handler: libraries set the levels of their own loggers
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or not record.name.startswith("distributed"))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", handlers=[handler])
    if version:
        from stemkin import __version__

        typer.echo(f"stemkin {__version__}")
        raise typer.Exit


@app.command()
def run(
    inputs: Inputs,
    out: Out,
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    dose_rate_e_per_nm2_s: DoseRate = None,
    material: Material = None,
    detector: DetectorName = None,
    config: Settings = None,
    model: ModelFolder = None,
    cluster: Cluster = "processes",
    workers: Workers = None,
    classes: Edit = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan (blocks, bytes, memory, time from a few frames) and stop.")
    ] = False,
    performance_report: Annotated[
        bool, typer.Option("--performance-report", help="Keep Dask's report of the run as performance.html.")
    ] = False,
    fresh: Fresh = False,
) -> None:
    """Do everything: learn, detect, link, kinetics, report; resumes where it stopped."""
    settings = _settings(config, pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, material, detector)
    if dry_run:
        from stemkin.pipeline import plan
        from stemkin.streaming import available_cores

        planned = plan(inputs, config=settings, workers=workers or available_cores(), look=True)
        typer.echo(planned.describe())
        return
    _run(
        inputs,
        out,
        settings,
        model,
        cluster,
        workers,
        fresh=fresh,
        classes=classes,
        performance_report=performance_report,
    )


@app.command()
def demo(
    out: Out = "stemkin-demo",
    cluster: Cluster = "processes",
    workers: Workers = None,
) -> None:
    """Simulate three small movies of Mo-doped WS2, run everything on them and compare with the truth."""
    from stemkin.demo import compare_with_truth, write_movies

    movies = write_movies(Path(out) / "movies")
    _run([str(movies)], f"{out}/results", _settings(None), None, cluster, workers, fresh=False)
    typer.echo(compare_with_truth(Path(out)))


@app.command()
def simulate(
    preset: Annotated[str, typer.Argument(help="paper, low-dose, rotated, long, late-stage, null, frozen or archive.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for movies and their truth.")],
    n_frames: Annotated[int | None, typer.Option("--frames", help="Frames per movie.")] = None,
    size: Annotated[int | None, typer.Option("--size", help="Height and width in pixels.")] = None,
    file_format: Annotated[Literal["zarr", "tiff", "hdf5"], typer.Option("--format", help="What to write.")] = "zarr",
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds give equal bits.")] = 0,
) -> None:
    """Write movies whose defects, rates and diffusion are known exactly."""
    from stemkin.simulation import write

    shape = None if size is None else (size, size)
    for path in write(preset, out, format=file_format, n_frames=n_frames, shape=shape, seed=seed):
        typer.echo(str(path))


@app.command()
def info(inputs: Inputs) -> None:
    """Say what movies are: shape, type, chunks, bytes, calibration and where it came from."""
    from stemkin.archive import describe, listing

    typer.echo(listing(describe(inputs)))


@app.command()
def convert(
    inputs: Inputs,
    out: Annotated[str, typer.Option("--out", "-o", help="The OME-Zarr store to write.")],
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    cluster: Cluster = "threads",
    workers: Workers = None,
) -> None:
    """Copy movies into a fast calibrated store (OME-Zarr), checked block by block."""
    from stemkin.conversion import convert as convert_movies
    from stemkin.scheduling import connect

    with connect(cluster, workers=workers):
        stores = convert_movies(inputs, out, pixel_size_nm=pixel_size_nm, frame_time_s=frame_time_s)
    for path in stores:
        typer.echo(path)
    for source, reason in stores.problems:
        typer.echo(f"failed: {reason if source in reason else f'{source}: {reason}'}")
    if stores.problems:
        raise typer.Exit(INCOMPLETE if stores else BAD_USAGE)


@app.command()
def learn(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    material: Material = None,
    detector: DetectorName = None,
    config: Settings = None,
    cluster: Cluster = "threads",
    workers: Workers = None,
) -> None:
    """Learn a detector and a taxonomy from a few frames."""
    from stemkin.pipeline import learn_model
    from stemkin.scheduling import connect

    with connect(cluster, workers=workers):
        settings = _settings(config, pixel_size_nm, frame_time_s, material=material, detector=detector)
        model = learn_model(inputs, out, config=settings)
    typer.echo(model.classes[["class_id", "name", "n_detections"]].to_string(index=False))


@app.command()
def detect(
    inputs: Inputs,
    out: Out,
    model: ModelFolder = None,
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    config: Settings = None,
    cluster: Cluster = "processes",
    workers: Workers = None,
    fresh: Fresh = False,
) -> None:
    """Find and name the defects of every frame; stop before linking them."""
    settings = _settings(config, pixel_size_nm, frame_time_s)
    _run(inputs, out, settings, model, cluster, workers, fresh=fresh, until="detect")


@app.command()
def link(
    results: Folder,
    config: Settings = None,
    cluster: Cluster = "threads",
    workers: Workers = None,
) -> None:
    """Link the detections of a results folder into tracks."""
    _continue(results, config, cluster, workers, ("link",))


@app.command()
def kinetics(
    results: Folder,
    config: Settings = None,
    cluster: Cluster = "threads",
    workers: Workers = None,
) -> None:
    """Compute transitions, rates, dwell times and diffusion from the tracks of a results folder."""
    _continue(results, config, cluster, workers, ("link", "kinetics"))


@app.command()
def classes(
    results: Folder,
    edit: Annotated[
        Path | None,
        typer.Option(
            "--edit", help="TOML file with tables [split], [merge], [rename]; the numbers and the report follow."
        ),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Take back every edit.")] = False,
    cluster: Cluster = "threads",
    workers: Workers = None,
) -> None:
    """Show the classes of a results folder; rename, merge or split them without reading a pixel."""
    if edit is not None or reset:
        _continue(results, None, cluster, workers, ("link", "kinetics"), classes={} if edit is None else edit)
    from stemkin.store import Store

    table = Store.at(results).read_table("classes.parquet").drop(columns="mean_patch")
    typer.echo(table.to_string(index=False, float_format="%.2f"))


@app.command()
def report(results: Folder) -> None:
    """Write report.html from the tables of a results folder."""
    from stemkin.report import write_report

    typer.echo(str(write_report(results)))


def _settings(
    config: Path | None,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    dose_rate_e_per_nm2_s: float | None = None,
    material: str | None = None,
    detector: str | None = None,
) -> RunConfig:
    """Return the settings of the file, overridden by what the command line says."""
    from stemkin.config import RunConfig

    settings = RunConfig() if config is None else RunConfig.from_file(config)
    return settings.with_values(
        calibration={
            "pixel_size_nm": pixel_size_nm,
            "frame_time_s": frame_time_s,
            "dose_rate_e_per_nm2_s": dose_rate_e_per_nm2_s,
        },
        learn={"material": material, "detector": detector},
    )


def _run(
    inputs: list[str],
    out: str,
    settings: RunConfig,
    model: Path | None,
    cluster: str,
    workers: int | None,
    *,
    fresh: bool,
    until: str | None = None,
    classes: Path | None = None,
    performance_report: bool = False,
) -> None:
    """Run on a scheduler and leave with the exit code of what came."""
    from stemkin.pipeline import open_inputs
    from stemkin.pipeline import run as run_all
    from stemkin.progress import shown
    from stemkin.scheduling import connect

    found = open_inputs(inputs, settings, results=out)  # before any worker is started: most mistakes show here
    with connect(cluster, workers=workers), shown() as watch:
        outcome = run_all(
            found,
            out,
            config=settings,
            model=model,
            fresh=fresh,
            until=until,
            classes=classes,
            watch=watch,
            performance_report=performance_report,
        )
    _close(outcome)


def _continue(
    results: Path, config: Path | None, cluster: str, workers: int | None, stages: tuple[str, ...], classes: Any = None
) -> None:
    """Redo the named stages of a results folder, and the report."""
    from stemkin.pipeline import resume
    from stemkin.progress import shown
    from stemkin.scheduling import connect

    settings = None if config is None else _settings(config)
    with connect(cluster, workers=workers), shown() as watch:
        outcome = resume(results, stages=(*stages, "report"), config=settings, classes=classes, watch=watch)
    _close(outcome)


def _close(outcome: Any) -> None:
    typer.echo(outcome.describe())
    if outcome.exit_code != DONE:
        raise typer.Exit(outcome.exit_code)


def _interrupt(*_: Any) -> None:
    """Stop, as on Ctrl-C; a run looks at the flag, too, should the exception be lost."""
    streaming = sys.modules.get("stemkin.streaming")
    if streaming is not None:
        streaming.interrupted.set()
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; the user's mistakes are told in one sentence, never in a traceback."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):  # queues ask for the end by the second one
        signal.signal(number, _interrupt)
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: each error becomes one sentence
        code = _tell(error)
    if code == INTERRUPTED:
        typer.echo("interrupted; what is done is kept, run the same command again to go on", err=True)
    sys.exit(code or DONE)


def _tell(error: Exception) -> int:
    """Print what is wrong in one sentence; a fault of our own keeps its traceback in a file."""
    if hasattr(error, "format_message"):  # a usage error of click, which typer may bring along under its own name
        typer.echo(f"error: {error.format_message()} (see stemkin --help)", err=True)
        return BAD_USAGE
    if isinstance(error, (ValueError, OSError)):
        stopped = type(error).__name__ in ("UnwritableError", "LostSchedulerError")
        logging.getLogger(__name__).debug("traceback", exc_info=error)
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        return STOPPED if stopped else BAD_USAGE
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="stemkin-", suffix=".log", delete=False) as file:
        traceback.print_exception(error, file=file)
    typer.echo(
        f"error: stemkin itself failed ({type(error).__name__}: {error}); please report it with {file.name}", err=True
    )
    return 1


if __name__ == "__main__":
    main()

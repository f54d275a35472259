"""The commands: what each is called, what it takes, which verb of stemkin it stands for.

A function is called after its command (``run_command``), so that the verb keeps its own name.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stemkin.cli.calls import AUTO, foresee, go_on, quiet, run_to_the_end, settings_of
from stemkin.cli.exits import worth_saying
from stemkin.cli.export import doctor_command, export_command
from stemkin.cli.options import (
    AllowExternal,
    Changed,
    Channel,
    Cluster,
    Dataset,
    DetectorName,
    DoseRate,
    Edit,
    Exposure,
    Folder,
    Follow,
    FrameTime,
    Fresh,
    Inputs,
    Material,
    ModelFolder,
    Out,
    PixelSize,
    Relearn,
    Settings,
    TimeAxis,
    Tls,
    Until,
    UntilIdle,
    Workers,
)
from stemkin.cli.plan import plan_command
from stemkin.errors import BAD_USAGE, DONE, FAULT, INCOMPLETE, INTERRUPTED, STOPPED

EXIT_CODES = (
    f"Exit codes: {DONE} done; {FAULT} stemkin itself failed; {BAD_USAGE} bad usage or input; "
    f"{INCOMPLETE} done, but movies or blocks failed; {STOPPED} nothing could be written, or the "
    f"scheduler was lost; {INTERRUPTED} interrupted. After {STOPPED} and {INTERRUPTED} the same "
    "command goes on where it was."
)

app = typer.Typer(
    name="stemkin",
    help="From movies of moving atoms to kinetics with error bars.",
    no_args_is_help=True,
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more of what happens.")
    ] = False,
) -> None:
    handler = logging.StreamHandler()
    if not verbose:
        # on the handler: libraries set the levels of their own loggers
        handler.setLevel(logging.WARNING)
    handler.addFilter(worth_saying)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", handlers=[handler])
    if version:
        from stemkin import __version__

        typer.echo(f"stemkin {__version__}")
        raise typer.Exit


@app.command("run")
def run_command(
    inputs: Inputs,
    out: Out,
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    dose_rate_e_per_nm2_s: DoseRate = None,
    exposure_fraction: Exposure = None,
    dataset: Dataset = None,
    channel: Channel = None,
    time_axis: TimeAxis = None,
    allow_external: AllowExternal = False,
    material: Material = None,
    detector: DetectorName = None,
    config: Settings = None,
    changed: Changed = None,
    model: ModelFolder = None,
    cluster: Cluster = AUTO,
    workers: Workers = None,
    tls: Tls = None,
    classes: Edit = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan (time and memory of each stage from a few frames, calibration and its "
            "origin, what would be refused) and stop.",
        ),
    ] = False,
    performance_report: Annotated[
        bool,
        typer.Option(
            "--performance-report", help="Keep Dask's report of the run as performance.html."
        ),
    ] = False,
    sites: Annotated[
        bool,
        typer.Option(
            "--sites",
            help="Follow every site of the lattice too, and read hops from correlations: for doses at "
            "which no frame shows a vacancy.",
        ),
    ] = False,
    until: Until = None,
    inject: Annotated[
        bool,
        typer.Option(
            "--inject",
            help="Put known defects into 16 frames and search them again: how many of each kind are "
            "found, and what that makes of their numbers.",
        ),
    ] = False,
    follow: Follow = False,
    until_idle_s: UntilIdle = None,
    relearn: Relearn = False,
    fresh: Fresh = False,
) -> None:
    """Do everything: learn, detect, link, kinetics, report; resumes where it stopped."""
    settings = settings_of(
        config,
        pixel_size_nm,
        frame_time_s,
        dose_rate_e_per_nm2_s,
        material,
        detector,
        exposure_fraction=exposure_fraction,
        changed=changed,
    ).with_values(input=_asked_of_files(dataset, channel, time_axis, allow_external))
    if sites:
        settings = settings.with_values(sites={"traces": True})
    if inject:
        settings = settings.with_values(detect={"injected_frames": 16})
    if dry_run:
        foresee(inputs, out, settings, workers, cluster, fresh=fresh, model_given=model is not None)
        return
    run_to_the_end(
        inputs,
        out,
        settings,
        model,
        cluster,
        workers,
        tls=tls,
        fresh=fresh,
        until=until,
        classes=classes,
        performance_report=performance_report,
        relearn=relearn,
        follow=follow or until_idle_s is not None,
        until_idle_s=until_idle_s,
    )


app.command("plan")(plan_command)
app.command("export")(export_command)
app.command("doctor")(doctor_command)


@app.command("demo")
def demo_command(
    out: Out = "stemkin-demo",
    cluster: Cluster = AUTO,
    workers: Workers = None,
    tls: Tls = None,
) -> None:
    """Simulate three movies of Mo-doped WS2, run everything on them, compare with the truth."""
    from stemkin.demo import compare_with_truth, write_demo_movies

    movies = write_demo_movies(Path(out) / "movies")
    run_to_the_end(
        [str(movies)],
        f"{out}/results",
        settings_of(None),
        None,
        cluster,
        workers,
        tls=tls,
        fresh=False,
    )
    typer.echo(compare_with_truth(Path(out)))


@app.command("simulate")
def simulate_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for movies and their truth.")],
    preset: Annotated[
        str,
        typer.Argument(
            help="paper, low-dose, starved, rotated, long, late-stage, null, frozen or archive."
        ),
    ] = "paper",
    dose: Annotated[
        float,
        typer.Option("--dose", min=1e-6, help="Dose over the preset's: 0.25 is a quarter of it."),
    ] = 1.0,
    n_frames: Annotated[int | None, typer.Option("--frames", help="Frames per movie.")] = None,
    size: Annotated[int | None, typer.Option("--size", help="Height and width in pixels.")] = None,
    file_format: Annotated[
        Literal["zarr", "tiff", "hdf5"], typer.Option("--format", help="What to write.")
    ] = "zarr",
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds give equal bits.")] = 0,
    world: Annotated[
        int | None,
        typer.Option(
            "--world", help="In place of a preset: draw every nuisance at random by this number."
        ),
    ] = None,
) -> None:
    """Write movies whose defects, rates and diffusion are known exactly."""
    from stemkin.simulation import PRESETS, write_simulation

    shape = None if size is None else (size, size)
    changed: dict[str, Any] = {}
    if dose != 1:
        if world is not None or preset not in PRESETS:
            msg = f"--dose {dose:g} needs the name of a preset; a world draws its own dose"
            raise typer.BadParameter(msg)
        usual = PRESETS[preset].instrument.dose_rate_e_per_nm2_s
        changed["dose_rate_e_per_nm2_s"] = dose * usual
    for path in write_simulation(
        preset,
        out,
        format=file_format,
        n_frames=n_frames,
        shape=shape,
        seed=seed,
        world=world,
        **changed,
    ):
        typer.echo(str(path))


def _asked_of_files(
    dataset: str | None, channel: int | None, time_axis: str | None, allow_external: bool
) -> dict[str, object]:
    """Return the section ``[input]`` of the settings, without what was not typed."""
    typed = {"dataset": dataset, "channel": channel, "time_axis": time_axis}
    return {**typed, "allow_external": allow_external or None}


@app.command("info")
def info_command(
    inputs: Inputs,
    dataset: Dataset = None,
    channel: Channel = None,
    time_axis: TimeAxis = None,
    allow_external: AllowExternal = False,
) -> None:
    """Say what movies are: shape, type, chunks, bytes, calibration and where it came from."""
    from stemkin.description import describe, listing

    # what is wrong with a source stands in the listing, once
    with quiet("stemkin.archive", "stemkin.movie"):
        described = describe(
            inputs,
            dataset=dataset,
            channel=channel,
            time_axis=time_axis,
            allow_external=allow_external,
        )
    typer.echo(listing(described))
    if not (described["movie"] != "").any():
        raise typer.Exit(BAD_USAGE)


@app.command("convert")
def convert_command(
    inputs: Inputs,
    out: Annotated[str, typer.Option("--out", "-o", help="The OME-Zarr store to write.")],
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    exposure_fraction: Exposure = None,
    dataset: Dataset = None,
    channel: Channel = None,
    time_axis: TimeAxis = None,
    allow_external: AllowExternal = False,
    cluster: Cluster = "threads",
    workers: Workers = None,
    tls: Tls = None,
) -> None:
    """Copy movies into a fast calibrated store (OME-Zarr), checked block by block."""
    from stemkin.conversion import convert
    from stemkin.schedulers.clients import connect

    with connect(cluster, workers=workers, security=tls):
        stores = convert(
            inputs,
            out,
            pixel_size_nm=pixel_size_nm,
            frame_time_s=frame_time_s,
            exposure_fraction=exposure_fraction,
            dataset=dataset,
            channel=channel,
            time_axis=time_axis,
            allow_external=allow_external,
        )
    for path in stores:
        typer.echo(path)
    for source, reason in stores.problems:
        named = reason if source in reason else f"{source}: {reason}"
        typer.echo(f"failed: {named}")
    if stores.problems:
        raise typer.Exit(INCOMPLETE if stores else BAD_USAGE)


@app.command("learn")
def learn_command(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    dataset: Dataset = None,
    channel: Channel = None,
    time_axis: TimeAxis = None,
    allow_external: AllowExternal = False,
    material: Material = None,
    detector: DetectorName = None,
    config: Settings = None,
    changed: Changed = None,
    cluster: Cluster = "threads",
    workers: Workers = None,
    tls: Tls = None,
) -> None:
    """Learn a detector and a taxonomy from a few frames."""
    from stemkin.pipeline import learn_model
    from stemkin.schedulers.clients import connect

    with connect(cluster, workers=workers, security=tls):
        settings = settings_of(
            config,
            pixel_size_nm,
            frame_time_s,
            material=material,
            detector=detector,
            changed=changed,
        ).with_values(input=_asked_of_files(dataset, channel, time_axis, allow_external))
        model = learn_model(inputs, out, config=settings)
    typer.echo(model.classes[["class_id", "name", "n_detections"]].to_string(index=False))


@app.command("detect")
def detect_command(
    inputs: Inputs,
    out: Out,
    model: ModelFolder = None,
    pixel_size_nm: PixelSize = None,
    frame_time_s: FrameTime = None,
    dataset: Dataset = None,
    channel: Channel = None,
    time_axis: TimeAxis = None,
    allow_external: AllowExternal = False,
    config: Settings = None,
    changed: Changed = None,
    cluster: Cluster = AUTO,
    workers: Workers = None,
    tls: Tls = None,
    relearn: Relearn = False,
    fresh: Fresh = False,
) -> None:
    """Find and name the defects of every frame; stop before linking them."""
    settings = settings_of(config, pixel_size_nm, frame_time_s, changed=changed).with_values(
        input=_asked_of_files(dataset, channel, time_axis, allow_external)
    )
    run_to_the_end(
        inputs,
        out,
        settings,
        model,
        cluster,
        workers,
        tls=tls,
        fresh=fresh,
        until="detect",
        relearn=relearn,
    )


@app.command("link")
def link_command(
    results: Folder,
    config: Settings = None,
    changed: Changed = None,
    cluster: Cluster = "threads",
    workers: Workers = None,
    tls: Tls = None,
) -> None:
    """Link the detections of a results folder into tracks."""
    go_on(results, config, cluster, workers, ("link",), changed=changed, tls=tls)


@app.command("kinetics")
def kinetics_command(
    results: Folder,
    config: Settings = None,
    changed: Changed = None,
    cluster: Cluster = "threads",
    workers: Workers = None,
    tls: Tls = None,
) -> None:
    """Compute transitions, rates, dwell times and diffusion from the tracks of a results folder."""
    go_on(results, config, cluster, workers, ("link", "kinetics"), changed=changed, tls=tls)


@app.command("classes")
def classes_command(
    results: Folder,
    edit: Annotated[
        Path | None,
        typer.Option(
            "--edit",
            help="TOML file with tables [split], [merge], [rename]; the numbers and the report "
            "follow.",
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Fit the classes to all detections that the run found."),
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Take back every edit, those by hand too.")
    ] = False,
    cluster: Cluster = "threads",
    workers: Workers = None,
    tls: Tls = None,
) -> None:
    """Show the classes of a results folder; fit them to all detections, rename, merge or split them.

    No pixel is read.
    """
    from stemkin.results.store import Store

    said: Any = edit
    if reset:
        from stemkin.learning.by_hand import keep_hand_edits

        keep_hand_edits(Store.at(results), [])
        said = edit or {}  # an empty edit takes back every edit before it
    if refit or said is not None:
        stages = ("link", "kinetics")
        go_on(results, None, cluster, workers, stages, classes=said, refit=refit, tls=tls)
    table = Store.at(results).read_table("classes.parquet").drop(columns="mean_patch")
    typer.echo(table.to_string(index=False, float_format="%.2f"))


@app.command("status")
def status_command(results: Annotated[str, typer.Argument(metavar="RESULTS")]) -> None:
    """Say how a run stands, while it goes on or afterwards: stages, share, time left, failures."""
    from stemkin.results.status import status_of
    from stemkin.results.store import Store

    typer.echo(status_of(Store.at(results)).describe())


@app.command("view")
def view_command(
    results: Folder,
    movie: Annotated[
        str | None, typer.Option("--movie", help="Name of the movie; by default the first.")
    ] = None,
) -> None:
    """Open napari with frames, detections and tracks, to look at and to correct by hand."""
    from stemkin.viewer import open_viewer

    open_viewer(results, movie)
    import napari

    napari.run()


@app.command("check")
def check_command(
    results: Annotated[str, typer.Argument(metavar="RESULTS")],
    mend: Annotated[
        bool,
        typer.Option("--mend", help="Set damaged files aside and make again what needs no pixel."),
    ] = False,
    cluster: Cluster = "threads",
    workers: Workers = None,
    tls: Tls = None,
) -> None:
    """Check every file of a results folder against its checksum, and mend what is damaged."""
    from stemkin.pipeline.checking import check_results
    from stemkin.schedulers.clients import connect

    with connect(cluster, workers=workers, security=tls):
        outcome = check_results(results, mend=mend)
    typer.echo(outcome.describe())
    raise typer.Exit(outcome.exit_code)


@app.command("config")
def config_command() -> None:
    """Print all settings with what each means: a file to change and to give to --config."""
    from stemkin.config import RunConfig

    typer.echo(RunConfig.documented())


@app.command("report")
def report_command(results: Folder) -> None:
    """Write report.html from the tables of a results folder."""
    from stemkin.report import write_report

    typer.echo(str(write_report(results)))

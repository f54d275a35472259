"""``stemkin plan``: what an experiment could measure, before it is done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer


def plan_command(
    dose_e_per_nm2: Annotated[
        float, typer.Option("--dose-e-per-nm2", help="Electrons per nm2 in one frame.")
    ] = 3.6e6,
    total_dose_e_per_nm2: Annotated[
        float | None,
        typer.Option(
            "--total-dose-e-per-nm2",
            help="In place of that: of all frames of a movie together, so that more frames have "
            "less each.",
        ),
    ] = None,
    n_frames: Annotated[int, typer.Option("--frames", help="Frames per movie.")] = 100,
    n_movies: Annotated[int, typer.Option("--movies", help="How many movies like that.")] = 1,
    field_nm: Annotated[
        float, typer.Option("--field-nm", help="Edge of the square field of view.")
    ] = 15.0,
    pixel_size_nm: Annotated[
        float, typer.Option("--pixel-size-nm", help="Edge of a pixel.")
    ] = 0.03,
    frame_time_s: Annotated[
        float, typer.Option("--frame-time-s", help="Time from frame to frame.")
    ] = 2.25,
    material: Annotated[
        str, typer.Option("--material", help="WS2, MoS2, ..., or with a dopant: MoS2:V.")
    ] = "WS2",
    defects_per_nm2: Annotated[
        list[str] | None,
        typer.Option(
            "--defects-per-nm2",
            metavar="[CLASS=]NUMBER",
            help="Density of the vacancies (0.09), or of a class (Mo_W=0.1); may be repeated.",
        ),
    ] = None,
    hop_rate_per_s: Annotated[
        list[str] | None,
        typer.Option(
            "--hop-rate-per-s",
            metavar="[CLASS=]NUMBER",
            help="Hops per second, in any direction; of the vacancies unless a class is named.",
        ),
    ] = None,
    diffusion_nm2_per_s: Annotated[
        list[str] | None,
        typer.Option(
            "--diffusion-nm2-per-s", metavar="[CLASS=]NUMBER", help="The same, said as D."
        ),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            "--rate",
            metavar="A->B=NUMBER",
            help="Changes of class per second (put it in quotes); may be repeated.",
        ),
    ] = None,
    scan: Annotated[
        str | None,
        typer.Option(
            "--scan",
            metavar="WHAT=A,B,C",
            help="Plan for each value of frames, dose, field, pixel, frame-time or movies.",
        ),
    ] = None,
    n_runs: Annotated[int, typer.Option("--runs", help="Simulated experiments.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds give equal plans.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which D and rates an experiment could measure, how well, and at what cost."""
    from stemkin.selfcheck.planning import describe_scan, plan, scan_plans

    words: dict[str, Any] = {
        "dose_e_per_nm2": dose_e_per_nm2,
        "total_dose_e_per_nm2": total_dose_e_per_nm2,
        "n_frames": n_frames,
        "n_movies": n_movies,
        "field_nm": field_nm,
        "pixel_size_nm": pixel_size_nm,
        "frame_time_s": frame_time_s,
        "material": material,
        "rates_per_s": _rates(rate or []),
        "n_runs": n_runs,
        "seed": seed,
    }
    given = {
        "defects_per_nm2": defects_per_nm2,
        "hop_rate_per_s": hop_rate_per_s,
        "diffusion_nm2_per_s": diffusion_nm2_per_s,
    }
    for name, said in given.items():
        if said:
            words[name] = _per_class(said, "--" + name.replace("_", "-"))
    if scan is not None:
        what, values = _scanned(scan)
        rows = scan_plans(what, values, **words)
        text = describe_scan(rows)
        if as_json:
            text = rows.to_json(orient="records", indent=1)
        typer.echo(text)
        return
    found = plan(**words)
    text = found.describe()
    if as_json:
        text = json.dumps(found.as_dict(), indent=1)
    typer.echo(text)


def _per_class(said: Sequence[str], option: str) -> float | dict[str, float]:
    """Return ``["0.09"]`` as a number, ``["V_S=0.09", "Mo_W=0.1"]`` as class → number."""
    if len(said) == 1 and "=" not in said[0]:
        return _number(said[0], option)
    found = {}
    for words in said:
        name, equals, number = words.rpartition("=")
        if not equals:
            msg = f"{option} {words}: of several numbers each needs its class, as in Mo_W={words}"
            raise ValueError(msg)
        found[name.strip()] = _number(number, option)
    return found


def _rates(said: Sequence[str]) -> dict[str, float]:
    """Return ``["A->B=0.01"]`` as change → rate."""
    found = {}
    for words in said:
        change, equals, number = words.rpartition("=")
        if not equals:
            msg = f"--rate {words}: a rate is said like 'Mo_W->Mo_W+V_S=0.01'"
            raise ValueError(msg)
        found[change] = _number(number, "--rate")
    return found


def _scanned(scan: str) -> tuple[str, list[float]]:
    """Return what ``frames=50,100,200`` scans, and its values."""
    what, equals, values = scan.partition("=")
    if not equals or not values:
        msg = f"--scan {scan}: a scan is said like frames=50,100,200"
        raise ValueError(msg)
    return what.strip(), [_number(value, "--scan") for value in values.split(",")]


def _number(words: str, option: str) -> float:
    try:
        return float(words)
    except ValueError:
        msg = f"{option}: {words!r} is no number; give one, such as 0.5"
        raise ValueError(msg) from None

"""``stemkin export`` and ``stemkin doctor``: out to other programs, and a look at this machine."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from stemkin.errors import FAULT


def export_command(
    results: Annotated[str, typer.Argument(metavar="RESULTS", help="A results folder.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder, or the workbook, to write.")],
    file_format: Annotated[
        Literal["csv", "xlsx", "trackmate", "geff"],
        typer.Option("--format", help="Tables as text or sheets; tracks for TrackMate or as GEFF."),
    ] = "csv",
    movie: Annotated[
        list[str] | None,
        typer.Option("--movie", help="Only the rows of this movie; may be repeated."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there already.")
    ] = False,
) -> None:
    """Write the tables of a results folder for other programs."""
    from stemkin.exporting import export

    for path in export(results, out, format=file_format, movies=movie, overwrite=overwrite):
        typer.echo(path)


def doctor_command() -> None:
    """Say what is installed, which devices there are, and whether a small run works here."""
    from stemkin.doctor import examined

    found = examined()
    typer.echo(found.describe())
    if not found.is_well:
        raise typer.Exit(FAULT)

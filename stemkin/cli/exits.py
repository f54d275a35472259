"""How the program ends: an exit code, and one sentence for whatever went wrong.

0 done; 2 bad usage; 3 done, but something failed; 4 stopped through no fault of the movies (disk
full, store or scheduler out of reach: the same command goes on); 130 interrupted, by Ctrl-C or by
the system's request to end (SIGTERM); 1 a fault of stemkin itself.
"""

from __future__ import annotations

import logging
from typing import Any

import typer

from stemkin.errors import StoppedError, interrupted, is_of_the_network, reason

DONE, FAULT, BAD_USAGE, INCOMPLETE, STOPPED, INTERRUPTED = 0, 1, 2, 3, 4, 130


def close(outcome: Any) -> None:
    """Print what came of a run, and leave with its exit code."""
    typer.echo(outcome.describe())
    if outcome.exit_code != DONE:
        raise typer.Exit(outcome.exit_code)


def interrupt(*_: Any) -> None:
    """Stop, as on Ctrl-C; a run looks at the flag, too, should the exception be lost."""
    interrupted.set()
    raise KeyboardInterrupt


def worth_saying(record: logging.LogRecord) -> bool:
    """Tell what belongs on the terminal: of Dask's own words only errors, and none once the run is
    interrupted.

    A call to the scheduler that Ctrl-C cuts off at its start leaves a traceback of its own behind.
    """
    if record.name.partition(".")[0] not in ("asyncio", "distributed", "tornado"):
        return True
    return record.levelno >= logging.ERROR and not interrupted.is_set()


def tell(error: Exception) -> int:
    """Print what is wrong in one sentence and return the exit code; a fault of our own keeps its
    traceback in a file."""
    if hasattr(
        error, "format_message"
    ):  # a usage error of click, which typer may bring along under its own name
        typer.echo(f"error: {error.format_message()} (see stemkin --help)", err=True)
        return BAD_USAGE
    if isinstance(error, (ValueError, OSError)) or is_of_the_network(error):
        logging.getLogger(__name__).debug("traceback", exc_info=error)
        said = (
            str(error)
            if isinstance(error, (ValueError, OSError))
            else f"a store is out of reach ({reason(error)})"
        )
        typer.echo(f"error: {' '.join(said.split())}", err=True)
        return STOPPED if isinstance(error, StoppedError) or is_of_the_network(error) else BAD_USAGE
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="stemkin-", suffix=".log", delete=False) as file:
        traceback.print_exception(error, file=file)
    typer.echo(
        f"error: stemkin itself failed ({type(error).__name__}: {error}); please report it with "
        f"{file.name}",
        err=True,
    )
    return FAULT

"""How the program ends: an exit code (`stemkin.errors`), and one sentence for what went wrong."""

from __future__ import annotations

import logging
from typing import Any

import typer

from stemkin.errors import (
    BAD_USAGE,
    DONE,
    FAULT,
    STOPPED,
    StoppedError,
    interrupted,
    is_of_the_network,
    reason,
)


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
    """Tell what belongs on the terminal: of stemkin all, of libraries what may be a fault.

    Of Dask's words only errors, and none after Ctrl-C: a call to the scheduler that Ctrl-C cuts off
    at its start leaves a traceback of its own behind.
    """
    library = record.name.partition(".")[0]
    if library == "stemkin":
        return True
    if library not in ("asyncio", "distributed", "tornado"):
        return record.levelno >= logging.WARNING
    return record.levelno >= logging.ERROR and not interrupted.is_set()


def tell(error: Exception) -> int:
    """Print what is wrong in one sentence, and return the exit code.

    A fault of stemkin itself keeps its traceback in a file.
    """
    # A usage error of click, which typer may bring along under its own name.
    if hasattr(error, "format_message"):
        typer.echo(f"error: {error.format_message()} (see stemkin --help)", err=True)
        return BAD_USAGE
    if isinstance(error, (ValueError, OSError)):
        return _tell_reason(str(error), error)
    if is_of_the_network(error):
        return _tell_reason(f"a store is out of reach ({reason(error)})", error)
    return _tell_fault(error)


def _tell_reason(sentence: str, error: Exception) -> int:
    """Print why what was asked cannot be done, or not now."""
    logging.getLogger(__name__).debug("traceback", exc_info=error)
    typer.echo(f"error: {' '.join(sentence.split())}", err=True)
    if isinstance(error, StoppedError) or is_of_the_network(error):
        return STOPPED
    return BAD_USAGE


def _tell_fault(error: Exception) -> int:
    """Print that stemkin itself failed, and where the traceback is."""
    import tempfile
    import traceback

    said = f"error: stemkin itself failed ({type(error).__name__}: {error}); please report it with"
    words: dict[str, Any] = {"prefix": "stemkin-", "suffix": ".log", "delete": False}
    try:
        with tempfile.NamedTemporaryFile("w", **words) as file:
            traceback.print_exception(error, file=file)
    except OSError:  # there is no place for it, or it is full
        typer.echo(f"{said} what follows", err=True)
        traceback.print_exception(error)
    else:
        typer.echo(f"{said} {file.name}", err=True)
    return FAULT

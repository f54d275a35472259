"""The command line: parse (`commands`), call (`calls`), print and leave (`exits`)."""

from __future__ import annotations

import sys

import typer

from stemkin.cli.commands import app
from stemkin.cli.exits import interrupt, tell
from stemkin.errors import DONE, INTERRUPTED

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the user's mistakes are told in one sentence, never in a traceback."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):  # queues ask for the end by the second one
        signal.signal(number, interrupt)
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: each error becomes one sentence
        code = tell(error)
    # typer makes that code of most interrupts itself
    if code == INTERRUPTED:
        typer.echo(
            "interrupted; what is done is kept, run the same command again to go on", err=True
        )
    sys.exit(code or DONE)

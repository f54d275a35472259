"""Openers of formats: named as ``module:function``, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import MovieError, NotOpenedError, is_damage, said_by
from stemkin.readers.place import Place


def open_as(name: str, opener: str, place: Place, options: Options) -> FileReader:
    """Open `place` with `opener` (``module:function``) in this process; `name` is the format's.

    Raises
    ------
    MovieError
        If it does not open, for whatever reason lies in the file.
    """
    module, function = opener.split(":")
    try:
        return cast(FileReader, getattr(import_module(module), function)(place, options))
    except MovieError:
        raise
    except Exception as error:
        if not is_damage(error) and not isinstance(error, NotOpenedError):
            raise
        cause: BaseException = error
        if isinstance(error, NotOpenedError):
            cause = error.__cause__ or error
        msg = f"{place} could not be opened as {name}: {said_by(cause)}"
        raise MovieError(msg) from error

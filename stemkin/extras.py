"""Packages that only some runs need: asked for in one sentence where they are missing.

A plain installation brings what the default run uses. What is large and seldom needed belongs to an
*extra* of the package, and is imported in the function that needs it.

>>> needed("json", extra="network", wanted_for="nothing").__name__
'json'
>>> needed("no_such_package", extra="network", wanted_for="learning a network")
Traceback (most recent call last):
stemkin.extras.MissingExtraError: learning a network needs no_such_package, which is not installed; pip install "stemkin[network]"
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingExtraError(ImportError, ValueError):
    """A package that is not installed, and that what was asked for needs."""


def needed(module: str, *, extra: str, wanted_for: str) -> ModuleType:
    """Import a package of an extra.

    Parameters
    ----------
    module
        Its name, as it is imported.
    extra
        With which extra of stemkin it is installed.
    wanted_for
        What cannot be done without it: the beginning of the sentence.

    Returns
    -------
    The module.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    top = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # a package that is there but lacks one of its own is another fault
        if error.name is not None and error.name.partition(".")[0] != top:
            raise
        msg = f'{wanted_for} needs {top}, which is not installed; pip install "stemkin[{extra}]"'
        raise MissingExtraError(msg) from error

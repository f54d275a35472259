"""Crystals of movies in the results folder: one small file each, ``crystals/MOVIE.json``.

Every block of a movie is judged beside its crystal, so the crystal is found once and kept: its
content is part of what a block is made of. Numbers are written so that they come back to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from stemkin.errors import DamagedFileError
from stemkin.kernels.crystal.cell import MeanCell
from stemkin.kernels.crystal.reference import Reference
from stemkin.names import folder_name
from stemkin.results.quarantine import set_aside
from stemkin.results.store import Store, fingerprint

FOLDER = "crystals"


def write_crystal(
    store: Store,
    movie: str,
    crystal: Reference | None,
    *,
    made_of: str,
    left_out: Collection[int] = (),
    look: Mapping[str, Any] | None = None,
) -> str:
    """Write the crystal of a movie.

    Parameters
    ----------
    store, movie
        Where, and the name of the movie.
    crystal
        None where the movie shows none.
    made_of
        Fingerprint of what it was made of.
    left_out
        Frames of the sample that could not be read.
    look
        What the movie is known by when it has grown (`stemkin.pipeline.lineage`).

    Returns
    -------
    The fingerprint of the crystal itself: the same crystal has the same, whatever was left out.
    """
    said = None if crystal is None else _said(crystal)
    content = fingerprint("crystal", said)
    about = {"made_of": made_of, "left_out": sorted(left_out), "content": content}
    store.write_json({**about, "look": dict(look or {}), "crystal": said}, *crystal_file(movie))
    return content


def note_look(store: Store, movie: str, about: Mapping[str, Any], look: Mapping[str, Any]) -> None:
    """Write the file of a movie's crystal again with what the movie is known by now.

    Parameters
    ----------
    store, movie
        Where, and the name of the movie.
    about
        What the file says.
    look
        What the movie is known by.
    """
    store.write_json({**about, "look": dict(look)}, *crystal_file(movie))


def about_crystal(store: Store, movie: str) -> dict[str, Any]:
    """Return what the file of a movie's crystal says of itself; nothing where there is none.

    A damaged one is set aside, and made again.
    """
    try:
        return store.read_json(*crystal_file(movie)) or {}
    except DamagedFileError as error:
        set_aside(store, error.why, *crystal_file(movie))
        return {}


@lru_cache(maxsize=8)
def read_crystal(store: Store, movie: str, content: str) -> Reference | None:
    """Return the crystal of a movie, read once per worker.

    Parameters
    ----------
    store, movie
        Where, and the name of the movie.
    content
        Its fingerprint, as `write_crystal` returned it.

    Raises
    ------
    DamagedFileError
        If the folder holds another one, or none.
    """
    about = about_crystal(store, movie)
    if about.get("content") != content:
        raise DamagedFileError(
            "/".join(crystal_file(movie)), "it is not the crystal that this run found"
        )
    if about["crystal"] is None:
        return None
    return _crystal(about["crystal"])


def crystal_file(movie: str) -> tuple[str, str]:
    """Return where the crystal of a movie stands."""
    return FOLDER, f"{folder_name(movie)}.json"


def _said(part: Any) -> Any:
    """Return a crystal, or a part of it, as JSON can say it."""
    if isinstance(part, Reference | MeanCell):
        return {field.name: _said(getattr(part, field.name)) for field in fields(part)}
    if isinstance(part, np.generic):
        return part.item()
    if not isinstance(part, np.ndarray):
        return part
    if np.iscomplexobj(part):
        return [part.real.tolist(), part.imag.tolist()]
    return part.tolist()


def _crystal(said: dict[str, Any]) -> Reference:
    """Return the crystal that `_said` wrote down."""
    cell = None
    if said["cell"] is not None:
        parts = {name: _array(value) for name, value in said["cell"].items()}
        # side by side, a pair is a complex number: a sum of both would lose the sign of zeros
        parts["amplitudes"] = np.ascontiguousarray(parts["amplitudes"].T).view(complex)[:, 0]
        cell = MeanCell(**parts)
    rest = {name: _array(value) for name, value in said.items() if name != "cell"}
    return Reference(**rest, cell=cell)


def _array(value: Any) -> Any:
    """Return a list as an array, and what is none as it is."""
    if isinstance(value, list):
        return np.array(value)
    return value

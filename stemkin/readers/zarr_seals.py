"""Seals of the metadata of stores that ``stemkin convert`` wrote.

Pixels carry a CRC-32C in each chunk. What says how large a pixel is, and how chunks become pixels,
is JSON that a bit could change in silence: the root's metadata keep the SHA-256 of their own
attributes and of the arrays' metadata. Stores of other programs have no seal.
"""

from __future__ import annotations

import json
from typing import Any

from stemkin.readers.errors import MovieError
from stemkin.readers.place import Place
from stemkin.seals import SEAL, seal_of

COMPLETE = "stemkin"
"""The attribute by which ``stemkin convert`` says that every chunk was written and checked."""
ARRAYS = "sealed_arrays"
"""Under this name it says which arrays are sealed too."""
MAX_METADATA_BYTES = 2**26
"""More is no metadata of stemkin's."""


def metadata_sealed(attributes: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a store's root with their seal.

    Parameters
    ----------
    attributes
        Of the root; those of `COMPLETE` among them.
    arrays
        The metadata of arrays in it, by name.
    """
    said = {**attributes[COMPLETE], ARRAYS: sorted(arrays)}
    unsealed = {**attributes, COMPLETE: said}
    return {**unsealed, COMPLETE: {**said, SEAL: seal_of([unsealed, arrays])}}


def check_metadata(place: Place, attributes: dict[str, Any]) -> None:
    """Check the metadata of a store that is sealed; of one that is not, nothing.

    Parameters
    ----------
    place
        The store.
    attributes
        Of its root, as they were read.

    Raises
    ------
    MovieError
        If they are not what was written.
    """
    said = attributes.get(COMPLETE)
    if not isinstance(said, dict) or SEAL not in said:
        return
    unsealed = {**attributes, COMPLETE: {key: said[key] for key in said if key != SEAL}}
    names = said.get(ARRAYS)
    if isinstance(names, list):
        arrays = {name: _metadata(place, name) for name in names if isinstance(name, str)}
        if said[SEAL] == seal_of([unsealed, arrays]):
            return
    msg = (
        f"{place} has other metadata than `stemkin convert` wrote: damaged, or changed by hand; "
        f"convert its source again, or, to use it as it is, remove {COMPLETE!r} from the "
        "attributes in its zarr.json"
    )
    raise MovieError(msg)


def _metadata(place: Place, array: str) -> Any:
    """Return the metadata of an array in a store; None if they cannot be read."""
    try:
        return json.loads((place / array / "zarr.json").head(MAX_METADATA_BYTES))
    except (OSError, ValueError, RecursionError):
        return None

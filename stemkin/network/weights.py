"""The weights of a net on disk: ``network.json`` and ``network.safetensors``, no pickled code.

A worker gets the path of the folder where there is one, and loads the weights once; weights that
were not saved yet travel themselves (some 150 kB).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
"""Raised when a saved net can no longer be read by this version."""

ABOUT, ARRAYS = "network.json", "network.safetensors"

KINDS = ("local", "paper")

LARGEST_BYTES = 256 * 2**20
"""No net of ours is larger: a file beyond this is not read."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained net.

    Attributes
    ----------
    kind
        ``"local"`` or ``"paper"``.
    arrays
        Name → float32 weights.
    spacing_px
        Lattice constant [px] that the net was trained for.
    width, dilations
        Of a local net.
    bf16
        Whether its convolutions are computed in bfloat16: settled when it is learned, so that all
        workers agree.
    calibration
        What its maps mean, see `network.calibration`; None for the paper's net.
    record
        How it was trained: recipe, seed, specimen, training curve.
    folder
        Where it is saved, or None.
    """

    kind: str
    arrays: Mapping[str, np.ndarray] = field(repr=False)
    spacing_px: float
    width: int = 0
    dilations: tuple[int, ...] = ()
    bf16: bool = False
    calibration: Mapping[str, Any] | None = field(default=None, repr=False)
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: str | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        """Find the digest of all that decides what the net answers."""
        about = json.dumps(
            [self.kind, self.spacing_px, self.width, self.dilations, self.bf16, self.calibration],
            sort_keys=True,
        )
        found = hashlib.sha256(about.encode())
        for name in sorted(self.arrays):
            found.update(name.encode() + np.ascontiguousarray(self.arrays[name]).tobytes())
        object.__setattr__(self, "digest", found.hexdigest())

    def __eq__(self, other: object) -> bool:
        """Tell whether both give the same answers."""
        return isinstance(other, Weights) and self.digest == other.digest

    def __hash__(self) -> int:
        """Hash by the digest."""
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel by path where the net is saved, else by value."""
        if self.folder is not None and (Path(self.folder) / ABOUT).is_file():
            return _loaded, (self.folder, self.digest)
        return _rebuilt, (
            {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "digest"},
        )

    def save(self, folder: str | PathLike[str]) -> Weights:
        """Write the two files of a net to `folder`, and return the weights that know it.

        The files are ``network.json`` and ``network.safetensors``.
        """
        from safetensors.numpy import save

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        packed = save(
            {name: np.ascontiguousarray(a, np.float32) for name, a in self.arrays.items()}
        )
        about = {
            "format": FORMAT,
            "kind": self.kind,
            "spacing_px": self.spacing_px,
            "width": self.width,
            "dilations": list(self.dilations),
            "bf16": self.bf16,
            "arrays_sha256": hashlib.sha256(packed).hexdigest(),
            "calibration": self.calibration,
            "record": dict(self.record),
        }
        (place / ARRAYS).write_bytes(packed)
        (place / ABOUT).write_text(json.dumps(about, indent=1))
        return replace(self, folder=str(place.resolve()))

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Weights:
        """Read a net from `folder`.

        Raises
        ------
        ValueError
            If there is none, it is damaged, or it is of another version.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        place = Path(folder)
        again = "learn it again, or copy the folder again from where it was made"
        if not (place / ABOUT).is_file():
            msg = f"there is no network in {place} (no {ABOUT}); {again}"
            raise ValueError(msg)
        try:
            about = json.loads((place / ABOUT).read_text())
            version = about.get("format")
        except (OSError, ValueError, AttributeError) as error:
            msg = f"{place / ABOUT} is damaged ({error}); {again}"
            raise ValueError(msg) from error
        if version != FORMAT:
            msg = (
                f"the network in {place} has format {version}, and this version of stemkin reads "
                f"{FORMAT}; learn it again"
            )
            raise ValueError(msg)
        try:
            kind = _known_kind(about["kind"])
            width, dilations = int(about["width"]), tuple(int(d) for d in about["dilations"])
            arrays = load(_read(place / ARRAYS, about["arrays_sha256"]))
            _check_layers(kind, arrays, width, dilations)
            return cls(
                kind=kind,
                arrays=arrays,
                spacing_px=float(about["spacing_px"]),
                width=width,
                dilations=dilations,
                bf16=bool(about["bf16"]),
                calibration=about["calibration"],
                record=about["record"],
                folder=str(place.resolve()),
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            msg = f"{place / ARRAYS} or {ABOUT} is missing or damaged ({error}); {again}"
            raise ValueError(msg) from error


def _read(path: Path, wanted: str) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        msg = f"{size} bytes are more than any network of ours has"
        raise ValueError(msg)
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != wanted:
        msg = f"its content is not what {ABOUT} says"
        raise ValueError(msg)
    return packed


def _check_layers(
    kind: str, arrays: Mapping[str, np.ndarray], width: int, dilations: tuple[int, ...]
) -> None:
    """Check that the arrays are those of the net that is described."""
    # channels before the first layer and after each; the four are the pixels of a 2 x 2 cell
    sizes = [4, *[width] * (len(dilations) + 1)]
    head = {"head.weight": (4, width, 1, 1), "head.bias": (4,)}
    if kind == "paper":
        sizes = [1, 20, 40, 40, 20]
        head = {"head.weight": (2, 20, 3, 3), "head.bias": (2,)}
    wanted: dict[str, tuple[int, ...]] = {}
    for i, (a, b) in enumerate(pairwise(sizes)):
        wanted |= {f"layers.{i}.weight": (b, a, 3, 3), f"layers.{i}.bias": (b,)}
    wanted |= head
    found = {name: values.shape for name, values in arrays.items()}
    if found != wanted:
        strange = sorted(set(found.items()) ^ set(wanted.items()))[0]
        msg = (
            f"its {strange[0]} of shape {strange[1]} does not belong to the net that {ABOUT} "
            "describes, or is missing"
        )
        raise ValueError(msg)


def _known_kind(kind: str) -> str:
    if kind not in KINDS:
        msg = f"the kind {kind!r} is none of {KINDS}; learn it again"
        raise ValueError(msg)
    return kind


def _rebuilt(values: dict[str, Any]) -> Weights:
    return Weights(**values)


@lru_cache(maxsize=4)
def _loaded(folder: str, digest: str) -> Weights:
    """Read the weights of a folder, once per worker.

    Raises
    ------
    ValueError
        If the folder now holds other weights.
    """
    weights = Weights.load(folder)
    if weights.digest != digest:
        msg = (
            f"the network in {folder} is not the one that this task was made with; do not "
            "overwrite a model that is in use"
        )
        raise ValueError(msg)
    return weights

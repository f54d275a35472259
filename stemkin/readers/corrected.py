"""Detector corrections, applied as frames are read.

`Corrections` says what is wrong with the frames, `CorrectedReader` corrects them in each task.

Reference images may be given as arrays or, better for a cluster, as the paths of image files, which
each worker opens once; an array travels with every task. Positions found later are pixels of the
corrected frame: cutting off n columns at the left moves x by n.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from stemkin.kernels.images.corrections import Correction, Wrap, correct
from stemkin.readers.errors import MovieError
from stemkin.readers.opening import open_reader
from stemkin.readers.place import Place, place_of
from stemkin.readers.wrappers import WrappingReader

Image = np.ndarray | float | str | os.PathLike[str] | None


@dataclass(frozen=True, eq=False)
class Corrections:
    """Detector corrections: what is wrong with the frames.

    What is done about it is said at `stemkin.kernels.images.corrections.Correction`.

    Attributes
    ----------
    dark, gain
        Number, image (y, x), or the path of an image file; a stack is averaged over its frames.
    dead_pixels
        (k, 2) array or list of (y, x), a truth image (y, x), or the path of an image file whose
        pixels that are not 0 are dead.
    flyback_columns
        Columns to cut off at the left, or (left, right).
    wrap_16bit
        ``"unsigned"`` where counts above the signed range were stored as negative ones;
        ``"signed"`` for the opposite.
    invert
        Whether dark is bright.
    """

    dark: Image = None
    gain: Image = None
    dead_pixels: Any = None
    flyback_columns: int | tuple[int, int] = 0
    wrap_16bit: Wrap | None = None
    invert: bool = False

    @property
    def flyback(self) -> tuple[int, int]:
        """Columns at the left and the right."""
        if isinstance(self.flyback_columns, int):
            return int(self.flyback_columns), 0
        left, right = self.flyback_columns
        return int(left), int(right)

    @property
    def identity(self) -> str:
        """Changes when any of it does."""
        parts = [
            f"{name}={_identity(getattr(self, name))}" for name in ("dark", "gain", "dead_pixels")
        ]
        return " ".join(
            [*parts, f"flyback={self.flyback} wrap={self.wrap_16bit} invert={self.invert}"]
        )

    def loaded(self, shape: tuple[int, int]) -> Correction:
        """Return the correction of frames with `shape` (y, x), images read.

        Raises
        ------
        MovieError
            If an image has another shape, or the columns are more than there are.
        """
        if min(self.flyback) < 0 or sum(self.flyback) >= shape[1]:
            msg = (
                f"flyback_columns={self.flyback_columns} leaves nothing of frames that are "
                f"{shape[1]} pixels wide"
            )
            raise MovieError(msg)
        dark, gain = (_image(getattr(self, name), name, shape) for name in ("dark", "gain"))
        dead = _dead(self.dead_pixels, shape)
        return Correction(dark, gain, dead, self.flyback, self.wrap_16bit, self.invert)


@dataclass(frozen=True, eq=False)
class CorrectedReader(WrappingReader):
    """The frames of `inner`, corrected."""

    corrections: Corrections

    def __post_init__(self) -> None:
        """Check that the corrections fit the frames.

        Raises
        ------
        MovieError
            If they do not.
        """
        try:
            self._correction.dtype(self.inner.dtype)
        except MovieError:
            raise
        except ValueError as error:
            msg = f"{self.inner.source}: {error}"
            raise MovieError(msg) from error

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width) without the columns that are cut off."""
        n, height, width = self.inner.shape
        return n, height, width - sum(self.corrections.flyback)

    @property
    def dtype(self) -> np.dtype:
        """Of one corrected pixel."""
        return self._correction.dtype(self.inner.dtype)

    @property
    def identity(self) -> str:
        """Changes when the content or the corrections do."""
        digest = hashlib.sha256(
            self.corrections.identity.encode(errors="surrogateescape")
        ).hexdigest()[:16]
        return f"{self.inner.identity} corrected {digest}"

    @property
    def _correction(self) -> Correction:
        return self.corrections.loaded(self.inner.shape[1:])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded), corrected."""
        return correct(self.inner.read(start, stop), self._correction)


def _image(given: Image, name: str, shape: tuple[int, int]) -> np.ndarray | float | None:
    """Return a reference image as an array or number."""
    if given is None or isinstance(given, (int, float)):
        return given
    if isinstance(given, (str, os.PathLike)):
        image = _read_image(place_of(given), place_of(given).identity())
    else:
        image = np.asarray(given)
    if image.ndim == 3:
        image = image.mean(axis=0)
    if image.ndim != 0 and image.shape != shape:
        msg = f"the {name} image has {image.shape} pixels, but frames have {shape}"
        raise MovieError(msg)
    return image


# `identity` is part of the cache's key: a changed file is read anew
@lru_cache(maxsize=16)
def _read_image(place: Place, identity: str) -> np.ndarray:  # noqa: ARG001
    reader = open_reader(place)
    mean: np.ndarray = reader.read(0, reader.shape[0]).mean(axis=0, dtype=np.float64)
    return mean


def _dead(given: Any, shape: tuple[int, int]) -> np.ndarray | None:
    """Return dead pixels as truth values (y, x)."""
    if given is None:
        return None
    if isinstance(given, (str, os.PathLike)):
        given = _image(given, "dead_pixels", shape)
    # an image of the frames' shape marks them; anything else has to be a list of (y, x)
    array = np.asarray(given)
    if array.shape == shape:
        return np.asarray(array != 0)
    dead = np.zeros(shape, bool)
    if array.size:
        points = array.astype(np.intp)
        are_pairs = points.ndim == 2 and points.shape[1] == 2
        if not are_pairs or (points < 0).any() or (points >= shape).any():
            msg = (
                f"dead_pixels must be (y, x) pairs inside frames of {shape} pixels, or a truth "
                "image of that shape"
            )
            raise MovieError(msg)
        dead[points[:, 0], points[:, 1]] = True
    return dead


def _identity(given: Any) -> str:
    if isinstance(given, (str, os.PathLike)):
        return place_of(given).identity()
    if given is None or isinstance(given, (int, float)):
        return repr(given)
    array = np.ascontiguousarray(given)
    return f"{array.shape} {array.dtype} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"

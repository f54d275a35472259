"""Readers around other readers: what they pass on, and one that marks broken frames.

A broken frame costs itself and nothing else. `TolerantReader` wraps any reader: where a block does
not decode it is read again piece by piece (a frame, or the chunk that is decoded together); the
pieces at fault come out as `stemkin.kernels.images.quality.damaged`, which every later look at them
calls corrupt, and the numbering stays. Trouble of the moment (a file that is gone, or that does
not open, a connection that broke) is no damage: it is raised, and the caller may try again; that of
the network with a store is raised as `stemkin.errors.UnreachableError`, which blames no frame.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stemkin.errors import reaching
from stemkin.kernels.images.quality import damaged
from stemkin.readers.base import Calibration, Reader
from stemkin.readers.errors import is_damage

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class WrappingReader:
    """A reader that is `inner` but for what its subclass changes; frames come out as they are."""

    inner: Reader

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        return self.inner.shape

    @property
    def dtype(self) -> np.dtype:
        """Of one pixel."""
        return self.inner.dtype

    @property
    def calibration(self) -> Calibration:
        """What the file says of itself."""
        return self.inner.calibration

    @property
    def source(self) -> str:
        """Path or URL."""
        return self.inner.source

    @property
    def frames_per_chunk(self) -> int:
        """Frames that the storage keeps together."""
        return self.inner.frames_per_chunk

    @property
    def piece(self) -> int:
        """Frames that are decoded together."""
        return max(1, int(getattr(self.inner, "piece", 1)))

    @property
    def identity(self) -> str:
        """Changes when the content does."""
        return self.inner.identity

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded)."""
        return self.inner.read(start, stop)


@dataclass(frozen=True, eq=False)
class TolerantReader(WrappingReader):
    """The frames of `inner`; those that cannot be decoded are marked instead of raising."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded); what does not decode is marked as damaged."""
        try:
            with reaching(self.source):
                return self.inner.read(start, stop)
        except Exception as error:
            if not is_damage(error):
                raise
        # pieces begin at multiples of `piece`, whatever was asked for: none is decoded twice
        edges = [start, *range((start // self.piece + 1) * self.piece, stop, self.piece), stop]
        return np.concatenate([self._piece(*pair) for pair in pairwise(edges)])

    def _piece(self, start: int, stop: int) -> np.ndarray:
        try:
            with reaching(self.source):
                return self.inner.read(start, stop)
        except Exception as error:
            if not is_damage(error):
                raise
            log.warning("frames %d to %d of %s are damaged: %s", start, stop, self.source, error)
            return damaged(stop - start, *self.shape[1:], self.dtype)


@dataclass(frozen=True, eq=False)
class PartReader(WrappingReader):
    """Some frames of `inner`: from `start` on, every `step`-th, `n` of them."""

    start: int = 0
    n: int = 0
    step: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width) of the part."""
        return self.n, *self.inner.shape[1:]

    @property
    def frames_per_chunk(self) -> int:
        """Frames that the storage keeps together, where the part begins with such a chunk."""
        whole = self.inner.frames_per_chunk
        if self.step == 1 and self.start % whole == 0:
            return whole
        return 1

    @property
    def piece(self) -> int:
        """Frames that are decoded together: in a part they begin anywhere."""
        return 1

    @property
    def identity(self) -> str:
        """Changes when the content does, or the part."""
        return f"frames {self.start}:{self.n}:{self.step} of {self.inner.identity}"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded) of the part."""
        first = self.start + start * self.step
        if self.step == 1:
            return self.inner.read(first, self.start + stop)
        # each frame alone: what lies between may be much
        numbers = range(first, self.start + stop * self.step, self.step)
        return np.concatenate([self.inner.read(i, i + 1) for i in numbers])

"""What a reader around another reader passes on unless it says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.readers.base import Calibration, Reader


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

"""Tips: where tracks begin and where they end, block by block, and in windows of time that hold a
bounded number of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.linking.sightings import Looks

WINDOW_TIPS = 200_000
"""Tips that are looked at together, where there are so many; about 200 bytes each."""


@dataclass(frozen=True, eq=False)
class Tips:
    """First and last detections of tracks.

    Attributes
    ----------
    is_end
        (n,) whether it is a track's last detection.
    name
        (n,) the tracks' names.
    ordinal, frame
        (n,) number among the good frames, and in the movie.
    point_nm
        (n, 2) drift-corrected position (y, x) [nm].
    looks
        How they look.
    """

    is_end: np.ndarray
    name: np.ndarray
    ordinal: np.ndarray
    frame: np.ndarray
    point_nm: np.ndarray
    looks: Looks

    def __len__(self) -> int:
        """Return the number of tips."""
        return len(self.name)

    def take(self, rows: np.ndarray | slice) -> Tips:
        """Return the tips `rows`."""
        return Tips(
            self.is_end[rows], self.name[rows], self.ordinal[rows], self.frame[rows], self.point_nm[rows],
            self.looks.take(rows),
        )  # fmt: skip

    @staticmethod
    def concatenated(parts: Sequence[Tips]) -> Tips:
        """Return the tips of all `parts`, which must not be none."""
        if len(parts) == 1:
            return parts[0]
        return Tips(
            np.concatenate([p.is_end for p in parts]),
            np.concatenate([p.name for p in parts]),
            np.concatenate([p.ordinal for p in parts]),
            np.concatenate([p.frame for p in parts]),
            np.concatenate([p.point_nm for p in parts]),
            Looks(
                np.concatenate([p.looks.class_id for p in parts]),
                np.concatenate([p.looks.brightness_nm for p in parts]),
                parts[0].looks.class_penalty_nm,
            ),
        )

    def in_order(self) -> Tips:
        """Return the tips sorted by frame, y, x and name, the end of a track of one detection
        before its start."""
        y, x = self.point_nm.T
        return self.take(np.lexsort((~self.is_end, self.name, x, y, self.ordinal)))


def in_windows(blocks: Iterable[tuple[Tips, int]]) -> Iterator[Tips]:
    """Yield the tips of whole frames in the order of time, sorted, `WINDOW_TIPS` or a few more at
    once. Lazy.

    Where a window ends follows from the tips alone, not from the blocks that they come in.

    Parameters
    ----------
    blocks
        The tips of each block in the order of time, and its last occupied frame; no later block has
        a tip before that frame.
    """
    waiting: list[Tips] = []
    for tips, last_frame in blocks:
        waiting.append(tips)
        if sum(map(len, waiting)) >= WINDOW_TIPS:
            known = Tips.concatenated(waiting).in_order()
            stop = int(np.searchsorted(known.frame, last_frame))
            first = 0
            while first + WINDOW_TIPS <= stop:
                last = int(
                    np.searchsorted(known.frame, known.frame[first + WINDOW_TIPS - 1], side="right")
                )
                yield known.take(slice(first, last))
                first = last
            waiting = [known.take(slice(first, None))]
    if any(map(len, waiting)):
        yield Tips.concatenated(waiting).in_order()

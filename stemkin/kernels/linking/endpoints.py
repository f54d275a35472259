"""Where tracks begin and end: in blocks, and in windows of time that hold a bounded number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.linking.sightings import Looks

WINDOW_ENDPOINTS = 200_000
"""Endpoints that are looked at together, where there are so many; about 200 bytes each."""


@dataclass(frozen=True, eq=False)
class Endpoints:
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
        """Return the number of endpoints."""
        return len(self.name)

    def take(self, rows: np.ndarray | slice) -> Endpoints:
        """Return the endpoints `rows`."""
        return Endpoints(
            self.is_end[rows],
            self.name[rows],
            self.ordinal[rows],
            self.frame[rows],
            self.point_nm[rows],
            self.looks.take(rows),
        )

    @staticmethod
    def concatenated(parts: Sequence[Endpoints]) -> Endpoints:
        """Return the endpoints of all `parts`, which must not be none."""
        if len(parts) == 1:
            return parts[0]
        return Endpoints(
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

    def in_order(self) -> Endpoints:
        """Return the endpoints sorted by frame, y, x and name.

        The end of a track of one detection comes before its start.
        """
        y, x = self.point_nm.T
        return self.take(np.lexsort((~self.is_end, self.name, x, y, self.ordinal)))


def in_windows(blocks: Iterable[tuple[Endpoints, int]]) -> Iterator[Endpoints]:
    """Cut the endpoints of a movie into windows of time, sorted and with whole frames. Lazy.

    Where a window ends follows from the endpoints alone, not from the blocks that they come in.

    Parameters
    ----------
    blocks
        The endpoints of each block in the order of time, and its last occupied frame; no later
        block has an endpoint before that frame.

    Yields
    ------
    `WINDOW_ENDPOINTS` of them, or a few more where the last frame has more; the last window has
    what is left.
    """
    waiting: list[Endpoints] = []
    for endpoints, last_frame in blocks:
        waiting.append(endpoints)
        if sum(map(len, waiting)) >= WINDOW_ENDPOINTS:
            # A later block may still bring endpoints of `last_frame` itself (the ends of tracks
            # that do not go on), so only what lies before it is complete and may be cut.
            known = Endpoints.concatenated(waiting).in_order()
            stop = int(np.searchsorted(known.frame, last_frame))
            first = 0
            while first + WINDOW_ENDPOINTS <= stop:
                last = int(
                    np.searchsorted(
                        known.frame, known.frame[first + WINDOW_ENDPOINTS - 1], side="right"
                    )
                )
                yield known.take(slice(first, last))
                first = last
            waiting = [known.take(slice(first, None))]
    if any(map(len, waiting)):
        yield Endpoints.concatenated(waiting).in_order()

"""Sums of movies and classes, pooled: what each estimator's total becomes a row of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from stemkin.diffusion.choice import By, Choice, check_words
from stemkin.diffusion.segments import Segments, segments_of
from stemkin.rows.passes import Sums, Through
from stemkin.tables import POOLED

Adder = Callable[[Segments, np.ndarray, int], np.ndarray]
"""From segments, the (n_units,) group of each unit and the number of groups to exact sums
(n_groups, ..., 4)."""


def added_by(adder: Adder, choice: Choice) -> Through:
    """Return what adds movie, class → the sums of `adder` over the segments of whole tracks.

    Parameters
    ----------
    adder
        What a unit adds, summed per group.
    choice
        Which segments: all sums of one choice are taken of the same segments, cut once per pass.
    """
    return Through(partial(segments_of, choice=choice), partial(_by_group, adder=adder))


def _by_group(segments: Segments, *, adder: Adder) -> Sums:
    keys, group = segments.groups()
    return dict(zip(keys, adder(segments, group, len(keys)), strict=True))


@dataclass(frozen=True)
class Pooling:
    """How sums of movies come together in rows of a table.

    Attributes
    ----------
    time_of
        Tells the frame time of a movie [s].
    by
        ``"movie"`` for each movie and all together; ``"pooled"`` for all together only.
    """

    time_of: Callable[[str], float]
    by: By

    def __post_init__(self) -> None:
        """Refuse a grouping that there is not."""
        check_words(by=self.by)

    def groups(self, sums: Sums) -> Iterator[tuple[str, int, dict[float, np.ndarray]]]:
        """Yield movie ("*" last), class, and frame time [s] → total, sorted.

        Parameters
        ----------
        sums
            Movie, class → exact sums.
        """
        pooled: dict[int, dict[float, np.ndarray]] = {}
        for (movie, number), vector in sorted(sums.items()):
            seconds = self.time_of(movie)
            if self.by == "movie":
                yield movie, number, {seconds: vector}
            own = pooled.setdefault(number, {})
            own[seconds] = own[seconds] + vector if seconds in own else vector
        for number, parts in sorted(pooled.items()):
            yield POOLED, number, parts

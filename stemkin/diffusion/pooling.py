"""Sums of movies and classes, pooled: what each estimator's total becomes a row of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.diffusion.choice import Choice
from stemkin.diffusion.segments import Segments, segments_of
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping, Key
from stemkin.rows.passes import Sums, Through, added

Adder = Callable[[Segments, np.ndarray, int], Iterable[Any]]
"""From segments, the (n_units,) group of each unit and the number of groups to what each
group adds: mostly exact sums (n_groups, ..., 4)."""


def added_by(adder: Adder, choice: Choice) -> Through:
    """Return what adds key, class → the sums of `adder` over the segments of whole tracks.

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
    grouping
        How rows are told apart.
    """

    time_of: Callable[[str], float]
    grouping: Grouping

    @classmethod
    def of(cls, by: By, tracks: Any, calibrations: Calibrations) -> Pooling:
        """Return how `by` pools the `tracks` of movies so calibrated.

        Raises
        ------
        ValueError
            If no frame time is known, or `by` is no grouping of these tracks.
        """
        return cls(calibrations.frame_times(), Grouping.of(by, tracks, calibrations))

    def groups(self, sums: Sums) -> Iterator[tuple[Key, int, dict[float, np.ndarray]]]:
        """Yield group (all movies last), class, and frame time [s] → total, sorted.

        Parameters
        ----------
        sums
            Key, class → exact sums.
        """
        of_key: dict[Key, list[tuple[int, np.ndarray]]] = {}
        for (key, number), vector in sums.items():
            of_key.setdefault(key, []).append((number, vector))
        for group, keys in self.grouping.groups(of_key):
            pooled: dict[int, list[Sums]] = {}
            for key in keys:
                seconds = self.time_of(key[0])
                for number, vector in of_key[key]:
                    pooled.setdefault(number, []).append({seconds: vector})
            for number, parts in sorted(pooled.items()):
                yield group, number, added(parts)

    def totals(self, sums: Sums) -> Iterator[tuple[Key, int, float, np.ndarray]]:
        """Yield group (all movies last), class, frame time [s] and total, sorted.

        Parameters
        ----------
        sums
            Key, class → exact sums.
        """
        for group, number, parts in self.groups(sums):
            for seconds, vector in sorted(parts.items()):
                yield group, number, seconds, vector

    def table(
        self, rows: Iterable[tuple[Key, Mapping[str, Any]]], columns: Mapping[str, str]
    ) -> pd.DataFrame:
        """Return the table of the `rows`, in the order of group and class.

        Parameters
        ----------
        rows
            Group, and what is said of a class in it.
        columns
            Column → dtype, beginning with ``movie``, which the group tells.
        """
        ordered = sorted(rows, key=lambda pair: (pair[0], pair[1]["class_id"]))
        named = [{"movie": group[0], **row} for group, row in ordered]
        table = pd.DataFrame(named, columns=list(columns)).astype(dict(columns))
        return self.grouping.beside(table, [group for group, _ in ordered])

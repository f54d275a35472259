"""Rows change places between blocks, so that a partition holds whole tracks: a shuffle by particle.

A particle's name tells its partition (`stemkin.rows.files.part_of`), so who goes where does not
depend on how the movie was cut. From everywhere to everywhere would be the square of the number of
partitions; here each row goes by the digits of its partition's number, one digit a round, as in a
radix sort:

    runs of blocks ── split by digit 0 ──▶ nodes ── split by digit 1 ──▶ partitions, sorted by frame
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.linking.executors import Executor
from stemkin.linking.names import together
from stemkin.rows.files import part_of

MOST_WAYS = 32
"""Ways that a node's rows are split at once; 32 partitions take one round, 1,024 two."""


def exchanged(
    executor: Executor, blocks: Sequence[Any], n_parts: int, empty: pd.DataFrame
) -> list[Any]:
    """Share out the tracks of a movie, so that each share holds whole tracks.

    Parameters
    ----------
    executor
        Who moves the rows.
    blocks
        Handles of: movie → its rows of ``tracks``, of every block in the order of time; of one
        movie only, unless `n_parts` is 1.
    n_parts
        Number of shares.
    empty
        A table without rows.

    Returns
    -------
    (n_parts) handles of tables; each is sorted as the movie is.
    """
    if n_parts == 1:
        return [executor.once(partial(_gather, empty=empty), list(blocks))]
    radix, n_digits = _radix(n_parts)
    edges = [len(blocks) * node // n_parts for node in range(n_parts + 1)]
    nodes = {
        node: [executor.once(partial(_gather, empty=empty), list(blocks[start:stop]))]
        for node, (start, stop) in enumerate(itertools.pairwise(edges))
        if start < stop
    }
    for digit in range(n_digits):
        nodes = _round(executor, nodes, n_parts, radix, radix**digit)
    return [executor.once(_in_time, nodes[part]) for part in range(n_parts)]


def _radix(n_parts: int) -> tuple[int, int]:
    """Return the least radix and number of digits with which `n_parts` can be written."""
    n_digits = 1
    while MOST_WAYS**n_digits < n_parts:
        n_digits += 1
    radix = 2
    while radix**n_digits < n_parts:
        radix += 1
    return radix, n_digits


def _round(
    executor: Executor, nodes: dict[int, list[Any]], n_parts: int, radix: int, place: int
) -> dict[int, list[Any]]:
    """Send every node's rows to the nodes that differ from it in one digit alone.

    After the round the digits up to that one are those of the rows' partition; the higher ones
    still say where in the movie they came from. A node that no partition's digits lead to is left
    out.
    """
    arrived: dict[int, list[Any]] = defaultdict(list)
    split = partial(_split, n_parts=n_parts, radix=radix, place=place)
    for node, waiting in nodes.items():
        pieces = executor.once(split, waiting)
        lowest = node - node // place % radix * place
        for digit in range(radix):
            target = lowest + digit * place
            if target % (place * radix) < n_parts:
                arrived[target].append(executor.once(_piece, pieces, digit))
    return arrived


def _split(waiting: list[pd.DataFrame], n_parts: int, radix: int, place: int) -> list[pd.DataFrame]:
    """Return the rows of a node by one digit of their partition's number; their order is kept."""
    rows = together(waiting)
    digit = part_of(rows["particle"].to_numpy(), n_parts) // place % radix
    return [rows[digit == d] for d in range(radix)]


def _piece(pieces: list[pd.DataFrame], digit: int) -> pd.DataFrame:
    return pieces[digit]


def _in_time(waiting: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of a partition, sorted by frame, y, x.

    A frame's rows came out of one block, sorted, and no split changed their order: sorting by frame
    is enough.
    """
    rows = together(waiting)
    order = np.argsort(rows["frame"].to_numpy(), kind="stable")
    return rows.iloc[order].reset_index(drop=True)


def _gather(blocks: list[dict[str, pd.DataFrame]], empty: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all blocks as one table."""
    return together([tracks for of_block in blocks for tracks in of_block.values()] or [empty])

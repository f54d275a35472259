"""The one order of linking, whoever carries it out: count, fit, link, join, name.

    blocks ── count ──▶ fit ──▶ link ──▶ join ──▶ name ──▶ tracks of every block

How far defects step is counted in every block by itself; the counts add up to a model of steps.
With it every block is linked by itself. What the others must know of a block (the tracks in its
last frame and, where gaps are closed, where tracks begin and end) is joined once, and tells every
block how its tracks are called. `Executor.each` is what may run in parallel, `Executor.once` waits
for all blocks: steps and names are the two barriers.

A block may hold rows of several movies; each step goes through them one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from stemkin import tables
from stemkin.kernels.linking.steps import StepModel
from stemkin.linking.blocks import Links, MovieBlock, count_block, fit_steps, link_block
from stemkin.linking.clock import Clock
from stemkin.linking.executors import Executor, Loop
from stemkin.linking.halos import held_blocks, in_movies
from stemkin.linking.names import (
    Summary,
    TrackNames,
    block_tracks,
    join_links,
    no_tracks,
    together,
)
from stemkin.linking.settings import LinkSettings

Block = Mapping[str, MovieBlock]
"""Movie → its rows in a block."""
Models = dict[str, StepModel]
"""Movie → its odds of steps."""


def link_in_order(executor: Executor, blocks: Sequence[Any], settings: LinkSettings) -> list[Any]:
    """Link the rows of movies, block by block.

    Parameters
    ----------
    executor
        Who calls the steps.
    blocks
        Handles of all blocks (`Block`) in the order of time.
    settings
        What makes a link.

    Returns
    -------
    For every block the handle of: movie → what `MovieBlock.finish` gives for its tracks.
    """
    models = None
    if settings.need_odds:
        counted = executor.each(partial(_count, settings=settings), blocks)
        models = executor.once(_fit, counted)
    links = executor.each(partial(_link, settings=settings), blocks, same=(models,))
    summaries = [executor.once(_summary, own) for own in links]
    joined = executor.once(partial(_join, settings=settings), summaries, models)
    names = [executor.once(_names_of, joined, number) for number in range(len(blocks))]
    return executor.each(_name, blocks, links, names)


def link_here(
    parts: Iterable[pd.DataFrame], clocks: dict[str, Clock], settings: LinkSettings
) -> pd.DataFrame:
    """Link detections in this process, block by block. Computes once.

    Parameters
    ----------
    parts
        Rows of ``detections`` of each block, whole frames in the order of time; each is asked for
        once.
    clocks
        The clock of every movie.
    settings
        What makes a link.

    Returns
    -------
    Rows of ``tracks``, sorted as the blocks are.
    """
    loop, pieces = Loop(), []
    empty = tables.empty("tracks")
    for number, part in enumerate(parts):
        if number == 0:
            empty = no_tracks(part)
        pieces.append(in_movies(part, clocks))
    named = link_in_order(loop, held_blocks(loop, pieces, clocks), settings)
    return together([empty, *(tracks for of_block in named for tracks in of_block.values())])


def _count(block: Block, settings: LinkSettings) -> Models:
    """Count the steps of each movie of a block."""
    return {movie: count_block(own, settings) for movie, own in block.items()}


def _fit(counted: list[Models]) -> Models:
    """Return each movie's odds of steps."""
    of_movie: dict[str, list[StepModel]] = defaultdict(list)
    for of_block in counted:
        for movie, model in of_block.items():
            of_movie[movie].append(model)
    return {movie: fit_steps(models) for movie, models in of_movie.items()}


def _link(block: Block, models: Models | None, settings: LinkSettings) -> dict[str, Links]:
    """Link each movie of a block, and keep its links where the block keeps them."""
    odds: Mapping[str, StepModel | None] = dict.fromkeys(block)
    if settings.by_odds and models is not None:
        odds = models
    return {movie: own.keep(link_block(own, settings, odds[movie])) for movie, own in block.items()}


def _summary(links: dict[str, Links]) -> dict[str, Summary]:
    """Return what the other blocks must know of a block."""
    return {movie: own.summary for movie, own in links.items()}


def _join(
    summaries: list[dict[str, Summary]], models: Models | None, settings: LinkSettings
) -> list[dict[str, TrackNames]]:
    """Join the blocks of every movie; return for every block how its tracks are called."""
    where_is: dict[str, list[int]] = defaultdict(list)
    for number, of_block in enumerate(summaries):
        for movie in of_block:
            where_is[movie].append(number)
    names: list[dict[str, TrackNames]] = [{} for _ in summaries]
    for movie, where in where_is.items():
        model = None if models is None else models[movie]
        joined = join_links([summaries[k][movie] for k in where], model, settings)
        for number, of_movie in zip(where, joined, strict=True):
            names[number][movie] = of_movie
    return names


def _names_of(joined: list[dict[str, TrackNames]], number: int) -> dict[str, TrackNames]:
    """Return how the tracks of one block are called."""
    return joined[number]


def _name(block: Block, links: dict[str, Links], names: dict[str, TrackNames]) -> dict[str, Any]:
    """Name the tracks of a block, and hand them to it."""
    return {
        movie: own.finish(block_tracks(own.own(), links[movie].names, names[movie]))
        for movie, own in block.items()
    }

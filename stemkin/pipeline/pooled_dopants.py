"""The dopants of all movies of a run together, whatever their doses: rates that they share.

Each movie has its own looks (depth, baselines), all have the same rates. Dopants are few, so that
their signals fit into one task, up to `MOST_POOLED`; beyond, rates stand movie by movie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.config import RunConfig
from stemkin.results.reading import site_traces_kept
from stemkin.results.store import Store
from stemkin.schedulers.active import here_alone
from stemkin.schedulers.streams import results
from stemkin.sites import dopant_chains
from stemkin.traces import SiteTraces

MOST_POOLED = 20_000_000
"""Signals of dopants that are pooled at most (160 MB): a task holds them all."""


@dataclass(frozen=True)
class PoolTask:
    """All that a worker needs for the dopants of several movies together."""

    movies: tuple[str, ...]
    store: Store
    confidence: float


def pooled_rates(
    store: Store, config: RunConfig, n_signals: Mapping[str, int]
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Find the rates of the dopants of all movies of a run together. Computes once.

    Parameters
    ----------
    store, config
        The results folder and the settings.
    n_signals
        How many signals the dopants of each movie have, of movies with any.

    Returns
    -------
    The tables ``dopant_rates`` and ``dopant_transitions``, none where fewer than two movies have
    dopants; and what there is to say.
    """
    if len(n_signals) < 2:
        return {}, []
    n = sum(n_signals.values())
    if n > MOST_POOLED:
        said = (
            f"the dopants of {len(n_signals)} movies have {n:,} signals, more than the "
            f"{MOST_POOLED:,} that one task holds: their rates stand movie by movie; pool some with "
            "dopant_chains"
        )
        return {}, [said]
    task = PoolTask(tuple(n_signals), store, config.kinetics.confidence)
    ((_, answer),) = results(pooled_chains, iter([task]), retries=config.run.retries)
    return answer


@one_thread
def pooled_chains(task: PoolTask) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Find the rates of the dopants of several movies together. Computes once.

    Parameters
    ----------
    task
        Which movies.

    Returns
    -------
    Their tables, none where they cannot be pooled; and why not.
    """
    traces, dopants = [], []
    for movie in task.movies:
        own = site_traces_kept(task.store, movie, task.store.read_movie("sites", movie))
        traces.append(longest_stretch(own)[0])
        dopants.append(task.store.read_movie("dopants", movie))
    try:
        with here_alone():
            chain = dopant_chains(traces, dopants, confidence=task.confidence)
    except ValueError as error:
        return {}, [f"the dopants of all movies are not pooled: {error}"]
    return {"dopant_rates": chain.rates, "dopant_transitions": chain.transitions}, []


def longest_stretch(traces: SiteTraces) -> tuple[SiteTraces, int]:
    """Return the longest stretch of traces, and its number. Lazy."""
    edges = np.array([*traces.stretches, traces.n_frames])
    number = int(np.argmax(np.diff(edges)))
    return traces.stretch(number), number

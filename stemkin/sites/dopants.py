"""What becomes of dopants at doses at which no frame shows it: chains of four states.

A dopant is seen at any dose and stays where it is, so its three columns are followed through the
whole movie. They are in one of four states {alone, @0, @1, @2} whose rates (attachment, detachment,
rotation) are those that make all signals most likely, with nothing decided in any frame.

>>> from stemkin.simulation import simulate_traces
>>> rates = {"dopant_fraction": 0.03, "rotation_rate_per_s": 0.05, "detach_rate_per_s": 0.02}
>>> world = simulate_traces(n_frames=300, shape=(24, 24), depth=4.0, seed=1, **rates)
>>> found = dopant_chains(world.traces, world.dopants)
>>> found.matrix().shape, bool((found.states == world.states).mean() > 0.95)
((4, 4), True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg

from stemkin.blas import one_thread
from stemkin.kernels.chains.hidden_markov import UNITS, expected_counts
from stemkin.kernels.chains.signal_states import N_STATES, Emission, state_posteriors
from stemkin.kernels.chains.tied_rates import TiedRates
from stemkin.kernels.common.intervals import rate_interval
from stemkin.sites.correlation import check_traces
from stemkin.tables import conform
from stemkin.traces import SiteTraces
from stemkin.vocabulary import check_confidence

DOPANT_STATES = ("alone", "@0", "@1", "@2")
QUANTITIES = ("attachment", "detachment", "rotation")
"""From alone to any column; from a column to alone; from a column to each of the others."""

ENTRIES = (
    *((0, to, 0, 1 / 3) for to in (1, 2, 3)),
    *((at, 0, 1, 1.0) for at in (1, 2, 3)),
    *((at, to, 2, 1.0) for at in (1, 2, 3) for to in (1, 2, 3) if to != at),
)
"""(from, to, which of `QUANTITIES`, share of it)."""

COLUMNS = ("site_0", "site_1", "site_2")
LATTICES_ALIKE = 0.05
"""Lattice constants whose logarithms differ by more are of different crystals."""

STARTS = (1.5, 3.0, 6.0)
"""Depths that are tried where the traces state none."""

MOST_ROUNDS, CLOSE = 200, 1e-3
"""Rounds of expectation and maximisation; they end where one gains less log-likelihood."""

STEP, N_DRAWS, SLOWEST = 0.02, 2000, 1e-7
"""Step in log rates for curvature; draws for intervals of probabilities; a rate that is none."""


@dataclass(frozen=True, eq=False)
class DopantChain:
    """The chain of the states of dopants.

    Attributes
    ----------
    transitions
        Table ``dopant_transitions``: probabilities of one frame time and their intervals.
    rates
        Table ``dopant_rates``.
    states
        (t, dopant) int8, the likeliest state in each frame; of the first movie, `of` has all.
    of
        The states of each movie by its name.
    """

    transitions: pd.DataFrame
    rates: pd.DataFrame
    states: np.ndarray
    of: dict[str, np.ndarray]

    def matrix(self, column: str = "probability") -> pd.DataFrame:
        """Return a column of `transitions` as a (4, 4) matrix, from row to column."""
        values = self.transitions[column].to_numpy().reshape(N_STATES, N_STATES)
        return pd.DataFrame(values, index=list(DOPANT_STATES), columns=list(DOPANT_STATES))


@dataclass(frozen=True, eq=False)
class _Seen:
    """The signals of the dopants of one movie."""

    movie: str
    frame_time_s: float
    signals: np.ndarray
    look: Emission


@one_thread
def dopant_chains(
    traces: SiteTraces | Sequence[SiteTraces],
    dopants: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    confidence: float = 0.95,
) -> DopantChain:
    """Find how dopants take up, turn and let go vacancies from signals alone. Computes once.

    Parameters
    ----------
    traces
        Traces of a movie, or of several that are pooled: rates are shared, looks are not.
    dopants
        For each movie a table with the numbers of the three sites beside each dopant, `site_0`,
        `site_1`, `site_2`, turning by 120 degrees.
    confidence
        Of all intervals.

    Returns
    -------
    The chain. Its intervals hold what the curvature of the likelihood of the signals says, in the
    rates and the depth together.

    Raises
    ------
    ValueError
        If there is no dopant, a column or a site of that number is missing, or no frame time known.

    Notes
    -----
    Baum and Welch's expectation and maximisation; the rates maximise the likelihood of the expected
    counts exactly in the generator (Kalbfleisch & Lawless, J. Am. Stat. Assoc. 80, 863 (1985)).
    A dopant holds at most one vacancy here.
    """
    check_confidence(confidence)
    seen = _gathered(traces, dopants)
    best: tuple[float, np.ndarray, np.ndarray, list[_Seen]] | None = None
    for depths in _starts(traces):
        tried = _fitted(
            [
                replace(one, look=replace(one.look, depth=depth))
                for one, depth in zip(seen, depths, strict=True)
            ]
        )
        if best is None or tried[0] > best[0]:
            best = tried
    assert best is not None
    _, x, start, seen = best
    return _answer(seen, x, start, confidence)


def _listed(given: Any, kind: type) -> list[Any]:
    if isinstance(given, kind):
        return [given]
    return list(given)


def _starts(traces: Any) -> list[list[float]]:
    """Return the depths to begin with, one for each movie, whose doses may differ."""
    movies = _listed(traces, SiteTraces)
    stated = [one.depth for one in movies if one.depth is not None]
    if not stated:
        return [[depth] * len(movies) for depth in STARTS]
    usual = float(np.mean(stated))
    return [[usual if one.depth is None else one.depth for one in movies]]


def _gathered(traces: Any, dopants: Any) -> list[_Seen]:
    """Return the signals of all dopants, movie by movie; they are few, and fit in memory."""
    movies, tables_of = _listed(traces, SiteTraces), _listed(dopants, pd.DataFrame)
    if len(movies) != len(tables_of) or not movies:
        msg = f"{len(movies)} movies have {len(tables_of)} tables of dopants; give one for each"
        raise ValueError(msg)
    seen = []
    for one, table in zip(movies, tables_of, strict=True):
        check_traces(one)
        if one.frame_time_s is None:
            msg = (
                f"the traces of movie {one.movie!r} have no frame_time_s; give it to SiteTraces.of"
            )
            raise ValueError(msg)
        sites = _sites_beside(one, table)
        _check_alike(one, movies[0])
        values = np.asarray(one.values[:, sites.ravel()].compute(), dtype=np.float64)
        signals = values.reshape(len(values), len(sites), 3)
        if not np.isfinite(signals).any():
            msg = (
                f"no site beside a dopant of movie {one.movie!r} is judged in any frame; look at "
                "the status of its frames, or leave the movie out"
            )
            raise ValueError(msg)
        middle = np.nanmedian(signals)
        sd = 1.4826 * np.nanmedian(np.abs(signals - middle))
        look = Emission(np.full((len(sites), 3), middle), 0.0, 0.0, float(max(sd, 1e-6)))
        seen.append(_Seen(one.movie, float(one.frame_time_s), signals, look))
    return seen


def _check_alike(traces: SiteTraces, first: SiteTraces) -> None:
    """Refuse to pool movies whose lattices are not alike."""
    own, other = traces.lattice_nm, first.lattice_nm
    if own is None or other is None or abs(np.log(own / other)) <= LATTICES_ALIKE:
        return
    msg = (
        f"movies {first.movie!r} and {traces.movie!r} have lattice constants of {other:.4f} and "
        f"{own:.4f} nm: their dopants are of different crystals, or a calibration is off; pool movies "
        "of one lattice"
    )
    raise ValueError(msg)


def _sites_beside(traces: SiteTraces, table: pd.DataFrame) -> np.ndarray:
    """Return (dopant, 3) numbers of sites."""
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        msg = (
            f"a table of dopants needs the columns {list(COLUMNS)}, the sites beside each, but it "
            f"has {list(table.columns)}"
        )
        raise ValueError(msg)
    sites = table[list(COLUMNS)].to_numpy(np.int64)
    if not len(sites):
        msg = f"there is no dopant in movie {traces.movie!r}; leave it out"
        raise ValueError(msg)
    strange = sites[(sites < 0) | (sites >= traces.n_sites)]
    if len(strange):
        msg = (
            f"a dopant lies beside site {strange[0]}, but movie {traces.movie!r} has "
            f"{traces.n_sites} sites, numbered from 0; are these the dopants of another movie?"
        )
        raise ValueError(msg)
    if {"u", "v"} <= set(table.columns):
        steps = traces.cells[sites] - table[["u", "v"]].to_numpy(np.int64)[:, None]
        near = np.abs(steps).max(axis=(1, 2)) <= 1
        # on a periodic patch of a simulation some sites lie on its other side
        if near.mean() < 0.5:
            u, v = table[["u", "v"]].iloc[int(np.argmin(near))].tolist()
            msg = (
                f"the dopant at cell ({u}, {v}) is not beside its sites in movie {traces.movie!r}: these "
                "are the dopants of other traces; pass both as dopants_of gave them"
            )
            raise ValueError(msg)
    return sites


def _generator(x: np.ndarray) -> np.ndarray:
    """Return the (4, 4) generator of three rates."""
    rates = np.zeros((N_STATES, N_STATES))
    for start, end, which, share in ENTRIES:
        rates[start, end] = share * x[which]
    return rates - np.diag(rates.sum(axis=1))


def _expected(seen: list[_Seen], x: np.ndarray, start: np.ndarray) -> tuple[Any, ...]:
    """Return log-likelihood, counts (movie, 4, 4), first states (4,) and posteriors."""
    told, counts, first, posteriors = 0.0, [], np.zeros(N_STATES), []
    for one in seen:
        step = linalg.expm(_generator(x) * one.frame_time_s)
        densities = one.look.log_densities(one.signals)
        posterior, log_likelihood = state_posteriors(densities, step, start)
        posteriors.append(posterior)
        told += log_likelihood
        n_frames, n = densities.shape[:2]
        # chains one after another, each in order of time
        rows = densities.swapaxes(0, 1).reshape(-1, N_STATES)
        emission = np.exp(rows - rows.max(axis=1, keepdims=True))
        edges = np.arange(n + 1) * n_frames
        gaps = np.zeros(len(rows), dtype=np.int64)
        found = expected_counts(edges, gaps, emission, step[None], start)
        counts.append(found.counts[0] / UNITS)
        first += found.start / UNITS
    return told, np.array(counts), first, posteriors


def _problem_of(seen: list[_Seen], counts: np.ndarray) -> tuple[TiedRates, float]:
    """Return the likelihood of expected counts, and the unit of its rates [s]."""
    times, which = np.unique([one.frame_time_s for one in seen], return_inverse=True)
    pooled = np.zeros((len(times), N_STATES, N_STATES))
    np.add.at(pooled, which, counts)
    return TiedRates(pooled, times / times[0], ENTRIES), float(times[0])


def _fitted(seen: list[_Seen]) -> tuple[float, np.ndarray, np.ndarray, list[_Seen]]:
    """Return log-likelihood, rates [1/s], first states and looks at the maximum."""
    x = np.array([0.02, 0.05, 0.05]) / seen[0].frame_time_s
    start, before = np.array([0.7, 0.1, 0.1, 0.1]), -np.inf
    for _ in range(MOST_ROUNDS):
        told, counts, first, posteriors = _expected(seen, x, start)
        if told - before < CLOSE:
            break
        before = told
        problem, unit = _problem_of(seen, counts)
        x = np.maximum(problem.maximise() / unit, SLOWEST)
        start = (first + 0.25) / (first + 0.25).sum()
        seen = [
            replace(one, look=one.look.refined(one.signals, posterior))
            for one, posterior in zip(seen, posteriors, strict=True)
        ]
    return told, x, start, seen


def _spread(seen: list[_Seen], x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the (3, 3) covariance of the log rates, from the curvature in them and the depths."""
    n = len(x) + 1

    def told(shift: np.ndarray) -> float:
        deeper = [
            replace(one, look=replace(one.look, depth=one.look.depth * float(np.exp(shift[-1]))))
            for one in seen
        ]
        total = 0.0
        for one in deeper:
            step = linalg.expm(_generator(x * np.exp(shift[:-1])) * one.frame_time_s)
            total += state_posteriors(one.look.log_densities(one.signals), step, start)[1]
        return total

    unit = np.eye(n) * STEP
    curvature, middle = np.zeros((n, n)), told(np.zeros(n))
    for a in range(n):
        curvature[a, a] = (told(unit[a]) + told(-unit[a]) - 2 * middle) / STEP**2
        for b in range(a):
            mixed = told(unit[a] + unit[b]) + told(-unit[a] - unit[b])
            mixed -= told(unit[a] - unit[b]) + told(unit[b] - unit[a])
            curvature[a, b] = curvature[b, a] = mixed / (4 * STEP**2)
    # a rate that is nowhere seen has no curvature; it keeps a wide margin
    return np.asarray(linalg.pinvh(-curvature + 1e-3 * np.eye(n)))[:-1, :-1]


def _answer(seen: list[_Seen], x: np.ndarray, start: np.ndarray, confidence: float) -> DopantChain:
    """Return the tables of the rates that were found."""
    _, counts, _, posteriors = _expected(seen, x, start)
    problem, unit = _problem_of(seen, counts)
    log_spread = _spread(seen, x, start)
    at_risk = problem.at_risk() * unit
    variance = np.maximum(np.diag(log_spread), 1e-12) * x**2
    low, high, _ = rate_interval(x, variance, at_risk, np.zeros(len(x)), confidence)
    pooled = counts.sum(axis=0)
    events = [sum(pooled[a, b] for a, b, w, _ in ENTRIES if w == which) for which in range(3)]
    name = seen[0].movie
    if len(seen) > 1:
        name = "*"
    rates = pd.DataFrame(
        {
            "movie": name,
            "quantity": list(QUANTITIES),
            "n_events": np.array(events),
            "time_at_risk_s": at_risk,
            "rate_per_s": x,
            "low": low,
            "high": high,
            "depth": float(np.mean([one.look.depth / one.look.sd for one in seen])),
        }
    )
    states = {
        one.movie: posterior.argmax(axis=-1).astype(np.int8)
        for one, posterior in zip(seen, posteriors, strict=True)
    }
    transitions = _transitions(name, seen[0].frame_time_s, x, log_spread, pooled, confidence)
    return DopantChain(transitions, conform(rates, "dopant_rates"), states[seen[0].movie], states)


def _transitions(
    movie: str,
    frame_time_s: float,
    x: np.ndarray,
    log_spread: np.ndarray,
    counts: np.ndarray,
    confidence: float,
) -> pd.DataFrame:
    """Return the table ``dopant_transitions`` for one frame time of the first movie."""
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(np.zeros(len(x)), log_spread, N_DRAWS, method="eigh")
    # in log rates the posterior of few events has long tails; beyond e^6 nothing is meant
    drawn = x * np.exp(np.clip(draws, -6, 6))
    steps = linalg.expm(np.array([_generator(rates) for rates in drawn]) * frame_time_s)
    tail = (1 - confidence) / 2
    low, high = np.quantile(steps, [tail, 1 - tail], axis=0)
    step = linalg.expm(_generator(x) * frame_time_s)
    rows = {
        "movie": movie,
        "from_state": np.repeat(DOPANT_STATES, N_STATES),
        "to_state": np.tile(DOPANT_STATES, N_STATES),
        "count": counts.ravel(),
        "probability": step.ravel(),
        "low": low.ravel(),
        "high": high.ravel(),
        "rate_per_s": _generator(x).ravel(),
    }
    return conform(pd.DataFrame(rows), "dopant_transitions")

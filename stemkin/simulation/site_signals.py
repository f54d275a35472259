"""Site traces with a known answer, made without frames.

Vacancies hop, attach, heal and are made exactly as in simulated movies (`kinetics`), on a periodic
patch of the lattice; every chalcogen column has a signal in every frame: minus `depth` for each atom
that is missing, plus haze, plus normal noise of sd 1.

>>> world = simulate_traces(n_frames=50, shape=(12, 12), depth=8.0, seed=1, vacancy_fraction=0.1)
>>> world.traces.values.shape, world.n_vacancies > 0
((50, 144), True)
>>> taken = world.occupancy > 0
>>> values = world.traces.values.compute()
>>> bool(values[taken].mean() < -7.5), bool(abs(values[~taken].mean()) < 0.1)
(True, True)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.materials import COMPLEX, DOPANT, DOUBLE_VACANCY, VACANCY
from stemkin.simulation.crystal import BOUND, Patch
from stemkin.simulation.kinetics import simulate_area
from stemkin.simulation.rates import Rates
from stemkin.simulation.settings import Settings, chance
from stemkin.traces import SiteTraces

N_WAVES = 64
"""Plane waves of which the haze of traces is made."""

NOISE, WAVES = 20, 21
"""Streams of chance."""


@dataclass(frozen=True)
class TraceHaze:
    """What contamination leaves in the signals of sites.

    Attributes
    ----------
    sd
        Its standard deviation, over that of the noise.
    length_a
        Correlation length in lattice constants: the correlation is exp(-r² / (2 length²)).
    drift_a_per_frame
        By how much it moves along a1, in lattice constants.
    flicker_frames
        Correlation time with which it changes in place; 0 for haze that stays.
    """

    sd: float = 0.0
    length_a: float = 2.0
    drift_a_per_frame: float = 0.0
    flicker_frames: float = 0.0


@dataclass(frozen=True, eq=False)
class SimulatedTraces:
    """Traces, and what is true of them.

    Attributes
    ----------
    traces
        The traces; the table of sites tells `beside_dopant`, and `dopant`: which it is beside.
    occupancy
        (t, site) int8: atoms that are missing.
    states
        (t, dopant) int8 state of each dopant: 0 alone, 1 to 3 with a vacancy on the first, second
        or third of its sites.
    dopants
        One row per dopant: `dopant`, its cell `u`, `v`, and `site_0`, `site_1`, `site_2`.
    hop_rate_per_s
        Hops of a free vacancy in all six directions.
    settings
        What was simulated.
    """

    traces: SiteTraces
    occupancy: np.ndarray
    states: np.ndarray
    dopants: pd.DataFrame
    hop_rate_per_s: float
    settings: Settings = field(repr=False)

    @property
    def D_nm2_per_s(self) -> float:  # noqa: N802 - physics writes D
        """Diffusion coefficient of a free vacancy, hop rate a² / 4 [nm²/s]."""
        return self.hop_rate_per_s * self.settings.material.a_nm**2 / 4

    @property
    def n_vacancies(self) -> float:
        """Missing atoms at free sites, on average over the frames."""
        free = ~self.traces.column("beside_dopant")
        return float(self.occupancy[:, free].sum(axis=1).mean())


@one_thread
def simulate_traces(
    *,
    n_frames: int = 100,
    shape: tuple[int, int] = (52, 52),
    depth: float = 8.0,
    seed: int = 0,
    pairs: bool = False,
    haze: TraceHaze | None = None,
    bad_frames: tuple[int, ...] = (),
    frames_per_chunk: int = 256,
    **rates: Any,
) -> SimulatedTraces:
    """Make site traces with a known answer. Computes once.

    Parameters
    ----------
    n_frames, shape
        Length, and numbers of cells along a1 and a2; the patch is periodic, its traces are not.
    depth
        How far the signal falls for each atom that is missing, in units of the noise.
    seed
        Equal seeds give equal bits.
    pairs
        Whether two vacancies can share a column of two atoms; False bars them from each other.
    haze
        What contamination adds; None for nothing.
    bad_frames
        Frames in which no site is judged.
    frames_per_chunk
        Chunks of the lazy array.
    **rates
        Any setting of `DefectKinetics`, the frame time or the dose rate; vacancies that hop and
        nothing else unless given.

    Returns
    -------
    `SimulatedTraces`: the traces, and what is true of them.

    Raises
    ------
    ValueError
        If a setting is unknown.
    """
    plain: dict[str, Any] = {
        "dopant_fraction": 0.0,
        "vacancy_fraction": 0.0185,
        "hop_rate_per_s": 0.14,
        "cross_section_barn": 0.0,
        "healing_rate_per_s": 0.0,
        "complex_healing_rate_per_s": 0.0,
        "frame_time_s": 1.0,
    }
    settings = Settings(n_frames=n_frames, seed=seed).with_values(**(plain | rates))
    if not pairs:
        single = replace(settings.material, atoms_per_chalcogen_column=1)
        settings = replace(settings, material=single)
    patch = Patch(np.diag(np.array(shape)))
    frame_time_s = settings.instrument.frame_time_s
    rows = simulate_area(
        settings,
        patch,
        duration_s=n_frames * frame_time_s,
        rng=np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(11,))),
    )
    occupancy, states, dopants = _in_frames(rows, patch, n_frames, frame_time_s)
    sites = pd.DataFrame(patch.cells, columns=["u", "v"]).assign(dopant=-1)
    for name in ("site_0", "site_1", "site_2"):
        sites.loc[dopants[name], "dopant"] = dopants["dopant"].to_numpy()
    sites["beside_dopant"] = sites["dopant"] >= 0
    values = _signals(settings, occupancy, patch.cells, depth, haze, bad_frames, frames_per_chunk)
    traces = SiteTraces.of(
        values,
        sites,
        movie=f"traces-{seed}",
        frame_time_s=frame_time_s,
        lattice_nm=settings.material.a_nm,
        depth=depth,
    )
    return SimulatedTraces(traces, occupancy, states, dopants, Rates.of(settings).hop, settings)


def _in_frames(
    rows: np.ndarray, patch: Patch, n_frames: int, frame_time_s: float
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return atoms missing (t, site), states (t, dopant) and the dopants of sojourns `rows`."""
    is_dopant = np.isin(rows["kind"], (DOPANT, COMPLEX))
    numbers, which = np.unique(rows["particle"][is_dopant], return_inverse=True)
    cell = np.stack([rows["u"], rows["v"]], axis=1)
    first = np.unique(which, return_index=True)[1]
    centres = cell[is_dopant][first].reshape(-1, 2)
    columns = patch.index(centres[:, None] + BOUND).reshape(-1, 3)
    states = np.zeros((n_frames, len(numbers)), dtype=np.int8)
    occupancy = np.zeros((n_frames, patch.n_cells), dtype=np.int8)
    # a frame is a snapshot at its start
    begin = np.ceil(rows["start_s"] / frame_time_s).astype(np.int64)
    end = np.minimum(np.ceil(rows["end_s"] / frame_time_s).astype(np.int64), n_frames)
    bound = rows["kind"] == COMPLEX
    held = cell + np.where(bound[:, None], BOUND[rows["orientation"]], 0)
    missing = np.select([rows["kind"] == DOUBLE_VACANCY, bound, rows["kind"] == VACANCY], [2, 1, 1])
    there = np.flatnonzero((end > begin) & (missing > 0))
    column = patch.index(held)
    for row in there:
        occupancy[begin[row] : end[row], column[row]] += missing[row]
    order = np.cumsum(is_dopant) - 1
    for row in np.flatnonzero(bound & (end > begin)):
        states[begin[row] : end[row], which[order[row]]] = 1 + rows["orientation"][row]
    dopants = pd.DataFrame(
        {
            "dopant": np.arange(len(numbers)),
            "u": centres[:, 0],
            "v": centres[:, 1],
            "site_0": columns[:, 0],
            "site_1": columns[:, 1],
            "site_2": columns[:, 2],
        }
    )
    return occupancy, states, dopants


def _signals(
    settings: Settings,
    occupancy: np.ndarray,
    cells: np.ndarray,
    depth: float,
    haze: TraceHaze | None,
    bad_frames: tuple[int, ...],
    frames_per_chunk: int,
) -> Any:
    """Return the lazy (t, site) float32 signals of `occupancy`; each frame has its own chance."""
    import dask.array as da

    @one_thread
    def chunk(taken: np.ndarray, block_info: Any = None) -> np.ndarray:
        start = block_info[0]["array-location"][0][0]
        signals = np.empty(taken.shape, dtype=np.float32)
        for row, frame in enumerate(range(start, start + len(taken))):
            signals[row] = chance(settings, NOISE, frame).standard_normal(
                len(cells), dtype=np.float32
            )
        signals -= np.float32(depth) * taken
        if haze is not None and haze.sd > 0:
            signals += _haze(settings, haze, cells, np.arange(start, start + len(taken)))
        signals[np.isin(np.arange(start, start + len(taken)), bad_frames)] = np.nan
        return signals

    taken = da.from_array(occupancy, chunks=(frames_per_chunk, -1))
    return taken.map_blocks(chunk, dtype=np.float32, meta=np.empty((0, 0), np.float32))


def _haze(settings: Settings, haze: TraceHaze, cells: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the (t, site) haze of `frames`, a sum of plane waves."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(WAVES,)))
    places = cells @ np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    waves = rng.standard_normal((N_WAVES, 2)) / haze.length_a
    phase = 2 * np.pi * rng.random(N_WAVES)
    in_space = np.exp(1j * (places @ waves.T + phase))
    in_time = np.exp(-1j * np.outer(frames * haze.drift_a_per_frame, waves[:, 0]))
    if haze.flicker_frames > 0:
        # a few waves in time each, whose correlation is exp(-t² / (2 flicker²))
        rate = rng.standard_normal((6, N_WAVES)) / haze.flicker_frames
        swing = np.exp(1j * (frames[:, None, None] * rate + 2 * np.pi * rng.random((6, N_WAVES))))
        in_time = in_time * swing.sum(axis=1) / np.sqrt(6)
    return np.asarray(haze.sd * np.sqrt(2 / N_WAVES) * (in_time @ in_space.T).real, np.float32)

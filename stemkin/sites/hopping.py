"""From correlations of traces to a hop rate, a diffusion coefficient and a number of vacancies.

>>> from stemkin.simulation import simulate_traces
>>> from stemkin.sites.correlation import lattice_correlation
>>> world = simulate_traces(n_frames=60, shape=(24, 24), depth=4.0, seed=1)
>>> found = hopping(lattice_correlation(world.traces, max_lag_frames=16)).iloc[0]
>>> bool(found["n_low"] < world.n_vacancies < found["n_high"]), found["basis"]
(True, 'correlation')

**How to read it.** ``D_nm2_per_s`` is that of a free vacancy on the lattice, hop rate a² / 4 (with k
per neighbour 6 k a² / 4 = 1.5 k a²), not affected by how many vacancies there are: bars between them
cancel in correlations. What stays where it is for the whole movie is in ``static_share``, and does
not take part. **Trap**: lags must reach beyond the stay of a vacancy, or what hops cannot be told
from what stays; the interval is then wide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.blas import one_thread
from stemkin.kernels.motion.correlation_besides import Correlated
from stemkin.kernels.motion.correlation_fit import HopFit, fit_hops, strength_at
from stemkin.kernels.motion.correlation_noise import LagBins
from stemkin.kernels.motion.lattice_walks import StepShells
from stemkin.kernels.motion.sharpening import Sharpened
from stemkin.sites.correlation import LatticeCorrelation
from stemkin.tables import conform
from stemkin.vocabulary import check_confidence

FOUND, NOTHING = "correlation", "nothing hops"
"""Words of `basis`: the likelihood of correlations, or nothing that could be told from none."""

CHANCE = 0.01
"""What hops is believed in where correlations without it are less likely than this."""


@one_thread
def hopping(correlation: LatticeCorrelation, *, confidence: float = 0.95) -> pd.DataFrame:
    """Find how fast vacancies hop from the correlations of traces. Computes once.

    Parameters
    ----------
    correlation
        What `lattice_correlation` gave.
    confidence
        Of the intervals.

    Returns
    -------
    Table ``hopping`` with one row. Where nothing hops that could be told from nothing, `basis` says
    so, rate and D are not known, and their intervals begin at 0.

    Raises
    ------
    ValueError
        If it is no correlation, or of a movie whose frame time or lattice is not known.

    Notes
    -----
    C(d, t) = A G(d, t) exp(-m t) + what stays + smooth haze, by generalised least squares whose
    weights are those of a field of walkers in noise (`kernels.motion.correlation_fit`). Where the
    fit is worse than chance explains, intervals are wider by the root of chi² per degree of freedom
    (Birge, Phys. Rev. 40, 207 (1932)).
    """
    _check(correlation)
    check_confidence(confidence)
    shells = StepShells.of(correlation.steps)
    bins = LagBins.up_to(correlation.max_lag_frames)
    plain = _seen(correlation, shells, bins)
    fit = fit_hops(
        _sharpened(correlation, plain, shells, bins), shells, bins, confidence=confidence
    )
    strength, error = fit.strength, fit.strength_error
    if correlation.sharp is not None:
        # the number hangs on how deep one is; less so by the signals as they are
        strength, error = strength_at(fit.hops, plain, shells, bins)
    number = np.full(2, np.nan)
    if plain.depth2 > 0:
        # a site holds one or none: variance is taken times free, over all sites
        variance = np.array([strength, error]) / plain.depth2
        root = np.sqrt(1 - 4 * min(variance[0], 0.24))
        number = correlation.n_sites * np.array([(1 - root) / 2, variance[1] / root])
    row = _row(correlation, np.sqrt(plain.depth2), number, fit, confidence)
    return conform(pd.DataFrame([row]), "hopping")


def _check(correlation: Any) -> None:
    if not isinstance(correlation, LatticeCorrelation):
        msg = (
            f"hopping reads what lattice_correlation gives, but this is a "
            f"{type(correlation).__name__}; pass lattice_correlation(traces)"
        )
        raise ValueError(msg)
    for name, cure in (("frame_time_s", "a frame time"), ("lattice_nm", "a lattice constant")):
        if getattr(correlation, name) is None:
            msg = (
                f"the traces of movie {correlation.movie!r} have no {name}; open the movie with "
                f"{cure} in physical units, or give it to SiteTraces.of"
            )
            raise ValueError(msg)
    if correlation.max_lag_frames < 4:
        msg = (
            f"a hop rate needs lags of 4 frames or more, but these end at "
            f"{correlation.max_lag_frames}; ask lattice_correlation for a larger max_lag_frames"
        )
        raise ValueError(msg)


def _seen(correlation: LatticeCorrelation, shells: StepShells, bins: LagBins) -> Correlated:
    """Return the correlations on shells and bins of lags."""
    sums, counts = shells.summed(correlation.sums), shells.summed(correlation.counts)
    means = bins.summed(sums[1:]) / np.maximum(bins.summed(counts[1:]), 1)
    variance = float(sums[0, 0] / counts[0, 0])
    return Correlated(
        means,
        variance,
        sums[0] / np.maximum(counts[0], 1),
        counts[0] / correlation.n_frames,
        correlation.n_frames,
        depth_of(correlation) ** 2,
    )


def _sharpened(
    correlation: LatticeCorrelation, plain: Correlated, shells: StepShells, bins: LagBins
) -> Correlated:
    """Return the correlations that tell most of hops: sharpened ones, where there are any."""
    if correlation.sharp is None or correlation.depth is None:
        return plain
    look = Sharpened.of(correlation.depth)
    told = _seen(replace(correlation, sums=correlation.sharp), shells, bins)
    return replace(told, depth2=look.contrast**2, excess=look.excess)


def depth_of(correlation: LatticeCorrelation) -> float:
    """Return how deep one vacancy is, stated or from the moments; 0 if neither tells."""
    if correlation.depth is not None:
        return float(correlation.depth)
    n, second, third = correlation.moments[:3]
    if n == 0 or second <= 0:
        return 0.0
    # third moments of z' against z are minus depth³, second ones depth², per vacancy that stayed
    return float(max(-third / second, 0.0))


def _row(
    correlation: LatticeCorrelation,
    depth: float,
    mobile: np.ndarray,
    fit: HopFit,
    confidence: float,
) -> dict[str, Any]:
    """Return the row of the table ``hopping``; `mobile` are how many hop, and the error of it."""
    assert correlation.frame_time_s is not None
    assert correlation.lattice_nm is not None
    per_second = 1 / correlation.frame_time_s
    to_D = per_second * correlation.lattice_nm**2 / 4
    number = float(mobile[0])
    margin = float(-special.ndtri((1 - confidence) / 2) * mobile[1])
    is_found = fit.gain > special.chdtri(3, CHANCE)
    low, hops, high, basis = fit.low, fit.hops, fit.high, FOUND
    if not is_found:
        low, hops, high, basis = 0.0, np.nan, np.inf, NOTHING
        # what fits best is noise: only how many there may be is known
        number, margin = np.nan, number + margin
    everything = max(fit.still, 0.0) + max(fit.strength, 0.0)
    return {
        "movie": correlation.movie,
        "D_nm2_per_s": hops * to_D,
        "low": low * to_D,
        "high": high * to_D,
        "hop_rate_per_s": hops * per_second,
        "hop_low": low * per_second,
        "hop_high": high * per_second,
        "n_mobile": number,
        "n_low": max(np.nan_to_num(number) - margin, 0.0),
        "n_high": max(np.nan_to_num(number) + margin, 0.0),
        "static_share": max(fit.still, 0.0) / everything if everything > 0 else np.nan,
        "loss_rate_per_s": fit.loss * per_second if is_found else np.nan,
        "depth": depth if depth > 0 else np.nan,
        "chi2": fit.chi2,
        "freedom": fit.freedom,
        "n_frames": correlation.n_frames,
        "n_sites": correlation.n_sites,
        "max_lag_frames": correlation.max_lag_frames,
        "basis": basis,
    }

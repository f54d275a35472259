"""What an ideal observer could reach on a simulated movie: detectability and localisation.

The observer knows the crystal, the probe and the scan, and asks of each place whether a defect is
there: the detectability d' says how well the answer is known, `recall_at_one_false_positive` what
it means per frame. Telling two kinds apart has a d' of its own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin.kernels.crystal.rendering import Scan
from stemkin.kernels.images.ideal import best_recall, cramer_rao_sd, detectability
from stemkin.materials import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
)
from stemkin.simulation.crystal import BOND, crystal_of
from stemkin.simulation.haze import haze_factors, haze_waves
from stemkin.simulation.reader import render_frame
from stemkin.simulation.scene import SIGHTING, area_and_time
from stemkin.simulation.settings import Settings

_PAIRS = (
    (VACANCY, -1, None, -1),
    (DOUBLE_VACANCY, -1, None, -1),
    (DOPANT, -1, None, -1),
    (COMPLEX, 0, None, -1),
    (METAL_VACANCY, -1, None, -1),
    (ADATOM, -1, None, -1),
    (DOUBLE_VACANCY, -1, VACANCY, -1),
    (COMPLEX, 0, DOPANT, -1),
    (COMPLEX, 0, COMPLEX, 1),
)
"""(kind, orientation, the other kind or None for the perfect crystal, its orientation)."""

SMALL = 128
"""Edge of the piece of crystal that is drawn [px]."""

HAZE_PX = 16
"""Half the edge of the window in which haze is told from a vacancy [px]."""

N_PLACES = 4
"""Places in the field over which d'^2 is averaged: they differ by where the column lies between the
pixels."""


def limits_table(settings: Settings, *, frame: int = 0) -> pd.DataFrame:
    """Return what an ideal observer reaches. Computes once.

    Parameters
    ----------
    settings
        The movie.
    frame
        At whose age, and with how much contamination.

    Returns
    -------
    Table `kind`, `against` ("crystal", or the kind it is told apart from), `d_prime`,
    `recall_at_one_false_positive` (per frame), `sd_y_nm`, `sd_x_nm` (Cramer-Rao bound of the place,
    with the depth of the contrast unknown too: it could be anywhere).
    """
    piece, scan = _piece_and_scan(settings)
    cell_area_px2 = abs(np.linalg.det(crystal_of(settings).vectors))
    n_sites = max(1, round(np.prod(settings.shape) / cell_area_px2))
    rows = [_limits_of(piece, frame, scan, n_sites, *pair) for pair in _PAIRS]
    columns = ["kind", "against", "d_prime", "recall_at_one_false_positive", "sd_y_nm", "sd_x_nm"]
    return pd.DataFrame(rows, columns=columns)


def ideal_depth(settings: Settings) -> float:
    """Return the d' of a chalcogen vacancy for who knows crystal, probe and scan. Computes once.

    Parameters
    ----------
    settings
        The movie; one row of `limits_table` alone.
    """
    piece, scan = _piece_and_scan(settings)
    return _limits_of(piece, 0, scan, 1, *_PAIRS[0])[2]


def _piece_and_scan(settings: Settings) -> tuple[Settings, Scan]:
    """Return a perfect piece of the crystal of a movie, and a scan of it without jitter."""
    height, width = (min(n, SMALL) for n in settings.shape)
    piece = settings.with_values(n_holes=0, fragment_radius_nm=0.0, shape=(height, width))
    return piece, Scan(np.arange(height, dtype=float), np.zeros(height), np.ones(height))


def detectability_in_haze(settings: Settings, *, frame: int = 0) -> float:
    """Return the d' of a chalcogen vacancy for an observer who knows all but the haze.

    Haze is noise to it, of a known spectrum: the Hotelling observer, d'^2 = s' (N + H)^-1 s with
    the covariances N of the counts and H of the haze (Barrett & Myers, Foundations of Image Science
    (2004), ch. 13).

    Parameters
    ----------
    settings, frame
        The movie, and at whose age.

    Returns
    -------
    d', below that of `limits_table`.
    """
    from scipy.special import j0

    piece, scan = _piece_and_scan(settings)
    share = 1 / (1 + piece.nuisances.excess_noise)
    read_variance = (piece.instrument.read_noise / piece.instrument.gain) ** 2
    here = _defect(piece, VACANCY, -1, _middle_cells(piece)[0])
    with_defect, without = (render_frame(piece, frame, scan, d) for d in (here, here[:0]))
    middle = np.rint([here["sample_y"][0], here["sample_x"][0]]).astype(int)
    window = tuple(slice(n - HAZE_PX, n + HAZE_PX) for n in middle)
    signal, noise = (with_defect - without)[window].ravel(), without[window].ravel() / share
    y, x = np.mgrid[window].reshape(2, -1)
    apart = np.hypot(y[:, None] - y, x[:, None] - x)
    covariance = np.diag(noise + read_variance)
    frequencies, amplitudes = haze_waves(piece)
    _, time_s = area_and_time(piece, frame)
    strength = np.abs(amplitudes * haze_factors(piece, frame, time_s)) ** 2 / 2
    lengths = 2 * np.pi * np.hypot(*frequencies.T)
    for length, power in zip(lengths[1:], strength[1:], strict=True):
        covariance += power * j0(length * apart)
    return float(np.sqrt(signal @ np.linalg.solve(covariance, signal)))


def _limits_of(
    piece: Settings,
    frame: int,
    scan: Scan,
    n_sites: int,
    kind: int,
    orientation: int,
    other: int | None,
    other_orientation: int,
) -> tuple[str, str, float, float, float, float]:
    """Return one row of `limits_table`: a pair of `_PAIRS` on a `piece` of crystal."""
    # counts of variance (1 + e) mean tell as much as 1 / (1 + e) times as many Poisson counts
    share = 1 / (1 + piece.nuisances.excess_noise)
    read_variance = (share * piece.instrument.read_noise / piece.instrument.gain) ** 2
    d2, bounds = [], []
    for cell in _middle_cells(piece):
        here = _defect(piece, kind, orientation, cell)
        there = here[:0]
        if other is not None:
            there = _defect(piece, other, other_orientation, cell)
        with_defect, without = (share * render_frame(piece, frame, scan, d) for d in (here, there))
        d2.append(detectability(without, with_defect, read_variance=read_variance) ** 2)
        if other is None:
            moved = _gradients(piece, frame, scan, here)
            gradients = np.concatenate([(with_defect - without)[None], share * moved])
            bound = cramer_rao_sd(gradients, with_defect, read_variance=read_variance)
            bounds.append(bound[1:])
    name, d_prime = piece.material.kinds[kind], float(np.sqrt(np.mean(d2)))
    if other is not None:
        return name, _rival(piece, kind, other), d_prime, np.nan, np.nan, np.nan
    sd_nm = np.mean(bounds, axis=0) * piece.instrument.pixel_size_nm
    return name, "crystal", d_prime, best_recall(d_prime, n_sites=n_sites), sd_nm[0], sd_nm[1]


def _rival(settings: Settings, kind: int, other: int) -> str:
    """Return the name of what a kind is told apart from; its own kind differs by a turn."""
    name = settings.material.kinds[other]
    if other == kind:
        return f"{name}, turned"
    return name


def _middle_cells(settings: Settings) -> np.ndarray:
    """Return the (N_PLACES, 2) cells closest to the middle of the frame."""
    c = crystal_of(settings)
    around = np.rint(c.coordinates(np.asarray(c.shape) / 2)).astype(int)
    return np.asarray(around + np.array([[0, 0], [1, 0], [0, 1], [1, -1]])[:N_PLACES])


def _defect(settings: Settings, kind: int, orientation: int, cell: np.ndarray) -> np.ndarray:
    """Return one record `SIGHTING` of a defect in a cell."""
    one = np.zeros(1, SIGHTING)
    uv = cell + BOND * (kind in (VACANCY, DOUBLE_VACANCY))
    one["kind"], one["orientation"] = kind, orientation
    one["sample_y"], one["sample_x"] = crystal_of(settings).position(uv[None]).T
    return one


def _gradients(settings: Settings, frame: int, scan: Scan, defect: np.ndarray) -> np.ndarray:
    """Return the (2, y, x) derivatives of the image by the defect's place (y, x) [per px].

    They are central differences.
    """
    gradients = []
    for axis in ("sample_y", "sample_x"):
        ahead, behind = defect.copy(), defect.copy()
        ahead[axis] += 0.02
        behind[axis] -= 0.02
        images = [render_frame(settings, frame, scan, moved) for moved in (ahead, behind)]
        gradients.append((images[0] - images[1]) / 0.04)
    return np.stack(gradients)

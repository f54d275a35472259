"""What each known defect looks like to the descriptors, and which one a class resembles.

A motif is the row of site amplitudes that a defect would give without noise, from I ~ Z^1.7 (Krivanek et al., Nature 464,
571 (2010), found 1.6 to 1.8). Noise changes the mean of a folded row (the most deviating of three columns is put first), so classes
are compared with motifs that were given the same noise.

>>> names = [motif.name for motif in library(WS2)]
>>> names[:6]
['V_S', 'V_S2', 'Mo_W', 'Mo_W+V_S', 'V_W', 'W_ad']
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.descriptors import fold
from stemkin.kernels.lattice import CHALCOGEN, METAL
from stemkin.kernels.patches import HOLLOW

EXPONENT = 1.7
"""Of the atomic number in the intensity of a column."""

MIN_SCORE = 0.6
"""Match below which a class stays unnamed: 1 is equal, 0 is as far apart as two unrelated motifs."""


@dataclass(frozen=True)
class Elements:
    """The atoms of a honeycomb crystal: symbols and atomic numbers of metal, chalcogen (two per column) and dopant."""

    metal: str
    chalcogen: str
    dopant: str
    Z_metal: int
    Z_chalcogen: int
    Z_dopant: int


WS2 = Elements("W", "S", "Mo", 74, 16, 42)
MATERIALS = {
    "WS2": WS2,
    "MoS2": Elements("Mo", "S", "V", 42, 16, 23),
    "WSe2": Elements("W", "Se", "Mo", 74, 34, 42),
    "MoSe2": Elements("Mo", "Se", "W", 42, 34, 74),
}
"""Known crystals with their usual dopant."""


@dataclass(frozen=True, eq=False)
class Motif:
    """A defect as the descriptors would see it.

    Attributes
    ----------
    name
        As in the table ``classes``.
    site
        Kind of the site at its centre.
    amplitudes
        (13,) site amplitudes, ordered as `descriptors.site_offsets`.
    """

    name: str
    site: int
    amplitudes: np.ndarray

    @property
    def oriented(self) -> bool:
        """Whether it changes when turned by 120 degrees."""
        return bool(np.ptp(self.amplitudes[1:4]) > 1e-9 or np.ptp(self.amplitudes[4:7]) > 1e-9)

    def expected_row(self, noise: float, *, n_draws: int = 500) -> np.ndarray:
        """Return the (9,) mean of the physical descriptors when each amplitude has standard deviation `noise`."""
        draws = self.amplitudes + noise * np.random.default_rng(0).normal(size=(n_draws, 13))
        return np.append(float(self.site), fold(draws)[0].mean(axis=0))


def library(elements: Elements) -> list[Motif]:
    """Return the motifs of a crystal; a defect that may be detected from two of its sites comes twice, under one name."""
    metal = float(elements.Z_metal**EXPONENT)
    one = elements.Z_chalcogen**EXPONENT / metal
    swap = elements.Z_dopant**EXPONENT / metal - 1
    vacancy, dopant = f"V_{elements.chalcogen}", f"{elements.dopant}_{elements.metal}"
    pair, adatom = f"{dopant}+{vacancy}", f"{elements.metal}_ad"
    parts: list[tuple[str, int, dict[int, float]]] = [
        (vacancy, CHALCOGEN, {0: -one}),
        (f"{vacancy}2", CHALCOGEN, {0: -2 * one}),
        (dopant, METAL, {0: swap}),
        (pair, METAL, {0: swap, 1: -one}),
        (f"V_{elements.metal}", METAL, {0: -1.0}),
        (adatom, HOLLOW, {0: 1.0}),
        (adatom, METAL, {0: 1.0}),
        (adatom, CHALCOGEN, {0: 1.0}),
        (pair, CHALCOGEN, {0: -one, 1: swap}),
        (f"{dopant}+{vacancy}2", METAL, {0: swap, 1: -2 * one}),
    ]
    return [Motif(name, site, _amplitudes(places)) for name, site, places in parts]


@dataclass(frozen=True)
class Match:
    """The motif that a class resembles most.

    Attributes
    ----------
    name, score
        Of the best motif; a score of 1 is equal, 0 unrelated.
    runner_up, runner_up_score
        Of the best motif with another name.
    oriented
        Whether the best motif has an orientation.
    """

    name: str
    score: float
    runner_up: str
    runner_up_score: float
    oriented: bool

    @property
    def holds(self) -> bool:
        """Whether the class may bear the name."""
        return self.score >= MIN_SCORE


def match(row: np.ndarray, noise: float, motifs: list[Motif]) -> Match:
    """Find the motif that resembles the mean physical descriptors `row` (9,) most, given the `noise` of an amplitude."""
    scores: dict[str, tuple[float, bool]] = {}
    for motif in motifs:
        expected = motif.expected_row(noise)
        away = np.linalg.norm(row[1:] - expected[1:])
        size = max(float(np.abs(expected[1:]).max()), float(np.abs(row[1:]).max()), 1e-12)
        score = max(0.0, 1.0 - float(away) / size) if round(float(row[0])) == motif.site else 0.0
        if score >= scores.get(motif.name, (-1.0, False))[0]:
            scores[motif.name] = (score, motif.oriented)
    (name, (score, oriented)), (second, (second_score, _)) = sorted(scores.items(), key=lambda item: -item[1][0])[:2]
    return Match(name, score, second, second_score, oriented)


def _amplitudes(places: dict[int, float]) -> np.ndarray:
    row = np.zeros(13)
    for place, value in places.items():
        row[place] = value
    return row

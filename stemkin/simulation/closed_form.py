"""The true numbers of a simulated movie, each with its derivation.

**Diffusion.** A vacancy that hops at rate k to one of six neighbours a away, all alike, has after a
time t made n ~ Poisson(k t) independent steps of zero mean and <step^2> = a^2, so <r^2> = k t a^2.
In two dimensions <r^2> = 4 D t: D = k a^2 / 4 (Chandrasekhar, Rev. Mod. Phys. 15, 1 (1943)). This
is a lone vacancy. Among others it is slower, since moves
onto columns that are taken do not happen: with the paper's numbers 5 to 10 % of them. And who
measures only those that stay in sight, sees those that moved less.

**A dopant's states** are: bare (B), and a vacancy in its column 0, 1 or 2. A bound vacancy moves to
each of the two other columns at rotation/2, leaves at detach (to any of four neighbours) and is
refilled at the healing rate. A bare dopant gains a vacancy in one column by the beam at (atoms per
column) x (cross-section beside a dopant) x dose rate, and
by a free vacancy that hops in: each column has four outer neighbours, each holds a free vacancy
with probability c, which comes at hop/6. With k_on = atoms sigma J + (4/6) c hop per column and
k_off = detach + healing:

    Q = [ -3 k_on    k_on           k_on           k_on         ]
        [ k_off    -(k_off + R)     R/2            R/2          ]
        [ k_off      R/2          -(k_off + R)     R/2          ]
        [ k_off      R/2            R/2          -(k_off + R)   ]

(R: rotation rate, both columns together.)

Every entry is exact except for c hop, which is a mean field (`mean_field`, averaged over the
movie): a dopant empties its own neighbourhood, and a vacancy just let go stands beside it (with the
paper's rates, 1.2 times as many are caught as the mean field says). Without free vacancies Q is
exact altogether.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin.materials import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
)
from stemkin.simulation.rates import Rates
from stemkin.simulation.settings import Settings


def diffusion_coefficient(settings: Settings) -> float:
    """Return D = k a2 / 4 of a free vacancy [nm2/s]."""
    return Rates.of(settings).hop * settings.material.a_nm**2 / 4


def lone_diffusion(settings: Settings) -> pd.DataFrame:
    """Return D of lone vacancies and adatoms: `kind`, `hop_rate_per_s`, `D_nm2_per_s`."""
    kinds, r = settings.material.kinds, Rates.of(settings)
    rates = np.array([r.hop, r.hop_adatom])
    return pd.DataFrame(
        {
            "kind": [kinds[VACANCY], kinds[ADATOM]],
            "hop_rate_per_s": rates,
            "D_nm2_per_s": rates * settings.material.a_nm**2 / 4,
        }
    )


def mean_field(settings: Settings) -> tuple[float, float]:
    """Return the mean-field shares of columns and of dopants that hold a vacancy.

    Both are averaged over an area's frames. Per column, of free vacancies c, bound ones b and
    double ones p, among d dopants per cell:

        c' = n s (1 - c) - heal c - 2 hop c (d - b) - 2 hop c^2 + detach b
             + 2 (split + heal) p - s c
        b' = 3 n s_d (d - b) + 2 hop c (d - b) - (detach + heal_d) b
        p' = hop c^2 + s c - (split + 2 heal) p

    with n atoms per column, s and s_d the beam's rates per atom, away from and beside a dopant. A
    free vacancy finds a bare dopant at 2 hop (d - b): 12 pairs of an outer and an inner column per
    dopant, each taken at hop / 6.

    Returns
    -------
    Share of columns with a free vacancy, and share of dopants that hold one.
    """
    r, k, n = Rates.of(settings), settings.kinetics, settings.material.atoms_per_chalcogen_column
    d, pairs = k.dopant_fraction, settings.material.atoms_per_chalcogen_column > 1
    duration = min(k.area_frames, settings.n_frames) * settings.instrument.frame_time_s

    def change(state: np.ndarray) -> np.ndarray:
        c, b, p = state
        caught, paired = 2 * r.hop * c * (d - b), (r.hop * c**2 + r.create_per_atom * c) * pairs
        made = n * r.create_per_atom * (1 - c) - r.heal * c - r.hop * c**2 * pairs
        return np.array(
            [
                made - caught - paired + r.detach * b + (2 * r.split + 2 * r.heal) * p,
                3 * n * r.create_at_dopant_per_atom * (d - b)
                + caught
                - (r.detach + r.heal_complex) * b,
                paired - (r.split + 2 * r.heal) * p,
            ]
        )

    state = np.array([k.vacancy_fraction * (1 - 3 * d), k.complex_fraction * d, 0.0])
    total = np.zeros(3)
    fastest = r.hop + r.heal + r.split + r.detach + r.heal_complex + 6 * r.create_at_dopant_per_atom
    steps = int(np.clip(2 * fastest * duration, 100, 20_000))
    step = duration / steps
    for _ in range(steps):  # the midpoint rule
        middle = state + 0.5 * step * change(state)
        state, total = state + step * change(middle), total + middle
    c, b, _ = total / steps
    if d == 0:
        return float(c), 0.0
    return float(c), float(b / d)


def generator(settings: Settings) -> pd.DataFrame:
    """Return the generator Q [1/s] of a dopant's states, as derived above.

    Rows and columns are named like ``Mo_W`` and ``Mo_W+V_S/0``.
    """
    rates = Rates.of(settings)
    m, kinds = settings.material, settings.material.kinds
    on = m.atoms_per_chalcogen_column * rates.create_at_dopant_per_atom
    on += 4 / 6 * rates.hop * mean_field(settings)[0]
    off = rates.detach + rates.heal_complex
    Q = np.full((4, 4), rates.rotate / 2)
    Q[0, :], Q[:, 0] = on, off
    np.fill_diagonal(Q, 0.0)
    np.fill_diagonal(Q, -Q.sum(axis=1))
    names = [kinds[DOPANT], *(f"{kinds[COMPLEX]}/{n}" for n in range(3))]
    return pd.DataFrame(Q, pd.Index(names, name="from"), pd.Index(names, name="to"))


def rates_table(settings: Settings) -> pd.DataFrame:
    """Return the rates of the elementary steps.

    Columns: `step`, `kind` (per one of which the rate counts), `rate_per_s`, `cross_section_barn`.
    For the steps of the beam the rate counts per atom, and its cross-section is given; it is NaN
    for the others.
    """
    r, k, kinds = Rates.of(settings), settings.kinetics, settings.material.kinds
    nan = float("nan")
    rows = [
        ("hop", kinds[VACANCY], r.hop, nan),
        ("heal", kinds[VACANCY], r.heal, nan),
        ("rotate", kinds[COMPLEX], r.rotate, nan),
        ("detach", kinds[COMPLEX], r.detach, nan),
        ("heal", kinds[COMPLEX], r.heal_complex, nan),
        ("split", kinds[DOUBLE_VACANCY], r.split, nan),
        ("create", settings.material.chalcogen, r.create_per_atom, k.cross_section_barn),
        (
            "create", f"{settings.material.chalcogen} beside {kinds[DOPANT]}",
            r.create_at_dopant_per_atom, k.cross_section_barn * k.cross_section_at_dopant,
        ),
        ("lose_metal", kinds[METAL_VACANCY], r.lose_metal, k.metal_cross_section_barn),
        ("hop", kinds[ADATOM], r.hop_adatom, nan),
        ("desorb", kinds[ADATOM], r.desorb, nan),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["step", "kind", "rate_per_s", "cross_section_barn"])

"""How bright columns of atoms are, by multislice: makes the table that simulated worlds draw from.

A probe is scanned from one column of atoms outwards, and the electrons that reach an annular
detector are counted (abTEM, Madsen & Susi, Open Research Europe 1, 24 (2021); potentials of Lobato
& Van Dyck). A monolayer's image is a sum of such columns to better than a percent, so the table
serves every defect, whatever way its neighbours have moved. Said of each column, at several
voltages and inner angles: the cross-section (the integral of the image), and the standard deviation
of a Gaussian with the same half width. Takes some minutes on one core; needs the extra ``bench``.

    python benchmarks/multislice_columns.py -o stemkin/simulation/data/columns.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

COLUMNS = {
    "B": ["B"],
    "C": ["C"],
    "N": ["N"],
    "Si": ["Si"],
    "S": ["S"],
    "S2": ["S", "S"],
    "V": ["V"],
    "Se": ["Se"],
    "Se2": ["Se", "Se"],
    "Nb": ["Nb"],
    "Mo": ["Mo"],
    "W": ["W"],
    "Re": ["Re"],
}
"""Atoms of each column, from the top."""

APART_NM = 0.32
"""Distance of the two atoms of a chalcogen column."""

VOLTAGES_KV = (60.0, 80.0, 100.0, 200.0)
INNER_MRAD = (50.0, 60.0, 70.0)
OUTER_MRAD = 150.0
PROBE_MRAD = 30.0
EDGE_NM = 1.2
RADII_NM = np.arange(0.0, 0.4001, 0.01)


def images(atoms: list[str], voltage_kv: float) -> np.ndarray:
    """Return the (detectors, radii) shares of the electrons that reach each annular detector."""
    import abtem
    from ase import Atoms

    half = APART_NM * 5
    heights = [3.0 + half, 3.0 - half][: len(atoms)] if len(atoms) > 1 else [3.0]
    middle = EDGE_NM * 5
    column = Atoms(
        atoms, positions=[(middle, middle, z) for z in heights], cell=(EDGE_NM * 10,) * 2 + (6.0,)
    )
    potential = abtem.Potential(column, sampling=0.05, slice_thickness=1.0)
    probe = abtem.Probe(energy=voltage_kv * 1e3, semiangle_cutoff=PROBE_MRAD)
    rings = [abtem.AnnularDetector(inner=low, outer=OUTER_MRAD) for low in INNER_MRAD]
    points = np.stack([np.full(len(RADII_NM), middle), middle + RADII_NM * 10], axis=1)
    scan = abtem.CustomScan(points)
    measured = probe.scan(potential, scan=scan, detectors=rings).compute(progress_bar=False)
    return np.stack([np.asarray(ring.array) for ring in measured])


def cross_section(image: np.ndarray) -> float:
    """Return the integral [nm2] of an image that is round, given along one radius."""
    return float(np.trapezoid(2 * np.pi * RADII_NM * image, RADII_NM))


def width(image: np.ndarray) -> float:
    """Return the standard deviation [nm] of a Gaussian with the same width at half its height."""
    half = float(np.interp(-0.5, -image / image[0], RADII_NM))
    return half / np.sqrt(2 * np.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .npz to write")
    options = parser.parse_args()
    shape = (len(COLUMNS), len(VOLTAGES_KV), len(INNER_MRAD))
    sections, widths = np.zeros(shape), np.zeros(shape)
    for i, (name, atoms) in enumerate(COLUMNS.items()):
        for j, voltage_kv in enumerate(VOLTAGES_KV):
            for k, image in enumerate(images(atoms, voltage_kv)):
                sections[i, j, k], widths[i, j, k] = cross_section(image), width(image)
        print(name, sections[i].round(7).tolist(), widths[i, :, 1].round(4).tolist(), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        options.out,
        columns=np.array(list(COLUMNS)),
        voltage_kv=np.array(VOLTAGES_KV),
        inner_mrad=np.array(INNER_MRAD),
        outer_mrad=OUTER_MRAD,
        probe_mrad=PROBE_MRAD,
        cross_section_nm2=sections,
        width_nm=widths,
    )


if __name__ == "__main__":
    main()

"""How a crystal is deformed: one tensor for a whole lattice, or a map over the frame from the
phases of its reflections.

A lattice whose vectors are the columns of A is a reference lattice A0 deformed by F = A A0^-1 = R
(1 + e): a strain e and a rotation R. Within a frame the phase of a reflection g turns by -2 pi g .
u where the lattice is displaced by u, so the differences of the phases between neighbouring places
tell the gradient of u (geometric phase analysis: Hytch, Snoeck & Kilaas, Ultramicroscopy 74, 131
(1998)); no phase is ever unwrapped.

>>> from stemkin.kernels.crystal.lattice import honeycomb
>>> stretched = honeycomb(10.2, angle_deg=3.0)
>>> strain, rotation_deg = strain_between(stretched, honeycomb(10.0))
>>> strain.round(3).tolist(), round(rotation_deg, 3)
([[0.02, 0.0], [0.0, 0.02]], 3.0)

What the scan displaces is no strain: a displacement of whole rows or whole columns is taken out
before (`finding`), and with it the part of a true strain that has this form. ``scan=True`` leaves
it in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.crystal import waves as crystal_waves
from stemkin.kernels.crystal.distortion import displacements
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.lattice_search import N_PHASES, Crystal, find_crystal


@dataclass(frozen=True, eq=False)
class StrainMap:
    """Strain on a grid of nodes, relative to the mean lattice of the frame.

    Attributes
    ----------
    y, x
        (ny,) and (nx,) places of the nodes [px].
    tensor
        (ny, nx, 2, 2) symmetric strain; index 0 is y, 1 is x; positive where the lattice is wider.
    rotation_deg
        (ny, nx) rotation, turning from +x to +y [degrees].
    strength
        (ny, nx) amplitude of the reflections over that of a good place (the 80th percentile); where
        it is small there is no crystal, and no strain.
    """

    y: np.ndarray
    x: np.ndarray
    tensor: np.ndarray
    rotation_deg: np.ndarray
    strength: np.ndarray


def strain_between(lattice: Lattice, reference: Lattice) -> tuple[np.ndarray, float]:
    """Return the strain (2, 2) of `lattice` relative to `reference`, and its rotation from +x to +y
    [degrees].

    The rotation is that of the polar decomposition; the strain (index 0 is y) stands in the frame's
    axes, after the rotation.
    """
    vectors, perfect = (np.stack([one.a1, one.a2], axis=1) for one in (lattice, reference))
    deformation = vectors @ np.linalg.inv(perfect)
    left, stretches, right = np.linalg.svd(deformation)
    rotation = left @ right
    strain = (left * stretches) @ left.T - np.eye(2)
    return strain, float(np.degrees(np.arctan2(rotation[0, 1], rotation[0, 0])))


def strain_map(
    frame: Array, found: Crystal | None = None, *, window: float = 1.5, scan: bool = False
) -> StrainMap | None:
    """Map the strain of a frame; None where it has no lattice.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    found
        Its crystal, if it is known already.
    window
        Standard deviation, over the lattice constant, of the neighbourhood that is looked at.
    scan
        Whether displacements of whole rows and columns count as strain.
    """
    found = find_crystal(frame) if found is None else found
    if found is None:
        return None
    waves = found.waves
    if scan:
        still = (np.zeros_like(waves.rows), np.zeros_like(waves.columns))
        waves = replace(waves, rows=still[0], columns=still[1])
    few = waves.only(np.flatnonzero(~waves.is_background)[:N_PHASES])
    sums = crystal_waves.node_sums(crystal_waves.row_sums(frame, few), few)
    areas = crystal_waves.node_areas(None, few)
    smooth = crystal_waves.smooth_amplitudes(
        sums, few, sd_px=window * found.lattice.spacing_px, areas=areas
    )
    gradient = np.stack(
        [_slope(smooth, few, axis) for axis in (0, 1)], axis=-1
    )  # [..., i, j] = d u_i / d r_j
    tensor = (gradient + np.swapaxes(gradient, -1, -2)) / 2
    rotation = (gradient[..., 0, 1] - gradient[..., 1, 0]) / 2
    strength = np.abs(smooth).sum(axis=2)
    good = max(float(np.percentile(strength, 80)), 1e-30)
    return StrainMap(*few.nodes, tensor, np.degrees(rotation), strength / good)


def _slope(amplitudes: np.ndarray, waves: crystal_waves.Waves, axis: int) -> np.ndarray:
    """Return the change (ny, nx, 2) of the displacement per pixel along `axis`, from the nodes
    before and after each."""
    n = amplitudes.shape[axis]
    after, before = np.minimum(np.arange(n) + 1, n - 1), np.maximum(np.arange(n) - 1, 0)
    products = amplitudes.take(after, axis=axis) * np.conj(amplitudes.take(before, axis=axis))
    step = (after - before) * waves.pitch
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    return np.asarray(
        displacements(products, waves.frequencies) / np.maximum(step, 1).reshape(shape)
    )

"""Movies of crystals of many structures, drawn here and not by stemkin's simulator.

Columns are Gaussians in a Fourier sum over the reciprocal lattice (an exact, band-limited image for
any orientation), with drift, haze that does not follow the crystal, and Poisson noise. Rotation,
pixel size, probe, dose, haze and drift are drawn from wide ranges by the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Structure:
    """A plane crystal: cell vectors [nm] as rows, and columns (place in the cell, brightness)."""

    cell_nm: np.ndarray
    columns: tuple[tuple[float, float, float], ...]

    @property
    def area_nm2(self) -> float:
        """Area of the primitive cell."""
        return float(abs(np.linalg.det(self.cell_nm)))


def hexagonal(a_nm, first, second):
    """A honeycomb of two kinds of columns."""
    cell = a_nm * np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    return Structure(cell, ((0.0, 0.0, first), (1 / 3, 1 / 3, second)))


def rectangular(a_nm, b_nm, *columns):
    """A cell with a right angle."""
    return Structure(np.diag([a_nm, b_nm]), columns)


def z(number, n=1):
    """Brightness of a column of `n` atoms, about Z^1.7."""
    return n * number**1.7


STRUCTURES = {
    "graphene": hexagonal(0.246, z(6), z(6)),
    "hBN": hexagonal(0.2504, z(7), z(5)),
    "WS2": hexagonal(0.3153, z(74), z(16, 2)),
    "MoS2": hexagonal(0.316, z(42), z(16, 2)),
    "MoSe2": hexagonal(0.3288, z(42), z(34, 2)),
    "SrTiO3 [100]": rectangular(0.3905, 0.3905, (0, 0, z(38)), (0.5, 0.5, z(22) + z(8))),
    "BaSnO3 [100], A and B alike": rectangular(
        0.4117, 0.4117, (0, 0, z(56)), (0.5, 0.5, z(50) + z(8))
    ),
    "PbS [100]": rectangular(0.2968, 0.2968, (0, 0, z(82) + z(16))),
    "PbS [110]": Structure(
        np.array([[0.4198, 0.0], [0.2099, 0.2968]]), ((0, 0, z(82)), (0.5, 0.0, z(16)))
    ),
    "black phosphorus": Structure(
        np.array([[0.331, 0.0], [0.1655, 0.219]]), ((0, 0, z(15)), (0.0, 0.34, z(15)))
    ),
    "KCl [110]": Structure(
        np.array([[0.4448, 0.0], [0.2224, 0.3146]]), ((0, 0, z(19)), (0.5, 0.0, z(17)))
    ),
    "Si [110]": Structure(
        np.array([[0.384, 0.0], [0.192, 0.2715]]), ((0, 0, z(14)), (-0.25, 0.5, z(14)))
    ),
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A movie that was drawn, with what is true of it."""

    frames: np.ndarray
    pixel_size_nm: float
    vectors_px: np.ndarray
    drift_px: np.ndarray
    area_px2: float

    def is_right(self, basis: np.ndarray, tolerance: float = 0.02) -> bool:
        """Tell whether a reciprocal `basis` [cycles per px] spans the net of the crystal."""
        # true vectors in units of the found ones: whole numbers of determinant 1
        n = self.vectors_px @ basis.T
        whole = np.round(n)
        return bool(np.abs(n - whole).max() < 5 * tolerance and abs(np.linalg.det(whole)) == 1)


def draw_movie(
    structure: Structure, seed: int, *, n_frames=8, shape=(256, 256), dose=None, overlay=None
) -> Drawn:
    """Draw a movie; what is not given follows from the seed.

    Parameters
    ----------
    dose
        Electrons of contrast per cell and frame (mean signal of the brightest column).
    overlay
        (structure, turn [rad], share): a second layer, as in a bilayer with a moire.
    """
    rng = np.random.default_rng(seed)
    turn, spacing = rng.uniform(0, 2 * np.pi), np.sqrt(structure.area_nm2)
    pixel_nm = spacing / rng.uniform(8.0, 26.0)
    probe_nm = rng.uniform(0.035, 0.06)
    if dose is None:
        dose = float(np.exp(rng.uniform(np.log(150), np.log(3000))))
    haze = rng.uniform(0.0, 0.15)
    speed = rng.normal(0, 0.03 * spacing / pixel_nm, 2)
    drift = np.cumsum(speed + rng.normal(0, 0.03 * spacing / pixel_nm, (n_frames, 2)), axis=0)
    start = rng.uniform(0, 50, 2)
    layers = [(structure, turn, 1.0)]
    if overlay is not None:
        layers.append((overlay[0], turn + overlay[1], overlay[2]))
    frames = np.empty((n_frames, *shape), np.float32)
    for i, moved in enumerate(drift):
        image = sum(
            share * _image(layer, angle, pixel_nm, probe_nm, shape, start + moved)
            for layer, angle, share in layers
        )
        image = image / image.max()
        image = image + 0.05 + haze * _cloud(rng, shape, 0.8 / pixel_nm) + 0.1
        counts = dose / (structure.area_nm2 / pixel_nm**2)
        frames[i] = rng.poisson(np.maximum(image, 0) * counts)
    vectors = structure.cell_nm @ _rotation(turn).T / pixel_nm
    area = structure.area_nm2 / pixel_nm**2
    return Drawn(frames, pixel_nm, vectors, drift - drift[0], area)


def _rotation(turn):
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def _image(structure, turn, pixel_nm, probe_nm, shape, origin):
    """Draw the columns as a Fourier sum."""
    vectors = structure.cell_nm @ _rotation(turn).T / pixel_nm
    basis = np.linalg.inv(vectors).T
    sd_px = probe_nm / pixel_nm
    order = np.arange(-8, 9)
    h, k = (n.ravel() for n in np.meshgrid(order, order, indexing="ij"))
    g = np.stack([h, k], axis=1) @ basis
    damp = np.exp(-2 * (np.pi * sd_px) ** 2 * (g**2).sum(axis=1))
    kept = (damp > 1e-4) & (np.abs(g) < 0.5).all(axis=1)
    y, x = np.arange(shape[0]), np.arange(shape[1])
    image = np.zeros(shape)
    for (gy, gx), hh, kk, weight in zip(g[kept], h[kept], k[kept], damp[kept], strict=True):
        factor = sum(b * np.exp(-2j * np.pi * (hh * u + kk * v)) for u, v, b in structure.columns)
        factor = factor * weight * np.exp(-2j * np.pi * (gy * origin[0] + gx * origin[1]))
        rows, columns = np.exp(2j * np.pi * gy * y), np.exp(2j * np.pi * gx * x)
        image += np.outer(factor * rows, columns).real
    return image - image.min()


def _cloud(rng, shape, length_px):
    """Smooth noise of range about 1."""
    gy, gx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    smooth = np.exp(-2 * (np.pi * length_px) ** 2 * (gy**2 + gx**2))
    cloud = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * smooth, s=shape)
    return cloud / (4 * cloud.std() + 1e-30)

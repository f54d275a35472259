"""Difference images computed elsewhere (multislice, say) in place of Gaussian columns.

``motifs="mine.npz"`` names a file that holds ``pixel_size_nm`` and one array (h, w) per kind of
defect: by how much the fraction of electrons that reach the detector changes when the probe stands
there, source broadening included. The middle of the array is the defect's place (the dopant, for a
complex) and the lattice vector a1 points along +x. A complex may come as three arrays
``Mo_W+V_S/0``, ``/1``, ``/2``, or as one whose vacancy is in column 0, which is then turned. Kinds
without an array are drawn as columns.

>>> motifs = read_difference_images(str(save_example()))
>>> sorted(motifs), motifs["V_S", -1].values.shape
([('V_S', -1)], (41, 41))
"""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from stemkin.kernels.crystal.rendering import Scan
from stemkin.materials import COMPLEX
from stemkin.simulation.crystal import crystal_of
from stemkin.simulation.settings import Settings


@dataclass(frozen=True, eq=False)
class DifferenceImage:
    """A difference image.

    Attributes
    ----------
    values
        (h, w) change of the fraction that is detected.
    coefficients
        The same as cubic spline coefficients.
    pixel_size_nm
        Its own pixels.
    turn
        By how much to turn it before anything else, from +x to +y [rad].
    """

    values: np.ndarray
    coefficients: np.ndarray
    pixel_size_nm: float
    turn: float = 0.0


@lru_cache(maxsize=4)
def read_difference_images(path: str) -> dict[tuple[str, int], DifferenceImage]:
    """Return the difference images of a file by kind and orientation (-1 = none).

    Raises
    ------
    ValueError
        If the file is none of this kind.
    """
    from scipy import ndimage

    with np.load(path, allow_pickle=False) as file:
        arrays = {name: np.asarray(file[name], dtype=float) for name in file.files}
    if "pixel_size_nm" not in arrays or arrays["pixel_size_nm"].size != 1:
        msg = f"{path} does not say its pixel_size_nm; add that number to the .npz"
        raise ValueError(msg)
    pixel = float(arrays.pop("pixel_size_nm"))
    found: dict[tuple[str, int], DifferenceImage] = {}
    for name, values in arrays.items():
        if values.ndim != 2 or min(values.shape) < 4:
            msg = (
                f"{name!r} in {path} has shape {values.shape}; a motif is an image of at least 4 x "
                "4 pixels"
            )
            raise ValueError(msg)
        kind, _, number = name.partition("/")
        coefficients = ndimage.spline_filter(values, order=3, mode="grid-constant")
        if number or "+" not in kind:
            found[kind, int(number or -1)] = DifferenceImage(values, coefficients, pixel)
        else:
            for k in range(3):
                found.setdefault(
                    (kind, k), DifferenceImage(values, coefficients, pixel, turn=k * 2 * np.pi / 3)
                )
    return found


def file_digest(path: str) -> str:
    """Return a checksum of the file, for a movie's identity."""
    return f"{zlib.crc32(Path(path).read_bytes()):08x}"


def has_difference_image(settings: Settings, defects: np.ndarray) -> np.ndarray:
    """Tell which of the defects (m,) (`scene.SIGHTING`) have a difference image."""
    if settings.optics.motifs is None:
        return np.zeros(len(defects), bool)
    known, kinds = read_difference_images(settings.optics.motifs), settings.material.kinds
    keys = zip(defects["kind"].tolist(), defects["orientation"].tolist(), strict=True)
    return np.array(
        [_key(kinds, kind, orientation) in known for kind, orientation in keys], dtype=bool
    )


def add_difference_images(
    image: np.ndarray, settings: Settings, defects: np.ndarray, scan: Scan
) -> None:
    """Add the difference images of defects to the expected counts, in place.

    Parameters
    ----------
    image
        (y, x) expected counts.
    settings
        The movie.
    defects
        (m,) records `scene.SIGHTING`, all of which have a difference image.
    scan
        How the frame was scanned.
    """
    if len(defects) == 0 or settings.optics.motifs is None:
        return
    known, kinds = read_difference_images(settings.optics.motifs), settings.material.kinds
    dose = settings.dose_e_per_nm2 * settings.instrument.pixel_size_nm**2
    for defect in defects:
        motif = known[_key(kinds, int(defect["kind"]), int(defect["orientation"]))]
        angle = motif.turn + defect["turn"] + np.radians(crystal_of(settings).lattice.angle_deg)
        _add(image, motif, defect, float(angle), dose, settings.instrument.pixel_size_nm, scan)


def _key(kinds: tuple[str, ...], kind: int, orientation: int) -> tuple[str, int]:
    if kind == COMPLEX:
        return kinds[kind], orientation
    return kinds[kind], -1


def _add(
    image: np.ndarray,
    motif: DifferenceImage,
    defect: np.void,
    angle: float,
    dose: float,
    pixel_nm: float,
    scan: Scan,
) -> None:
    """Sample one difference image where the scan passes over it, and add it to `image`."""
    from scipy import ndimage

    scale = pixel_nm / motif.pixel_size_nm
    reach = int(np.ceil(0.5 * np.hypot(*motif.values.shape) / scale)) + 1
    row, col = round(float(defect["y"])), round(float(defect["x"]))
    rows = np.arange(max(0, row - reach), min(image.shape[0], row + reach + 1))
    cols = np.arange(max(0, col - reach), min(image.shape[1], col + reach + 1))
    if len(rows) == 0 or len(cols) == 0:
        return
    # Where the probe was at each pixel, as seen from the defect, in pixels of the difference image.
    down = scan.row_y[rows] - defect["sample_y"]
    dy = np.broadcast_to(down[:, None], (len(rows), len(cols))) * scale
    dx = (cols + scan.row_x0[rows][:, None] - defect["sample_x"]) * scale
    cos, sin = np.cos(angle), np.sin(angle)
    middle = (np.array(motif.values.shape) - 1) / 2
    at = np.stack([middle[0] + cos * dy - sin * dx, middle[1] + cos * dx + sin * dy])
    values = ndimage.map_coordinates(
        motif.coefficients, at, order=3, mode="constant", prefilter=False
    )
    image[np.ix_(rows, cols)] += dose * scan.beam[rows][:, None] * values


def save_example() -> Path:
    """Write a small file with one image, a Gaussian dip of a vacancy, and return its path."""
    y, x = (np.mgrid[:41, :41] - 20) * 0.01
    path = Path(tempfile.mkdtemp()) / "motifs.npz"
    np.savez(path, pixel_size_nm=0.01, V_S=-0.003 * np.exp(-(y**2 + x**2) / (2 * 0.047**2)))
    return path

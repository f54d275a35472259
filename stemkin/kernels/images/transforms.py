"""The Fourier transform of real images, by whichever library is fast.

SciPy's is six times faster than NumPy's in single precision, for the same result but for the last
bits.

>>> image = np.arange(12.0).reshape(3, 4)
>>> image_of(spectrum_of_image(image), (3, 4)).round(6).tolist() == image.tolist()
True
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace


def spectrum_of_image(image: Array, *, padded: tuple[int, int] | None = None) -> Array:
    """Transform a real image, with zeros beyond its edge where that is asked for.

    Parameters
    ----------
    image
        (y, x) floating-point array, any library.
    padded
        (height, width) with the zeros [px]; the shape of the image unless given.

    Returns
    -------
    (y, x // 2 + 1) complex array.
    """
    if isinstance(image, np.ndarray):
        from scipy import fft

        return fft.rfftn(image, s=padded)
    return namespace(image).fft.rfftn(image, s=padded, axes=(0, 1))


def image_of(spectrum: Array, shape: tuple[int, int]) -> Array:
    """Undo `spectrum_of_image`.

    Parameters
    ----------
    spectrum
        (y, x // 2 + 1) complex array, any library.
    shape
        (height, width) of the image [px].

    Returns
    -------
    (y, x) array.
    """
    if isinstance(spectrum, np.ndarray):
        from scipy import fft

        return fft.irfftn(spectrum, s=shape)
    return namespace(spectrum).fft.irfftn(spectrum, s=shape, axes=(0, 1))

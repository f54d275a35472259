"""The crystal of a movie, found in a sample of its frames before any is searched.

The sample depends on the movie alone: neighbours from all over it, so that it does not matter how
the movie is cut into blocks, who searches them, or in which order.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.kernels.crystal.pooling import reference_of
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.crystal.verdicts import judged
from stemkin.kernels.images.contrast import in_own_contrast
from stemkin.kernels.images.missing import without_missing
from stemkin.kernels.images.quality import frame_status

if TYPE_CHECKING:
    from stemkin.movie import Movie

N_PAIRS = 8
"""So many pairs of neighbours are looked at."""

SAMPLE_BYTES = 2**26
"""The sample is smaller where its frames, as float32, would take more."""

CALM_LINES, CALM = 12, 0.35
"""So many lines side by side with less than this share of the usual scatter are a blanked band."""


def sample_numbers(n_frames: int, frame_pixels: int) -> list[int]:
    """Choose the frames that tell the crystal of a movie: pairs of neighbours, spread evenly.

    Parameters
    ----------
    n_frames
        Of the movie.
    frame_pixels
        Of a frame.

    Returns
    -------
    Frame numbers, increasing.

    Examples
    --------
    >>> sample_numbers(5, 2**18)
    [0, 1, 2, 3, 4]
    >>> sample_numbers(100, 2**18)[:6]
    [6, 7, 18, 19, 30, 31]
    """
    n_pairs = int(np.clip(SAMPLE_BYTES // (8 * max(frame_pixels, 1)), 2, N_PAIRS))
    if n_frames <= 2 * n_pairs:
        return list(range(n_frames))
    starts = (np.arange(n_pairs) + 0.5) * (n_frames - 1) / n_pairs
    return sorted({int(start) + i for start in starts for i in (0, 1)})


@one_thread
def reference_crystal(movie: Movie, *, left_out: Collection[int] = ()) -> Reference | None:
    """Find the crystal that the frames of a movie share. Computes once, on a sample of frames.

    Parameters
    ----------
    movie
        The movie.
    left_out
        Numbers of frames that are not read, since nobody can.

    Returns
    -------
    The crystal, or None where the movie shows none.
    """
    n_frames, height, width = movie.shape
    images, scales, numbers = [], [], []
    for number in sample_numbers(n_frames, height * width):
        if number in left_out:
            continue
        frame, _ = without_missing(movie.reader.read(number, number + 1))
        if frame_status(frame)[0] != tables.OK:
            continue
        image, scale = in_own_contrast(frame[0])
        images.append(image)
        scales.append(scale)
        numbers.append(number)
    whole = [i for i, image in enumerate(images) if shows_all_lines(image)]
    # where a band of lines is blank in most frames, they are all there is
    if len(whole) < len(images) / 2:
        whole = list(range(len(images)))
    found = reference_of([images[i] for i in whole], [numbers[i] for i in whole])
    if found is None:
        return None
    return replace(found, contrast=float(np.median([scales[i] for i in whole])))


def shows_all_lines(image: np.ndarray) -> bool:
    """Tell whether no band of lines of a frame is far darker and calmer than the others.

    The edges of such a band look like a lattice of their own in the spectra of a sample.

    Parameters
    ----------
    image
        (y, x) intensities.

    Returns
    -------
    Whether every line scatters at least a third as much as is usual, or one near it does.
    """
    scatter = np.std(image, axis=1)
    height = len(scatter)
    # lines between the columns of atoms are calm, too: the highest of some lines counts
    near = np.lib.stride_tricks.sliding_window_view(scatter, min(CALM_LINES, height)).max(axis=1)
    return bool(near.min() > CALM * np.median(near))


def is_good_frame(frame: np.ndarray, reference: Reference | None) -> bool:
    """Tell whether a frame can be searched: it is ok by itself and like the others of its movie.

    Parameters
    ----------
    frame
        (y, x) intensities as they were read.
    reference
        The crystal of the movie; None where there is none, and nothing to compare with.

    Returns
    -------
    Whether its status is "ok".
    """
    (frame,), _ = without_missing(frame[None])
    if frame_status(frame[None])[0] != tables.OK:
        return False
    if reference is None:
        return True
    image, contrast = in_own_contrast(frame)
    return judged(image - image.mean(), reference, contrast=contrast).status == tables.OK

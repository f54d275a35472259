"""Small pictures of a fixed set of frames, kept by the pixel pass for the report's player.

Which frames are kept depends on the number of frames of a movie alone, and a picture on its frame
alone, so they are the same for every cut in blocks.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from stemkin import tables

MAX_MOVIES = 6
"""Of so many movies, the first of the archive, frames are kept."""
MAX_FRAMES = 60
"""So many frames of a movie, evenly spaced from its first on."""
EDGE_PX = 240
"""No edge of a picture is longer."""
QUALITY = 50
"""Of the JPEG files (ISO/IEC 10918-1): some 15 kB for a picture of shot noise."""


def kept_numbers(n_frames: int) -> np.ndarray:
    """Return the numbers of the frames of which pictures are kept, ascending.

    >>> kept_numbers(3).tolist(), kept_numbers(180)[:3].tolist(), len(kept_numbers(100_000))
    ([0, 1, 2], [0, 3, 6], 60)
    """
    n_kept = min(n_frames, MAX_FRAMES)
    return np.arange(n_kept) * n_frames // max(1, n_kept)


def thumbnail_rows(
    frames: np.ndarray, *, movie: str, first_frame: int, n_frames: int
) -> pd.DataFrame:
    """Return the rows of the table ``thumbnails`` of a block.

    Parameters
    ----------
    frames
        (n, y, x) pixels of the block, as recorded.
    movie, n_frames
        Name of the movie, and how many frames it has.
    first_frame
        Movie frame number of ``frames[0]``.
    """
    numbers = kept_numbers(n_frames)
    own = numbers[(numbers >= first_frame) & (numbers < first_frame + len(frames))]
    rows = []
    for number in own.tolist():
        frame = frames[number - first_frame]
        content, black, white = thumbnail(frame)
        height, width = frame.shape
        rows.append((movie, number, height, width, black, white, content))
    columns = list(tables.COLUMNS["thumbnails"])
    return tables.conform(pd.DataFrame(rows, columns=columns), "thumbnails")


def thumbnail(frame: np.ndarray) -> tuple[bytes, float, float]:
    """Return a frame as a small JPEG file, averaged over areas, and what is black and white in it.

    Parameters
    ----------
    frame
        (y, x) pixels; those that are no number are black.
    """
    from PIL import Image

    height, width = frame.shape
    shrunk = min(1.0, EDGE_PX / max(height, width))
    size = (max(1, round(width * shrunk)), max(1, round(height * shrunk)))
    pixels = np.nan_to_num(np.asarray(frame, dtype=np.float32), posinf=0.0, neginf=0.0)
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    black, white = (float(level) for level in np.percentile(small, (0.5, 99.5)))
    levels = np.clip((small - black) * (255 / max(white - black, 1e-30)), 0, 255)
    file = io.BytesIO()
    Image.fromarray(np.round(levels).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue(), black, white

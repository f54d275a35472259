"""Which frames a model is learned from: some of every kind of movie, from all over the archive.

Movies of another dose or pixel size look otherwise, and a rare kind would be missed by a sample that
is spread evenly. So the movies are sorted into *strata* of equal calibration, each gives as many
frames as any other, and within a stratum each stretch of time gives one (`sample_frames`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stemkin.learning.draws import sample_frames
from stemkin.movie import Movie

USUAL = 16
"""Frames of each stratum, unless asked otherwise; of an archive of more movies one of each."""
MOST = 200
"""But no more than so many of a whole archive."""
SIZE_STEP, DOSE_STEP = 1.25, 1.5
"""Pixel sizes and doses within about such a factor count as equal."""


def frames_to_learn_from(
    movies: Sequence[Movie], n_frames: int | None = None, *, seed: int
) -> list[tuple[int, int]]:
    """Draw the frames from which a model of some movies is learned.

    Parameters
    ----------
    movies
        Of the archive.
    n_frames
        How many; None takes 16 of each stratum, and at least one of each movie, up to 200.
    seed
        Decides which.

    Returns
    -------
    (movie, frame) numbers, in order.
    """
    strata = strata_of(movies)
    wanted = n_frames
    if wanted is None:
        wanted = min(MOST, max(USUAL * len(strata), len(movies)))
    # those with fewer frames than their share leave the rest to the others
    shares, left = [0] * len(strata), wanted
    sizes = [sum(movies[i].n_frames for i in own) for own in strata]
    for place in sorted(range(len(strata)), key=lambda place: sizes[place]):
        n_to_come = sum(share == 0 for share in shares)
        shares[place] = min(sizes[place], -(-left // max(1, n_to_come)))
        left -= shares[place]
    found = []
    for own, share in zip(strata, shares, strict=True):
        drawn = sample_frames([movies[i].n_frames for i in own], share, seed=seed)
        found += [(own[i], frame) for i, frame in drawn]
    return sorted(found)


def strata_of(movies: Sequence[Movie]) -> list[list[int]]:
    """Return the numbers of the movies of each stratum.

    Parameters
    ----------
    movies
        Their pixel sizes and doses of a frame count.
    """
    found: dict[tuple[int | None, int | None], list[int]] = {}
    for i, movie in enumerate(movies):
        kind = (_step(movie.pixel_size_nm, SIZE_STEP), _step(movie.dose_e_per_nm2, DOSE_STEP))
        found.setdefault(kind, []).append(i)
    return list(found.values())


def _step(value: float | None, step: float) -> int | None:
    """Return the number of a value's rung on a ladder of equal factors; None where it is unknown."""
    if value is None or not value > 0:
        return None
    return round(math.log(value) / math.log(step))

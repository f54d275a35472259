"""Numbers of defects from their sightings: their errors, what was missed, what never was there.

>>> looks = {"seen": 1900, "gaps": (40, 0, 0), "lone": 130, "pairs": 4, "longer": 36}
>>> seen = SightingCounts(n=2134, tracks=170, squares=400_130, longest=120, **looks)
>>> [round(v, 1) for v in seen.real_lone_tracks()], [round(v) for v in seen.interval()]
([4.9, 6.1], [1147, 3680])
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from stemkin.kernels.chains.missing import SeenShare, seen_share


@dataclass(frozen=True)
class SightingCounts:
    """What tracks say of the defects of one class.

    Attributes
    ----------
    n
        Sightings; a number that is not whole where some were taken away.
    tracks, squares
        Tracks, and the sum of the squares of each one's sightings.
    longest
        Most sightings of a track.
    seen, gaps
        Frames between two sightings of a track in which it was seen as well, and gaps of 1, 2, ...
        frames in which it was not.
    ends, begins
        Tracks that end before the movie does, and that begin after it began.
    lone, pairs, longer
        Tracks of one sighting, of two, and of three or more.
    """

    n: float
    tracks: float
    squares: float
    longest: int
    seen: int
    gaps: tuple[int, ...]
    lone: int
    pairs: int
    longer: int
    ends: int = 0
    begins: int = 0

    def real_lone_tracks(self) -> tuple[float, float]:
        """Return how many of the tracks seen once were defects, and the variance of that number.

        What a detector finds by chance is there in one frame, and makes a track of one sighting. A
        defect may be lost after one sighting as well, but no more easily than after two: of the
        tracks seen twice or more the share pairs / (pairs + longer) ended there, so as many real
        ones are seen once as have (pairs + longer) tracks as their rest, (pairs + longer) pairs /
        longer.
        """
        expected = (self.pairs + self.longer) * (self.pairs + 0.5) / (self.longer + 0.5)
        variance = expected**2 * (1 / (self.pairs + 0.5) + 1 / (self.longer + 0.5))
        return min(expected, float(self.lone)), min(variance, float(self.lone) ** 2)

    def without(self, n_lone: float) -> SightingCounts:
        """Return the rest when `n_lone` tracks of one sighting are taken away."""
        return replace(
            self, n=self.n - n_lone, tracks=self.tracks - n_lone, squares=self.squares - n_lone
        )

    def interval(self, *, spread: float = 0.0, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of the expected number of sightings; NaN where there are none.

        The number is a sum of tracks, each counted with its length: a compound Poisson number,
        whose variance is the sum of the squares. Its lower end is that of a gamma distribution with
        this mean and variance, its upper one of that with one more track of the longest length,
        since few tracks do not show how long they may be (Fay & Feuer, Stat. Med. 16, 791 (1997)).

        Parameters
        ----------
        spread
            Relative variance that comes on top.
        confidence
            Of the interval.
        """
        if not self.n > 0:
            return np.nan, np.nan
        tail = (1 - confidence) / 2
        n, variance = self.n, self.squares + spread * self.n**2
        half = 0.5  # Jeffreys', as of a count
        low = special.gammaincinv(n**2 / variance + half, tail) * variance / n
        n, variance = n + self.longest, variance + self.longest**2
        return float(low), float(special.gammainccinv(n**2 / variance, tail) * variance / n)

    def efficiency(self, *, confidence: float = 0.95) -> SeenShare:
        """Return how often a defect is seen that is there; NaN where there were no looks."""
        by_chance = self.lone - self.real_lone_tracks()[0]
        longer = max(min(self.ends, self.begins) - by_chance, 0.0)
        return seen_share(self.seen, np.array(self.gaps), longer, confidence=confidence)

"""Which motif a class, or a single detection, resembles.

>>> from stemkin.kernels.classes.motifs import WS2, library
>>> quiet = np.full(3, 0.01)
>>> match(np.array([1.0, -0.074, 0, 0, 0, 0, 0, 0, 0]), quiet, library(WS2)).name
'V_S'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.classes.motifs import PERFECT, Motif

MIN_SCORE = 0.3
"""Match below which a class stays unnamed; 1 is equal."""

SIMPLER = 0.8
"""Of motifs whose scores differ by no more than this factor, the one that changes the fewest
columns is taken."""

REACH = 30.0
"""Squared distance beyond which a detection does not resemble a motif, in units of noise and
tolerance."""


@dataclass(frozen=True)
class Match:
    """The motif that a class resembles most.

    Attributes
    ----------
    name, score
        Of the best motif (of two that are about as good, the one that changes fewer columns); a
        score of 1 is equal, 0 unrelated. `PERFECT` is the perfect crystal.
    runner_up, runner_up_score
        Of the best motif with another name.
    oriented
        Whether the best motif has an orientation.
    """

    name: str
    score: float
    runner_up: str
    runner_up_score: float
    oriented: bool

    @property
    def holds(self) -> bool:
        """Whether the class may bear the name."""
        return self.score >= MIN_SCORE and self.name != PERFECT

    @property
    def is_perfect(self) -> bool:
        """Whether the class resembles the perfect crystal more than any defect: it is noise."""
        return self.name == PERFECT and self.score >= MIN_SCORE


def match(
    row: np.ndarray, noise: np.ndarray, motifs: list[Motif], *, spread: np.ndarray | float = 0.0
) -> Match:
    """Find the motif that the mean descriptors of a class resemble most.

    The score is exp(-distance / 4) of `Motif.distances`.

    Parameters
    ----------
    row
        (9,) mean physical descriptors (`descriptors.SITE_NAMES`).
    noise
        (3,) standard deviation of an amplitude on METAL, CHALCOGEN and HOLLOW sites.
    motifs
        As `library` gives them; at least one.
    spread
        (7,) scatter of the amplitudes within the class, or one number for all.

    Returns
    -------
    The best motif and the one after it.
    """
    # several motifs may share a name (a complex seen from either column): the nearest counts
    best: dict[str, tuple[float, Motif]] = {}
    for motif in motifs:
        score = float(np.exp(-motif.distances(row[None], noise, spread=spread)[0] / 4))
        if motif.name not in best or score > best[motif.name][0]:
            best[motif.name] = (score, motif)
    # a score is the root of a likelihood, and so is what the prior counts for
    ranked = sorted(best.values(), key=lambda pair: -pair[0] * np.sqrt(pair[1].prior))
    # of motifs that fit about as well the simplest is taken; on a tie `min` keeps the better score
    least = SIMPLER * ranked[0][0] * np.sqrt(ranked[0][1].prior)
    close = [pair for pair in ranked if pair[0] * np.sqrt(pair[1].prior) >= least]
    score, chosen = min(close, key=lambda pair: int(np.count_nonzero(pair[1].amplitudes)))
    others = [(motif.name, value) for value, motif in ranked if motif is not chosen] or [("", 0.0)]
    return Match(chosen.name, score, *others[0], chosen.oriented)


def first_guess(
    rows: np.ndarray, noise: np.ndarray, motifs: list[Motif], *, min_count: int = 15
) -> tuple[np.ndarray, list[Motif]]:
    """Sort detections by the motif they resemble most.

    Parameters
    ----------
    rows
        (m, 9) physical descriptors.
    noise
        (3,) standard deviation of an amplitude on each kind of site.
    motifs
        As `library` gives them.
    min_count
        Motifs with fewer detections are left out.

    Returns
    -------
    (m,) labels 0, 1, ... and -1 for detections that resemble no motif, and the motif of each label.
    """
    distances = np.stack(
        [motif.distances(rows, noise) - 2 * np.log(motif.prior) for motif in motifs], axis=1
    )
    # column i of `distances` is motif i; those with too few detections leave gaps in `nearest`,
    # which the labels close
    nearest = np.where(distances.min(axis=1, initial=np.inf) <= REACH, distances.argmin(axis=1), -1)
    kept = [i for i in range(len(motifs)) if (nearest == i).sum() >= min_count]
    labels = np.full(len(rows), -1)
    for label, i in enumerate(kept):
        labels[nearest == i] = label
    return labels, [motifs[i] for i in kept]

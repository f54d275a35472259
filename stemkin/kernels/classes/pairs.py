"""Two known motifs that a mixture ran together, told apart by what is known of them.

A dopant, and a dopant beside a vacancy, differ by one weak amplitude. At low dose the two clouds
overlap, and a mixture that is free to move takes both for one wide class. Of double vacancies a
sample may hold a dozen among hundreds of single ones: too few for a class of their own, so they
make that of the others wide. What they look like is known all the same: their means and scatter
follow from the motifs and the noise, so that only their shares are left to be found, by expectation
and maximisation (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977)), and whether two explain
the detections better than one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stemkin.kernels.classes.amplitudes import blurred, fold
from stemkin.kernels.classes.mixture import Mixture
from stemkin.kernels.classes.motifs import Motif
from stemkin.kernels.classes.naming import ClassNames
from stemkin.kernels.classes.neighbours import PLACE_KINDS
from stemkin.kernels.classes.taxonomy import Taxonomy
from stemkin.kernels.common.robust import robust_sd

N_DRAWS = 4000
"""Draws of noise from which mean and scatter of a folded motif are taken."""

PROVEN = 8.0
"""By how much more likely, in natural logarithms, two motifs must be than the dopant alone."""

LEAST_APART = 1.8
"""Bonded columns that differ by fewer standard deviations of their noise tell no motifs apart."""

LEAST_DEEPER = 4.0
"""Motifs whose own sites differ by fewer standard deviations are not told apart: the skewed tail of
one, of which a threshold hides the faint ones, would be taken for the other."""

N_ROUNDS = 60
"""Rounds in which the shares settle."""

N_LEVELS = 4
"""Rounds in which the shares and what the tails of the defect do settle."""

LEAST_ROWS = 15
"""Fewer detections do not tell shares."""

LEAST_OF_EACH = 3.0
"""A motif of which fewer detections are expected may be a chance or two."""

LEAST_SEEN = 5
"""From so many detections on, what a motif does to its own site is taken from them."""


def told_apart(
    taxonomy: Taxonomy,
    rows: np.ndarray,
    scale: np.ndarray,
    noise: np.ndarray,
    motifs: tuple[Motif, Motif],
    called: ClassNames,
) -> Taxonomy:
    """Put two fixed components in the place of one class that holds both motifs.

    Parameters
    ----------
    taxonomy
        Of named components.
    rows
        (n, 8) site and amplitudes, each over its `scale`, from which it was made.
    scale
        (3, 8) units of the descriptors on each kind of site.
    noise
        (3,) standard deviation of an amplitude on each kind of site.
    motifs
        Two on the same kind of site, such as a dopant and the same beside a vacancy.
    called
        What classes are called; both must be among them.

    Returns
    -------
    The taxonomy, with a component for each where two explain the detections of the class better.
    """
    mixture, known = taxonomy.mixture, [motif.name for motif in motifs]
    if mixture is None or mixture.covariance == "tied" or not set(known) <= set(called.names):
        return taxonomy
    pair = [called.names.index(name) for name in known]
    site = motifs[0].site
    at_site = np.round(mixture.means[:, 0] * scale[0, 0]).astype(int) == site
    own = np.isin(taxonomy.class_ids, pair) & at_site
    seen_of = [mixture.weights[own & (taxonomy.class_ids == i)].sum() * len(rows) for i in pair]
    given, _ = taxonomy.assign(rows)
    mine = np.isin(given, pair) & (np.round(rows[:, 0] * scale[0, 0]) == site)
    # where the mixture itself has found both, or has too little of either, it stays
    if min(seen_of) >= 1 or mine.sum() < LEAST_ROWS:
        return taxonomy
    seen = rows[mine]
    centres = _centres(seen[:, 1], motifs)
    if not _is_far(motifs, centres, noise):
        return taxonomy
    shapes, shares, gain = _two_explained(seen, motifs, scale, noise, centres)
    if gain < PROVEN or shares.min() * len(seen) < LEAST_OF_EACH:
        return taxonomy
    grown = _with_both(mixture, own, shapes, shares)
    ids = np.append(taxonomy.class_ids[~own], pair).astype(taxonomy.class_ids.dtype)
    return replace(taxonomy, mixture=grown, class_ids=ids)


_Shape = tuple[np.ndarray, np.ndarray]
"""Mean (8,) and covariance (8, 8) of the rows of a motif."""


def _two_explained(
    seen: np.ndarray,
    motifs: tuple[Motif, Motif],
    scale: np.ndarray,
    noise: np.ndarray,
    centres: list[tuple[float, float]],
) -> tuple[list[_Shape], np.ndarray, float]:
    """Return the shapes of two motifs in rows `seen` (m, 8), their shares (2,), and what is gained.

    That is by how much more likely both make the rows than one does, in natural logarithms.
    """
    level, shares = 0.0, np.array([0.5, 0.5])
    for _ in range(N_LEVELS):
        shapes = [
            _folded(motif, scale, noise, seen, level, centre)
            for motif, centre in zip(motifs, centres, strict=True)
        ]
        logs = np.stack([_log_density(seen, *shape) for shape in shapes], axis=1)
        shares = _shares(logs)
        # the tails of the defect reach all three bonded columns; those that come last, which are
        # whole with either motif, tell how far they are out
        expected = shares @ np.stack([mean[3:5] for mean, _ in shapes])
        level += float((seen[:, 3:5].mean(axis=0) - expected).mean())
    gain = float(_log_sum(logs + np.log(shares)).sum() - logs.sum(axis=0).max())
    return shapes, shares, gain


def _with_both(
    mixture: Mixture, own: np.ndarray, shapes: list[_Shape], shares: np.ndarray
) -> Mixture:
    """Return a mixture in which two components, the last ones, stand for those that are `own`."""
    kept = ~own
    weight = float(mixture.weights[own].sum())
    means = np.stack([mean for mean, _ in shapes])
    spreads = np.stack([spread for _, spread in shapes])
    if mixture.covariance == "diag":
        spreads = np.einsum("kii->ki", spreads)
    grown = Mixture(
        np.concatenate([mixture.weights[kept], weight * shares]),
        np.concatenate([mixture.means[kept], means]),
        np.concatenate([mixture.covariances[kept], spreads]),
        mixture.covariance,
    )
    return replace(grown, weights=grown.weights / grown.weights.sum())


def _is_far(
    motifs: tuple[Motif, Motif], centres: list[tuple[float, float]], noise: np.ndarray
) -> bool:
    """Tell whether two motifs differ by enough: at their own site, or else on a bonded column."""
    (first, sd), (second, _) = centres
    if first != second:
        return abs(second - first) > LEAST_DEEPER * sd
    places = PLACE_KINDS[motifs[0].site, 1:4]
    apart = (motifs[0].amplitudes - motifs[1].amplitudes)[1:4] / noise[places]
    return bool(np.abs(apart).max() >= LEAST_APART)


def _centres(seen: np.ndarray, motifs: tuple[Motif, Motif]) -> list[tuple[float, float]]:
    """Return median and scatter of the amplitude at the site itself for each of two motifs.

    Where both change it alike, all that is `seen` (n,) tells it. Where the second changes it more,
    each has what lies on its own side of the middle; one that is hardly seen is as many times the
    first as the motifs say.
    """
    first, second = (float(motif.amplitudes[0]) for motif in motifs)
    if first == second:
        return [(float(np.median(seen)), float(robust_sd(seen)))] * 2
    ratio, middle = second / first, float(np.median(seen))
    for _ in range(N_LEVELS):
        beyond = seen / middle > (1 + ratio) / 2
        middle = float(np.median(seen[~beyond]))
    sd, other = float(robust_sd(seen[~beyond])), ratio * middle
    if beyond.sum() >= LEAST_SEEN:
        other = float(np.median(seen[beyond]))
    return [(middle, sd), (other, sd)]


def _folded(
    motif: Motif,
    scale: np.ndarray,
    noise: np.ndarray,
    seen: np.ndarray,
    level: float,
    centre: tuple[float, float],
) -> _Shape:
    """Return mean (8,) and covariance (8, 8) of the rows of a motif in noise, in scaled units.

    The amplitude at the site itself is that of its `centre` (median, scatter). By `level` the
    bonded columns are brighter than the motif says.
    """
    exact = blurred(motif.amplitudes, motif.site, motif.width).copy()
    exact[1:4] += level * scale[motif.site, 3]
    normal = np.random.default_rng(0).normal(size=(N_DRAWS, 13))
    sd = noise[PLACE_KINDS[motif.site]]
    for _ in range(2):
        folded = fold(exact + sd * normal)[0][:, :7] / scale[motif.site, 1:]
        # the two bonded columns that come last are whole: they tell how noisy it is around
        told = np.median(robust_sd(seen[:, 3:5]) / np.maximum(folded[:, 2:4].std(axis=0), 1e-9))
        sd = sd * max(float(told), 1.0)
    mean = np.append(seen[0, 0], folded.mean(axis=0))
    spread = np.zeros((8, 8))
    spread[1:, 1:] = np.cov(folded.T)
    mean[1], spread[1, :], spread[:, 1] = centre[0], 0.0, 0.0
    spread[1, 1] = max(centre[1] ** 2, 1e-6)
    # the kind of site is one number, which has the spread that every component has
    spread[0, 0] = 1.0
    return mean, spread


def _log_density(rows: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the logarithm of a normal density at rows (n, 8), up to a constant."""
    away = np.linalg.solve(np.linalg.cholesky(spread), (rows - mean).T)
    _, log_size = np.linalg.slogdet(spread)
    return np.asarray(-0.5 * ((away**2).sum(axis=0) + log_size))


def _log_sum(logs: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sum of exponentials along the last axis."""
    top = logs.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(logs - top).sum(axis=1)))


def _shares(logs: np.ndarray) -> np.ndarray:
    """Return the shares (2,) of two components of which rows have the logarithms of density."""
    shares = np.array([0.5, 0.5])
    for _ in range(N_ROUNDS):
        weighted = logs + np.log(shares)
        part = np.exp(weighted - _log_sum(weighted)[:, None])
        shares = np.maximum(part.mean(axis=0), 1e-6)
        shares = shares / shares.sum()
    return shares

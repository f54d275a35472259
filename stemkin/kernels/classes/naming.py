"""From components of a mixture to classes with names.

Components that resemble the same motif are one class; one that resembles none gets a number for a
name; one whose mean cannot be told from the perfect crystal is noise and no class. Known motifs too
rare to be in the sample are added, as wide as the classes that were seen, so that a rare defect is
named when it comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stemkin.kernels.classes import matches, motifs
from stemkin.kernels.classes.matches import Match
from stemkin.kernels.classes.mixture import Mixture
from stemkin.kernels.classes.motifs import Motif
from stemkin.kernels.classes.taxonomy import UNEXPLAINED, Taxonomy

ALIKE = 0.3
"""Nameless components on different sites are one class if their centres differ by less than this
share."""

MIN_UNKNOWN, MIN_UNMISTAKABLE = 10, 3
"""Detections below which a class that resembles no motif is none: a few strange neighbourhoods are
not a kind of defect. Fewer will do where the centre exceeds `UNMISTAKABLE` times the noise."""

SELECTED = 5.0
"""Noise that was selected for being large may have mean amplitudes up to so many standard
deviations."""

UNMISTAKABLE = 10.0
"""A mean amplitude, over the noise, that no selection of noise explains."""


@dataclass
class ClassNames:
    """What classes are called, in the order of their numbers.

    Attributes
    ----------
    names
        Of the classes.
    oriented
        Whether each changes when it is turned by 120 degrees.
    matches
        How well the largest component of each resembles its motif; None where there is nothing to
        compare.
    components
        How each component of the mixture was matched, whether it became a class or not.
    """

    names: list[str] = field(default_factory=list)
    oriented: list[bool] = field(default_factory=list)
    matches: list[Match | None] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, *, oriented: bool, match: Match | None) -> int:
        """Add a class and return its number."""
        if name in self.names:
            name = f"{name} ({len(self.names)})"
        self.names.append(name)
        self.oriented.append(oriented)
        self.matches.append(match)
        return len(self.names) - 1


def name_components(
    taxonomy: Taxonomy,
    scale: np.ndarray,
    noise: np.ndarray,
    library: list[Motif],
    *,
    rings: np.ndarray,
    n_rows: int,
    merge: bool,
) -> tuple[Taxonomy, ClassNames]:
    """Turn the components of a taxonomy into named classes.

    Parameters
    ----------
    taxonomy
        Of site kind and 7 amplitudes (`descriptors.SITE_NAMES` without the ring), each over its
        `scale`.
    scale
        (3, 8) units of the descriptors on each kind of site.
    noise
        (3,) standard deviation of an amplitude on each kind of site.
    library
        Known motifs.
    rings
        (k,) mean amplitude of the outer ring of the detections of each component.
    n_rows
        Detections that the taxonomy was made of.
    merge
        Whether to merge, drop and add classes as the module's docstring says; otherwise every
        component stays a class of its own.

    Returns
    -------
    The taxonomy, and what its classes are called.
    """
    assert taxonomy.mixture is not None
    mixture = taxonomy.mixture
    order = np.argsort(-mixture.weights, kind="stable")
    called = ClassNames()
    class_ids = np.full(len(order), UNEXPLAINED, np.int16)
    unnamed: dict[int, float] = {}
    means, spreads = _physical(mixture, scale)
    means[:, 8] = rings
    # the heaviest component comes first: it opens the class that lighter ones of its kind then join
    for k in order:
        found = matches.match(means[k], noise, library, spread=spreads[k])
        called.components.append({**vars(found), "weight": float(mixture.weights[k])})
        noisy = found.is_perfect or is_noise(mixture, int(k)) or _is_rare(mixture, int(k), n_rows)
        if merge and not found.holds and noisy:
            continue
        alike = [
            i for i, centre in unnamed.items() if abs(centre - means[k, 1]) < ALIKE * abs(centre)
        ]
        if merge and not found.holds and alike:
            class_ids[k] = alike[0]
        elif merge and found.holds and found.name in called.names:
            class_ids[k] = called.names.index(found.name)
        else:
            name = f"class {len(called.names)}"
            if found.holds:
                name = found.name
            class_ids[k] = called.add(name, oriented=found.holds and found.oriented, match=found)
            if not found.holds:
                unnamed[int(class_ids[k])] = float(means[k, 1])
    named = replace(taxonomy, class_ids=class_ids)
    if merge:
        named = with_rare_motifs(named, scale, noise, library, called, weight=0.5 / n_rows)
    return named, called


def is_noise(mixture: Mixture, k: int) -> bool:
    """Tell whether a component is but noise: no mean amplitude exceeds what selection may show.

    Parameters
    ----------
    mixture
        Of site kind and amplitudes, each over the noise of an amplitude.
    k
        Number of the component.

    Returns
    -------
    True where every mean amplitude is below its own scatter, or below `SELECTED` times the noise.
    """
    return bool(
        (mixture.means[k, 1:] ** 2 < np.maximum(_variances(mixture)[k, 1:], SELECTED**2)).all()
    )


def _is_rare(mixture: Mixture, k: int, n_rows: int) -> bool:
    """Tell whether component `k` has too few of the `n_rows` detections for an unknown class."""
    least = MIN_UNKNOWN
    if abs(mixture.means[k, 1]) > UNMISTAKABLE:
        least = MIN_UNMISTAKABLE
    return bool(mixture.weights[k] * n_rows < least)


def _variances(mixture: Mixture) -> np.ndarray:
    """Return the (k, d) variances of the components."""
    spread = mixture.covariances
    if mixture.covariance != "diag":
        spread = np.diagonal(spread, axis1=-2, axis2=-1)
    return np.broadcast_to(spread, mixture.means.shape)


def _physical(mixture: Mixture, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the components' (k, 9) mean physical descriptors, ring 0, and (k, 7) spreads."""
    # column 0 is the site over its tiny scale: rounded, it tells the row of `scale` to undo
    site = np.clip(np.round(mixture.means[:, 0] * scale[0, 0]), 0, 2).astype(int)
    means = mixture.means * scale[site]
    physical = np.append(means, np.zeros((len(means), 1)), axis=1)
    return physical, np.sqrt(_variances(mixture))[:, 1:] * scale[site, 1:]


def with_rare_motifs(
    taxonomy: Taxonomy,
    scale: np.ndarray,
    noise: np.ndarray,
    library: list[Motif],
    called: ClassNames,
    *,
    weight: float,
) -> Taxonomy:
    """Add a component of small weight for every motif that no component stands for.

    Parameters
    ----------
    taxonomy
        Of named components.
    scale
        (3, 8) units of the descriptors on each kind of site.
    noise
        (3,) standard deviation of an amplitude on each kind of site.
    library
        Known motifs.
    called
        Names of the classes; it grows with the taxonomy.
    weight
        Share of each new component, before all shares are divided by their sum.

    Returns
    -------
    The taxonomy with more components; the same one if nothing is named or "tied" covariances are
    used.
    """
    mixture = taxonomy.mixture
    assert mixture is not None
    seen = [k for k, i in enumerate(taxonomy.class_ids) if i != UNEXPLAINED]
    if not seen or mixture.covariance == "tied":
        return taxonomy
    sites = np.round(_physical(mixture, scale)[0][:, 0]).astype(int)
    known = {(called.names[taxonomy.class_ids[k]], int(sites[k])) for k in seen}
    means, class_ids, extra = [], [], []
    for motif in library:
        if motif.name == motifs.PERFECT:
            continue
        expected = motif.expected_row(noise)[:8] / scale[motif.site]
        if (motif.name, motif.site) in known or motifs.needs_ring(motif):
            continue
        if motif.name not in called.names:
            called.add(motif.name, oriented=motif.oriented, match=None)
        means.append(expected)
        extra.append(max(motif.tolerance - motifs.TOLERANCE, 0.0) * expected * (np.arange(8) > 0))
        class_ids.append(called.names.index(motif.name))
    if not means:
        return taxonomy
    # a motif that was not seen is as wide as the mean of the classes that were, and wider where its
    # own amplitudes are less certain; the site (column 0) is never uncertain
    share = mixture.weights[seen] / mixture.weights[seen].sum()
    shape = np.tensordot(share, mixture.covariances[seen], axes=1)
    light = np.full(len(means), weight)
    wider = np.stack(extra) ** 2
    if mixture.covariance != "diag":
        wider = wider[:, :, None] * np.eye(8)
    grown = Mixture(
        np.append(mixture.weights, light) / (1 + light.sum()),
        np.concatenate([mixture.means, np.stack(means)]),
        np.concatenate([mixture.covariances, shape + wider]),
        mixture.covariance,
    )
    return replace(
        taxonomy, mixture=grown, class_ids=np.append(taxonomy.class_ids, class_ids).astype(np.int16)
    )

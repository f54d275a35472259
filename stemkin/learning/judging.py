"""What an observer judges in place of the amplitudes of columns, where it tells more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from stemkin.kernels.classes import motifs
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.learning.joined import JoinedLooks
from stemkin.materials import Material


def judged_beside(detector: Any, noise: np.ndarray) -> dict[int, float]:
    """Return the amplitude of a vacancy beside METAL and CHALCOGEN sites as the observer judges it.

    Parameters
    ----------
    detector
        With an observer or without.
    noise
        (3,) standard deviation of an amplitude on each kind of site, in which signals are counted.

    Returns
    -------
    Kind of the site → amplitude; empty where nothing was learned.
    """
    observer = getattr(detector, "observer", None)
    if observer is None:
        return {}
    pairs = ((METAL, CHALCOGEN), (CHALCOGEN, METAL))
    told = np.isfinite(observer.beside) & observer.judges
    known = [(site, which) for site, which in pairs if told[which]]
    return {site: -float(observer.beside[which] * noise[which]) for site, which in known}


def judged_itself(detector: Any, noise: np.ndarray) -> dict[int, float]:
    """Return the amplitude of a vacancy on METAL and CHALCOGEN sites as the observer judges it.

    Parameters and what is returned are those of `judged_beside`.
    """
    observer = getattr(detector, "observer", None)
    if observer is None:
        return {}
    known = [w for w in (METAL, CHALCOGEN) if observer.knows(w) and observer.judges_itself[w]]
    return {w: -float(observer.depths[w] / observer.tails[w] * noise[w]) for w in known}


SURE = 4.0
"""Where a vacancy stands out by so many standard deviations of its column's amplitude, that is left
to judge it: what an observer sees beside a strong defect has heavier tails."""


def judging_where_it_tells_more(sample: JoinedLooks, detector: Any, material: Material) -> Any:
    """Return a detector whose observer judges the columns beside defects only where that helps.

    At a usual dose the amplitude of a column tells a missing atom more surely than an observer that
    is blind to all around; in haze and at a low dose it is the other way round.

    Parameters
    ----------
    sample
        Looks at the detections of some frames.
    detector
        With an observer or without; it is returned as it is where nothing changes.
    material
        What vacancies are missing from.
    """
    observer = getattr(detector, "observer", None)
    if observer is None or not (sample.uses_lattice and sample.looks):
        return detector
    noise, height = sample.median("noise"), float(sample.median("chalcogen"))
    told = judged_beside(detector, noise)
    judges = observer.judges.copy()
    for site, which in ((METAL, CHALCOGEN), (CHALCOGEN, METAL)):
        lost = motifs.vacancy_amplitude(material, dimmer=height)
        # what bound vacancies look like was learned at dopants, whose tails were measured with it
        learned_there = which == CHALCOGEN and observer.knows_bound
        is_sure = -lost > SURE * noise[which] and not learned_there
        judges[which] = site in told and told[site] < lost and not is_sure
    itself = _told_itself(detector, noise, height, material)
    if (judges == observer.judges).all() and (itself == observer.judges_itself).all():
        return detector
    return replace(detector, observer=replace(observer, judges=judges, judges_itself=itself))


def _told_itself(detector: Any, noise: np.ndarray, height: float, material: Material) -> np.ndarray:
    """Tell for which sites (2,) the observer's signal says more of a vacancy than its amplitude.

    Vacancies are on the dimmer columns; what else is dark there, or on the others, is told by its
    amplitude.
    """
    itself, (metal, chalcogen) = np.zeros(2, bool), motifs.column_heights(material)
    if material.is_elemental or chalcogen > metal:
        return itself
    lost = motifs.vacancy_amplitude(material, dimmer=height)
    told = judged_itself(detector, noise)
    is_sure = -lost > SURE * noise[CHALCOGEN]
    itself[CHALCOGEN] = CHALCOGEN in told and told[CHALCOGEN] < lost and not is_sure
    return itself

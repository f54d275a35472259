"""What a run says of its detector: how clearly it sees the weakest defects, or what it does without.

>>> missed_share(depth=5.1, false_positives=1.0, n_sites=2700).__round__(3)
0.043
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.detection.false_positives import shares_of, site_threshold
from stemkin.learning import NOTHING_LEARNED
from stemkin.materials import MATERIALS, material_named
from stemkin.movie import Movie
from stemkin.pipeline.crystals import CrystalSummary
from stemkin.pipeline.model import load_model
from stemkin.results.crystals import read_crystal
from stemkin.results.journal import Journal
from stemkin.results.store import Store
from stemkin.simulation.crystal import check_sampling
from stemkin.simulation.limits import ideal_depth
from stemkin.simulation.settings import Settings

LOOKED_AT = 8
"""The crystals of so many movies are looked at for one whose sites can be counted."""

COLUMNS = {METAL: "brighter", CHALCOGEN: "dimmer"}
"""What the two kinds of columns of a honeycomb are called."""


def say_what_was_learned(
    movies: Sequence[Movie],
    store: Store,
    crystals: Mapping[str, CrystalSummary],
    journal: Journal,
    *,
    material: str,
) -> None:
    """Write into ``run.json`` how clearly the detector sees missing atoms.

    Or warn that it learned nothing of them.

    Parameters
    ----------
    movies, store
        What is searched, and where the model and the crystals stand.
    crystals
        What came of each movie's crystal.
    journal
        Its stage ``learn`` gets the entries ``sensitivity`` (sentences) and ``seen`` (numbers); a
        warning goes before all others.
    material
        What the crystal is made of: an ideal observer's depth follows from it, and from the dose.
    """
    detector = load_model(store, as_learned=True).detector
    seen = _honeycomb_of(movies, store, crystals)
    if not isinstance(detector, FourierDetector) or seen is None:
        return
    movie, crystal = seen
    if detector.observer is None:
        others = [said for said in journal.content["warnings"] if said != NOTHING_LEARNED]
        journal.content["warnings"] = [NOTHING_LEARNED, *others]
        return
    n_sites = round(abs(float(np.linalg.det(crystal.basis))) * movie.shape[1] * movie.shape[2])
    shares, said, seen_by = shares_of(detector.observer, detector.weak_dark), [], []
    for which, columns in COLUMNS.items():
        if detector.observer.knows(which) and detector.snr is None:
            depth = float(detector.observer.depths[which])
            asked = shares[which, -1] * detector.false_positives_per_frame
            missed = missed_share(depth, asked, n_sites)
            ideal = ideal_depth_of(movie, material) if which == CHALCOGEN else None
            said.append(
                _sentence(columns, depth, missed, detector.false_positives_per_frame, ideal)
            )
            seen_by.append({"columns": columns, "depth": depth, "missed": missed, "ideal": ideal})
    journal.content["stages"]["learn"] |= {"sensitivity": said, "seen": seen_by}


def ideal_depth_of(movie: Movie, material: str) -> float | None:
    """Return by how much a vacancy would stand out for who knows crystal, probe and scan.

    Parameters
    ----------
    movie
        Its dose and pixel size count; the probe is the simulator's (`simulation.Instrument`).
    material
        Name of the material.

    Returns
    -------
    d' in a clean frame of this dose; None where dose, pixel size or material are not known, or the
    pixels are too coarse for atoms.
    """
    known = movie.calibration
    given = (known.dose_rate_e_per_nm2_s, known.frame_time_s, known.pixel_size_nm)
    if material.partition(":")[0] not in MATERIALS or None in given:
        return None
    settings = Settings(2, movie.shape[1:]).with_values(
        material=material_named(material),
        dose_rate_e_per_nm2_s=known.dose_rate_e_per_nm2_s,
        frame_time_s=known.frame_time_s,
        pixel_size_nm=known.pixel_size_nm,
        contamination=0.0,
    )
    try:
        check_sampling(settings)
    except ValueError:
        return None
    return ideal_depth(settings)


def missed_share(depth: float, false_positives: float, n_sites: int) -> float:
    """Return the share of defects that stay below the threshold of so many false positives.

    Parameters
    ----------
    depth
        By how many standard deviations such a defect stands out on average.
    false_positives
        How many of the sites without a defect exceed the threshold in a frame.
    n_sites
        Sites of a frame.
    """
    from scipy.special import ndtr

    return float(ndtr(site_threshold(false_positives, n_sites) - depth))


def _honeycomb_of(
    movies: Sequence[Movie], store: Store, crystals: Mapping[str, CrystalSummary]
) -> tuple[Movie, Reference] | None:
    """Return the first movie whose crystal is a honeycomb, and the crystal."""
    for movie in islice(movies, LOOKED_AT):
        crystal = read_crystal(store, movie.name, crystals[movie.name].content)
        if crystal is not None and crystal.cell is not None and crystal.cell.is_honeycomb:
            return movie, crystal
    return None


def _sentence(
    columns: str, depth: float, missed: float, false_positives: float, ideal: float | None
) -> str:
    """Say how clearly missing atoms of one kind of columns stand out, and how many are missed."""
    share = "hardly any is"
    if missed > 0.2:
        share = f"{100 * missed:.0f} % are"
    elif missed > 1e-4:
        share = f"one in {math.floor(1 / missed):,} is"
    beside = ""
    if ideal is not None:
        beside = f" ({ideal:.1f} for who knew crystal, probe and scan, at this dose without haze)"
    return (
        f"A dark defect on the {columns} columns stands {depth:.1f} standard deviations over the "
        f"noise{beside}; {share} missed in a frame that may show {false_positives:g} false ones"
    )

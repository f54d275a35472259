"""What is seen around the detections of one frame: in the frame of its lattice, or without one.

Around each detection: the amplitudes of the lattice's sites (`amplitudes`), a patch of the
remainder, and on request a patch of the frame and where the atoms stand (`neighbours`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stemkin.kernels.classes.amplitudes import (
    FILTER_SD,
    MIN_SHARE,
    DescriptorScale,
    descriptor_scale,
    fold,
    site_amplitudes,
    site_offsets,
)
from stemkin.kernels.classes.neighbours import (
    PLACE_KINDS,
    atoms_around,
    contrast,
    fall,
    slopes_at,
    smooth_variance,
)
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.crystal.patches import axes_of, centre_sites, crops, patches
from stemkin.kernels.images.local_means import gaussian_means

CHANGED = 0.25
"""Size of the amplitude of a site from which on another atom, or none, stands there."""

COMPARABLE = 0.6
"""Height of the dimmer columns over that of the brighter ones from which on a dopant may as well be
on a dimmer one: graphene, MoSe2."""

STEEP_SITES = 64
"""Sites beside which it is measured how steeply columns fall."""

BRIGHT = 3.0
"""A column that is brighter by so many standard deviations of its amplitude is not a dark one."""

_PER_DETECTION = ("physical", "patches", "pictures", "orientation", "satellite", "atoms")


Beside = Callable[[Lattice, np.ndarray | None, np.ndarray, np.ndarray], np.ndarray]
"""From a crystal, its mask, the (m, 3, 2) places of the columns bonded to sites and the (m,) kinds
of these to (m, 3) signals of the columns, over the noise of an amplitude."""


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen around the detections of one frame.

    Attributes
    ----------
    has_lattice
        Whether the frame has one.
    physical
        (m, 9) physical descriptors (`SITE_NAMES`), or (m, 0) without a lattice.
    patches
        (m, p, p) float32 of the remainder: canonical, or raw crops without a lattice.
    pictures
        Like `patches`, of the frame itself, its background at 0 and its metal columns at 1; empty
        unless asked for.
    orientation
        (m,) int8, -1 without a lattice.
    satellite
        (m,) whether a detection on a chalcogen site belongs to a defect that was detected on the
        metal site beside it.
    atoms
        (m, 10, 3) float32 where the atoms around stand (`neighbours.atoms_around`); empty unless
        asked for, or without a lattice.
    scale
        The unit of amplitude and its noise; None without a lattice.
    """

    has_lattice: bool
    physical: np.ndarray
    patches: np.ndarray
    pictures: np.ndarray
    orientation: np.ndarray
    satellite: np.ndarray
    atoms: np.ndarray
    scale: DescriptorScale | None

    def only(self, kept: np.ndarray) -> Look:
        """Return the look without the detections where `kept` (m,) is False."""
        # arrays that were not asked for may be empty: they have no row to leave out
        filled = [name for name in _PER_DETECTION if len(getattr(self, name))]
        return replace(self, **{name: getattr(self, name)[kept] for name in filled})


def look_at(
    frame: np.ndarray,
    rest: np.ndarray,
    lattice: Lattice | None,
    points: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    pictures: bool = False,
    neighbours: bool = False,
    beside: Beside | None = None,
    itself: np.ndarray | None = None,
) -> Look:
    """Look at the neighbourhoods of `points` in one frame.

    Parameters
    ----------
    frame
        (y, x) intensities.
    rest
        (y, x) the frame without its crystal (or background), same units.
    lattice
        Of the frame, or None.
    points
        (m, 2) positions (y, x) [px].
    mask
        (y, x) of the pixels that belong to `lattice`; all unless given.
    pictures, neighbours
        Whether to fill `Look.pictures` and `Look.atoms`.
    beside
        Judges the three columns bonded to each site; their amplitudes unless given, or where it
        returns NaN.
    itself
        (3, m) how dark each of `points` is, over the noise of an amplitude, if it is a METAL,
        CHALCOGEN or HOLLOW site; NaN, or None for all, where its amplitude says that.

    Returns
    -------
    What was seen around each of `points`, in their order.
    """
    frame, rest = np.asarray(frame, dtype=np.float32), np.asarray(rest, dtype=np.float32)
    scale = None
    if lattice is not None and lattice.is_honeycomb:
        scale = descriptor_scale(frame, rest, lattice, mask=mask)
    if lattice is None or scale is None:
        return _raw_look(frame, rest, points, pictures=pictures)
    centres, kinds = centre_sites(lattice, points)
    axes, sd_px = axes_of(lattice), FILTER_SD * lattice.spacing_px
    # (m, 13, 2) places of each neighbourhood [px]: canonical steps, turned and stretched by `axes`
    around = centres[:, None, :] + site_offsets(kinds) @ axes.T
    if neighbours:
        seen = slopes_at(rest, around, lattice, sd_px=sd_px, min_share=MIN_SHARE)
    else:
        seen = gaussian_means(rest, around, sd_px, min_share=MIN_SHARE)[None]
    amplitudes = site_amplitudes(seen[0], kinds, scale)
    if beside is not None:
        told = beside(lattice, mask, around[:, 1:4], kinds) * scale.noise[PLACE_KINDS[kinds, 1:4]]
        amplitudes[:, 1:4] = np.where(np.isfinite(told), told, amplitudes[:, 1:4])
    folded, orientation = fold(amplitudes)
    physical = np.concatenate([kinds[:, None], folded], axis=1).astype(np.float32)
    twice = satellites(centres, physical, lattice, dimmer=scale.chalcogen)
    if itself is not None:
        physical[:, 1] = _own_amplitudes(folded[:, 0], itself, kinds, scale.noise)
    atoms = np.empty((len(points), 0), np.float32)
    if neighbours:
        steep = scale.metal[:: max(1, len(scale.metal) // STEEP_SITES)]
        steepness = fall(frame, steep, lattice, sd_px=sd_px) / scale.contrast
        variance = float(smooth_variance(steepness, chalcogen=scale.chalcogen))
        height = scale.contrast / float(contrast(variance))
        atoms = atoms_around(
            seen, kinds, orientation, variance=variance, height=height, chalcogen=scale.chalcogen
        )
    drawn = np.empty((len(points), 0))
    if pictures:
        drawn = patches(
            (frame - scale.level) / np.float32(scale.height), centres, axes, orientation
        )
    shapes = patches(rest / np.float32(scale.height), centres, axes, orientation)
    return Look(
        True,
        physical,
        shapes,
        drawn,
        orientation,
        twice,
        atoms,
        scale,
    )


def _own_amplitudes(
    amplitude: np.ndarray, itself: np.ndarray, kinds: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Return the amplitudes (m,) of sites: as they are judged, but for those that are bright."""
    unit = noise[kinds]
    told = -itself[kinds, np.arange(len(kinds))] * unit
    known = np.isfinite(told) & (amplitude < BRIGHT * unit)
    return np.where(known, told, amplitude)


def _raw_look(frame: np.ndarray, rest: np.ndarray, points: np.ndarray, *, pictures: bool) -> Look:
    """Look at raw crops around `points` (m, 2) [px] of a frame without lattice, over its noise."""
    unit = float(np.median(np.abs(rest))) / 0.6745 or 1.0
    level = float(np.median(frame))
    none = np.empty((len(points), 0), np.float32)
    seen = none
    if pictures:
        seen = crops((frame - level) / unit, points)
    return Look(
        has_lattice=False,
        physical=none,
        patches=crops(rest / unit, points),
        pictures=seen,
        orientation=np.full(len(points), -1, np.int8),
        satellite=np.zeros(len(points), bool),
        atoms=none,
        scale=None,
    )


def satellites(
    centres: np.ndarray, physical: np.ndarray, lattice: Lattice, *, dimmer: float
) -> np.ndarray:
    """Tell which detections are seen twice: beside a column that changed more, and was detected.

    The amplitudes around that column say it all (``near_0``, and the orientation which column), so
    the other one is not a defect of its own.

    Parameters
    ----------
    centres
        (m, 2) sites [px].
    physical
        (m, 9) physical descriptors.
    lattice
        Of the frame.
    dimmer
        Height of the dimmer columns over that of the brighter ones: only where they are
        `COMPARABLE` is a detection on a brighter column taken for part of one on a dimmer one.

    Returns
    -------
    (m,) True for those that are part of another one.
    """
    found = np.zeros(len(centres), bool)
    kinds, change = physical[:, 0], np.abs(physical[:, 1])
    pairs = [(METAL, CHALCOGEN)]
    if dimmer >= COMPARABLE:
        pairs.append((CHALCOGEN, METAL))
    for host, guest in pairs:
        here = np.flatnonzero(kinds == guest)
        there = np.flatnonzero((kinds == host) & (change > CHANGED))
        if not (len(here) and len(there)):
            continue
        steps = centres[here][:, None] - centres[there][None]
        apart = np.linalg.norm(steps, axis=2) / lattice.spacing_px
        # neighbouring columns stand at a/sqrt(3); a detection is satellite of any that changed more
        beside = np.abs(apart - 1 / np.sqrt(3)) < 0.12
        found[here] = (beside & (change[here][:, None] < change[there][None])).any(axis=1)
    return found


def look_at_pieces(
    frame: np.ndarray,
    rest: np.ndarray,
    pieces: list[tuple[Lattice, np.ndarray | None]],
    points: np.ndarray,
    *,
    pictures: bool = False,
    neighbours: bool = False,
    beside: Beside | None = None,
    itself: np.ndarray | None = None,
) -> Look:
    """Look at the neighbourhoods of `points` in a broken crystal, each in its own piece's lattice.

    Parameters
    ----------
    frame, rest, points, pictures, neighbours, beside, itself
        As for `look_at`.
    pieces
        Lattices with the masks (y, x) of their pixels, the largest first; points in none belong to
        the first.

    Returns
    -------
    What was seen around each of `points`, in their order; `Look.scale` is that of the first piece.
    """
    pixel = np.clip(np.round(points).astype(int), 0, np.array(frame.shape) - 1)
    owner = np.zeros(len(points), int)
    for i, (_, mask) in enumerate(pieces[1:], 1):
        if mask is not None:
            owner[mask[pixel[:, 0], pixel[:, 1]]] = i
    looks = [
        look_at(
            frame,
            rest,
            lattice,
            points[owner == i],
            mask=mask,
            pictures=pictures,
            neighbours=neighbours,
            beside=beside,
            itself=None if itself is None else itself[:, owner == i],
        )
        for i, (lattice, mask) in enumerate(pieces)
    ]
    # a piece too small to tell its own unit: then all are looked at in the first lattice
    if len({look.has_lattice for look in looks}) > 1:
        return look_at(
            frame,
            rest,
            pieces[0][0],
            points,
            mask=pieces[0][1],
            pictures=pictures,
            neighbours=neighbours,
            beside=beside,
            itself=itself,
        )
    # the looks stand piece by piece; a stable sort by owner gives that order, and its own argsort
    # leads back to the order of the points
    back = np.argsort(np.argsort(owner, kind="stable"), kind="stable")
    joined = {
        name: np.concatenate([getattr(look, name) for look in looks])[back]
        for name in _PER_DETECTION
    }
    return Look(looks[0].has_lattice, scale=looks[0].scale, **joined)

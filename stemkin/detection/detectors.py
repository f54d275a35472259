"""What finds defects in a block of frames.

A detector is any callable ``(frames (n, y, x), *, first_frame=0) -> records of tables.DETECTION``,
ordered by frame, y, x; a function will do. Records of `tables.LOCATED` also tell how well each
defect is located and whether the edge cuts it. One that also has ``survey`` gives its by-products
(lattice, remainder) to the stages that follow, so that nothing is computed twice.

>>> import numpy as np
>>> from stemkin import tables
>>> def brightest_pixel(frames, *, first_frame=0):
...     rows = np.empty(len(frames), tables.DETECTION)
...     for i, frame in enumerate(frames):
...         rows[i] = (first_frame + i, *np.unravel_index(frame.argmax(), frame.shape), frame.max())
...     return rows
>>> isinstance(brightest_pixel, Detector)
True
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection.survey import ByProducts, Survey, crystals_of
from stemkin.devices import Device, keep_freed_memory, namespace, to_device
from stemkin.kernels.crystal import residual, verdicts
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.detection import (
    defects,
    observer_learning,
    placing,
    relaxation,
    site_scatter,
    vacancies,
)
from stemkin.kernels.detection.false_positives import weak_dark_sites
from stemkin.kernels.detection.observer import Observer, observed, patches_at
from stemkin.kernels.detection.sites import SeenSites, Sites, strong_sites
from stemkin.kernels.images.contrast import in_own_contrast

MOST_SITES = 40_000
"""Patches around so many sites are enough to learn from: 56 MB of them."""

EDGE = 0.65
"""Over the lattice constant: a defect closer than this to the frame's edge loses part of its
image."""


@runtime_checkable
class Detector(Protocol):
    """Finds defects in a block of frames."""

    def __call__(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        """Return the records of the defects in `frames` (n, y, x), ordered by frame, y, x."""
        ...


@dataclass(frozen=True)
class FourierDetector:
    """Finds what the perfect crystal does not explain; needs no training.

    Attributes
    ----------
    false_positives_per_frame
        How many detections a frame without any defect gives on average; sets the threshold unless
        `snr` does.
    snr
        Smallest |signal-to-noise| of a detection, or None to follow from
        `false_positives_per_frame`.
    feature_px
        Standard deviation [px] of the features sought where there is no lattice to tell the scale.
    relaxation
        How much the neighbours of a vacancy tell over what its own site does
        (`kernels.relaxation`); 0 to look at sites alone, None to measure it on each frame that
        shows enough vacancies. `tuned` measures it on many frames, which helps where one shows too
        few.
    off_site
        How far defects on the lattice lie from their sites, as a standard deviation over the
        lattice constant, before the frame is asked. Positions are averages of where a defect is
        seen and of its site, weighted accordingly; infinity leaves them as seen.
    device
        Where to compute; the worker decides when ``"auto"``.
    observer
        What vacancies and their surroundings look like in this movie, learned from some of its
        frames (`learned_from`, `learning.learn`); it takes the place of `relaxation`. None for
        nothing learned.
    reference
        The crystal that the frames of the movie share (`stemkin.references`), which each frame is
        compared with; None to look at every frame alone. `detect` says it for every movie.
    scatter
        How defects lie about their sites in this movie, learned like the observer, in place of what
        each frame tells with `off_site`. None for nothing learned.
    tails
        By how much larger seldom signals of clean metal and chalcogen sites are in this movie than
        those of normal noise, learned where the observer does not know: thresholds are so much
        higher.
    weak_dark
        Whether metal and chalcogen sites of this movie were seen to hold weak dark defects: which of
        them most of the false positives are left to. Where selenium outshines the metal (MoSe2),
        the brighter columns, called the metal's here, lose atoms.
    """

    false_positives_per_frame: float = 1.0
    snr: float | None = None
    feature_px: float = 2.0
    relaxation: float | None = None
    off_site: float = 0.02
    device: Device = "auto"
    observer: Observer | None = field(default=None, repr=False)
    reference: Reference | None = field(default=None, repr=False, compare=False)
    scatter: site_scatter.SiteScatter | None = None
    tails: tuple[float, float] = (1.0, 1.0)
    weak_dark: tuple[bool, bool] = (False, True)

    def __post_init__(self) -> None:
        """Check the settings."""
        cures = {
            "false_positives_per_frame": "1 is a usual choice",
            "feature_px": "it is the standard deviation of the features in pixels",
            "off_site": "0.02 is a usual choice, float('inf') takes positions as seen",
            "snr": "leave it None to follow from false_positives_per_frame",
        }
        for name, cure in cures.items():
            value = getattr(self, name)
            unset = name == "snr" and value is None
            if not (unset or value > 0):
                msg = f"{name} must be positive, not {value}; {cure}"
                raise ValueError(msg)

    def __call__(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        """Return the records of the defects in `frames` (n, y, x), ordered by frame, y, x."""
        return self.survey(frames, first_frame=first_frame).records

    @one_thread
    def survey(
        self, frames: np.ndarray, *, first_frame: int = 0, with_sites: bool = False
    ) -> Survey:
        """Search `frames` (n, y, x) one by one, and keep the by-products. Frames must be finite.

        The signals of all sites are kept `with_sites` only: ten bytes for each.
        """
        keep_freed_memory()
        records, kept = [np.empty(0, tables.LOCATED)], ByProducts(frames.shape)
        for i, frame in enumerate(frames):
            rest, seen, expected = self.remainder(frame), None, np.nan
            if rest.status == tables.OK:
                judged = self.judged_sites(rest)
                rows, expected = self._records(rest, first_frame + i, judged)
                records.append(rows)
                if with_sites:
                    seen = seen_sites(rest, judged)
            kept.keep(rest, seen, expected_false=expected)
        return kept.survey(np.concatenate(records), first_frame=first_frame)

    def judged_sites(self, rest: residual.Remainder) -> list[Sites]:
        """Return the sites of each crystal of a frame, judged as `survey` does; none without one."""
        return [
            vacancies.sites_with_neighbours(
                rest.snr,
                lattice,
                mask,
                self.relaxation,
                rest.skew,
                observer=self.observer,
                noise_units=rest.noise_units,
            )
            for lattice, mask in crystals_of(rest)
        ]

    @one_thread
    def tuned(self, frames: np.ndarray) -> FourierDetector:
        """Return this detector with `relaxation` measured on `frames` (n, y, x).

        It is for doses at which one frame cannot tell. Vacancies that are fairly clear by
        themselves are pooled over the frames, less what noise alone gives. Some twenty frames are
        enough; without a significant result `relaxation` is 0.
        """
        signals, breaths = [np.zeros(0)], [np.zeros(0)]
        for frame in frames:
            rest = self.remainder(frame)
            for lattice, mask in crystals_of(rest):
                signal, breath = vacancies.vacancy_signals(rest.snr, lattice, mask, rest.skew)
                signals.append(signal)
                breaths.append(breath)
        measured = relaxation.ratio(np.concatenate(signals), np.concatenate(breaths))
        return replace(self, relaxation=measured)

    @one_thread
    def learned_from(self, frames: Iterable[np.ndarray]) -> FourierDetector:
        """Return this detector with an `observer` learned from `frames`, each (y, x).

        Patches around the sites of all frames are pooled, at most `MOST_SITES` of them. Without a
        significant result on either sublattice, or where the sites of these frames show their dark
        defects more clearly without an observer, there is none. How defects lie about their sites
        is learned from the same frames.
        """
        patches, dopants, pieces = self._patches_of_sites(frames)
        if not pieces:
            return self
        sd = float(
            np.median([rest.filter_sd_px / lattice.spacing_px for rest, lattice, _ in pieces])
        )
        learned = observer_learning.learned_observer(patches, dopants, sd)
        seen, unseen = _clean_signals(pieces, learned)
        plain_tails = observer_learning.tails_of(unseen, len(pieces))
        weak_dark = weak_dark_sites(unseen)
        plain = replace(self, observer=None, tails=tuple(plain_tails.tolist()), weak_dark=weak_dark)
        if learned is None:
            return plain._scattered(pieces)
        # where nothing was learned the signals are those of the matched filter, and stay
        is_known = ~np.isnan(learned.depths)
        tails = np.where(is_known, observer_learning.tails_of(seen, len(pieces)), 1.0)
        seen = [own / tail for own, tail in zip(seen, tails, strict=True)]
        # at a low dose a wrong look may have been learned: the movie's own sites tell
        if not observer_learning.tells_enough(seen, unseen, is_known):
            return plain._scattered(pieces)
        left = np.where(is_known, 1.0, plain_tails)
        knowing = replace(plain, observer=replace(learned, tails=tails), tails=tuple(left.tolist()))
        return knowing._scattered(pieces)

    def _scattered(self, pieces: list[_Judged]) -> FourierDetector:
        """Return this detector with how defects lie about the sites of some frames."""
        scans, seen = [], []
        for rest in {id(rest): rest for rest, _, _ in pieces}.values():
            found = self._seen_on_lattices(rest, self.judged_sites(rest))
            y, x = residual.without_jitter(found.y, found.x, rest.jitter, sd_px=rest.filter_sd_px)
            spacing_px = rest.grains[0].lattice.spacing_px
            seen.append(placing.away_from_sites(found, y, x, spacing_px))
            scans.append((rest.grains[0].lattice.scan, spacing_px))
        return replace(
            self, scatter=site_scatter.pooled_scatter(seen, scans, off_site=self.off_site)
        )

    def _patches_of_sites(
        self, frames: Iterable[np.ndarray]
    ) -> tuple[list[np.ndarray], np.ndarray, list[_Judged]]:
        """Return the patches of METAL and of CHALCOGEN sites, those of dopants, and the crystals."""
        pools: list[list[np.ndarray]] = [[], []]
        dopants: list[np.ndarray] = []
        pieces: list[_Judged] = []
        for frame in frames:
            rest = self.remainder(frame)
            for lattice, mask in crystals_of(rest):
                if not lattice.is_honeycomb:
                    continue
                strong = strong_sites(rest.snr, lattice, mask, METAL)
                for pool, which in zip(pools, (METAL, CHALCOGEN), strict=True):
                    seen = observer_learning.patches_of(
                        rest.noise_units, lattice, mask, which, strong
                    )
                    pool.append(seen)
                dopants.append(patches_at(rest.noise_units, strong, lattice, mask)[0])
                pieces.append((rest, lattice, mask))
            if sum(len(seen) for pool in pools for seen in pool) > MOST_SITES:
                break
        if not pieces:
            return [], np.empty(0), []
        return [np.concatenate(pool) for pool in pools], np.concatenate(dopants), pieces

    @one_thread
    def remainder(self, frame: np.ndarray) -> residual.Remainder:
        """Return one frame (y, x) without its crystal, or else without its background."""
        scaled, scale = in_own_contrast(frame)
        image = to_device(scaled, self.device)
        if self.reference is not None:
            image = image - namespace(image).mean(image)
            seen = verdicts.judged(image, self.reference, contrast=scale)
            if seen.crystal is None or seen.status != tables.OK:
                return residual.unsearched(image, seen.status, filter_sd_px=self.feature_px)
            rest = residual.remove_crystal(image, found=seen.crystal)
        else:
            rest = residual.remove_crystal(image)
        if rest is None:
            rest = residual.remove_background(image, filter_sd_px=self.feature_px)
        return replace(rest, rest=rest.rest * scale)

    def _records(
        self, rest: residual.Remainder, frame: int, judged: list[Sites]
    ) -> tuple[np.ndarray, float]:
        """Return the records of the defects in a frame, and how many are expected to be false."""
        if rest.grains:
            y, x, score, error, edge_px, expected_false = self._on_lattices(rest, judged)
        else:
            y, x, score, error, edge_px, expected_false = self._anywhere(rest)
        rows = np.zeros(len(y), tables.LOCATED)
        rows["frame"], rows["y"], rows["x"] = frame, y, x
        rows["score"], rows["position_error"] = np.abs(score), error
        height, width = (int(n) for n in rest.snr.shape)
        rows["at_edge"] = tables.is_at_edge(y, x, (height, width), edge_px)
        return np.sort(rows, order=["frame", "y", "x"]), expected_false

    def _on_lattices(self, rest: residual.Remainder, judged: list[Sites]) -> _Places:
        """Find defects in a frame with a lattice, and draw them towards their sites."""
        found = self._seen_on_lattices(rest, judged)
        spacing_px = rest.grains[0].lattice.spacing_px
        y, x = residual.without_jitter(found.y, found.x, rest.jitter, sd_px=rest.filter_sd_px)
        y, x, error = placing.towards_sites(
            found,
            y,
            x,
            spacing_px=spacing_px,
            off_site=self.off_site,
            site_error_px=rest.site_error_px,
            known=self.scatter,
        )
        return y, x, found.score, error, EDGE * spacing_px, found.expected_false

    def _seen_on_lattices(
        self, rest: residual.Remainder, judged: list[Sites]
    ) -> placing.PlacedDefects:
        """Find defects in a frame with a lattice, where they are seen."""
        return defects.on_lattices(
            rest.snr,
            crystals_of(rest),
            false_positives=self.false_positives_per_frame,
            threshold=self.snr,
            relaxation=self.relaxation,
            skew=rest.skew,
            filter_sd_px=rest.filter_sd_px,
            observer=self.observer,
            noise_units=rest.noise_units,
            heights=rest.heights,
            jitter=rest.jitter,
            read=judged,
            heavier=self.tails,
            weak_dark=self.weak_dark,
        )

    def _anywhere(self, rest: residual.Remainder) -> _Places:
        """Find defects in a frame without a lattice."""
        y, x, score = defects.anywhere(
            rest.snr,
            rest.filter_sd_px,
            false_positives=self.false_positives_per_frame,
            threshold=self.snr,
        )
        error = placing.seen_error(score, rest.filter_sd_px)
        return y, x, score, error, 3 * rest.filter_sd_px, np.nan


def seen_sites(rest: residual.Remainder, judged: list[Sites]) -> SeenSites | None:
    """Return what a frame shows of the sites of its largest crystal; None where that is no honeycomb.

    Parameters
    ----------
    rest
        The frame without its crystal.
    judged
        The sites of its crystals, the largest first, as `FourierDetector.judged_sites` gives them.
    """
    crystals = crystals_of(rest)
    if not crystals or not crystals[0][0].is_honeycomb:
        return None
    pixels = [0.0 if mask is None else float(mask.sum()) for _, mask in crystals[:2]]
    other_share = 0.0
    if len(pixels) == 2 and pixels[0] > 0:
        other_share = pixels[1] / pixels[0]
    return SeenSites.of(judged[0], crystals[0][0], other_share)


_Judged = tuple[residual.Remainder, Lattice, np.ndarray | None]
"""A frame without its crystal, and one of its crystals with its mask."""


def _clean_signals(
    pieces: list[_Judged], observer: Observer | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the signals of METAL and of CHALCOGEN sites that are not beside strong defects.

    First as an observer sees them (as they are if there is none), then as they are without: each
    frame then tells how much the neighbours of a vacancy say.
    """
    seen: list[list[np.ndarray]] = [[], []]
    unseen: list[list[np.ndarray]] = [[], []]
    for rest, lattice, mask in pieces:
        places, numbers, breath = vacancies.dark_sites(rest.snr, lattice, mask, rest.skew)
        plain = vacancies.with_breathing(places, numbers, breath, None)
        told = plain
        if observer is not None:
            told = observed(places, rest.noise_units, lattice, mask, observer, rest.skew)
        for which in (METAL, CHALCOGEN):
            own = (places.sublattice == which) & ~places.beside_strong
            seen[which].append(told.signal[own])
            unseen[which].append(plain.signal[own])
    return [np.concatenate(own) for own in seen], [np.concatenate(own) for own in unseen]


_Places = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, float]
"""y, x [px], signed signal-to-noise and error [px] of defects (m,), how far the edge reaches [px],
and how many of them are expected to be false."""

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

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.devices import Device, keep_freed_memory, to_device, to_host
from stemkin.kernels.crystal import residual
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.detection import defects, placing, relaxation

OUTLIER = 20.0
"""Pixels this many times the frame's contrast away from its middle hold no atom."""

EDGE = 0.65
"""Over the lattice constant: a defect closer than this to the frame's edge loses part of its
image."""

logger = logging.getLogger(__name__)


@runtime_checkable
class Detector(Protocol):
    """Finds defects in a block of frames."""

    def __call__(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        """Return the records (`tables.DETECTION`) of the defects in `frames` (n, y, x), ordered by
        frame, y, x."""
        ...


@dataclass(frozen=True, eq=False)
class Survey:
    """What a detector knows of a block of frames once it has searched them.

    Attributes
    ----------
    records
        (m,) records of `tables.DETECTION` or `tables.LOCATED`, ordered by frame, y, x.
    lattices
        One per frame; None where no lattice was found.
    residuals
        (n, y, x) float32: what is left of each frame without its crystal, in units of its own
        noise.
    extra
        Further by-products by name, one entry per frame; ``"rest"`` is the residual in the frame's
        own units, ``"crystals"`` lists the pieces of crystal, each a lattice and the mask (y, x) of
        its pixels (None for all).
    """

    records: np.ndarray
    lattices: list[Lattice | None]
    residuals: np.ndarray
    extra: Mapping[str, Any] = field(default_factory=dict)


class ByProducts:
    """What is kept of a block's frames, one after another, once they are searched; becomes a
    `Survey`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Make room for frames of `shape` (n, y, x)."""
        self._residuals, self._rests = np.zeros((2, *shape), dtype=np.float32)
        self._lattices: list[Lattice | None] = []
        self._crystals: list[list[tuple[Lattice, np.ndarray | None]]] = []
        self._areas = np.full((shape[0], 3), np.nan, dtype=np.float32)

    def keep(self, rest: residual.Remainder) -> None:
        """Keep what belongs to the next frame."""
        i = len(self._lattices)
        self._lattices.append(rest.lattice)
        self._crystals.append(_crystals(rest))
        self._residuals[i], self._rests[i], self._areas[i] = (
            to_host(rest.noise_units),
            to_host(rest.rest),
            rest.areas,
        )

    @one_thread
    def survey(self, records: np.ndarray, *, first_frame: int) -> Survey:
        """Return the survey with the `records` found; frames without a lattice are said once."""
        n_without = sum(lattice is None for lattice in self._lattices)
        if n_without:
            logger.info(
                "no lattice in %d of %d frames from frame %d on: blobs above the local background "
                "are sought there instead",
                n_without, len(self._lattices), first_frame,
            )  # fmt: skip
        areas = dict(zip(("ordered", "disordered", "vacuum"), self._areas.T, strict=True))
        extra = {"rest": self._rests, "crystals": self._crystals, **areas}
        return Survey(records, self._lattices, self._residuals, extra)


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
    """

    false_positives_per_frame: float = 1.0
    snr: float | None = None
    feature_px: float = 2.0
    relaxation: float | None = None
    off_site: float = 0.02
    device: Device = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.false_positives_per_frame > 0:
            msg = (
                "false_positives_per_frame must be positive, not "
                f"{self.false_positives_per_frame}; 1 is a usual choice"
            )
            raise ValueError(msg)
        if not self.feature_px > 0:
            msg = (
                f"feature_px must be positive, not {self.feature_px}; it is the standard deviation "
                "of the features in pixels"
            )
            raise ValueError(msg)
        if not self.off_site > 0:
            msg = (
                f"off_site must be positive, not {self.off_site}; 0.02 is a usual choice, "
                "float('inf') takes positions as seen"
            )
            raise ValueError(msg)
        if self.snr is not None and not self.snr > 0:
            msg = (
                f"snr must be positive, not {self.snr}; leave it None to follow from "
                "false_positives_per_frame"
            )
            raise ValueError(msg)

    def __call__(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        """Return the records of the defects in `frames` (n, y, x), ordered by frame, y, x."""
        return self.survey(frames, first_frame=first_frame).records

    @one_thread
    def survey(self, frames: np.ndarray, *, first_frame: int = 0) -> Survey:
        """Search `frames` (n, y, x) one by one, and keep the by-products. Frames must be finite."""
        keep_freed_memory()
        records, kept = [np.empty(0, tables.LOCATED)], ByProducts(frames.shape)
        for i, frame in enumerate(frames):
            rest = self.remainder(frame)
            records.append(self._records(rest, first_frame + i))
            kept.keep(rest)
        return kept.survey(np.concatenate(records), first_frame=first_frame)

    @one_thread
    def tuned(self, frames: np.ndarray) -> FourierDetector:
        """Return this detector with `relaxation` measured on `frames` (n, y, x): for doses at which
        one frame cannot tell.

        Vacancies that are fairly clear by themselves are pooled over the frames, less what noise
        alone gives. Some twenty frames are enough; without a significant result `relaxation` is 0.
        """
        signals, breaths = [np.zeros(0)], [np.zeros(0)]
        for frame in frames:
            rest = self.remainder(frame)
            for lattice, mask in _crystals(rest):
                signal, breath = defects.vacancy_signals(rest.snr, lattice, mask, rest.skew)
                signals.append(signal)
                breaths.append(breath)
        return replace(
            self, relaxation=relaxation.ratio(np.concatenate(signals), np.concatenate(breaths))
        )

    @one_thread
    def remainder(self, frame: np.ndarray) -> residual.Remainder:
        """Return one frame (y, x) without its crystal, or without its background where there is no
        crystal."""
        scaled, scale = _in_own_contrast(frame)
        image = to_device(scaled, self.device)
        rest = residual.remove_crystal(image)
        rest = (
            residual.remove_background(image, filter_sd_px=self.feature_px)
            if rest is None
            else rest
        )
        return replace(rest, rest=rest.rest * scale)

    def _records(self, rest: residual.Remainder, frame: int) -> np.ndarray:
        asked, threshold = self.false_positives_per_frame, self.snr
        if rest.grains:
            found = defects.on_lattices(
                rest.snr, _crystals(rest), false_positives=asked, threshold=threshold, relaxation=self.relaxation,
                skew=rest.skew, filter_sd_px=rest.filter_sd_px,
            )  # fmt: skip
            y, x = residual.without_jitter(found.y, found.x, rest.jitter, sd_px=rest.filter_sd_px)
            spread_px = self.off_site * rest.grains[0].lattice.spacing_px
            y, x, error = placing.towards_sites(
                found,
                y,
                x,
                filter_sd_px=rest.filter_sd_px,
                spread_px=spread_px,
                site_error_px=rest.site_error_px,
            )
            score = found.score
            edge_px = EDGE * rest.grains[0].lattice.spacing_px
        else:
            y, x, score = defects.anywhere(
                rest.snr, rest.filter_sd_px, false_positives=asked, threshold=threshold
            )
            error, edge_px = placing.seen_error(score, rest.filter_sd_px), 3 * rest.filter_sd_px
        rows = np.zeros(len(y), tables.LOCATED)
        rows["frame"], rows["y"], rows["x"], rows["score"], rows["position_error"] = (
            frame,
            y,
            x,
            np.abs(score),
            error,
        )
        height, width = (int(n) for n in rest.snr.shape)
        rows["at_edge"] = tables.is_at_edge(y, x, (height, width), edge_px)
        return np.sort(rows, order=["frame", "y", "x"])


def _in_own_contrast(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a frame (y, x) as float32 in units of its own contrast, and that unit; its zero is the
    middle of it.

    So currents in ampere and counts in millions have squares that float32 can hold. What is
    `OUTLIER` contrasts away is no
    column of atoms but a hot pixel or a cosmic ray, and is cut off: it would outshine the whole
    lattice.
    """
    some = np.asarray(
        frame[:: max(1, frame.shape[0] // 64), :: max(1, frame.shape[1] // 64)], dtype=float
    )
    low, high = np.percentile(some, [2, 98]) if some.size else (0.0, 0.0)
    scale = float(high - low) or float(np.std(frame, dtype=float)) or 1.0
    scaled = frame.astype(np.float32 if frame.dtype.itemsize <= 2 else np.float64)
    np.subtract(scaled, (low + high) / 2, out=scaled)
    np.multiply(scaled, 1 / scale, out=scaled)
    return np.clip(scaled, -OUTLIER, OUTLIER, out=scaled).astype(np.float32, copy=False), scale


def _crystals(rest: residual.Remainder) -> list[tuple[Lattice, np.ndarray | None]]:
    return [(g.lattice, None if g.mask is None else to_host(g.mask) > 0) for g in rest.grains or ()]

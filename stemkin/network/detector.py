"""`NetworkDetector`: a trained net as a detector (`stemkin.detection.detectors`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any

import numpy as np

from stemkin import tables
from stemkin.detection.detectors import EDGE, FourierDetector
from stemkin.detection.survey import ByProducts, Survey
from stemkin.devices import Device, keep_freed_memory, to_host
from stemkin.extras import needed
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, nearest_site
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.crystal.residual import Remainder, without_jitter
from stemkin.kernels.detection import placing, site_scatter
from stemkin.kernels.detection.defects import REACH
from stemkin.network import decoding
from stemkin.network.localnorm import evened
from stemkin.network.weights import Weights

logger = logging.getLogger(__name__)

SAME_SCALE = 0.06
"""Lattice constants that differ by less, relatively, are those that the net was trained for."""

SCALES = (0.4, 2.5)
"""Smallest and largest factor by which a frame is resampled to the net's scale."""


@dataclass(frozen=True)
class NetworkDetector:
    """Finds defects with a net that was learned from the movie itself.

    `network` tells how it learns.

    The net is local: it looks at some two lattice constants around each place, so it goes on
    working where holes open and fragments turn. The lattice of a frame, where there is one, brings
    the frame to the scale that the net knows, and tells how exactly a defect is placed.

    Attributes
    ----------
    weights
        The trained net.
    false_positives_per_frame
        How many detections a frame without any defect gives on average; sets the threshold unless
        `snr` does.
    snr
        Smallest signal-to-noise of a detection, or None to follow from `false_positives_per_frame`.
    off_site
        As in `FourierDetector`.
    device
        Where to compute; the worker decides when ``"auto"``.
    reference
        The crystal that the frames of the movie share; as in `FourierDetector`.

    Notes
    -----
    The paper's net (``weights.kind == "paper"``) has no calibrated score: it lists what its softmax
    gives more than 0.95 in 5 to 700 connected pixels, whatever `false_positives_per_frame` and
    `snr` say, and its score is the largest logit there.
    """

    weights: Weights
    false_positives_per_frame: float = 1.0
    snr: float | None = None
    off_site: float = 0.02
    device: Device = "auto"
    reference: Reference | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        self._fourier  # noqa: B018 - the Fourier detector checks the settings

    def __call__(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        """Return the records of the defects in `frames` (n, y, x), ordered by frame, y, x."""
        return self.survey(frames, first_frame=first_frame).records

    def survey(self, frames: np.ndarray, *, first_frame: int = 0) -> Survey:
        """Search `frames` (n, y, x) one by one, and keep the by-products. Frames must be finite.

        Raises
        ------
        ValueError
            If the lattice of a frame is so much finer or coarser than the net's that resampling
            would not help.
        """
        needed("torch", extra="network", wanted_for="a network that finds defects")
        from stemkin.network.inference import group_size

        keep_freed_memory()
        records, kept = [np.empty(0, tables.LOCATED)], ByProducts(frames.shape)
        group = group_size(self.device)
        for start in range(0, len(frames), group):
            some = frames[start : start + group]
            rests = [self._fourier.remainder(frame) for frame in some]
            for rest in rests:
                kept.keep(rest)
            found = self._records(some, rests, first_frame + start)
            bad = [
                i for i, rest in enumerate(rests, first_frame + start) if rest.status != tables.OK
            ]
            records.append(found[~np.isin(found["frame"], bad)])
        return kept.survey(np.concatenate(records), first_frame=first_frame)

    def find(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        """Return the records of `frames` (n, y, x) as the net alone sees them.

        No lattice is looked for, which takes most of the time.

        Parameters
        ----------
        frames
            (n, y, x) intensities, at the scale that the net was trained for.
        first_frame
            Number of the first of them in the movie.
        """
        return self._records(frames, [None] * len(frames), first_frame)

    def save(self, folder: str | PathLike[str]) -> NetworkDetector:
        """Write the net to `folder`, and return the detector that sends workers its path.

        The detector in memory sends them the weights.
        """
        return replace(self, weights=self.weights.save(folder))

    @property
    def settings(self) -> dict[str, Any]:
        """All settings but the weights and what belongs to one movie, as plain values."""
        left_out = ("weights", "reference")
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}

    @property
    def _fourier(self) -> FourierDetector:
        return FourierDetector(
            self.false_positives_per_frame,
            self.snr,
            off_site=self.off_site,
            device=self.device,
            reference=self.reference,
        )

    def _records(
        self, frames: np.ndarray, rests: Sequence[Remainder | None], first_frame: int
    ) -> np.ndarray:
        from stemkin.network.inference import maps_of

        if self.weights.kind == "paper":
            return self._paper_records(frames, first_frame)
        spacing = self.weights.spacing_px
        scales = [_scale(rest, spacing) for rest in rests]
        inputs = [
            _prepared(frame, scale, spacing) for frame, scale in zip(frames, scales, strict=True)
        ]
        records = [np.empty(0, tables.LOCATED)]
        for i, maps in enumerate(maps_of(self.weights, inputs, device=self.device)):
            area = inputs[i].shape[0] * inputs[i].shape[1]
            least = self.snr or decoding.threshold(self.false_positives_per_frame, area, spacing)
            y, x, score, error, sign = decoding.places(
                maps, self.weights.calibration or {}, least=least, spacing_px=spacing
            )
            seen = np.stack([y, x], axis=1) / scales[i] + (1 / scales[i] - 1) / 2
            records.append(
                self._placed(
                    rests[i], seen, score, error / scales[i], sign, frames[i].shape, first_frame + i
                )
            )
        return np.concatenate(records)

    def _placed(
        self,
        rest: Remainder | None,
        seen: np.ndarray,
        score: np.ndarray,
        error: np.ndarray,
        sign: np.ndarray,
        shape: tuple[int, ...],
        frame: int,
    ) -> np.ndarray:
        """Return the records of one frame, on the lattice as exactly as the lattice tells."""
        spacing = (
            self.weights.spacing_px
            if rest is None or rest.lattice is None
            else rest.lattice.spacing_px
        )
        if rest is not None and rest.grains and len(seen):
            seen, error = _on_sites(rest, seen, score, error, sign, off_site=self.off_site)
        inside = ((seen > -0.5) & (seen < np.array(shape) - 0.5)).all(axis=1)
        rows = np.zeros(int(inside.sum()), tables.LOCATED)
        rows["frame"], rows["y"], rows["x"] = frame, *seen[inside].T
        rows["score"], rows["position_error"] = score[inside], error[inside]
        rows["at_edge"] = tables.is_at_edge(rows["y"], rows["x"], shape, EDGE * spacing)
        return np.sort(rows, order=["frame", "y", "x"])

    def _paper_records(self, frames: np.ndarray, first_frame: int) -> np.ndarray:
        from stemkin.network.inference import maps_of

        inputs = [decoding.stretched(frame) for frame in frames]
        records = [np.empty(0, tables.LOCATED)]
        for i, maps in enumerate(maps_of(self.weights, inputs, device=self.device)):
            y, x, score = decoding.components(maps)
            seen, nothing = np.stack([y, x], axis=1), np.full(len(y), np.nan)
            records.append(
                self._placed(None, seen, score, nothing, nothing, frames[i].shape, first_frame + i)
            )
        return np.concatenate(records)


def _scale(rest: Remainder | None, spacing_px: float) -> float:
    """Return the factor that brings a frame to the lattice constant `spacing_px`.

    It is 1 where the frame is close to it or its own lattice constant is not known.
    """
    if rest is None or rest.lattice is None:
        return 1.0
    factor = spacing_px / rest.lattice.spacing_px
    if not SCALES[0] <= factor <= SCALES[1]:
        msg = (
            f"the network was learned where the lattice constant is {spacing_px:.1f} px, and here "
            "it is "
            f"{rest.lattice.spacing_px:.1f} px: too far to resample; learn a model from movies "
            "with this pixel size"
        )
        raise ValueError(msg)
    if abs(factor - 1) < SAME_SCALE:
        return 1.0
    return float(factor)


def _prepared(frame: np.ndarray, scale: float, spacing_px: float) -> np.ndarray:
    """Return the net's input: a frame (y, x) at the net's scale, evened."""
    from scipy import ndimage

    frame = np.asarray(frame, dtype=np.float32)
    if scale != 1.0:
        shape = tuple(max(1, round(n * scale)) for n in frame.shape)
        # Pixel j of the new frame lies at (j + 0.5) / scale - 0.5 of the old one. Where it gets
        # coarser, what its pixels cannot hold is smoothed away first.
        offset = (1 / scale - 1) / 2
        if scale < 1:
            frame = ndimage.gaussian_filter(frame, 0.4 * np.sqrt(scale**-2 - 1))
        frame = ndimage.affine_transform(
            frame, [1 / scale] * 2, offset, output_shape=shape, order=3, mode="mirror"
        )
    return np.asarray(evened(frame, spacing_px=spacing_px), np.float32)


def _on_sites(
    rest: Remainder,
    seen: np.ndarray,
    score: np.ndarray,
    error: np.ndarray,
    sign: np.ndarray,
    *,
    off_site: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Place detections that belong to sites of the lattice.

    A place is the average of where the residual shows it and of its site.
    """
    # `site` stays NaN for what belongs to no site: too far from all, or outside every grain. A
    # grain without a mask fills the frame; where grains overlap the later one counts.
    site, kind = np.full(seen.shape, np.nan), np.full(len(seen), -1)
    for grain in rest.grains:
        at = np.clip(
            np.rint(seen).astype(np.int64), 0, np.array([int(n) for n in rest.snr.shape]) - 1
        )
        mine = np.ones(len(seen), bool)
        if grain.mask is not None:
            mine = (to_host(grain.mask) > 0)[at[:, 0], at[:, 1]]
        for which in (METAL, CHALCOGEN):
            close = nearest_site(grain.lattice, seen, np.full(len(seen), which))
            near = mine & (np.hypot(*(close - seen).T) < REACH * grain.lattice.spacing_px)
            site[near], kind[near] = close[near], which
    spacing = rest.grains[0].lattice.spacing_px
    y, x = placing.nearby_extrema(rest.snr, seen, sign, reach_px=0.12 * spacing)
    y, x = without_jitter(y, x, rest.jitter, sd_px=rest.filter_sd_px)
    signed = sign * score
    nothing = np.zeros_like(seen)
    error_px, group = (
        placing.seen_error(signed, rest.filter_sd_px),
        site_scatter.groups_of(kind, signed),
    )
    found = placing.PlacedDefects(y, x, signed, signed, site, nothing, error_px, group)
    y, x, better = placing.towards_sites(
        found,
        y,
        x,
        spacing_px=spacing,
        off_site=off_site,
        site_error_px=rest.site_error_px,
    )
    on_site = np.isfinite(site[:, 0])
    places = np.where(on_site[:, None], np.stack([y, x], axis=1), seen)
    return places, np.where(on_site, better, error)

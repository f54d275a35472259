"""What a model is made from: looks at detections, and the sample of them that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.classes.looks import Look, look_at, look_at_pieces
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.detection.beside import signals_beside
from stemkin.kernels.detection.observer import Observer


@dataclass(frozen=True, eq=False)
class Sample:
    """A bounded random sample of what a model was learned from: classes are split without pixels.

    Attributes
    ----------
    rows
        (s, d) float32 descriptors, in random order.
    pictures
        (p, e, e) float16 patches of the first p of them: the frame itself, background 0, metal
        columns 1.
    """

    rows: np.ndarray
    pictures: np.ndarray


def look_at_detections(
    frame: np.ndarray,
    records: np.ndarray,
    *,
    lattice: Any = None,
    rest: np.ndarray | None = None,
    pictures: bool = False,
    neighbours: bool = False,
    noise_units: np.ndarray | None = None,
    observer: Observer | None = None,
) -> Look:
    """Look at the neighbourhoods of the detections of one frame.

    Parameters
    ----------
    frame
        (y, x) intensities.
    records
        (m,) records with the fields of `tables.DETECTION`.
    lattice
        One lattice, None, or the pieces of a broken crystal: (lattice, mask) pairs, the mask None
        for all pixels.
    rest
        (y, x) the frame without its crystal; removed here, and the lattice found, unless given.
    pictures, neighbours
        Whether to fill `Look.pictures` and `Look.atoms`.
    noise_units
        (y, x) what is left over its noise, for the observer; found here with `rest`, which is found
        again where only this is missing.
    observer
        What was learned of the movie: it judges the columns beside each detection. None for
        nothing.

    Returns
    -------
    What was seen around each detection.
    """
    # one defect has one name: it must not depend on what the caller happened to pass
    if rest is None or (observer is not None and noise_units is None):
        survey = FourierDetector(device="cpu").survey(frame[None])
        lattice, rest = survey.extra["crystals"][0], survey.extra["rest"][0]
        noise_units = survey.residuals[0]
    points = np.stack([records["y"], records["x"]], axis=1).astype(float)
    pieces: list[Any] = [(lattice, None)]
    if isinstance(lattice, list):
        pieces = lattice or [(None, None)]
    asked: dict[str, Any] = {"pictures": pictures, "neighbours": neighbours}
    if observer is not None and noise_units is not None:
        judged, by = noise_units, observer

        def beside(
            lattice: Lattice, mask: np.ndarray | None, places: np.ndarray, kinds: np.ndarray
        ) -> np.ndarray:
            return signals_beside(judged, lattice, mask, by, places, kinds)

        asked["beside"] = beside
        asked["itself"] = _judged_themselves(records["score"], observer)
    if len(pieces) < 2:
        only, mask = pieces[0]
        return look_at(frame, rest, only, points, mask=mask, **asked)
    return look_at_pieces(frame, rest, pieces, points, **asked)


def _judged_themselves(score: np.ndarray, observer: Observer) -> np.ndarray:
    """Return (3, m) how dark an observer saw detections, by the kind of site that each may be on."""
    told = np.full((3, len(score)), np.nan)
    for which in (METAL, CHALCOGEN):
        if observer.knows(which) and observer.judges_itself[which]:
            told[which] = score
    return told


def scaled(described: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Divide descriptors by the scale of their kind of site, and keep those that sort into classes.

    Parameters
    ----------
    described
        (m, d) descriptors; the first is the kind of site.
    scale
        (3, d) for each kind of site, or (1, d); descriptors with a scale of 0 are left out.

    Returns
    -------
    (m, kept) float64.
    """
    kept = (scale > 0).all(axis=0)
    # the first descriptor is the kind of site, which picks the row of a scale of three; NaN rows
    # stay NaN whatever they are divided by
    kind = np.zeros(len(described), int)
    if len(scale) == 3:
        kind = np.nan_to_num(described[:, 0]).astype(int)
    return np.asarray(described[:, kept].astype(np.float64) / scale[:, kept][kind])

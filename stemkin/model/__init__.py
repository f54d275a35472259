"""A learned model: what names every detection of an archive, and how it is kept on disk.

On disk it is model.json and arrays.npz, never pickle. `learning.learn` makes one;
`detection.detect` uses it. Each detection is described by the look of its own frame alone, so the
answer does not depend on how a movie was cut into blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.kernels.classes.descriptors import Describer
from stemkin.kernels.classes.looks import Look
from stemkin.kernels.classes.taxonomy import Taxonomy
from stemkin.model.files import read_model, write_model
from stemkin.model.sample import Sample, look_at_detections, scaled

__all__ = [
    "MATCHED",
    "NO_CLASS",
    "PRIOR_ROWS",
    "REGULARISATION",
    "Model",
    "Sample",
    "class_row",
    "look_at_detections",
    "scaled",
    "without_measured",
]

MATCHED = ("match_score", "runner_up", "runner_up_score")
"""Columns of ``classes`` that say how well a class resembles the motif that it was named after."""

NOISE_RANGE = (0.7, 3.0)
"""How much less or more noisy than the sample a frame may be taken to be."""

REGULARISATION = 0.05
"""Added to every variance of a class, in units of the noise of an amplitude."""

PRIOR_ROWS = 10.0
"""Rows of pure noise that are added to each class, so that a small class is no narrower than the
noise."""

NO_CLASS = "-"
"""The new name that dissolves a class in `Model.rename`."""


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A detector, a way to describe what it finds, and the classes of what was found.

    Attributes
    ----------
    detector
        Any detector as in `stemkin.detection.detectors`.
    describer
        From detections to rows of numbers.
    taxonomy
        From rows of numbers to classes.
    classes
        Table ``classes``; in ``mean_patch`` the background is 0 and a metal column 1.
    scale
        (3, d) by which descriptors are divided before they are sorted into classes, for detections
        on metal, chalcogen and hollow sites, or (1, d) without a lattice; 0 leaves a descriptor
        out.
    oriented
        (n_classes,) whether a class changes when it is turned by 120 degrees.
    noise
        (3,) standard deviation of an amplitude in the sample, by kind of site: in noisier frames
        the classes are wider.
    report
        How it was learned: sample, selection of the number of classes, matches of the names.
    sample
        Some of the detections that it was learned from; None where there were none.
    """

    detector: Any
    describer: Describer
    taxonomy: Taxonomy
    classes: pd.DataFrame
    scale: np.ndarray
    oriented: np.ndarray
    noise: np.ndarray = field(default_factory=lambda: np.ones(3))
    report: Mapping[str, Any] = field(default_factory=dict)
    sample: Sample | None = None

    def __repr__(self) -> str:
        """Say in a line what finds defects, and which classes they have."""
        names = ", ".join(str(name) for name in self.classes["name"])
        return f"Model: {type(self.detector).__name__}, {len(self.classes)} classes ({names})"

    def _repr_html_(self) -> str:
        """Return the same for notebooks: the classes, each with its mean image."""
        from stemkin.plot.frame import html_of_classes

        return html_of_classes(repr(self), self.classes)

    @property
    def n_descriptors(self) -> int:
        """How many descriptors each detection gets."""
        return len(self.describer.names)

    @one_thread
    def describe(
        self,
        frames: np.ndarray,
        records: np.ndarray,
        *,
        first_frame: int,
        pixel_size_nm: float | None = None,  # noqa: ARG002 - the lattice is the ruler here
        lattices: Sequence[Any] | None = None,
        residuals: Sequence[Any] | None = None,
        noise_units: Sequence[Any] | None = None,
        neighbours: bool = False,
    ) -> dict[str, np.ndarray]:
        """Describe and name detections; each row depends on its own frame only. Computes once.

        Parameters
        ----------
        frames
            (n, y, x) pixels.
        records
            (m,) records with the fields of `tables.DETECTION`.
        first_frame
            Movie frame number of ``frames[0]``.
        pixel_size_nm
            Not needed: the lattice is the ruler.
        lattices, residuals
            What the detector already knows of each frame: its lattice (or its pieces of crystal,
            each a lattice and the mask of its pixels), and the (y, x) frame without its crystal in
            the frame's own units; found again for frames whose residual is None.
        noise_units
            (y, x) of each frame, the residual over its noise, where `residuals` are given.
        neighbours
            Whether to measure where the atoms around each detection stand, too.

        Returns
        -------
        Columns ``class_id``, ``probability``, ``orientation``, ``d00``.. of the table
        ``detections``, and ``keep``: False for a detection that is but a part of another one in the
        same frame (`looks.satellites`). With `neighbours` also ``turn`` and the atoms, as in
        the table ``neighbours``.
        """
        n, names = len(records), tables.descriptor_columns(self.n_descriptors)
        columns: dict[str, np.ndarray] = {
            "class_id": np.full(n, tables.NOT_NAMED, np.int16),
            "probability": np.zeros(n, np.float32),
            "orientation": np.full(n, tables.NOT_NAMED, np.int8),
            **{name: np.full(n, np.nan, np.float32) for name in names},
            "keep": np.ones(n, bool),
        }
        if neighbours:
            columns |= {
                "turn": np.full(n, tables.NOT_NAMED, np.int8),
                "noise": np.ones(n, np.float32),
            }
            columns |= {name: np.full(n, np.nan, np.float32) for name in tables.ATOM_COLUMNS}
        # every column starts as "not known", and is filled where the detections of a frame stand
        for number in np.unique(records["frame"]):
            rows = np.flatnonzero(records["frame"] == number)
            i = int(number) - first_frame
            lattice: Any = None
            rest: Any = None
            if lattices is not None:
                lattice = lattices[i]
            if residuals is not None:
                rest = residuals[i]
            look = look_at_detections(
                frames[i],
                records[rows],
                lattice=lattice,
                rest=rest,
                neighbours=neighbours,
                noise_units=None if noise_units is None else noise_units[i],
                observer=getattr(self.detector, "observer", None),
            )
            found = {**self.name(look), "keep": ~look.satellite}
            if neighbours and look.has_lattice:
                atoms = look.atoms.reshape(len(rows), -1).T
                found |= {
                    "turn": look.orientation,
                    "noise": np.full(len(rows), self.noise_of(look)),
                    **dict(zip(tables.ATOM_COLUMNS, atoms, strict=True)),
                }
            for name, values in found.items():
                columns[name][rows] = values
        return columns

    @one_thread
    def name(self, look: Look) -> dict[str, np.ndarray]:
        """Return the columns of `describe` for the detections of one frame."""
        described = self.describer.describe(look)
        values = dict(zip(tables.descriptor_columns(self.n_descriptors), described.T, strict=True))
        return {**self.sort(described, look.orientation, noise=self.noise_of(look)), **values}

    def noise_of(self, look: Look) -> float:
        """Return how much noisier than the sample a frame is taken to be, rounded to float32."""
        if look.scale is None:
            return 1.0
        return float(np.float32(np.clip(np.median(look.scale.noise / self.noise), *NOISE_RANGE)))

    @one_thread
    def sort(
        self, described: np.ndarray, turn: np.ndarray, *, noise: float
    ) -> dict[str, np.ndarray]:
        """Sort rows of descriptors into classes; no pixel is looked at.

        Parameters
        ----------
        described
            (m, d) descriptors, as in the table ``detections``.
        turn
            (m,) turn of each neighbourhood, as in the table ``neighbours``.
        noise
            As `noise_of` gives it.

        Returns
        -------
        Columns ``class_id``, ``probability``, ``orientation``.
        """
        class_id, probability = self.taxonomy.assign(scaled(described, self.scale), noise=noise)
        turned = np.append(self.oriented, False)[class_id]  # the last one serves class -1
        orientation = np.where(turned, turn, tables.NOT_NAMED).astype(np.int8)
        return {"class_id": class_id, "probability": probability, "orientation": orientation}

    def rename(self, mapping: Mapping[str, str] | str | PathLike[str]) -> Model:
        """Return the model with classes renamed, and those that share a name merged.

        No pixel is looked at again.

        Parameters
        ----------
        mapping
            Old name → new name, or a JSON file of such pairs. The new name ``"-"`` dissolves a
            class: -1.

        Raises
        ------
        ValueError
            If an old name is no class of this model.
        """
        pairs: Mapping[str, str]
        if isinstance(mapping, Mapping):
            pairs = mapping
        else:
            pairs = json.loads(Path(mapping).read_text())
        names = self.classes["name"].tolist()
        unknown = [old for old in pairs if old not in names]
        if unknown:
            msg = f"no class is called {unknown[0]!r}; the classes are {names}"
            raise ValueError(msg)
        after = [pairs.get(name, name) for name in names]
        kept = [name for name in dict.fromkeys(after) if name != NO_CLASS]
        # moved[i] is the new number of class i, groups[j] the old classes that are now class j, in
        # the order in which the names first stood
        number_of = {name: number for number, name in enumerate(kept)}
        moved = np.array([number_of.get(name, tables.NOT_NAMED) for name in after], np.int16)
        groups = [np.flatnonzero(moved == i) for i in range(len(kept))]
        # -1 as an index reads the last class, which `where` then overrules
        ids = self.taxonomy.class_ids
        class_ids = np.where(ids >= 0, moved[ids], tables.NOT_NAMED)
        return replace(
            self,
            taxonomy=replace(self.taxonomy, class_ids=class_ids.astype(np.int16)),
            classes=_merged(self.classes, groups, kept),
            oriented=np.array([bool(self.oriented[group].any()) for group in groups], bool),
            report=_report_renamed(self.report, dict(zip(names, after, strict=True)), kept),
        )

    def save(self, folder: str | PathLike[str]) -> None:
        """Write ``model.json``, ``arrays.npz`` and a network detector's weights to `folder`.

        A detector of your own is not written: pass it to `load` again.
        """
        write_model(vars(self), Path(folder))

    @classmethod
    def load(cls, folder: str | PathLike[str], *, detector: Any = None) -> Model:
        """Read a model from `folder`; pass the `detector` if it is one of your own.

        Raises
        ------
        ValueError
            If there is no model, it is damaged, it is of another version, or its detector is not
            known.
        """
        return cls(**read_model(Path(folder), detector))


def class_row(
    class_id: int, name: str, n_detections: int, mean_patch: np.ndarray
) -> dict[str, Any]:
    """Return a row of the table ``classes`` of one that was compared with no motif."""
    own = {"class_id": class_id, "name": name, "n_detections": n_detections}
    unmatched = dict(zip(MATCHED, (np.nan, "", np.nan), strict=True))
    return {**own, "mean_patch": mean_patch, **unmatched}


def without_measured(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report without what was measured of classes that are others now."""
    return {k: v for k, v in report.items() if k not in ("confusion", "calibration_error")}


def _merged(classes: pd.DataFrame, groups: list[np.ndarray], names: list[str]) -> pd.DataFrame:
    """Return the table ``classes`` with the rows of each group put together under a new name."""
    sizes, patches = classes["n_detections"].to_numpy(), classes["mean_patch"].tolist()
    counts, means, largest = [], [], []
    for group in groups:
        counts.append(int(sizes[group].sum()))
        means.append(_mean_patch(patches, sizes, group))
        # how well a name fits is told of the largest of the classes that share it
        largest.append(group[np.argmax(sizes[group])])
    rows = {
        "class_id": np.arange(len(names)),
        "name": names,
        "n_detections": counts,
        "mean_patch": means,
    }
    for column in MATCHED:
        rows[column] = classes[column].to_numpy()[largest]
    return tables.conform(rows, "classes")


def _report_renamed(
    report: Mapping[str, Any], after: Mapping[str, str], kept: list[str]
) -> dict[str, Any]:
    """Return a report whose confusion matrix, if any, calls the classes what they are now."""
    if "confusion" not in report:
        return dict(report)
    old = report["confusion"]
    found = [*kept, NO_CLASS, "missed"]
    before = [after.get(name, name) for name in old["found"]]
    # columns of classes that share a name now are added up; dissolved ones go to "-"
    counts = np.zeros((len(old["true"]), len(found)), int)
    for name, column in zip(before, np.transpose(old["counts"]), strict=True):
        counts[:, found.index(name)] += column
    return {**report, "confusion": {"true": old["true"], "found": found, "counts": counts.tolist()}}


def _mean_patch(patches: list[np.ndarray], sizes: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the mean patch of the classes `group`, weighted by their `sizes` (n,)."""
    shares = sizes[group] / max(sizes[group].sum(), 1)
    parts = [np.asarray(patches[i]) * share for i, share in zip(group, shares, strict=True)]
    return np.asarray(sum(parts))

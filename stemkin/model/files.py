"""How a model is kept on disk: ``model.json``, ``arrays.npz``, network weights; never pickle."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.classes.descriptors import Describer
from stemkin.kernels.classes.mixture import Mixture
from stemkin.kernels.classes.taxonomy import Taxonomy
from stemkin.kernels.detection.observer import Observer
from stemkin.kernels.detection.site_scatter import SiteScatter
from stemkin.model.sample import Sample
from stemkin.network import NetworkDetector, load_network

FORMAT = 4
"""Raised when a saved model can no longer be read by this version."""


OBSERVED = (
    "weights", "blind", "knowing", "depths", "tails", "signatures", "alike", "judges",
    "judges_itself", "bound", "bound_told",
)  # fmt: skip
"""What an `Observer` holds, in the order in which it takes them."""


def write_model(learned: Mapping[str, Any], place: Path) -> None:
    """Write ``model.json`` and ``arrays.npz`` to a folder, and the network if the detector is one.

    Parameters
    ----------
    learned
        The fields of a `Model` by name.
    place
        The folder; it is made if it is not there.
    """
    place.mkdir(parents=True, exist_ok=True)
    describer, taxonomy = learned["describer"], learned["taxonomy"]
    covariance = None
    if taxonomy.mixture is not None:
        covariance = taxonomy.mixture.covariance
    # the arrays are packed in memory first: their checksum goes into model.json, so that files of
    # two different models are never taken for one
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays_of(learned))
    about = {
        "format": FORMAT,
        "arrays_sha256": hashlib.sha256(packed.getvalue()).hexdigest(),
        "detector": _written_detector(learned["detector"], place),
        "uses_lattice": describer.uses_lattice,
        "descriptors": describer.names,
        "covariance": covariance,
        "outlier_limit": taxonomy.outlier_limit,
        "classes": _plain_records(learned["classes"].drop(columns="mean_patch")),
        "report": dict(learned["report"]),
    }
    (place / "arrays.npz").write_bytes(packed.getvalue())
    (place / "model.json").write_text(json.dumps(about, indent=1))


def _written_detector(detector: Any, place: Path) -> dict[str, Any]:
    """Return what ``model.json`` says of a detector; a network is written beside it."""
    if isinstance(detector, FourierDetector):
        # what it has learned is written with the other arrays; the reference crystal belongs to one
        # movie, the model to an archive
        settings = asdict(replace(detector, observer=None, reference=None))
        settings.pop("observer")
        settings.pop("reference")
        return {"kind": "FourierDetector", **settings}
    if isinstance(detector, NetworkDetector):
        detector.save(place)
        return {"kind": "NetworkDetector", **detector.settings}
    return {"kind": "your own"}


def read_model(place: Path, detector: Any = None) -> dict[str, Any]:
    """Read the fields of the `Model` that was written to a folder.

    Parameters
    ----------
    place
        The folder.
    detector
        The model's, if it is one of the user's own; else it is made as ``model.json`` says.

    Returns
    -------
    The fields by name.

    Raises
    ------
    ValueError
        If there is no model, it is damaged, it is of another version, or its detector is not known.
    """
    try:
        return _fields(place, *_opened(place), detector)
    except (AttributeError, IndexError, KeyError, TypeError, RecursionError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        msg = (
            f"the model in {place} is damaged, or stemkin never wrote it ({said}); learn it again, "
            "or copy the folder again"
        )
        raise ValueError(msg) from error


def _fields(
    place: Path, about: dict[str, Any], arrays: dict[str, np.ndarray], detector: Any
) -> dict[str, Any]:
    """Return the fields of a `Model` from what its two files say."""
    if detector is None:
        detector = _detector(about["detector"], place)
        if isinstance(detector, FourierDetector) and "observer_depths" in arrays:
            learned = (arrays[f"observer_{name}"] for name in OBSERVED)
            detector = replace(detector, observer=Observer(*learned))
    mixture = None
    if about["covariance"] is not None:
        mixture = Mixture(
            arrays["weights"], arrays["means"], arrays["covariances"], about["covariance"]
        )
    patches = [arrays[f"mean_patch_{i}"] for i in range(len(about["classes"]))]
    columns = [c for c in tables.COLUMNS["classes"] if c != "mean_patch"]
    classes = pd.DataFrame(about["classes"], columns=columns).assign(
        mean_patch=pd.Series(patches, dtype=object)
    )
    classes["runner_up"] = classes["runner_up"].fillna("")
    sample = None
    if "sample_rows" in arrays:
        sample = Sample(arrays["sample_rows"], arrays["sample_pictures"])
    return {
        "detector": detector,
        "describer": Describer(about["uses_lattice"], arrays["pca_mean"], arrays["pca_components"]),
        "taxonomy": Taxonomy(mixture, arrays["component_class"], about["outlier_limit"]),
        "classes": tables.conform(classes, "classes"),
        "scale": arrays["scale"],
        "oriented": arrays["oriented"],
        "noise": arrays["noise"],
        "report": about["report"],
        "sample": sample,
    }


def arrays_of(learned: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return everything a model has learned but a network, by its name in ``arrays.npz``.

    Parameters
    ----------
    learned
        The fields of a `Model` by name.

    Returns
    -------
    Arrays by name; those of the mixture, the observer and the sample only where there is one.
    """
    describer, taxonomy, sample = learned["describer"], learned["taxonomy"], learned["sample"]
    mixture = taxonomy.mixture
    arrays = {
        "pca_mean": describer.mean,
        "pca_components": describer.components,
        "component_class": taxonomy.class_ids,
        "scale": learned["scale"],
        "oriented": learned["oriented"],
        "noise": learned["noise"],
    }
    # one array a class: mean patches of a model without classes have no shape to stack
    for i, patch in enumerate(learned["classes"]["mean_patch"]):
        arrays[f"mean_patch_{i}"] = np.asarray(patch)
    if mixture is not None:
        arrays |= {"weights": mixture.weights, "means": mixture.means}
        arrays["covariances"] = mixture.covariances
    observer = getattr(learned["detector"], "observer", None)
    if isinstance(observer, Observer):
        arrays |= {f"observer_{name}": getattr(observer, name) for name in OBSERVED}
    if sample is not None:
        arrays |= {"sample_rows": sample.rows, "sample_pictures": sample.pictures}
    return arrays


def _plain_records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON can say them: what is not known becomes null."""
    records = []
    for row in rows.to_dict("records"):
        # NaN is the one value that differs from itself
        unknown = {key: None for key, value in row.items() if value != value}
        records.append({str(key): value for key, value in (row | unknown).items()})
    return records


def _opened(place: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read ``model.json`` and ``arrays.npz``, and check that they belong together."""
    if not (place / "model.json").is_file():
        msg = (
            f"there is no model in {place} (no model.json); make one with "
            f"stemkin.learn(...).save({str(place)!r})"
        )
        raise ValueError(msg)
    again = "learn it again, or copy the folder again from where it was made"
    try:
        about: dict[str, Any] = json.loads((place / "model.json").read_text())
    except ValueError as error:
        msg = f"{place / 'model.json'} is damaged ({error}); {again}"
        raise ValueError(msg) from error
    if about.get("format") != FORMAT:
        msg = (
            f"the model in {place} has format {about.get('format')}, and this version of stemkin "
            f"reads {FORMAT}; learn it again"
        )
        raise ValueError(msg)
    try:
        packed = (place / "arrays.npz").read_bytes()
        _check_sum(packed, about["arrays_sha256"])
        with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
            return about, dict(stored)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        msg = f"{place / 'arrays.npz'} is missing or damaged ({error}); {again}"
        raise ValueError(msg) from error


def _check_sum(packed: bytes, wanted: str) -> None:
    """Refuse packed arrays whose SHA-256 is not the `wanted` one."""
    if hashlib.sha256(packed).hexdigest() != wanted:
        msg = "its content is not what model.json says"
        raise ValueError(msg)


def _detector(about: Mapping[str, Any], place: Path) -> Any:
    """Return the detector that ``model.json`` speaks of; a user's own cannot be made here."""
    settings = {key: value for key, value in about.items() if key != "kind"}
    if about["kind"] == "FourierDetector":
        known = settings.pop("scatter")
        if known is not None:
            known = SiteScatter(tuple(known["spreads"]), known["pull"], known["scan"])
        tails, weak_dark = (tuple(settings.pop(name)) for name in ("tails", "weak_dark"))
        return FourierDetector(**settings, scatter=known, tails=tails, weak_dark=weak_dark)
    if about["kind"] == "NetworkDetector":
        return load_network(place, **settings)
    msg = (
        f"the model in {place} was learned with a detector of your own; pass it again: "
        "Model.load(..., detector=...)"
    )
    raise ValueError(msg)

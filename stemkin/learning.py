"""What kinds of defects are there? A model is learned from a few frames, and then names every detection of an archive.

    model = learn(archive)                       # some frames → detector + descriptors + classes
    model.classes[["name", "n_detections"]]
    model = model.rename({"class 3": "W_ad"})
    model.save("model/")

Each detection is described in the lattice's own frame (`kernels.patches`): how bright each site around it is compared with
the perfect crystal (`kernels.descriptors`), and the principal components of its patch. A Gaussian mixture of these rows
(`clustering.cluster`) gives the classes; each is named after the motif it resembles (`kernels.motifs`), or ``class 3``
where none fits. What no class explains is -1.

How to read the answer: ``probability`` is the mixture's own; ``orientation`` says in which of the three equivalent directions of the
lattice the defect points, and is -1 for classes that look the same in all three. Traps: classes are only as good as the
sample (``n_frames``); a movie without a lattice is described by raw crops, whose classes do not carry over to other
rotations or pixel sizes (a log line says so).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.detectors import FourierDetector, Survey
from stemkin.kernels import motifs
from stemkin.kernels.descriptors import SITE_NAMES, Describer, Look
from stemkin.kernels.matching import match_points
from stemkin.kernels.naming import Names, name_components
from stemkin.kernels.neighbours import PLACE_KINDS
from stemkin.kernels.patches import CROP, PATCH
from stemkin.kernels.quality import frame_status
from stemkin.kernels.taxonomy import Taxonomy, nothing
from stemkin.model import PRIOR_ROWS, REGULARISATION, Model, Sample, look_at_detections, scaled
from stemkin.movie import Movie, Movies, each_movie
from stemkin.network import NetworkDetector

__all__ = ["DETECTORS", "Model", "learn", "learn_detector", "sample_frames", "with_confusion"]

logger = logging.getLogger(__name__)

DETECTORS = ("fourier", "network", "paper")
"""The detectors that `learn` knows by name."""

N_COMPONENTS = 8
"""Principal components of a patch in the lattice's frame."""

N_RAW_COMPONENTS = 12
"""Principal components of a raw crop, which has nothing else to go by."""

SITE_SCALE = 1e-4
"""Unit of the descriptor `site` (0, 1, 2): so small that no class mixes sites."""

MAX_UNKNOWN = 4
"""Classes that may be found beyond the known motifs."""

MAX_PATCHES = 20_000
"""Patches from which components are made, drawn with the seed: 50 MB. The descriptors of as many are kept with the model."""

MAX_PICTURES = 2_000
"""Patches that are kept with the model, to look at: 1.8 MB."""


def learn(
    movies: Movies,
    *,
    n_frames: int = 16,
    n_classes: int | None = None,
    detector: Any = None,
    seed: int = 0,
    material: str | motifs.Elements = "WS2",
) -> Model:
    """Learn what kinds of defects there are. Computes once, on whichever Dask scheduler is active.

    Parameters
    ----------
    movies
        A movie, an archive or any iterable of movies.
    n_frames
        Frames to learn from, spread over all movies by the seed (all of them where there are fewer).
    n_classes
        How many classes; None lets the Bayesian information criterion choose.
    detector
        ``"fourier"``, ``"network"`` or ``"paper"`` (`learn_detector` says what each one is), or any detector as in
        `stemkin.detectors`. `FourierDetector` unless given: on the simulator's presets it finds as much as the network or a
        little more (see `stemkin.network`), and needs no learning.
    seed
        Decides the frames and the starts; the same seed gives the same model, however the movies are stored or chunked.
    material
        ``"WS2"``, ``"MoS2"``, ``"WSe2"``, ``"MoSe2"``, ``"graphene"`` or `kernels.motifs.Elements`: what classes are named after.

    Returns
    -------
    A `Model`. Without detections, or with fewer than two, it names nothing: every ``class_id`` is -1.

    Raises
    ------
    ValueError
        If there is no movie, or the material is not known.
    """
    from dask import compute, delayed

    elements = _elements(material)
    listed = list(each_movie(movies))
    if not listed:
        msg = "there is no movie to learn from; check the folder or pattern that was opened"
        raise ValueError(msg)
    frames = sample_frames([movie.n_frames for movie in listed], n_frames, seed=seed)
    if detector is None or isinstance(detector, str):
        detector = learn_detector(listed, detector or "fourier", frames=frames, seed=seed)
    looks = compute(*[delayed(_look)(listed[i], frame, detector) for i, frame in frames])
    pixel_sizes_nm = [listed[i].pixel_size_nm for i, _ in frames]
    sample = _gather([(look, size) for look, size in zip(looks, pixel_sizes_nm, strict=True) if look is not None])
    return _model(sample, detector, n_classes, elements, seed)


def learn_detector(
    movies: Sequence[Movie],
    kind: str,
    *,
    frames: Sequence[tuple[int, int]],
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Learn a detector of a named kind. Computes once, as one task on whichever Dask scheduler is active.

    Parameters
    ----------
    movies
        Where the frames are.
    kind
        ``"fourier"``: `detectors.FourierDetector`, which needs no learning. ``"network"``: `network.learn_network` from all `frames`.
        ``"paper"``: the net and the recipe of Maksov et al. (2019), from the first of the `frames` only; takes hours.
    frames
        (movie, frame) numbers; frames that are not ok are left out.
    seed
        Decides the weights.
    settings
        ``false_positives_per_frame`` and ``device`` of the detector.

    Raises
    ------
    ValueError
        If the kind is not known, no frame is ok, or none has a lattice where one is needed.
    """
    from dask import delayed

    if kind not in DETECTORS:
        msg = f"no detector is called {kind!r}; choose from {DETECTORS} or pass a detector of your own"
        raise ValueError(msg)
    if kind == "fourier":
        return FourierDetector(**(settings or {}))
    return delayed(_learned_network)(list(movies), kind, list(frames), seed, dict(settings or {})).compute()


def _learned_network(
    movies: list[Movie], kind: str, frames: list[tuple[int, int]], seed: int, settings: dict[str, Any]
) -> Any:
    from stemkin import network

    read = [movies[i].reader.read(frame, frame + 1) for i, frame in frames]
    good = [pixels[0] for pixels in read if frame_status(pixels)[0] == tables.OK]
    if not good:
        msg = f"none of the {len(frames)} sampled frames is ok (blank, saturated, truncated or corrupt), so no network can be learned"
        raise ValueError(msg)
    if kind == "network":
        return network.learn_network(good, seed=seed, **settings)
    lattice = FourierDetector(device="cpu").remainder(good[0]).lattice
    spacing_px = 10.0 if lattice is None else lattice.spacing_px
    return network.learn_paper_network(good[0], spacing_px=spacing_px, seed=seed, **settings)


def with_confusion(model: Model, movie: Movie, truth: pd.DataFrame, *, max_distance_px: float) -> Model:
    """Measure how often the model confuses classes, on a movie whose defects are known. Computes once.

    Parameters
    ----------
    model
        A learned model.
    movie
        The movie; only the frames that `truth` speaks of are looked at.
    truth
        `frame`, `y`, `x` [px] and `kind` of every defect, for instance ``truth_of(movie).defects``.
    max_distance_px
        How far a detection may lie from the defect that it is.

    Returns
    -------
    The model with two more entries in its `report`: ``confusion`` (``true``: kinds; ``found``: names of the classes, "-" for
    not named and "missed"; ``counts``: one row per kind) and ``calibration_error``, the mean difference between the
    probability of a name and how often it was right, over ten bins weighted by size.
    """
    from dask import compute, delayed

    numbers = [int(number) for number in np.unique(truth["frame"])]
    pairs = pd.concat(
        compute(*[delayed(_compared)(model, movie, n, truth[truth["frame"] == n], max_distance_px) for n in numbers])
    )
    kinds = sorted(truth["kind"].unique())
    names = [*model.classes["name"], "-", "missed"]
    counts = pd.crosstab(pairs["kind"], pairs["name"]).reindex(index=kinds, columns=names, fill_value=0)
    called = pairs[~pairs["name"].isin(["-", "missed"])]
    bins = np.minimum((called["probability"] * 10).astype(int), 9)
    gaps = (called["probability"] - (called["kind"] == called["name"])).groupby(bins).sum().abs().sum()
    found = {"true": kinds, "found": names, "counts": counts.to_numpy().tolist()}
    error = float(gaps / len(called)) if len(called) else float("nan")
    return replace(model, report={**model.report, "confusion": found, "calibration_error": error})


def _compared(model: Model, movie: Movie, frame: int, truth: pd.DataFrame, max_distance_px: float) -> pd.DataFrame:
    """Return `kind`, `name` and `probability` of every true defect of one frame."""
    pixels = movie.reader.read(frame, frame + 1)
    records = np.asarray(model.detector(pixels, first_frame=frame))
    named = model.describe(pixels, records, first_frame=frame)
    records, class_id = records[named["keep"]], named["class_id"][named["keep"]]
    found = np.stack([records["y"], records["x"]], axis=1).astype(float)
    i, j = match_points(found, truth[["y", "x"]].to_numpy(float), max_distance=max_distance_px)
    names = np.array([*model.classes["name"], "-"], dtype=object)
    name, probability = np.full(len(truth), "missed", dtype=object), np.zeros(len(truth))
    name[j], probability[j] = names[class_id[i]], named["probability"][named["keep"]][i]
    return pd.DataFrame({"kind": truth["kind"].to_numpy(), "name": name, "probability": probability})


def sample_frames(lengths: list[int], n_frames: int, *, seed: int) -> list[tuple[int, int]]:
    """Choose `n_frames` of movies with the given `lengths`: (movie, frame) pairs, one drawn from each equal stretch of the whole.

    Examples
    --------
    >>> sample_frames([3, 2], 9, seed=0)
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    """
    total = sum(lengths)
    n = min(n_frames, total)
    edges = np.linspace(0, total, n + 1)
    drawn = np.floor(edges[:-1] + np.random.default_rng(seed).random(n) * np.diff(edges)).astype(int)
    chosen = np.arange(total) if n == total else drawn
    starts = np.cumsum([0, *lengths])
    movie = np.searchsorted(starts, chosen, side="right") - 1
    return [(int(i), int(k - starts[i])) for i, k in zip(movie, chosen, strict=True)]


@dataclass(frozen=True, eq=False)
class _Sample:
    """All looks of one kind (with a lattice, or without) put together."""

    uses_lattice: bool
    looks: list[Look]
    n_frames: int
    spacing_nm: float

    def joined(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(look, name) for look in self.looks])

    def median(self, name: str) -> Any:
        """Return the median over frames of what their `Scale` says."""
        return np.median([getattr(look.scale, name) for look in self.looks], axis=0)


def _look(movie: Movie, frame: int, detector: Any) -> Look | None:
    """Detect in one frame and look at what was found; None for a frame that is not fit to be searched."""
    pixels = movie.reader.read(frame, frame + 1)
    if not np.isfinite(pixels).all() or pixels.min() == pixels.max():
        return None
    if hasattr(detector, "survey"):
        survey: Survey = detector.survey(pixels, first_frame=frame)
        rest = survey.extra["rest"][0] if "rest" in survey.extra else None
        crystal = survey.extra["crystals"][0] if "crystals" in survey.extra else survey.lattices[0]
        return look_at_detections(pixels[0], survey.records, lattice=crystal, rest=rest, pictures=True)
    records = tables.located(detector(pixels, first_frame=frame), pixels.shape[1:])
    return look_at_detections(pixels[0], records, pictures=True)


def _gather(looks: list[tuple[Look, float | None]]) -> _Sample:
    counts = {kind: sum(len(look.patches) for look, _ in looks if look.has_lattice == kind) for kind in (True, False)}
    uses_lattice = counts[True] >= counts[False]
    if not uses_lattice:
        logger.warning(
            "most sampled detections lie in frames without a lattice: they are described by raw crops, "
            "so the classes do not carry over to other rotations or pixel sizes"
        )
    kept = [(look, size) for look, size in looks if look.has_lattice == uses_lattice]
    spacings_nm = [look.scale.spacing_px * size for look, size in kept if look.scale is not None and size is not None]
    spacing_nm = float(np.median(spacings_nm)) if spacings_nm else float("nan")
    return _Sample(uses_lattice, [look for look, _ in kept], len(looks), spacing_nm)


def _model(sample: _Sample, detector: Any, n_classes: int | None, elements: motifs.Elements, seed: int) -> Model:
    from stemkin.clustering import principal_components

    sample = replace(sample, looks=[look.only(~look.satellite) for look in sample.looks])
    n_found = sum(len(look.patches) for look in sample.looks)
    report: dict[str, Any] = {"n_frames": sample.n_frames, "n_detections": n_found, "seed": seed}
    if isinstance(detector, NetworkDetector):
        report["training"] = dict(detector.weights.record)
    if n_found < 2:
        logger.warning("%d detections in %d frames are too few to learn classes from", n_found, sample.n_frames)
        n_pixels = PATCH**2 if sample.uses_lattice else CROP**2
        describer = Describer(sample.uses_lattice, np.zeros(n_pixels), np.zeros((0, n_pixels)))
        n = len(describer.names)
        return Model(
            detector,
            describer,
            nothing(),
            tables.empty("classes"),
            np.ones((1, n)),
            np.empty(0, bool),
            np.ones(3),
            report,
        )
    patches = sample.joined("patches").reshape(n_found, -1).astype(np.float64)
    chosen = np.sort(np.random.default_rng(seed).permutation(n_found)[:MAX_PATCHES])
    mean, components, _ = principal_components(
        patches[chosen], N_COMPONENTS if sample.uses_lattice else N_RAW_COMPONENTS
    )
    describer = Describer(sample.uses_lattice, mean, components)
    rows = np.concatenate([describer.describe(look) for look in sample.looks])
    sort = _sort_by_motif if sample.uses_lattice else _sort_by_look
    scale, taxonomy, called = sort(sample, rows, n_classes, elements, seed)
    class_id, _ = taxonomy.assign(scaled(rows, scale))
    pictures = sample.joined("pictures")
    classes = _classes(called, class_id, pictures)
    report |= {
        "n_unexplained": int((class_id < 0).sum()), "selection": list(taxonomy.selection), "matches": called.components,
    }  # fmt: skip
    noise = sample.median("noise") if sample.uses_lattice else np.ones(3)
    drawn = np.random.default_rng(seed).permutation(n_found)[:MAX_PATCHES]
    kept = Sample(rows[drawn].astype(np.float32), pictures[drawn[:MAX_PICTURES]].astype(np.float16))
    return Model(
        detector, describer, taxonomy, classes, scale, np.array(called.oriented, bool), noise, report, sample=kept
    )


def _classes(called: Names, class_id: np.ndarray, pictures: np.ndarray) -> pd.DataFrame:
    """Return the table ``classes`` of a sample."""
    ids = range(len(called.names))
    sizes = [int((class_id == i).sum()) for i in ids]
    means = [pictures[class_id == i].mean(axis=0) if sizes[i] else np.zeros(pictures.shape[1:]) for i in ids]
    return tables.conform(
        {
            "class_id": np.arange(len(sizes)), "name": called.names, "n_detections": sizes, "mean_patch": means,
            "match_score": [np.nan if m is None else m.score for m in called.matches],
            "runner_up": ["" if m is None else m.runner_up for m in called.matches],
            "runner_up_score": [np.nan if m is None else m.runner_up_score for m in called.matches],
        },
        "classes",
    )  # fmt: skip


_Sorted = tuple[np.ndarray, Taxonomy, Names]
"""Scale of the descriptors, taxonomy, and what its classes are called."""


def _sort_by_look(
    sample: _Sample,  # noqa: ARG001
    rows: np.ndarray,
    n_classes: int | None,
    elements: motifs.Elements,  # noqa: ARG001
    seed: int,
) -> _Sorted:
    """Sort raw crops by their principal components; nothing tells their names."""
    from stemkin.clustering import cluster

    scale = np.full((1, rows.shape[1]), float(rows.std(axis=0).mean()) or 1.0)
    taxonomy = cluster(scaled(rows, scale), n_classes=n_classes, seed=seed)
    called = Names()
    for i in range(len(taxonomy.classes)):
        called.add(f"class {i}", oriented=False, match=None)
    return scale, taxonomy, called


def _sort_by_motif(
    sample: _Sample, rows: np.ndarray, n_classes: int | None, elements: motifs.Elements, seed: int
) -> _Sorted:
    """Sort by the amplitudes of the sites, starting from the motif that each detection resembles."""
    from stemkin.clustering import cluster

    noise, height = sample.median("noise"), float(sample.median("chalcogen"))
    library = motifs.library(elements, chalcogen=height)
    if not elements.fits(sample.spacing_nm, height):
        logger.warning(
            "the lattice (%.4f nm, dimmer columns %.2f of the brighter) is not that of the material (%.4f nm, %.2f): "
            "classes are numbered, not named; give material=... or check pixel_size_nm",
            sample.spacing_nm, height, elements.a_nm, elements.chalcogen_height,
        )  # fmt: skip
        library = motifs.perfect()
    n_physical = len(SITE_NAMES)
    guess, present = motifs.first_guess(rows[:, :n_physical], noise, library)
    scale = np.zeros((3, rows.shape[1]))
    scale[:, 0] = SITE_SCALE
    scale[:, 1 : n_physical - 1] = noise[PLACE_KINDS[:, : n_physical - 2]]
    start = guess if n_classes is None or len(present) <= n_classes else None
    taxonomy = cluster(
        scaled(rows, scale), n_classes=n_classes, max_classes=len(present) + MAX_UNKNOWN, start_labels=start,
        regularisation=REGULARISATION, prior_rows=PRIOR_ROWS, seed=seed,
    )  # fmt: skip
    if taxonomy.mixture is None:
        return scale, taxonomy, Names()
    used, component = scale[:, : n_physical - 1], taxonomy.components_of(scaled(rows, scale))
    rings = np.array([rows[component == k, n_physical - 1].mean() if (component == k).any() else 0.0
                      for k in range(taxonomy.mixture.n_components)])  # fmt: skip
    naming: dict[str, Any] = {"rings": rings, "n_rows": len(rows), "merge": n_classes is None}
    return scale, *name_components(taxonomy, used, noise, library, **naming)


def _elements(material: str | motifs.Elements) -> motifs.Elements:
    if isinstance(material, motifs.Elements):
        return material
    if material not in motifs.MATERIALS:
        msg = f"the material {material!r} is not known; give one of {sorted(motifs.MATERIALS)} or motifs.Elements(...)"
        raise ValueError(msg)
    return motifs.MATERIALS[material]

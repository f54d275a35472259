"""What kinds of defects are there? A model learned from a few frames names those of an archive.

    model = learn(archive)                       # some frames → detector + descriptors + classes
    model.classes[["name", "n_detections"]]
    model = model.rename({"class 3": "W_ad"})
    model.save("model/")

Each detection is described in the lattice's own frame (`crystal.patches` in `kernels`): how bright
each site around it is compared with the perfect crystal (`classes.descriptors`), and the principal
components of its patch. A Gaussian mixture of these rows (`clustering.cluster`) gives the classes;
each is named after the motif it resembles (`classes.motifs`), or ``class 3`` where none fits. What
no class explains is -1.

How to read the answer: ``probability`` is the mixture's own; ``orientation`` says in which of the
three equivalent directions of the lattice the defect points, and is -1 for classes that look the
same in all three. Traps: classes are only as good as the sample (``n_frames``); a movie without a
lattice is described by raw crops, whose classes do not carry over to other rotations or pixel sizes
(a log line says so).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.classes.motifs import column_heights
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.detection.site_scatter import with_vacancies_at_sites
from stemkin.kernels.images.quality import frame_status
from stemkin.learning.classification import model_of
from stemkin.learning.confusion import with_confusion
from stemkin.learning.judging import judging_where_it_tells_more
from stemkin.learning.sampled import frame_pixels, looked_at, searched_frames
from stemkin.learning.strata import frames_to_learn_from
from stemkin.materials import Material, material_named
from stemkin.model import Model
from stemkin.movie import Movie, Movies, each_movie

__all__ = ["DETECTORS", "Model", "learn", "learn_detector", "with_confusion"]

DETECTORS = ("fourier", "network", "paper")
"""The detectors that `learn` knows by name."""

NOTHING_LEARNED = (
    "Nothing significant was learned of what the missing atoms of these movies look like, so a "
    "general filter looks for them. It sees fewer of the weak ones: of simulated S vacancies it "
    "finds .43 where a learned detector finds .57 at a quarter of the usual dose, and hardly any "
    "where that finds .90 under strong contamination. More frames to learn from (n_frames in "
    "[learn]) or a model learned on similar movies (--model) may cure it."
)
"""What is said, first, where the detector has no observer."""

logger = logging.getLogger(__name__)


@one_thread
def learn(
    movies: Movies,
    *,
    n_frames: int | None = None,
    n_classes: int | None = None,
    detector: Any = None,
    seed: int = 0,
    material: str | Material = "WS2",
) -> Model:
    """Learn what kinds of defects there are. Computes once, on whichever Dask scheduler is active.

    Parameters
    ----------
    movies
        A movie, an archive or any iterable of movies.
    n_frames
        Frames to learn from, drawn by the seed from all movies and times (all where there are fewer).
        None takes 16 of each kind of movie (pixel size, dose), and one of each movie, up to 200.
    n_classes
        How many classes; None lets the Bayesian information criterion choose.
    detector
        ``"fourier"``, ``"network"`` or ``"paper"`` (`learn_detector` says what each one is), or any
        detector as in `stemkin.detection.detectors`. `FourierDetector` unless given, with what it
        learns of the sampled frames: on the simulator's presets it finds as much as the network or
        a little more (see `stemkin.network`).
    seed
        Decides the frames and the starts; the same seed gives the same model, however the movies
        are stored or chunked.
    material
        What classes are named after: a name of `materials.MATERIALS` (``"WS2"``, ``"MoS2"``,
        ``"WSe2"``, ``"MoSe2"``, ``"graphene"``, ``"hBN"``), with a dopant if it is not the usual one
        (``"MoS2:V"``), or a `materials.Material`.

    Returns
    -------
    A `Model`. Without detections, or with fewer than two, it names nothing: every ``class_id`` is
    -1.

    Raises
    ------
    ValueError
        If there is no movie, or the material is not known.
    """
    if isinstance(material, str):
        material = material_named(material)
    listed = list(each_movie(movies))
    if not listed:
        msg = "there is no movie to learn from; check the folder or pattern that was opened"
        raise ValueError(msg)
    # the same frames teach the detector and then the classes
    frames = frames_to_learn_from(listed, n_frames, seed=seed)
    if detector is None or isinstance(detector, str):
        detector = learn_detector(
            listed, detector or "fourier", material=material, frames=frames, seed=seed
        )
    searched = searched_frames(listed, frames, detector)
    pixel_sizes_nm = [listed[i].pixel_size_nm for i, _ in frames]
    sample = looked_at(searched, pixel_sizes_nm, detector)
    settled = judging_where_it_tells_more(sample, detector, material)
    if settled is not detector:
        # it finds the same defects, and only what stands beside them is judged otherwise
        detector, sample = settled, looked_at(searched, pixel_sizes_nm, settled)
    model = model_of(sample, detector, n_classes, material, seed)
    about = {"material": f"{material.formula}:{material.dopant}", **_doses_of(listed, frames)}
    return replace(model, report={**model.report, **about})


def _doses_of(movies: Sequence[Movie], frames: Sequence[tuple[int, int]]) -> dict[str, list[float]]:
    """Return the least and the largest dose of the sampled frames, where it is known."""
    doses = [movies[i].dose_e_per_nm2 for i in sorted({i for i, _ in frames})]
    known = [dose for dose in doses if dose is not None]
    if not known:
        return {}
    return {"dose_e_per_nm2": [min(known), max(known)]}


def _with_vacancies_at_sites(detector: Any, material: Material) -> Any:
    """Return a detector that knows which columns of a material lose atoms; see `placing`.

    Where all columns are of one element both do, and dopants are among what is dark.
    """
    known = getattr(detector, "scatter", None)
    if known is None or material.is_elemental:
        return detector
    metal, chalcogen = column_heights(material)
    where = CHALCOGEN
    if chalcogen > metal:
        where = METAL
    return replace(detector, scatter=with_vacancies_at_sites(known, where))


def learn_detector(
    movies: Sequence[Movie],
    kind: str,
    *,
    material: Material,
    frames: Sequence[tuple[int, int]],
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Learn a detector of a named kind. Computes once, as one task on the active Dask scheduler.

    Parameters
    ----------
    movies
        Where the frames are.
    kind
        ``"fourier"``: `detectors.FourierDetector` with an observer of the movies' own vacancies,
        where that is significant (`kernels.detection.observer_learning`). ``"network"``:
        `network.learn_network` from all `frames`. ``"paper"``: the net and the recipe of Maksov et
        al. (2019), from the first of the `frames` only; takes hours.
    material
        Of the movies: it says on which columns vacancies are.
    frames
        (movie, frame) numbers; frames that are not ok are left out.
    seed
        Decides the weights.
    settings
        ``false_positives_per_frame`` and ``device`` of the detector.

    Returns
    -------
    A detector as in `stemkin.detection.detectors`.

    Raises
    ------
    ValueError
        If the kind is not known, no frame is ok, or none has a lattice where one is needed.
    """
    from dask import delayed

    if kind not in DETECTORS:
        msg = (
            f"no detector is called {kind!r}; choose from {DETECTORS} or pass a detector of your "
            "own"
        )
        raise ValueError(msg)
    if kind == "fourier":
        own = FourierDetector(**(settings or {}))
        learned: Callable[[], Any] = partial(_learned_observer, list(movies), list(frames), own)
    else:
        learned = partial(
            _learned_network, list(movies), kind, list(frames), seed, dict(settings or {})
        )
    # dask would look for tasks inside of whatever it is handed openly
    return _with_vacancies_at_sites(delayed(learned)().compute(), material)


@one_thread
def _learned_observer(
    movies: list[Movie], frames: list[tuple[int, int]], detector: FourierDetector
) -> FourierDetector:
    """Learn from those of the `frames` (movie, frame) that are ok what vacancies look like.

    One frame is in memory at a time.
    """
    read = (frame_pixels(movies[i], frame) for i, frame in frames)
    good = (pixels[0] for pixels in read if frame_status(pixels)[0] == tables.OK)
    learned = detector.learned_from(good)
    if learned.observer is None:
        logger.warning(NOTHING_LEARNED)
    return learned


@one_thread
def _learned_network(
    movies: list[Movie],
    kind: str,
    frames: list[tuple[int, int]],
    seed: int,
    settings: dict[str, Any],
) -> Any:
    """Learn a network from those of the `frames` (movie, frame) that are ok."""
    from stemkin import network

    read = [frame_pixels(movies[i], frame) for i, frame in frames]
    good = [pixels[0] for pixels in read if frame_status(pixels)[0] == tables.OK]
    if not good:
        msg = (
            f"none of the {len(frames)} sampled frames is ok (blank, saturated, truncated or "
            "corrupt), so no network can be learned"
        )
        raise ValueError(msg)
    if kind == "network":
        return network.learn_network(good, seed=seed, **settings)
    lattice = FourierDetector(device="cpu").remainder(good[0]).lattice
    spacing_px = 10.0
    if lattice is not None:
        spacing_px = lattice.spacing_px
    return network.learn_paper_network(good[0], spacing_px=spacing_px, seed=seed, **settings)

"""From sampled frames of a movie to a `NetworkDetector`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from stemkin.blas import one_thread
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.crystal.residual import remove_crystal
from stemkin.network import decoding
from stemkin.network.calibration import calibrate
from stemkin.network.detector import NetworkDetector
from stemkin.network.examples import OwnFrame
from stemkin.network.inference import maps_of, uses_fast_bf16
from stemkin.network.labels import of_remainder
from stemkin.network.localnorm import evened
from stemkin.network.scenes import BRIGHT, draw_scene
from stemkin.network.specimen import Specimen, measure, typical
from stemkin.network.training import PaperRecipe, Trained, TrainingRecipe, train_local, train_paper
from stemkin.network.weights import Weights

logger = logging.getLogger(__name__)

HELD_OUT = 5
"""Every fifth frame with labels is set apart for validation."""

PERFECT_PX = 256
"""Edge of the frames that tell the rate of false positives, and the errors of places."""

N_MEASURED = 24
"""How many frames with defects tell how well places are found."""


@one_thread
def learn_network(
    frames: Sequence[np.ndarray],
    *,
    seed: int = 0,
    recipe: TrainingRecipe | None = None,
    false_positives_per_frame: float = 1.0,
    device: Any = "auto",
) -> NetworkDetector:
    """Learn the local net from `frames` (y, x each). Computes once.

    Parameters
    ----------
    frames
        Good frames of the movie, or of several movies of the same kind; some with a lattice.
    seed
        The same seed gives the same weights on one machine.
    recipe
        How to train.
    false_positives_per_frame, device
        As in `NetworkDetector`.

    Raises
    ------
    ValueError
        If no frame has a lattice.
    """
    recipe = recipe or TrainingRecipe()
    labelled, specimens = [], []
    for frame in frames:
        image = np.asarray(frame, dtype=np.float32)
        rest = remove_crystal(image)
        if rest is not None:
            specimens.append(measure(image, rest))
            labelled.append(OwnFrame(image, of_remainder(rest)))
    if not specimens:
        msg = (
            f"no lattice was found in {len(frames)} frames, so there is nothing to draw examples "
            'after; use detector="fourier"'
        )
        raise ValueError(msg)
    specimen = typical(specimens)
    same = [
        own
        for own, one in zip(labelled, specimens, strict=True)
        if abs(one.spacing_px / specimen.spacing_px - 1) < 0.06
    ]
    held_out = same[HELD_OUT - 1 :: HELD_OUT]
    own = [one for i, one in enumerate(same) if i % HELD_OUT != HELD_OUT - 1]
    bf16 = uses_fast_bf16()
    trained = train_local(specimen, own, held_out, recipe=recipe, seed=seed, bf16=bf16)
    weights = _weights(
        "local",
        trained,
        specimen.spacing_px,
        width=recipe.width,
        dilations=recipe.dilations,
        bf16=bf16,
    )
    weights = replace(weights, record={**weights.record, "specimen": specimen.as_dict()})
    weights = replace(weights, calibration=_calibration(weights, specimen, recipe, seed))
    return NetworkDetector(
        weights, false_positives_per_frame=false_positives_per_frame, device=device
    )


def learn_paper_network(
    frame: np.ndarray,
    *,
    spacing_px: float,
    seed: int = 0,
    recipe: PaperRecipe | None = None,
    device: Any = "auto",
) -> NetworkDetector:
    """Learn the paper's net from one frame, as in the paper. Computes once.

    Parameters
    ----------
    frame
        (y, x) intensities, in any unit.
    spacing_px
        Its lattice constant [px].
    seed
        Decides weights and the order of windows.
    recipe
        `PaperRecipe` unless given.
    device
        Of the detector that is returned; the net itself is trained on the CPU.
    """
    trained = train_paper(
        np.asarray(frame, dtype=np.float32), recipe=recipe or PaperRecipe(), seed=seed
    )
    return NetworkDetector(_weights("paper", trained, spacing_px), device=device)


def _weights(kind: str, trained: Trained, spacing_px: float, **shape: Any) -> Weights:
    return Weights(kind, _arrays(trained.net), spacing_px, record=trained.record, **shape)


def _arrays(net: nn.Module) -> dict[str, np.ndarray]:
    return {
        name: np.ascontiguousarray(value.detach().numpy())
        for name, value in net.state_dict().items()
    }


def _calibration(
    weights: Weights, specimen: Specimen, recipe: TrainingRecipe, seed: int
) -> dict[str, Any]:
    """Return what the maps mean: signal-to-noise of the logits, and the position error by it."""
    spacing = specimen.spacing_px
    clean = replace(
        recipe.variety.perfect, turned=0.0, dose=0.0, contrast=0.0, blur=0.0, jitter=1.2
    )

    def drawn(variety: Any, stream: int, number: int) -> tuple[np.ndarray, Any]:
        # streams 1 and 2 share no scene with each other
        rng = np.random.default_rng([seed, stream, number])
        scene = draw_scene(specimen, (PERFECT_PX, PERFECT_PX), variety, rng)
        return np.asarray(evened(scene.exposed(rng), spacing_px=spacing), np.float32), scene

    perfect = maps_of(
        weights, [drawn(clean, 1, i)[0] for i in range(recipe.n_perfect)], device="cpu"
    )
    found = calibrate(list(perfect), area_px=recipe.n_perfect * PERFECT_PX**2, spacing_px=spacing)
    examples = [drawn(recipe.variety, 2, i) for i in range(N_MEASURED)]
    scores, misses = [np.zeros(0)], [np.zeros(0)]
    for maps, (_, scene) in zip(
        maps_of(weights, [e for e, _ in examples], device="cpu"), examples, strict=True
    ):
        y, x, score, _, _ = decoding.places(maps, found, least=4.0, spacing_px=spacing)
        dark = scene.points[scene.channel != BRIGHT]
        i, j = match_points(dark, np.stack([y, x], axis=1), max_distance=0.2 * spacing)
        scores.append(score[j])
        misses.append(((np.stack([y[j], x[j]], axis=1) - dark[i]) ** 2).mean(axis=1))
    return {**found, "position_error": _error_line(np.concatenate(scores), np.concatenate(misses))}


def _error_line(score: np.ndarray, squares: np.ndarray) -> list[float]:
    """Fit the mean square error = a^2 + (b / score)^2: a and b [px]."""
    if len(score) < 10:
        return [0.1, 2.0]
    from scipy.optimize import nnls

    matrix = np.stack([np.ones_like(score), score**-2.0], axis=1)
    a2, b2 = nnls(matrix, squares)[0]
    return [float(np.sqrt(max(a2, 1e-4))), float(np.sqrt(b2))]

"""Examples to learn from: drawn scenes and windows of the movie's own frames, as tensors.

An example follows from the seed and its number alone, so it does not matter who makes it, when, and
in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stemkin.network.labels import TrainingLabels
from stemkin.network.localnorm import evened
from stemkin.network.scenes import Variety, draw_scene
from stemkin.network.specimen import Specimen
from stemkin.network.targets import Target, target_of

WOBBLE = 4.0
"""Largest rotation [degrees] of a window of an own frame; and as many hundredths of zoom, half as
many."""


@dataclass(frozen=True, eq=False)
class OwnFrame:
    """A frame (y, x) of the movie, and what is labelled on it."""

    frame: np.ndarray
    labels: TrainingLabels


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples as tensors: frames and what a net should say of them.

    `frames` (n, 1, y, x), and `marks`, `offsets`, `near`, `judged` as in `targets.Target`.
    """

    frames: Tensor
    marks: Tensor
    offsets: Tensor
    near: Tensor
    judged: Tensor


@dataclass(frozen=True, eq=False)
class ExampleSource:
    """Where examples come from.

    Attributes
    ----------
    specimen, variety
        What is drawn.
    own
        Frames of the movie with labels; may be empty.
    own_share
        Share of the examples that are windows of those.
    size
        Edge of an example [px].
    """

    specimen: Specimen
    variety: Variety
    own: Sequence[OwnFrame]
    own_share: float
    size: int

    def batch(self, seed: int, number: int, n: int) -> Batch:
        """Return the batch of that number: `n` examples."""
        made = [self._one(np.random.default_rng([seed, number, i])) for i in range(n)]
        frames = np.stack([frame for frame, _ in made])[:, None]
        maps = [
            np.stack([getattr(t, name) for _, t in made])
            for name in ("marks", "offsets", "near", "judged")
        ]
        return Batch(torch.from_numpy(frames), *(torch.from_numpy(m) for m in maps))

    def _one(self, rng: np.random.Generator) -> tuple[np.ndarray, Target]:
        shape, spacing = (self.size, self.size), self.specimen.spacing_px
        if self.own and rng.random() < self.own_share:
            frame, labels = window_of(self.own[int(rng.integers(len(self.own)))], self.size, rng)
            points, channel, doubtful = labels.points, labels.channel, labels.doubtful
        else:
            scene = draw_scene(self.specimen, shape, self.variety, rng)
            frame = scene.exposed(rng)
            points, channel, doubtful = scene.points, scene.channel, np.zeros((0, 2))
        level = np.asarray(evened(frame, spacing_px=spacing), np.float32)
        return level, target_of(points, channel, doubtful, shape, spacing)


def window_of(
    own: OwnFrame, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, TrainingLabels]:
    """Cut a window out of a frame, and vary it.

    It is turned and zoomed a little, flipped, and gets more noise, blur or contrast.

    Parameters
    ----------
    own
        The frame (y, x), and what is labelled on it.
    size
        Edge of the window [px].
    rng
        Decides everything.

    Returns
    -------
    (size, size) float32 window, and the labels on it.
    """
    from scipy import ndimage

    frame = own.frame
    # Half of the windows are not turned: whole pixels, which keep the noise of the frame as it is.
    turn, zoom = 0.0, 1.0
    order: Literal[0, 3] = 0
    if rng.random() < 0.5:
        turn = np.radians(rng.uniform(-WOBBLE, WOBBLE))
    if turn:
        zoom, order = 1 + 0.005 * rng.uniform(-WOBBLE, WOBBLE), 3
    room = np.maximum(np.array(frame.shape) - size, 0)
    corner = np.rint(rng.random(2) * room)
    middle = (size - 1) / 2
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    # `matrix` leads from the window to the frame, about the window's middle; rows of places go the
    # other way by p_window = (p_frame - offset) @ inverse.T.
    matrix = np.array([[cos, -sin], [sin, cos]])
    offset = corner + middle - matrix @ np.array([middle, middle])
    window: np.ndarray = ndimage.affine_transform(
        frame.astype(np.float32),
        matrix,
        offset,
        output_shape=(size, size),
        order=order,
        mode="mirror",
    )
    back = np.linalg.inv(matrix).T
    points, doubtful = own.labels.points, own.labels.doubtful
    if len(points):
        points = (points - offset) @ back
    if len(doubtful):
        doubtful = (doubtful - offset) @ back
    for axis in (0, 1):
        if rng.random() < 0.5:
            window = np.flip(window, axis)
            points, doubtful = (_flipped(places, axis, size) for places in (points, doubtful))
    window = _exposed_otherwise(window, rng)
    inside = ((points > -0.5) & (points < size - 0.5)).all(axis=1)
    return np.ascontiguousarray(window, np.float32), TrainingLabels(
        points[inside], own.labels.channel[inside], doubtful
    )


def _exposed_otherwise(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a window (y, x) with some blur, another contrast and more noise."""
    from scipy import ndimage

    if rng.random() < 0.2:
        window = ndimage.gaussian_filter(window, rng.uniform(0.2, 0.5))
    spread = float(window.std())
    contrast, grain = rng.uniform(0.7, 1.4), spread * rng.uniform(0, 0.08)
    return np.asarray(window * contrast + grain * rng.standard_normal(window.shape))


def _flipped(points: np.ndarray, axis: int, size: int) -> np.ndarray:
    turned = points.copy()
    turned[:, axis] = size - 1 - turned[:, axis]
    return turned

"""A small net, learned from the movie itself, finds every defect in every frame, on CPU or GPU.

The paper trained a net on one Fourier-filtered frame, so that it goes on working when holes open
and fragments turn, where a filter of the whole frame fails. This room does the same, better: from a
few frames it measures how the movie looks (`network.specimen`: lattice, image of a column, dose,
jitter), draws thousands of scenes of its kind whose defects are known exactly (`network.scenes`),
adds windows of the movie's own frames labelled by their noise-normalised residual
(`network.labels`), and trains a fully convolutional net of 38,000 weights on them (`training`, a
minute and a half on two cores). Its logits are calibrated on drawn frames without defects
(`calibration`), so that a threshold is a rate of false positives per frame.

    detector = learn_network(frames)                    # frames: a few good ones, (y, x) each
    detector(block)                                     # any detector's records, as in detect(...)
    detector.save("net/"); load_network("net/")         # JSON and safetensors, never pickle

What follows from measurement: plain 3x3 convolutions at half resolution (2 x 2 pixels become
channels) with dilations 1, 2, 4, 2 see 20 px around each place; channels-last in bfloat16 on
processors that multiply it takes 12 ms per 512 x 512 frame and thread, in float32 35 ms (plain) to
47; depthwise convolutions are no faster and train three times slower.

The input was chosen by measurement too (simulated frames at a fifth of the paper's dose, recall of
V_S at one false positive per frame, where an ideal observer reaches 0.52; equal nets, scenes and
steps): the frame alone 0.41, the residual of the Fourier stage alone 0.16, both 0.41. So the frame
alone it is; nothing then hangs on a lattice of the whole frame.

Beside `FourierDetector` (which stays the default: it needs no learning): both find every defect of
the presets ``paper``; away from the rims of holes on ``late-stage`` both find 0.998 of V_S; at a
fifth of the dose the net finds 0.44 of V_S (0.46 with 48 channels), the tuned filter 0.47. Where
the crystal is broken the net alone (`NetworkDetector.find`) takes 20 ms per frame as ever, the
filter, which looks for every grain, about 170.

Traps: the net knows the lattice constant that it was trained for; a frame with another one is
resampled if its lattice is found, and used as it is if not. Defects at the rim of a hole cannot be
told from the rim. The same seed gives the same weights on one kind of machine only. The paper's net
is there for comparison: `learn_paper_network`.

Importing this room does not import torch; learning and searching do.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import Any

from stemkin.extras import needed
from stemkin.network.detector import NetworkDetector
from stemkin.network.weights import Weights

__all__ = [
    "NetworkDetector",
    "PaperRecipe",
    "TrainingRecipe",
    "Weights",
    "learn_network",
    "learn_paper_network",
    "load_network",
]

_LATER = {
    "learn_network": "learning",
    "learn_paper_network": "learning",
    "TrainingRecipe": "training",
    "PaperRecipe": "training",
}


def load_network(folder: str | PathLike[str], **settings: Any) -> NetworkDetector:
    """Return the detector of a net that `NetworkDetector.save` wrote.

    `settings` are those of `NetworkDetector`.

    Raises
    ------
    ValueError
        If there is none, it is damaged, or it is of another version.
    """
    return NetworkDetector(Weights.load(folder), **settings)


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module 'stemkin.network' has no attribute {name!r}"
        raise AttributeError(msg)
    needed("torch", extra="network", wanted_for="a network that finds defects")
    return getattr(import_module(f"stemkin.network.{_LATER[name]}"), name)

"""How a net learns: from scenes like the movie's, or the paper's from windows of one frame.

The same seed gives the same weights on one machine, whatever else it does: examples follow from
their numbers, and the arithmetic of training is that of one thread (a second one draws the
examples).
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from stemkin.blas import one_thread
from stemkin.network.decoding import stretched
from stemkin.network.examples import Batch, ExampleSource, OwnFrame
from stemkin.network.labels import paper
from stemkin.network.nets import LocalNet, PaperNet, channels_last
from stemkin.network.scenes import Variety
from stemkin.network.specimen import Specimen

logger = logging.getLogger(__name__)

AHEAD = 4
"""Batches that are drawn before they are needed."""

OFFSETS = 0.1
"""Weight of the squared error of an offset [px2] beside that of the marks."""

MARKS = 50.0
"""Weight of the marks: few cells hold a defect."""


@dataclass(frozen=True)
class TrainingRecipe:
    """How the local net is trained.

    Attributes
    ----------
    steps, batch, size
        Steps at most, examples per step, and their edge [px].
    rate
        Largest learning rate, reached after a seventh of the steps; falls to nothing along a
        cosine.
    width, dilations
        Of the net, see `nets.LocalNet`.
    own_share
        Share of the examples that are windows of the movie's own frames, labelled by their
        residual; the others are drawn.
    check
        Steps between looks at the validation examples.
    patience
        Training stops after so many looks without a better one.
    n_validation
        Batches that are set apart for validation.
    n_perfect
        How many drawn frames without defects tell the rate of false positives.
    variety
        How much the drawn scenes differ.
    """

    steps: int = 1400
    batch: int = 16
    size: int = 128
    rate: float = 2e-3
    width: int = 32
    dilations: tuple[int, ...] = (1, 2, 4, 2)
    own_share: float = 0.2
    check: int = 100
    patience: int = 5
    n_validation: int = 6
    n_perfect: int = 160
    variety: Variety = field(default_factory=Variety)


@dataclass(frozen=True)
class PaperRecipe:
    """The training of Maksov et al. (2019): 256-px windows every 8 px of one frame.

    Adam, cross-entropy, batches of 32, 50 epochs.

    `epochs`, `stride_px` and `window_px` may be changed; with the paper's own values training takes
    hours on two cores.
    """

    window_px: int = 256
    stride_px: int = 8
    batch: int = 32
    epochs: int = 50
    rate: float = 1e-3


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained net, and how it came about.

    `record` is plain values for JSON; ``curve`` in it is shown in the report.
    """

    net: nn.Module
    record: dict[str, Any]


def train_local(
    specimen: Specimen,
    own: Sequence[OwnFrame],
    held_out: Sequence[OwnFrame],
    *,
    recipe: TrainingRecipe,
    seed: int,
    bf16: bool,
) -> Trained:
    """Train the local net. Computes once, on one core and a second one that draws.

    Parameters
    ----------
    specimen
        What the movie's frames look like.
    own, held_out
        Frames of the movie with labels: to learn from, and to validate on (other frames, not other
        windows).
    recipe
        How.
    seed
        Decides weights and examples.
    bf16
        Whether the convolutions are computed in bfloat16.
    """
    started = time.perf_counter()
    source = ExampleSource(specimen, recipe.variety, own, recipe.own_share, recipe.size)
    apart = ExampleSource(specimen, recipe.variety, held_out, recipe.own_share, recipe.size)
    with one_thread, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = channels_last(LocalNet(1, recipe.width, recipe.dilations))
        optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.rate, total_steps=recipe.steps, pct_start=0.15
        )
        validation = [
            apart.batch(seed + 1, number, recipe.batch) for number in range(recipe.n_validation)
        ]
        best, since, losses = (float("inf"), copy.deepcopy(net.state_dict())), 0, []
        curve: dict[str, list[float]] = {"step": [], "training": [], "validation": []}
        for step, batch in enumerate(_drawn_ahead(source, seed, recipe), start=1):
            loss = _loss(net, batch, bf16=bf16)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            # every `check` steps, and after the last: the weights that do best on frames held out
            # are kept, and `patience` checks without a better result end the training
            if step % recipe.check and step != recipe.steps:
                continue
            with torch.no_grad():
                found = float(np.mean([float(_loss(net, one, bf16=bf16)) for one in validation]))
            for name, value in zip(curve, (step, float(np.mean(losses)), found), strict=True):
                curve[name].append(value)
            logger.info(
                "step %d of %d: training loss %.4f, validation loss %.4f",
                step,
                recipe.steps,
                curve["training"][-1],
                found,
            )
            losses, since = [], since + 1
            if found < best[0]:
                best, since = (found, copy.deepcopy(net.state_dict())), 0
            if since >= recipe.patience:
                break
        net.load_state_dict(best[1])
    record = {
        "recipe": _plain(asdict(recipe)),
        "seed": seed,
        "curve": curve,
        "validation_loss": best[0],
        "n_own_frames": len(own),
        "n_held_out_frames": len(held_out),
        "seconds": time.perf_counter() - started,
    }
    return Trained(net.eval(), record)


def train_paper(frame: np.ndarray, *, recipe: PaperRecipe, seed: int) -> Trained:
    """Train the paper's net on windows of one `frame` (y, x). Computes once.

    The windows are labelled by the paper's recipe. As in the paper there is no validation: windows
    overlap, so some of them set apart would tell nothing.

    Parameters
    ----------
    frame
        (y, x) float32 intensities, in any unit.
    recipe
        How.
    seed
        Decides weights and the order of windows.
    """
    started = time.perf_counter()
    inputs = torch.from_numpy(stretched(frame))
    labels = torch.from_numpy(paper(frame).astype(np.int64))
    size = min(recipe.window_px, *(n // 2 * 2 for n in frame.shape))
    # windows lie wholly in the frame; an even edge halves and doubles without a remainder
    tops, lefts = (range(0, n - size + 1, recipe.stride_px) for n in frame.shape)
    corners = [(top, left) for top in tops for left in lefts]
    rng = np.random.default_rng(seed)
    curve: dict[str, list[float]] = {"step": [], "training": []}
    with one_thread, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = channels_last(PaperNet())
        optimiser = torch.optim.Adam(net.parameters(), lr=recipe.rate)
        for epoch in range(recipe.epochs):
            order, losses = rng.permutation(len(corners)), []
            for start in range(0, len(order), recipe.batch):
                some = [corners[i] for i in order[start : start + recipe.batch]]
                x = torch.stack([inputs[None, a : a + size, b : b + size] for a, b in some])
                wanted = torch.stack([labels[a : a + size, b : b + size] for a, b in some])
                loss = F.cross_entropy(net(x.contiguous(memory_format=torch.channels_last)), wanted)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(float(loss.detach()))
            curve["step"].append(float(epoch + 1))
            curve["training"].append(float(np.mean(losses)))
    seconds = time.perf_counter() - started
    return Trained(
        net.eval(), {"recipe": asdict(recipe), "seed": seed, "curve": curve, "seconds": seconds}
    )


def _loss(net: nn.Module, batch: Batch, *, bf16: bool) -> Tensor:
    """Return the loss of a batch: that of the marks and that of the offsets.

    Cross-entropy of the marks over its own least value, and squared error of the offsets.
    """
    frames = batch.frames.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        maps = net(frames)
    # Marks are no bare 0 and 1, so the cross-entropy of a perfect answer is not 0 but `entropy`.
    # Offsets count near defects only; the 1 keeps a batch without any from dividing by 0.
    entropy = F.binary_cross_entropy(batch.marks, batch.marks, reduction="none")
    wrong = F.binary_cross_entropy_with_logits(maps[:, :2], batch.marks, reduction="none") - entropy
    marks = (wrong * batch.judged[:, None]).mean()
    miss = ((maps[:, 2:] - batch.offsets) ** 2).sum(dim=1) * batch.near
    loss: Tensor = MARKS * marks + OFFSETS * miss.sum() / (batch.near.sum() + 1)
    return loss


def _drawn_ahead(source: ExampleSource, seed: int, recipe: TrainingRecipe) -> Iterator[Batch]:
    """Yield the batches in order; a second thread draws the next ones meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [
            pool.submit(source.batch, seed, number, recipe.batch)
            for number in range(min(AHEAD, recipe.steps))
        ]
        for number in range(recipe.steps):
            batch = waiting.pop(0).result()
            if number + AHEAD < recipe.steps:
                waiting.append(pool.submit(source.batch, seed, number + AHEAD, recipe.batch))
            yield batch


def _plain(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items()}
    return [_plain(v) for v in values] if isinstance(values, tuple) else values

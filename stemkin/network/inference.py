"""Maps of a net for whole frames: one by one on a CPU, in batches on a GPU, large ones in tiles.

On a CPU every frame (or tile) is a batch of its own, computed by one thread: so what a frame gives
cannot depend on its company, and a net of this size gains nothing from larger batches. On a GPU a
batch is filled up to its full size, so that the same kernels run whatever the block's length; where
memory runs out the batch is halved, and that size kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from stemkin.blas import one_thread
from stemkin.network.decoding import STRIDE
from stemkin.network.nets import LocalNet, PaperNet, channels_last
from stemkin.network.weights import Weights

logger = logging.getLogger(__name__)

TILE_PX = 1024
"""Frames with an edge beyond this are computed in tiles whose middles are at most as large."""

GPU_BATCH = 32
"""Frames or tiles at once on a GPU, to begin with."""

_batch_that_fits: dict[tuple[str, tuple[int, ...]], int] = {}
"""Per net and shape of tile, on this worker, the batch that its memory allowed."""


def maps_of(
    weights: Weights, frames: Sequence[np.ndarray], *, device: str, tile_px: int = TILE_PX
) -> Iterator[np.ndarray]:
    """Yield the maps (k, y, x) float32 of each of the `frames`.

    Parameters
    ----------
    weights
        The net.
    frames
        (y, x) float32 each, prepared as the net wants them; they may differ in shape.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"torch"``, as in `devices.to_device`.
    tile_px
        Largest edge of a tile's middle [px]; even.
    """
    where = _where(device)
    net = _net(weights, str(where))
    # A margin as wide as the net looks makes tiles equal to the whole frame; it is even, so that
    # the cells of a tile lie on those of the frame.
    margin = net.reach_px + net.reach_px % STRIDE
    plans = [
        (i, tile) for i, frame in enumerate(frames) for tile in _tiles(frame.shape, tile_px, margin)
    ]
    cuts = [_cut(frames[i], tile) for i, tile in plans]
    if where.type == "cpu":
        answers = _on_cpu(net, weights, cuts)
    else:
        answers = _on_gpu(net, weights, cuts, where)
    stride = 1
    if isinstance(net, LocalNet):
        stride = STRIDE
    done: list[Any] = [None] * len(frames)
    # `left[i]`: tiles of frame i still to come. Tiles come in the order of their frames, so a frame
    # is handed out, and forgotten, when its last tile is pasted and no earlier frame waits.
    left = np.bincount([i for i, _ in plans], minlength=len(frames))
    for (i, tile), answer in zip(plans, answers, strict=True):
        if done[i] is None:
            # -(-n // stride) rounds up: an odd edge has one more cell, half of it beyond the frame
            height, width = (-(-n // stride) for n in frames[i].shape)
            done[i] = np.empty((answer.shape[0], height, width), np.float32)
        _paste(done[i], answer, tile, stride)
        left[i] -= 1
        if left[i] == 0 and (left[: i + 1] == 0).all():
            yield done[i]
            done[i] = None


def group_size(device: str) -> int:
    """Return how many frames are worth searching at once on this worker."""
    if _where(device).type == "cpu":
        return 1
    return GPU_BATCH


def uses_fast_bf16() -> bool:
    """Tell whether this processor multiplies bfloat16 itself.

    That is several times faster; elsewhere it is emulated.
    """
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(ask is not None and ask())


def _where(device: str) -> torch.device:
    if device == "cpu" or (device in ("auto", "torch") and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        msg = (
            'device="cuda" was asked for, but torch finds no GPU on this worker; use device="auto"'
        )
        raise RuntimeError(msg)
    return torch.device("cuda")


@lru_cache(maxsize=4)
def _net(weights: Weights, device: str) -> LocalNet | PaperNet:
    """Return the net with its weights on the device: made once per worker."""
    net: LocalNet | PaperNet = (
        PaperNet() if weights.kind == "paper" else LocalNet(1, weights.width, weights.dilations)
    )
    net.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in weights.arrays.items()})
    return channels_last(net.eval().requires_grad_(False).to(device))


Tile = tuple[tuple[int, int, int, int], tuple[int, int, int, int]]
"""Rows and columns (start, stop) of a tile's middle [px], and the same with its margin."""


def _tiles(shape: tuple[int, ...], tile_px: int, margin: int) -> list[Tile]:
    """Divide a frame of `shape` into tiles whose middles cover it once.

    Margins end at the frame's edge.
    """
    spans = []
    for n in shape:
        if n <= tile_px:
            spans.append([(0, n, 0, n)])
            continue
        starts = range(0, n, tile_px)
        spans.append(
            [
                (a, min(a + tile_px, n), max(a - margin, 0), min(a + tile_px + margin, n))
                for a in starts
            ]
        )
    return [
        ((r[0], r[1], c[0], c[1]), (r[2], r[3], c[2], c[3])) for r in spans[0] for c in spans[1]
    ]


def _cut(frame: np.ndarray, tile: Tile) -> np.ndarray:
    """Return the pixels of a tile, with even edges.

    An odd edge gets one more row or column of zeros, as the net's own padding is.
    """
    a, b, c, d = tile[1]
    part = frame[a:b, c:d]
    odd = [(0, n % STRIDE) for n in part.shape]
    if not any(more for _, more in odd):
        return part
    return np.pad(part, odd)


def _paste(whole: np.ndarray, answer: np.ndarray, tile: Tile, stride: int) -> None:
    """Put the middle of a tile's maps (k, y, x) into those of the whole frame."""
    # All of `a`, `c`, `top` and `left` are multiples of `stride`; only the frame's own edges `b`
    # and `d` may not be, and round up. Rows of the answer count from the top of the margin.
    (a, b, c, d), (top, _, left, _) = tile
    rows, columns = slice(a // stride, -(-b // stride)), slice(c // stride, -(-d // stride))
    top, left = top // stride, left // stride
    whole[:, rows, columns] = answer[
        :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]


def _on_cpu(net: nn.Module, weights: Weights, cuts: list[np.ndarray]) -> Iterator[np.ndarray]:
    for cut in cuts:
        with one_thread:  # the task is one of several; and sums keep their order
            (answer,) = _run(net, weights, cut[None], torch.device("cpu"))
        yield answer


def _on_gpu(
    net: nn.Module, weights: Weights, cuts: list[np.ndarray], where: torch.device
) -> Iterator[np.ndarray]:
    # Cuts from `start` to `same` have one shape; a batch takes up to `size` of them. It is always
    # full, with zeros behind the last, so the kernels (and the order of their sums) stay the same.
    start = 0
    while start < len(cuts):
        shape = cuts[start].shape
        same = start
        while same < len(cuts) and cuts[same].shape == shape:
            same += 1
        size = _batch_that_fits.get((weights.digest, shape), GPU_BATCH)
        stop = min(start + size, same)
        full = np.zeros((size, *shape), np.float32)
        full[: stop - start] = cuts[start:stop]
        try:
            answers = _run(net, weights, full, where)
        except torch.cuda.OutOfMemoryError as error:
            if size == 1:
                msg = (
                    f"one tile of {shape[0]} x {shape[1]} px does not fit into the memory of the "
                    'GPU; use device="cpu"'
                )
                raise MemoryError(msg) from error
            torch.cuda.empty_cache()
            _batch_that_fits[weights.digest, shape] = size // 2
            logger.warning(
                "the GPU's memory does not hold %d tiles of %d x %d px: going on with %d",
                size,
                *shape,
                size // 2,
            )
            continue
        yield from answers[: stop - start]
        start = stop


def _run(net: nn.Module, weights: Weights, frames: np.ndarray, where: torch.device) -> np.ndarray:
    """Return the maps (n, k, y, x) of `frames` (n, y, x)."""
    batch = torch.from_numpy(np.ascontiguousarray(frames, np.float32))[:, None].to(where)
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=weights.bf16):
        maps = net(batch)
    return np.asarray(maps.float().cpu().numpy())

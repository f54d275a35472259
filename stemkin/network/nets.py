"""The nets: the paper's encoder-decoder, and a small local one that is several times faster.

Both take (n, channels, y, x) float32 and are fully convolutional: what they say of a place depends
on its surroundings only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from stemkin.network.decoding import STRIDE

RARE = -4.5
"""The first logit of every cell: about the share of cells that hold a defect."""

Net = TypeVar("Net", bound=nn.Module)


class LocalNet(nn.Module):
    """Plain 3x3 convolutions at half resolution, some of them dilated.

    There is no normalisation, so every place is on its own.

    Pixels of 2 x 2 cells become channels, so nothing is lost by the lower resolution, and the maps
    are brought below one pixel by the offsets. The last layer is computed in float32 whatever the
    rest is.

    Parameters
    ----------
    n_inputs
        Channels of the input.
    width
        Channels of each layer.
    dilations
        Of each layer after the first.
    """

    n_outputs = 4
    """Maps: logits of dark and of bright defects, and the offset y, x [px] of the nearest defect
    from the middle of the cell."""

    def __init__(
        self, n_inputs: int = 1, width: int = 32, dilations: tuple[int, ...] = (1, 2, 4, 2)
    ) -> None:
        """Lay out the layers; weights are drawn from torch's current generator."""
        super().__init__()
        self.n_inputs, self.width, self.dilations = n_inputs, width, tuple(dilations)
        sizes = [n_inputs * STRIDE**2, *[width] * (len(dilations) + 1)]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=d, dilation=d)
            for a, b, d in zip(sizes[:-1], sizes[1:], (1, *dilations), strict=True)
        )
        self.head = nn.Conv2d(width, self.n_outputs, 1)
        with torch.no_grad():
            for name, values in self.named_parameters():
                if name.endswith("bias"):
                    nn.init.zeros_(values)
                elif name.startswith("head"):
                    nn.init.normal_(values, std=0.05)
                else:
                    nn.init.kaiming_normal_(values, nonlinearity="relu")
            self.get_parameter("head.bias")[:2] = RARE

    @property
    def reach_px(self) -> int:
        """How far [px] from a cell's edge the input still matters."""
        return STRIDE * (1 + sum(self.dilations))

    def forward(self, frames: Tensor) -> Tensor:
        """Return the (n, 4, y / 2, x / 2) maps of (n, channels, y, x) frames; y and x are even."""
        x = F.pixel_unshuffle(frames, STRIDE)
        for i, layer in enumerate(self.layers):
            y = F.relu(layer(x))
            # every second layer adds to its input instead of replacing it (He et al. 2016)
            if i > 0 and i % 2 == 0:
                y = x + y
            x = y
        return self.head_of(x)

    def head_of(self, x: Tensor) -> Tensor:
        """Return the maps of the last features, in float32."""
        with torch.autocast(x.device.type, enabled=False):
            maps: Tensor = self.head(x.float())
            return maps


class PaperNet(nn.Module):
    """The encoder-decoder of Maksov et al. (2019), with 20-40-40-20-2 channels.

    Convolutions are 3x3, with one pooling and one unpooling.

    The paper does not say where it pools; here after the first layer and before the last but one,
    the usual place.
    """

    n_outputs = 2
    """Logits of lattice and of defect, at full resolution."""

    def __init__(self) -> None:
        """Lay out the layers; weights are drawn from torch's current generator."""
        super().__init__()
        self.n_inputs = 1
        sizes = [1, 20, 40, 40, 20]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))
        self.head = nn.Conv2d(20, self.n_outputs, 3, padding=1)

    @property
    def reach_px(self) -> int:
        """How far [px] the input still matters.

        Layers at full and at half resolution count, and the pooling.
        """
        return 1 + 2 * 2 + 1 + 1 + 4

    def forward(self, frames: Tensor) -> Tensor:
        """Return (n, 2, y, x) logits of (n, 1, y, x) frames of even height and width."""
        x = F.relu(self.layers[0](frames))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.layers[1](x))
        x = F.relu(self.layers[2](x))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = F.relu(self.layers[3](x))
        return self.head(x)  # type: ignore[no-any-return]


def channels_last(net: Net) -> Net:
    """Return `net` with its weights laid out channels-last, which is faster on a CPU."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

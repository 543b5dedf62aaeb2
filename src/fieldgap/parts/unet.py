"""The small U-Net (Ronneberger, Fischer and Brox 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    pass
    pass


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(math.gcd(8, channels), channels),
    "none": nn.Identity,
}


def block(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """Two 3x3 convolutions, each with norm and ReLU; (N, inputs, H, W) -> (N, outputs, H, W)."""
    bias = norm == "none"  # A norm's own shift makes a convolution's bias redundant.
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=bias), NORMS[norm](outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, H, W): a block without its last ReLU, added to its input (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.branch = block(inputs, outputs, norm)[:-1]
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.shortcut(x) + self.branch(x))


class UNet(nn.Module):
    """(N, bands, H, W) -> (N, classes, H, W) logits; H and W must divide by 2**depth.

    `width` is the number of channels at full resolution; it doubles with each of the `depth` halvings.
    """

    def __init__(
        self, width: int, depth: int, classes: int, norm: str, *, residual: bool = False, bands: int = 3
    ) -> None:
        super().__init__()
        make = Residual if residual else block
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(make(i, o, norm) for i, o in zip([bands, *widths], widths, strict=False))
        self.halve = nn.MaxPool2d(2)
        # Transposed convolutions, since the backward pass of bilinear upsampling is not deterministic on CUDA.
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.up = nn.ModuleList(make(2 * w, w, norm) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down[:-1]:
            x = down(x)
            skips.append(x)
            x = self.halve(x)
        x = self.down[-1](x)
        for grow, up, skip in zip(self.grow, self.up, reversed(skips), strict=True):
            x = up(torch.cat([skip, grow(x)], dim=1))
        return self.head(x)

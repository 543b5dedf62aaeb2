"""The small U-Net (Ronneberger, Fischer and Brox 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(math.gcd(8, channels), channels),
    "none": nn.Identity,
}


def _block(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """Return two 3x3 convolutions, each with norm and ReLU: (N, inputs, H, W) to (N, outputs, H, W)."""
    bias = norm == "none"  # A norm's own shift makes the bias of a convolution redundant.
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=bias), _NORMS[norm](outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """A block without its last ReLU, added to its input (He et al. 2016): (N, inputs, H, W) to (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.branch = _block(inputs, outputs, norm)[:-1]
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the rectified sum of branch and shortcut."""
        return self.relu(self.shortcut(x) + self.branch(x))


class UNet(nn.Module):
    """A U-Net from images (N, bands, H, W) to logits (N, classes, H, W).

    Args:
        width: The number of channels at full resolution. It doubles with each halving.
        depth: The number of halvings. H and W must be divisible by 2**depth.
        classes: The number of classes.
        norm: `batch`, `group` or `none`.
        residual: Whether blocks are residual.
        bands: The number of bands of the images.
    """

    def __init__(
        self, width: int, depth: int, classes: int, norm: str, *, residual: bool = False, bands: int = 3
    ) -> None:
        super().__init__()
        make = Residual if residual else _block
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(make(i, o, norm) for i, o in zip([bands, *widths], widths, strict=False))
        self.halve = nn.MaxPool2d(2)
        # Transposed convolutions, since the backward pass of bilinear upsampling is not deterministic on CUDA.
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.up = nn.ModuleList(make(2 * w, w, norm) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, H, W) of standardised images (N, bands, H, W)."""
        skips = []
        for down in self.down[:-1]:
            x = down(x)
            skips.append(x)
            x = self.halve(x)
        x = self.down[-1](x)
        for grow, up, skip in zip(self.grow, self.up, reversed(skips), strict=True):
            x = up(torch.cat([skip, grow(x)], dim=1))
        return self.head(x)

"""The small U-Net (Ronneberger, Fischer and Brox 2015), and the door to other networks."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fieldgap.errors import InputError
from fieldgap.parts import find

if TYPE_CHECKING:
    from fieldgap.sections import Train
    from fieldgap.tiles import Tiles

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


class Standardized(nn.Module):
    """A network behind the standardisation of its input: (N, bands, H, W) uint8 -> (N, classes, H, W) logits.

    `mean` and `std`, per channel on the scale 0 to 255, are buffers, so weights on disk are complete.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images.float() - self.mean) / self.std)


class AdaptiveAverage(nn.Module):
    """nn.AdaptiveAvgPool2d as two products of matrices, since its own backward pass on CUDA is not deterministic.

    (N, C, H, W) -> (N, C, *size); None in `size` keeps that side.
    """

    def __init__(self, size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.size = (size, size) if size is None or isinstance(size, int) else tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (averages(side, wanted or side, x) for side, wanted in zip(x.shape[2:], self.size, strict=True))
        return rows @ x @ columns.mT


def averages(side: int, parts: int, like: Tensor) -> Tensor:
    """-> (parts, side): each row the mean over one of equal parts of a side, which may share a pixel."""
    part, at = torch.arange(parts, device=like.device)[:, None], torch.arange(side, device=like.device)
    # Like torch, from the floor of where a part begins to the ceiling of where it ends.
    inside = (at >= part * side // parts) & (at < -(-(part + 1) * side // parts))
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)


def make_deterministic(net: nn.Module) -> None:
    """Replaces the layers of a network that do not repeat their bits on CUDA."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, AdaptiveAverage(child.output_size))


def foreign(name: str, options: Mapping[str, Any], bands: int, classes: int) -> nn.Module:
    """-> a network of segmentation_models_pytorch, without pretrained weights, or of the user's own.

    Raises InputError for an option that it does not take.
    """
    if ":" in name:
        make = functools.partial(find({}, name), **({} if bands == 3 else {"bands": bands}))
    else:
        import segmentation_models_pytorch as smp

        make = functools.partial(getattr(smp, name.removeprefix("smp.")), encoder_weights=None, in_channels=bands)
        # The library passes over what it does not know.
        if unknown := options.keys() - inspect.signature(make).parameters.keys():
            raise InputError(f"options.{name}.{min(unknown)}: no such option; see segmentation_models_pytorch")
    try:
        net = make(classes=classes, **options)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"options.{name}: {error}; see what {name} takes") from None
    make_deterministic(net)
    return net


def network(config: Train, size: int, bands: int, classes: int) -> nn.Module:
    """-> the network for tiles of `size` px. Raises InputError when its depth does not fit them."""
    if config.model != "unet":
        return foreign(config.model, config.options.get(config.model, {}), bands, classes)
    if size % (multiple := 2**config.depth):
        raise InputError(f"depth: {config.depth} halvings need tiles that divide by {multiple}, not {size} px")
    return UNet(config.width, config.depth, classes, config.norm, residual=config.residual, bands=bands)


def build(config: Train, tiles: Tiles) -> nn.Module:
    """-> the network of a configuration behind its standardisation, not yet started; tried on an empty tile.

    Raises InputError when it does not fit the tiles.
    """
    size, bands, classes = tiles.images.shape[1], tiles.images.shape[3], len(tiles.classes)
    whole = Standardized(network(config, size, bands, classes), tiles.mean, tiles.std)
    whole = whole.to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            shape = whole.eval()(torch.zeros(1, bands, size, size, dtype=torch.uint8)).shape
    except (RuntimeError, ValueError) as error:
        raise InputError(f"model: {config.model} cannot take tiles of {size} px ({error})") from None
    if shape != (1, classes, size, size):
        raise InputError(
            f"model: {config.model} turns {size} px into {tuple(shape)}, not (1, {classes}, {size}, {size})"
        )
    return whole.train()

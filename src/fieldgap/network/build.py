"""Build the network and the loss that a configuration names, for the tiles that it is to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fieldgap.base.errors import InputError
from fieldgap.network.deterministic import make_deterministic
from fieldgap.parts.losses import loss_named
from fieldgap.parts.networks import make_network
from fieldgap.parts.unet import UNet

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.parts.registry import Options
    from fieldgap.settings.sections import Train
    from fieldgap.tiles.packed import Tiles


class Standardized(nn.Module):
    """A network that standardises its input first, so weights on disk need nothing beside them.

    Args:
        net: Maps standardised images (N, bands, H, W) to logits (N, C, H, W).
        mean: The mean of each band, on the scale 0 to 255.
        std: The standard deviation of each band, on the same scale.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, C, H, W) of images (N, bands, H, W) in uint8."""
        return self.net((images.float() - self.mean) / self.std)


def build(config: Train, tiles: Tiles) -> nn.Module:
    """Return the network of a configuration behind its standardisation, not yet initialised.

    It is tried on an empty tile first.

    Raises:
        InputError: If the network does not fit the tiles.
    """
    size, bands, classes = tiles.images.shape[1], tiles.images.shape[3], len(tiles.classes)
    net = Standardized(_network(config, size, bands, classes), tiles.mean, tiles.std)
    net = net.to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            shape = net.eval()(torch.zeros(1, bands, size, size, dtype=torch.uint8)).shape
    except (RuntimeError, ValueError) as error:
        raise InputError(f"model: {config.model} cannot take tiles of {size} px ({error})") from None
    if shape != (1, classes, size, size):
        raise InputError(
            f"model: {config.model} turns {size} px into {tuple(shape)}, not (1, {classes}, {size}, {size})"
        )
    return net.train()


def _network(config: Train, size: int, bands: int, classes: int) -> nn.Module:
    if config.model != "unet":
        net = make_network(config.model, config.options.get(config.model, {}), bands, classes)
        make_deterministic(net)
        return net
    if size % (multiple := 2**config.depth):
        raise InputError(f"depth: {config.depth} halvings need tiles that divide by {multiple}, not {size} px")
    return UNet(config.width, config.depth, classes, config.norm, residual=config.residual, bands=bands)


def loss_of(config: Train, tiles: Tiles) -> Loss:
    """Return the loss of a configuration; if that is balanced, classes are weighted by their training pixels."""
    options: Options = config.options
    if config.balanced:
        weights = tiles.balanced_weights(tiles.training(config.train_share))
        options = {part: {**own, "weights": weights} if "weights" in own else own for part, own in options.items()}
    return loss_named(config.loss, options)

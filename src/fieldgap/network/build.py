"""The small U-Net (Ronneberger, Fischer and Brox 2015), and the door to other networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fieldgap.base.errors import InputError
from fieldgap.network.deterministic import make_deterministic
from fieldgap.parts.losses import loss_named
from fieldgap.parts.networks import foreign
from fieldgap.parts.unet import UNet

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.settings.sections import Train
    from fieldgap.tiles.packed import Tiles


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


def network(config: Train, size: int, bands: int, classes: int) -> nn.Module:
    """-> the network for tiles of `size` px. Raises InputError when its depth does not fit them."""
    if config.model != "unet":
        net = foreign(config.model, config.options.get(config.model, {}), bands, classes)
        make_deterministic(net)
        return net
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


def loss_of(config: Train, tiles: Tiles) -> Loss:
    """-> the loss of a configuration, with class weights from the training pixels where it asks for balanced ones."""
    options = config.options
    if config.balanced:
        weights = tiles.balanced_weights(tiles.training(config.train_share))
        options = {name: {**each, "weights": weights} if "weights" in each else each for name, each in options.items()}
    return loss_named(config.loss, options)

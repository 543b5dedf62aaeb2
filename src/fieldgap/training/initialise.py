"""How the weights of a network are started: what each type of layer gets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from fieldgap.base.errors import InputError

if TYPE_CHECKING:
    from fieldgap.parts.inits import Initialiser

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Weighted = nn.Conv1d | nn.Conv2d | nn.Conv3d | Transposed | nn.Linear
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
InstanceNorm = nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
Norm = BatchNorm | InstanceNorm | nn.GroupNorm | nn.LayerNorm


def fans(layer: Weighted) -> tuple[int, int]:
    """-> how many inputs each output sums and how many outputs each input feeds, away from the border; means, floored.

    Torch's own `_calculate_fan_in_and_fan_out` reads neither stride nor groups, and swaps the two fans of a transposed
    convolution, of whose kernel only 1 / prod(stride) meets any one output.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    positions, stride = math.prod(layer.kernel_size), math.prod(layer.stride)
    whole = layer.weight.shape[1] * positions
    # A kernel smaller than its stride skips positions; those that it meets have one connection at least.
    strided = max(1, layer.weight.shape[0] // layer.groups * positions // stride)
    return (strided, whole) if isinstance(layer, Transposed) else (whole, strided)


def ends_of_branches(net: nn.Module) -> list[Norm]:
    """-> the last norm of each nn.Sequential that holds two or more norms and ends in one, as residual branches do.

    A projection shortcut holds one norm, and a plain block ends in its activation. Only norms with a scale count.
    """
    ends = []
    for layers in net.modules():
        if isinstance(layers, nn.Sequential):
            norms = [layer for layer in layers if isinstance(layer, Norm) and layer.weight is not None]
            if len(norms) > 1 and layers[-1] is norms[-1]:
                ends.append(norms[-1])
    return ends


def zero_last_scales(net: nn.Module) -> None:
    """Starts each residual branch at 0, its block at the identity (Goyal et al. 2017, section 5.1).

    Raises InputError for a network without such branches: ReLU passes no gradient at 0, so a plain block whose last
    scale is 0 stays at 0, and of the U-Net only the head's bias would ever learn. That what leaves a branch is added
    to a shortcut cannot be seen from the modules: an nn.Sequential of this form is taken for one.
    """
    if not (norms := ends_of_branches(net)):
        raise InputError(
            "zero_gamma: this network has no residual branch (an nn.Sequential of two norms or more that ends in one), "
            "and a plain block would be silenced for good; set zero_gamma to false"
        )
    for norm in norms:
        norm.weight.zero_()


@torch.no_grad()
def initialise(net: nn.Module, init: Initialiser, generator: torch.Generator, *, zero_gamma: bool = False) -> None:
    """Starts every layer in place: convolutions and linear layers by `init`, norms at scale 1, biases and shifts at 0.

    `zero_gamma` sets the last scale of each residual branch to 0. Raises InputError for a layer that owns parameters
    and that no rule reaches, rather than leave it at torch's default, and as `zero_last_scales` does.
    """
    for name, layer in net.named_modules():
        own = {key for key, _ in layer.named_parameters(recurse=False)}
        if own and (own - {"weight", "bias"} or not isinstance(layer, Weighted | Norm)):
            raise InputError(f"{name or 'net'}: no rule starts a {type(layer).__name__}; add one to initialise()")
        if isinstance(layer, Weighted):
            # Groups are separate maps; to an orthogonal init it matters where each of them ends.
            for group in layer.weight.chunk(getattr(layer, "groups", 1)):
                init(group, *fans(layer), generator)
        elif "weight" in own:
            layer.weight.fill_(1)
        if "bias" in own:
            layer.bias.zero_()
    if zero_gamma:
        zero_last_scales(net)

"""The initial weights of a network: what each type of layer gets."""

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


@torch.no_grad()
def initialise(net: nn.Module, init: Initialiser, generator: torch.Generator, *, zero_gamma: bool = False) -> None:
    """Set all parameters of a network in place: weights by `init`, scales of norms to 1, biases and shifts to 0.

    Args:
        net: The network.
        init: Fills a weight, given its fan-in and fan-out.
        generator: Source of all that is drawn.
        zero_gamma: Set the last scale of each residual branch to 0, so that its block starts as the identity
            (Goyal et al. 2017, section 5.1).

    Raises:
        InputError: No rule covers a layer with parameters, which would otherwise keep torch's default; or `zero_gamma`
            is set for a network without residual branches.
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
        _zero_last_scales(net)


def fans(layer: Weighted) -> tuple[int, int]:
    """Return a layer's fan-in and fan-out, away from the border.

    Torch's own `_calculate_fan_in_and_fan_out` ignores stride and groups, and swaps the fans of a transposed
    convolution, where only 1 / prod(stride) of the kernel meets any one output.

    Returns:
        How many inputs an output sums, and how many outputs an input feeds: means, rounded down.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    positions, stride = math.prod(layer.kernel_size), math.prod(layer.stride)
    whole = layer.weight.shape[1] * positions
    # A kernel smaller than its stride skips positions; those that it meets have at least one connection.
    strided = max(1, layer.weight.shape[0] // layer.groups * positions // stride)
    return (strided, whole) if isinstance(layer, Transposed) else (whole, strided)


def _zero_last_scales(net: nn.Module) -> None:
    # Only residual branches may start at 0: ReLU passes no gradient there, so a plain block would stay at 0 for good.
    if not (norms := _ends_of_branches(net)):
        raise InputError(
            "zero_gamma: this network has no residual branch (an nn.Sequential of two norms or more that ends in one), "
            "and a plain block would be silenced for good; set zero_gamma to false"
        )
    for norm in norms:
        norm.weight.zero_()


def _ends_of_branches(net: nn.Module) -> list[Norm]:
    # Modules do not show what is added to a shortcut, so an nn.Sequential that has two norms or more and ends in one is
    # taken for a residual branch: a projection shortcut has one norm, and a plain block ends in its activation.
    ends = []
    for layers in net.modules():
        if isinstance(layers, nn.Sequential):
            norms = [layer for layer in layers if isinstance(layer, Norm) and layer.weight is not None]
            if len(norms) > 1 and layers[-1] is norms[-1]:
                ends.append(norms[-1])
    return ends

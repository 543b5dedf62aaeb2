"""Layers whose backward pass repeats its bits on CUDA, in place of those of torch that do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    pass
    pass


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

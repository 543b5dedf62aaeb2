"""Layers whose gradients repeat bit by bit on CUDA, in place of those of torch that do not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class AdaptiveAverage(nn.Module):
    """nn.AdaptiveAvgPool2d as two matrix products, because its own backward pass is not deterministic on CUDA.

    Args:
        size: Height and width of the output in px, or one number for both; None keeps that of the input.
    """

    def __init__(self, size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.size = (size, size) if size is None or isinstance(size, int) else tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the averages (N, C, *size) of x (N, C, H, W)."""
        rows, columns = (
            _averages(side, wanted or side, x) for side, wanted in zip(x.shape[2:], self.size, strict=True)
        )
        return rows @ x @ columns.mT


def _averages(side: int, parts: int, like: Tensor) -> Tensor:
    """Return the matrix (parts, side) that averages a side over equal parts, of which two may share a pixel."""
    part, pixel = torch.arange(parts, device=like.device)[:, None], torch.arange(side, device=like.device)
    # Like torch, from the floor of where a part begins to the ceiling of where it ends.
    inside = (pixel >= part * side // parts) & (pixel < -(-(part + 1) * side // parts))
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)


def make_deterministic(net: nn.Module) -> None:
    """Replace, in place, the layers of a network whose gradients do not repeat on CUDA."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, AdaptiveAverage(child.output_size))

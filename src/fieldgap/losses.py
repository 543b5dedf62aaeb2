"""Losses by name: LOSSES maps a name to a function of logits (N, C, H, W) and classes (N, H, W), mean over pixels.

Torch is not imported here, so that names can be checked without waiting for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood per pixel, in nats.

    Pixels are flattened first: torch's own loss on (N, C, H, W) has no deterministic backward pass on CUDA.
    """
    pixels = logits.movedim(1, -1).flatten(0, -2).float()
    return -pixels.log_softmax(1).gather(1, target.reshape(-1, 1)).mean()


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
}

"""A run under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fieldgap.tiles.packed import Tiles

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.settings.sections import Train

Row = dict[str, float]
Gradients = Callable[[nn.Module, "Loss", Tensor, Tensor, "Train"], Tensor]


@dataclass
class Run:
    """All that a run consists of while it trains.

    Attributes:
        train: Indices of its training tiles.
        gradients: Adds the gradients of a batch's loss to the network and returns that loss.
        average: The network with the average of its past weights, where the run keeps one.
        last: Weights after the last whole epoch, on the CPU; the initial ones before the first.
        best: Weights after the best epoch, likewise.
        history: One row per whole epoch.
        steps: One row per step.
    """

    config: Train
    tiles: Tiles
    train: np.ndarray
    device: torch.device
    net: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    gradients: Gradients
    average: AveragedModel | None
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    history: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)

    @property
    def result(self) -> nn.Module:
        """The network that is measured and kept: the average, where there is one."""
        return self.average.module if self.average else self.net

    def resolved(self) -> dict[str, Any]:
        """Return the values of the run, with the device that `auto` stood for."""
        return {**asdict(self.config), "device": self.device.type}

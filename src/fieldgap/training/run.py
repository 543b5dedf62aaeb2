"""A run under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fieldgap.tiles.packed import Tiles

if TYPE_CHECKING:
    from fieldgap.parts.losses import Loss
    from fieldgap.settings.sections import Train


Row = dict[str, float]


@dataclass
class Run:
    """A run under way: its network and optimiser, a row for each step and each epoch, the weights to keep.

    `last` are those of the last completed epoch, `best` those of the best one; before the first both are the start.
    """

    config: Train
    tiles: Tiles
    train: np.ndarray
    device: torch.device
    net: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    gradients: Callable[[nn.Module, Loss, Tensor, Tensor, Train], Tensor]
    average: AveragedModel | None
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    history: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)

    @property
    def result(self) -> nn.Module:
        """What is measured and kept: the network, or the average of its past weights."""
        return self.average.module if self.average else self.net
